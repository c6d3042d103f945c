//! Every payload shape known from Interakt, and those reality adds.

use proptest::prelude::*;

use super::typing::{TooLong, UNKNOWN, UNPARSABLE, interakt};

/// Type and subject.
fn read(body: impl AsRef<[u8]>) -> (String, String) {
    let envelope = interakt(body.as_ref());
    (envelope.kind.into_owned(), envelope.subject.into_owned())
}

fn kind(body: impl AsRef<[u8]>) -> String {
    read(body).0
}

fn subject(body: impl AsRef<[u8]>) -> String {
    read(body).1
}

/// The fixtures in `tests/fixtures/interakt`: name, type, subject.
pub(in crate::ingress) const FIXTURES: &[(&str, &str, &str)] = &[
    ("account_alerts", "account_alerts", ""),
    ("account_review_update", "account_review_update", ""),
    ("account_update.field_key", "account_update", ""),
    ("account_update", "account_update", ""),
    ("business_capability_update", "business_capability_update", ""),
    ("message_api_clicked.cta", "message_api_clicked", "7f00602d-4c9c-4346-9d4d-a24d478c9926"),
    ("message_api_clicked.event_beside_data", "message_api_clicked", "7f00602d-4c9c-4346-9d4d-a24d478c9926"),
    ("message_api_clicked.quick_reply", "message_api_clicked", "5310da29-d692-46e9-8ed6-c8be4be2b827"),
    ("message_api_delivered", "message_api_delivered", "7f00602d-4c9c-4346-9d4d-a24d478c9926"),
    ("message_api_failed", "message_api_failed", "13e5bece-43cb-4aec-8f00-8d7eb7bc86cf"),
    ("message_api_read", "message_api_read", "7f00602d-4c9c-4346-9d4d-a24d478c9926"),
    ("message_api_sent", "message_api_sent", "7f00602d-4c9c-4346-9d4d-a24d478c9926"),
    ("message_campaign_delivered", "message_campaign_delivered", "c4099b73-8f66-47ea-bf95-0e8a74caca2a"),
    ("message_campaign_failed", "message_campaign_failed", "6ce7ff70-121e-49e7-bf4b-f08d4ed44b60"),
    ("message_campaign_read", "message_campaign_read", "c4099b73-8f66-47ea-bf95-0e8a74caca2a"),
    ("message_campaign_sent", "message_campaign_sent", "c4099b73-8f66-47ea-bf95-0e8a74caca2a"),
    ("message_received.button_reply", "message_received", "483bdcdc-76d4-4d24-aea8-5d37fbff76c7"),
    ("message_received.image", "message_received", "b0f429d5-40fa-4c25-8a1a-ff88b89202bf"),
    ("message_received.list_reply", "message_received", "debdf187-11d2-4c1c-9058-0cef6108a785"),
    ("message_received.text", "message_received", "5f90f480-bae3-4b71-976d-1654959bacbe"),
    ("message_received.unicode", "message_received", "0516dac6-20ae-44da-9c58-5bec405ca928"),
    ("message_template_status_update", "message_template_status_update", ""),
    ("phone_number_quality_update", "phone_number_quality_update", ""),
    ("template_performance_metrics", "template_performance_metrics", ""),
    ("unknown_type", "message_session_sent", "3f938f93-9f3e-45d1-8cee-2fa8b29c1a63"),
    ("workflow_response_update", "workflow_response_update", "d98e332a-3441-4472-8712-ca19c54e5c40"),
];

/// A fixture's bytes.
pub(in crate::ingress) fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/interakt/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Bodies that are JSON and odd, with their type.
pub(in crate::ingress) const ODD: &[(&str, &str)] = &[
    (r#"{"type":"message_received","data":{"message":{"id":"m","message":"cut \ud83d"}}}"#, "message_received"),
    (r#"{"type":"message_received","\ud83d":1,"data":{"\ud83d":2,"message":{"\ud83d":3}}}"#, "message_received"),
    (r#"{"type":"message_received","data":"\ud83d","message":"\udc00"}"#, "message_received"),
    (r#"{"type":"message_received","data":1e999}"#, "message_received"),
    (r#"{"type":"message_received","data":{"message":{"message":"a\u0000b"}}}"#, "message_received"),
    (r#"{"type":"half \ud83d"}"#, UNKNOWN),
    (r#"{"type":7,"field":"account_update"}"#, UNKNOWN),
    (r#"{"type":null}"#, UNKNOWN),
    (r#"{"type":""}"#, UNKNOWN),
    (r#"{"type":{"a":"b"}}"#, UNKNOWN),
    (r#"{"data":{}}"#, UNKNOWN),
    (r#"{}"#, UNKNOWN),
    (r#"[{"type":"message_received"}]"#, UNKNOWN),
    (r#""message_received""#, UNKNOWN),
    ("17", UNKNOWN),
    (" null\n", UNKNOWN),
];

#[test]
fn every_fixture_has_its_type_and_subject() {
    let folder = format!("{}/tests/fixtures/interakt", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), FIXTURES.len(), "a fixture is missing from the table");
    for (name, kind, subject) in FIXTURES {
        assert_eq!(read(fixture(name)), ((*kind).into(), (*subject).into()), "{name}");
    }
}

#[test]
fn odd_json_has_a_type_all_the_same() {
    for (body, expected) in ODD {
        assert_eq!(kind(body), *expected, "{body}");
    }
}

#[test]
fn what_is_not_json_is_unparsable() {
    for body in ["", " ", "hello", "{", r#"{"type":"a"} x"#, r#"{"type":"a",}"#, r#"{"type":'a'}"#, "[1", "nul"] {
        assert_eq!(kind(body), UNPARSABLE, "{body}");
    }
    assert_eq!(kind(b"{\"type\":\"a\",\"x\":\"\xff\"}"), UNPARSABLE, "not UTF-8");
    assert_eq!(kind("{\"type\":\"a\",\"x\":\"\n\"}"), UNPARSABLE, "a raw line break in a string");
}

#[test]
fn field_stands_in_for_a_missing_type_and_click_fields_for_both() {
    assert_eq!(kind(r#"{"field":"account_update"}"#), "account_update");
    assert_eq!(kind(r#"{"field":"b","type":"a"}"#), "a");
    assert_eq!(kind(r#"{"field":3,"event":{"click_type":"CTA"}}"#), UNKNOWN);
    assert_eq!(kind(r#"{"customer":{},"message":{"id":"m"},"event":{"click_type":"CTA"}}"#), "message_api_clicked");
    assert_eq!(kind(r#"{"data":{"event":{"click_type":"CTA"}}}"#), "message_api_clicked");
    assert_eq!(kind(r#"{"event":{"click_type":null}}"#), UNKNOWN);
    assert_eq!(kind(r#"{"event":"VERIFIED_ACCOUNT"}"#), UNKNOWN);
}

#[test]
fn a_type_of_128_bytes_is_taken_and_a_longer_one_is_unknown() {
    let of = |text: &str| kind(format!(r#"{{"type":"{text}"}}"#));
    assert_eq!(of(&"t".repeat(128)), "t".repeat(128));
    assert_eq!(of(&"t".repeat(129)), UNKNOWN);
    assert_eq!(of(&"\\u0074".repeat(128)), "t".repeat(128), "counted after its escapes are read");
    assert_eq!(of(&"\\u20ac".repeat(43)), UNKNOWN, "counted in bytes");
    assert_eq!(of("a \\\"b\\\""), "a \"b\"");
}

#[test]
fn the_subject_is_the_messages_id_then_the_workflows() {
    assert_eq!(subject(r#"{"message":{"id":"bare"}}"#), "bare");
    assert_eq!(subject(r#"{"data":{"message":{"id":"m"},"workflow_id":"w"},"message":{"id":"bare"}}"#), "m");
    assert_eq!(subject(r#"{"data":{"workflow_id":"w","id":"r"}}"#), "w");
    assert_eq!(subject(r#"{"data":{"message":"\"id\":\"x\"","id":"r"}}"#), "");
}

#[test]
fn a_number_is_a_subject_by_its_digits_and_what_is_no_scalar_is_none() {
    let of = |id: &str| subject(format!(r#"{{"data":{{"message":{{"id":{id}}}}}}}"#));
    assert_eq!(of("12345678901234567890123"), "12345678901234567890123");
    assert_eq!(of("-1.50"), "-1.50");
    for id in ["null", "true", "[]", r#"{"a":1}"#, r#""""#, r#""\ud83d""#] {
        assert_eq!(of(id), "", "{id}");
    }
    assert_eq!(of(&format!("\"{}\"", "s".repeat(256))), "s".repeat(256));
    assert_eq!(of(&format!("\"{}\"", "s".repeat(257))), "");
}

#[test]
fn what_is_too_long_to_be_taken_is_told_with_its_size_and_what_stands_for_it() {
    let read = |kind: &str, ids: &str| {
        let body = format!(r#"{{"type":"{kind}","data":{{"message":{{"id":{ids}}},"workflow_id":"w"}}}}"#);
        let envelope = interakt(body.as_bytes());
        (envelope.too_long, envelope.notes().join("\n"))
    };
    assert_eq!(read(&"t".repeat(128), "\"m\""), (TooLong::default(), String::new()));
    let (too_long, notes) = read(&"\\u20ac".repeat(50), &"7".repeat(257));
    assert_eq!((too_long.kind, too_long.subject), (Some(150), Some(257)));
    assert!(notes.contains("type is 150 bytes, more than the 128 that are taken: `unknown`"), "{notes}");
    assert!(notes.contains("subject is 257 bytes, more than the 256 that are taken: `w` stands for it"), "{notes}");
    let (too_long, _) = read(&"x".repeat(1_000_000), "null");
    assert_eq!((too_long.kind, too_long.subject), (Some(1_000_000), None));
}

#[test]
fn the_last_of_two_equal_names_counts() {
    assert_eq!(read(r#"{"type":"a","data":{"message":{"id":"1","id":"2"}},"type":"b"}"#), ("b".into(), "2".into()));
    assert_eq!(subject(r#"{"data":{"message":{"id":"1"}},"data":{}}"#), "");
}

#[test]
fn depth_and_size_do_not_hurt() {
    let deep = format!(r#"{{"x":{}{},"type":"deep"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(kind(deep), "deep");
    let deep = format!(r#"{{"data":{}{},"type":"deep"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(kind(deep), "deep");
    assert_eq!(kind(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))), UNKNOWN);
    let traits: String = (0..4000).map(|n| format!(r#""trait number {n}":"{}","#, "é".repeat(10))).collect();
    let data = format!(r#"{{"customer":{{"traits":{{{traits}"x":null}}}},"message":{{"id":"m"}}}}"#);
    let body = format!(r#"{{"data":{data},"type":"message_received"}}"#);
    assert!(body.len() > 137_000, "{}", body.len());
    assert_eq!(read(body), ("message_received".into(), "m".into()));
}

#[test]
fn what_needs_no_unescaping_is_borrowed() {
    let envelope = interakt(br#"{"type":"a","message":{"id":17}}"#);
    assert!(matches!(
        (envelope.kind, envelope.subject),
        (std::borrow::Cow::Borrowed("a"), std::borrow::Cow::Borrowed("17"))
    ));
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e999".to_owned()),
        Just(r#""\ud83d""#.to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        "[a-z]{0,3}".prop_map(|s| format!("\"{s}\"")),
    ];
    let name = prop_oneof![
        Just("type"),
        Just("field"),
        Just("data"),
        Just("message"),
        Just("event"),
        Just("id"),
        Just("workflow_id"),
        Just("click_type"),
        Just(r"\ud83d"),
        Just(r"t\u0079pe"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|v| format!("[{}]", v.join(", "))),
            proptest::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(n, v)| format!("\"{n}\": {v}")).collect();
                format!("{{ {} }}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn valid_json_is_never_unparsable_and_agrees_with_a_plain_reading(body in json()) {
        let (kind, subject) = read(&body);
        prop_assert_ne!(&kind, UNPARSABLE);
        // Where serde_json can build the whole value, reading that gives the same.
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&body) {
            let at = |pointer: &str| value.pointer(pointer).filter(|_| value.is_object());
            let named = at("/type").or(at("/field")).map(|v| v.as_str().filter(|s| !s.is_empty()).unwrap_or(UNKNOWN));
            let click = ["/event/click_type", "/data/event/click_type"];
            let is_click = click.iter().any(|p| at(p).is_some_and(|v| !v.is_null()));
            prop_assert_eq!(kind, named.unwrap_or(if is_click { "message_api_clicked" } else { UNKNOWN }));
            let ids = ["/data/message/id", "/message/id", "/data/workflow_id"];
            let id = ids.iter().filter_map(|p| at(p)).find_map(|v| match v {
                serde_json::Value::String(s) if !s.is_empty() => Some(s.clone()),
                serde_json::Value::Number(n) => Some(n.to_string()),
                _ => None,
            });
            prop_assert_eq!(subject, id.unwrap_or_default());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = interakt(&body);
    }
}
