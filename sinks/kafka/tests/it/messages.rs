//! What stands in a topic: keys, headers, values, time.

use std::collections::HashMap;

use sink_testkit::event;
use sink_testkit::kafka;

use crate::kit;

#[tokio::test]
async fn a_raw_message_is_the_body_with_the_attributes_beside_it() {
    let test = "kafka: a_raw_message_is_the_body_with_the_attributes_beside_it";
    let Some((cluster, _lock)) = kafka::any(test).await else { return };
    let topic = cluster.topic(1, &[]).await;
    let more = "headers = { team = \"support\", \"x-from\" = \"{source}/{subject}\" }";
    let open = kit::open(cluster.brokers(), &topic, more).await;
    let body = "{ \"n\" : 12345678901234567890, \"é\": \"\\ud83d\" }\n";
    let sent = event("message_api_read").subject("m-1").time("2026-01-13T23:05:00.5Z").body(body);
    let id = sent.id().to_string();
    let before = sink_api::Timestamp::now().as_millisecond();
    assert_eq!(open.verdicts([sent]).await, ["delivered"]);
    let [message] = cluster.stored(&topic).await.try_into().unwrap();
    assert_eq!(message.value.as_deref(), Some(body.as_bytes()));
    assert_eq!(message.key.as_deref(), Some("m-1"));
    // The time of sending: a topic's retention deletes by it, and a replay must outlive the next look.
    assert!(message.time >= before, "{} is before {before}", message.time);
    let headers: Vec<(&str, &str)> = message.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("ce_specversion", "1.0"),
            ("ce_id", &id),
            ("ce_source", "/webhooks/interakt"),
            ("ce_type", "message_api_read"),
            ("ce_subject", "m-1"),
            ("ce_time", "2026-01-13T23:05:00.5Z"),
            ("content-type", "application/json"),
            ("team", "support"),
            ("x-from", "interakt/m-1"),
        ]
    );
}

#[tokio::test]
async fn an_empty_body_is_an_empty_value_and_no_tombstone() {
    let Some((cluster, _lock)) = kafka::any("kafka: an_empty_body_is_an_empty_value_and_no_tombstone").await else {
        return;
    };
    let topic = cluster.topic(1, &[]).await;
    let open = kit::open(cluster.brokers(), &topic, "").await;
    assert_eq!(open.verdicts([event("t").no_headers().body("")]).await, ["delivered"]);
    let [message] = cluster.stored(&topic).await.try_into().unwrap();
    assert_eq!(message.value.as_deref(), Some(&b""[..]));
    assert_eq!(message.header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn a_structured_message_is_one_json_object() {
    let Some((cluster, _lock)) = kafka::any("kafka: a_structured_message_is_one_json_object").await else { return };
    let topic = cluster.topic(1, &[]).await;
    let open = kit::open(cluster.brokers(), &topic, "format = \"cloudevents\"").await;
    assert_eq!(open.verdicts([event("t").subject("s").body("{ \"a\": 1 }")]).await, ["delivered"]);
    let [message] = cluster.stored(&topic).await.try_into().unwrap();
    let value = String::from_utf8(message.value.clone().unwrap()).unwrap();
    assert!(value.starts_with("{\"specversion\":\"1.0\"") && value.ends_with("\"data\":{\"a\":1}}"), "{value}");
    assert_eq!(message.headers, [("content-type".to_owned(), "application/cloudevents+json".to_owned())]);
}

#[tokio::test]
async fn every_compression_is_built_in() {
    let Some((cluster, _lock)) = kafka::shared("kafka: every_compression_is_built_in").await else { return };
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = cluster.topic(1, &[]).await;
        let more = format!("properties = {{ \"compression.type\" = \"{codec}\" }}");
        let open = kit::open(cluster.brokers(), &topic, &more).await;
        assert_eq!(open.verdicts(kit::events(20)).await, ["delivered"; 20], "{codec}");
        assert_eq!(cluster.stored(&topic).await.len(), 20, "{codec}");
    }
}

#[tokio::test]
async fn a_key_stays_in_one_partition_and_keeps_its_order_through_batches_and_topics() {
    let test = "kafka: a_key_stays_in_one_partition_and_keeps_its_order_through_batches_and_topics";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let base = cluster.topic(8, &[]).await;
    for kind in ["a", "b"] {
        cluster.create(&format!("{base}.{kind}"), 8, &[]).await;
    }
    let open = kit::open(cluster.brokers(), &format!("{base}.{{type}}"), "").await;
    let mut owed: HashMap<String, Vec<String>> = HashMap::new();
    for round in 0..5 {
        let events: Vec<_> = (0..200)
            .map(|i| event(if (i + round) % 2 == 0 { "a" } else { "b" }).subject(&format!("k-{}", i % 40)))
            .collect();
        for (i, event) in events.iter().enumerate() {
            let kind = if (i + round) % 2 == 0 { "a" } else { "b" };
            owed.entry(format!("{kind} k-{}", i % 40)).or_default().push(event.id().to_string());
        }
        assert_eq!(open.verdicts(events).await, ["delivered"; 200]);
    }
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    for kind in ["a", "b"] {
        for message in cluster.stored(&format!("{base}.{kind}")).await {
            let key = format!("{kind} {}", message.key.clone().unwrap());
            seen.entry(key).or_default().push(message.id());
        }
    }
    assert_eq!(seen, owed);
}
