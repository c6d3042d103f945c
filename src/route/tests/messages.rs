//! What `interakt.message` makes of every payload shape, and that the rows of a message come to what its history says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use sink_api::ladder::{self, Row};
use sink_api::{CallId, Event, Origin, Timestamp, Uuid, rows};

use super::{event, fixture};
use crate::message::{History, Status, history};
use crate::route::builtin::find;

const ID: &str = "7f00602d-4c9c-4346-9d4d-a24d478c9926";
const FIRST: &str = "13e5bece-43cb-4aec-8f00-8d7eb7bc86cf";
const ACCEPTED: &str = "2026-01-13T23:05:00.500000Z";

fn run(event: &Event) -> Vec<String> {
    let rows = (find("interakt.message").unwrap().run)(event).unwrap();
    rows.into_iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect()
}

fn rows_of(kind: &str, body: &[u8]) -> Vec<Value> {
    run(&event(kind, body)).iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// The only row, without what is null.
fn only(kind: &str, body: &[u8]) -> Value {
    let rows = rows_of(kind, body);
    let [Value::Object(row)] = rows.as_slice() else { panic!("{kind}: {rows:?}") };
    row.clone().into_iter().filter(|(_, value)| !value.is_null()).collect::<serde_json::Map<_, _>>().into()
}

fn body(message: Value) -> Vec<u8> {
    json!({"timestamp": "2026-01-13T10:50:00", "data": {"message": message}}).to_string().into_bytes()
}

#[test]
fn the_row_has_the_ladders_columns_in_their_order() {
    let row = &run(&event("t", &body(json!({"id": "m"}))))[0];
    let known = ladder::COLUMNS.iter().map(|(name, _)| *name).filter(|name| *name != "resends");
    let want: Vec<String> = std::iter::once("message_id").chain(known).map(|name| format!("\"{name}\":")).collect();
    let places: Vec<usize> = want.iter().map(|name| row.find(name).unwrap_or_else(|| panic!("{name} {row}"))).collect();
    assert!(places.is_sorted() && row.matches("\":").count() == want.len(), "{row}");
}

#[test]
fn each_status_says_how_far_the_message_is_and_when() {
    // Only the first of the provider's events has more than milliseconds.
    let sent = "2026-01-13T10:30:00.301000Z";
    let common = json!({
        "message_id": ID, "customer_phone": "+919876543210", "customer_name": "Asha Verma",
        "callback_data": "order:CC-1042:dispatch", "updated_at": ACCEPTED, "sent_at": sent,
    });
    for (kind, more) in [
        ("message_api_sent", json!({"status": "Sent", "sent_at": "2026-01-13T10:30:00.301554Z"})),
        ("message_api_delivered", json!({"status": "Delivered", "delivered_at": "2026-01-13T10:30:01.977000Z"})),
        (
            "message_api_read",
            json!({"status": "Read", "delivered_at": "2026-01-13T10:30:01.977000Z",
                   "read_at": "2026-01-13T10:34:44.810000Z"}),
        ),
    ] {
        let mut row = only(kind, &fixture(&format!("{kind}.json")));
        row.as_object_mut().unwrap().remove("template").unwrap();
        let mut want = common.clone();
        want.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(row, want, "{kind}");
    }
}

#[test]
fn a_failure_has_its_time_code_and_reason_and_a_click_its_button() {
    let row = only("message_api_failed", &fixture("message_api_failed.json"));
    assert_eq!((&row["status"], &row["error_code"]), (&json!("Failed"), &json!("1013")));
    assert_eq!(row["failure_reason"], "Recipient is not a valid WhatsApp user");
    assert!(row["failed_at"].is_string() && row.get("sent_at").is_none(), "{row}");
    for name in ["quick_reply", "cta", "event_beside_data"] {
        let row = only("message_api_clicked", &fixture(&format!("message_api_clicked.{name}.json")));
        assert!(row["clicked_at"].is_string() && row["last_button"].is_string(), "{name}: {row}");
    }
    // What was wrong once is not said again of a message that arrived.
    let late = only("message_api_delivered", &body(json!({"id": "m", "channel_error_code": "131026"})));
    assert!(late.get("error_code").is_none(), "{late}");
    let unsaid = only("message_api_clicked", &body(json!({"id": "m", "button_text": "Yes"})));
    assert_eq!(unsaid["clicked_at"], "2026-01-13T10:50:00.000000Z");
}

#[test]
fn what_is_about_no_message_of_ours_is_no_row() {
    for kind in ["account_alerts", "message_template_status_update", "workflow_response_update"] {
        assert!(rows_of(kind, &fixture(&format!("{kind}.json"))).is_empty(), "{kind}");
    }
    for name in ["text", "image", "button_reply"] {
        assert!(rows_of("message_received", &fixture(&format!("message_received.{name}.json"))).is_empty(), "{name}");
    }
    let reason = (find("interakt.message").unwrap().run)(&event("t", b"secret words")).unwrap_err();
    assert_eq!(reason.to_string(), "rule_error: interakt.message: the body is not JSON");
}

#[test]
fn a_status_of_a_further_try_counts_for_the_first_message_and_shows_the_users_own_text() {
    let origin = |attempt, of: &str| Origin { call: CallId(7), attempt, since: 1_768_300_870, of: of.to_owned() };
    let told = |callback: String| {
        rows_of("message_api_sent", &body(json!({"id": ID, "meta_data": {"source_data": {"callback_data": callback}}})))
    };
    let resent = told(origin(2, FIRST).write("order:7").unwrap());
    assert_eq!(resent[0]["callback_data"], "order:7");
    assert_eq!(resent[1..], [json!({"message_id": FIRST, "resends": 2, "updated_at": ACCEPTED})]);
    let first = told(origin(0, "").write("").unwrap());
    assert_eq!((first.len(), &first[0]["callback_data"]), (1, &Value::Null));
    let foreign = told("hr1.someone else's".to_owned());
    assert_eq!((foreign.len(), &foreign[0]["callback_data"]), (1, &json!("hr1.someone else's")));
}

fn at(minute: u32) -> String {
    format!("2026-01-13T10:{minute:02}:00.000000Z")
}

fn any_event() -> impl Strategy<Value = Event> {
    let minute = || proptest::option::of((0..60_u32).prop_map(at));
    let kind = prop_oneof![
        3 => proptest::sample::select(vec!["sent", "failed", "delivered", "read"]),
        1 => Just("clicked"),
    ];
    let word = proptest::option::of(proptest::sample::select(vec!["Sent", "Failed", "Delivered", "Read", "Odd"]));
    let name = proptest::option::of(proptest::sample::select(vec!["Asha", "Bela"]));
    (0..50_u32, kind, word, [minute(), minute(), minute()], name, 0..3_u32).prop_map(
        |(n, kind, word, [received, delivered, seen], name, button)| {
            let click = (kind == "clicked").then(|| json!({"button_text": "Yes", "click_timestamp": at(button)}));
            let body = json!({
                "timestamp": at(50), "event": click,
                "data": {
                    "customer": {"channel_phone_number": "919876543210", "traits": {"name": name}},
                    "message": {
                        "id": ID, "message_status": word, "received_at_utc": received, "delivered_at_utc": delivered,
                        "seen_at_utc": seen, "channel_error_code": (kind == "failed").then_some("131026"),
                    },
                },
            });
            let mut event = event(&format!("message_api_{kind}"), body.to_string().as_bytes());
            (event.id, event.subject) = (Uuid::from_u128(n.into()), ID.into());
            event.time = Timestamp::from_second(1_768_300_000 + i64::from(n)).unwrap();
            event
        },
    )
}

/// What the rows of these events come to.
fn table(events: &[Event]) -> BTreeMap<String, Option<String>> {
    let read: Vec<_> = events.iter().flat_map(run).map(|row| ladder::read(row.as_bytes()).unwrap()).collect();
    let mut kept = Row::new();
    for row in &read {
        ladder::merge(&mut kept, &row.iter().map(|(name, value)| (name.as_str(), value)).collect());
    }
    let text = |value: &rows::Value| match value {
        rows::Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    kept.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect()
}

/// The same of the history.
fn told(history: &History, events: &[Event]) -> BTreeMap<String, Option<String>> {
    let time = |at: Timestamp| format!("{at:.6}");
    let rung = |status| history.ladder.iter().find(|step| step.status == status).and_then(|step| step.time).map(time);
    let click = history.clicks.last();
    let error = history.error.as_ref();
    let columns = [
        ("message_id", Some(history.id.clone())),
        ("customer_phone", history.phone.clone()),
        ("customer_id", None),
        ("customer_name", history.customer.clone()),
        ("status", history.status.map(|status| status.word().to_owned())),
        ("failure_reason", error.and_then(|error| error.reason.clone())),
        ("error_code", error.and_then(|error| error.code.clone())),
        ("sent_at", rung(Status::Sent)),
        ("delivered_at", rung(Status::Delivered)),
        ("read_at", rung(Status::Read)),
        ("failed_at", rung(Status::Failed)),
        ("clicked_at", click.and_then(|click| click.time).map(time)),
        ("last_button", click.and_then(|click| click.button.clone())),
        ("campaign_id", None),
        ("callback_data", None),
        ("template", history.template.clone()),
        ("updated_at", events.iter().map(|event| event.time).max().map(time)),
    ];
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

proptest! {
    #[test]
    fn rows_in_any_order_and_number_come_to_the_messages_history(
        (events, shuffled) in proptest::collection::vec(any_event(), 1..10).prop_flat_map(|events| {
            let twice: Vec<Event> = events.iter().chain(&events).cloned().collect();
            (Just(events), Just(twice).prop_shuffle())
        })
    ) {
        let history = history(ID, &events).unwrap();
        prop_assert_eq!(table(&shuffled), told(&history, &events));
    }
}
