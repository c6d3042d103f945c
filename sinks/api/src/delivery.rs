//! A delivery (one payload for one sink) and the batch a sink is handed. Plain data.
//!
//! Payload, target and id are fixed when an event is routed to a sink, and stay the same through every retry.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::event::Event;
use crate::trace::TraceHeaders;

/// What is delivered.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// The event's body, untouched.
    Body,
    /// What a transform made of it: one JSON value, compact.
    Json(Bytes),
}

/// Where a delivery goes inside its sink, rendered from the sink's templates: `("topic", "whatsapp.x")`.
///
/// Made by [`SinkConfig::target`](crate::SinkConfig::target), shown by `explain`, kept through retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target(Vec<(Cow<'static, str>, String)>);

impl Target {
    /// A target of one part.
    pub fn of(name: &'static str, value: impl Into<String>) -> Self {
        Self::default().with(name, value)
    }

    /// Adds a part.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// The part of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v.as_str()))
    }
}

impl FromIterator<(String, String)> for Target {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(parts: I) -> Self {
        Self(parts.into_iter().map(|(n, v)| (Cow::Owned(n), v)).collect())
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// One payload for one sink.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event's id, or `<id>-<route name>[-n]` for a further payload. The idempotency key downstream.
    pub id: String,
    /// The event it came from.
    pub event: Arc<Event>,
    /// What to deliver.
    pub payload: Payload,
    /// Ordering key at this sink; deliveries of one key must not overtake each other.
    pub key: Arc<str>,
    /// Where to, inside the sink.
    pub target: Target,
    /// What its target is told of the trace it belongs to, where traces are made. A sink whose target has headers
    /// passes it on, unless its own config sets such a header; others ignore it.
    pub trace: Option<Arc<TraceHeaders>>,
    /// Where its event stands among others, `SHARD:NUMBER`, where several daemons share the journal. By it a receiver
    /// tells a call that comes late, of a daemon that has lost its part to another. A sink whose target has headers
    /// passes it on; others ignore it.
    pub position: Option<Arc<str>>,
}

impl Delivery {
    /// The payload's bytes.
    pub fn bytes(&self) -> &Bytes {
        match &self.payload {
            Payload::Body => &self.event.body,
            Payload::Json(bytes) => bytes,
        }
    }
}

/// Names the delivery without showing its payload or target.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("type", &self.event.kind)
            .field("bytes", &self.bytes().len())
            .finish_non_exhaustive()
    }
}

/// What one `deliver` call is about. Never empty; deliveries of one key stand in the order they are owed.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The deliveries, in order.
    pub deliveries: Vec<Arc<Delivery>>,
    /// When the core gives up waiting; a call still running then may be dropped, and counts as Retry.
    pub deadline: Instant,
    /// Whether order within a key is owed (`ordering = "key"`).
    pub ordered: bool,
}

impl Batch {
    /// Number of deliveries.
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether there is nothing in it (the core never sends an empty batch).
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Time until the deadline; zero where it has passed.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// When a sink stops working on the batch, so that its report arrives before the deadline: so much earlier, but no
    /// more than a twentieth of the time that is left.
    pub fn end_of_work(&self, margin: Duration) -> Instant {
        self.deadline.checked_sub(margin.min(self.time_left() / 20)).unwrap_or(self.deadline)
    }
}
