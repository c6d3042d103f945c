//! Retention: what goes, what stays, and what readers are told of it.

use super::faulty::{Act, EIO, ENOSPC, Op, segments};
use super::*;
use crate::journal::verify::{Sort, verify};

/// Segments of about six records each, all much older than `retention`.
fn old(records: u64) -> (World, LocalJournal, Vec<u64>) {
    let mut world = World::with_segments(2048);
    world.config.retention = Period::secs(60);
    let (journal, _) = world.open();
    let offsets = fill(&journal, 0..records);
    world.clock.store(START + 1_000_000 * SECOND, Ordering::Relaxed);
    (world, journal, offsets)
}

/// Waits until retention has looked at things as they are now.
fn after_a_pass(journal: &LocalJournal) {
    let looks = || journal.core().looks.load(Ordering::Relaxed);
    let start = looks();
    wait_until("retention looked", || {
        journal.core().chores.kick();
        looks() > start + 1
    });
}

#[test]
fn nothing_is_deleted_before_the_sinks_have_said_what_they_hold() {
    let (world, journal, _) = old(30);
    after_a_pass(&journal);
    assert_eq!(numbers(&journal).len(), 30);
    journal.begin();
    wait_until("deleted", || segments(&world.dir).len() == 1);
    assert_eq!(*numbers(&journal).last().unwrap(), 29, "the newest segment stays");
}

#[test]
fn a_segment_goes_only_when_the_durable_cursors_of_all_sinks_are_past_it() {
    let (world, journal, offsets) = old(30);
    journal.hold("a", &at(offsets[0]).into());
    journal.hold("b", &at(offsets[0]).into());
    journal.begin();
    world.cursors.settle(&journal, "a", offsets[29] + 1).unwrap();
    after_a_pass(&journal);
    assert_eq!(numbers(&journal).len(), 30, "b needs them all");

    world.cursors.fail.store(true, Ordering::Relaxed);
    world.cursors.settle(&journal, "b", offsets[29] + 1).unwrap_err();
    after_a_pass(&journal);
    assert_eq!(numbers(&journal).len(), 30, "a cursor that is not durable releases nothing");

    world.cursors.fail.store(false, Ordering::Relaxed);
    world.cursors.settle(&journal, "b", offsets[20]).unwrap();
    wait_until("deleted", || journal.oldest().offset > offsets[0]);
    after_a_pass(&journal);
    let found = numbers(&journal);
    assert!(found[0] > 0 && found[0] <= 20 && found.len() as u64 == 30 - found[0], "{found:?}");
    assert_eq!(run(world.cursors.cursors("b")).unwrap(), at(offsets[20]).into());
    journal.release("b");
    wait_until("deleted", || segments(&world.dir).len() == 1);
}

#[test]
fn a_sink_that_asks_for_what_is_deleted_is_told_where_to_go_on() {
    let (world, journal, offsets) = old(30);
    journal.begin();
    wait_until("deleted", || segments(&world.dir).len() == 1);
    let journal = {
        journal.crash();
        world.open().0
    };
    let chunk = run(journal.read(at(offsets[3]), 1 << 20)).unwrap();
    let first = chunk.entries[0].position;
    assert_eq!((chunk.gap.map(|gap| gap.to), journal.oldest()), (Some(first), first));
    assert!(run(journal.read(first, 1 << 20)).unwrap().gap.is_none());
    assert!(run(journal.read(at(first.offset + 1), 1 << 20)).unwrap().gap.is_none());
    let end = journal.end();
    fill(&journal, 30..31);
    let chunk = run(journal.read(end, 1 << 20)).unwrap();
    assert_eq!((chunk.gap, chunk.entries.len()), (None, 1), "positions never given are no gap");
}

#[test]
fn a_cursor_at_the_end_of_a_deleted_segment_sees_no_gap() {
    let (world, journal, offsets) = old(30);
    journal.crash();
    let (journal, _) = world.open();
    fill(&journal, 30..31);
    journal.begin();
    wait_until("deleted", || segments(&world.dir).len() == 1);
    // Opened again, so that it is read from the file: memory would not have to think about gaps.
    journal.crash();
    let (journal, _) = world.open();
    assert!(journal.oldest().offset > offsets[29] + 1);
    let chunk = run(journal.read(at(offsets[29] + 1), 1)).unwrap();
    assert_eq!((chunk.gap, number(&chunk.entries[0].record)), (None, 30));
    let chunk = run(journal.read(at(offsets[29]), 1)).unwrap();
    assert_eq!(chunk.gap.map(|gap| gap.to), Some(journal.oldest()), "one record earlier there was something");
}

#[test]
fn past_max_size_settled_segments_go_before_their_time_and_then_the_oldest_owed_ones() {
    let mut world = World::with_segments(2048);
    world.config.max_size = Size(16_384);
    let (journal, _) = world.open();
    let offsets = fill(&journal, 0..40);
    journal.hold("a", &at(offsets[20]).into());
    journal.begin();
    wait_until("down to size", || journal.stat().bytes.unwrap() <= 16_384);
    let settled = numbers(&journal);
    assert!(settled[0] > 0, "settled ones went first");
    assert!(settled.contains(&20), "{settled:?}");
    fill(&journal, 40..120);
    wait_until("down to size", || journal.stat().bytes.unwrap() <= 16_384 + 2048);
    after_a_pass(&journal);
    run(journal.close()).unwrap();
    let (journal, _) = world.open();
    let chunk = run(journal.read(at(offsets[20]), 1)).unwrap();
    assert!(chunk.gap.is_some(), "the laggard's oldest went");
    assert_eq!(*numbers(&journal).last().unwrap(), 119);
}

/// What a reader at `from` is told was deleted: of both types, and how many without a type.
fn deleted_from(journal: &LocalJournal, from: u64) -> (u64, u64, u64) {
    let Some(gap) = run(journal.read(at(from), 1)).unwrap().gap else { return (0, 0, 0) };
    let of = |kind: &str| gap.deleted.iter().filter(|c| &*c.kind == kind).map(|c| c.events).sum();
    (of("message_api_sent"), of("message_api_read"), gap.lost)
}

/// A journal past `max_size` whose oldest segments a sink still owes.
fn laggard(records: u64) -> (World, LocalJournal, Vec<u64>) {
    let mut world = World::with_segments(2048);
    world.config.max_size = Size(16_384);
    let (journal, _) = world.open();
    journal.hold("a", &journal.end().into());
    let offsets = fill(&journal, 0..records);
    (world, journal, offsets)
}

#[test]
fn what_was_deleted_though_owed_is_told_to_the_record_from_any_cursor_and_after_a_crash() {
    let (world, journal, offsets) = laggard(120);
    journal.begin();
    wait_until("down to size", || journal.stat().bytes.unwrap() <= 16_384);
    journal.crash();
    let (journal, _) = world.open();
    let first = numbers(&journal)[0];
    assert!(first > 20);
    for from in 0..120 {
        let sent = (from..first).filter(|n| n.is_multiple_of(3)).count() as u64;
        let all = first.saturating_sub(from);
        assert_eq!(deleted_from(&journal, offsets[from as usize]), (sent, all - sent, 0), "from {from} to {first}");
    }
}

#[test]
fn what_memory_still_gives_is_not_told_as_deleted() {
    let (_world, journal, offsets) = laggard(120);
    journal.begin();
    wait_until("down to size", || journal.stat().bytes.unwrap() <= 16_384);
    assert!(journal.oldest().offset > offsets[20]);
    let chunk = run(journal.read(at(offsets[3]), 1 << 20)).unwrap();
    assert_eq!((chunk.gap, chunk.entries.len()), (None, 117));
}

#[test]
fn an_owed_segment_stays_until_it_is_noted_what_goes_with_it() {
    let (world, journal, offsets) = laggard(120);
    world.cursors.fail.store(true, Ordering::Relaxed);
    journal.begin();
    after_a_pass(&journal);
    assert_eq!(journal.oldest(), at(offsets[0]));
    world.cursors.fail.store(false, Ordering::Relaxed);
    wait_until("down to size", || journal.stat().bytes.unwrap() <= 16_384);
}

#[test]
fn what_was_noted_but_not_deleted_before_a_crash_is_read_and_not_told_as_deleted() {
    let (world, journal, offsets) = laggard(120);
    world.disk.on(usize::MAX, Act::Fail(EIO), |op| matches!(op, Op::Unlink(_)));
    journal.begin();
    wait_until("noted", || !world.cursors.deleted.lock().unwrap().is_empty());
    journal.crash();
    let (journal, _) = world.open();
    assert_eq!(deleted_from(&journal, offsets[0]), (0, 0, 0));
    assert_eq!(numbers(&journal).len(), 120);
}

#[test]
fn with_refuse_a_journal_full_of_owed_events_takes_no_more_until_a_sink_moves_on() {
    let mut world = World::with_segments(2048);
    world.config.max_size = Size(16_384);
    world.config.when_full = WhenFull::Refuse;
    let (journal, _) = world.open();
    journal.hold("a", &journal.end().into());
    journal.begin();
    let (reports, mut n) = (Reports::default(), 0);
    wait_until("full", || {
        journal.append(record(n), OnFailure::GiveBack, reports.of(n));
        n += 1;
        reports.until_final(n as usize);
        reports.about(n - 1) == [Progress::Failed(AppendError::Full)]
    });
    assert!(journal.stat().bytes.unwrap() > 16_384);
    let kept = Reports::default();
    journal.append(record(n), OnFailure::Keep, kept.of(n));
    kept.until_at_risk(n);
    let held = numbers(&journal);
    assert_eq!(held[0], 0, "nothing owed was dropped");
    world.cursors.settle(&journal, "a", journal.end().offset).unwrap();
    kept.until_final(1);
    assert_eq!(*numbers(&journal).last().unwrap(), n);
}

#[test]
fn the_ledgers_size_counts_towards_max_size() {
    let mut world = World::with_segments(2048);
    world.config.max_size = Size(100_000);
    let (journal, _) = world.open();
    fill(&journal, 0..40);
    journal.begin();
    after_a_pass(&journal);
    assert_eq!(numbers(&journal).len(), 40);
    world.other_bytes.store(95_000, Ordering::Relaxed);
    wait_until("made room", || journal.stat().bytes.unwrap() <= 5_000);
}

#[test]
fn an_active_segment_that_has_grown_old_is_ended_so_that_it_can_go_one_day() {
    let mut world = World::new();
    world.config.retention = Period::secs(800);
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    journal.begin();
    after_a_pass(&journal);
    assert_eq!(segments(&world.dir).len(), 1);
    world.clock.store(START + 101 * SECOND, Ordering::Relaxed);
    wait_until("ended", || {
        journal.core().chores.kick();
        journal.core().view().segments[0].summary.is_none()
    });
    fill(&journal, 1..2);
    assert_eq!((segments(&world.dir).len(), numbers(&journal)), (2, vec![0, 1]));
}

#[test]
fn a_footer_that_cannot_be_written_costs_nothing_but_a_scan_at_the_next_start() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    world.disk.on(2, Act::Fail(EIO), |op| matches!(op, Op::Write(_, at, n) if *at > 1024 && *n != 187 && *n != 171));
    fill(&journal, 3..30);
    assert_eq!(numbers(&journal), (0..30).collect::<Vec<_>>());
    run(journal.close()).unwrap();
    let (journal, recovered) = world.open();
    assert!(recovered.scanned > 0 && recovered.rot.is_empty());
    assert_eq!(numbers(&journal), (0..30).collect::<Vec<_>>());
}

/// What `journal verify` finds, by sort.
fn found(world: &World) -> Vec<Sort> {
    verify(&world.dir, |_, _| {}).unwrap().findings.iter().map(|one| one.sort).collect()
}

/// A write of a footer: behind a header, and not by the thread that writes records.
fn is_of_a_footer(op: &Op) -> bool {
    matches!(op, Op::Write(_, at, _) if *at > 1024) && std::thread::current().name() != Some("journal-commit")
}

#[test]
fn half_a_footer_that_a_full_disk_left_is_cut_off_at_once_while_it_runs_and_at_a_start() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    world.disk.on(usize::MAX, Act::Half(ENOSPC), is_of_a_footer);
    fill(&journal, 3..8);
    after_a_pass(&journal);
    journal.crash();
    assert_eq!(found(&world), []);
    let (journal, recovered) = world.open();
    assert!(recovered.scanned > 0, "the disk is full still");
    journal.crash();
    assert_eq!(found(&world), []);
}

#[test]
fn a_footer_that_did_not_fit_is_written_when_there_is_room() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    world.disk.on(3, Act::Half(ENOSPC), is_of_a_footer);
    fill(&journal, 3..8);
    wait_until("every ended segment has its footer", || {
        journal.core().chores.kick();
        journal.core().view().segments.iter().filter(|one| one.ended).all(|one| one.summary.is_none())
    });
    run(journal.close()).unwrap();
    let (_, recovered) = world.open();
    assert_eq!((recovered.scanned, found(&world)), (0, vec![]), "no footer is missing");
}

#[test]
fn a_footer_that_could_not_be_flushed_is_cut_off_and_not_tried_again() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    let written = Mutex::new(None);
    world.disk.on(1, Act::Fail(EIO), move |op| match op {
        Op::Write(file, ..) if is_of_a_footer(op) => {
            *written.lock().unwrap() = Some(file.clone());
            false
        }
        Op::Sync(file) => written.lock().unwrap().take_if(|one| one == file).is_some(),
        _ => false,
    });
    fill(&journal, 3..8);
    after_a_pass(&journal);
    after_a_pass(&journal);
    journal.crash();
    assert_eq!(found(&world), []);
    let (_, recovered) = world.open();
    assert!(recovered.scanned > 0 && recovered.rot.is_empty());
}

/// How many events of any type were owed between two positions.
fn owed(journal: &LocalJournal, from: u64, to: u64) -> u64 {
    run(journal.owed(at(from), at(to))).unwrap().iter().map(|count| count.events).sum()
}

#[test]
fn what_is_owed_is_counted_to_the_record_from_any_place_to_any_other_while_the_last_segment_grows() {
    let (_world, journal, offsets) = old(30);
    for (n, from) in offsets.iter().enumerate() {
        for (m, to) in offsets.iter().enumerate().skip(n) {
            assert_eq!(owed(&journal, *from, *to), (m - n) as u64, "from {n} to {m}");
        }
    }
    let end = journal.end().offset;
    let more = fill(&journal, 30..33);
    assert_eq!(owed(&journal, 0, end), 30, "what came later is not of it");
    assert_eq!(owed(&journal, more[0], u64::MAX), 3);
}

#[test]
fn what_goes_while_a_sink_is_away_is_noted_from_its_cursor_on_and_what_it_had_is_not() {
    let (world, journal, offsets) = old(30);
    journal.hold("a", &at(offsets[29] + 1).into());
    journal.leave("b", &at(offsets[8]).into());
    world.cursors.fail.store(true, Ordering::Relaxed);
    journal.begin();
    after_a_pass(&journal);
    let first = journal.oldest().offset;
    assert!(first <= offsets[8], "what it has not had stays until that is noted");
    world.cursors.fail.store(false, Ordering::Relaxed);
    wait_until("deleted", || {
        journal.core().chores.kick();
        segments(&world.dir).len() == 1
    });
    let oldest = journal.oldest().offset;
    let gone = offsets.iter().filter(|offset| **offset < oldest).count() as u64;
    assert_eq!(owed(&journal, offsets[8], oldest), gone - 8);
    assert!(world.cursors.deleted.lock().unwrap().iter().all(|noted| noted.to.offset > offsets[8]));
    journal.crash();
    let (sent, read, lost) = deleted_from(&world.open().0, offsets[8]);
    assert_eq!((sent + read, lost), (gone - 8, 0), "back, and no longer in memory, it is told so");
}
