//! Many deliveries of one key: they are under way together, and keep their order whatever happens in the middle.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as E};
use sink_api::{Batch, Outcome};
use sink_testkit::kafka::{self, Cluster};
use sink_testkit::wait::{PATIENCE, wait_until};
use sink_testkit::{EventBuilder, event};

use crate::bounce;
use crate::kit::{self, Open};

/// How often a broker is killed and started; the variable may ask for more, which take longer.
const BOUNCES: usize = 3;
const BOUNCES_VAR: &str = "HOOKRELAY_KAFKA_BOUNCES";
/// Deliveries of a batch, as the core hands them out.
const EVENTS: usize = 500;
/// The largest set of messages that a topic takes, in bytes.
const LIMIT: usize = 20_000;
/// Sets of which several are under way at once. (librdkafka has five messages of a partition under way, or one set.)
const SMALL_SETS: &str = "properties = { \"batch.num.messages\" = 2, \"linger.ms\" = 0 }";

fn hot(n: usize) -> Vec<EventBuilder> {
    (0..n).map(|_| event("t").subject("hot")).collect()
}

fn ids(events: &[EventBuilder]) -> Vec<String> {
    events.iter().map(|event| event.id().to_string()).collect()
}

/// Delivers as the core would: what is rejected goes, and what has not arrived is handed out again, in order. Says what
/// was rejected, and how many calls that took.
async fn deliver_all(open: &Open, batch: Batch) -> (Vec<String>, usize) {
    let (mut left, mut rejected, mut calls, deadline) = (batch.deliveries, vec![], 0, Instant::now() + PATIENCE);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{} of a batch are still not delivered", left.len());
        calls += 1;
        let again = Batch { deliveries: left.clone(), deadline: Instant::now() + PATIENCE, ordered: true };
        let slots = open.sink.deliver(&again).await.into_slots();
        let (mut still, mut stopped) = (Vec::new(), HashSet::new());
        for (delivery, slot) in left.into_iter().zip(slots) {
            let is_behind = stopped.contains(&delivery.key);
            assert!(!is_behind || slot.is_none(), "behind one that was not delivered: {slot:?}");
            match slot {
                Some(Outcome::Delivered) => {}
                Some(Outcome::Reject { why }) => {
                    assert_eq!(why.code, "too_large");
                    rejected.push(delivery.id.clone());
                    stopped.insert(delivery.key.clone());
                }
                // Nothing here passes by itself, so nothing is owed but behind what was refused.
                Some(other) => panic!("{other:?}"),
                None => still.push(delivery),
            }
        }
        left = still;
    }
    (rejected, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_loses_and_reorders_nothing_however_often_a_broker_is_killed() {
    let test = "kafka: a_hot_key_loses_and_reorders_nothing_however_often_a_broker_is_killed";
    let Some((cluster, _lock)) = kafka::alone(test).await else { return };
    let topic = cluster.topic(3, &[]).await;
    // Several sets of messages are under way when the broker dies.
    let open = kit::open(cluster.brokers(), &topic, SMALL_SETS).await;
    let (arrived, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let load = async {
        let mut owed = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let events = hot(EVENTS);
            owed.extend(ids(&events));
            open.insist(open.batch(Duration::from_secs(5), events), bounce::PATIENCE).await;
            arrived.fetch_add(1, Ordering::Relaxed);
        }
        owed
    };
    let bounces = std::env::var(BOUNCES_VAR).map_or(BOUNCES, |n| n.parse().unwrap());
    let harm = async {
        for _ in 0..bounces {
            // Not before batches arrive again, so that one is under way.
            let before = arrived.load(Ordering::Relaxed);
            wait_until("batches arrive", || arrived.load(Ordering::Relaxed) > before + 2).await;
            cluster.broker(1, "kill").await;
            cluster.broker(1, "start").await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (owed, ()) = tokio::join!(load, harm);
    bounce::is_whole(&HashMap::from([("hot".to_owned(), owed)]), &cluster.stored(&topic).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_behind_a_message_that_brokers_refuse_arrives_in_its_order_and_is_not_blamed() {
    let test = "kafka: what_stands_behind_a_message_that_brokers_refuse_arrives_in_its_order_and_is_not_blamed";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(2, &[("max.message.bytes", &LIMIT.to_string())]).await;
    let open = kit::open(cluster.brokers(), &topic, SMALL_SETS).await;
    // Two calls at once, each with a hot key of its own: what ends the producer of the one ends the other's, too.
    let one_call = async |name: &str, bad: &[usize]| {
        let key = |i: usize| format!("{name}-{}", if i.is_multiple_of(3) { "cold" } else { "hot" });
        let of = |i: usize| {
            let body = if bad.contains(&i) { "x".repeat(2 * LIMIT) } else { "y".repeat(300) };
            event("t").subject(&key(i)).body(body)
        };
        let events: Vec<EventBuilder> = (0..200).map(of).collect();
        let ids = ids(&events);
        let (rejected, _) = deliver_all(&open, open.batch(PATIENCE, events)).await;
        let mut guilty: Vec<&String> = bad.iter().map(|i| &ids[*i]).collect();
        let mut named: Vec<&String> = rejected.iter().collect();
        guilty.sort();
        named.sort();
        assert_eq!(named, guilty);
        let mut owed: HashMap<String, Vec<String>> = HashMap::new();
        for (i, id) in ids.iter().enumerate().filter(|(_, id)| !rejected.contains(id)) {
            owed.entry(key(i)).or_default().push(id.clone());
        }
        owed
    };
    let (mut owed, other) =
        tokio::join!(one_call("a", &[2, 40, 41, 150, 199]), one_call("b", &[0, 1, 59, 60, 100, 101, 103]));
    owed.extend(other);
    bounce::is_whole(&owed, &cluster.stored(&topic).await);
}

#[tokio::test]
async fn sets_of_one_key_that_are_larger_than_a_topic_takes_arrive_one_by_one() {
    let test = "kafka: sets_of_one_key_that_are_larger_than_a_topic_takes_arrive_one_by_one";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(1, &[("max.message.bytes", &LIMIT.to_string())]).await;
    // Sets of 50,000 bytes, where the topic takes 20,000: they are refused, and no message is to blame. What is last
    // would be taken: it must not go first.
    let open = kit::open(cluster.brokers(), &topic, "properties = { \"batch.size\" = 50000 }").await;
    let size = |i: usize| if i < 80 { 2000 } else { 20 };
    let events: Vec<EventBuilder> =
        hot(160).into_iter().enumerate().map(|(i, event)| event.body("y".repeat(size(i)))).collect();
    let ids = ids(&events);
    assert_eq!(deliver_all(&open, open.batch(PATIENCE, events)).await, (vec![], 1));
    bounce::is_whole(&HashMap::from([("hot".to_owned(), ids)]), &cluster.stored(&topic).await);
}

#[tokio::test]
async fn a_hot_key_takes_a_few_round_trips_and_not_one_for_each_message() {
    let cluster = kit::mock();
    let open = kit::open(&cluster.bootstrap_servers(), "t", "").await;
    assert_eq!(open.verdicts(hot(1)).await, ["delivered"]);
    let trip = Duration::from_millis(300);
    cluster.broker_round_trip_time(-1, trip).unwrap();
    // A third of what one trip for each would take, and several times what is needed (a producer that is new asks for
    // its cluster, its id and its topic first).
    assert_eq!(open.within(trip * 40, hot(120)).await, ["delivered"; 120]);
}

#[tokio::test]
async fn behind_a_refusal_nothing_goes_though_the_leader_does_not_know_the_producer_yet() {
    let cluster = kit::mock();
    let open = kit::open(&cluster.bootstrap_servers(), "t", SMALL_SETS).await;
    // Several sets would be under way in this time, and the mock cluster takes what stands behind one that it refused,
    // as a leader does that does not know the producer.
    cluster.broker_round_trip_time(-1, Duration::from_millis(20)).unwrap();
    // The first of the key arrives. What comes then is the first of the producer of all that follows.
    let (fine, refused) = (E::RD_KAFKA_RESP_ERR_NO_ERROR, E::RD_KAFKA_RESP_ERR_INVALID_RECORD);
    cluster.request_errors(RDKafkaApiKey::Produce, &[fine, refused]);
    let events = hot(60);
    let ids = ids(&events);
    assert_eq!(open.verdicts(events).await, ["delivered"; 60]);
    let stored = Cluster::played(cluster.bootstrap_servers()).stored("t").await;
    bounce::is_whole(&HashMap::from([("hot".to_owned(), ids)]), &stored);
}

#[tokio::test]
async fn each_new_producer_begins_with_one_message_of_a_key() {
    let cluster = kit::mock();
    let open = kit::open(&cluster.bootstrap_servers(), "t", SMALL_SETS).await;
    cluster.broker_round_trip_time(-1, Duration::from_millis(20)).unwrap();
    let (fine, refused) = (E::RD_KAFKA_RESP_ERR_NO_ERROR, E::RD_KAFKA_RESP_ERR_INVALID_RECORD);
    let mut owed = Vec::new();
    for _ in 0..3 {
        cluster.request_errors(RDKafkaApiKey::Produce, &[fine, refused]);
        let events = hot(30);
        owed.extend(ids(&events));
        assert_eq!(open.verdicts(events).await, ["delivered"; 30]);
    }
    let stored = Cluster::played(cluster.bootstrap_servers()).stored("t").await;
    bounce::is_whole(&HashMap::from([("hot".to_owned(), owed)]), &stored);
}

#[tokio::test]
async fn where_keys_have_no_partition_of_their_own_what_goes_together_stands_in_one() {
    let test = "kafka: where_keys_have_no_partition_of_their_own_what_goes_together_stands_in_one";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(6, &[]).await;
    let open = kit::open(cluster.brokers(), &topic, "properties = { \"partitioner\" = \"random\" }").await;
    let events = hot(100);
    let ids = ids(&events);
    assert_eq!(open.verdicts(events).await, ["delivered"; 100]);
    // Partition by partition, and each in order: so all of them stand in one.
    bounce::is_whole(&HashMap::from([("hot".to_owned(), ids)]), &cluster.stored(&topic).await);
}
