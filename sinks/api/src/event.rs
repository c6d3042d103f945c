//! The event: one webhook that was verified and accepted, as every sink sees it. Plain data.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::rendered::Rendered;

/// One accepted webhook. Attribute names follow CloudEvents.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// UUIDv7, made when the webhook was accepted.
    pub id: Uuid,
    /// Name of the source in the config (`interakt`).
    pub source: Arc<str>,
    /// Event type, never empty (`unknown` and `unparsable` stand in).
    pub kind: Arc<str>,
    /// What the event is about (the message's id); may be empty.
    pub subject: Arc<str>,
    /// Ordering key: the subject, else the event id as text.
    pub key: Arc<str>,
    /// When it was accepted, UTC.
    pub time: Timestamp,
    /// Request method.
    pub method: Arc<str>,
    /// Request path without the query; also the CloudEvents `source`.
    pub path: Arc<str>,
    /// Client address, after trusted proxies.
    pub remote: Arc<str>,
    /// Kept request headers, names in lower case, in the order they came.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// The body, byte for byte as it was signed.
    pub body: Bytes,
    /// Renderings that sinks have in common.
    pub rendered: Rendered,
}

impl Event {
    /// First kept request header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| **n == *name).map(|(_, v)| v.as_ref())
    }
}

/// Names the event without showing its body, headers or client.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("type", &self.kind)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
