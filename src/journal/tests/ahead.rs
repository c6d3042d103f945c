//! Room made ahead: zeros behind the last record, which are no damage, cost no batch and are gone when a segment ends.

use super::faulty::{EIO, ENOSPC, segments};
use super::*;

const AHEAD: u64 = 64 << 10;

fn world() -> World {
    World { ahead: AHEAD, ..World::new() }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Where record `n` ends.
fn end_of(n: u64) -> u64 {
    1024 + (0..=n).map(|n| format::record_len(&record(n)).unwrap()).sum::<u64>()
}

fn writes(world: &World) -> Vec<(u64, usize)> {
    let write = |op| if let Op::Write(_, at, n) = op { Some((at, n)) } else { None };
    world.disk.log().into_iter().filter_map(write).collect()
}

#[test]
fn only_the_batch_that_needs_it_makes_room_and_the_next_ones_leave_the_file_as_large_as_it_is() {
    let world = world();
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    let file = segments(&world.dir)[0].clone();
    let size = length(&file);
    assert!(size.is_multiple_of(4096) && (AHEAD - 4096..=AHEAD + 4096).contains(&size), "{size}");
    assert_eq!(journal.stat().bytes.unwrap(), size, "what stands on the disk counts");
    world.disk.log();
    fill(&journal, 1..20);
    assert_eq!(writes(&world).len(), 19, "a write for each batch");
    assert_eq!((length(&file), journal.stat().bytes.unwrap()), (size, size));
    let reports = Reports::default();
    journal.append(sized(20, AHEAD as usize), OnFailure::Keep, reports.of(20));
    reports.until_final(1);
    assert!(length(&file) >= size + AHEAD, "and on");
    run(journal.close()).unwrap();
    let (journal, recovered) = world.open();
    assert_eq!((recovered.scanned, numbers(&journal).len()), (0, 21), "ended with a footer, right behind the records");
}

#[test]
fn room_is_not_made_beyond_what_a_segment_may_hold() {
    let world = World { ahead: AHEAD, ..World::with_segments(2048) };
    let (journal, _) = world.open();
    fill(&journal, 0..30);
    assert_eq!(length(segments(&world.dir).last().unwrap()), 2048);
    journal.crash();
    let (journal, recovered) = world.open();
    assert_eq!((recovered.cut_bytes, recovered.rot.len()), (0, 0));
    assert_eq!(numbers(&journal), (0..30).collect::<Vec<_>>());
}

#[test]
fn zeros_behind_the_last_record_are_no_damage() {
    let world = world();
    let last = world.crashed_after(3)[2];
    let (journal, recovered) = world.open();
    assert_eq!((recovered.cut_bytes, recovered.torn.len(), recovered.rot.len()), (0, 0, 0));
    assert_eq!(numbers(&journal), [0, 1, 2]);
    assert!(fill(&journal, 3..4)[0] > last);
    assert!(!world.dir.join("quarantine").exists());
    assert!(length(&segments(&world.dir)[0]) < end_of(2) + 1024, "cut off, and sealed");
}

#[test]
fn a_record_torn_at_any_byte_is_cut_from_the_zeros_behind_it_and_kept_aside_without_them() {
    for cut in end_of(1) + 1..end_of(2) {
        let world = world();
        world.crashed_after(3);
        let mut torn = Vec::new();
        edit(&segments(&world.dir)[0], |bytes| {
            bytes[cut as usize..].fill(0);
            torn = bytes[end_of(1) as usize..cut as usize].to_vec();
        });
        let (journal, recovered) = world.open();
        assert_eq!(numbers(&journal), [0, 1], "cut at {cut}");
        let kept = torn.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        assert_eq!((recovered.cut_bytes, recovered.rot.len()), (kept as u64, 0), "cut at {cut}");
        let copies: Vec<_> = std::fs::read_dir(world.dir.join("quarantine")).unwrap().collect();
        assert!(copies.len() == 1 && std::fs::read(copies[0].as_ref().unwrap().path()).unwrap() == torn[..kept]);
    }
}

#[test]
fn a_batch_of_which_only_later_blocks_came_to_the_disk_is_torn() {
    let world = world();
    let (journal, _) = world.open();
    fill_batch(&world, &journal, 0..10);
    journal.crash();
    let (from, to) = (end_of(0) as usize, end_of(2) as usize);
    edit(&segments(&world.dir)[0], |bytes| bytes[from..to].fill(0));
    let (journal, recovered) = world.open();
    assert_eq!((recovered.torn.len(), recovered.rot.len(), recovered.torn[0].lost), (1, 0, 2));
    assert_eq!(numbers(&journal), [0, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_disk_too_full_for_room_still_takes_the_batch() {
    for act in [Act::Fail(ENOSPC), Act::Half(ENOSPC), Act::Fail(EIO)] {
        let world = world();
        let (journal, _) = world.open();
        world.disk.on(1, act, |op| matches!(op, Op::Write(_, _, n) if *n as u64 > AHEAD / 2));
        fill(&journal, 0..1);
        world.disk.log();
        fill(&journal, 1..10);
        assert_eq!(writes(&world).len(), 9, "{act:?}: not tried again in this segment");
        assert_eq!(segments(&world.dir).len(), 1, "{act:?}: nothing failed");
        journal.crash();
        let (journal, recovered) = world.open();
        assert_eq!((recovered.cut_bytes, recovered.rot.len()), (0, 0));
        assert_eq!(numbers(&journal), (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_that_could_not_be_flushed_into_its_room_is_never_read() {
    let world = world();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    world.disk.on(1, Act::Fail(EIO), |op| matches!(op, Op::Sync(_)));
    let reports = Reports::default();
    journal.append(record(3), OnFailure::GiveBack, reports.of(3));
    reports.until_final(1);
    assert!(matches!(reports.about(3)[..], [Progress::Failed(_)]));
    fill(&journal, 4..6);
    journal.crash();
    let (journal, recovered) = world.open();
    assert_eq!((recovered.rot.len(), recovered.cut_bytes), (0, 0));
    assert_eq!(numbers(&journal), [0, 1, 2, 4, 5]);
}
