//! Histories of messages: of the provider's own samples, and by property.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ID: &str = "7f00602d-4c9c-4346-9d4d-a24d478c9926";

fn event(n: i64, kind: &str, subject: &str, body: impl Into<Bytes>) -> Event {
    Event {
        id: Uuid::from_u128(u128::try_from(n).unwrap()),
        source: "interakt".into(),
        kind: kind.into(),
        subject: subject.into(),
        key: subject.into(),
        time: Timestamp::from_second(1_768_300_000 + n).unwrap(),
        method: "POST".into(),
        path: "/".into(),
        remote: "::1".into(),
        headers: vec![],
        body: body.into(),
        rendered: Default::default(),
    }
}

fn at(minute: u32) -> String {
    format!("2026-01-13T10:{minute:02}:00.000000")
}

fn time(minute: u32) -> Option<Timestamp> {
    format!("{}Z", at(minute)).parse().ok()
}

/// A status event; `times` are received, delivered and seen, in minutes.
fn told(n: i64, word: &str, times: [Option<u32>; 3]) -> Event {
    let [received, delivered, seen] = times.map(|minute| minute.map(at));
    let failed = word == "failed";
    let body = json!({
        "timestamp": at(50),
        "data": {
            "customer": {"channel_phone_number": "919876543210", "traits": {"name": "Asha"}},
            "message": {
                "id": ID, "message_status": word, "received_at_utc": received, "delivered_at_utc": delivered,
                "seen_at_utc": seen, "channel_error_code": failed.then_some("131026"),
                "raw_template": "{\"name\": \"order_sent\"}",
            },
        },
    });
    event(n, &format!("message_api_{word}"), ID, body.to_string())
}

fn click(n: i64, button: &str, minute: u32) -> Event {
    let click = json!({"click_type": "QR", "button_text": button, "click_timestamp": at(minute).replace('T', " ")});
    let body = json!({"event": click, "data": {"message": {"id": ID, "message_status": "Read"}}});
    event(n, "message_api_clicked", ID, body.to_string())
}

fn reply(n: i64, quoted: &str) -> Event {
    let message = json!({
        "id": format!("reply-{n}"), "message": "yes", "message_content_type": "Text", "received_at_utc": at(40),
        "message_status": "Sent", "message_context": {"id": quoted},
    });
    event(n, "message_received", &format!("reply-{n}"), json!({"data": {"message": message}}).to_string())
}

fn words(history: &History) -> Vec<(&'static str, Option<Timestamp>)> {
    history.ladder.iter().map(|step| (step.status.word(), step.time)).collect()
}

#[test]
fn a_message_climbs_the_ladder_and_keeps_the_times_of_the_provider_and_ours() {
    let events = [
        told(3, "read", [Some(1), Some(2), Some(3)]),
        told(1, "sent", [Some(1), None, None]),
        told(2, "delivered", [Some(1), Some(2), None]),
    ];
    let history = history(ID, &events).unwrap();
    assert_eq!(history.status, Some(Status::Read));
    assert_eq!(words(&history), [("Sent", time(1)), ("Delivered", time(2)), ("Read", time(3))]);
    let tellers: Vec<_> = history.ladder.iter().map(|step| (step.accepted, step.event)).collect();
    assert_eq!(tellers, [1, 2, 0].map(|at: usize| (events[at].time, events[at].id)));
    assert_eq!((history.phone.as_deref(), history.customer.as_deref()), (Some("+919876543210"), Some("Asha")));
    assert_eq!((history.template.as_deref(), history.way), (Some("order_sent"), Some(Way::Api)));
    assert!(history.error.is_none());
}

#[test]
fn a_rung_whose_own_event_did_not_come_is_known_from_a_later_one() {
    let history = history(ID, &[told(3, "read", [Some(1), Some(2), Some(3)])]).unwrap();
    assert_eq!(words(&history), [("Sent", time(1)), ("Delivered", time(2)), ("Read", time(3))]);
}

#[test]
fn a_failed_message_may_be_delivered_after_all_and_a_read_one_does_not_fall_back() {
    let failed = told(1, "failed", [Some(1), None, None]);
    let only = history(ID, [&failed]).unwrap();
    assert_eq!((only.status, words(&only)), (Some(Status::Failed), vec![("Failed", time(50))]));
    let error = only.error.unwrap();
    assert_eq!(error.code.as_deref(), Some("131026"));
    assert!(error.words.unwrap().contains("not on WhatsApp"), "{error:?}");
    let delivered = told(2, "delivered", [Some(1), Some(2), None]);
    let after = history(ID, [&failed, &delivered]).unwrap();
    assert_eq!(after.status, Some(Status::Delivered));
    assert!(after.error.is_some(), "why it failed is still told");
    let read = told(3, "read", [Some(1), None, Some(3)]);
    assert_eq!(history(ID, [&read, &delivered, &failed]).unwrap().status, Some(Status::Read));
}

#[test]
fn clicks_are_told_once_each_and_replies_by_what_they_quote() {
    let events = [
        click(5, "Confirm", 7),
        click(6, "Confirm", 7),
        click(7, "Cancel", 6),
        reply(8, ID),
        reply(9, "another"),
        told(1, "sent", [Some(1), None, None]),
    ];
    let history = history(ID, &events).unwrap();
    let clicks: Vec<_> = history.clicks.iter().map(|c| (c.button.as_deref().unwrap(), c.time, c.event)).collect();
    assert_eq!(clicks, [("Cancel", time(6), events[2].id), ("Confirm", time(7), events[0].id)]);
    assert_eq!(history.clicks[0].kind.as_deref(), Some("QR"));
    let replies: Vec<_> = history.replies.iter().map(|reply| (reply.event, reply.text.as_deref())).collect();
    assert_eq!(replies, [(events[3].id, Some("yes"))]);
    assert_eq!(history.status, Some(Status::Read), "who clicks has read");
}

#[test]
fn every_sample_of_the_provider_is_understood() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/interakt/");
    let of = |name: &str| {
        let body = std::fs::read(format!("{folder}{name}.json")).unwrap();
        let said = Said::read(&body).unwrap();
        let id = said.message_id.unwrap_or_default();
        let kind = name.split('.').next().unwrap();
        history(&id, [&event(1, kind, &id, body)])
    };
    let status = |name| of(name).unwrap().status;
    assert_eq!(status("message_api_sent"), Some(Status::Sent));
    assert_eq!(status("message_campaign_delivered"), Some(Status::Delivered));
    assert_eq!(status("message_api_read"), Some(Status::Read));
    assert_eq!(status("message_received.text"), Some(Status::Received));
    let failed = of("message_api_failed").unwrap();
    let error = failed.error.unwrap();
    assert_eq!((failed.status, error.code.as_deref()), (Some(Status::Failed), Some("1013")));
    assert!(error.words.is_some() && error.reason.as_deref() == Some("Recipient is not a valid WhatsApp user"));
    for (name, kind) in [("quick_reply", "QR"), ("cta", "CTA"), ("event_beside_data", "QR")] {
        let clicked = of(&format!("message_api_clicked.{name}")).unwrap();
        let [click] = clicked.clicks.as_slice() else { panic!("{name}: {clicked:?}") };
        assert!(click.kind.as_deref() == Some(kind) && click.button.is_some() && click.time.is_some(), "{name}");
    }
    let campaign = of("message_campaign_read").unwrap();
    assert_eq!((campaign.way, campaign.template.as_deref()), (Some(Way::Campaign), Some("pongal_offer_26")));
    assert!(campaign.campaign.unwrap().name.unwrap().starts_with("Pongal"));
    assert!(of("account_alerts").is_none_or(|about_nothing| about_nothing.ladder.is_empty()));
}

#[test]
fn a_phone_is_the_same_with_and_without_its_country() {
    for (digits, same) in [("919876543210", true), ("9876543210", true), ("09876543210", true), ("3210", false)] {
        assert_eq!(crate::message::same_phone("+919876543210", digits), same, "{digits}");
    }
    assert_eq!(crate::message::digits("+91 98765-43210").as_deref(), Some("919876543210"));
    assert!(crate::message::digits("7f00602d").is_none());
}

fn any_event() -> impl Strategy<Value = Event> {
    let minute = || proptest::option::of(0..60_u32);
    let word = prop_oneof![Just("sent"), Just("failed"), Just("delivered"), Just("read")];
    let status =
        (1..50_i64, word, minute(), minute(), minute()).prop_map(|(n, word, a, b, c)| told(n, word, [a, b, c]));
    let clicked = (50..60_i64, 0..3_u32).prop_map(|(n, minute)| click(n, ["a", "b", "c"][minute as usize], minute));
    prop_oneof![4 => status, 1 => clicked, 1 => (60..70_i64).prop_map(|n| reply(n, ID))]
}

proptest! {
    #[test]
    fn order_and_repeats_change_nothing(
        (events, shuffled) in proptest::collection::vec(any_event(), 1..12).prop_flat_map(|events| {
            let twice: Vec<Event> = events.iter().chain(&events).cloned().collect();
            (Just(events), Just(twice).prop_shuffle())
        })
    ) {
        prop_assert_eq!(history(ID, &events), history(ID, &shuffled));
    }
}
