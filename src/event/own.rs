//! The daemon's own news as events.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use sink_api::{Rendered, Timestamp, Uuid};

use super::Event;
use crate::news::SOURCE;

/// The path of these events, from which CloudEvents have their `source`.
const PATH: &str = "/hookrelay";
/// The type of a body that names none.
const UNKNOWN: &str = "unknown";

/// What the body of one says of its event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    r#type: String,
    subject: String,
}

/// The event that tells a piece of news, made now. Type and subject stand in its body. No request brought it: method
/// and client are empty.
pub fn own(body: Bytes) -> Event {
    own_as(Uuid::now_v7(), body)
}

/// The same under an id that was fixed before: for commands, of which a repeat is to be the same event.
pub fn own_as(id: Uuid, body: Bytes) -> Event {
    let Named { r#type, subject } = serde_json::from_slice(&body).unwrap_or_default();
    let kind: Arc<str> = if r#type.is_empty() { UNKNOWN.into() } else { r#type.into() };
    let key: Arc<str> = if subject.is_empty() { id.to_string().into() } else { subject.as_str().into() };
    Event {
        id,
        source: SOURCE.into(),
        kind,
        subject: subject.into(),
        key,
        time: Timestamp::now(),
        method: "".into(),
        path: PATH.into(),
        remote: "".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body,
        rendered: Rendered::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_subject_and_key_are_read_from_the_body() {
        let event = own(Bytes::from_static(br#"{"type":"sink.down","subject":"crm","text":"x"}"#));
        assert_eq!((&*event.source, &*event.kind, &*event.subject, &*event.key), (SOURCE, "sink.down", "crm", "crm"));
        let (id, body) = (Uuid::now_v7(), Bytes::from_static(br#"{"type":"message.send","subject":""}"#));
        assert_eq!((own_as(id, body.clone()).id, &*own_as(id, body).kind), (id, "message.send"));
        let event = own(Bytes::from_static(b"not json"));
        assert_eq!((&*event.kind, &*event.key), (UNKNOWN, event.id.to_string().as_str()));
    }
}
