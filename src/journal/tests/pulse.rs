//! The commit thread's signs of life: given at rest and at work, owed by a thread that stands still, and by none that
//! waits for the disk.

use std::sync::mpsc;

use super::*;

fn answers(journal: &LocalJournal) {
    journal.ask();
    wait_until("a sign of life", || journal.has_answered());
}

#[test]
fn at_rest_between_writes_and_while_the_disk_fails_each_question_is_answered() {
    let world = World::new();
    let (journal, _) = world.open();
    answers(&journal);
    fill(&journal, 0..3);
    answers(&journal);
    world.disk.on(usize::MAX, Act::Fail(faulty::EIO), |op| matches!(op, Op::Sync(_)));
    let reports = Reports::default();
    journal.append(record(3), OnFailure::Keep, reports.of(3));
    reports.until_at_risk(3);
    (0..3).for_each(|_| answers(&journal));
    journal.crash();
}

#[test]
fn a_thread_that_stands_still_owes_a_sign_of_life_until_it_goes_on() {
    let world = World::new();
    let (journal, _) = world.open();
    let (stands, standing) = mpsc::channel();
    let (go_on, gone_on) = mpsc::channel::<()>();
    // Whoever is told of the record keeps the commit thread.
    let on_progress: OnProgress = Box::new(move |_| {
        stands.send(()).unwrap();
        let _ = gone_on.recv_timeout(DEADLINE);
    });
    journal.append(record(0), OnFailure::Keep, on_progress);
    standing.recv_timeout(DEADLINE).unwrap();
    journal.ask();
    assert!(!journal.has_answered());
    go_on.send(()).unwrap();
    wait_until("a sign of life", || journal.has_answered());
    run(journal.close()).unwrap();
}

#[test]
fn a_thread_that_waits_for_the_disk_owes_none_however_long() {
    for matches in [(|op: &Op| matches!(op, Op::Sync(_))) as fn(&Op) -> bool, |op| matches!(op, Op::Create(_))] {
        let world = World::new();
        world.disk.on(1, Act::Hang, matches);
        let (journal, _) = world.open();
        journal.append(record(0), OnFailure::Keep, Reports::default().of(0));
        world.disk.until_hanging();
        (0..3).for_each(|_| journal.ask());
        assert!(journal.has_answered());
        world.disk.release();
        wait_until("flushed", || journal.end().offset > 0 && numbers(&journal) == [0]);
        answers(&journal);
        run(journal.close()).unwrap();
    }
}
