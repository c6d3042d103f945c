//! What holds a sink back, and what goes into the ledger when: dead letters without room.

use super::*;
use crate::ledger::{Dead, Room};

#[tokio::test]
async fn without_room_for_its_dead_letters_a_sink_waits_and_goes_on_when_there_is_some() {
    let (sink, journal) = (Scripted::new(), Memory::new());
    let room = Arc::new(Room::new(1000));
    let take = |bytes| room.set(HashMap::from([("crm".to_owned(), Dead { letters: 1, bytes })]));
    take(1000);
    let sent = fill(&journal, 40, 40);
    let bad = sent[3].clone();
    sink.judge(move |d| if d.id == bad { Outcome::reject("constraint", "no") } else { Outcome::Delivered });
    let mut spec = spec(&sink, keys(), 2, 1);
    spec.room = Arc::clone(&room);
    let book = Arc::clone(&spec.book);
    let running = launch(spec, &journal);
    let waits = async {
        while !book.is_stuck() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("it waits");
    assert_eq!((sink.delivered().len(), journal.dead().len()), (3, 0), "nothing is tried meanwhile");
    assert!(journal.cursor() <= 3, "the cursor waits before the letter");
    take(500);
    journal.until("all settled", |j| j.cursor() == 40).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 40, delivered: 39, dead: 1, ..Counters::default() });
    assert!(!book.is_stuck());
}

#[tokio::test]
async fn a_dead_letter_goes_into_the_ledger_with_the_cursor_that_passes_it() {
    let (sink, journal) = (Scripted::new(), Memory::new());
    let sent = fill(&journal, 10, 10);
    let (first, bad) = (sent[0].clone(), sent[5].clone());
    let healed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ok = Arc::clone(&healed);
    sink.judge(move |d| match () {
        () if d.id == bad => Outcome::reject("constraint", "no"),
        () if d.id == first && !ok.load(std::sync::atomic::Ordering::SeqCst) => Outcome::retry("http_5xx", "500"),
        () => Outcome::Delivered,
    });
    let running = start(&sink, &journal, keys(), 1, 1);
    tokio::time::timeout(PATIENCE, sink.until(|s| s.delivered().len() == 8)).await.expect("the others arrive");
    assert!(journal.settlements().is_empty(), "a crash now would deliver it again");
    healed.store(true, std::sync::atomic::Ordering::SeqCst);
    journal.until("all settled", |j| j.cursor() == 10).await;
    let journal = running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 10, delivered: 9, dead: 1, ..Counters::default() });
    assert_eq!(journal.dead().len(), 1);
}
