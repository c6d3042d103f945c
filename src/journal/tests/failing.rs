//! A disk that fails: what is kept, what is given back, what is never tried again.

use super::faulty::{Act, EIO, ENOSPC, Op, segments};
use super::*;

fn is_sync(op: &Op) -> bool {
    matches!(op, Op::Sync(_))
}

fn is_write(op: &Op) -> bool {
    matches!(op, Op::Write(..))
}

fn batch_of(op: &Op) -> bool {
    matches!(op, Op::Write(_, at, _) if *at >= 1024)
}

/// Three records in a first segment; then the next operation that matches fails `times` times while ten more wait.
fn fail_once(world: &World, act: Act, matches: fn(&Op) -> bool) -> (LocalJournal, Reports, Vec<u64>) {
    let (journal, _) = world.open();
    let reports = Reports::default();
    let first = fill(&journal, 0..3);
    world.disk.log();
    world.disk.on(1, act, matches);
    (3..13).for_each(|n| journal.append(record(n), OnFailure::Keep, reports.of(n)));
    reports.until_final(10);
    (journal, reports, first)
}

#[test]
fn after_a_failed_flush_or_write_all_is_written_to_a_new_segment_in_order_and_the_flush_is_never_tried_again() {
    for (act, matches) in
        [(Act::Fail(EIO), is_sync as fn(&Op) -> bool), (Act::Fail(EIO), is_write), (Act::Half(ENOSPC), is_write)]
    {
        let world = World::new();
        let (journal, reports, first) = fail_once(&world, act, matches);
        let files = segments(&world.dir);
        let old = files[0].file_name().unwrap().to_string_lossy().into_owned();
        let flushes = world.disk.log().iter().filter(|op| **op == Op::Sync(old.clone())).count();
        assert_eq!(flushes, usize::from(matches(&Op::Sync(String::new()))), "the poisoned file was flushed again");
        assert_eq!((files.len(), numbers(&journal)), (2, (0..13).collect()));
        assert_eq!(reports.about(3)[0], Progress::AtRisk);
        assert!((3..13).all(|n| reports.about(n).len() <= 2), "at risk is told once");
        let given: Vec<u64> = reports.durable().into_iter().map(|(_, at)| at).collect();
        assert!(given.is_sorted() && given[0] > first[2] + 1, "the burned positions are not given again");
        assert_eq!(journal.at_risk(), 0);
        wait_until("cut", || std::fs::metadata(&files[0]).unwrap().len() == 1024 + sizes(0..3));
        journal.crash();
        let (journal, recovered) = world.open();
        assert_eq!((numbers(&journal), recovered.rot.len()), ((0..13).collect(), 0));
        run(journal.close()).unwrap();
    }
}

#[test]
fn of_a_segment_whose_first_batch_failed_nothing_is_left() {
    let world = World::new();
    world.disk.on(3, Act::Fail(EIO), batch_of);
    let (journal, _) = world.open();
    let reports = Reports::default();
    journal.append(record(0), OnFailure::Keep, reports.of(0));
    reports.until_final(1);
    assert_eq!((segments(&world.dir).len(), numbers(&journal)), (1, vec![0]));
    journal.crash();
    assert_eq!(numbers(&world.open().0), [0]);
}

pub(super) fn sizes(numbers: std::ops::Range<u64>) -> u64 {
    numbers.map(|n| format::record_len(&record(n)).unwrap()).sum()
}

#[test]
fn a_burned_batch_that_did_reach_the_disk_is_not_delivered_twice() {
    let world = World::new();
    // The flush fails after the write went through, and the cut afterwards fails too: the batch stands in both files.
    world.disk.on(usize::MAX, Act::Fail(EIO), |op| matches!(op, Op::Truncate(..)));
    let (journal, reports, first) = fail_once(&world, Act::Fail(EIO), is_sync);
    let old = &segments(&world.dir)[0];
    assert!(std::fs::metadata(old).unwrap().len() > 1024 + sizes(0..3));
    assert_eq!(numbers(&journal), (0..13).collect::<Vec<_>>());
    let last = reports.durable().last().unwrap().1;
    journal.crash();
    let (journal, recovered) = world.open();
    assert_eq!((numbers(&journal), recovered.rot.len()), ((0..13).collect(), 0));
    assert!(fill(&journal, 13..14)[0] > last.max(first[2]));
}

#[test]
fn a_burned_batch_on_disk_without_a_successor_is_kept_for_its_records_may_have_been_answered() {
    let world = World::new();
    let (journal, _) = world.open();
    let first = fill(&journal, 0..3);
    let reports = Reports::default();
    world.disk.on(1, Act::Fail(EIO), is_sync);
    world.disk.on(usize::MAX, Act::Fail(EIO), |op| matches!(op, Op::Create(_)));
    journal.append(record(3), OnFailure::Keep, reports.of(3));
    reports.until_at_risk(3);
    assert_eq!(numbers(&journal), [0, 1, 2], "not durable, so not read");
    journal.crash();
    let disk = FaultyDisk::new();
    let world = World { disk, ..world };
    let (journal, recovered) = world.open();
    assert_eq!((numbers(&journal), recovered.rot.len()), (vec![0, 1, 2, 3], 0));
    assert!(fill(&journal, 4..5)[0] > first[2] + 1, "nor is its position given again");
}

#[test]
fn a_successor_that_never_held_anything_does_not_hide_what_its_predecessor_holds() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    let reports = Reports::default();
    // The flush fails, the new segment is made, then the process dies in its first write.
    world.disk.on(1, Act::Fail(EIO), is_sync);
    world.disk.on(1, Act::Hang, |op| matches!(op, Op::Write(name, at, _) if *at == 1024 && !name.is_empty()));
    journal.append(record(3), OnFailure::Keep, reports.of(3));
    world.disk.until_hanging();
    let copy = tempfile::tempdir().unwrap();
    for file in segments(&world.dir) {
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    world.disk.release();
    reports.until_final(1);
    journal.crash();
    let after = World { dir: copy.path().to_owned(), ..World::new() };
    assert_eq!(segments(&after.dir).len(), 2);
    let (journal, recovered) = after.open();
    assert_eq!((numbers(&journal), recovered.rot.len()), (vec![0, 1, 2, 3], 0));
}

#[test]
fn records_to_be_given_back_are_failed_and_kept_ones_told_at_risk_while_the_disk_fails() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    let reports = Reports::default();
    world.disk.on(1, Act::Hang, batch_of);
    journal.append(record(1), OnFailure::Keep, reports.of(1));
    world.disk.until_hanging();
    journal.append(record(2), OnFailure::GiveBack, reports.of(2));
    journal.append(record(3), OnFailure::Keep, reports.of(3));
    world.disk.on(1, Act::Fail(EIO), is_sync);
    world.disk.on(2, Act::Fail(ENOSPC), |op| matches!(op, Op::Create(_)));
    world.disk.release();
    reports.until_at_risk(3);
    assert!(matches!(reports.about(2)[..], [Progress::Failed(AppendError::Unwritable(_))]));
    journal.append(record(4), OnFailure::GiveBack, reports.of(4));
    assert!(matches!(reports.about(4)[..], [Progress::Failed(AppendError::Unwritable(_))]), "known to fail: at once");
    journal.append(record(5), OnFailure::Keep, reports.of(5));
    assert_eq!(reports.about(5)[0], Progress::AtRisk, "at once");
    reports.until_final(5);
    assert_eq!((numbers(&journal), journal.at_risk()), (vec![0, 1, 3, 5], 0));
    wait_until("well again", || {
        let reports = Reports::default();
        journal.append(record(6), OnFailure::GiveBack, reports.of(6));
        reports.until_final(1);
        matches!(reports.about(6)[..], [Progress::Durable(_)])
    });
}

#[test]
fn bytes_at_risk_are_counted_and_the_queue_is_bounded() {
    let mut world = World::new();
    world.config.overflow_max = Size(sizes(10..20));
    let (journal, _) = world.open();
    world.disk.on(usize::MAX, Act::Fail(EIO), is_write);
    let reports = Reports::default();
    (10..20).for_each(|n| journal.append(record(n), OnFailure::Keep, reports.of(n)));
    (10..20).for_each(|n| reports.until_at_risk(n));
    assert_eq!(journal.at_risk(), sizes(10..20));
    journal.append(record(20), OnFailure::Keep, reports.of(20));
    assert_eq!(reports.about(20), [Progress::Failed(AppendError::QueueFull)]);
    // Not while it tries again: a segment's file is there for a moment.
    journal.crash();
    assert!(segments(&world.dir).is_empty(), "no files are left of segments that could not be begun");
}

#[test]
fn a_disk_with_too_little_free_space_counts_as_failing_and_no_segment_is_given_up_for_it() {
    let mut world = World::new();
    world.config.min_free = Size(1000);
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    world.disk.free.store(999, Ordering::Relaxed);
    let reports = Reports::default();
    wait_until("noticed", || {
        let reports = Reports::default();
        journal.append(record(1), OnFailure::GiveBack, reports.of(1));
        reports.until_final(1);
        matches!(reports.about(1)[..], [Progress::Failed(AppendError::Unwritable(_))])
    });
    let before = numbers(&journal).len();
    journal.append(record(2), OnFailure::Keep, reports.of(2));
    reports.until_at_risk(2);
    assert_eq!(numbers(&journal).len(), before);
    world.disk.free.store(1000, Ordering::Relaxed);
    reports.until_final(1);
    assert_eq!((segments(&world.dir).len(), *numbers(&journal).last().unwrap()), (1, 2));
}

#[test]
fn a_disk_that_fails_at_the_start_does_not_keep_the_journal_from_opening() {
    let world = World::new();
    world.crashed_after(3);
    edit(&segments(&world.dir)[0], |bytes| bytes.truncate(bytes.len() - 1));
    world.disk.on(20, Act::Fail(ENOSPC), |op| !matches!(op, Op::Unlink(_) | Op::Read(..)));
    let (journal, recovered) = world.open();
    assert!(recovered.cut_bytes > 0);
    assert_eq!(numbers(&journal), [0, 1]);
    let reports = Reports::default();
    journal.append(record(3), OnFailure::Keep, reports.of(3));
    reports.until_final(1);
    assert_eq!(numbers(&journal), [0, 1, 3]);
    run(journal.close()).unwrap();
    let (journal, recovered) = world.open();
    assert_eq!((numbers(&journal), recovered.rot.len()), (vec![0, 1, 3], 0));
}

#[test]
fn a_segment_whose_beginning_failed_and_whose_file_stayed_is_set_aside_later() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    // The batch fails, the next segment takes it but cannot flush it, and its file cannot be removed either.
    world.disk.on(1, Act::Fail(EIO), is_sync);
    world.disk.on(1, Act::Fail(EIO), |op| matches!(op, Op::Unlink(_)));
    let file = Arc::new(Mutex::new(None));
    world.disk.on(1, Act::Fail(EIO), move |op| match op {
        Op::Write(name, 1024, _) => *file.lock().unwrap().get_or_insert_with(|| name.clone()) == *name,
        _ => false,
    });
    let reports = Reports::default();
    journal.append(record(1), OnFailure::Keep, reports.of(1));
    reports.until_final(1);
    assert_eq!(segments(&world.dir).len(), 3);
    journal.crash();
    let (journal, recovered) = world.open();
    assert_eq!((numbers(&journal), recovered.rot.len(), recovered.set_aside.len()), (vec![0, 1], 0, 1));
}

#[test]
fn closing_writes_past_min_free_and_max_size_for_what_is_not_written_then_is_lost() {
    let mut world = World::new();
    world.config.min_free = Size(1000);
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    world.disk.free.store(999, Ordering::Relaxed);
    journal.core().full.store(true, Ordering::Relaxed);
    let reports = Reports::default();
    journal.append(record(1), OnFailure::Keep, reports.of(1));
    reports.until_at_risk(1);
    run(journal.close()).unwrap();
    assert!(matches!(reports.about(1)[..], [Progress::AtRisk, Progress::Durable(_)]));
    assert_eq!(numbers(&world.open().0), [0, 1]);
}

#[test]
fn closing_tries_again_and_says_how_many_records_are_lost() {
    let world = World::new();
    let (journal, _) = world.open();
    world.disk.on(usize::MAX, Act::Fail(ENOSPC), |op| matches!(op, Op::Create(_)));
    let reports = Reports::default();
    (0..3).for_each(|n| journal.append(record(n), OnFailure::Keep, reports.of(n)));
    (0..3).for_each(|n| reports.until_at_risk(n));
    world.disk.log();
    let error = run(journal.close()).unwrap_err();
    assert!(matches!(&error, JournalError::Lost(what) if what == "3 accepted events"), "{error}");
    assert!(world.disk.log().iter().any(|op| matches!(op, Op::Create(_))), "it was not tried again");
}
