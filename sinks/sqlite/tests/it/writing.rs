//! Payload → columns, repeats, order.

use rusqlite::types::Value::{Integer, Null, Real, Text};
use sink_testkit::{batch, unordered, verdicts};

use crate::{Fixture, delivery, keyed, table};

fn text(text: &str) -> rusqlite::types::Value {
    Text(text.to_owned())
}

#[tokio::test]
async fn each_type_of_value_arrives_as_itself() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    let cases = [
        ("null", Null),
        ("true", Integer(1)),
        ("false", Integer(0)),
        ("-42", Integer(-42)),
        ("9223372036854775807", Integer(i64::MAX)),
        ("9223372036854775808", text("9223372036854775808")),
        ("0.5", Real(0.5)),
        ("1e3", Real(1000.0)),
        ("12345678901234567890.10", text("12345678901234567890.10")),
        ("0.1000000000000000000001", text("0.1000000000000000000001")),
        (r#""""#, text("")),
        (r#""1013""#, text("1013")),
        (r#""a\u0000b""#, text("a\0b")),
        (r#""cut \ud83d""#, text("cut \u{FFFD}")),
        (r#""whole \ud83d\ude00""#, text("whole 😀")),
        (r#"{ "a" : [ 1.10 , "x y" ] }"#, text(r#"{"a":[1.10,"x y"]}"#)),
        ("[ ]", text("[]")),
    ];
    let owed = batch(cases.iter().map(|(json, _)| delivery(format!(r#"{{"v":{json}}}"#))));
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 17]);
    let got: Vec<_> = fixture.query("SELECT v FROM t ORDER BY id").into_iter().flatten().collect();
    assert_eq!(got, cases.map(|(_, value)| value));
}

#[tokio::test]
async fn a_text_column_keeps_the_digits_of_numbers() {
    let fixture = Fixture::with(", v VARCHAR(20)");
    let sink = fixture.open().await;
    let numbers = ["1.10", "1e3", "0.12345678901234567", "1013", "12345678901234567890"];
    let owed = batch(numbers.iter().map(|n| delivery(format!(r#"{{"v":{n}}}"#))));
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 5]);
    assert_eq!(fixture.texts("SELECT v FROM t ORDER BY id"), numbers);
}

#[tokio::test]
async fn null_is_written_and_absent_gets_the_default() {
    let fixture = Fixture::with(", v TEXT DEFAULT 'default'");
    let sink = fixture.open().await;
    let payloads = [("1", r#"{"v":null}"#), ("2", "{}"), ("3", r#"{"v":"x","v":"last"}"#)];
    let owed = batch(payloads.map(|(id, json)| keyed(id, id, json)));
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    let got: Vec<_> = fixture.query("SELECT v FROM t ORDER BY event_id").into_iter().flatten().collect();
    assert_eq!(got, [Null, text("default"), text("last")]);
}

#[tokio::test]
async fn event_id_is_the_delivery_s_whatever_the_payload_says() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    let owed = batch([keyed("e-1", "k", r#"{"event_id":"mine","v":1}"#)]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"]);
    assert_eq!(fixture.texts("SELECT event_id FROM t"), ["e-1"]);
}

#[tokio::test]
async fn keys_without_a_column_of_exactly_that_name_are_ignored() {
    let fixture = Fixture::with(", v, g AS (v + 1)");
    let sink = fixture.open().await;
    let owed = batch([delivery(r#"{"v":1,"V":2,"rowid":77,"g":5,"nope\"":{"x":1}}"#)]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"]);
    assert_eq!(fixture.query("SELECT rowid, v, g FROM t"), [[Integer(1), Integer(1), Integer(2)]]);
}

#[tokio::test]
async fn payloads_with_different_keys_share_a_batch() {
    let fixture = Fixture::with(", a, b");
    let sink = fixture.open().await;
    let kinds = [r#"{"a":1}"#, r#"{"b":1}"#, r#"{"a":1,"b":1}"#, "{}"];
    let owed = batch((0..500).map(|i| delivery(kinds[i % 4])));
    assert_eq!(verdicts(&*sink, &owed).await, vec!["delivered"; 500]);
    let counts = "SELECT a IS NOT NULL, b IS NOT NULL, count(*) FROM t GROUP BY 1, 2";
    let each = |a, b| vec![Integer(a), Integer(b), Integer(125)];
    assert_eq!(fixture.query(counts), [each(0, 0), each(0, 1), each(1, 0), each(1, 1)]);
}

#[tokio::test]
async fn rows_of_a_key_get_their_row_ids_in_order_whatever_their_keys() {
    let fixture = Fixture::with(", a, b, n");
    let sink = fixture.open().await;
    let payload = |n: usize| format!(r#"{{"n":{n},"{}":1}}"#, if n.is_multiple_of(3) { "a" } else { "b" });
    let owed = batch((0..60).map(|n| keyed(&format!("e-{n}"), &format!("k-{}", n % 2), &payload(n))));
    assert_eq!(verdicts(&*sink, &owed).await, vec!["delivered"; 60]);
    for parity in [0, 1] {
        let seen = fixture.query(&format!("SELECT n FROM t WHERE n % 2 = {parity} ORDER BY id"));
        let want: Vec<_> = (0..60).filter(|n| n % 2 == parity).map(|n| vec![Integer(n)]).collect();
        assert_eq!(seen, want);
    }
}

#[tokio::test]
async fn a_batch_wider_than_sqlite_s_limit_on_variables_is_cut() {
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let fixture = Fixture::with(&format!(", {}", names.join(", ")));
    let sink = fixture.open().await;
    let payload = format!("{{{}}}", names.iter().map(|n| format!("\"{n}\":7")).collect::<Vec<_>>().join(","));
    let owed = batch((0..700).map(|_| delivery(payload.clone()))); // 70,700 variables; the limit is 32,766
    assert_eq!(verdicts(&*sink, &owed).await, vec!["delivered"; 700]);
    assert_eq!(fixture.query("SELECT count(*), sum(c0 + c99) FROM t"), [[Integer(700), Integer(9800)]]);
}

#[tokio::test]
async fn the_same_batch_again_adds_nothing() {
    for mode in ["nothing", "update"] {
        let fixture = Fixture::new(&format!("on_conflict = \"{mode}\"\nsetup = '''{}'''", table(", v")));
        let sink = fixture.open().await;
        let owed = batch((0..50).map(|n| delivery(format!(r#"{{"v":{n}}}"#))));
        for _ in 0..2 {
            assert_eq!(verdicts(&*sink, &owed).await, vec!["delivered"; 50]);
        }
        sink.close().await;
        assert_eq!(verdicts(&*fixture.open().await, &owed).await, vec!["delivered"; 50]);
        assert_eq!(fixture.query("SELECT count(*), sum(v) FROM t"), [[Integer(50), Integer(1225)]], "{mode}");
    }
}

#[tokio::test]
async fn a_row_that_comes_again_does_not_clash_with_itself_on_another_unique_column() {
    for mode in ["nothing", "update"] {
        let setup = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, u UNIQUE, event_id TEXT UNIQUE, w UNIQUE)";
        let fixture = Fixture::new(&format!("on_conflict = \"{mode}\"\nsetup = '{setup}'"));
        let sink = fixture.open().await;
        let owed = batch((0..3).map(|n| delivery(format!(r#"{{"id":{n},"u":{n},"w":{n}}}"#))));
        for _ in 0..2 {
            assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3], "{mode}");
        }
        assert_eq!(fixture.query("SELECT count(*), sum(u) FROM t"), [[Integer(3), Integer(3)]], "{mode}");
    }
}

#[tokio::test]
async fn on_conflict_says_whether_the_first_or_the_last_of_an_id_stands() {
    for (mode, want) in [("nothing", [Integer(1), Null]), ("update", [Integer(4), Integer(9)])] {
        let fixture = Fixture::new(&format!("on_conflict = \"{mode}\"\nsetup = '''{}'''", table(", v, w")));
        let sink = fixture.open().await;
        let owed = [r#"{"v":1}"#, r#"{"v":2}"#, r#"{"w":9}"#, "{}", r#"{"v":3}"#].map(|json| keyed("same", "k", json));
        for ordered in [batch(owed.clone()), unordered(owed)] {
            assert_eq!(verdicts(&*sink, &ordered).await, ["delivered"; 5], "{mode}");
        }
        assert_eq!(verdicts(&*sink, &batch([keyed("same", "k", r#"{"v":4}"#)])).await, ["delivered"]);
        assert_eq!(fixture.query("SELECT v, w FROM t"), [want], "{mode}");
    }
}

#[tokio::test]
async fn a_column_added_while_open_is_used_without_a_restart() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &batch([delivery(r#"{"v":1,"late":1}"#)])).await, ["delivered"]);
    fixture.other().execute_batch("ALTER TABLE t ADD COLUMN late").unwrap();
    assert_eq!(verdicts(&*sink, &batch([delivery(r#"{"v":2,"late":2}"#)])).await, ["delivered"]);
    fixture.other().execute_batch("ALTER TABLE t DROP COLUMN v").unwrap();
    assert_eq!(verdicts(&*sink, &batch([delivery(r#"{"v":3,"late":3}"#)])).await, ["delivered"]);
    assert_eq!(fixture.query("SELECT late FROM t ORDER BY id"), [[Null], [Integer(2)], [Integer(3)]]);
}

#[tokio::test]
async fn two_sinks_share_one_database() {
    let (one, two) =
        (Fixture::with(", v"), Fixture::new("setup = 'CREATE TABLE IF NOT EXISTS t (event_id TEXT UNIQUE, v)'"));
    let shared = one.context();
    let (a, b) = tokio::join!(one.config.build(&shared), two.config.build(&shared));
    let (a, b) = (a.unwrap(), b.unwrap());
    for _ in 0..20 {
        let (owed_a, owed_b) = (batch((0..20).map(|_| delivery("{}"))), batch((0..20).map(|_| delivery("{}"))));
        let (got_a, got_b) = tokio::join!(verdicts(&*a, &owed_a), verdicts(&*b, &owed_b));
        assert_eq!([got_a, got_b].concat(), vec!["delivered"; 40]);
    }
    assert_eq!(one.query("SELECT count(*) FROM t"), [[Integer(800)]]);
}
