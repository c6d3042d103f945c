//! Dead letters: found, shown, retried and dropped by the verbs, and counted, over kill -9.

use std::collections::HashMap;

use crate::bodies::numbered;
use crate::harness::{Callback, House, post_all, wait_until};
use crate::verbs::{self, json_without_secret, verb_without_secret};

fn tables(url: &str, more: &str) -> String {
    format!(
        "[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\n[[routes]]\nmatch = \"*\"\nto = \"crm\"\n[dead_letters]\n\
         {more}\n"
    )
}

/// The sink's figures: accepted, dead, pending, dropped.
fn figures(house: &House) -> [u64; 4] {
    verbs::figures(house, "crm", ["accepted", "dead", "pending", "dropped"])
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_retried_and_dropped_and_the_figures_follow_over_kill_9() {
    let callback = Callback::start().await;
    callback.answer_with(400);
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..6).map(numbered)).await;
    wait_until("all are dead", || (figures(&house) == [6, 6, 0, 0]).then_some(())).await;
    let list = json_without_secret(&house, &["dead", "list"]);
    let listed: Vec<&str> = list.as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids, "in the order they came");
    let first = &list[0];
    assert_eq!((&first["sink"], &first["attempts"]), (&"crm".into(), &1.into()), "{first}");
    assert!(first["reason"]["detail"].as_str().unwrap().contains("400") && first["event"].is_null(), "{first}");
    assert_eq!(json_without_secret(&house, &["dead", "list", "--limit", "2"]).as_array().unwrap().len(), 2);
    assert_eq!(
        json_without_secret(&house, &["dead", "list", "--since", "1h", "--sink", "crm"]).as_array().unwrap().len(),
        6
    );
    for none in [["--until", "1h"], ["--sink", "other"], ["--code", "other"], ["--type", "nothing_*"]] {
        assert_eq!(
            json_without_secret(&house, &[&["dead", "list"], &none[..]].concat()),
            serde_json::json!([]),
            "{none:?}"
        );
    }
    // Not every JSON parser takes its body, so that the body is looked for as text.
    let shown = verb_without_secret(&house, 0, &["dead", "show", &ids[2], "--json"]);
    let body = String::from_utf8(sink_api::json::compact(&numbered(2)).unwrap()).unwrap();
    let (event, id) = (format!("\"event\":{body}"), format!("\"event_id\":\"{}\"", ids[2]));
    assert!(shown.contains(&event) && shown.contains(&id) && !shown.contains(&ids[3]), "{shown}");

    verb_without_secret(&house, 1, &["dead", "show", "nothing"]);
    for verb in ["retry", "drop"] {
        verb_without_secret(&house, 2, &["dead", verb]);
        verb_without_secret(&house, 2, &["dead", verb, &ids[0], "--all"]);
        assert!(verb_without_secret(&house, 1, &["dead", verb, &ids[0], "nothing"]).contains("`nothing`"));
    }
    assert!(verb_without_secret(&house, 1, &["dead", "retry", "--sink", "gone"]).contains("no sink `gone`"));
    assert_eq!(figures(&house), [6, 6, 0, 0], "nothing of that did anything");

    assert!(verb_without_secret(&house, 0, &["dead", "drop", &ids[0], &ids[1]]).contains("2 dead letters forgotten"));
    assert_eq!(figures(&house), [6, 4, 0, 2]);
    daemon.kill();
    let daemon = house.start();
    wait_until("figures are known", || (figures(&house) == [6, 4, 0, 2]).then_some(())).await;
    verb_without_secret(&house, 0, &["dead", "drop", "--all"]);
    assert_eq!(figures(&house), [6, 0, 0, 6]);
    assert_eq!(json_without_secret(&house, &["dead", "list"]), serde_json::json!([]));
    assert_eq!(daemon.terminate(), 0);
    verb_without_secret(&house, 69, &["dead", "list"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_delivered_by_the_rules_of_now_or_as_they_were_over_kill_9() {
    let callback = Callback::start().await;
    callback.answer_with(400);
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..6).map(numbered)).await;
    wait_until("all are dead", || (figures(&house) == [6, 6, 0, 0]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    let rules = "[[routes]]\nmatch = \"*\"\nto = \"crm\"";
    let anew = "[[routes]]\nmatch = \"*\"\nto = \"crm\"\ntransform = '{anew: $event.id}'";
    house.configure(&tables(&callback.url(), "").replace(rules, anew));
    let daemon = house.start();
    wait_until("it answers", || (figures(&house)[1] == 6).then_some(())).await;
    verb_without_secret(&house, 0, &["dead", "retry", &ids[0]]);
    wait_until("it is dead again", || (figures(&house) == [6, 6, 0, 0]).then_some(())).await;
    callback.answer_with(200);
    verb_without_secret(&house, 0, &["dead", "retry", &ids[0], &ids[1]]);
    verb_without_secret(&house, 0, &["dead", "retry", "--as-was", &ids[2], &ids[3]]);
    daemon.kill();
    let _daemon = house.start();
    wait_until("they are delivered", || (figures(&house) == [6, 2, 0, 0]).then_some(())).await;
    let mut got: HashMap<String, Vec<bytes::Bytes>> = HashMap::new();
    for one in callback.got() {
        got.entry(one.id).or_default().push(one.body);
    }
    for (n, id) in ids.iter().enumerate().take(4) {
        let wanted = match n {
            0 | 1 => format!("{{\"anew\":\"{id}\"}}").into_bytes(),
            _ => numbered(n as u64),
        };
        assert!(got.get(id).is_some_and(|bodies| bodies.iter().all(|body| *body == wanted)), "{n}");
    }
    assert_eq!(got.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_past_their_age_are_forgotten_and_count_as_dropped() {
    let callback = Callback::start().await;
    callback.answer_with(400);
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("all are dead", || (figures(&house) == [3, 3, 0, 0]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    house.configure(&tables(&callback.url(), "max_age = \"1ms\""));
    let daemon = house.start();
    wait_until("they are forgotten", || (figures(&house) == [3, 0, 0, 3]).then_some(())).await;
    assert!(daemon.log.wait_for(|line| line.contains("max_age")).is_some(), "it says so");
}
