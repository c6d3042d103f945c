//! Which trace an event belongs to, and which spans it has. Pure.
//!
//! Nothing is remembered for that: the trace is the one that the webhook's `traceparent` names, which is kept with the
//! event, or the event's id; the spans' ids are hashes. So a restart, a retry and a second process come to the same.
//!
//! Source: W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context-1/>), §3.2 and §3.3.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::trace::{SpanId, TraceId};
use sha2::{Digest as _, Sha256};
use sink_api::Event;
use sink_api::trace::{TRACEPARENT, TRACESTATE, TraceHeaders};

/// Bytes of a `traceparent` of version 00, and of what later versions begin with.
const LENGTH: usize = 55;
/// Most bytes of a `tracestate` that are passed on: what §3.3.1.5 asks everybody to pass.
const MOST_STATE: usize = 512;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub trace: TraceId,
    pub span: SpanId,
    pub is_sampled: bool,
}

impl Parent {
    /// Reads a header; `None` where it is not valid (§3.2.2). Of a later version the parts of version 00 are read.
    pub fn read(text: &str) -> Option<Self> {
        let (head, tail) = text.split_at_checked(LENGTH)?;
        let mut parts = head.split('-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length && is_lower_hex(part));
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_known = version != "ff" && (tail.is_empty() || (version != "00" && tail.starts_with('-')));
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let is_valid = is_known && trace != TraceId::INVALID && span != SpanId::INVALID;
        is_valid.then_some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

/// As a header of version 00. Of the flags only `sampled` is passed on (§3.2.2.5).
impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Keeps what a request says of its trace among the event's headers, as far as it is valid and not kept already.
pub(super) fn keep(event: &mut Event, headers: &HeaderMap) {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // With several of them nobody can tell which is meant.
    let (Some(parent), None) = (parents.next(), parents.next()) else { return };
    let Some(parent) = parent.to_str().ok().and_then(Parent::read) else { return };
    if event.header(TRACEPARENT).is_none() {
        event.headers.push((TRACEPARENT.into(), parent.to_string().into()));
    }
    let state = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>();
    if let Some(state) = state.map(|all| bounded(&all.join(","))).filter(|state| !state.is_empty())
        && event.header(TRACESTATE).is_none()
    {
        event.headers.push((TRACESTATE.into(), state.into()));
    }
}

/// A `tracestate`, without as many of its last members as make it too long (§3.3.1.5).
fn bounded(state: &str) -> String {
    let mut state = state.trim();
    while state.len() > MOST_STATE {
        state = state.rsplit_once(',').map_or("", |(rest, _)| rest.trim_end());
    }
    state.to_owned()
}

/// An event's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventTrace {
    pub trace: TraceId,
    /// The span in which the webhook was sent, where its sender said.
    pub sender: Option<SpanId>,
    /// Whether spans of it are recorded.
    pub is_sampled: bool,
    /// What others have added to the trace.
    pub state: Option<Arc<str>>,
    event: [u8; 16],
}

impl EventTrace {
    /// The trace of an event. Of the traces that begin here this share is recorded; of others, those that their sender
    /// records.
    pub fn of(event: &Event, sample: f64) -> Self {
        let own = *event.id.as_bytes();
        match event.header(TRACEPARENT).and_then(Parent::read) {
            Some(Parent { trace, span, is_sampled }) => {
                let state = event.headers.iter().find(|(name, _)| **name == *TRACESTATE);
                let state = state.map(|(_, state)| Arc::clone(state)).filter(|state| state.len() <= MOST_STATE);
                Self { trace, sender: Some(span), is_sampled, state, event: own }
            }
            None => {
                let trace = TraceId::from_bytes(own);
                Self { trace, sender: None, is_sampled: is_sampled(own, sample), state: None, event: own }
            }
        }
    }

    /// The span in which the event was accepted.
    pub fn accept(&self) -> SpanId {
        id_of(&[b"accept", &self.event])
    }

    /// The span of a delivery. One that begins anew, because somebody asked for it, has another first try, or attempts
    /// that no longer count.
    pub fn delivery(&self, sink: &str, id: &str, first: i64, forgiven: u32) -> SpanId {
        let rest = [first.to_le_bytes().as_slice(), forgiven.to_le_bytes().as_slice()].concat();
        id_of(&[b"deliver", &self.event, sink.as_bytes(), &[0], id.as_bytes(), &[0], &rest])
    }

    /// What the target of a delivery is told, whose span this is.
    pub fn headers(&self, span: SpanId) -> TraceHeaders {
        let parent = Parent { trace: self.trace, span, is_sampled: self.is_sampled };
        TraceHeaders { parent: parent.to_string(), state: self.state.clone() }
    }
}

/// Whether a trace that begins here is recorded. The last four bytes of a UUIDv7 are random; those before them count up
/// within a millisecond (RFC 9562, §6.2), and would decide alike for a whole burst.
fn is_sampled(trace: [u8; 16], sample: f64) -> bool {
    let [.., a, b, c, d] = trace;
    f64::from(u32::from_be_bytes([a, b, c, d])) < sample * 4_294_967_296.0
}

/// A span's id: the first bytes of a hash, never all zero.
fn id_of(parts: &[&[u8]]) -> SpanId {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let mut id = [0; 8];
    id.iter_mut().zip(hash.finalize()).for_each(|(own, byte)| *own = byte);
    if id == [0; 8] { SpanId::from_bytes([1; 8]) } else { SpanId::from_bytes(id) }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
