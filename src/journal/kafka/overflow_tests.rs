//! What is kept on this machine's disk while Kafka does not take it, and how it comes to Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use sink_api::{Size, Uuid};
use tokio::sync::mpsc;

use super::cluster::Cluster;
use super::journal::KafkaJournal;
use super::testing::{self, PATIENCE, append, next, open, read, record, until};
use crate::journal::{AppendError, Journal, Marks, OnFailure, Position, Progress};

/// Events are of so many keys.
const KEYS: u64 = 5;
const LARGE: Size = Size::mib(10);
/// Room for a few events.
const SMALL: Size = Size(8 << 10);

type Told = mpsc::Receiver<Progress>;

/// Appends events by number.
fn fill(journal: &KafkaJournal, numbers: std::ops::Range<u64>) -> Vec<Told> {
    let one = |n: u64| record(Uuid::now_v7(), &format!("k{}", n % KEYS), &format!("{n} {}", "x".repeat(500)));
    numbers.map(|n| append(journal, one(n), OnFailure::Keep)).collect()
}

async fn all_at_risk(told: &mut [Told]) {
    for told in told {
        assert_eq!(next(told).await, Progress::AtRisk);
    }
}

async fn all_durable(told: &mut [Told]) -> Vec<Position> {
    let mut positions = Vec::new();
    for told in told {
        loop {
            match next(told).await {
                Progress::Durable(position) => break positions.push(position),
                Progress::AtRisk => {}
                Progress::Failed(why) => panic!("{why}"),
            }
        }
    }
    positions
}

/// The numbers that stand in Kafka by key, in order; each counted where it stands first.
async fn numbers(journal: &KafkaJournal) -> (BTreeMap<u64, Vec<u64>>, usize) {
    let until = journal.ends().await.unwrap();
    let (mut by_key, mut all) = (BTreeMap::<u64, Vec<u64>>::new(), 0);
    for entry in read(journal, Marks::default(), until).await.iter().flat_map(|chunk| &chunk.entries) {
        let text = std::str::from_utf8(&entry.record.payload).unwrap();
        let number: u64 = text.split(' ').next().unwrap().parse().unwrap();
        let of_key = by_key.entry(number % KEYS).or_default();
        if !of_key.contains(&number) {
            of_key.push(number);
        }
        all += 1;
    }
    (by_key, all)
}

/// As [`numbers`] gives it where all is in order.
fn in_order(count: u64) -> BTreeMap<u64, Vec<u64>> {
    (0..KEYS).map(|key| (key, (key..count).step_by(KEYS as usize).collect())).collect()
}

/// Keeps events while nobody listens, then lets another life with real brokers send them.
async fn restarted(test: &str, overflow_max: Size, end: impl AsyncFn(KafkaJournal)) {
    let Some(cluster) = testing::real(test, 2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let away = Cluster { brokers: testing::nobody(), ..cluster.clone() };
    let journal = open(&away, folder.path(), overflow_max).await;
    all_at_risk(&mut fill(&journal, 0..60)).await;
    assert!(journal.at_risk() > 60 * 500);
    end(journal).await;
    let journal = open(&cluster, folder.path(), overflow_max).await;
    assert!(journal.at_risk() > 60 * 500, "what is left is at risk");
    journal.prepare(&[]).await.unwrap();
    // What is new stands behind what is left.
    all_durable(&mut fill(&journal, 60..100)).await;
    let (by_key, all) = numbers(&journal).await;
    assert_eq!((by_key, all), (in_order(100), 100));
    until(|| journal.refuses() == (false, false) && journal.at_risk() == 0).await;
    journal.close().await.unwrap();
    // Nothing is left.
    let journal = open(&cluster, folder.path(), overflow_max).await;
    journal.prepare(&[]).await.unwrap();
    all_durable(&mut fill(&journal, 100..101)).await;
    assert_eq!(numbers(&journal).await.1, 101);
    journal.close().await.unwrap();
    testing::remove(&cluster, &[&cluster.events(), &cluster.control()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_while_brokers_were_away_comes_first_after_a_restart() {
    restarted("an overflow over a restart", LARGE, async |journal: KafkaJournal| {
        journal.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_at_risk_outlives_a_crash() {
    restarted("an overflow over a crash", LARGE, async |journal: KafkaJournal| drop(journal)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_in_memory_is_kept_on_disk_alone() {
    restarted("an overflow beside a full queue", SMALL, async |journal: KafkaJournal| {
        journal.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_finds_no_room_in_memory_goes_over_the_disk_in_order() {
    let Some(cluster) = testing::real("an overflow under a burst", 2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&cluster, folder.path(), SMALL).await;
    journal.prepare(&[]).await.unwrap();
    let mut told = Vec::new();
    for first in (0..2000).step_by(100) {
        told.extend(fill(&journal, first..first + 100));
        tokio::task::yield_now().await;
    }
    assert!(journal.refuses().0, "it goes over the disk");
    let positions = all_durable(&mut told).await;
    let (by_key, all) = numbers(&journal).await;
    assert_eq!((by_key, all), (in_order(2000), 2000));
    let distinct: std::collections::HashSet<_> = positions.iter().collect();
    assert_eq!(distinct.len(), 2000, "each is told where it stands");
    until(|| journal.refuses() == (false, false) && journal.at_risk() == 0).await;
    journal.close().await.unwrap();
    testing::remove(&cluster, &[&cluster.events(), &cluster.control()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_overflow_is_full_too_events_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&testing::cluster(&testing::nobody(), 2), folder.path(), SMALL).await;
    let mut n = 0;
    let why = loop {
        let mut told = append(&journal, record(Uuid::now_v7(), "k", &"x".repeat(1 << 20)), OnFailure::Keep);
        if let Progress::Failed(why) = next(&mut told).await {
            break why;
        }
        n += 1;
        assert!(n < 12, "the overflow has a bound");
    };
    assert_eq!(why, AppendError::QueueFull);
    assert!(n > 4, "{n}");
    until(|| journal.refuses() == (true, true)).await;
    journal.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_overflow_cannot_be_written_events_are_in_memory_until_it_can() {
    let Some(cluster) = testing::real("an overflow that cannot be written", 2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let away = Cluster { brokers: testing::nobody(), ..cluster.clone() };
    let journal = open(&away, folder.path(), LARGE).await;
    // Its disk is full, until this is taken away.
    journal.fill_overflow(true);
    all_at_risk(&mut fill(&journal, 0..20)).await;
    assert_eq!(journal.overflow().await.unwrap().events, Some(0), "no copies");
    journal.fill_overflow(false);
    let mut later = fill(&journal, 20..30);
    all_at_risk(&mut later).await;
    until_copied(&journal, 30).await;
    drop(journal);
    let journal = open(&cluster, folder.path(), LARGE).await;
    journal.prepare(&[]).await.unwrap();
    all_durable(&mut fill(&journal, 30..31)).await;
    // It went behind the others, and they may be acknowledged later: their shard is another's.
    until(|| journal.at_risk() == 0).await;
    assert_eq!(numbers(&journal).await, (in_order(31), 31));
    journal.close().await.unwrap();
    testing::remove(&cluster, &[&cluster.events(), &cluster.control()]).await;
}

async fn until_copied(journal: &KafkaJournal, events: u64) {
    let copied = async {
        while journal.overflow().await.unwrap().events < Some(events) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, copied).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overflow_that_was_full_has_room_again_when_brokers_are_back() {
    let brokers = MockCluster::new(1).unwrap();
    let cluster = testing::cluster(&brokers.bootstrap_servers(), 2);
    brokers.create_topic(&cluster.events(), 2, 1).unwrap();
    brokers.broker_down(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&cluster, folder.path(), SMALL).await;
    journal.allow();
    let large = || record(Uuid::now_v7(), "k", &"x".repeat(200 << 10));
    let mut told = Vec::new();
    loop {
        let mut one = append(&journal, large(), OnFailure::Keep);
        match next(&mut one).await {
            Progress::Failed(why) => break assert_eq!(why, AppendError::QueueFull),
            Progress::AtRisk => told.push(one),
            Progress::Durable(_) => panic!("nobody is there"),
        }
    }
    brokers.broker_up(1).unwrap();
    let positions = all_durable(&mut told).await;
    assert!(positions.windows(2).all(|two| two[0].offset < two[1].offset));
    until(|| journal.refuses() == (false, false) && journal.at_risk() == 0).await;
    all_durable(&mut [append(&journal, large(), OnFailure::Keep)]).await;
    journal.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_brokers_are_back_all_that_was_at_risk_is_durable_in_order() {
    let brokers = MockCluster::new(3).unwrap();
    let cluster = testing::cluster(&brokers.bootstrap_servers(), 2);
    brokers.create_topic(&cluster.events(), 2, 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&cluster, folder.path(), LARGE).await;
    // They know no properties of topics.
    journal.allow();
    let mut told = fill(&journal, 0..10);
    all_durable(&mut told).await;
    for broker in 1..=3 {
        brokers.broker_down(broker).unwrap();
    }
    told = fill(&journal, 10..50);
    all_at_risk(&mut told).await;
    let mut refused = append(&journal, record(Uuid::now_v7(), "k0", "0"), OnFailure::GiveBack);
    assert!(matches!(next(&mut refused).await, Progress::Failed(AppendError::Unwritable(_))));
    for broker in 1..=3 {
        brokers.broker_up(broker).unwrap();
    }
    let positions = all_durable(&mut told).await;
    for (n, position) in positions.iter().enumerate().skip(KEYS as usize) {
        let before = positions[n - KEYS as usize];
        assert!(before.shard == position.shard && before.offset < position.offset);
    }
    until(|| journal.refuses() == (false, false) && journal.at_risk() == 0).await;
    journal.close().await.unwrap();
}
