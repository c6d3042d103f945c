//! What is masked and what stays; and by property, that nothing long survives and nothing fails.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn masked(value: &Value) -> Value {
    serde_json::from_str(&body(value.to_string().as_bytes())).unwrap()
}

#[test]
fn a_webhook_keeps_its_structure_ids_and_times_and_loses_who_it_is_about() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/interakt/");
    let text = std::fs::read(format!("{folder}message_received.text.json")).unwrap();
    let shown: Value = serde_json::from_str(&body(&text)).unwrap();
    let message = &shown["data"]["message"];
    assert_eq!(message["id"], "5f90f480-bae3-4b71-976d-1654959bacbe");
    assert_eq!(message["received_at_utc"], "2026-01-13T11:02:57.359000");
    assert_eq!((&message["message"], &message["message_content_type"]), (&"***".into(), &"Text".into()));
    let customer = &shown["data"]["customer"];
    assert_eq!((&customer["channel_phone_number"], &customer["phone_number"]), (&"***10".into(), &"***10".into()));
    let traits = json!({"name": "***", "whatsapp_opted_in": true, "source_id": null, "source_url": null});
    assert_eq!(customer["traits"], traits);
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let shown = body(&bytes);
        for personal in ["Asha", "9876543", "sig=", "CC-1001", "482913", "Karthik", "Coimbatore"] {
            assert!(!shown.contains(personal), "{personal}: {shown}");
        }
    }
}

#[test]
fn a_template_keeps_its_name_and_loses_what_was_filled_in() {
    let template = json!({"name": "order_sent", "body": "Hi {{1}}", "body_text": "[\"Asha\"]"}).to_string();
    let shown = masked(&json!({"raw_template": template, "message": "[{\"type\":\"text\",\"text\":\"Asha\"}]"}));
    let template: Value = serde_json::from_str(shown["raw_template"].as_str().unwrap()).unwrap();
    assert_eq!(template, json!({"name": "order_sent", "body": "Hi {{1}}", "body_text": "[\"***\"]"}));
    assert_eq!(shown["message"], "[{\"type\":\"text\",\"text\":\"***\"}]");
}

#[test]
fn numbers_addresses_and_urls_are_found_in_any_text() {
    for (text, shown) in [
        ("call +91 98765-43210 now", "call ***10 now"),
        ("9876543210", "***10"),
        ("order 123456 of 2026-01-13", "order 123456 of 2026-01-13"),
        ("2026-01-13 10:35:26.948896", "2026-01-13 10:35:26.948896"),
        ("2026-01-13T10:35:26.948896123Z", "2026-01-13T10:35:26.948896Z"),
        ("2026-01-1398765", "***65"),
        ("1437aa6a-155e-4dd4-9a0e-123456789012", "1437aa6a-155e-4dd4-9a0e-123456789012"),
        ("१२३४५६७८", "***७८"),
        ("mail asha.verma+x@example.co.in!", "mail ***@***!"),
        ("https://a:b@media.example.net/x/y.jpg?sig=z ok", "https://media.example.net/*** ok"),
        ("https://example.net/", "https://example.net/"),
        ("user@host and @handle", "user@host and @handle"),
        ("98765.43210, +91.98765.43210 or 98765 - 43210", "***10, ***10 or ***10"),
        ("98765/43210 98765_43210\t4111.1111.1111.1111", "***11"),
        ("98765\u{2009}43210", "***10"),
        ("from 192.168.100.200 for 150000.00 on 28/11/2026", "from 192.168.100.200 for 150000.00 on 28/11/2026"),
        ("+", "+"),
    ] {
        assert_eq!(super::text(text), shown, "{text}");
    }
}

#[test]
fn names_of_people_are_hidden_in_parts_and_lists_and_those_of_things_stay() {
    let shown = masked(&json!({
        "profile_name": "Asha", "name": {"first": "Asha", "last": "K"}, "content": ["secret words", {"id": "a"}],
        "campaign_name": "Diwali", "template": {"name": "order_sent"},
    }));
    let wanted = json!({
        "profile_name": "***", "name": {"first": "***", "last": "***"}, "content": ["***", {"id": "a"}],
        "campaign_name": "Diwali", "template": {"name": "order_sent"},
    });
    assert_eq!(shown, wanted);
}

#[test]
fn json_that_stands_too_deep_in_json_to_be_looked_into_is_hidden() {
    let deep = (0..6).fold(json!({"note_id": "Asha"}), |inner, _| json!({"x": inner.to_string()}));
    assert!(!masked(&deep).to_string().contains("Asha"));
}

#[test]
fn what_is_not_json_is_its_length_and_what_is_odd_json_stays_json() {
    assert_eq!(body(b"name=Asha"), "\"9 bytes that are not JSON\"");
    assert_eq!(body(b""), "");
    assert_eq!(body(br#"{"type":"\ud83d","n":1.50}"#), r#"{"type":"\ud83d","n":1.50}"#);
    assert_eq!(body(br#"{"n":919876543210,"name":5,"919876543210":1}"#), r#"{"n":"***10","name":"***","***10":1}"#);
}

/// Whether seven digits stand in a row anywhere but in a UUID.
fn has_long(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
    let mut runs = words
        .filter(|word| uuid::Uuid::try_parse(word).is_err())
        .flat_map(|word| word.split(|c: char| !c.is_numeric()));
    runs.any(|run| run.chars().count() >= 7)
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(all) => all.iter().for_each(|value| texts(value, found)),
        Value::Object(all) => all.iter().for_each(|(name, value)| {
            found.push(name.clone());
            texts(value, found);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The same shape: objects with as many members, arrays as long, nulls and booleans the same.
fn same_shape(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() >= b.len(),
        (Value::String(_) | Value::Number(_), Value::String(_) | Value::Number(_)) => true,
        (a, b) => a == b,
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-+0-9 ().@:/a-f\u{a0}T]{0,40}",
        ".{0,20}",
        "[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{0,12}",
        "https?://[a-z0-9@.]{0,20}[/?#]?[0-9a-z@]{0,12}",
        Just("{\"name\":\"1234567\",\"x\":[12345678]}".to_owned()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("name".to_owned()),
        Just("message".to_owned()),
        Just("traits".to_owned()),
        Just("id".to_owned()),
        Just("raw_template".to_owned()),
        any_text()
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_long_run_of_digits_survives_in_a_text(given in any_text()) {
        prop_assert!(!has_long(&super::text(&given)), "{:?}", super::text(&given));
    }

    #[test]
    fn masked_json_is_json_of_the_same_shape_without_long_runs(given in any_json()) {
        let shown: Value = serde_json::from_str(&body(given.to_string().as_bytes())).unwrap();
        prop_assert!(same_shape(&given, &shown), "{shown}");
        let mut found = Vec::new();
        texts(&shown, &mut found);
        prop_assert!(!found.iter().any(|text| has_long(text)), "{shown}");
    }

    #[test]
    fn no_bytes_make_it_fail(given in proptest::collection::vec(any::<u8>(), 0..200)) {
        let shown = body(&given);
        prop_assert!(given.is_empty() || serde_json::from_str::<Value>(&shown).is_ok(), "{shown}");
    }
}
