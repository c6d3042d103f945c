//! `on_conflict = "ladder"`: one row a message, whatever the order.

use sink_api::BuildError;
use sink_api::ladder::{COLUMNS, Holds};
use sink_testkit::messages::{self, Dice, Table};
use sink_testkit::{batch, deliver, detail, unordered, verdicts};

use crate::delivery;
use crate::server::Fixture;

const LADDER: &str = "on_conflict = \"ladder\"";
const BUILTIN: &str = "on_conflict = \"ladder\"\nsetup = \"builtin\"";
/// What no value has in it.
const BAR: char = '|';

async fn there(fixture: &Fixture) -> Table {
    let columns = COLUMNS.iter().map(|(name, holds)| match holds {
        Holds::Earliest | Holds::Latest => {
            format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
        Holds::Status | Holds::Count | Holds::Text => format!("{name}::text"),
    });
    let columns: Vec<String> = columns.map(|sql| format!("coalesce({sql}, 'NULL')")).collect();
    let sql = format!("SELECT concat_ws('{BAR}', message_id, {}) FROM t", columns.join(", "));
    let cell = |text: &str| (text != "NULL").then(|| text.to_owned());
    messages::table(fixture.texts(&sql).await.iter().map(|row| row.split(BAR).map(cell).collect()))
}

#[tokio::test]
async fn any_order_any_number_and_any_batches_come_to_one_table() {
    let Some(fixture) = Fixture::new(BUILTIN).await else { return };
    let sink = fixture.open().await;
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let count = 1 + dice.roll(20);
        let payloads = messages::payloads(&mut dice, count);
        let want = messages::expected(&payloads);
        for _ in 0..3 {
            fixture.sql("DELETE FROM t").await;
            for some in messages::batches(&mut dice, &payloads) {
                let size = some.len();
                let owed = some.into_iter().map(delivery);
                let owed = if dice.roll(2) == 0 { batch(owed) } else { unordered(owed) };
                assert_eq!(verdicts(&*sink, &owed).await, vec!["delivered"; size], "seed {seed}");
            }
            assert_eq!(there(&fixture).await, want, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn batches_at_once_that_share_messages_do_not_wait_for_each_other_in_a_circle() {
    let Some(fixture) = Fixture::new(BUILTIN).await else { return };
    let sink = fixture.open().await;
    let mut dice = Dice::new(7);
    let payloads = messages::payloads(&mut dice, 150);
    let all = |dice: &mut Dice| {
        let mixed: Vec<String> = messages::batches(dice, &payloads).into_iter().flatten().collect();
        batch(mixed.into_iter().map(delivery))
    };
    let (a, b, c) = (all(&mut dice), all(&mut dice), all(&mut dice));
    let done = tokio::join!(verdicts(&*sink, &a), verdicts(&*sink, &b), verdicts(&*sink, &c));
    assert!([done.0, done.1, done.2].concat().iter().all(|verdict| verdict == "delivered"));
    assert_eq!(there(&fixture).await, messages::expected(&payloads));
}

#[tokio::test]
async fn the_built_in_table_is_made_once_with_its_indexes_and_rows_stay() {
    let Some(fixture) = Fixture::new(BUILTIN).await else { return };
    for _ in 0..2 {
        let sink = fixture.open().await;
        assert_eq!(verdicts(&*sink, &batch([delivery(r#"{"message_id":"m"}"#)])).await, ["delivered"]);
        sink.probe().await.unwrap();
        sink.close().await;
    }
    let indexes = format!("SELECT indexname FROM pg_indexes WHERE schemaname = '{}' ORDER BY 1", fixture.schema);
    assert_eq!(fixture.texts(&indexes).await, ["t_customer_phone", "t_pkey", "t_updated_at"]);
    assert_eq!(fixture.texts("SELECT message_id || resends FROM t").await, ["m0"]);
}

#[tokio::test]
async fn columns_of_other_types_and_of_ones_own_climb_too() {
    let Some(fixture) = Fixture::new(LADDER).await else { return };
    fixture
        .sql(
            "CREATE TYPE rung AS ENUM ('Sent', 'Failed', 'Delivered', 'Read'); CREATE TABLE t (message_id UUID UNIQUE, \
             status rung, sent_at TEXT, read_at TIMESTAMP, clicked_at VARCHAR(40), last_button CHAR(9), mine INT, made \
             TEXT DEFAULT 'now')",
        )
        .await;
    let sink = fixture.open().await;
    let id = "7f00602d-4c9c-4346-9d4d-a24d478c9926";
    let rows = [
        concat!(
            r#""status":"Read","mine":10,"read_at":"2026-01-13T10:30:01Z","#,
            r#""clicked_at":"2026-01-13T10:30:00Z","last_button":"Z""#,
        ),
        r#""status":"Sent","mine":"9","read_at":"2026-01-13T10:30:00","sent_at":"2026-01-13T10:30:02Z""#,
        r#""sent_at":"2026-01-13T10:30:01Z","clicked_at":"2026-01-13T10:30:01Z","last_button":"A","event_id":"x""#,
    ];
    for row in rows {
        let owed = batch([delivery(format!(r#"{{"message_id":"{id}",{row}}}"#))]);
        assert_eq!(verdicts(&*sink, &owed).await, ["delivered"], "{row}");
    }
    let row = "SELECT concat_ws(' ', status, mine, read_at, sent_at, clicked_at, last_button, made) FROM t";
    let want = "Read 9 2026-01-13 10:30:00 2026-01-13T10:30:01.000000Z 2026-01-13T10:30:01.000000Z A         now";
    assert_eq!(fixture.texts(row).await, [want]);
}

#[tokio::test]
async fn a_row_without_a_message_is_rejected_and_says_what_makes_one() {
    let Some(fixture) = Fixture::new(BUILTIN).await else { return };
    let sink = fixture.open().await;
    let rows = [r#"{"status":"Sent"}"#, r#"{"message_id":"m","resends":"2"}"#, r#"{"message_id":"m","status":"Read"}"#];
    let owed = unordered(rows.map(delivery));
    assert_eq!(verdicts(&*sink, &owed).await, ["reject bad_payload", "reject bad_payload", "delivered"]);
    let slots = deliver(&*sink, &batch([delivery("{}")])).await;
    let why = detail(&slots[0]);
    assert!(why.contains("message_id is missing") && why.contains("interakt.message"), "{why}");
}

#[tokio::test]
async fn one_bad_row_of_a_message_is_found_among_its_good_ones() {
    let Some(fixture) = Fixture::new(LADDER).await else { return };
    fixture.sql("CREATE TABLE t (message_id TEXT UNIQUE, mine VARCHAR(1), status TEXT)").await;
    let sink = fixture.open().await;
    let row =
        |mine: &str, status: &str| delivery(format!(r#"{{"message_id":"m","mine":"{mine}","status":"{status}"}}"#));
    let owed = unordered([row("a", "Sent"), row("long", "Read"), row("b", "Delivered"), row("a", "Failed")]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered", "reject bad_payload", "delivered", "delivered"]);
    assert_eq!(fixture.texts("SELECT mine || status FROM t").await, ["bDelivered"]);
}

#[tokio::test]
async fn a_table_without_a_unique_message_is_refused_with_the_sql_that_mends_it() {
    for (ddl, mends) in [
        ("SELECT 1", "CREATE TABLE t ("),
        ("CREATE TABLE t (status TEXT)", "ALTER TABLE"),
        ("CREATE TABLE t (message_id TEXT)", "CREATE UNIQUE INDEX"),
        ("CREATE TABLE t (event_id TEXT UNIQUE, message_id TEXT)", "CREATE UNIQUE INDEX"),
    ] {
        let Some(fixture) = Fixture::new(LADDER).await else { return };
        fixture.sql(ddl).await;
        let Err(BuildError::Refused(text)) = fixture.build().await else { panic!("{ddl}: not refused") };
        let sql = text.lines().last().unwrap();
        assert!(sql.starts_with(mends) && text.contains("message_id"), "{ddl}: {text}");
        fixture.sql(sql).await;
        let owed = batch([delivery(r#"{"message_id":"m"}"#)]);
        assert_eq!(verdicts(&*fixture.open().await, &owed).await, ["delivered"], "{ddl}");
    }
}

#[tokio::test]
async fn it_needs_the_right_to_change_rows() {
    let Some(fixture) = Fixture::new("").await else { return };
    fixture.sql("CREATE TABLE t (message_id TEXT UNIQUE, status TEXT)").await;
    let role = fixture.role("GRANT INSERT, SELECT ON t TO").await;
    let config = fixture.as_user(&role, "pw", LADDER);
    let Err(BuildError::Refused(text)) = fixture.build_from(&*config).await else { panic!("not refused") };
    assert!(text.contains("permission denied for table t"), "{text}");
}
