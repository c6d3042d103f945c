//! What holds a sink back, and what goes into the ledger when: dead letters without room, a rate.

use super::*;
use crate::ledger::Dead;

async fn without_room_for_its_dead_letters_a_sink_waits_and_goes_on_when_there_is_some(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::bounded(shards, 1000));
    journal.begin().await;
    let budget = journal.ledger.held_budget();
    let take = |bytes| budget.set(HashMap::from([("crm".to_owned(), Dead { letters: 1, bytes })]));
    take(1000);
    let sent = fill(&journal, 40, 40);
    // The fourth that is tried.
    let bad = sent[4 * shards as usize - 1].clone();
    sink.judge(move |d| if d.id == bad { Outcome::reject("constraint", "no") } else { Outcome::Delivered });
    let spec = spec(&sink, &journal, keys(), 2, 1);
    let book = Arc::clone(&spec.book);
    let running = launch(spec, &journal);
    let waits = async {
        while !book.is_stuck() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("it waits");
    assert_eq!((sink.delivered().len(), journal.dead().len()), (3, 0), "nothing is tried meanwhile");
    assert!(journal.passed() <= 3, "the cursor waits before the letter");
    take(500);
    journal.wait_until("all settled", |j| j.passed() == 40).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 40, delivered: 39, dead: 1, ..Counters::default() });
    assert!(!book.is_stuck());
}

async fn a_dead_letter_goes_into_the_ledger_with_the_cursor_that_passes_it(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 10, 10);
    // Of one shard: a cursor passes only what is in its own.
    let (first, bad) = (sent[0].clone(), sent[4].clone());
    let healed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ok = Arc::clone(&healed);
    sink.judge(move |d| match () {
        () if d.id == bad => Outcome::reject("constraint", "no"),
        () if d.id == first && !ok.load(std::sync::atomic::Ordering::SeqCst) => Outcome::retry("http_5xx", "500"),
        () => Outcome::Delivered,
    });
    // What is tried again soon is parked after a few tries, and then holds no cursor.
    let retry = RetryKeys { initial: Period::millis(300), max: Period::millis(300), ..RetryKeys::default() };
    let running = start(&sink, &journal, DeliveryKeys { retry, ..keys() }, 1, 1);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.delivered().len() == 8)).await.expect("the others arrive");
    assert!(journal.dead().is_empty(), "a crash now would deliver it again");
    assert!(shards > 1 || journal.settlements().is_empty(), "and the others");
    healed.store(true, std::sync::atomic::Ordering::SeqCst);
    journal.wait_until("all settled", |j| j.passed() == 10 && j.totals().delivered == 9).await;
    let journal = running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 10, delivered: 9, dead: 1, ..Counters::default() });
    assert_eq!(journal.dead().len(), 1);
}

async fn a_rate_spreads_deliveries_retries_included_and_all_arrive(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 12, 12);
    let failed = std::sync::atomic::AtomicU32::new(0);
    sink.judge(move |_| match failed.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 {
        0 => Outcome::retry("http_5xx", "500"),
        _ => Outcome::Delivered,
    });
    let began = std::time::Instant::now();
    let keys = DeliveryKeys { rate: Some("50/s".into()), ..keys() };
    let running = start(&sink, &journal, keys, 10, 4);
    // The cursor alone would not do: it passes what has failed thrice, too.
    journal.wait_until("all arrived", |j| j.totals().delivered == 12).await;
    let took = began.elapsed();
    running.stop().await;
    let handed: usize = sink.batches().iter().map(|batch| batch.len()).sum();
    // No machine is so slow that this would be wrong: what has not been handed over in time comes later.
    let most = 6 + usize::try_from(took.as_millis() / 20).unwrap();
    assert!(handed >= 24 && handed <= most, "{handed} in {took:?}");
    assert_eq!(journal.totals(), Counters { accepted: 12, delivered: 12, ..Counters::default() });
}

on_one_shard_and_on_two!(
    without_room_for_its_dead_letters_a_sink_waits_and_goes_on_when_there_is_some,
    a_dead_letter_goes_into_the_ledger_with_the_cursor_that_passes_it,
    a_rate_spreads_deliveries_retries_included_and_all_arrive,
);
