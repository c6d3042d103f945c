//! What fails again and again is parked in a real ledger: the cursor moves on, order within keys holds, restarts forget
//! nothing, fresh events are not starved.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use sink_api::Size;

use super::*;
use crate::ledger::held::{Change, Filter, Page};
use crate::ledger::parked::Schedule;

/// A sink that takes everything but what `fails` names, until it is healed.
fn failing(sink: &Scripted, fails: impl Fn(&str) -> bool + Send + Sync + 'static) -> Arc<AtomicBool> {
    let healed = Arc::new(AtomicBool::new(false));
    let ok = Arc::clone(&healed);
    sink.judge(
        move |d| {
            if !ok.load(SeqCst) && fails(&d.id) { Outcome::retry("http_5xx", "500") } else { Outcome::Delivered }
        },
    );
    healed
}

async fn schedule(journal: &Memory) -> Schedule {
    journal.ledger.schedule("crm", true).await.unwrap()
}

fn counted(accepted: u64, delivered: u64) -> Counters {
    Counters { accepted, delivered, ..Counters::default() }
}

/// In order within each key.
fn assert_in_order(sink: &Scripted, sent: &[String], keys: usize) {
    let by_key = ids_by_key(sink);
    for k in 0..keys {
        let expected: Vec<&String> = sent.iter().skip(k).step_by(keys).collect();
        assert_eq!(by_key[&format!("k{k}")].iter().collect::<Vec<_>>(), expected, "key k{k}");
    }
    assert_eq!(sink.overlaps(), Vec::<Arc<str>>::new(), "a key was in two batches at once");
}

async fn the_cursor_passes_what_is_parked_and_its_key_waits_behind_it_in_order(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let mut sent = fill(&journal, 60, 3);
    let bad = sent[4].clone();
    let healed = failing(&sink, move |id| id == bad);
    let running = start(&sink, &journal, keys(), 10, 2);
    journal.wait_until("the cursor is past it", |j| j.passed() == 60).await;
    sent.extend(fill(&journal, 30, 3));
    journal.wait_until("and past what came later", |j| j.passed() == 90).await;
    assert_eq!(sink.delivered().len(), 61, "two keys, and the first of the third");
    let parked = schedule(&journal).await;
    assert_eq!((parked.rows, parked.lanes.len()), (29, 1));
    assert_eq!(journal.totals(), counted(90, 61));
    healed.store(true, SeqCst);
    journal.wait_until("all delivered", |j| j.totals() == counted(90, 90)).await;
    let journal = running.stop().await;
    assert_in_order(&sink, &sent, 3);
    assert_eq!((sink.delivered().len(), schedule(&journal).await), (90, Schedule::default()));
}

async fn what_is_parked_outlives_a_restart_and_keeps_its_place_in_line(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let mut sent = fill(&journal, 20, 2);
    let bad = sent[1].clone();
    let healed = failing(&sink, move |id| id == bad);
    let running = start(&sink, &journal, keys(), 4, 2);
    journal.wait_until("parked", |j| j.passed() == 20).await;
    let journal = running.stop().await;
    sent.extend(fill(&journal, 20, 2));
    let running = start(&sink, &journal, keys(), 4, 2);
    journal.wait_until("parked behind", |j| j.passed() == 40).await;
    assert_eq!(sink.delivered().len(), 20);
    healed.store(true, SeqCst);
    journal.wait_until("all delivered", |j| j.totals() == counted(40, 40)).await;
    running.stop().await;
    assert_in_order(&sink, &sent, 2);
}

async fn what_is_parked_ends_as_a_dead_letter_with_all_its_attempts_and_lets_its_key_go_on(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 20, 2);
    let poison = sent[0].clone();
    let bad = poison.clone();
    failing(&sink, move |id| id == bad);
    let mut keys = keys();
    keys.retry.attempts = NonZeroU32::new(6);
    let running = start(&sink, &journal, keys, 5, 1);
    let all = Counters { accepted: 20, delivered: 19, dead: 1, ..Counters::default() };
    journal.wait_until("given up, and the others delivered", |j| j.totals() == all).await;
    let journal = running.stop().await;
    let (letters, _) = journal.ledger.held(Filter::default(), Page { limit: 9, ..Page::default() }).await.unwrap();
    let letter: Vec<_> = letters.iter().map(|l| (l.id.as_str(), l.attempts, l.reason[0].as_str())).collect();
    assert_eq!(letter, [(poison.as_str(), 6, "http_5xx")]);
    let tried = sink.batches().iter().flat_map(|b| b.deliveries.clone()).filter(|d| d.id == poison).count();
    assert_eq!(tried, 6);
    assert!(letters[0].times[1] <= letters[0].times[2]);
    assert_eq!(schedule(&journal).await, Schedule::default());
}

async fn where_there_is_no_room_to_park_the_cursor_waits_and_other_keys_go_on(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 40, 4);
    let bad: HashSet<String> = sent.iter().take(2).cloned().collect();
    let healed = failing(&sink, move |id| bad.contains(id));
    let mut keys = keys();
    keys.parked_max = Size(1);
    let running = start(&sink, &journal, keys, 4, 2);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.delivered().len() == 20)).await.expect("two keys go on");
    // Whichever failed for the third time first is parked, and no other: a shard passes that one, and what came before
    // the next of its key.
    assert!(journal.passed() <= u64::from(shards) && schedule(&journal).await.rows <= 1);
    healed.store(true, SeqCst);
    journal.wait_until("all delivered", |j| j.passed() == 40 && j.totals() == counted(40, 40)).await;
    running.stop().await;
    assert_in_order(&sink, &sent, 4);
}

async fn forty_events_that_always_fail_do_not_keep_fresh_ones_from_arriving(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 40, 40);
    let bad: Arc<HashSet<String>> = Arc::new(sent.iter().cloned().collect());
    let healed = failing(&sink, {
        let bad = Arc::clone(&bad);
        move |id| bad.contains(id)
    });
    let running = start(&sink, &journal, keys(), 1, 4);
    for round in 1..=20 {
        fill_with(&journal, 10, |i| format!("other{i}"));
        let wanted = 10 * round;
        let fresh = |s: &Scripted| s.delivered_ids().iter().filter(|id| !bad.contains(*id)).count();
        tokio::time::timeout(PATIENCE, sink.wait_until(|s| fresh(s) == wanted)).await.expect("fresh ones arrive");
    }
    healed.store(true, SeqCst);
    journal.wait_until("all delivered", |j| j.totals() == counted(240, 240)).await;
    running.stop().await;
}

async fn without_order_only_what_fails_is_parked(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 30, 1);
    let bad = sent[0].clone();
    let healed = failing(&sink, move |id| id == bad);
    let keys = DeliveryKeys { ordering: Ordering::None, ..keys() };
    let running = start(&sink, &journal, keys, 3, 2);
    journal.wait_until("the others are delivered", |j| j.passed() == 30 && j.totals() == counted(30, 29)).await;
    assert_eq!(journal.ledger.schedule("crm", false).await.unwrap().rows, 1);
    healed.store(true, SeqCst);
    journal.wait_until("all delivered", |j| j.totals() == counted(30, 30)).await;
    running.stop().await;
}

async fn a_dead_letter_that_is_retried_is_delivered_at_once_or_after_a_restart(shards: u32) {
    for restart in [false, true] {
        for as_was in [false, true] {
            let (sink, journal) = (Scripted::new(), Memory::new(shards));
            let sent = fill(&journal, 6, 3);
            let (bad, healed) = (sent[1].clone(), Arc::new(AtomicBool::new(false)));
            let ok = Arc::clone(&healed);
            sink.judge(move |d| match d.id == bad && !ok.load(SeqCst) {
                true => Outcome::reject("constraint", "no"),
                false => Outcome::Delivered,
            });
            let spec = spec(&sink, &journal, keys(), 3, 1);
            let book = Arc::clone(&spec.book);
            let mut running = Some(launch(spec, &journal));
            journal.wait_until("given up", |j| j.passed() == 6).await;
            assert_eq!(journal.totals(), Counters { accepted: 6, delivered: 5, dead: 1, ..Counters::default() });
            if restart {
                running.take().unwrap().stop().await;
            }
            healed.store(true, SeqCst);
            let change = Change::Retry { due: 0, as_was };
            let changed = journal.ledger.change_dead("crm", vec![sent[1].clone()], change).await.unwrap();
            assert_eq!(changed.letters, 1);
            book.notify();
            let running = running.unwrap_or_else(|| start(&sink, &journal, keys(), 3, 1));
            let delivered = |j: &Memory| j.totals().delivered == 6;
            journal.wait_until("delivered after all", delivered).await;
            running.stop().await;
            let counters = journal.ledger.load("crm").await.unwrap().unwrap().counters;
            assert_eq!(counters, counted(6, 6), "restart {restart}, as was {as_was}");
            assert_eq!(sink.delivered_ids().iter().filter(|id| **id == sent[1]).count(), 1);
        }
    }
}

async fn three_hundred_keys_with_something_parked_each_are_all_delivered_when_the_sink_heals(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 3000, 600);
    let bad: HashSet<String> = sent.iter().take(600).step_by(2).cloned().collect();
    let healed = failing(&sink, move |id| bad.contains(id));
    let running = start(&sink, &journal, keys(), 20, 2);
    // Where nothing but these is left the sink looks as if it were down: others show that it is not.
    let mut more = 0;
    while schedule(&journal).await.lanes.len() < 300 {
        fill_with(&journal, 10, |i| format!("other{i}"));
        more += 10;
        journal.wait_until("others arrive", |j| j.totals().delivered >= more).await;
    }
    journal.wait_until("the cursor is past all", |j| j.passed() == 3000 + more).await;
    healed.store(true, SeqCst);
    journal.wait_until("all delivered", |j| j.totals() == counted(3000 + more, 3000 + more)).await;
    let journal = running.stop().await;
    let by_key = ids_by_key(&sink);
    for k in 0..600 {
        let got: Vec<&String> = by_key[&format!("k{k}")].iter().filter(|id| sent.contains(id)).collect();
        assert_eq!(got, sent.iter().skip(k).step_by(600).collect::<Vec<_>>(), "key k{k}");
    }
    assert_eq!(schedule(&journal).await, Schedule::default());
}

on_one_shard_and_on_two!(
    the_cursor_passes_what_is_parked_and_its_key_waits_behind_it_in_order,
    what_is_parked_outlives_a_restart_and_keeps_its_place_in_line,
    what_is_parked_ends_as_a_dead_letter_with_all_its_attempts_and_lets_its_key_go_on,
    where_there_is_no_room_to_park_the_cursor_waits_and_other_keys_go_on,
    forty_events_that_always_fail_do_not_keep_fresh_ones_from_arriving,
    without_order_only_what_fails_is_parked,
    a_dead_letter_that_is_retried_is_delivered_at_once_or_after_a_restart,
    three_hundred_keys_with_something_parked_each_are_all_delivered_when_the_sink_heals,
);
