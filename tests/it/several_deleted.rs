//! What Kafka deletes by the size of its topic although a sink was owed it; and the largest events.

use crate::harness::{Callback, House, post_all, wait_until};
use crate::several::{Shared, came, tables};
use crate::verbs::{self, json, verb};

/// Events of one round, and about how many bytes each has.
const EVENTS: u64 = 500;
const BYTES: usize = 40_000;

/// An event about message `m-<n>`, with so many bytes that do not become fewer where they are compressed.
fn large(n: u64, bytes: usize) -> Vec<u8> {
    let mut seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pad = String::with_capacity(bytes + 16);
    while pad.len() < bytes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        pad.push_str(&format!("{seed:016x}"));
    }
    format!(
        "{{\"type\":\"message_api_sent\",\"data\":{{\"pad\":\"{pad}\",\"customer\":{{\"channel_phone_number\":\
         \"919876543210\"}},\"message\":{{\"id\":\"m-{n}\",\"message_status\":\"Sent\"}}}}}}"
    )
    .into_bytes()
}

/// Accepted, delivered, dropped, pending.
fn figures(house: &House) -> [u64; 4] {
    verbs::figures(house, "crm", ["accepted", "delivered", "dropped", "pending"])
}

/// Posts a round and waits until Kafka has deleted some of it.
async fn overfill(house: &House, url: &str, round: u64) {
    let stood = json(house, &["status"])["journal"]["events"].as_u64().unwrap();
    post_all(url, (round * EVENTS..(round + 1) * EVENTS).map(|n| large(n, BYTES))).await;
    let holds = || json(house, &["status"])["journal"]["events"].as_u64();
    wait_until("Kafka deletes", || holds().filter(|events| *events < stood + EVENTS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_deletes_although_a_sink_was_owed_it_is_dropped_and_told_before() {
    let test = "what_kafka_deletes_although_a_sink_was_owed_it_is_dropped_and_told_before";
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    callback.answer_with(503);
    let house = shared.house("a", &tables(&callback.url()));
    let text = std::fs::read_to_string(house.config()).unwrap();
    let sizes = "[journal]\nmax_size = \"8MiB\"\nsegment_size = \"1MiB\"\n";
    std::fs::write(house.config(), text.replace("[journal]\n", sizes)).unwrap();
    let daemon = house.start();
    overfill(&house, &daemon.url(), 0).await;
    let alarm = daemon.log.wait_for(|line| line.contains("% full of events that sinks are still owed"));
    assert!(alarm.is_some(), "{}", daemon.log.text());
    let low = || json(&house, &["status"])["reasons"].as_array().unwrap().iter().any(|r| r["code"] == "disk_low");
    wait_until("status says so", || low().then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    // The hole is met when the shards are taken over.
    callback.answer_with(200);
    let daemon = house.start();
    let settled = |all: u64| {
        let [accepted, delivered, dropped, pending] = figures(&house);
        (pending == 0 && accepted == all).then_some((delivered, dropped))
    };
    let (delivered, dropped) = wait_until("all is settled", || settled(EVENTS)).await;
    assert!(dropped > 0 && delivered + dropped == EVENTS, "{delivered} {dropped}");
    assert_eq!(came(&callback).len() as u64, delivered);
    let said = "deliveries this sink was owed are dropped: the journal reached max_size";
    let told = daemon.log.text().matches(said).count();
    assert!((1..=4).contains(&told), "once for each shard: {}", daemon.log.text());
    // The hole is met by a member that has read up to it.
    verb(&house, 0, &["sink", "pause", "crm"]);
    overfill(&house, &daemon.url(), 1).await;
    verb(&house, 0, &["sink", "resume", "crm"]);
    let (delivered, more) = wait_until("all is settled", || settled(2 * EVENTS)).await;
    assert!(more > dropped && delivered + more == 2 * EVENTS, "{delivered} {more}");
    assert_eq!(came(&callback).len() as u64, delivered);
    wait_until("all is well", || (!low()).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_event_is_parked_and_given_up_with_the_largest_payload_that_rules_make_of_it() {
    let test = "the_largest_event_is_parked_and_given_up";
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    callback.answer_with(503);
    let tables = tables(&callback.url())
        .replace("match = \"*\"\n", "match = \"*\"\ntransform = '{pad: .data.pad[0:4190000]}'\n");
    let house = shared.house("a", &tables);
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("[server]\n", "[server]\nmax_body = \"11MiB\"\n")).unwrap();
    let daemon = house.start();
    post_all(&daemon.url(), [large(0, (11 << 20) - 400)]).await;
    let parked = || json(&house, &["status"])["sinks"]["crm"]["parked"].as_u64().filter(|parked| *parked == 1);
    wait_until("it is parked", parked).await;
    callback.answer_with(400);
    let dead = || json(&house, &["dead", "list"]).as_array().filter(|letters| letters.len() == 1).map(|_| ());
    wait_until("it is given up", dead).await;
    callback.answer_with(200);
    verb(&house, 0, &["dead", "retry", "--all"]);
    let delivered = || (verbs::figures(&house, "crm", ["delivered", "dead", "pending"]) == [1, 0, 0]).then_some(());
    wait_until("it is delivered", delivered).await;
    assert_eq!(daemon.terminate(), 0);
}
