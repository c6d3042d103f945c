//! Several daemons on one journal: whichever is asked answers for all, and names who did not.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{Callback, House, ends, post_all, wait_until};
use crate::several::{Shared, figures, tables};
use crate::verbs::{json, verb};

/// What somebody asks a daemon over its socket.
async fn asked(house: &House, path: &str, scope: Option<&str>) -> (u16, String) {
    let socket = house.path("data/admin.sock");
    let client = reqwest::Client::builder().unix_socket(socket).build().unwrap();
    let mut request = client.request(Method::GET, format!("http://localhost{path}"));
    if let Some(scope) = scope {
        request = request.header("hookrelay-scope", scope);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn itself(house: &House, path: &str) -> Value {
    serde_json::from_str(&asked(house, path, Some("node")).await.1).unwrap()
}

/// How many dead letters, or parked deliveries, a daemon has of its own shards.
async fn own(house: &House, path: &str) -> usize {
    itself(house, path).await["items"].as_array().unwrap().len()
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// The daemons of a status by name, and whether each answered.
fn nodes(status: &Value) -> Vec<(String, bool)> {
    let node = |node: &Value| (node["name"].as_str().unwrap().to_owned(), node["answered"].as_bool().unwrap());
    status["nodes"].as_array().map(|all| all.iter().map(node).collect()).unwrap_or_default()
}

fn both() -> Vec<(String, bool)> {
    ["a", "b"].map(|name| (name.to_owned(), true)).into()
}

/// Two daemons that know of each other, each with shards of its own: some deliveries are dead letters on either.
async fn with_dead_letters(shared: &Shared, callback: &Callback) -> [(House, crate::harness::Daemon); 2] {
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &tables(&callback.url())));
    let (first, second) = (a.start(), b.start());
    for house in [&a, &b] {
        wait_until("both are known", || (nodes(&json(house, &["status"])) == both()).then_some(())).await;
    }
    // Which shards are whose is settled once both have delivered.
    post_all(&first.url(), (0..40).map(numbered)).await;
    wait_until("delivered", || (figures(&a) == [40, 40, 0, 0]).then_some(())).await;
    callback.answer_with(400);
    post_all(&first.url(), (40..80).map(numbered)).await;
    wait_until("given up", || (figures(&a) == [80, 40, 40, 0]).then_some(())).await;
    for house in [&a, &b] {
        assert!(own(house, "/api/dead").await > 0, "each has shards");
    }
    [(a, first), (b, second)]
}

#[tokio::test(flavor = "multi_thread")]
async fn either_daemon_lists_traces_and_retries_what_both_have() {
    let Some(shared) = Shared::new("either_daemon_lists_traces_and_retries_what_both_have").await else { return };
    let callback = Callback::start().await;
    let [(a, first), (b, second)] = with_dead_letters(&shared, &callback).await;
    let letters = ids(&json(&a, &["dead", "list"]));
    assert_eq!((letters.len(), &letters), (40, &ids(&json(&b, &["dead", "list"]))));
    let sum = own(&a, "/api/dead").await + own(&b, "/api/dead").await;
    assert_eq!(sum, 40, "each has its own alone");
    // Page by page it is the same list.
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = asked(&b, &format!("/api/dead?limit=7{after}"), None).await.1;
        let page: Value = serde_json::from_str(&page).unwrap();
        paged.extend(ids(&page["items"]));
        assert!(page["unanswered"].is_null(), "{page}");
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace('/', "%2F"));
    }
    assert_eq!(paged, letters);
    assert_eq!(json(&b, &["dead", "list", "--by", "code"])[0]["count"], 40);
    // Each is traced as dead, whoever has it, and explained though no journal is on this disk.
    for house in [&a, &b] {
        for id in letters.iter().step_by(9) {
            let trace = json(house, &["trace", id]);
            let fates: BTreeSet<&str> = trace["events"][0]["deliveries"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|d| d["fate"].as_str())
                .collect();
            assert_eq!(fates, BTreeSet::from(["dead"]), "{trace}");
        }
        // Half an emoji, which stays as it came, is more than serde_json reads.
        let explained = verb(house, 0, &["explain", "--json", "--id", &letters[0]]);
        assert!(
            explained.contains(&format!("\"deliveries\":[{{\"sink\":\"crm\",\"id\":\"{}\"", letters[0])),
            "{explained}"
        );
        let text = verb(house, 0, &["explain", "--id", &letters[0]]);
        assert!(text.contains("crm") && text.contains(&letters[0]), "{text}");
    }
    callback.answer_with(200);
    let said = json(&a, &["dead", "retry", "--all", "--wait"]);
    assert_eq!((&said["letters"], said["outcomes"].as_array().unwrap().len()), (&40.into(), 40), "{said}");
    assert!(said["outcomes"].as_array().unwrap().iter().all(|one| one["outcome"] == "delivered"), "{said}");
    for house in [&a, &b] {
        wait_until("all is settled", || (figures(house) == [80, 80, 0, 0]).then_some(())).await;
        let trace = json(house, &["trace", &letters[0]]);
        assert_eq!(trace["events"][0]["deliveries"][0]["fate"], "delivered", "{trace}");
    }
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_killed_is_named_by_the_other_and_is_back_when_it_is() {
    let Some(shared) = Shared::new("a_daemon_that_was_killed_is_named_by_the_other").await else { return };
    let callback = Callback::start().await;
    let [(a, first), (b, second)] = with_dead_letters(&shared, &callback).await;
    let accepted = |status: &Value| status["sources"]["interakt"]["accepted"].as_u64();
    assert_eq!(accepted(&json(&b, &["status"])), Some(80), "what the other took is counted");
    assert_eq!(accepted(&itself(&b, "/api/status").await), Some(0));
    let (_, page) = asked(&b, "/metrics", None).await;
    for line in [
        "hookrelay_webhooks_accepted_total{node=\"a\",source=\"interakt\"} 80",
        "hookrelay_webhooks_accepted_total{node=\"b\",source=\"interakt\"} 0",
        "hookrelay_deliveries_total{sink=\"crm\",outcome=\"delivered\"} 40",
        "hookrelay_node_up{node=\"a\"} 1",
    ] {
        assert_eq!(page.lines().filter(|one| *one == line).count(), 1, "{line}\n{page}");
    }
    for (path, scope) in [("/metrics?scope=node", None), ("/metrics", Some("node"))] {
        let (status, page) = asked(&b, path, scope).await;
        assert!(status == 200 && !page.contains("node=\""), "{path} {page}");
    }
    for (path, scope) in [("/metrics?scope=all", None), ("/api/status", Some("all"))] {
        assert_eq!(asked(&b, path, scope).await.0, 400, "{path}");
    }

    first.kill();
    let status = wait_until("the other is named", || {
        let status = json(&b, &["status"]);
        (nodes(&status) == [("a".to_owned(), false), ("b".to_owned(), true)]).then_some(status)
    })
    .await;
    assert_eq!((&status["state"], &status["reasons"][0]["code"]), (&"degraded".into(), &"node_away".into()));
    assert!(status["nodes"][0]["why"].as_str().unwrap().contains("nobody answers"), "{status}");
    let text = verb(&b, 0, &["status"]);
    assert!(text.contains("NO ANSWER"), "{text}");
    let list = ends(b.command(&["dead", "list", "--json"]));
    assert!(String::from_utf8_lossy(&list.stderr).contains("what daemon a has may be missing"), "{list:?}");
    let (_, page) = asked(&b, "/metrics", None).await;
    assert!(page.contains("hookrelay_node_up{node=\"a\"} 0\n") && page.contains("hookrelay_node_up{node=\"b\"} 1\n"));

    let again = a.start();
    for house in [&a, &b] {
        wait_until("both answer", || (nodes(&json(house, &["status"])) == both()).then_some(())).await;
        wait_until("all letters", || (ids(&json(house, &["dead", "list"])).len() == 40).then_some(())).await;
    }
    // Whoever stops in good order says so, and is nobody that does not answer.
    assert_eq!(again.terminate(), 0);
    wait_until("one is left", || (nodes(&json(&b, &["status"])) == [("b".to_owned(), true)]).then_some(())).await;
    assert_eq!(second.terminate(), 0);
}
