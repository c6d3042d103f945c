//! Writes that fail, and what is said and left of them.

use sink_api::code;

use super::*;

#[tokio::test]
async fn a_failed_write_is_cut_back_and_harms_no_other_file() {
    let world = World::new(RAW);
    let sink = world.open().await;
    world.put(&sink, "a", "first").await;
    *world.disk.fail_write_of.lock().unwrap() = Some("bad");
    let slots = world.deliver(&sink, &[("a", "1", "one"), ("b", "2", "two"), ("a", "3", "bad")]).await;
    assert!(retried(&slots[0], code::DISK_FULL) && retried(&slots[2], code::DISK_FULL), "{slots:?}");
    assert_eq!(slots[1], Some(Outcome::Delivered));
    assert_eq!((world.text("out/a.jsonl"), world.text("out/b.jsonl")), ("first\n".into(), "two\n".into()));
    *world.disk.fail_write_of.lock().unwrap() = None;
    world.put(&sink, "a", "one").await;
    assert_eq!(world.text("out/a.jsonl"), "first\none\n");
}

#[tokio::test]
async fn a_batch_of_many_pieces_is_in_the_file_whole_or_not_at_all() {
    let large: &'static str = "x".repeat(100 << 10).leak();
    let keys: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    for table in [RAW.to_owned(), format!("{RAW}\nrotate = {{ size = \"1GiB\" }}")] {
        let world = World::new(&table);
        let sink = world.open().await;
        world.put(&sink, "a", "first").await;
        let mut all: Vec<_> = keys.iter().map(|key| ("a", key.as_str(), large)).collect();
        all[7].2 = "bad";
        *world.disk.fail_write_of.lock().unwrap() = Some("bad");
        let slots = world.deliver(&sink, &all).await;
        assert!(slots.iter().all(|slot| retried(slot, code::DISK_FULL)), "{table}: {slots:?}");
        assert_eq!(world.text("out/a.jsonl"), "first\n");
        *world.disk.fail_write_of.lock().unwrap() = None;
        assert_eq!(world.deliver(&sink, &all).await, vec![Some(Outcome::Delivered); 10]);
        let mut lines = vec![large.len(); 11];
        (lines[0], lines[8]) = (5, 3);
        assert_eq!(world.text("out/a.jsonl").lines().map(str::len).collect::<Vec<_>>(), lines);
    }
}

#[tokio::test]
async fn of_a_key_that_failed_only_the_first_line_counts_as_attempted() {
    let world = World::new(RAW);
    let sink = world.open().await;
    *world.disk.fail_write_of.lock().unwrap() = Some("bad");
    let slots = world.deliver(&sink, &[("a", "k", "bad"), ("a", "k", "later")]).await;
    assert!(retried(&slots[0], code::DISK_FULL) && slots[1].is_none(), "{slots:?}");
}

#[tokio::test]
async fn lines_that_could_not_be_flushed_are_cut_back_and_not_delivered() {
    let world = World::new(RAW);
    let sink = world.open().await;
    *world.disk.fail_flushes.lock().unwrap() = 1;
    let slots = world.deliver(&sink, &[("a", "1", "one"), ("b", "2", "two")]).await;
    assert!(retried(&slots[0], code::IO), "{slots:?}");
    assert_eq!(slots[1], Some(Outcome::Delivered));
    assert_eq!((world.text("out/a.jsonl"), world.text("out/b.jsonl")), (String::new(), "two\n".into()));
}

#[tokio::test]
async fn a_key_whose_line_failed_is_not_attempted_in_another_file() {
    let world = World::new(RAW);
    let sink = world.open().await;
    *world.disk.fail_write_of.lock().unwrap() = Some("bad");
    let all = [("a", "k", "bad"), ("b", "k", "later"), ("b", "l", "free"), ("a", "k", "last")];
    let slots = world.deliver(&sink, &all).await;
    assert!(retried(&slots[0], code::DISK_FULL), "{slots:?}");
    assert_eq!(slots[1..], [None, Some(Outcome::Delivered), None]);
    assert_eq!((world.text("out/a.jsonl"), world.text("out/b.jsonl")), (String::new(), "free\n".into()));
}

#[tokio::test]
async fn a_full_device_is_retried_as_disk_full() {
    let world = World::new("path = \"/dev/full\"\nformat = \"raw\"");
    let sink = world.open().await;
    let slots = world.deliver(&sink, &[("a", "1", "one")]).await;
    assert!(retried(&slots[0], code::DISK_FULL), "{slots:?}");
}

#[tokio::test]
async fn below_the_floor_nothing_is_written_and_the_probe_says_so() {
    let mut world = World::new(RAW);
    world.floor = DiskFloor { min_free: u64::MAX };
    let sink = world.open().await;
    let slots = world.deliver(&sink, &[("a", "1", "one"), ("b", "2", "two")]).await;
    assert!(slots.iter().all(|slot| retried(slot, code::DISK_FULL)), "{slots:?}");
    assert_eq!(world.names(), Vec::<String>::new());
    assert_eq!(sink.probe().await.unwrap_err().code, code::DISK_FULL);
}

#[tokio::test]
async fn the_probe_makes_nothing() {
    let world = World::new(RAW);
    let sink = world.open().await;
    sink.probe().await.unwrap();
    assert!(!world.path("out").exists());
}

#[tokio::test]
async fn a_file_moved_or_deleted_behind_our_back_is_made_anew() {
    let world = World::new(RAW);
    let sink = world.open().await;
    world.put(&sink, "a", "one").await;
    fs::rename(world.path("out/a.jsonl"), world.path("out/taken.jsonl")).unwrap();
    world.put(&sink, "a", "two").await;
    fs::remove_file(world.path("out/a.jsonl")).unwrap();
    world.put(&sink, "a", "three").await;
    assert_eq!((world.text("out/taken.jsonl"), world.text("out/a.jsonl")), ("one\n".into(), "three\n".into()));
}

#[tokio::test]
async fn half_a_line_written_behind_our_back_is_moved_aside_and_spoils_none_of_ours() {
    let world = World::new(RAW);
    let sink = world.open().await;
    world.put(&sink, "a", "one").await;
    let mut file = fs::OpenOptions::new().append(true).open(world.path("out/a.jsonl")).unwrap();
    file.write_all(b"whole\nhalf").unwrap();
    world.put(&sink, "a", "two").await;
    assert_eq!(world.text("out/a.jsonl"), "one\nwhole\ntwo\n");
    assert_eq!(world.text("out/a.jsonl.foreign-tail-1"), "half");
    file.set_len(2).unwrap();
    world.put(&sink, "a", "three").await;
    assert_eq!(world.text("out/a.jsonl"), "three\n");
}

#[tokio::test]
async fn a_manifest_that_cannot_be_written_is_retried_and_no_file_is_made() {
    let world = World::new(RAW);
    let sink = world.open().await;
    // Puts the next record through a rewrite, whose temporary name is taken by a folder.
    fs::create_dir(world.path("archive-state/manifest.new")).unwrap();
    sink.store.lock().await.packer.manifest().tear();
    let slots = world.deliver(&sink, &[("a", "1", "one")]).await;
    assert!(retried(&slots[0], code::IO), "{slots:?}");
    assert_eq!(world.names(), Vec::<String>::new());
    fs::remove_dir(world.path("archive-state/manifest.new")).unwrap();
    world.put(&sink, "a", "one").await;
}
