//! Unit tests of one row a message, and its laws by property.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ladder_sql;
use crate::table::Filled;

fn members(value: &serde_json::Value) -> Members {
    let mut value = value.clone();
    value["message_id"] = "m".into();
    read(value.to_string().as_bytes()).unwrap()
}

/// What rows come to, one after another, null and absent alike.
fn merged(rows: &[Members]) -> BTreeMap<String, Value> {
    let mut kept = Row::new();
    for row in rows {
        merge(&mut kept, &row.iter().map(|(name, value)| (name.as_str(), value)).collect());
    }
    kept.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn texts(rows: &[serde_json::Value], columns: &[&str]) -> Vec<Option<String>> {
    let rows: Vec<Members> = rows.iter().map(members).collect();
    let there = merged(&rows);
    let back: Vec<Members> = rows.into_iter().rev().collect();
    assert_eq!(merged(&back), there, "the other way round");
    let text = |name: &&str| match there.get(*name)? {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(n) => Some(n.to_string()),
        _ => None,
    };
    columns.iter().map(text).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| (!text.is_empty()).then(|| (*text).to_owned())).collect()
}

#[test]
fn a_status_climbs_and_never_falls() {
    for (one, other, want) in [
        ("Sent", "Failed", "Failed"),
        ("Failed", "Delivered", "Delivered"),
        ("Delivered", "Read", "Read"),
        ("read", "DELIVERED", "Read"),
        ("Received", "Sent", "Sent"),
    ] {
        assert_eq!(texts(&[json!({"status": one}), json!({"status": other})], &["status"]), some(&[want]));
    }
}

#[test]
fn times_are_the_earliest_but_those_of_the_click_and_the_change() {
    let rows = [
        json!({"read_at": "2026-01-13T10:00:01Z", "clicked_at": "2026-01-13T10:00:01Z", "last_button": "z"}),
        json!({"read_at": "2026-01-13T15:29:59.5+05:30", "clicked_at": "2026-01-13T10:00:02", "last_button": "a"}),
        json!({"read_at": null, "updated_at": "2026-01-13T10:00:00Z"}),
        json!({"updated_at": "2026-01-13T10:00:00.000001Z"}),
    ];
    let want = ["2026-01-13T09:59:59.500000Z", "2026-01-13T10:00:02.000000Z", "a", "2026-01-13T10:00:00.000001Z"];
    assert_eq!(texts(&rows, &["read_at", "clicked_at", "last_button", "updated_at"]), some(&want));
}

#[test]
fn a_code_keeps_the_reason_it_came_with() {
    let rows = [
        json!({"error_code": "1013", "failure_reason": "z"}),
        json!({"error_code": 131026, "failure_reason": "a"}),
        json!({"failure_reason": "zz"}),
    ];
    assert_eq!(texts(&rows, &["error_code", "failure_reason"]), some(&["131026", "a"]));
    let without = [json!({"error_code": "1013", "failure_reason": "z"}), json!({"error_code": "2"})];
    assert_eq!(texts(&without, &["error_code", "failure_reason"]), some(&["2", ""]));
}

#[test]
fn texts_are_the_larger_and_null_says_nothing() {
    let rows = [json!({"customer_name": "Asha", "resends": 2}), json!({"customer_name": null}), json!({"resends": 10})];
    assert_eq!(texts(&rows, &["customer_name", "resends"]), some(&["Asha", "10"]));
    let own = [json!({"order": "o-1"}), json!({"order": "o-2"}), json!({"order": null})];
    assert_eq!(texts(&own, &["order"]), some(&["o-2"]));
}

#[test]
fn what_cannot_be_compared_is_refused_by_the_columns_name_and_not_shown() {
    for (payload, want) in [
        ("{}", "message_id is missing"),
        (r#"{"message_id":""}"#, "message_id is missing"),
        (r#"{"message_id":7}"#, "message_id is missing"),
        (r#"{"message_id":"m","status":"Secret"}"#, "status is not one of Received, Sent, "),
        (r#"{"message_id":"m","read_at":"Secret"}"#, "read_at is not a time"),
        (r#"{"message_id":"m","updated_at":1768300000}"#, "updated_at is not a time"),
        (r#"{"message_id":"m","resends":-1}"#, "resends is not a whole number"),
        (r#"{"message_id":"m","customer_name":{"Secret":1}}"#, "customer_name is not a text"),
        ("[]", "the payload is not a JSON object"),
    ] {
        let why = read(payload.as_bytes()).unwrap_err();
        assert!(why.contains(want) && !why.contains("Secret"), "{payload}: {why}");
    }
}

#[test]
fn rows_of_one_message_are_one_in_the_order_of_the_ids() {
    let read_all = |payloads: &[&str]| payloads.iter().map(|p| read(p.as_bytes()).unwrap()).collect::<Vec<_>>();
    let rows = read_all(&[
        r#"{"message_id":"b","status":"Read","event_id":"e","odd":1}"#,
        r#"{"message_id":"c","error_code":"1"}"#,
        r#"{"message_id":"a","status":"Sent"}"#,
        r#"{"message_id":"b","status":"Sent","resends":1}"#,
    ]);
    let columns = ["status", "resends", "error_code", "failure_reason"].into_iter().zip(0..);
    let columns: HashMap<String, usize> = columns.map(|(name, at)| (name.to_owned(), at)).collect();
    let inserts = inserts(&rows, &columns, &mut Unknown::new("s", "t"));
    let shown: Vec<_> = inserts
        .iter()
        .map(|insert| (insert.columns.clone(), insert.rows.iter().map(|(id, _)| *id).collect::<Vec<_>>()))
        .collect();
    assert_eq!(shown, [(vec![0], vec!["a"]), (vec![1, 0], vec!["b"]), (vec![2, 3], vec!["c"])]);
    assert_eq!(inserts[1].rows[0].1, [&Value::Integer(1), &Value::Text("Read".into())]);
    assert_eq!(inserts[2].rows[0].1, [&Value::Text("1".into()), &Value::Null]);
}

#[test]
fn the_clause_compares_texts_by_their_bytes_and_pairs_as_one() {
    let as_text = |sql: &str| format!("T({sql})");
    let filled = |name| Filled { name, quoted: name.to_owned(), is_text: false };
    let clause = |names: &[&'static str]| {
        ladder_sql::clause(&names.iter().map(|name| filled(*name)).collect::<Vec<_>>(), as_text)
    };
    assert_eq!(clause(&[]), "ON CONFLICT (message_id) DO NOTHING");
    assert_eq!(
        clause(&["sent_at", "order"]),
        "ON CONFLICT (message_id) DO UPDATE SET sent_at = CASE WHEN (excluded.sent_at < kept.sent_at OR \
         (kept.sent_at IS NULL AND excluded.sent_at IS NOT NULL)) THEN excluded.sent_at ELSE kept.sent_at END, \
         order = CASE WHEN (T(excluded.order) > T(kept.order) OR (T(kept.order) IS NULL AND T(excluded.order) IS NOT \
         NULL)) THEN excluded.order ELSE kept.order END"
    );
    let pair = clause(&["clicked_at", "last_button"]);
    let wins: Vec<&str> = pair.split("CASE WHEN ").skip(1).filter_map(|part| part.split(" THEN").next()).collect();
    assert!(wins.len() == 2 && wins[0] == wins[1] && wins[0].contains("T(excluded.last_button) >"), "{pair}");
    assert!(clause(&["status"]).contains("CASE lower(T(kept.status)) WHEN 'received' THEN 1 WHEN 'sent' THEN 2"));
}

fn any_row() -> impl Strategy<Value = Members> {
    let word = || proptest::sample::select(vec!["", "a", "b", "é", "zz"]);
    let text = move || proptest::option::weighted(0.6, word());
    let time = || proptest::option::weighted(0.6, (0..5_u8).prop_map(|s| format!("2026-01-13T10:00:0{s}Z")));
    let status = proptest::option::of(proptest::sample::select(STATUSES.to_vec()));
    let own = prop_oneof![
        Just(json!(null)),
        Just(json!(7)),
        Just(json!("7")),
        Just(json!(true)),
        Just(json!([1])),
        Just(json!("x"))
    ];
    let (failure, click) = ((text(), text()), (time(), text()));
    (status, failure, click, [time(), time()], text(), proptest::option::of(0..3_u8), (own, any::<bool>())).prop_map(
        |(status, (code, reason), (clicked, button), [sent, updated], name, resends, (own, is_short))| {
            let mut row = members(&json!({
                "status": status, "error_code": code, "failure_reason": reason, "clicked_at": clicked,
                "last_button": button, "sent_at": sent, "updated_at": updated, "customer_name": name,
                "resends": resends, "own": own,
            }));
            row.retain(|_, value| !is_short || *value != Value::Null);
            row
        },
    )
}

proptest! {
    #[test]
    fn merging_is_associative_commutative_and_idempotent(a in any_row(), b in any_row(), c in any_row()) {
        let of = |rows: &[&Members]| merged(&rows.iter().map(|row| (*row).clone()).collect::<Vec<_>>());
        prop_assert_eq!(of(&[&a, &a]), of(&[&a]));
        prop_assert_eq!(of(&[&a, &b]), of(&[&b, &a]));
        let (ab, bc) = (of(&[&a, &b]), of(&[&b, &c]));
        prop_assert_eq!(of(&[&ab, &c]), of(&[&a, &bc]));
    }
}
