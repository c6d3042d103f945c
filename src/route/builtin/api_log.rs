//! `api_log`: one row a request, whatever its body. Of a webhook it reads nothing but the event's own attributes; of a
//! `request.refused` of the daemon's own events, what that tells of the request.
//!
//! ```text
//! event_id     text     the event's id, as the sender was answered
//! source       text     name of the source in the config; null of a request to a path of no source
//! type         text     event type
//! method       text     request method
//! path         text     request path, without the query
//! status       integer  200 of a webhook; of a refused request what it was answered, 0 where it broke off
//! remote       text     client address, after trusted proxies; of several requests the last one's
//! body_size    integer  bytes; null of a refused request
//! received_at  text     RFC 3339, UTC, six fraction digits; of several requests the last one's
//! error        text     why it was refused (missing, wrong, too_large, …); not there in a webhook's row
//! count        integer  how many refused requests the row stands for; not there in a webhook's row
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sink_api::{Event, Reason, code};

use super::{Builtin, payload, rfc3339};
use crate::news::Kind;
use crate::route::INTERNAL_SOURCE;

/// See the module's head.
pub const API_LOG: Builtin =
    Builtin { name: "api_log", about: "one row a request: who sent what, where to, how large and when", run };

#[derive(Serialize)]
struct Row<'e> {
    event_id: String,
    source: Option<&'e str>,
    r#type: &'e str,
    method: &'e str,
    path: &'e str,
    status: u16,
    remote: &'e str,
    body_size: Option<usize>,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// What a `request.refused` tells of the request.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    source: Option<String>,
    method: String,
    path: String,
    status: u16,
    remote: String,
    reason: String,
    count: u64,
    last: String,
}

fn run(event: &Event) -> Result<Vec<Bytes>, Reason> {
    if *event.source == *INTERNAL_SOURCE && *event.kind == *Kind::RequestRefused.name() {
        return refused(event);
    }
    payload(&Row {
        event_id: event.id.to_string(),
        source: Some(&event.source),
        r#type: &event.kind,
        method: &event.method,
        path: &event.path,
        status: 200,
        remote: &event.remote,
        body_size: Some(event.body.len()),
        received_at: rfc3339(event.time),
        error: None,
        count: None,
    })
}

fn refused(event: &Event) -> Result<Vec<Bytes>, Reason> {
    let told: Refused = serde_json::from_slice(&event.body)
        .map_err(|_| Reason::new(code::RULE_ERROR, "api_log: the body does not tell of a refused request"))?;
    payload(&Row {
        event_id: event.id.to_string(),
        source: told.source.as_deref(),
        r#type: &event.kind,
        method: &told.method,
        path: &told.path,
        status: told.status,
        remote: &told.remote,
        body_size: None,
        received_at: rfc3339(told.last.parse().unwrap_or(event.time)),
        error: Some(&told.reason),
        count: Some(told.count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::tests::event;

    #[test]
    fn a_request_is_one_row_even_where_its_body_is_not_json() {
        let rows = run(&event("unparsable", b"\xff\0")).unwrap();
        let want = concat!(
            r#"{"event_id":"00000000-0000-0000-0000-000000000001","source":"interakt","type":"unparsable","#,
            r#""method":"POST","path":"/webhooks/interakt","status":200,"remote":"203.0.113.7","body_size":2,"#,
            r#""received_at":"2026-01-13T23:05:00.500000Z"}"#,
        );
        assert_eq!(rows, [want]);
    }

    #[test]
    fn a_refused_request_is_a_row_with_what_it_was_answered_and_why() {
        let body = concat!(
            r#"{"type":"request.refused","text":"…","subject":"interakt","count":4,"first":"2026-01-13T23:04:00Z","#,
            r#""last":"2026-01-13T23:05:00Z","reason":"wrong","source":"interakt","method":"POST","#,
            r#""path":"/webhooks/interakt","status":401,"remote":"203.0.113.9"}"#,
        );
        let mut own = event("request.refused", body.as_bytes());
        own.source = INTERNAL_SOURCE.into();
        let want = concat!(
            r#"{"event_id":"00000000-0000-0000-0000-000000000001","source":"interakt","type":"request.refused","#,
            r#""method":"POST","path":"/webhooks/interakt","status":401,"remote":"203.0.113.9","body_size":null,"#,
            r#""received_at":"2026-01-13T23:05:00.000000Z","error":"wrong","count":4}"#,
        );
        assert_eq!(run(&own).unwrap(), [want]);
        own.body = bytes::Bytes::from_static(br#"{"path":"/x","status":404,"reason":"unknown"}"#);
        let row = String::from_utf8(run(&own).unwrap()[0].to_vec()).unwrap();
        assert!(row.contains(r#""source":null"#) && row.contains(r#""path":"/x""#), "{row}");
    }
}
