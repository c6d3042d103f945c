//! One bad row among good ones: it is rejected, and it alone.

use sink_api::Outcome;
use sink_testkit::{MARKER, batch, deliver, unordered, verdict, verdicts};

use crate::{Fixture, delivery, keyed, table};

/// 500 deliveries of `good`, but for these places.
fn among(good: &str, bad: &[(usize, &str)]) -> sink_api::Batch {
    let payload = |i| bad.iter().find(|(at, _)| *at == i).map_or(good, |(_, json)| json).to_owned();
    batch((0..500).map(|i| delivery(payload(i))))
}

async fn only_these_are_rejected(fixture: &Fixture, good: &str, bad: &[(usize, &str)], code: &str) {
    let sink = fixture.open().await;
    let owed = among(good, bad);
    let slots = deliver(&*sink, &owed).await;
    for (i, slot) in slots.iter().enumerate() {
        let want = if bad.iter().any(|(at, _)| *at == i) { format!("reject {code}") } else { "delivered".to_owned() };
        assert_eq!(verdict(slot), want, "row {i}: {slot:?}");
        if let Some(Outcome::Reject { why }) = slot {
            assert!(!why.detail.contains(MARKER), "{why}");
        }
    }
    assert_eq!(fixture.texts("SELECT count(*) || '' FROM t"), [(500 - bad.len()).to_string()]);
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_of_the_table_is_rejected_alone() {
    let bad = format!(r#"{{"v":"{MARKER}"}}"#);
    let places: Vec<(usize, &str)> = [0, 17, 18, 255, 499].map(|at| (at, bad.as_str())).to_vec();
    let fixture = Fixture::with(&format!(", v TEXT CHECK (v NOT LIKE '%{}%')", &MARKER[..6]));
    only_these_are_rejected(&fixture, r#"{"v":"fine"}"#, &places, "constraint").await;
    let fixture = Fixture::with(", v TEXT NOT NULL");
    only_these_are_rejected(&fixture, r#"{"v":"fine"}"#, &[(250, r#"{"v":null}"#), (251, "{}")], "constraint").await;
}

#[tokio::test]
async fn a_value_of_the_wrong_type_in_a_strict_table_is_rejected_alone() {
    let fixture = Fixture::new("setup = 'CREATE TABLE t (event_id TEXT UNIQUE, v INTEGER) STRICT'");
    let bad = format!(r#"{{"v":"{MARKER}"}}"#);
    only_these_are_rejected(&fixture, r#"{"v":1}"#, &[(42, &bad)], "bad_payload").await;
}

#[tokio::test]
async fn a_payload_that_is_no_object_is_rejected_alone() {
    let fixture = Fixture::with(", v");
    let list = format!(r#"["{MARKER}"]"#);
    only_these_are_rejected(&fixture, "{}", &[(0, "null"), (7, &list), (8, MARKER), (499, "")], "bad_payload").await;
}

#[tokio::test]
async fn a_row_an_expression_of_the_table_fails_on_is_rejected_alone() {
    let fixture = Fixture::with(", v TEXT, x AS (json_extract(v, '$.a')) STORED");
    let bad = format!(r#"{{"v":"{MARKER}"}}"#);
    only_these_are_rejected(&fixture, r#"{"v":{"a":1}}"#, &[(3, &bad)], "bad_payload").await;
}

#[tokio::test]
async fn a_clash_on_another_unique_column_rejects_that_row_only_and_changes_none() {
    for mode in ["nothing", "update"] {
        let fixture = Fixture::new(&format!("on_conflict = \"{mode}\"\nsetup = '''{}'''", table(", u UNIQUE, v")));
        let sink = fixture.open().await;
        let owed = batch([
            keyed("1", "a", r#"{"u":1,"v":"first"}"#),
            keyed("2", "b", r#"{"u":1,"v":"second"}"#),
            keyed("3", "c", r#"{"u":3,"v":"third"}"#),
        ]);
        assert_eq!(verdicts(&*sink, &owed).await, ["delivered", "reject constraint", "delivered"], "{mode}");
        assert_eq!(fixture.texts("SELECT event_id || u || v FROM t ORDER BY id"), ["11first", "33third"], "{mode}");
    }
}

#[tokio::test]
async fn a_schema_that_rolls_the_whole_transaction_back_loses_no_good_row() {
    let fixture = Fixture::with(", v CONSTRAINT small CHECK (v < 5), u UNIQUE ON CONFLICT ROLLBACK");
    let rows = r#"{"v":1,"u":null}"#;
    only_these_are_rejected(&fixture, rows, &[(100, r#"{"v":9,"u":null}"#), (300, r#"{"v":7}"#)], "constraint").await;
    let fixture = Fixture::new(&format!(
        "setup = '''{}; CREATE TRIGGER IF NOT EXISTS no AFTER INSERT ON t WHEN new.v = '{MARKER}'
         BEGIN SELECT RAISE(ROLLBACK, '{MARKER}'); END'''",
        table(", v")
    ));
    let bad = format!(r#"{{"v":"{MARKER}"}}"#);
    only_these_are_rejected(&fixture, r#"{"v":1}"#, &[(100, &bad), (101, &bad)], "constraint").await;
}

#[tokio::test]
async fn a_row_that_only_the_commit_refuses_is_found_too() {
    let fixture = Fixture::new(&format!(
        "setup = '''CREATE TABLE IF NOT EXISTS p (k INTEGER PRIMARY KEY); INSERT OR IGNORE INTO p VALUES (1); {}'''",
        table(", k INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED")
    ));
    only_these_are_rejected(&fixture, r#"{"k":1}"#, &[(77, r#"{"k":2}"#)], "constraint").await;
}

#[tokio::test]
async fn where_order_is_owed_nothing_of_a_key_follows_its_rejected_one() {
    let fixture = Fixture::with(", v CHECK (v < 5)");
    let sink = fixture.open().await;
    let rows = [
        keyed("a1", "a", r#"{"v":1}"#),
        keyed("b1", "b", r#"{"v":9}"#),
        keyed("a2", "a", "[]"),
        keyed("b2", "b", r#"{"v":1}"#),
        keyed("a3", "a", r#"{"v":1}"#),
        keyed("b3", "b", "[]"),
        keyed("c1", "c", r#"{"v":1}"#),
    ];
    let (yes, no, json) = ("delivered", "reject constraint", "reject bad_payload");
    assert_eq!(verdicts(&*sink, &batch(rows.clone())).await, [yes, no, json, "unset", "unset", "unset", yes]);
    assert_eq!(fixture.texts("SELECT event_id FROM t ORDER BY id"), ["a1", "c1"]);
    assert_eq!(verdicts(&*sink, &unordered(rows)).await, [yes, no, json, yes, yes, json, yes]);
}

#[tokio::test]
async fn a_batch_of_nothing_but_bad_rows_is_rejected_whole() {
    let fixture = Fixture::with(", v NOT NULL");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &batch((0..64).map(|_| delivery("{}")))).await, vec!["reject constraint"; 64]);
}
