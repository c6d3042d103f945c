//! Appending, flushing, reading and waiting, with nothing going wrong.

use super::faulty::{Act, Op, segments};
use super::*;

#[test]
fn whoever_waits_for_a_batch_is_notified_once_when_it_is_durable() {
    let world = World::new();
    let (journal, _) = world.open();
    let (reports, notified) = (Reports::default(), Arc::new(AtomicU64::new(0)));
    let notify: NotifyBatch = Arc::new({
        let notified = Arc::clone(&notified);
        move || _ = notified.fetch_add(1, Ordering::Relaxed)
    });
    world.disk.on(1, Act::Hang, |op| matches!(op, Op::Sync(_)));
    journal.append(record(0), OnFailure::Keep, reports.of(0));
    world.disk.until_hanging();
    let append = |n| Append {
        record: record(n),
        on_failure: OnFailure::Keep,
        on_progress: reports.of(n),
        notify: Some(Arc::clone(&notify)),
    };
    journal.append_all((1..10).map(append).collect());
    assert_eq!(notified.load(Ordering::Relaxed), 0);
    world.disk.release();
    reports.until_final(10);
    run(journal.close()).unwrap();
    assert_eq!(notified.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_appended_is_read_back_in_order_from_memory_and_from_disk() {
    let world = World::new();
    let (journal, recovered) = world.open();
    assert_eq!(recovered, Recovered::default());
    assert!(read_from(&journal, 0, 1 << 20).is_empty());
    let start = journal.end();
    let offsets = fill(&journal, 0..20);
    let expected: Vec<(u64, u64)> = (0..).zip(offsets.iter().copied()).collect();
    assert_eq!(read_from(&journal, start.offset, 1 << 20), expected);
    assert_eq!(read_from(&journal, 0, 300), expected, "from the file");
    assert_eq!(journal.end().offset, offsets[19] + 1);
    assert_eq!(journal.oldest().offset, offsets[0]);
    run(journal.close()).unwrap();

    let (journal, recovered) = world.open();
    assert!(recovered.had_records && recovered.scanned == 0 && recovered.segments == 1);
    assert_eq!(read_from(&journal, 0, 1 << 20), expected, "after closing, by the footer");
    assert_eq!(read_from(&journal, offsets[7], 1), expected[7..], "one at a time");
    run(journal.close()).unwrap();
}

#[test]
fn concurrent_appends_share_a_flush() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    world.disk.log();
    world.disk.on(1, Act::Hang, |op| matches!(op, Op::Sync(_)));
    let reports = Reports::default();
    journal.append(record(1), OnFailure::Keep, reports.of(1));
    world.disk.until_hanging();
    for n in 2..1002 {
        journal.append(record(n), OnFailure::Keep, reports.of(n));
    }
    world.disk.release();
    reports.until_final(1001);
    let log = world.disk.log();
    assert_eq!(log.iter().filter(|op| matches!(op, Op::Sync(_))).count(), 2, "{log:?}");
    assert_eq!(log.iter().filter(|op| matches!(op, Op::Write(..))).count(), 2);
    let order: Vec<u64> = reports.durable().into_iter().map(|(n, _)| n).collect();
    assert_eq!(order, (1..1002).collect::<Vec<_>>(), "told in order");
}

#[test]
fn readers_and_callers_never_learn_of_what_is_not_flushed() {
    let world = World::new();
    let (journal, _) = world.open();
    let offsets = fill(&journal, 0..1);
    world.disk.on(1, Act::Hang, |op| matches!(op, Op::Sync(_)));
    let reports = Reports::default();
    journal.append(record(1), OnFailure::Keep, reports.of(1));
    world.disk.until_hanging();
    assert_eq!(read_from(&journal, 0, 1 << 20), [(0, offsets[0])], "from disk");
    assert_eq!(read_from(&journal, offsets[0], 1 << 20), [(0, offsets[0])], "from memory");
    assert_eq!((reports.all(), journal.end().offset), (vec![], offsets[0] + 1));
    let waited = run(async { tokio::time::timeout(Duration::from_millis(20), journal.wait(journal.end())).await });
    assert!(waited.is_err(), "woken by something not durable");
    world.disk.release();
    run(journal.wait(at(offsets[0] + 1)));
    assert_eq!(numbers(&journal), [0, 1]);
}

#[test]
fn waiting_ends_at_once_for_what_is_there_and_later_for_what_comes() {
    let world = World::new();
    let (journal, _) = world.open();
    let from = journal.end();
    run(async {
        let waiting = journal.wait(from);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(1), &mut waiting).await;
        assert!(early.is_err());
        journal.append(record(0), OnFailure::Keep, Box::new(|_| ()));
        waiting.await;
        journal.wait(from).await;
    });
    assert_eq!(numbers(&journal), [0]);
}

#[test]
fn a_segment_is_ended_at_its_size_and_its_file_is_made_safe_before_the_first_answer() {
    let world = World::with_segments(4096);
    let (journal, _) = world.open();
    world.disk.log();
    fill(&journal, 0..1);
    let log = world.disk.log();
    let place = |wanted: &dyn Fn(&Op) -> bool| log.iter().position(wanted).unwrap();
    let header = place(&|op| matches!(op, Op::Write(_, 0, _)));
    let folder = place(&|op| *op == Op::SyncDir);
    let batch = place(&|op| matches!(op, Op::Write(_, 1024, _)));
    assert!(header < folder && folder < batch, "{log:?}");
    assert_eq!(log.iter().filter(|op| matches!(op, Op::Sync(_))).count(), 2);

    fill(&journal, 1..100);
    let files = segments(&world.dir);
    assert!(files.len() > 4);
    assert!(files.iter().all(|f| std::fs::metadata(f).unwrap().permissions() == permissions(0o600)));
    run(journal.close()).unwrap();
    for file in segments(&world.dir) {
        let bytes = std::fs::read(file).unwrap();
        assert_eq!(&bytes[bytes.len() - 16..bytes.len() - 8], b"hookfoot", "every one is sealed once closed");
    }
    let (journal, recovered) = world.open();
    assert_eq!((recovered.scanned, numbers(&journal)), (0, (0..100).collect()));
}

fn permissions(mode: u32) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o100_000 | mode)
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let world = World::with_segments(4096);
    let (journal, _) = world.open();
    let reports = Reports::default();
    for (n, bytes) in [(0, 100), (1, 50_000), (2, 100), (3, 3_000_000)] {
        journal.append(sized(n, bytes), OnFailure::Keep, reports.of(n));
    }
    reports.until_final(4);
    assert_eq!(segments(&world.dir).len(), 4);
    assert_eq!(numbers(&journal), [0, 1, 2, 3]);
    run(journal.close()).unwrap();
    assert_eq!(numbers(&world.open().0), [0, 1, 2, 3]);
}

#[test]
fn sinks_left_behind_by_memory_read_from_disk_without_a_seam() {
    let world = World::with_segments(4 << 20);
    let (journal, _) = world.open();
    let reports = Reports::default();
    for n in 0..120 {
        journal.append(sized(n, 500_000), OnFailure::Keep, reports.of(n));
        reports.until_final(n as usize + 1);
    }
    let first = reports.durable()[0].1;
    assert!(journal.core().view().read_tail(first, 1).is_none(), "memory holds less than all");
    let found: Vec<u64> = read_from(&journal, first, 1 << 20).into_iter().map(|(n, _)| n).collect();
    assert_eq!(found, (0..120).collect::<Vec<_>>());
}

#[test]
fn closing_flushes_what_is_queued_and_takes_no_more() {
    let world = World::new();
    let (journal, _) = world.open();
    let reports = Reports::default();
    (0..5000).for_each(|n| journal.append(record(n), OnFailure::Keep, reports.of(n)));
    run(journal.close()).unwrap();
    assert_eq!(reports.durable().len(), 5000);
    journal.append(record(5000), OnFailure::Keep, reports.of(5000));
    assert_eq!(reports.about(5000), [Progress::Failed(AppendError::Closed)]);
    run(journal.close()).unwrap();
    assert_eq!(numbers(&world.open().0).len(), 5000);
}

#[test]
fn a_second_journal_on_the_folder_is_told_the_holders_pid_until_the_first_closes() {
    let world = World::new();
    let (journal, _) = world.open();
    let Err(JournalError::Locked { pid, .. }) = world.try_open() else { panic!("opened twice") };
    assert_eq!(pid, std::process::id());
    run(journal.close()).unwrap();
    world.open();
}

#[test]
fn opening_and_closing_without_a_record_leaves_no_segment() {
    let world = World::new();
    for _ in 0..3 {
        run(world.open().0.close()).unwrap();
    }
    assert!(segments(&world.dir).is_empty());
}

#[test]
fn a_journal_that_begins_anew_lies_above_the_positions_of_the_one_before() {
    let world = World::new();
    let last = world.crashed_after(3)[2];
    std::fs::remove_dir_all(&world.dir).unwrap();
    world.clock.fetch_add(60 * SECOND, Ordering::Relaxed);
    assert!(world.crashed_after(1)[0] > last, "a cursor from before must not hide new events");
}

#[test]
fn a_journal_that_closes_soon_writes_its_footer_while_records_still_come() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    journal.closes_soon();
    wait_until("the footer", || {
        let bytes = std::fs::read(&faulty::segments(&world.dir)[0]).unwrap();
        bytes.len() > 16 && &bytes[bytes.len() - 16..bytes.len() - 8] == b"hookfoot"
    });
    fill(&journal, 3..5);
    run(journal.close()).unwrap();
    let (journal, recovered) = world.open();
    assert_eq!((recovered.scanned, numbers(&journal)), (0, (0..5).collect::<Vec<_>>()));
}
