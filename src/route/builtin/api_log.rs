//! `api_log`: one row a request, whatever its body. Reads nothing but the event's own attributes.
//!
//! ```text
//! event_id     text     the event's id, as the sender was answered
//! source       text     name of the source in the config
//! type         text     event type
//! method       text     request method
//! path         text     request path, without the query
//! status       integer  200: an event exists only where the answer was 200
//! remote       text     client address, after trusted proxies
//! body_size    integer  bytes
//! received_at  text     RFC 3339, UTC, six fraction digits
//! ```

use bytes::Bytes;
use serde::Serialize;
use sink_api::{Event, Reason};

use super::{Builtin, payload, rfc3339};

/// See the module's head.
pub const API_LOG: Builtin =
    Builtin { name: "api_log", about: "one row a request: who sent what, where to, how large and when", run };

#[derive(Serialize)]
struct Row<'e> {
    event_id: String,
    source: &'e str,
    r#type: &'e str,
    method: &'e str,
    path: &'e str,
    status: u16,
    remote: &'e str,
    body_size: usize,
    received_at: String,
}

fn run(event: &Event) -> Result<Vec<Bytes>, Reason> {
    payload(&Row {
        event_id: event.id.to_string(),
        source: &event.source,
        r#type: &event.kind,
        method: &event.method,
        path: &event.path,
        status: 200,
        remote: &event.remote,
        body_size: event.body.len(),
        received_at: rfc3339(event.time),
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
}
