//! What is handed out when, and which answers are taken.

use sink_testkit::{batch, event, unordered};

use super::*;

const MAX: usize = 1 << 20;

fn mask() -> Mask {
    Mask::new(std::iter::empty())
}

/// A delivery of this id and key.
fn keyed(id: &str, key: &str) -> Delivery {
    event("t").key(key).delivery_id(id).delivery()
}

/// Writes all there is to write; the ids of the lines.
fn write_all(exchange: &mut Exchange<'_>) -> Vec<String> {
    let lines = String::from_utf8(exchange.unsent().to_vec()).unwrap();
    exchange.sent(lines.len());
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    lines.lines().map(id).collect()
}

fn answer(exchange: &mut Exchange<'_>, id: &str, outcome: &str) -> Result<(), Broken> {
    exchange.take(format!(r#"{{"id":"{id}","outcome":"{outcome}"}}"#).as_bytes(), &mask())
}

fn words(report: Report) -> Vec<&'static str> {
    let word = |slot: &Option<Outcome>| match slot {
        Some(Outcome::Delivered) => "delivered",
        Some(Outcome::Retry { .. }) => "retry",
        Some(Outcome::Reject { .. }) => "reject",
        Some(other) => panic!("{other:?}"),
        None => "unset",
    };
    report.into_slots().iter().map(word).collect()
}

#[test]
fn a_line_is_a_cloudevent_with_its_key() {
    let delivery = event("message_api_sent").subject("m-1").key("a \"key\"").body("{\n \"n\": 1.50 }").delivery();
    let mut line = Vec::new();
    push_line(&mut line, &delivery);
    let line = String::from_utf8(line).unwrap();
    let head = format!(r#"{{"specversion":"1.0","id":"{}","source":"/webhooks/interakt","type":"#, delivery.id);
    assert!(line.starts_with(&head), "{line}");
    assert!(line.ends_with("\"data\":{\"n\":1.50},\"key\":\"a \\\"key\\\"\"}\n"), "{line}");
}

#[test]
fn the_next_of_a_key_is_handed_out_when_the_one_before_was_delivered() {
    let owed = batch([keyed("1", "a"), keyed("2", "b"), keyed("3", "a"), keyed("4", "a"), keyed("5", "b")]);
    let mut exchange = Exchange::new(&owed, MAX);
    assert_eq!(write_all(&mut exchange), ["1", "2"]);
    answer(&mut exchange, "2", "retry").unwrap(); // answers come in any order; 5 stays where it is
    assert_eq!(write_all(&mut exchange), [""; 0]);
    answer(&mut exchange, "1", "delivered").unwrap();
    assert_eq!(write_all(&mut exchange), ["3"]);
    answer(&mut exchange, "3", "reject").unwrap();
    assert!(exchange.is_done());
    assert_eq!(words(exchange.end(None)), ["delivered", "retry", "reject", "unset", "unset"]);
}

#[test]
fn where_no_order_is_owed_all_is_handed_out_but_an_id_once_at_a_time() {
    let owed = unordered([keyed("1", "a"), keyed("2", "a"), keyed("1", "a")]);
    let mut exchange = Exchange::new(&owed, MAX);
    assert_eq!(write_all(&mut exchange), ["1", "2"]);
    answer(&mut exchange, "1", "reject").unwrap();
    assert_eq!(write_all(&mut exchange), ["1"]);
    answer(&mut exchange, "1", "delivered").unwrap();
    answer(&mut exchange, "2", "delivered").unwrap();
    assert_eq!(words(exchange.end(None)), ["reject", "delivered", "delivered"]);
}

#[test]
fn a_verdict_counts_once_and_only_for_what_the_program_has() {
    let owed = batch([keyed("1", "a"), keyed("2", "b"), keyed("3", "b")]);
    let mut exchange = Exchange::new(&owed, MAX);
    let early = answer(&mut exchange, "1", "delivered").unwrap_err();
    assert_eq!(early.code, EXEC_PROTOCOL); // nothing has been written yet
    write_all(&mut exchange);
    assert!(answer(&mut exchange, "3", "delivered").is_err()); // behind 2
    assert!(answer(&mut exchange, "unheard", "delivered").is_err());
    answer(&mut exchange, "1", "delivered").unwrap();
    assert!(answer(&mut exchange, "1", "reject").is_err());
    let why = Reason::new(EXEC_PROTOCOL, "");
    assert_eq!(words(exchange.end(Some(&why))), ["delivered", "retry", "unset"]);
}

#[test]
fn what_does_not_fit_on_a_line_is_rejected_and_nothing_of_its_key_is_handed_out() {
    let long = event("t").key("a").body(format!("\"{}\"", "x".repeat(5000))).delivery();
    let owed = batch([long.clone(), keyed("2", "a"), keyed("3", "b")]);
    let mut exchange = Exchange::new(&owed, 4096);
    assert_eq!(write_all(&mut exchange), ["3"]);
    answer(&mut exchange, "3", "delivered").unwrap();
    assert_eq!(words(exchange.end(None)), ["reject", "unset", "delivered"]);
    let owed = unordered([long]);
    assert!(Exchange::new(&owed, 4096).is_done());
}

#[test]
fn what_the_program_wrote_is_for_the_log_alone() {
    let owed = batch([keyed("1", "a")]);
    let broken = Exchange::new(&owed, MAX).take("oops body\x1b[0m é".repeat(400).as_bytes(), &mask()).unwrap_err();
    assert!(broken.line.starts_with("oops body [0m") && broken.line.len() <= 200, "{broken:?}");
    assert!(!broken.what.contains("body"), "{broken:?}");
}
