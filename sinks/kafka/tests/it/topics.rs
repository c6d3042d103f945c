//! Topics that are not there, or not any more, and messages too large for them.

use std::time::Duration;

use sink_testkit::kafka;
use sink_testkit::wait::PATIENCE;
use sink_testkit::{event, unordered};

use crate::kit;

#[tokio::test]
async fn a_topic_that_is_missing_is_the_sink_s_fault_where_it_is_the_same_for_all() {
    let test = "kafka: a_topic_that_is_missing_is_the_sink_s_fault_where_it_is_the_same_for_all";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let open = kit::open(cluster.brokers(), "nobody-made-this", "").await;
    assert_eq!(open.verdicts(kit::events(3)).await, ["retry unknown_topic"; 3]);
    let why = open.sink.probe().await.unwrap_err();
    assert_eq!(why.code, "unknown_topic");
    assert!(why.detail.contains("\"nobody-made-this\""), "{}", why.detail);
    assert!(!cluster.has("nobody-made-this"), "asking made it");
}

#[tokio::test]
async fn a_topic_that_an_event_made_up_is_that_event_s_fault() {
    let test = "kafka: a_topic_that_an_event_made_up_is_that_event_s_fault";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let base = cluster.topic(1, &[]).await;
    let good = format!("{base}.good");
    cluster.create(&good, 1, &[]).await;
    let open = kit::open(cluster.brokers(), &format!("{base}.{{type}}"), "").await;
    let got = open.verdicts([event("good"), event("bad/type"), event("good")]).await;
    assert_eq!(got, ["delivered", "reject unknown_topic", "delivered"]);
    assert_eq!(cluster.stored(&good).await.len(), 2);
    open.sink.probe().await.unwrap();
}

#[tokio::test]
async fn names_no_topic_can_have_are_rejected_before_anything_is_sent() {
    let config = kit::config("brokers = \"127.0.0.1:1\"\ntopic = \"{type}\"");
    for bad in [".", "..", &"x".repeat(250)] {
        let why = config.target(&event(bad).build()).unwrap_err();
        assert_eq!(why.code, "bad_payload", "{bad}");
    }
    let target = config.target(&event("message api/é").build()).unwrap();
    assert_eq!(target.get("topic"), Some("message_api__"));
}

#[tokio::test]
async fn a_topic_that_was_deleted_stops_its_messages_and_one_made_again_goes_on_without_a_restart() {
    let test = "kafka: a_topic_that_was_deleted_stops_its_messages_and_one_made_again_goes_on_without_a_restart";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(1, &[]).await;
    let open = kit::open(cluster.brokers(), &topic, "").await;
    assert_eq!(open.verdicts(kit::events(50)).await, ["delivered"; 50]);
    cluster.delete(&topic).await;
    // At first brokers say that they lead it no more; then that there is no such topic.
    let owed = open.batch(Duration::from_secs(20), kit::events(3));
    let got = open.sent(&owed).await;
    assert!(got.iter().all(|verdict| verdict == "retry unknown_topic"), "{got:?}");
    cluster.create(&topic, 1, &[]).await;
    open.insist(owed, PATIENCE).await;
    assert_eq!(cluster.stored(&topic).await.len(), 3);
}

#[tokio::test]
async fn an_oversized_message_is_rejected_alone_whoever_finds_it() {
    let Some((cluster, _lock)) = kafka::shared("kafka: an_oversized_message_is_rejected_alone_whoever_finds_it").await
    else {
        return;
    };
    let large = "x".repeat(60_000);
    for (limit, more) in [("50000", ""), ("1000000", "properties = { \"message.max.bytes\" = 50000 }")] {
        let topic = cluster.topic(1, &[("max.message.bytes", limit)]).await;
        let open = kit::open(cluster.brokers(), &topic, more).await;
        // All of one set of messages, in which the large one stands in the middle; its key has another after it.
        let mut events = kit::events(20);
        events.insert(10, event("large").subject("k").body(large.clone()));
        events.insert(11, event("after it").subject("k"));
        let got = open.verdicts(events).await;
        let (rejected, unset) = (&got[10], &got[11]);
        assert_eq!((rejected.as_str(), unset.as_str()), ("reject too_large", "unset"), "{got:?}");
        assert_eq!(got.iter().filter(|v| *v == "delivered").count(), 20, "{got:?}");
        assert_eq!(cluster.stored(&topic).await.len(), 20);
        // Where no order is owed, nothing is held back.
        let events = [event("large").subject("k").body(large.clone()), event("after it").subject("k")];
        let batch = unordered(events.map(|e| e.delivery_for(open.config.as_ref()).unwrap()));
        assert_eq!(open.sent(&batch).await, ["reject too_large", "delivered"]);
    }
}

#[tokio::test]
async fn sets_of_messages_larger_than_a_topic_takes_are_sent_one_by_one() {
    let test = "kafka: sets_of_messages_larger_than_a_topic_takes_are_sent_one_by_one";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(1, &[("max.message.bytes", "30000")]).await;
    let open = kit::open(cluster.brokers(), &topic, "properties = { \"linger.ms\" = 50 }").await;
    let body = |i: usize| event("t").subject(&format!("m-{i}")).body(format!("{i:010000}"));
    assert_eq!(open.verdicts((0..30).map(body)).await, ["delivered"; 30]);
    assert_eq!(cluster.stored(&topic).await.len(), 30);
}
