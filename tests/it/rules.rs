//! Rules in jq: their payloads reach the sinks; a program that runs away costs its own event and nothing else;
//! `explain` shows what the daemon does.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{House, column, lines_under, post_all, wait_until};

const TABLES: &str = r#"
[sinks.rules]
kind = "file"
path = "rules/all.jsonl"
format = "raw"
[sinks.plain]
kind = "file"
path = "plain/all.jsonl"
format = "raw"
[[routes]]
name = "made"
match = "*"
where = '.data.n >= 0'
transform = '''
if .data.run == "loop" then last(repeat(1))
elif .data.run == "giant" then [range(1e12)]
elif .data.run == "deep" then def f: 1 + f; f
elif .data.run == "error" then error("bad number \(.data.n)")
else {n: .data.n, id: .data.id, type: $event.type}, (.data.more // empty) end
'''
to = "rules"
[[routes]]
match = "*"
to = "plain"
"#;

fn body(n: i64, more: &str) -> Vec<u8> {
    format!(r#"{{"type":"message_api_sent","data":{{"n":{n},"id":12345678901234567890{more}}}}}"#).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_runs_away_costs_its_own_event_and_nothing_else() {
    let house = House::new(TABLES);
    let daemon = house.start();
    let bad = [(5, "loop"), (6, "giant"), (12, "deep"), (17, "error")];
    let bodies = (0..40).map(|n| match bad.iter().find(|(at, _)| *at == n) {
        Some((_, run)) => body(n, &format!(r#","run":"{run}""#)),
        None if n == 20 => body(n, r#","more":{"second":true}"#),
        None => body(if n == 30 { -1 } else { n }, ""),
    });
    let begun = Instant::now();
    let ids = post_all(&daemon.url(), bodies).await;
    let plain = wait_until("the other sink has all", || {
        Some(lines_under(&house.path("plain"), ".jsonl")).filter(|lines| lines.len() == 40)
    });
    plain.await;
    // Meanwhile the rules' sink is held up, for a second and more by each of the two programs that run away.
    println!("40 taken and delivered elsewhere after {:?}", begun.elapsed());

    // Of 40 events four fail, one is filtered, and one yields two payloads.
    let made = wait_until("the rules' sink has its share", || {
        Some(lines_under(&house.path("rules"), ".jsonl")).filter(|lines| lines.len() >= 36)
    });
    let made: Vec<Value> = made.await.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(made.len(), 36);
    // The event is read from the running daemon's journal, by the id of its second delivery.
    let explain = house.command(&["explain", "--json", "--id", &format!("{}-made-2", ids[20])]).output().unwrap();
    let shown: Value = serde_json::from_slice(&explain.stdout).unwrap();
    assert_eq!((&shown["event"]["id"], &shown["event"]["key"]), (&ids[20].clone().into(), &ids[20].clone().into()));
    assert_eq!(shown["deliveries"][1]["payload"], serde_json::json!({"second": true}));
    let gone = house.command(&["explain", "--id", "0192f0c1-2d4b-7a5e-8c3d-5f6a7b8c9d0e"]).output().unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("there is no event 0192f0c1"));
    let numbers: Vec<i64> = made.iter().filter_map(|m| m["n"].as_i64()).collect();
    let wanted: Vec<i64> = (0..40).filter(|n| *n != 30 && !bad.iter().any(|(at, _)| at == n)).collect();
    assert_eq!(numbers, wanted);
    assert!(lines_under(&house.path("rules"), ".jsonl")[0].contains("12345678901234567890"));

    let database = house.path("data/ledger.db");
    let sql = "SELECT id || ' ' || code || ' ' || detail FROM held WHERE sink = 'rules' ORDER BY place";
    let dead = wait_until("four dead letters", || Some(column(&database, sql)).filter(|dead| dead.len() == 4)).await;
    for ((n, _), (dead, part)) in bad.iter().zip(dead.iter().zip(["CPU time", "stopped", "stopped", "bad number 17"])) {
        let id = &ids[usize::try_from(*n).unwrap()];
        assert!(dead.starts_with(&format!("{id} rule_error ")) && dead.contains(part), "{n}: {dead}");
    }
    let daemon_stops = Instant::now();
    assert_eq!(daemon.terminate(), 0);
    assert!(daemon_stops.elapsed() < Duration::from_secs(30));
}

#[test]
fn explain_shows_what_conditions_evaluated_to_and_what_transforms_make() {
    let house = House::new(TABLES);
    let file = house.path("event.json");
    let explain = |body: &[u8]| {
        std::fs::write(&file, body).unwrap();
        let output = house.command(&["explain", "--json"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let fine = explain(&body(7, r#","more":[1]"#));
    assert_eq!(fine["routes"][0]["why"], "glob \"*\" matches type \"message_api_sent\"; its `where` is true");
    assert_eq!(fine["deliveries"][0]["payload"]["type"], "message_api_sent");
    assert_eq!(fine["deliveries"][1]["payload"], serde_json::json!([1]));
    assert!(fine["deliveries"][1]["id"].as_str().unwrap().ends_with("-2"));
    let filtered = explain(&body(-1, ""));
    assert_eq!(filtered["routes"][0]["matched"], false);
    assert!(filtered["routes"][0]["why"].as_str().unwrap().ends_with("its `where` is false"));
    let endless = explain(&body(1, r#","run":"loop""#));
    assert!(endless["routes"][0]["why"].as_str().unwrap().contains("more than 1 s of CPU time"), "{endless}");
}

#[test]
fn a_fault_in_a_program_is_told_with_line_and_column() {
    let house =
        House::new(&TABLES.replace("elif .data.run == \"deep\" then def", "elif .data.run == \"deep\" thn def"));
    let output = house.command(&["check"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let config = std::fs::read_to_string(house.config()).unwrap();
    let line = 1 + config.lines().position(|line| line.contains("thn def")).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text.contains(&format!("config.toml:{line}:26: error: [routes] key `transform`: not a jq program")),
        "{text}"
    );
}

#[test]
fn tests_of_the_rules_pass_or_say_what_came_otherwise() {
    let house = House::new(TABLES);
    let add = |tests: &str| {
        let text = std::fs::read_to_string(house.config()).unwrap();
        std::fs::write(house.config(), format!("{text}{tests}")).unwrap();
    };
    let run = |args: &[&str]| {
        let output = house.command(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    std::fs::write(house.path("event.json"), body(7, r#","more":{"a":1}"#)).unwrap();
    add(r#"
[[tests]]
name = "two payloads"
event = "event.json"
sinks = ["plain", "rules"]
deliveries = [
  { sink = "rules", id = "-2", payload = { a = 1 } },
  { sink = "rules", path = "rules/all.jsonl", payload = { n = 7, type = "message_api_sent" } },
]
"#);
    assert_eq!(run(&["test"]), (0, "ok    two payloads\n1 test: 1 passed, 0 failed\n".to_owned()));
    assert_eq!(run(&["check"]).0, 0);

    add(r#"
[[tests]]
name = "all wrong"
body = '{"type":"x","data":{"n":-1}}'
sinks = ["rules"]
[[tests]]
name = "another payload"
body = '{"type":"x","data":{"n":1}}'
sinks = ["rules", "plain"]
deliveries = [{ sink = "rules", key = "k", payload = { n = 2, more = true } }]
[[tests]]
name = "no such file"
event = "gone.json"
sinks = []
"#);
    let (code, text) = run(&["test"]);
    assert_eq!(code, 1);
    for line in [
        "FAIL  all wrong",
        "        sink \"rules\": expected a delivery, got none",
        "          route \"made\": glob \"*\" matches type \"x\"; its `where` is false",
        "        sink \"plain\": expected nothing, got a delivery",
        "        delivery to \"rules\": payload.n: expected 2, got 1",
        "        delivery to \"rules\": payload.more: expected true, got nothing",
        "4 tests: 1 passed, 3 failed",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    assert!(text.contains("gone.json: No such file"), "{text}");
    let (code, checked) = run(&["check"]);
    assert!(code == 1 && checked.contains("FAIL  another payload") && !checked.contains("two payloads"), "{checked}");
    let (code, checked) = run(&["check", "--no-tests"]);
    assert!(code == 0 && !checked.contains(" test"), "{checked}");

    house.configure(TABLES);
    std::fs::write(house.path("more.toml"), "[[tests]]\nname = 'm'\nevent = 'event.json'\nsinks = ['plain']\n")
        .unwrap();
    let (code, json) = run(&["test", house.path("more.toml").to_str().unwrap(), "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["ok"], &json["tests"][0]["name"]), (1, &false.into(), &"m".into()));
    std::fs::write(house.path("more.toml"), "[[tests]]\nname = 'm'\nbody = '{}'\nsinks = ['plan']\n").unwrap();
    let output = house.command(&["test"]).arg(house.path("more.toml")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && printed.contains("did you mean `plain`?"), "{printed}");
}
