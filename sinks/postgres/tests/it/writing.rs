//! Payload → columns, repeats, order.

use sink_testkit::{batch, deliver, read_example, verdicts};

use crate::server::Fixture;
use crate::{delivery, keyed, table};

#[test]
fn the_example_is_a_whole_table() {
    read_example(&sink_postgres::KIND).unwrap();
}

/// Column type, JSON, and what the server then writes; `NULL` for null.
const TYPES: &[(&str, &str, &str)] = &[
    ("text", r#""a é 😀""#, "a é 😀"),
    ("text", r#""a\u0000b""#, "a\u{FFFD}b"),
    ("text", r#""cut \ud83d""#, "cut \u{FFFD}"),
    ("text", "12345678901234567890.10", "12345678901234567890.10"),
    ("text", "true", "true"),
    ("text", r#"{"b": 1.50, "a": [1, 2]}"#, r#"{"b":1.50,"a":[1,2]}"#),
    ("varchar(5)", r#""äöüßé""#, "äöüßé"),
    ("char(5)", r#""ab""#, "ab   "),
    ("smallint", "-32768", "-32768"),
    ("integer", "2147483647", "2147483647"),
    ("integer", r#""42""#, "42"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    (
        "numeric",
        "12345678901234567890123456789.123456789012345678901234567890",
        "12345678901234567890123456789.123456789012345678901234567890",
    ),
    ("numeric(4,1)", "999.94", "999.9"),
    ("numeric", "1e30", "1000000000000000000000000000000"),
    ("real", "1.5", "1.5"),
    ("double precision", "0.1", "0.1"),
    ("boolean", "true", "t"),
    ("boolean", "0", "f"),
    ("boolean", r#""yes""#, "t"),
    ("timestamp", r#""2026-01-13T10:30:00.000001""#, "2026-01-13 10:30:00.000001"),
    ("timestamptz", r#""2026-01-13T10:30:00+05:30""#, "2026-01-13 05:00:00+00"),
    ("timestamptz", r#""2026-01-13T10:30:00""#, "2026-01-13 10:30:00+00"),
    ("date", r#""2026-01-13""#, "2026-01-13"),
    ("time", r#""10:30""#, "10:30:00"),
    ("interval", r#""1 day 2:00""#, "1 day 02:00:00"),
    ("uuid", r#""0190b3c4-5f6e-7a8b-9c0d-1e2f3a4b5c6d""#, "0190b3c4-5f6e-7a8b-9c0d-1e2f3a4b5c6d"),
    ("inet", r#""192.168.0.1""#, "192.168.0.1"),
    ("bytea", r#""\\x00ff""#, "\\x00ff"),
    ("bit(3)", r#""101""#, "101"),
    ("json", r#"{"b": 1.50, "a": "\u0000\ud83d"}"#, r#"{"b":1.50,"a":"\u0000\ud83d"}"#),
    ("json", r#""text""#, r#""text""#),
    (
        "jsonb",
        r#"{"b": 12345678901234567890.10, "a": "\u0000\ud83d\ude00"}"#,
        "{\"a\": \"\u{FFFD}😀\", \"b\": 12345678901234567890.10}",
    ),
    ("jsonb", "1.50", "1.50"),
    ("jsonb", "null", "NULL"),
    ("integer[]", "[1, null, 3]", "{1,NULL,3}"),
    ("integer[]", "[[1,2],[3,4]]", "{{1,2},{3,4}}"),
    ("text[]", r#"["a \"b\\ {c}", "null", null, ""]"#, r#"{"a \"b\\ {c}","null",NULL,""}"#),
    ("text[]", "[]", "{}"),
    ("jsonb[]", r#"[{"a":[1]}, "x", null]"#, r#"{"{\"a\": [1]}","\"x\"",NULL}"#),
    ("varchar(3)[]", r#"["abc"]"#, "{abc}"),
    ("mood", r#""fine""#, "fine"),
    ("short", r#""abc""#, "abc"),
    ("text", "null", "NULL"),
    ("integer", "null", "NULL"),
];

#[tokio::test]
async fn every_type_of_column_reads_its_json_and_no_digit_is_lost() {
    let columns: String = TYPES.iter().enumerate().map(|(i, (of, ..))| format!(", c{i} {of}")).collect();
    let Some(fixture) = Fixture::new("").await else { return };
    fixture
        .sql("CREATE TYPE mood AS ENUM ('fine', 'sad'); CREATE DOMAIN short AS varchar(3) CHECK (value <> 'no')")
        .await;
    fixture.sql(&format!("{}; SET TimeZone = 'UTC'", table(&columns))).await;
    let sink = fixture.open().await;
    let payload: Vec<String> = TYPES.iter().enumerate().map(|(i, (_, json, _))| format!(r#""c{i}": {json}"#)).collect();
    let owed = batch([delivery(format!("{{{}}}", payload.join(",")))]);
    let slots = deliver(&*sink, &owed).await;
    assert_eq!(slots, [Some(sink_api::Outcome::Delivered)]);
    for (i, (of, json, want)) in TYPES.iter().enumerate() {
        // To cast a char to text would cut its blanks.
        assert_eq!(fixture.texts(&format!("SELECT c{i} FROM t")).await, [*want], "{of} {json}");
    }
}

#[tokio::test]
async fn keys_without_a_column_are_ignored_and_columns_without_a_key_get_their_default() {
    let Some(fixture) = Fixture::new("").await else { return };
    let columns = concat!(
        r#", a TEXT DEFAULT 'a', "B" TEXT, g TEXT GENERATED ALWAYS AS ('g') STORED"#,
        ", n INT GENERATED ALWAYS AS IDENTITY"
    );
    fixture.sql(&table(columns)).await;
    let sink = fixture.open().await;
    let owed = batch([
        keyed("1", "k", r#"{"b":"no such","B":"B","g":"x","n":77,"event_id":"mine","id":7}"#),
        keyed("2", "k", r#"{"a":null,"id":8}"#),
        keyed("3", "k", "{}"),
    ]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    let rows = "SELECT concat_ws(' ', event_id, coalesce(a, 'null'), \"B\", g, n) FROM t ORDER BY event_id";
    assert_eq!(fixture.texts(rows).await, ["1 a B g 1", "2 null g 2", "3 a g 3"]);
}

#[tokio::test]
async fn the_catalogue_is_followed() {
    let Some(fixture) = Fixture::with(", a TEXT").await else { return };
    let sink = fixture.open().await;
    let one = || batch([delivery(r#"{"a":"007","b":"008"}"#)]);
    assert_eq!(verdicts(&*sink, &one()).await, ["delivered"]);
    fixture.sql("ALTER TABLE t ADD COLUMN b INT").await;
    assert_eq!(verdicts(&*sink, &one()).await, ["delivered"]);
    fixture.sql("ALTER TABLE t ALTER COLUMN b TYPE TEXT").await;
    assert_eq!(verdicts(&*sink, &one()).await, ["delivered"]);
    fixture.sql("ALTER TABLE t DROP COLUMN b").await;
    assert_eq!(verdicts(&*sink, &one()).await, ["delivered"]);
    fixture.sql("ALTER TABLE t ADD COLUMN b TEXT").await;
    assert_eq!(verdicts(&*sink, &one()).await, ["delivered"]);
    assert_eq!(fixture.texts("SELECT concat(a, b) FROM t ORDER BY id").await, ["007", "007", "007", "007", "007008"]);
}

#[tokio::test]
async fn a_batch_that_comes_again_stands_once() {
    for (mode, want) in [("nothing", "first"), ("update", "second")] {
        let lines = format!("on_conflict = \"{mode}\"\nsetup = '''{}'''", table(", v TEXT, w TEXT"));
        let Some(fixture) = Fixture::new(&lines).await else { return };
        let sink = fixture.open().await;
        let first: Vec<_> = (0..300).map(|i| keyed(&i.to_string(), "k", r#"{"v":"first","w":"kept"}"#)).collect();
        let second: Vec<_> = (0..300).map(|i| keyed(&i.to_string(), "k", r#"{"v":"second"}"#)).collect();
        assert_eq!(verdicts(&*sink, &batch(first.clone())).await, vec!["delivered"; 300]);
        assert_eq!(verdicts(&*sink, &batch(second)).await, vec!["delivered"; 300]);
        let rows = fixture.texts("SELECT count(*) || min(v) || max(v) || min(w) FROM t").await;
        assert_eq!(rows, [format!("300{want}{want}kept")]);
    }
}

#[tokio::test]
async fn an_id_twice_in_a_batch_is_one_row() {
    for (mode, want) in [("nothing", "first"), ("update", "second")] {
        let lines = format!("on_conflict = \"{mode}\"\nsetup = '''{}'''", table(", v TEXT, w TEXT"));
        let Some(fixture) = Fixture::new(&lines).await else { return };
        let sink = fixture.open().await;
        let owed = batch([
            keyed("1", "k", r#"{"v":"first"}"#),
            keyed("2", "k", r#"{"v":"other"}"#),
            keyed("1", "k", r#"{"v":"second"}"#),
        ]);
        assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
        assert_eq!(fixture.texts("SELECT v FROM t ORDER BY event_id").await, [want, "other"]);
    }
}

#[tokio::test]
async fn ids_that_are_one_to_the_column_s_type_are_one_row() {
    let Some(fixture) = Fixture::new("on_conflict = \"update\"").await else { return };
    fixture.sql("CREATE TABLE t (event_id UUID UNIQUE, v TEXT)").await;
    let sink = fixture.open().await;
    let owed = batch([
        keyed("0190B3C4-5F6E-7A8B-9C0D-1E2F3A4B5C6D", "a", r#"{"v":"first"}"#),
        keyed("0190b3c4-5f6e-7a8b-9c0d-1e2f3a4b5c6d", "b", r#"{"v":"second"}"#),
    ]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 2]);
    assert_eq!(fixture.texts("SELECT v FROM t").await, ["second"]);
}

#[tokio::test]
async fn rows_of_a_key_are_put_in_in_order_whatever_keys_they_have() {
    let Some(fixture) = Fixture::with(", a TEXT, b TEXT").await else { return };
    let sink = fixture.open().await;
    let payloads = [r#"{"a":"x"}"#, r#"{"b":"x"}"#, "{}", r#"{"a":"x","b":"x"}"#];
    let owed = (0..200).map(|i| keyed(&format!("{i:03}"), &format!("k{}", i % 7), payloads[i * 31 % 4]));
    assert_eq!(verdicts(&*sink, &batch(owed)).await, vec!["delivered"; 200]);
    let ids = fixture.texts("SELECT event_id FROM t ORDER BY id").await;
    for key in 0..7 {
        let of_key: Vec<&String> = ids.iter().filter(|id| id.parse::<usize>().unwrap() % 7 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
}

#[tokio::test]
async fn the_table_s_name_is_read_as_sql_reads_it() {
    let Some(fixture) = Fixture::new("").await else { return };
    fixture.sql(r#"CREATE TABLE "a ""T""" (event_id TEXT UNIQUE, "sel""ect" TEXT, "$1" TEXT)"#).await;
    for name in [r#""a ""T""""#.to_owned(), format!(r#"{}."a ""T""""#, fixture.schema.to_uppercase())] {
        let url = crate::server::url(&fixture.server.url, "public");
        let url = if name.starts_with('"') { crate::server::url(&fixture.server.url, &fixture.schema) } else { url };
        let text = format!("url = '{url}'\ntable = '{name}'");
        let config = sink_testkit::read_table(&sink_postgres::KIND, &text).unwrap();
        let sink = fixture.build_from(&*config).await.unwrap();
        assert_eq!(verdicts(&*sink, &batch([delivery(r#"{"sel\"ect":"x","$1":"y"}"#)])).await, ["delivered"]);
    }
    assert_eq!(fixture.texts(r#"SELECT "sel""ect" || "$1" FROM "a ""T""""#).await, ["xy"; 2]);
}

#[tokio::test]
async fn a_commit_is_a_flush_whatever_the_session_s_default() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let note = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN new.v = current_setting('synchronous_commit'); RETURN new; END $$";
    fixture.sql(note).await;
    let url = crate::server::url(&fixture.server.url, &format!("{}%20-c%20synchronous_commit%3Doff", fixture.schema));
    let config = crate::server::config(&url, &format!("setup = '''{}'''", table(", v TEXT")));
    let sink = fixture.build_from(&*config).await.unwrap();
    fixture.sql("CREATE TRIGGER note BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()").await;
    assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["delivered"]);
    assert_eq!(fixture.texts("SELECT v FROM t").await, ["on"]);
}
