//! Shards that are given, taken and lost while a sink works.

use super::*;
use crate::ledger::{HeldDelivery, Settlement, Spent};

#[tokio::test]
async fn a_shard_that_is_taken_is_settled_before_it_goes_and_goes_on_where_it_stood_when_it_is_back() {
    let (sink, journal) = (Scripted::new(), Memory::new(2));
    let mut sent = fill(&journal, 40, 10);
    let running = start(&sink, &journal, keys(), 5, 2);
    journal.wait_until("all settled", |j| j.passed() == 40).await;
    sent.extend(fill(&journal, 20, 10));
    let taken = tokio::time::timeout(PATIENCE, journal.take(1)).await;
    taken.expect("it lets go").expect("it says so");
    let at_taking = journal.ledger.load("crm").await.unwrap().unwrap().cursors.at(1);
    sent.extend(fill(&journal, 20, 10));
    let first_shard = |j: &Memory| j.settlements().iter().any(|step| step.cursor == Some(at(40)));
    journal.wait_until("the other goes on", first_shard).await;
    assert_eq!(journal.ledger.load("crm").await.unwrap().unwrap().cursors.at(1), at_taking, "nobody moves it");
    journal.give(1).await;
    journal.wait_until("all settled", |j| j.passed() == 80).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 80, delivered: 80, ..Counters::default() });
    assert_eq!(sink.delivered().len(), 80, "nothing twice");
    let by_key = ids_by_key(&sink);
    for k in 0..10 {
        let expected: Vec<&String> = sent.iter().skip(k).step_by(10).collect();
        assert_eq!(by_key[&format!("k{k}")].iter().collect::<Vec<_>>(), expected, "key k{k}");
    }
}

#[tokio::test]
async fn what_another_has_parked_of_a_shard_is_delivered_before_what_comes_when_the_shard_is_given() {
    let (sink, journal) = (Scripted::new(), Memory::new(2));
    let running = start(&sink, &journal, keys(), 5, 2);
    tokio::time::timeout(PATIENCE, sink.wait_until(|sink| sink.builds() == 1)).await.expect("it begins");
    let taken = tokio::time::timeout(PATIENCE, journal.take(1)).await;
    taken.expect("it lets go").expect("it says so");
    let sent = fill_with(&journal, 3, |_| "k2".to_owned());
    let first = journal.entries().into_iter().find(|entry| entry.position.shard == 1).unwrap();
    let parked = HeldDelivery {
        id: sent[0].clone(),
        position: first.position,
        kind: "t".into(),
        subject: "k2".into(),
        key: "k2".into(),
        code: "http_5xx".into(),
        detail: "500".into(),
        answer: None,
        attempts: 1,
        times: [first.record.time; 3],
        event: first.record,
        payload: None,
        target: "{}".into(),
        due: Some(0),
        spent: Spent::default(),
    };
    let delta = Counters { accepted: 1, ..Counters::default() };
    let step = Settlement { delta, held: vec![parked], ..Settlement::to("crm", first.position.behind()) };
    journal.ledger.settle(vec![step]).await.unwrap();
    journal.give(1).await;
    tokio::time::timeout(PATIENCE, sink.wait_until(|sink| sink.delivered().len() == 3)).await.expect("all of them");
    running.stop().await;
    assert_eq!(sink.delivered_ids(), sent, "in order");
}

#[tokio::test]
async fn what_was_read_of_a_shard_that_is_lost_is_not_settled_even_where_the_window_is_full() {
    let (sink, journal) = (Scripted::new(), Memory::new(2));
    sink.shut_gate();
    fill(&journal, MAX_EVENTS + 10, 1000);
    let running = start(&sink, &journal, keys(), 500, 2);
    let mut furthest = journal.furthest();
    tokio::time::timeout(PATIENCE, furthest.wait_for(|f| *f >= MAX_EVENTS as u64)).await.unwrap().unwrap();
    journal.take_at_once(1);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.builds() == 2)).await.expect("it begins anew");
    sink.open_gate();
    let half = (MAX_EVENTS + 10) as u64 / 2;
    journal.wait_until("the other goes on", |j| j.passed() == half).await;
    assert!(journal.settlements().iter().all(|step| step.shard == 0), "the lost one is not settled");
    journal.give(1).await;
    journal.wait_until("all settled", |j| j.passed() == 2 * half).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 2 * half, delivered: 2 * half, ..Counters::default() });
}

#[tokio::test]
async fn a_sink_whose_reader_is_over_goes_on_with_another() {
    let (sink, journal) = (Scripted::new(), Memory::new(1));
    fill(&journal, 20, 10);
    let running = start(&sink, &journal, keys(), 5, 2);
    journal.wait_until("all settled", |j| j.passed() == 20).await;
    // What it loses it is told of, and reads on with the same reader; that one ends then.
    journal.take_at_once(0);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.builds() == 2)).await.expect("it begins anew");
    journal.end_reader();
    fill(&journal, 20, 10);
    journal.wait_until("all settled", |j| j.passed() == 40).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 40, delivered: 40, ..Counters::default() });
    assert_eq!(sink.delivered().len(), 40, "nothing twice");
}

#[tokio::test]
async fn calls_with_what_was_read_of_a_shard_that_is_lost_are_let_go_at_once() {
    let (sink, journal) = (Scripted::new(), Memory::new(2));
    sink.shut_gate();
    fill(&journal, 40, 40);
    let running = launch_with(spec(&sink, &journal, keys(), 5, 2), &journal, PATIENCE * 10);
    tokio::time::timeout(PATIENCE, sink.wait_until(|sink| sink.running() == 2)).await.expect("calls are under way");
    journal.take_at_once(1);
    let begins_anew = sink.wait_until(|sink| sink.builds() == 2);
    tokio::time::timeout(PATIENCE / 2, begins_anew).await.expect("nobody waits for them");
    sink.open_gate();
    journal.wait_until("the other goes on", |journal| journal.passed() == 20).await;
    running.stop().await;
}
