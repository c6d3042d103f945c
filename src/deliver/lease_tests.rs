//! Nothing is launched without a lease, and each delivery says where its event stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::*;
use crate::journal::{Moment, Renewing};

/// Puts events until the worker has read them, a few times: it has looked around meanwhile.
async fn looks_around(journal: &Memory) {
    for _ in 0..5 {
        fill(journal, 4, 4);
        let all = journal.entries().len() as u64;
        let mut furthest = journal.furthest();
        tokio::time::timeout(PATIENCE, furthest.wait_for(|read| *read == all)).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn nothing_is_tried_before_the_shards_are_surely_ours(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let lease = journal.share();
    let running = start(&sink, &journal, keys(), 5, 2);
    looks_around(&journal).await;
    // It was long in coming.
    lease.proved(Moment::now().before(Duration::from_secs(3601)));
    looks_around(&journal).await;
    assert_eq!(sink.batches().len(), 0);
    lease.proved(Moment::now());
    journal.wait_until("all settled", |journal| journal.passed() == 40).await;
    running.stop().await;
    assert_eq!(sink.delivered().len(), 40);
}

/// One event fails by that reason until the lease has ended, `tries` times: nothing is tried from then on, neither it
/// nor another. Gives what was delivered in the end.
async fn ends_while_it_fails(shards: u32, code: &'static str, tries: usize) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let lease = journal.share();
    lease.proved(Moment::now());
    let (over, ends): (Arc<AtomicBool>, Renewing) = (Arc::default(), lease.clone());
    let (is_over, tried) = (Arc::clone(&over), std::sync::atomic::AtomicUsize::new(0));
    let first = fill(&journal, 1, 1)[0].clone();
    sink.judge(move |delivery| {
        if delivery.id != first || is_over.load(SeqCst) {
            return Outcome::Delivered;
        }
        if tried.fetch_add(1, SeqCst) + 1 == tries {
            is_over.store(true, SeqCst);
            ends.end();
        }
        Outcome::retry(code, "no")
    });
    let running = start(&sink, &journal, keys(), 1, 1);
    tokio::time::timeout(PATIENCE, async {
        while !over.load(SeqCst) {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    let before = sink.batches().len();
    looks_around(&journal).await;
    assert_eq!(sink.batches().len(), before, "after {tries} tries that ended with {code}");
    lease.proved(Moment::now());
    journal.wait_until("all settled", |journal| journal.totals().delivered == 21).await;
    running.stop().await;
}

async fn nothing_is_tried_again_without_a_lease_and_no_sink_is_probed(shards: u32) {
    // A quick retry, a probe of a sink that is down, and a parked delivery.
    for (code, tries) in [("http_5xx", 1), (code::CONNECT, 3), ("http_5xx", 6)] {
        ends_while_it_fails(shards, code, tries).await;
    }
}

async fn each_delivery_says_where_its_event_stands_also_when_it_was_parked(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    journal.share().proved(Moment::now());
    let bad = fill(&journal, 20, 20)[3].clone();
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let is_bad = move |id: &str| id == bad && tries.fetch_add(1, SeqCst) < 6;
    sink.judge(move |delivery| match is_bad(&delivery.id) {
        true => Outcome::retry("http_5xx", "500"),
        false => Outcome::Delivered,
    });
    let running = start(&sink, &journal, keys(), 5, 2);
    journal.wait_until("all settled", |journal| journal.totals().delivered == 20).await;
    running.stop().await;
    let stands: BTreeMap<String, String> = journal
        .entries()
        .into_iter()
        .map(|entry| (uuid::Uuid::from_bytes(entry.record.id).to_string(), entry.position))
        .map(|(id, at)| (id, format!("{}:{}", at.shard, at.offset)))
        .collect();
    let told = sink.delivered().into_iter().map(|delivery| {
        let position = delivery.position.as_deref().expect("it is told").to_owned();
        (delivery.id.clone(), position)
    });
    assert_eq!(told.collect::<BTreeMap<_, _>>(), stands);
}

#[tokio::test]
async fn where_nobody_shares_the_journal_nothing_is_said_of_places() {
    let (sink, journal) = (Scripted::new(), Memory::new(1));
    fill(&journal, 3, 3);
    let running = start(&sink, &journal, keys(), 5, 2);
    journal.wait_until("all settled", |journal| journal.passed() == 3).await;
    running.stop().await;
    assert!(sink.delivered().iter().all(|delivery| delivery.position.is_none()));
}

on_one_shard_and_on_two!(
    nothing_is_tried_before_the_shards_are_surely_ours,
    nothing_is_tried_again_without_a_lease_and_no_sink_is_probed,
    each_delivery_says_where_its_event_stands_also_when_it_was_parked,
);
