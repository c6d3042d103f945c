//! A delivery as one line: for sinks whose target is a stream of lines. Pure.

use serde::Deserialize;

use crate::delivery::Delivery;
use crate::report::{Outcome, code};
use crate::{cloudevents, json};

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One CloudEvents 1.0 JSON object, the body under `data`.
    #[default]
    Cloudevents,
    /// The payload; whitespace outside strings is dropped only where it has line breaks.
    Raw,
}

/// Appends the delivery and a line feed.
///
/// # Errors
/// The rejection of a payload that cannot stand on one line; nothing is appended then.
pub fn push(out: &mut Vec<u8>, format: Format, delivery: &Delivery) -> Result<(), Outcome> {
    let payload = delivery.bytes();
    match format {
        Format::Cloudevents => cloudevents::push_structured(out, delivery),
        Format::Raw if !payload.contains(&b'\n') && !payload.contains(&b'\r') => out.extend_from_slice(payload),
        Format::Raw if json::is_json(payload) => json::strip_whitespace(payload, out),
        Format::Raw => {
            let why =
                "line breaks in a payload that is not JSON: it cannot stand on one line (format = \"cloudevents\" can)";
            return Err(Outcome::reject(code::BAD_PAYLOAD, why));
        }
    }
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudevents::tests::delivery;

    fn raw(body: &'static [u8]) -> Result<Vec<u8>, Outcome> {
        let mut out = Vec::new();
        push(&mut out, Format::Raw, &delivery(body, "t")).map(|()| out)
    }

    #[test]
    fn a_raw_line_is_the_body_untouched_unless_it_has_line_breaks() {
        assert_eq!(raw(b"{ \"a\": 1 }").unwrap(), b"{ \"a\": 1 }\n");
        assert_eq!(raw(b"{\n \"a\": \" 1 \"\r\n}").unwrap(), b"{\"a\":\" 1 \"}\n");
        assert_eq!(raw(b"plain").unwrap(), b"plain\n");
    }

    #[test]
    fn raw_text_of_several_lines_is_rejected() {
        assert!(matches!(raw(b"one\ntwo"), Err(Outcome::Reject { .. })));
        assert!(matches!(raw(b"one\rtwo"), Err(Outcome::Reject { .. })));
    }

    #[test]
    fn a_cloudevents_line_holds_any_body() {
        for body in [&b"one\ntwo"[..], b"", b"{\n\"a\": 1}", b"\xff\n"] {
            let mut out = Vec::new();
            push(&mut out, Format::Cloudevents, &delivery(body, "t")).unwrap();
            assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
            assert!(json::is_json(&out), "{body:?}");
        }
    }
}
