//! What a span says. Attributes are named as OpenTelemetry's semantic conventions have them (HTTP, messaging,
//! CloudEvents), our own begin with `hookrelay.`. No body, no subject, no query, no client's address, no secret: a
//! failure is named by its code alone.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/>, 1.37.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Event as SpanEvent, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sink_api::{Event, Messaging, Target};

use super::context::EventTrace;

/// What makes the spans.
static SCOPE: LazyLock<InstrumentationScope> =
    LazyLock::new(|| InstrumentationScope::builder("hookrelay").with_version(env!("CARGO_PKG_VERSION")).build());

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// When that was known.
    pub time: SystemTime,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Why, as one word.
    pub code: &'static str,
}

/// How a delivery ended, or the last of its attempts so far.
#[derive(Debug)]
pub struct Ended<'d> {
    /// The sink's name.
    pub sink: &'d str,
    /// What its messages are, where it sends messages.
    pub messaging: Option<Messaging>,
    /// Where to, inside the sink.
    pub target: &'d Target,
    /// The delivery's id.
    pub id: &'d str,
    /// First try and end.
    pub times: [SystemTime; 2],
    /// Attempts, the last included.
    pub attempts: u32,
    /// Those that failed, as far as they are remembered.
    pub failures: &'d [Failure],
    /// Why it was given up; `None` where it arrived.
    pub dead: Option<&'static str>,
}

/// The span from a request's head to its answer; `status` is that of the answer, `None` where nobody waited for it.
pub(super) fn accepted(trace: &EventTrace, event: &Told, status: Option<u16>, times: [SystemTime; 2]) -> SpanData {
    let mut attributes = event.attributes();
    attributes.push(KeyValue::new("http.request.method", Arc::clone(&event.method)));
    attributes.push(KeyValue::new("http.route", Arc::clone(&event.path)));
    attributes.push(KeyValue::new("url.path", Arc::clone(&event.path)));
    let failed = match status {
        Some(status) => {
            attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
            (status >= 500).then(|| status.to_string())
        }
        None => Some("no_answer".to_owned()),
    };
    let name = format!("{} {}", event.method, event.path);
    let status = ended(failed.as_deref(), &mut attributes);
    let events = SpanEvents::default();
    let parent = trace.sender.unwrap_or(SpanId::INVALID);
    let own = Own { span: trace.accept(), parent, is_remote: true, kind: SpanKind::Server, name, times };
    span(trace, own, attributes, events, status)
}

/// The span of a delivery, from its first try to its end.
pub(super) fn delivered(trace: &EventTrace, own: SpanId, event: &Told, ended_as: &Ended<'_>) -> SpanData {
    let Ended { sink, messaging, target, id, times, attempts, failures, dead } = *ended_as;
    let mut attributes = event.attributes();
    let mut add = |name: &'static str, value: Value| attributes.push(KeyValue::new(name, value));
    add("hookrelay.sink", sink.to_owned().into());
    add("hookrelay.delivery_id", id.to_owned().into());
    add("hookrelay.attempts", i64::from(attempts).into());
    let (kind, name) = match messaging {
        Some(Messaging { system, destination }) => {
            let to = target.get(destination).unwrap_or_default();
            add("messaging.system", system.into());
            add("messaging.operation.type", "send".into());
            add("messaging.operation.name", "send".into());
            add("messaging.destination.name", to.to_owned().into());
            add("messaging.message.id", id.to_owned().into());
            (SpanKind::Producer, format!("send {to}"))
        }
        None => (SpanKind::Client, format!("deliver {sink}")),
    };
    let status = ended(dead, &mut attributes);
    let failed = attempts.saturating_sub(u32::from(dead.is_none()));
    let own = Own { span: own, parent: trace.accept(), is_remote: false, kind, name, times };
    span(trace, own, attributes, events(failures, failed), status)
}

/// Failed attempts as events of a span, `failed` of them in all.
fn events(failures: &[Failure], failed: u32) -> SpanEvents {
    let event = |failure: &Failure| {
        let attempt = KeyValue::new("hookrelay.attempt", i64::from(failure.attempt));
        SpanEvent::new("attempt failed", failure.time, vec![attempt, KeyValue::new("error.type", failure.code)], 0)
    };
    let mut events = SpanEvents::default();
    events.events = failures.iter().map(event).collect();
    events.dropped_count = failed.saturating_sub(u32::try_from(failures.len()).unwrap_or(u32::MAX));
    events
}

/// The status of a span that failed for this reason, or did not.
fn ended(failed: Option<&str>, attributes: &mut Vec<KeyValue>) -> Status {
    match failed {
        Some(why) => {
            attributes.push(KeyValue::new("error.type", why.to_owned()));
            Status::error(why.to_owned())
        }
        None => Status::Unset,
    }
}

struct Own {
    span: SpanId,
    parent: SpanId,
    is_remote: bool,
    kind: SpanKind,
    name: String,
    times: [SystemTime; 2],
}

fn span(trace: &EventTrace, own: Own, attributes: Vec<KeyValue>, events: SpanEvents, status: Status) -> SpanData {
    // What is no list of members is passed on as it came, and shown to nobody.
    let state: TraceState = trace.state.as_deref().and_then(|state| state.parse().ok()).unwrap_or_default();
    let [start_time, end_time] = own.times;
    SpanData {
        span_context: SpanContext::new(trace.trace, own.span, TraceFlags::SAMPLED, false, state),
        parent_span_id: own.parent,
        parent_span_is_remote: own.is_remote && own.parent != SpanId::INVALID,
        span_kind: own.kind,
        name: own.name.into(),
        start_time,
        // Clocks are set back.
        end_time: end_time.max(start_time),
        attributes,
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status,
        instrumentation_scope: SCOPE.clone(),
    }
}

/// What spans say of an event.
#[derive(Clone, Debug)]
pub(super) struct Told {
    id: sink_api::Uuid,
    source: Arc<str>,
    kind: Arc<str>,
    method: Arc<str>,
    path: Arc<str>,
}

impl Told {
    pub fn of(event: &Event) -> Self {
        let (source, kind) = (Arc::clone(&event.source), Arc::clone(&event.kind));
        Self { id: event.id, source, kind, method: Arc::clone(&event.method), path: Arc::clone(&event.path) }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let mut all = Vec::with_capacity(14);
        all.push(KeyValue::new("cloudevents.event_id", self.id.to_string()));
        all.push(KeyValue::new("cloudevents.event_source", Arc::clone(&self.path)));
        all.push(KeyValue::new("cloudevents.event_type", Arc::clone(&self.kind)));
        all.push(KeyValue::new("hookrelay.source", Arc::clone(&self.source)));
        all
    }
}

/// A time in microseconds since 1970.
pub(super) fn time_of(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
