//! Several daemons on one journal: a replay, a pause and a skip are of all of them, whichever is asked.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{Callback, Daemon, House, ask_admin, post_all, wait_until};
use crate::several::{Shared, all_came, came, tables};
use crate::verbs::{self, json, verb};

/// What a daemon's log says of shards that it has.
const HAS_SHARDS: &str = "these shards are this daemon's";

/// Accepted, delivered, pending, dropped: over all daemons, whichever is asked.
fn figures(house: &House) -> [u64; 4] {
    verbs::figures(house, "crm", ["accepted", "delivered", "pending", "dropped"])
}

async fn all_say(houses: &[&House], wanted: [u64; 4]) {
    for house in houses {
        wait_until("all is settled", || (figures(house) == wanted).then_some(())).await;
    }
}

async fn have_shards(daemons: &[&Daemon]) {
    for daemon in daemons {
        wait_until("each has shards", || daemon.log.text().contains(HAS_SHARDS).then_some(())).await;
    }
}

/// The replays under way: number and how far each has come.
fn under_way(house: &House) -> Vec<(i64, f64)> {
    let list = json(house, &["replay", "--list"]);
    list.as_array().unwrap().iter().map(|one| (one["id"].as_i64().unwrap(), one["done"].as_f64().unwrap())).collect()
}

/// What became of a replay: accepted, delivered, pending.
async fn outcome(house: &House, id: &Value) -> [u64; 3] {
    let outcome = ask_admin(house, &format!("/api/replay/outcome?id={id}")).await;
    let of = &outcome["items"][0];
    ["accepted", "delivered", "pending"].map(|name| of[name].as_u64().unwrap_or_else(|| panic!("{outcome}")))
}

fn is_paused(house: &House) -> bool {
    json(house, &["status"])["sinks"]["crm"]["paused"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_carried_out_by_all_daemons_and_goes_on_when_one_is_killed() {
    let test = "a_replay_is_carried_out_by_all_daemons_and_goes_on_when_one_is_killed";
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &tables(&callback.url())));
    let (first, second) = (a.start(), b.start());
    have_shards(&[&first, &second]).await;
    let mut ids: BTreeSet<String> = post_all(&first.url(), (0..100).map(numbered)).await.into_iter().collect();
    ids.extend(post_all(&second.url(), (100..200).map(numbered)).await);
    all_say(&[&a, &b], [200, 200, 0, 0]).await;
    let begun = json(&a, &["replay", "--since", "1h", "--detach", "--rate", "40/s"]);
    assert_eq!((&begun["events"], &begun["sinks"]), (&200.into(), &serde_json::json!(["crm"])), "{begun}");
    let id = begun["id"].as_i64().unwrap();
    for house in [&a, &b] {
        wait_until("it has come so far", || {
            under_way(house).iter().any(|one| one.0 == id && one.1 > 0.1).then_some(())
        })
        .await;
    }
    first.kill();
    wait_until("it is over", || under_way(&b).is_empty().then_some(())).await;
    wait_until("all came again", || came(&callback).values().all(|times| *times >= 2).then_some(())).await;
    all_say(&[&b], [400, 400, 0, 0]).await;
    assert_eq!((outcome(&b, &begun["id"]).await, came(&callback).len()), ([200, 200, 0], ids.len()));
    let again = a.start();
    all_say(&[&a], [400, 400, 0, 0]).await;
    assert_eq!(outcome(&a, &begun["id"]).await, [200, 200, 0]);
    // What is waited for is the end of all, whichever daemon has it.
    let said = verb(&a, 0, &["replay", "--since", "1h", "--yes"]);
    assert!(said.contains("  crm: 200 delivered, 0 dead, 0 filtered\n"), "{said}");
    all_say(&[&a, &b], [600, 600, 0, 0]).await;
    assert_eq!((again.terminate(), second.terminate()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_one_daemon_began_is_ended_by_another_on_both() {
    let Some(shared) = Shared::new("a_replay_that_one_daemon_began_is_ended_by_another_on_both").await else { return };
    let callback = Callback::start().await;
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &tables(&callback.url())));
    let (first, second) = (a.start(), b.start());
    have_shards(&[&first, &second]).await;
    post_all(&first.url(), (0..60).map(numbered)).await;
    all_say(&[&a, &b], [60, 60, 0, 0]).await;
    let begun = json(&a, &["replay", "--since", "1h", "--detach", "--rate", "1/s"]);
    let id = begun["id"].to_string();
    wait_until("it has begun", || under_way(&b).iter().any(|one| one.1 > 0.0).then_some(())).await;
    verb(&b, 0, &["replay", "--cancel", &id]);
    assert_eq!((under_way(&a), under_way(&b)), (vec![], vec![]));
    let heard = first.log.wait_for(|log| log.contains("a replay stops here"));
    assert!(heard.is_some(), "the other has not heard of it: {}", first.log.text());
    wait_until("what it came to is delivered", || (figures(&b)[2] == 0).then_some(())).await;
    let [accepted, delivered, _, _] = figures(&a);
    assert!(accepted == delivered && (61..120).contains(&accepted), "{accepted}");
    assert_eq!(outcome(&a, &begun["id"]).await, [accepted - 60, accepted - 60, 0]);
    assert!(verb(&a, 1, &["replay", "--cancel", &id]).contains(&id));
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_held_let_go_and_moved_on_for_all_daemons_by_whichever_is_asked() {
    let test = "a_sink_is_held_let_go_and_moved_on_for_all_daemons_by_whichever_is_asked";
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &tables(&callback.url())));
    let (first, second) = (a.start(), b.start());
    have_shards(&[&first, &second]).await;
    verb(&a, 0, &["sink", "pause", "crm"]);
    wait_until("both hold it", || (is_paused(&a) && is_paused(&b)).then_some(())).await;
    let mut ids: BTreeSet<String> = post_all(&first.url(), (0..20).map(numbered)).await.into_iter().collect();
    ids.extend(post_all(&second.url(), (20..40).map(numbered)).await);
    all_say(&[&a, &b], [40, 0, 40, 0]).await;
    assert!(callback.got().is_empty(), "it is held");
    verb(&b, 0, &["sink", "resume", "crm"]);
    all_came(&callback, &ids).await;
    all_say(&[&a, &b], [40, 40, 0, 0]).await;
    assert!(!is_paused(&a) && !is_paused(&b));
    // Held for so long that nobody has its shards any more, and then moved on.
    verb(&b, 0, &["sink", "pause", "crm"]);
    for daemon in [&first, &second] {
        wait_until("it has left its group", || daemon.log.text().contains("the sink's member ends").then_some(()))
            .await;
    }
    let dropped: BTreeSet<String> = post_all(&first.url(), (40..80).map(numbered)).await.into_iter().collect();
    let said = verb(&a, 0, &["sink", "skip", "crm"]);
    assert!(said.contains("40 deliveries dropped"), "{said}");
    all_say(&[&a, &b], [80, 40, 0, 40]).await;
    assert!(is_paused(&a) && is_paused(&b));
    verb(&a, 0, &["sink", "resume", "crm"]);
    let later = post_all(&second.url(), (80..90).map(numbered)).await.into_iter().collect();
    all_came(&callback, &later).await;
    all_say(&[&a, &b], [90, 50, 0, 40]).await;
    assert!(came(&callback).keys().all(|id| !dropped.contains(id)), "it was moved on");
    // And while it is at work on both, in vain.
    callback.answer_with(503);
    post_all(&first.url(), (90..150).map(numbered)).await;
    wait_until("some failed", || json(&b, &["status"])["sinks"]["crm"]["last_error"].is_object().then_some(())).await;
    let said = verb(&b, 0, &["sink", "skip", "crm"]);
    callback.answer_with(200);
    for house in [&a, &b] {
        wait_until("what was parked is delivered", || (figures(house)[2] == 0).then_some(())).await;
        let [accepted, delivered, _, dropped] = figures(house);
        assert_eq!((accepted, delivered + dropped), (150, 150), "{said}");
    }
    let last = post_all(&first.url(), (150..160).map(numbered)).await.into_iter().collect();
    all_came(&callback, &last).await;
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}
