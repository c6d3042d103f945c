//! What must not be seen: values of the event in messages of rules that fail, and in
//! what `explain` shows of them.

use serde_json::Value;

use crate::harness::{ARCHIVE, House, post_all, until};

const MARKER: &str = "do-not-tell-9876543210";

#[tokio::test(flavor = "multi_thread")]
async fn no_rule_that_fails_tells_a_value_of_the_event() {
    let programs =
        [".data.note | tonumber", ".data.note | fromjson", ".data.note | todate", ".data.all | tostring | tonumber"];
    let routes =
        programs.map(|program| format!("[[routes]]\nmatch = \"*\"\ntransform = '{program}'\nto = \"archive\"\n"));
    let house = House::new(&format!("{}{}", ARCHIVE.split("[[routes]]").next().unwrap(), routes.concat()));
    let mut command = house.command(&["run"]);
    command.env("RUST_LOG", "trace");
    let daemon = House::start_as(command);
    let body = format!(r#"{{"type":"t","data":{{"note":"{MARKER} [{{","all":["{MARKER}",{{"{MARKER}":1}}]}}}}"#);
    post_all(&daemon.url(), [body.clone().into_bytes()]).await;
    let dead = until("a dead letter of each", || {
        let list = house.command(&["dead", "list", "--json"]).output().unwrap();
        let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
        (list.len() == programs.len()).then_some(list)
    });
    for letter in dead.await {
        let detail = letter["reason"]["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !detail.contains("do-not-tell"), "{detail}");
    }
    let log = daemon.log.text();
    assert_eq!(daemon.terminate(), 0);
    assert!(!log.contains("do-not-tell"), "{log}");
    let file = house.path("event.json");
    std::fs::write(&file, body).unwrap();
    let explained = house.command(&["explain", "--json"]).arg(&file).output().unwrap();
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    for route in explained["routes"].as_array().unwrap() {
        let why = route["why"].as_str().unwrap();
        assert!(why.contains("dead letter at sink") && !why.contains("do-not-tell"), "{why}");
    }
}
