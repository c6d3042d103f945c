//! Commands (`message.send`, `message.resend`) on their way to the sink that sends: each is addressed to one sink, and
//! what is delivered is its `request`, byte for byte.

use bytes::Bytes;
use serde_json::value::RawValue;
use sink_api::{Event, Payload, Reason};

use crate::message::lenient::{Raw, members, object, text};

/// The code of a command that lacks what is to be sent.
const INCOMPLETE: &str = "incomplete";

/// Whether a command is addressed to that sink.
pub(super) fn is_addressed_to(event: &Event, sink: &str) -> bool {
    let [to] = members(body(event), ["sink"]);
    text(to).is_some_and(|to| to == sink)
}

/// What a command has sent.
///
/// # Errors
/// `incomplete`: with what is missing.
pub(super) fn request(event: &Event) -> Result<Payload, Reason> {
    let [request, missing] = members(body(event), ["request", "missing"]);
    match object(request) {
        Some(request) => Ok(Payload::Json(Bytes::copy_from_slice(request.get().as_bytes()))),
        None => {
            let missing = text(missing).unwrap_or_else(|| "what is to be sent".to_owned());
            Err(Reason::new(INCOMPLETE, format!("this is missing, so that it cannot be sent again: {missing}")))
        }
    }
}

fn body(event: &Event) -> Raw<'_> {
    let body: &RawValue = serde_json::from_slice(&event.body).ok()?;
    Some(body)
}
