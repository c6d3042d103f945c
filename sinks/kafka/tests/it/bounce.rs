//! Brokers that go away, under load and for minutes, and what is still there after.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sink_testkit::event;
use sink_testkit::kafka::{self, Stored};
use sink_testkit::wait_until;

use crate::kit::{self, Open};

/// Batches under way at once, and how many each of them sends, of how many events.
const LANES: usize = 4;
const BATCHES: usize = 10;
const EVENTS: usize = 100;
/// So many producers end and begin, each with every batch under way, while a broker stays away.
const PRODUCERS: usize = 6;
/// How long a batch is tried again and again: more than any broker stays away here.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Sends under load while `harm` is done, and says for each key which ids were owed in which order. A key belongs to
/// one lane, as the core never has it in two batches at a time.
pub async fn load(open: &Open, harm: impl Future<Output = ()>) -> HashMap<String, Vec<String>> {
    let lanes = (0..LANES).map(|lane| {
        let open = open.clone();
        tokio::spawn(async move {
            let mut owed = HashMap::<String, Vec<String>>::new();
            for _ in 0..BATCHES {
                let events = (0..EVENTS).map(|i| event("t").subject(&format!("{lane}-{}", i % 30))).collect::<Vec<_>>();
                for (i, event) in events.iter().enumerate() {
                    owed.entry(format!("{lane}-{}", i % 30)).or_default().push(event.id().to_string());
                }
                let batch = open.batch(Duration::from_secs(5), events);
                open.insist(batch, PATIENCE).await;
                // So that there is still load when the harm begins.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            owed
        })
    });
    let lanes: Vec<_> = lanes.collect();
    harm.await;
    assert!(lanes.iter().any(|lane| !lane.is_finished()), "the load was over before the harm was");
    let mut owed = HashMap::new();
    for lane in lanes {
        owed.extend(lane.await.unwrap());
    }
    owed
}

/// All that was owed is there, and the ids of each key appear first in the order they were owed.
pub fn is_whole(owed: &HashMap<String, Vec<String>>, stored: &[Stored]) {
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    let mut known = HashSet::new();
    for message in stored {
        let (key, id) = (message.key.clone().unwrap(), message.id());
        if known.insert(id.clone()) {
            seen.entry(key).or_default().push(id);
        }
    }
    assert_eq!(seen.len(), owed.len());
    for (key, ids) in owed {
        let seen = &seen[key];
        let wrong = (0..ids.len()).find(|i| seen.get(*i) != ids.get(*i));
        assert_eq!((wrong, seen.len()), (None, ids.len()), "key {key}: the first that is out of place, and how many");
    }
    let duplicates = stored.len() - owed.values().map(Vec::len).sum::<usize>();
    eprintln!("{} messages, {duplicates} of them duplicates", stored.len());
}

async fn survives(test: &str, how: &str, away: impl AsyncFnOnce(&Open)) {
    let Some((cluster, _lock)) = kafka::alone(test).await else { return };
    let topic = cluster.topic(6, &[]).await;
    let open = kit::open(cluster.brokers(), &topic, "").await;
    let bounce = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.broker(1, how).await;
        away(&open).await;
        cluster.broker(1, "start").await;
    };
    let owed = load(&open, bounce).await;
    is_whole(&owed, &cluster.stored(&topic).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_and_starts_under_load_loses_and_reorders_nothing() {
    let test = "kafka: a_broker_that_stops_and_starts_under_load_loses_and_reorders_nothing";
    survives(test, "stop", async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_under_load_and_stays_away_for_several_producers_loses_and_reorders_nothing() {
    let test =
        "kafka: a_broker_that_is_killed_under_load_and_stays_away_for_several_producers_loses_and_reorders_nothing";
    // As long as that takes: several times the calls' patience and deadline.
    let producers_end = async |open: &Open| {
        let begun = open.in_vain();
        wait_until("calls come back in vain", || open.in_vain() >= begun + PRODUCERS * LANES).await;
    };
    survives(test, "kill", producers_end).await;
}
