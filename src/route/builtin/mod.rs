//! The transforms that come with the daemon, one per file, each with its output documented there.
//!
//! A built-in is a pure function of the event. It reads the body leniently ([`crate::message::lenient`]): webhooks hold
//! numbers where strings were promised, and the reverse.

mod api_log;
mod message;
mod message_status;

use bytes::Bytes;
use serde::Serialize;
use sink_api::{Event, Reason, Timestamp, code};

pub use api_log::API_LOG;
pub use message::MESSAGE;
pub use message_status::MESSAGE_STATUS;

/// A transform known by name.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// The word behind `transform =`.
    pub name: &'static str,
    /// One line: what it makes of an event.
    pub about: &'static str,
    /// Payloads made of an event, each one compact JSON value. Its reasons have the code `rule_error`.
    pub run: fn(&Event) -> Result<Vec<Bytes>, Reason>,
}

/// All built-in transforms, in the order `kinds` shows them.
pub const BUILTINS: &[Builtin] = &[MESSAGE_STATUS, MESSAGE, API_LOG];

/// The built-in of that name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|b| b.name == name)
}

/// One row as the only payload.
fn payload(row: &impl Serialize) -> Result<Vec<Bytes>, Reason> {
    Ok(vec![json(row)?])
}

fn json(row: &impl Serialize) -> Result<Bytes, Reason> {
    let json = serde_json::to_vec(row).map_err(|e| Reason::new(code::RULE_ERROR, format!("row: {e}")))?;
    Ok(json.into())
}

/// RFC 3339, UTC, always six fraction digits: such times sort as text.
fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}
