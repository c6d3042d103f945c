//! `check`, a start and a reload warn of rules that are valid and cannot be meant; `explain` says which types a glob
//! that did not match would match.

use crate::harness::House;

/// Each of the routes but the last is doubtful. They begin on line 10 of the file.
const DOUBTFUL: &str = r#"[sinks.out]
kind = "file"
path = "out/{type}.jsonl"
[[routes]]
match = ["message_api_fail", "message_.*_failed", "a|b", "Message_*_Failed"]
to = "out"
[[routes]]
match = "message_api_sent"
where = '.code = "131026"'
to = "out"
[[routes]]
match = "message_*"
final = true
to = "out"
[[routes]]
match = "message_received"
where = 'true'
to = "out"
[[routes]]
match = ["agent_message_read", "message_campaign_clicked", "messages", "unknown", "unparsable", "new_*"]
where = '.code == "131026"'
to = "out"
"#;

const TOLD: &[(&str, &str)] = &[
    ("14:10", "did you mean `message_api_failed`?"),
    ("14:30", "write `message_*_failed`, which matches `message_api_failed`, `message_campaign_failed`"),
    ("14:51", r#"write a list: match = ["a", "b"]"#),
    ("14:58", "write `message_*_failed`, which matches"),
    ("18:9", "is an assignment"),
    ("24:1", "no event reaches this route: what it matches ends at `route3`"),
    ("26:9", "is a constant"),
];

fn is_told(house: &House, text: &str, by: &str) {
    let file = house.config().display().to_string();
    for (place, words) in TOLD {
        let at = text.find(&format!("{file}:{place}: warning: [routes] "));
        let at = at.unwrap_or_else(|| panic!("{by}: nothing at {place}: {text}"));
        let rest = &text[at + file.len()..];
        let warning = &rest[..rest.find(&file).unwrap_or(rest.len())];
        assert!(warning.contains(words), "{by}: {place}: {warning}");
    }
    assert_eq!(text.matches("warning: [routes]").count(), TOLD.len(), "{by}: {text}");
}

#[test]
fn check_tells_rules_that_cannot_be_meant_and_takes_them() {
    let house = House::new(DOUBTFUL);
    let out = house.command(&["check"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    is_told(&house, &String::from_utf8(out.stderr).unwrap(), "check");
    let out = house.command(&["check", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&json["ok"], json["warnings"].as_array().unwrap().len()), (&true.into(), TOLD.len()));
}

/// The message of each line of the log.
fn messages(log: &str) -> String {
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let message =
        |line: serde_json::Value| Some(line["message"].as_str().or(line["fields"]["message"].as_str())?.to_owned());
    log.lines().filter_map(line).filter_map(message).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_reload_tell_them_too() {
    let house = House::new(DOUBTFUL);
    let daemon = house.start();
    is_told(&house, &messages(&daemon.log.text()), "run");
    let out = house.command(&["reload"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    is_told(&house, &String::from_utf8(out.stderr).unwrap(), "reload");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn explain_says_which_known_types_a_glob_that_failed_would_match() {
    let house = House::new(DOUBTFUL);
    let body = house.path("body.json");
    std::fs::write(&body, r#"{"type":"account_update"}"#).unwrap();
    let out = house.command(&["explain", body.to_str().unwrap(), "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let why = |route: usize| json["routes"][route]["why"].as_str().unwrap();
    assert!(why(0).starts_with("no glob matches type \"account_update\"; "), "{}", why(0));
    assert!(why(0).contains("\"message_api_fail\" matches no known type"), "{}", why(0));
    assert!(why(1).ends_with("\"message_api_sent\" matches `message_api_sent`"), "{}", why(1));
    assert!(
        why(2).contains("\"message_*\" matches `message_api_sent`, ")
            && why(2).ends_with("`message_template_status_update`"),
        "{}",
        why(2)
    );
}
