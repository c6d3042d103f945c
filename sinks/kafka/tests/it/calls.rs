//! Deadlines and dropped calls: what is left behind, and what is not.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use sink_testkit::event;
use sink_testkit::kafka::{self, Stored};
use sink_testkit::wait::PATIENCE;

use crate::kit;

#[tokio::test]
async fn a_batch_whose_deadline_has_passed_is_not_begun() {
    let open = kit::open("127.0.0.1:1", "t", "").await;
    assert_eq!(open.within(Duration::ZERO, kit::events(2)).await, ["retry timeout"; 2]);
}

#[tokio::test]
async fn a_call_ends_before_its_deadline_whatever_the_brokers_do() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let open = kit::open(&cluster.bootstrap_servers(), "t", "").await;
    assert_eq!(open.verdicts(kit::events(2)).await, ["delivered"; 2]);
    cluster.broker_round_trip_time(-1, Duration::from_secs(60)).unwrap();
    let time = Duration::from_secs(2);
    let batch = open.batch(time, kit::events(2));
    let slots = tokio::time::timeout_at(batch.deadline.into(), open.sink.deliver(&batch)).await.expect("too late");
    let verdicts: Vec<String> = slots.into_slots().iter().map(sink_testkit::verdict).collect();
    assert_eq!(verdicts, ["retry timeout"; 2]);
    cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    assert_eq!(open.verdicts(kit::events(2)).await, ["delivered"; 2]);
}

#[tokio::test]
async fn the_deadline_of_one_batch_ends_the_others_and_all_go_on_with_a_new_producer() {
    let test = "kafka: the_deadline_of_one_batch_ends_the_others_and_all_go_on_with_a_new_producer";
    let Some((cluster, _lock)) = kafka::alone(test).await else { return };
    let topic = cluster.topic(4, &[]).await;
    let open = kit::open(cluster.brokers(), &topic, "").await;
    open.verdicts(kit::events(1)).await;
    cluster.broker(1, "stop").await;
    // Both come back when no broker has been there for a while, long before the deadline of the second.
    let (short, long) =
        (open.batch(Duration::from_secs(1), kit::events(5)), open.batch(Duration::from_secs(60), kit::events(5)));
    let began = Instant::now();
    let (a, b) = tokio::join!(open.sent(&short), open.sent(&long));
    assert!(began.elapsed() < Duration::from_secs(30), "the second waited for its own deadline");
    assert!(a.iter().chain(&b).all(|verdict| verdict.starts_with("retry")), "{a:?} {b:?}");
    cluster.broker(1, "start").await;
    tokio::join!(open.insist(short, PATIENCE), open.insist(long, PATIENCE));
    // What was purged was not sent later: each is there once.
    assert_eq!(cluster.stored(&topic).await.len(), 11);
}

#[tokio::test]
async fn what_a_dropped_call_left_behind_is_purged_before_anything_is_sent_again() {
    let test = "kafka: what_a_dropped_call_left_behind_is_purged_before_anything_is_sent_again";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(1, &[]).await;
    // Messages wait a second before they are sent, so that a dropped call leaves all of them in the queue.
    let open = kit::open(cluster.brokers(), &topic, "properties = { \"linger.ms\" = 1000 }").await;
    open.verdicts([event("first")]).await;
    for _ in 0..3 {
        let batch = open.batch(Duration::from_secs(30), kit::events(5));
        let call = open.sink.deliver(&batch);
        assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err(), "it was sent at once");
    }
    let owed = kit::events(5);
    let ids: Vec<String> = owed.iter().map(|event| event.id().to_string()).collect();
    assert_eq!(open.verdicts(owed).await, ["delivered"; 5]);
    let stored = cluster.stored(&topic).await;
    assert_eq!(stored.iter().skip(1).map(Stored::id).collect::<Vec<_>>(), ids);
}
