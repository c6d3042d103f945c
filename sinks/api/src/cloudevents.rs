//! CloudEvents 1.0: the structured JSON form, and the attributes that travel beside a body in binary mode.
//!
//! A body may be a CloudEvent itself (`application/cloudevents+json`). Readers of a message with that content type take
//! the event from the body and ignore attributes beside it, so in binary mode none of ours may stand there under a
//! CloudEvents name: see [`beside`]. The structured form is our event, with the sender's event whole under `data`.
//!
//! Source: the CloudEvents 1.0.2 specification, its JSON event format and its HTTP protocol binding.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::delivery::{Delivery, Payload};
use crate::json;

/// What the HTTP binding (§3.1.3.2) has percent-encoded in header values: space, `"`, `%`, and all outside ASCII.
const HEADER_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Media type of [`structured`].
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";

/// How content types of CloudEvents in a body begin, in any format, single or in a batch.
const EVENT_IN_BODY: &str = "application/cloudevents";
/// Longest content type that is passed on, in bytes.
const MAX_CONTENT_TYPE: usize = 1024;

/// The prefix of attributes that stand beside a body of this content type, where CloudEvents has them under `prefix`
/// (`ce-`, `ce_`): `hookrelay-` or `hookrelay_` where the body itself is an event, so that nobody takes half of one for
/// half of another.
pub fn beside(prefix: &'static str, content_type: Option<&str>) -> &'static str {
    let begins = content_type.and_then(|text| text.trim_start().get(..EVENT_IN_BODY.len()));
    match begins.is_some_and(|begins| begins.eq_ignore_ascii_case(EVENT_IN_BODY)) {
        false => prefix,
        true if prefix.ends_with('_') => "hookrelay_",
        true => "hookrelay-",
    }
}

/// Media type of the payload, the same whatever the format. What a transform made is JSON; a body has the content type
/// of its request, where that was kept and is a media type, else the one that its bytes look like.
pub fn data_content_type(delivery: &Delivery) -> &str {
    content_type(delivery, || json::is_json(delivery.bytes()))
}

fn content_type(delivery: &Delivery, is_json: impl FnOnce() -> bool) -> &str {
    let own = match delivery.payload {
        Payload::Body => delivery.event.header("content-type").map(str::trim).filter(|own| is_media_type(own)),
        Payload::Json(_) => Some("application/json"),
    };
    own.unwrap_or_else(|| if is_json() { "application/json" } else { "application/octet-stream" })
}

/// `type/subtype`, perhaps with parameters, of printable ASCII: what a header and the attribute can hold alike.
fn is_media_type(text: &str) -> bool {
    let token = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"/;,\"".contains(&b));
    let names = text.split(';').next().unwrap_or_default().trim_end().split_once('/');
    let is_plain = text.len() <= MAX_CONTENT_TYPE && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    is_plain && names.is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// The attributes of a delivery, in the order of the specification. A subject that is empty is left out.
pub fn attributes(delivery: &Delivery) -> Vec<(&'static str, String)> {
    let event = &delivery.event;
    let mut all = vec![
        ("specversion", "1.0".to_owned()),
        ("id", delivery.id.clone()),
        ("source", event.path.to_string()),
        ("type", event.kind.to_string()),
    ];
    if !event.subject.is_empty() {
        all.push(("subject", event.subject.to_string()));
    }
    all.push(("time", event.time.to_string()));
    all
}

/// A header value as the HTTP binding wants it: percent-encoded where it is not plain printable ASCII.
pub fn header_value(value: &str) -> String {
    utf8_percent_encode(value, HEADER_VALUE).to_string()
}

/// The structured form on one line: the payload under `data`, its insignificant whitespace removed, digits and escapes
/// as they came, whatever its sender called it; `data_base64` where it is not JSON; neither where it is empty.
pub fn structured(delivery: &Delivery) -> Vec<u8> {
    let mut out = Vec::with_capacity(delivery.bytes().len() + 320);
    push_structured(&mut out, delivery);
    out
}

/// Appends [`structured`]. Of an event that several sinks have whole it is made once.
pub fn push_structured(out: &mut Vec<u8>, delivery: &Delivery) {
    let is_the_events = delivery.payload == Payload::Body && is_id(&delivery.id, delivery.event.id);
    if is_the_events {
        delivery.event.rendered.structured(out, |out| render(out, delivery));
    } else {
        render(out, delivery);
    }
}

/// Whether a delivery's id is that of its event alone, as it is but for further routes and outputs.
fn is_id(id: &str, event: Uuid) -> bool {
    let mut text = [0; Hyphenated::LENGTH];
    id == event.hyphenated().encode_lower(&mut text)
}

fn render(out: &mut Vec<u8>, delivery: &Delivery) {
    let payload = delivery.bytes();
    out.reserve(payload.len() + 320);
    out.push(b'{');
    let event = &delivery.event;
    out.extend_from_slice(b"\"specversion\":\"1.0\"");
    push_member(out, "id", &delivery.id);
    push_member(out, "source", &event.path);
    push_member(out, "type", &event.kind);
    if !event.subject.is_empty() {
        push_member(out, "subject", &event.subject);
    }
    // Digits, `T`, `Z` and the like: nothing to escape. Writing into a Vec cannot fail.
    let _ = write!(out, ",\"time\":\"{}\"", event.time);
    let is_json = matches!(delivery.payload, Payload::Json(_)) || json::is_json(payload);
    push_member(out, "datacontenttype", content_type(delivery, || is_json));
    if is_json {
        out.extend_from_slice(b",\"data\":");
        json::strip_whitespace(payload, out);
    } else if !payload.is_empty() {
        push_member(out, "data_base64", &BASE64.encode(payload));
    }
    out.push(b'}');
}

/// Appends a further member; `name` needs no escaping.
fn push_member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    push_string(out, value);
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    // Nearly all texts: nothing to escape.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing a &str into a Vec cannot fail: no I/O, and every str is valid JSON text.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{Event, Target};

    pub(crate) fn delivery(body: &'static [u8], kind: &str) -> Delivery {
        let event = Event {
            id: Uuid::nil(),
            source: "interakt".into(),
            kind: kind.into(),
            subject: "m-1".into(),
            key: "m-1".into(),
            time: "2026-01-13T23:05:00.5Z".parse().unwrap(),
            method: "POST".into(),
            path: "/webhooks/interakt".into(),
            remote: "127.0.0.1".into(),
            headers: vec![("content-type".into(), "text/plain".into())],
            body: Bytes::from_static(body),
            rendered: crate::Rendered::default(),
        };
        let id = event.id.to_string();
        let event = Arc::new(event);
        Delivery {
            id,
            event,
            payload: Payload::Body,
            key: "m-1".into(),
            target: Target::default(),
            trace: None,
            position: None,
        }
    }

    fn text(body: &'static [u8]) -> String {
        String::from_utf8(structured(&delivery(body, "t"))).unwrap()
    }

    #[test]
    fn a_json_body_stands_under_data_digit_for_digit() {
        let head = concat!(
            r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000000","source":"/webhooks/interakt","#,
            r#""type":"t","subject":"m-1","time":"2026-01-13T23:05:00.5Z","#
        );
        assert_eq!(
            text(b"{\n \"n\": 12345678901234567890, \"s\": \"\\ud83d\"}"),
            format!(r#"{head}"datacontenttype":"text/plain","data":{{"n":12345678901234567890,"s":"\ud83d"}}}}"#)
        );
        assert_eq!(text(b"oops"), format!(r#"{head}"datacontenttype":"text/plain","data_base64":"b29wcw=="}}"#));
        assert_eq!(text(b""), format!(r#"{head}"datacontenttype":"text/plain"}}"#));
    }

    /// The content type that is given for a body which came with this one.
    fn given(own: Option<&str>, body: &'static [u8]) -> String {
        let mut delivery = delivery(body, "t");
        let headers = own.map(|own| ("content-type".into(), own.into()));
        Arc::make_mut(&mut delivery.event).headers = headers.into_iter().collect();
        let given = data_content_type(&delivery).to_owned();
        let structured: serde_json::Value = serde_json::from_slice(&structured(&delivery)).unwrap();
        assert_eq!(structured["datacontenttype"], *given, "{own:?}");
        given
    }

    #[test]
    fn a_body_has_one_content_type_whatever_the_format() {
        for own in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"utf-8\"",
            "application/vnd.api+json",
            "application/cloudevents+json",
            "text/plain; charset=UTF-8",
        ] {
            for body in [&b"{}"[..], b"no json", b""] {
                assert_eq!(given(Some(own), body), own);
            }
        }
        let odd = ["", "json", "text/", "te\u{e4}xt/plain", "text/plain\u{7f}"].map(Some);
        for own in odd.into_iter().chain([None]) {
            assert_eq!(given(own, b" [1]"), "application/json", "{own:?}");
            assert_eq!(given(own, b"no json"), "application/octet-stream", "{own:?}");
            assert_eq!(given(own, b""), "application/octet-stream", "{own:?}");
        }
        let mut made = delivery(b"words", "t");
        made.payload = Payload::Json(Bytes::from_static(b"1"));
        assert_eq!(data_content_type(&made), "application/json");
    }

    #[test]
    fn nothing_of_ours_stands_beside_an_event_under_a_name_of_cloudevents() {
        for own in ["application/cloudevents+json", " Application/CloudEvents-batch+json; charset=utf-8"] {
            assert_eq!([beside("ce-", Some(own)), beside("ce_", Some(own))], ["hookrelay-", "hookrelay_"]);
        }
        for own in [None, Some("application/json"), Some("application/cloud"), Some("\u{e4}pplication/cloudevents")] {
            assert_eq!([beside("ce-", own), beside("ce_", own)], ["ce-", "ce_"]);
        }
    }

    #[test]
    fn header_values_outside_ascii_are_percent_encoded() {
        assert_eq!(header_value("a\u{20ac} b%\"\n"), "a%E2%82%AC%20b%25%22%0A");
    }
}
