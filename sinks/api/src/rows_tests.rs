//! Unit tests of payload → columns.

use super::*;

fn member(json: &str) -> Value {
    read(format!(r#"{{"a":{json}}}"#).as_bytes()).unwrap().remove("a").unwrap()
}

fn columns(names: &[&str]) -> HashMap<String, usize> {
    names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), at)).collect()
}

/// Ids of each INSERT, for rows given as (id, key, payload).
fn grouped(rows: &[(&str, &str, &str)], ordered: bool) -> Vec<Vec<String>> {
    let members: Vec<Members> = rows.iter().map(|(_, _, payload)| read(payload.as_bytes()).unwrap()).collect();
    let rows = rows.iter().zip(&members).map(|((id, key, _), members)| Row { id, key, members });
    inserts(rows, &columns(&["a", "b"]), ordered, &mut Unknown::new("s", "t"))
        .iter()
        .map(|insert| insert.rows.iter().map(|(id, _)| (*id).to_owned()).collect())
        .collect()
}

#[test]
fn each_type_of_value_keeps_what_it_says() {
    assert_eq!(member("null"), Value::Null);
    assert_eq!(member("true"), Value::Bool(true));
    assert_eq!(member(" false "), Value::Bool(false));
    assert_eq!(member("-9223372036854775808"), Value::Integer(i64::MIN));
    assert_eq!(member("9223372036854775808"), Value::Number("9223372036854775808".into()));
    assert_eq!(member("1.10"), Value::Number("1.10".into()));
    assert_eq!(member(r#""\u00e9 \u0000 x\n""#), Value::Text("é \0 x\n".into()));
    assert_eq!(member(r#"{ "x" : [ 1.0, "a b" ] }"#), Value::Json(r#"{"x":[1.0,"a b"]}"#.into()));
}

#[test]
fn a_lone_surrogate_reads_as_one_replacement_character_in_values_and_keys() {
    assert_eq!(member(r#""a\ud83d b \udE00\ud83d\ude00é""#), Value::Text("a\u{FFFD} b \u{FFFD}😀é".into()));
    assert_eq!(read(br#"{"k\ud83d":1}"#).unwrap().get("k\u{FFFD}"), Some(&Value::Integer(1)));
}

#[test]
fn the_last_of_repeated_keys_wins() {
    assert_eq!(read(br#"{"a":1,"a":{"b":2},"a":null}"#).unwrap(), Members::from([("a".into(), Value::Null)]));
}

#[test]
fn what_is_not_an_object_is_told_from_what_is_not_json() {
    for payload in [&b"[]"[..], b"1", b"\"x\"", b"null"] {
        assert_eq!(read(payload), Err("the payload is not a JSON object"), "{payload:?}");
    }
    for payload in [&b""[..], b"{", b"{} {}", b"{\"a\":\"\xff\"}", b"{\"\xff\":1}", b"\xff"] {
        assert_eq!(read(payload), Err("the payload is not JSON"), "{payload:?}");
    }
}

#[test]
fn a_decimal_is_a_float_only_where_the_float_says_the_same_number() {
    for (digits, float) in
        [("0.1", 0.1), ("1.10", 1.1), ("1e3", 1e3), ("-0.5E-2", -0.005), ("0.0", 0.0), ("5e-324", 5e-324)]
    {
        assert_eq!(exact_f64(digits), Some(float), "{digits}");
    }
    for digits in [
        "1",
        "10000000000000000000",
        "0.1000000000000000000001",
        "1e400",
        "1e-400",
        "1e99999999999999999999",
        "12345678901234567890.10",
    ] {
        assert_eq!(exact_f64(digits), None, "{digits}");
    }
    assert!(exact_f64("-0.0").unwrap().is_sign_negative());
}

#[test]
fn rows_that_fill_the_same_columns_share_an_insert() {
    let rows =
        [("1", "k1", r#"{"a":1}"#), ("2", "k2", r#"{"b":1,"a":1}"#), ("3", "k3", r#"{"a":2,"zzz":0,"event_id":9}"#)];
    assert_eq!(grouped(&rows, true), [vec!["1", "3"], vec!["2"]]);
}

#[test]
fn grouping_never_lets_a_row_overtake_an_earlier_one_of_its_key() {
    let rows = [("1", "k", r#"{"a":1}"#), ("2", "k", r#"{"b":1}"#), ("3", "k", r#"{"a":2}"#), ("4", "x", r#"{"b":1}"#)];
    assert_eq!(grouped(&rows, true), [vec!["1"], vec!["2"], vec!["3"], vec!["4"]]);
    assert_eq!(grouped(&rows, false), [vec!["1", "3"], vec!["2", "4"]]);
}

#[test]
fn an_id_that_comes_twice_is_never_twice_in_one_insert() {
    let rows = [("1", "k", r#"{"a":1}"#), ("2", "x", r#"{"a":1}"#), ("1", "k", r#"{"a":2}"#)];
    assert_eq!(grouped(&rows, false), [vec!["1", "2"], vec!["1"]]);
}

#[test]
fn only_keys_the_table_lacks_are_called_unknown() {
    let members = read(br#"{"a":1,"B":2,"event_id":3,"c":4}"#).unwrap();
    let mut unknown = Unknown::new("s", "t");
    let _ = inserts([Row { id: "1", key: "k", members: &members }], &columns(&["a", "b"]), true, &mut unknown);
    assert_eq!(unknown.named, HashSet::from(["B".to_owned(), "c".to_owned()]));
}

#[test]
fn keys_the_table_lacks_are_named_once_and_few_at_a_time_and_only_so_many_are() {
    let mut unknown = Unknown::new("s", "t");
    for batch in 1..=100 {
        (0..1000).for_each(|n| unknown.note(&format!("key{n}")));
        assert!(unknown.new.len() <= MAX_NAMED_AT_ONCE);
        assert_eq!(unknown.named.len(), MAX_NAMED_UNKNOWN.min(batch * MAX_NAMED_AT_ONCE));
        unknown.log_new();
    }
    assert!(unknown.ended && unknown.new.is_empty());
    let mut unknown = Unknown::new("s", "t");
    unknown.note(&"é".repeat(1000));
    assert!(unknown.named.iter().all(|name| name.len() <= MAX_UNKNOWN_LEN));
}
