//! One bad row among good ones: it is rejected, and it alone.

use sink_api::Outcome;
use sink_testkit::{MARKER, batch, deliver, detail, unordered, verdict, verdicts};

use crate::server::Fixture;
use crate::{delivery, keyed, table};

/// 500 deliveries of `good`, but for these places.
fn among(good: &str, bad: &[(usize, &str)]) -> sink_api::Batch {
    let payload = |i| bad.iter().find(|(at, _)| *at == i).map_or(good, |(_, json)| json).to_owned();
    batch((0..500).map(|i| delivery(payload(i))))
}

async fn only_these_are_rejected(
    fixture: &Fixture,
    good: &str,
    bad: &[(usize, &str)],
    code: &str,
) -> Vec<Option<Outcome>> {
    let sink = fixture.open().await;
    let slots = deliver(&*sink, &among(good, bad)).await;
    for (i, slot) in slots.iter().enumerate() {
        let want = if bad.iter().any(|(at, _)| *at == i) { format!("reject {code}") } else { "delivered".to_owned() };
        assert_eq!(verdict(slot), want, "row {i}: {slot:?}");
        if let Some(Outcome::Reject { why }) = slot {
            assert!(!why.detail.contains(MARKER), "{why}");
        }
    }
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, [(500 - bad.len()).to_string()]);
    slots
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_of_the_table_is_rejected_alone() {
    let bad = format!(r#"{{"v":"{MARKER}"}}"#);
    let places: Vec<(usize, &str)> = [0, 17, 18, 255, 499].map(|at| (at, bad.as_str())).to_vec();
    let check = format!(", v TEXT CONSTRAINT fair CHECK (v NOT LIKE '%{}%')", &MARKER[..6]);
    let Some(fixture) = Fixture::with(&check).await else { return };
    let slots = only_these_are_rejected(&fixture, r#"{"v":"fine"}"#, &places, "constraint").await;
    assert_eq!(detail(&slots[17]), "a check fails, constraint fair (SQLSTATE 23514)");
    let Some(fixture) = Fixture::with(", v TEXT NOT NULL").await else { return };
    let bad = [(250, r#"{"v":null}"#), (251, "{}")];
    let slots = only_these_are_rejected(&fixture, r#"{"v":"fine"}"#, &bad, "constraint").await;
    assert_eq!(detail(&slots[251]), "no value where the column wants one, column v (SQLSTATE 23502)");
}

/// Column type, JSON it cannot take, and what is said.
const WRONG: &[(&str, &str, &str)] = &[
    ("varchar(3)", r#""BODY-MARKER-7f3a""#, "value too long for type character varying(3) (SQLSTATE 22001): column v"),
    ("integer", r#""BODY-MARKER-7f3a""#, "not a value of the column's type (SQLSTATE 22P02): column v, integer"),
    ("bigint", "9223372036854775808", "number out of the column's range (SQLSTATE 22003): column v, bigint"),
    ("smallint", "1.5", "not a value of the column's type (SQLSTATE 22P02): column v, smallint"),
    ("boolean", r#""BODY-MARKER-7f3a""#, "not a value of the column's type (SQLSTATE 22P02): column v, boolean"),
    (
        "timestamptz",
        r#""BODY-MARKER-7f3a""#,
        "not a date or time the column takes (SQLSTATE 22007): column v, timestamp with time zone",
    ),
    ("date", r#""2026-02-30""#, "not a date or time the column takes (SQLSTATE 22008): column v, date"),
    ("uuid", r#""BODY-MARKER-7f3a""#, "not a value of the column's type (SQLSTATE 22P02): column v, uuid"),
    ("integer[]", r#"["BODY-MARKER-7f3a"]"#, "not a value of the column's type (SQLSTATE 22P02): column v, integer[]"),
    (
        "integer[]",
        r#"{"a":"BODY-MARKER-7f3a"}"#,
        "not a value of the column's type (SQLSTATE 22P02): column v, integer[]",
    ),
    ("double precision", "1e400", "number out of the column's range (SQLSTATE 22003): column v, double precision"),
    // Said by the server as if the statement were wrong, some of it with the value.
    ("jsonpath", r#""$.BODY-MARKER-7f3a[""#, "not a value of the column's type (SQLSTATE 42601): column v, jsonpath"),
    ("tsquery", r#""BODY-MARKER-7f3a a""#, "not a value of the column's type (SQLSTATE 42601): column v, tsquery"),
    ("regclass", r#""BODY-MARKER-7f3a""#, "not a value of the column's type (SQLSTATE 42P01): column v, regclass"),
    ("numeric(4,1)", "99999", "number out of the column's range (SQLSTATE 22003)"),
];

#[tokio::test]
async fn a_value_its_column_cannot_take_is_rejected_alone_and_the_column_is_named() {
    for (of, json, want) in WRONG {
        let Some(fixture) = Fixture::with(&format!(", v {of}, w TEXT")).await else { return };
        let bad = format!(r#"{{"v":{json},"w":"x"}}"#);
        let slots = only_these_are_rejected(&fixture, r#"{"v":null,"w":"x"}"#, &[(42, &bad)], "bad_payload").await;
        assert_eq!(detail(&slots[42]), *want, "{of} {json}");
    }
}

#[tokio::test]
async fn json_too_deep_and_a_key_too_large_for_the_index_are_the_row_s_fault() {
    let Some(fixture) = Fixture::with(", v JSONB, w TEXT UNIQUE").await else { return };
    let deep = format!(r#"{{"v":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    // Not to be compressed below an index entry's limit.
    let noise: String =
        (0..20_000u64).map(|n| char::from(b'a' + u8::try_from(n * n * 2_654_435_761 % 8_191 % 26).unwrap())).collect();
    let large = format!(r#"{{"w":"{noise}"}}"#);
    only_these_are_rejected(&fixture, r#"{"v":1}"#, &[(3, &deep), (400, &large)], "bad_payload").await;
}

#[tokio::test]
async fn a_payload_that_is_no_object_is_rejected_alone() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let list = format!(r#"["{MARKER}"]"#);
    only_these_are_rejected(&fixture, "{}", &[(0, "null"), (7, &list), (8, MARKER), (499, "")], "bad_payload").await;
}

#[tokio::test]
async fn a_row_a_trigger_or_an_expression_refuses_is_rejected_alone_and_its_words_are_not_repeated() {
    let columns = ", v TEXT, n INT, x INT GENERATED ALWAYS AS (1 / n) STORED";
    let Some(fixture) = Fixture::with(columns).await else { return };
    fixture.sql(&table(", v TEXT, n INT, x INT GENERATED ALWAYS AS (1 / n) STORED")).await;
    fixture
        .sql(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF new.v LIKE 'BODY%' THEN RAISE EXCEPTION 'no %', new.v USING COLUMN = new.v; END IF;
           IF new.v = 'sql' THEN EXECUTE 'BODY-MARKER-7f3a'; END IF;
           RETURN new; END $$;
         CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()",
        )
        .await;
    let bad = format!(r#"{{"v":"{MARKER}"}}"#);
    let slots = only_these_are_rejected(&fixture, r#"{"v":"x"}"#, &[(100, &bad), (101, &bad)], "constraint").await;
    assert_eq!(detail(&slots[100]), "a trigger of the table refuses the row (SQLSTATE P0001)");
    let sink = fixture.open().await;
    let slots = deliver(&*sink, &batch([delivery(r#"{"n":0}"#), delivery(r#"{"v":"x","n":1}"#)])).await;
    assert_eq!(slots.iter().map(verdict).collect::<Vec<_>>(), ["reject bad_payload", "delivered"]);
    // A trigger that is broken is no row's fault, and what it says may still quote one.
    let slots = deliver(&*sink, &batch([delivery(r#"{"v":"sql"}"#)])).await;
    assert_eq!((verdict(&slots[0]).as_str(), detail(&slots[0]).contains(MARKER)), ("retry schema", false));
}

#[tokio::test]
async fn a_clash_on_another_unique_column_rejects_that_row_only_and_changes_none() {
    for mode in ["nothing", "update"] {
        let lines = format!("on_conflict = \"{mode}\"\nsetup = '''{}'''", table(", u INT UNIQUE, v TEXT"));
        let Some(fixture) = Fixture::new(&lines).await else { return };
        let sink = fixture.open().await;
        let owed = batch([
            keyed("1", "a", r#"{"u":1,"v":"first"}"#),
            keyed("2", "b", r#"{"u":1,"v":"second"}"#),
            keyed("3", "c", r#"{"u":3,"v":"third"}"#),
        ]);
        assert_eq!(verdicts(&*sink, &owed).await, ["delivered", "reject constraint", "delivered"], "{mode}");
        let rows = fixture.texts("SELECT event_id || u || v FROM t ORDER BY id").await;
        assert_eq!(rows, ["11first", "33third"], "{mode}");
    }
}

#[tokio::test]
async fn a_row_that_only_the_commit_refuses_is_found_too() {
    let Some(fixture) = Fixture::new("").await else { return };
    fixture.sql("CREATE TABLE p (k INTEGER PRIMARY KEY); INSERT INTO p VALUES (1)").await;
    fixture.sql(&table(", k INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED")).await;
    only_these_are_rejected(&fixture, r#"{"k":1}"#, &[(77, r#"{"k":2}"#)], "constraint").await;
}

#[tokio::test]
async fn a_row_that_row_level_security_refuses_is_rejected_alone() {
    let Some(fixture) = Fixture::new("").await else { return };
    fixture.sql(&table(", v INT")).await;
    let role = fixture.role("GRANT INSERT, SELECT ON t TO").await;
    fixture.sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true) WITH CHECK (v < 5)").await;
    let sink = fixture.build_from(&*fixture.as_user(&role, "pw", "")).await.unwrap();
    let owed = batch([delivery(r#"{"v":1}"#), delivery(r#"{"v":9}"#), delivery(r#"{"v":2}"#)]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered", "reject constraint", "delivered"]);
}

#[tokio::test]
async fn where_order_is_owed_nothing_of_a_key_follows_its_rejected_one() {
    let Some(fixture) = Fixture::with(", v INT CHECK (v < 5)").await else { return };
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
    assert_eq!(fixture.texts("SELECT event_id FROM t ORDER BY id").await, ["a1", "c1"]);
    assert_eq!(verdicts(&*sink, &unordered(rows)).await, [yes, no, json, yes, yes, json, yes]);
}

#[tokio::test]
async fn a_batch_of_nothing_but_bad_rows_is_rejected_whole() {
    let Some(fixture) = Fixture::with(", v TEXT NOT NULL").await else { return };
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &batch((0..64).map(|_| delivery("{}")))).await, vec!["reject constraint"; 64]);
}
