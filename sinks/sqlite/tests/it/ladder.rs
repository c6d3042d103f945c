//! `on_conflict = "ladder"`: one row a message, whatever the order.

use rusqlite::types::Value;
use sink_api::ladder::COLUMNS;
use sink_testkit::messages::{self, Dice, Table};
use sink_testkit::{batch, deliver, detail, unordered, verdicts};

use crate::{Fixture, delivery, read};

const LADDER: &str = "on_conflict = \"ladder\"";
const BUILTIN: &str = "on_conflict = \"ladder\"\nsetup = \"builtin\"";

fn there(fixture: &Fixture) -> Table {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let cell = |value: Value| match value {
        Value::Null => None,
        Value::Text(text) => Some(text),
        Value::Integer(n) => Some(n.to_string()),
        other => panic!("{other:?}"),
    };
    let rows = fixture.query(&format!("SELECT message_id, {} FROM t", names.join(", ")));
    messages::table(rows.into_iter().map(|row| row.into_iter().map(cell).collect()))
}

#[tokio::test]
async fn any_order_any_number_and_any_batches_come_to_one_table() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let count = 1 + dice.roll(20);
        let payloads = messages::payloads(&mut dice, count);
        let want = messages::expected(&payloads);
        for _ in 0..3 {
            let fixture = Fixture::new(BUILTIN);
            let sink = fixture.open().await;
            for some in messages::batches(&mut dice, &payloads) {
                let size = some.len();
                let owed = some.into_iter().map(delivery);
                let owed = if dice.roll(2) == 0 { batch(owed) } else { unordered(owed) };
                assert_eq!(verdicts(&*sink, &owed).await, vec!["delivered"; size], "seed {seed}");
            }
            assert_eq!(there(&fixture), want, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn a_row_with_half_of_what_goes_together_brings_no_leftovers() {
    let fixture = Fixture::new(BUILTIN);
    let sink = fixture.open().await;
    let rows = [
        r#"{"message_id":"m","error_code":"1","failure_reason":"one"}"#,
        r#"{"message_id":"m","error_code":"2"}"#,
        r#"{"message_id":"m","failure_reason":"zzz"}"#,
    ];
    for row in rows {
        assert_eq!(verdicts(&*sink, &batch([delivery(row)])).await, ["delivered"]);
    }
    assert_eq!(fixture.query("SELECT error_code, failure_reason FROM t"), [[Value::Text("2".into()), Value::Null]]);
}

#[tokio::test]
async fn the_built_in_table_is_made_once_with_its_indexes_and_rows_stay() {
    let fixture = Fixture::new(BUILTIN);
    for _ in 0..2 {
        let sink = fixture.open().await;
        assert_eq!(verdicts(&*sink, &batch([delivery(r#"{"message_id":"m"}"#)])).await, ["delivered"]);
        sink.probe().await.unwrap();
        sink.close().await;
    }
    let indexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
    assert_eq!(fixture.texts(indexes), ["t_customer_phone", "t_updated_at"]);
    assert_eq!(fixture.texts("SELECT message_id || resends FROM t"), ["m0"]);
    let unmade = Fixture::new(BUILTIN);
    assert!(unmade.config.inspect(&unmade.context()).await.unwrap().unwrap().contains("`run` creates it"));
}

#[tokio::test]
async fn columns_of_ones_own_are_texts_and_those_that_are_missing_are_left_out() {
    let setup = "CREATE TABLE IF NOT EXISTS t (Message_Id TEXT UNIQUE, status TEXT COLLATE NOCASE, mine TEXT COLLATE \
                 NOCASE, made TEXT DEFAULT 'now')";
    let fixture = Fixture::new(&format!("{LADDER}\nsetup = \"{setup}\""));
    let sink = fixture.open().await;
    let rows = [
        r#"{"message_id":"m","status":"Read","mine":"a","read_at":"2026-01-13T10:30:00Z"}"#,
        r#"{"message_id":"m","status":"sent","mine":"B","event_id":"x"}"#,
        r#"{"message_id":"m","mine":null}"#,
    ];
    for row in rows {
        assert_eq!(verdicts(&*sink, &batch([delivery(row)])).await, ["delivered"]);
    }
    assert_eq!(fixture.texts("SELECT status || mine || made FROM t"), ["Readanow"]);
}

#[tokio::test]
async fn a_row_without_a_message_or_with_what_cannot_be_compared_is_rejected_and_the_others_stay() {
    let fixture = Fixture::new(BUILTIN);
    let sink = fixture.open().await;
    let rows =
        [r#"{"status":"Sent"}"#, r#"{"message_id":"m","read_at":"soon"}"#, r#"{"message_id":"m","status":"Read"}"#];
    let owed = unordered(rows.map(delivery));
    assert_eq!(verdicts(&*sink, &owed).await, ["reject bad_payload", "reject bad_payload", "delivered"]);
    assert_eq!(fixture.texts("SELECT status FROM t"), ["Read"]);
    let slots = deliver(&*sink, &batch([delivery("{}")])).await;
    let why = detail(&slots[0]);
    assert!(why.contains("message_id is missing") && why.contains("interakt.message"), "{why}");
}

#[tokio::test]
async fn one_bad_row_of_a_message_is_found_among_its_good_ones() {
    let setup = "CREATE TABLE IF NOT EXISTS t (message_id TEXT UNIQUE, mine TEXT CHECK (mine <> 'z'), status TEXT)";
    let fixture = Fixture::new(&format!("{LADDER}\nsetup = \"{setup}\""));
    let sink = fixture.open().await;
    let row =
        |mine: &str, status: &str| delivery(format!(r#"{{"message_id":"m","mine":"{mine}","status":"{status}"}}"#));
    let owed = unordered([row("a", "Sent"), row("z", "Read"), row("b", "Delivered"), row("a", "Failed")]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered", "reject constraint", "delivered", "delivered"]);
    assert_eq!(fixture.texts("SELECT mine || status FROM t"), ["bDelivered"]);
}

#[tokio::test]
async fn a_table_without_a_unique_message_is_refused_with_the_sql_that_mends_it() {
    for (begin, says) in [
        ("SELECT 1", "has no table \"t\""),
        ("CREATE TABLE t (status TEXT)", "has no column message_id"),
        ("CREATE TABLE t (message_id TEXT, status TEXT)", "message_id is not unique by itself"),
        ("CREATE TABLE t (event_id TEXT UNIQUE, message_id TEXT)", "message_id is not unique by itself"),
    ] {
        let fixture = Fixture::new(LADDER);
        rusqlite::Connection::open(fixture.path("x.db")).unwrap().execute_batch(begin).unwrap();
        let refusal = fixture.refused().await;
        assert!(refusal.contains(says), "{begin}: {refusal}");
        let mend: Vec<&str> = refusal.lines().skip(1).collect();
        fixture.other().execute_batch(&mend.join("\n")).unwrap();
        let owed = batch([delivery(r#"{"message_id":"m"}"#)]);
        assert_eq!(verdicts(&*fixture.open().await, &owed).await, ["delivered"], "{begin}");
    }
}

#[test]
fn the_built_in_table_asks_for_the_ladder() {
    let config = read("database = \"x.db\"\ntable = \"t\"\nsetup = \"builtin\"").unwrap();
    let faults = config.check().unwrap_err();
    assert!(faults[0].help.as_deref().unwrap().contains("on_conflict = \"ladder\""), "{faults:?}");
}
