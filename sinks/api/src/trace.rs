//! What a delivery's target is told of the trace that its event belongs to, so that the target's spans join it. Plain
//! data.
//!
//! Source: W3C Trace Context (<https://www.w3.org/TR/trace-context/>), which names the two headers of a request;
//! OpenTelemetry's propagators put the same two on Kafka's messages.

use std::sync::Arc;

/// Name of the header with trace, parent and flags.
pub const TRACEPARENT: &str = "traceparent";
/// Name of the header with what others have added to the trace.
pub const TRACESTATE: &str = "tracestate";

/// The values of the two headers. Sinks that have no place for headers ignore them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeaders {
    /// `traceparent`: version, trace, the delivery's span, flags; 55 bytes.
    pub parent: String,
    /// `tracestate` as the webhook had it, where it had one: at most 512 bytes.
    pub state: Option<Arc<str>>,
}

impl TraceHeaders {
    /// Names and values.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let state = self.state.as_deref().map(|state| (TRACESTATE, state));
        std::iter::once((TRACEPARENT, self.parent.as_str())).chain(state)
    }
}
