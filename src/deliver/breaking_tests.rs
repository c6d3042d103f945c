//! What opens a sink's breaker and what does not: a poison event among good ones and alone, a slip that rejects all.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::*;
use crate::deliver::BreakerState;

async fn a_poison_event_among_good_ones_never_opens_the_breaker_and_ends_as_a_dead_letter(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 200, 50);
    let poison = sent[7].clone();
    let bad = poison.clone();
    let opened = Arc::new(AtomicBool::new(false));
    let mut keys = keys();
    keys.retry.attempts = NonZeroU32::new(8);
    let spec = spec(&sink, &journal, keys, 5, 2);
    let (book, seen) = (Arc::clone(&spec.book), Arc::clone(&opened));
    sink.judge(move |d| {
        if book.breaker() != BreakerState::Closed {
            seen.store(true, SeqCst);
        }
        if d.id == bad { Outcome::retry("http_5xx", "500") } else { Outcome::Delivered }
    });
    let running = launch(spec, &journal);
    let all = Counters { accepted: 200, delivered: 199, dead: 1, ..Counters::default() };
    journal.wait_until("all is settled", |j| j.totals() == all).await;
    running.stop().await;
    assert!(!opened.load(SeqCst), "closed to the rest");
    assert_eq!(journal.dead(), HashMap::from([(poison, "http_5xx".to_owned())]));
}

async fn a_poison_event_alone_uses_up_its_attempts_and_ends_as_a_dead_letter(shards: u32) {
    // The second speaks of the sink: then each attempt is a probe.
    for code in ["http_5xx", code::TIMEOUT] {
        let (sink, journal) = (Scripted::new(), Memory::new(shards));
        let sent = fill(&journal, 1, 1);
        sink.judge(move |_| Outcome::retry(code, "no"));
        let mut keys = keys();
        keys.retry.attempts = NonZeroU32::new(5);
        let running = start(&sink, &journal, keys, 5, 1);
        journal.wait_until("given up", |j| j.totals().dead == 1).await;
        running.stop().await;
        assert_eq!(journal.dead(), HashMap::from([(sent[0].clone(), code.to_owned())]));
    }
}

async fn a_slip_that_rejects_everything_makes_few_dead_letters_and_the_rest_arrives_when_it_is_mended(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 1000, 1000);
    let mended = Arc::new(AtomicBool::new(false));
    let ok = Arc::clone(&mended);
    sink.judge(move |_| match ok.load(SeqCst) {
        true => Outcome::Delivered,
        false => Outcome::reject("constraint", "no column `x`"),
    });
    let spec = spec(&sink, &journal, keys(), 10, 2);
    let book = Arc::clone(&spec.book);
    let running = launch(spec, &journal);
    journal.wait_until("rejects go on as probes", |j| j.totals().dead >= 75).await;
    assert_ne!(book.breaker(), BreakerState::Closed);
    let probes = sink.batches().iter().filter(|batch| batch.len() == 1).count();
    assert!(probes >= 5, "{probes}");
    mended.store(true, SeqCst);
    journal.wait_until("the rest arrives", |j| j.passed() == 1000).await;
    running.stop().await;
    let totals = journal.totals();
    assert_eq!((totals.accepted, totals.delivered + totals.dead), (1000, 1000));
    // Fifty in a row, what was under way with them, and one a probe.
    assert!(totals.dead <= 50 + 20 + sink.batches().iter().filter(|batch| batch.len() == 1).count() as u64);
    assert_eq!(book.breaker(), BreakerState::Closed);
}

on_one_shard_and_on_two!(
    a_poison_event_among_good_ones_never_opens_the_breaker_and_ends_as_a_dead_letter,
    a_poison_event_alone_uses_up_its_attempts_and_ends_as_a_dead_letter,
    a_slip_that_rejects_everything_makes_few_dead_letters_and_the_rest_arrives_when_it_is_mended,
);
