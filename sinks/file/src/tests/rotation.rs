//! Rotation, compression and retention.

use std::time::SystemTime;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn rotating(rotate: &str, rest: &str) -> World {
    let world =
        World::new(&format!("path = \"out/{{type}}.jsonl\"\nformat = \"raw\"\nrotate = {{ {rotate} }}\n{rest}"));
    *world.now.lock().unwrap() = "2026-01-13T23:05:00Z".parse().unwrap();
    world
}

/// Makes a file's last line this old.
fn age(world: &World, name: &str, by: Duration) {
    let now =
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(world.now.lock().unwrap().as_second()).unwrap());
    File::options().write(true).open(world.path(name)).unwrap().set_modified(now - by).unwrap();
}

#[tokio::test]
async fn a_file_is_put_aside_before_it_grows_beyond_its_size() {
    let world = rotating("size = 10", "");
    let sink = world.open().await;
    for body in ["1234", "5678", "abcd", "efghijklmnopq", "r"] {
        world.put(&sink, "a", body).await;
    }
    let names = ["a.20260113T230500Z-1.jsonl", "a.20260113T230500Z-2.jsonl", "a.20260113T230500Z-3.jsonl", "a.jsonl"];
    assert_eq!(world.names(), names);
    let texts: Vec<String> = names.iter().map(|name| world.text(&format!("out/{name}"))).collect();
    assert_eq!(texts, ["1234\n5678\n", "abcd\n", "efghijklmnopq\n", "r\n"]);
}

#[tokio::test]
async fn a_file_is_put_aside_when_its_span_is_over_also_after_a_restart() {
    let world = rotating("every = \"1d\"", "");
    let sink = world.open().await;
    world.put(&sink, "a", "monday").await;
    world.advance(Duration::from_secs(54 * 60));
    world.put(&sink, "a", "monday, late").await;
    sink.close().await;
    let sink = world.open().await;
    world.advance(Duration::from_secs(60));
    world.put(&sink, "a", "tuesday").await;
    assert_eq!(world.names(), ["a.20260114T000000Z-1.jsonl", "a.jsonl"]);
    assert_eq!(world.text("out/a.20260114T000000Z-1.jsonl"), "monday\nmonday, late\n");
    assert_eq!(world.text("out/a.jsonl"), "tuesday\n");
}

#[tokio::test]
async fn rotated_files_are_compressed_readable_and_as_old_as_their_last_line() {
    let world = rotating("size = 10, compress = \"zstd\"", "");
    let sink = world.open().await;
    world.put(&sink, "a", "123456").await;
    let written = fs::metadata(world.path("out/a.jsonl")).unwrap().modified().unwrap();
    world.put(&sink, "a", "abcdef").await;
    let packed = ["a.20260113T230500Z-1.jsonl.zst", "a.jsonl"];
    wait_until("the rotated file is compressed", || world.names() == packed).await;
    assert_eq!(unpack(&world.path("out/a.20260113T230500Z-1.jsonl.zst")), "123456\n");
    let meta = fs::metadata(world.path("out/a.20260113T230500Z-1.jsonl.zst")).unwrap();
    assert_eq!((meta.modified().unwrap(), meta.permissions().mode() & 0o777), (written, 0o600));
    sink.close().await;
    assert!(
        world
            .text("archive-state/manifest")
            .contains("\npacked 2026-01-13T23:05:00Z out/a.20260113T230500Z-1.jsonl.zst\n")
    );
}

#[tokio::test]
async fn what_a_crash_left_uncompressed_is_compressed_later_and_half_made_files_go() {
    let world = rotating("size = 10", "");
    let sink = world.open().await;
    for body in ["123456", "abcdef", "uvwxyz"] {
        world.put(&sink, "a", body).await;
    }
    sink.close().await;
    // As if compression had stopped half-way in the first, and between rename and unlink in the second.
    let (first, second) = ("out/a.20260113T230500Z-1.jsonl", "out/a.20260113T230500Z-2.jsonl");
    fs::write(world.path(&format!("{first}.zst~")), "half").unwrap();
    fs::write(world.path(&format!("{second}.zst")), zstd::encode_all(&b"abcdef\n"[..], 3).unwrap()).unwrap();
    let manifest = world.text("archive-state/manifest");
    let manifest = format!("{manifest}packed 2026-01-13T23:05:00Z {second}.zst\n");
    fs::write(world.path("archive-state/manifest"), manifest).unwrap();
    let world = World { config: rotating("size = 10, compress = \"zstd\"", "").config, ..world };
    let sink = world.open().await;
    assert!(!world.path(&format!("{first}.zst~")).exists() && !world.path(second).exists());
    world.put(&sink, "b", "x").await;
    let names = ["a.20260113T230500Z-1.jsonl.zst", "a.20260113T230500Z-2.jsonl.zst", "a.jsonl", "b.jsonl"];
    wait_until("the rest is compressed", || world.names() == names).await;
    assert_eq!(unpack(&world.path(&format!("{first}.zst"))), "123456\n");
    assert_eq!(unpack(&world.path(&format!("{second}.zst"))), "abcdef\n");
}

#[tokio::test]
async fn keep_deletes_old_files_of_ours_and_only_those() {
    let world = World::new("path = \"out/{type}/x.jsonl\"\nformat = \"raw\"\nkeep = \"30d\"");
    let sink = world.open().await;
    world.put(&sink, "old", "x").await;
    world.put(&sink, "young", "x").await;
    fs::create_dir(world.path("out/theirs")).unwrap();
    fs::write(world.path("out/theirs/x.jsonl"), "x\n").unwrap();
    for (name, days) in [("old", 31), ("young", 29), ("theirs", 400)] {
        age(&world, &format!("out/{name}/x.jsonl"), days * DAY);
    }
    world.advance(Duration::from_secs(61));
    world.put(&sink, "new", "x").await;
    assert_eq!(world.names(), ["new/x.jsonl", "theirs/x.jsonl", "young/x.jsonl"]);
    assert!(!world.path("out/old").exists(), "an empty folder stays behind");
    world.put(&sink, "old", "again").await;
    assert_eq!(world.text("out/old/x.jsonl"), "again\n");
}

#[tokio::test]
async fn max_total_deletes_the_oldest_and_never_the_one_being_written() {
    let world = rotating("size = 10", "max_total = 25");
    let sink = world.open().await;
    for body in ["aaaaaaa", "bbbbbbb", "ccccccc", "ddddddd", "eeeeeee"] {
        world.put(&sink, "a", body).await;
        age(&world, "out/a.jsonl", Duration::ZERO);
        world.advance(Duration::from_secs(1));
    }
    // Put aside at :01 (a), :02 (b), :03 (c) and :04 (d).
    assert_eq!(world.names(), ["a.20260113T230503Z-1.jsonl", "a.20260113T230504Z-1.jsonl", "a.jsonl"]);
    assert_eq!(world.text("out/a.jsonl"), "eeeeeee\n");
}

#[tokio::test]
async fn an_event_named_like_a_rotated_file_is_rejected() {
    let world = rotating("size = 10", "");
    let sink = world.open().await;
    world.put(&sink, "a", "123456").await;
    world.put(&sink, "a", "123456").await;
    let slots = world.deliver(&sink, &[("a.20260113T230500Z-1", "k", "x")]).await;
    assert!(matches!(&slots[0], Some(Outcome::Reject { .. })), "{slots:?}");
    assert_eq!(world.text("out/a.20260113T230500Z-1.jsonl"), "123456\n");
}

#[tokio::test]
async fn rotation_overwrites_nothing() {
    let world = rotating("size = 10", "");
    fs::create_dir(world.path("out")).unwrap();
    fs::write(world.path("out/a.20260113T230500Z-1.jsonl"), "theirs").unwrap();
    fs::write(world.path("out/a.20260113T230500Z-2.jsonl.zst"), "theirs").unwrap();
    let sink = world.open().await;
    world.put(&sink, "a", "123456").await;
    world.put(&sink, "a", "abcdef").await;
    assert_eq!(world.text("out/a.20260113T230500Z-3.jsonl"), "123456\n");
    assert_eq!(world.text("out/a.20260113T230500Z-1.jsonl"), "theirs");
}
