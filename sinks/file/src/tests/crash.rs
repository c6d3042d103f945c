//! What a crash, or somebody else, left at the end of a file.

use std::fs::OpenOptions;

use sink_api::code;

use super::*;

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_torn_last_line_of_ours_is_cut_when_the_sink_is_opened() {
    let world = World::new(RAW);
    let sink = world.open().await;
    world.put(&sink, "a", "one").await;
    sink.close().await;
    // Longer than the piece that is looked at at once.
    append(&world.path("out/a.jsonl"), &"half".repeat(50_000));
    let sink = world.open().await;
    assert_eq!(world.text("out/a.jsonl"), "one\n");
    world.put(&sink, "a", "two").await;
    assert_eq!((world.text("out/a.jsonl"), world.names().len()), ("one\ntwo\n".into(), 1));
}

#[tokio::test]
async fn a_first_line_that_was_torn_leaves_an_empty_file() {
    let world = World::new(RAW);
    let sink = world.open().await;
    world.put(&sink, "a", "one").await;
    sink.close().await;
    fs::write(world.path("out/a.jsonl"), "on").unwrap();
    drop(world.open().await);
    assert_eq!(world.text("out/a.jsonl"), "");
}

#[tokio::test]
async fn a_foreign_tail_is_moved_aside_and_never_destroyed() {
    let world = World::new(RAW);
    fs::create_dir(world.path("out")).unwrap();
    let long = "x".repeat(200_000);
    fs::write(world.path("out/a.jsonl"), format!("theirs\n{long}")).unwrap();
    fs::write(world.path("out/a.jsonl.foreign-tail-1"), "an older one").unwrap();
    let sink = world.open().await;
    world.put(&sink, "a", "ours").await;
    assert_eq!(world.text("out/a.jsonl"), "theirs\nours\n");
    assert_eq!(world.text("out/a.jsonl.foreign-tail-1"), "an older one");
    assert_eq!(world.text("out/a.jsonl.foreign-tail-2"), long);
}

#[tokio::test]
async fn without_its_manifest_the_sink_takes_its_own_files_for_foreign() {
    let world = World::new(RAW);
    let sink = world.open().await;
    world.put(&sink, "a", "one").await;
    sink.close().await;
    fs::remove_dir_all(world.path("archive-state")).unwrap();
    append(&world.path("out/a.jsonl"), "half");
    let sink = world.open().await;
    world.put(&sink, "a", "two").await;
    assert_eq!(
        (world.text("out/a.jsonl"), world.text("out/a.jsonl.foreign-tail-1")),
        ("one\ntwo\n".into(), "half".into())
    );
}

#[tokio::test]
async fn a_damaged_manifest_does_not_keep_the_sink_from_its_work() {
    let world = World::new("path = 'out/{type}.jsonl'\nformat = 'raw'");
    let sink = world.open().await;
    world.put(&sink, "a", "1").await;
    sink.close().await;
    let manifest = fs::read(world.path("archive-state/manifest")).unwrap();
    // Torn inside of a character, behind a line of rubbish.
    fs::write(
        world.path("archive-state/manifest"),
        [&manifest, &b"\xff\xfe\nopen 2026-01-13T23:05:00Z out/\xc3"[..]].concat(),
    )
    .unwrap();
    let sink = world.open().await;
    world.put(&sink, "a", "2").await;
    assert_eq!(world.text("out/a.jsonl"), "1\n2\n");
    assert_eq!(fs::read(world.path("archive-state/manifest.damaged")).unwrap(), b"\xff\xfe\n");
}

#[tokio::test]
async fn the_manifest_of_another_version_is_refused_and_left_as_it_is() {
    let world = World::new("path = 'out/{type}.jsonl'");
    fs::create_dir(world.path("archive-state")).unwrap();
    let text = "hookrelay file sink manifest 2\nopen x y\n";
    fs::write(world.path("archive-state/manifest"), text).unwrap();
    assert!(matches!(world.try_open().await, Err(BuildError::Refused(why)) if why.contains("manifest 2")));
    assert_eq!(world.text("archive-state/manifest"), text);
}

#[tokio::test]
async fn a_second_instance_waits_for_the_first_to_let_go() {
    let world = World::new(RAW);
    let sink = world.open().await;
    assert!(matches!(world.try_open().await, Err(BuildError::Unavailable(why)) if why.code == code::IO));
    sink.close().await;
    world.open().await.close().await;
}

#[tokio::test]
async fn a_file_another_sink_is_writing_to_is_left_alone() {
    let world = World::new(RAW);
    let sink = world.open().await;
    world.put(&sink, "a", "one").await;
    let other = World { dir: tempfile::tempdir().unwrap(), ..World::new(RAW) };
    std::os::unix::fs::symlink(world.path("out"), other.path("out")).unwrap();
    let other_sink = other.open().await;
    let slots = other.deliver(&other_sink, &[("a", "1", "two")]).await;
    assert!(retried(&slots[0], code::IO), "{slots:?}");
    assert_eq!(world.text("out/a.jsonl"), "one\n");
}

#[tokio::test]
async fn a_dropped_call_is_finished_before_the_next_begins() {
    let world = World::new(RAW);
    let sink = world.open().await;
    let owed = world.batch(&[("a", "1", "one"), ("b", "2", "two")]);
    let dropped = tokio::time::timeout(Duration::ZERO, sink.deliver(&owed)).await;
    drop(dropped);
    sink.close().await;
    for name in world.names() {
        assert!(world.text(&format!("out/{name}")).ends_with('\n'));
    }
    let sink = world.open().await;
    world.put(&sink, "a", "three").await;
    assert!(world.text("out/a.jsonl").ends_with("three\n"));
}
