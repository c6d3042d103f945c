//! What the sink did not try: what it puts off is no attempt and comes again in its turn, what is not needed any more
//! is over and counted as filtered, and neither says anything of the target.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use sink_api::Delivery;

use super::*;
use crate::deliver::{BreakerState, Probed};
use crate::ledger::fates::FateKind;
use crate::ledger::held::{Filter, Held, Letter, Page};

const AN_HOUR: Duration = Duration::from_secs(3600);

fn later(after: Duration) -> Outcome {
    Outcome::Later { after, why: Reason::new("quiet", "it is night there") }
}

fn skipped() -> Outcome {
    Outcome::Skipped { why: Reason::new("overtaken", "it was read") }
}

/// Says how often it was asked about a delivery before.
fn asked() -> impl Fn(&Delivery) -> u32 + Send + Sync {
    let times: Mutex<HashMap<String, u32>> = Mutex::default();
    move |delivery| {
        let mut times = times.lock().unwrap();
        let asked = times.entry(delivery.id.clone()).or_default();
        *asked += 1;
        *asked - 1
    }
}

/// One try and no more.
fn one_attempt() -> DeliveryKeys {
    let mut keys = keys();
    keys.retry.attempts = NonZeroU32::new(1);
    keys
}

async fn parked(journal: &Memory) -> Vec<Letter> {
    let filter = Filter { held: Held::Parked, ..Filter::default() };
    journal.ledger.held(filter, Page { limit: 99, ..Page::default() }).await.unwrap().0
}

/// What the ledger tells of that delivery: what became of it, how often it was tried, code and detail.
async fn told(journal: &Memory, id: &str) -> (FateKind, u32, Option<String>, Option<String>) {
    let entry =
        journal.entries().into_iter().find(|entry| sink_api::Uuid::from_bytes(entry.record.id).to_string() == id);
    let entry = entry.unwrap();
    let told = journal.ledger.fates(entry.position, entry.record.id).await.unwrap().pop().unwrap();
    let [fate] = <[_; 1]>::try_from(told.deliveries).unwrap();
    assert_eq!(fate.id, id);
    (fate.kind, fate.attempts, fate.code, fate.detail)
}

fn assert_in_order(sink: &Scripted, sent: &[String], keys: usize) {
    let by_key = ids_by_key(sink);
    for k in 0..keys {
        let expected: Vec<&String> = sent.iter().skip(k).step_by(keys).collect();
        assert_eq!(by_key[&format!("k{k}")].iter().collect::<Vec<_>>(), expected, "key k{k}");
    }
    assert_eq!(sink.overlaps(), Vec::<Arc<str>>::new(), "a key was in two batches at once");
}

async fn what_is_put_off_comes_again_in_its_turn_and_that_is_no_attempt(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 90, 3);
    let asked = asked();
    sink.judge(move |delivery| match delivery.event.id.as_bytes()[15] % 16 {
        spread @ 1..=2 if asked(delivery) < u32::from(spread) => later(Duration::ZERO),
        _ => Outcome::Delivered,
    });
    let spec = spec(&sink, &journal, one_attempt(), 7, 2);
    let book = Arc::clone(&spec.book);
    let running = launch(spec, &journal);
    journal.wait_until("all delivered", |j| j.totals().delivered == 90).await;
    running.stop().await;
    assert_in_order(&sink, &sent, 3);
    assert_eq!(book.vitals().attempts(), [("delivered", String::new(), 90)], "what is put off is no attempt");
    assert!(book.vitals().last_error().is_none());
    for id in &sent {
        assert_eq!(told(&journal, id).await, (FateKind::Delivered, 1, None, None));
    }
}

async fn what_is_put_off_for_long_lies_in_the_ledger_and_the_cursor_passes_it(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 30, 3);
    let (bad, asked) = (sent[4].clone(), asked());
    sink.judge(move |d| if d.id == bad && asked(d) == 0 { later(10 * AN_HOUR) } else { Outcome::Delivered });
    let running = start(&sink, &journal, one_attempt(), 5, 2);
    journal.wait_until("the cursor is past it", |j| j.passed() == 30).await;
    assert_eq!(sink.delivered().len(), 21, "two keys, and the first of the third");
    let rows = parked(&journal).await;
    let row = rows.iter().find(|row| row.id == sent[4]).unwrap();
    assert_eq!(
        (rows.len(), row.attempts, row.reason.each_ref().map(String::as_str)),
        (9, 0, ["quiet", "it is night there"])
    );
    let wait = row.due.unwrap() - row.times[2];
    assert!((3_590_000_000..=3_600_000_000).contains(&wait), "an hour at most: {wait}");
    let why = (Some("quiet".to_owned()), Some("it is night there".to_owned()));
    assert_eq!(told(&journal, &sent[4]).await, (FateKind::Pending, 0, why.0, why.1));
    // A restart forgets neither the wait nor the place in line; who wants it tried does not wait.
    let journal = running.stop().await;
    let spec = spec(&sink, &journal, one_attempt(), 5, 2);
    let book = Arc::clone(&spec.book);
    let running = launch(spec, &journal);
    let (more, all) = (fill(&journal, 3, 3), Counters { accepted: 33, delivered: 33, ..Counters::default() });
    journal.wait_until("what came later is past", |j| j.passed() == 33).await;
    assert_eq!(sink.delivered().len(), 23);
    let answer = book.probes.ask().unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, answer).await.unwrap(), Ok(Probed::Delivered));
    journal.wait_until("all delivered", |j| j.totals() == all).await;
    running.stop().await;
    assert_in_order(&sink, &[sent.clone(), more].concat(), 3);
    assert_eq!(told(&journal, &sent[4]).await, (FateKind::Delivered, 1, None, None));
}

async fn what_is_put_off_again_and_again_keeps_the_cursor_only_for_a_while(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 10, 10);
    let (bad, ready) = (sent[0].clone(), Arc::new(AtomicUsize::new(0)));
    let is_ready = Arc::clone(&ready);
    sink.judge(
        move |d| if d.id == bad && is_ready.load(SeqCst) == 0 { later(Duration::ZERO) } else { Outcome::Delivered },
    );
    let running = start(&sink, &journal, one_attempt(), 5, 2);
    journal.wait_until("the cursor is past it", |j| j.passed() == 10).await;
    let asked =
        |s: &Scripted| s.batches().iter().flat_map(|b| b.deliveries.clone()).filter(|d| d.id == sent[0]).count();
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| asked(s) >= 8)).await.expect("it is asked about on and on");
    ready.store(1, SeqCst);
    journal.wait_until("all delivered", |j| j.totals().delivered == 10).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 10, delivered: 10, ..Counters::default() });
}

async fn a_probe_that_is_put_off_or_skipped_leaves_the_breaker_open_and_the_next_takes_another_event(shards: u32) {
    for untried in [later(Duration::ZERO), later(AN_HOUR), skipped()] {
        let (sink, journal) = (Scripted::new(), Memory::new(shards));
        let sent = fill(&journal, 12, 12);
        let (calls, answer) = (Arc::new(AtomicUsize::new(0)), untried.clone());
        let counted = Arc::clone(&calls);
        // The first call finds the sink down, the next ten are not tried, then it is back.
        sink.judge(move |_| match counted.fetch_add(1, SeqCst) {
            0 => Outcome::retry(code::CONNECT, "refused"),
            1..=10 => answer.clone(),
            _ => Outcome::Delivered,
        });
        let spec = spec(&sink, &journal, one_attempt(), 1, 1);
        let book = Arc::clone(&spec.book);
        let running = launch(spec, &journal);
        tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.batches().len() == 11)).await.expect("probes go on");
        let probes: Vec<_> = sink.batches().into_iter().skip(1).collect();
        assert!(probes.iter().all(|batch| batch.len() == 1));
        let different: std::collections::HashSet<_> = probes.iter().map(|b| b.deliveries[0].id.clone()).collect();
        assert_eq!(different.len(), 10, "another event each time");
        let is_skipped = matches!(untried, Outcome::Skipped { .. });
        let long = matches!(untried, Outcome::Later { after, .. } if after == AN_HOUR);
        let left = if is_skipped || long { 2 } else { 12 };
        journal.wait_until("the rest arrives", |j| j.totals().delivered == left).await;
        running.stop().await;
        assert_eq!(book.breaker(), BreakerState::Closed);
        let filtered = if is_skipped { 10 } else { 0 };
        assert_eq!((journal.totals().dead, journal.totals().filtered), (0, filtered));
        assert_eq!(parked(&journal).await.len(), if long { 10 } else { 0 });
        assert_eq!(journal.entries().len(), sent.len());
    }
}

async fn what_is_not_needed_any_more_is_filtered_and_says_why_however_far_it_has_come(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 60, 6);
    let (asked, numbers) = (asked(), sent.clone());
    // One at once, one after a failure, one that was parked after its failures, one that was put off for long.
    sink.judge(move |delivery| match (numbers.iter().position(|id| *id == delivery.id), asked(delivery)) {
        (Some(1), _) | (Some(8), 1..) | (Some(15), 4..) | (Some(22), 1..) => skipped(),
        (Some(8 | 15), _) => Outcome::retry("http_5xx", "500"),
        (Some(22), _) => later(AN_HOUR),
        _ => Outcome::Delivered,
    });
    let spec = spec(&sink, &journal, keys(), 5, 2);
    let book = Arc::clone(&spec.book);
    let running = launch(spec, &journal);
    journal.wait_until("three are over", |j| j.totals().filtered == 3 && j.passed() == 60).await;
    let answer = book.probes.ask().unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, answer).await.unwrap(), Ok(Probed::Delivered), "what stood behind it");
    let all = Counters { accepted: 60, delivered: 56, filtered: 4, ..Counters::default() };
    journal.wait_until("all is over", |j| j.totals() == all).await;
    running.stop().await;
    assert_eq!(journal.ledger.load("crm").await.unwrap().unwrap().counters, all);
    let why = || (Some("overtaken".to_owned()), Some("it was read".to_owned()));
    for (n, attempts) in [(1, 0), (8, 1), (15, 4), (22, 0)] {
        assert_eq!(told(&journal, &sent[n]).await, (FateKind::Filtered, attempts, why().0, why().1), "{n}");
    }
    let others: Vec<String> =
        sent.iter().enumerate().filter(|(n, _)| ![1, 8, 15, 22].contains(n)).map(|(_, id)| id.clone()).collect();
    assert_eq!(sink.delivered().len(), others.len());
    for (key, ids) in ids_by_key(&sink) {
        let k: usize = key.trim_start_matches('k').parse().unwrap();
        let of_key = sent.iter().skip(k).step_by(6).filter(|id| others.contains(id));
        assert_eq!(ids.iter().collect::<Vec<_>>(), of_key.collect::<Vec<_>>(), "{key}");
    }
    let tries: Vec<_> = book.vitals().attempts();
    assert_eq!(tries, [("delivered", String::new(), 56), ("retry", "http_5xx".to_owned(), 5)]);
}

async fn what_nobody_tried_leaves_its_place_under_the_rate_to_others(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 400, 400);
    sink.judge(|_| skipped());
    // At this rate all of them would take days.
    let keys = DeliveryKeys { rate: Some("2/h".into()), ..keys() };
    let running = start(&sink, &journal, keys, 1, 1);
    journal.wait_until("all are over", |j| j.passed() == 400).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 400, filtered: 400, ..Counters::default() });
}

on_one_shard_and_on_two!(
    what_is_put_off_comes_again_in_its_turn_and_that_is_no_attempt,
    what_is_put_off_for_long_lies_in_the_ledger_and_the_cursor_passes_it,
    what_is_put_off_again_and_again_keeps_the_cursor_only_for_a_while,
    a_probe_that_is_put_off_or_skipped_leaves_the_breaker_open_and_the_next_takes_another_event,
    what_is_not_needed_any_more_is_filtered_and_says_why_however_far_it_has_come,
    what_nobody_tried_leaves_its_place_under_the_rate_to_others,
);
