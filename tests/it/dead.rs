//! Dead letters: found, shown, retried and dropped by the verbs, and counted, over kill -9.

use std::collections::HashMap;

use crate::bodies::numbered;
use crate::harness::{Callback, House, ask_admin, post_all, wait_until};
use crate::verbs::{self, json_without_secret, verb_without_secret};

fn tables(url: &str, more: &str) -> String {
    format!(
        "[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\n[[routes]]\nmatch = \"*\"\nto = \"crm\"\n[dead_letters]\n\
         {more}\n"
    )
}

/// The same event in JSON that every parser takes.
fn plain(n: u64) -> Vec<u8> {
    String::from_utf8(numbered(n)).unwrap().replace("\\ud83d", "").into_bytes()
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
    for none in [["--until", "1h"], ["--code", "other"], ["--type", "nothing_*"]] {
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
    verb_without_secret(&house, 2, &["dead", "show"]);
    let shown = verb_without_secret(&house, 0, &["dead", "show", "--sink", "crm", "--json"]);
    assert_eq!(shown.matches("\"event_id\"").count(), 6, "{shown}");
    for verb in ["retry", "drop"] {
        verb_without_secret(&house, 2, &["dead", verb]);
        verb_without_secret(&house, 2, &["dead", verb, &ids[0], "--all"]);
        assert!(verb_without_secret(&house, 1, &["dead", verb, &ids[0], "nothing"]).contains("`nothing`"));
    }
    assert!(verb_without_secret(&house, 1, &["dead", "retry", "--sink", "gone"]).contains("no sink `gone`"));
    assert_eq!(figures(&house), [6, 6, 0, 0], "nothing of that did anything");

    assert!(
        verb_without_secret(&house, 0, &["dead", "drop", &ids[0], &ids[1]]).contains("2 dead letters forgotten: crm 2")
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_a_table_with_short_ids_and_can_be_counted() {
    let callback = Callback::start().await;
    callback.answer_with(400);
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..5).map(plain)).await;
    wait_until("all are dead", || (figures(&house)[1] == 5).then_some(())).await;
    let table = verb_without_secret(&house, 0, &["dead", "list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 6, "{table}");
    let heads = ["SINK", "ID", "TYPE", "SUBJECT", "CAME", "DIED", "TRIES", "WHY"];
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), heads);
    let short = ids[2].split_at(ids[2].len() - 8).1;
    assert!(lines[3].contains(short) && lines[3].contains("m-2") && lines[3].contains("http_4xx: 400"), "{table}");
    let shown = json_without_secret(&house, &["dead", "show", short]);
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["id"]), (1, &ids[2].as_str().into()));
    assert!(shown[0]["answer"].is_null(), "nobody wanted it kept");
    assert_eq!(verb_without_secret(&house, 0, &["dead", "list", "--by", "type"]).lines().count(), 3);
    let counts = json_without_secret(&house, &["dead", "list", "--by", "type"]);
    let of = |key: &str, count: u64| serde_json::json!({ "key": key, "count": count });
    let by_type = [of("message_api_delivered", 2), of("message_api_sent", 2), of("message_api_read", 1)];
    assert_eq!(counts, serde_json::json!(by_type));
    assert_eq!(verb_without_secret(&house, 0, &["dead", "list", "--by", "code"]), "5 http_4xx\n");
    let some = json_without_secret(&house, &["dead", "list", "--by", "sink", "--type", "*_sent"]);
    assert_eq!(some, serde_json::json!([of("crm", 2)]));
    let page = ask_admin(&house, "/api/dead?limit=2&type=*_sent").await;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (2, &serde_json::Value::Null), "{page}");
    let first = ask_admin(&house, "/api/dead?limit=2").await;
    let rest = ask_admin(&house, &format!("/api/dead?after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 3, "{rest}");
    assert!(verb_without_secret(&house, 0, &["dead", "drop", short]).contains("1 dead letter forgotten"));
    assert_eq!(figures(&house), [5, 4, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_can_wait_and_says_of_each_what_became_of_it() {
    let callback = Callback::start().await;
    callback.answer_with(400);
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("all are dead", || (figures(&house)[1] == 3).then_some(())).await;
    let short: Vec<&str> = ids.iter().map(|id| id.split_at(id.len() - 8).1).collect();
    let again = verb_without_secret(&house, 1, &["dead", "retry", short[0], "--wait"]);
    assert!(again.contains(&format!("crm {} dead http_4xx\n", short[0])), "{again}");
    callback.answer_with(503);
    let waits = verb_without_secret(&house, 1, &["dead", "retry", short[0], "--wait", "--timeout", "1ms"]);
    assert!(waits.starts_with(&format!("crm {} pending", short[0])), "{waits}");
    callback.answer_with(200);
    let done = verb_without_secret(&house, 0, &["dead", "retry", "--all", "--wait"]);
    let lines: Vec<String> = short[1..].iter().map(|id| format!("crm {id} delivered")).collect();
    assert_eq!(done.lines().collect::<Vec<_>>(), lines, "{done}");
    let traced = verb_without_secret(&house, 0, &["trace", &ids[1]]);
    assert!(traced.contains("before that http_4xx"), "{traced}");
    wait_until("the first, too", || (figures(&house) == [3, 0, 0, 0]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_answered_is_kept_where_the_table_says_so_and_logged_nowhere() {
    let callback = Callback::start().await;
    callback.answer_with(422);
    callback.say(format!("no contact Asha\u{1b}[31m\n{}", "x".repeat(1000)).as_bytes());
    let url = callback.url();
    let house = House::new(&format!(
        "[log]\nlevel = \"debug\"\n[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\nkeep_answer = true\n\
         [sinks.other]\nkind = \"http\"\nurl = \"{url}\"\n[[routes]]\nmatch = \"*\"\nto = [\"crm\", \"other\"]\n"
    ));
    let daemon = house.start();
    post_all(&daemon.url(), [plain(1)]).await;
    let dead = |sink| verbs::figures(&house, sink, ["dead"]) == [1];
    wait_until("both are dead", || (dead("crm") && dead("other")).then_some(())).await;
    let list = json_without_secret(&house, &["dead", "list"]);
    let id = list[0]["id"].as_str().unwrap();
    assert!(list.as_array().unwrap().iter().all(|letter| letter["answer"].is_null()), "only `show` tells");
    let shown = json_without_secret(&house, &["dead", "show", id]);
    let answer = |sink: &str| {
        let letters = shown.as_array().unwrap();
        letters.iter().find(|letter| letter["sink"] == sink).unwrap()["answer"].clone()
    };
    let kept = answer("crm");
    let kept = kept.as_str().unwrap();
    assert!(kept.starts_with("no contact Asha\\u{1b}[31m\\nxxx") && kept.len() == 512, "{kept}");
    assert!(answer("other").is_null());
    assert!(daemon.log.wait_for(|line| line.contains("a delivery was tried")).is_some());
    assert!(!daemon.log.text().contains("Asha"), "{}", daemon.log.text());
}
