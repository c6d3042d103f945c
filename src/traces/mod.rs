//! Traces for OpenTelemetry: one an event, from its webhook's head to the end of each of its deliveries.
//!
//! `config` is `[tracing]`; `context` says which trace and which spans an event has, `span` what they say, and
//! `exporter` sends them. Where no collector is named all of it is off, and costs a look at a flag.
//!
//! Whoever has a span to tell never waits and never fails: what the queue or the collector has no room for is left out,
//! and counted. Knows events as plain data, and neither HTTP servers nor sinks.

mod config;
mod context;
mod exporter;
mod span;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry_sdk::trace::SpanData;
use sink_api::Event;
use sink_api::trace::TraceHeaders;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use config::TracingConfig;
pub use span::{Ended, Failure};

use context::EventTrace;
use span::Told;

/// Most spans that wait to be sent: some megabytes.
const QUEUE: usize = 4096;
/// How long a stop waits for the collector to take what is left, while webhooks are still taken.
const FLUSH: Duration = Duration::from_secs(2);
/// And when nobody is let in any more, until the next daemon listens.
const LAST: Duration = Duration::from_millis(100);

/// Spans that were left out since the process began.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// How many spans were left out since the process began, because the collector did not take them.
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

fn leave_out(spans: usize) {
    LEFT_OUT.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Whether traces are made, and what makes them. Off until a config that names a collector is put in force.
#[derive(Debug, Default)]
pub struct Traces {
    is_on: AtomicBool,
    state: RwLock<State>,
    sending: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct State {
    config: TracingConfig,
    tracer: Option<Arc<Tracer>>,
}

impl Traces {
    /// What makes spans, where they are on.
    pub fn tracer(&self) -> Option<Arc<Tracer>> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        self.state.read().unwrap_or_else(PoisonError::into_inner).tracer.clone()
    }

    /// From now on this is the config. Spans that were told before go where they were to go. Must be called on a
    /// runtime, which sends the spans.
    pub fn put_in_force(&self, config: &TracingConfig) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.config == *config && state.tracer.is_some() == config.otlp.is_some() {
            return;
        }
        self.begin(&mut state, config);
    }

    /// Makes spans by this config from now on, and lets go of the queue of those before.
    fn begin(&self, state: &mut State, config: &TracingConfig) {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of earlier configs that are done.
        while sending.try_join_next().is_some() {}
        let tracer = config.endpoint().map(|endpoint| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            sending.spawn(exporter::run(endpoint, waiting));
            Arc::new(Tracer { sample: config.sample, queue })
        });
        self.is_on.store(tracer.is_some(), Ordering::Relaxed);
        *state = State { config: config.clone(), tracer };
    }

    /// Sends what waits, as far as the collector takes it within two seconds; further spans are made meanwhile. For the
    /// part of a stop in which webhooks are still taken, so that a slow collector keeps nobody out.
    pub async fn flush(&self) {
        let sending = self.take_sending();
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let config = state.config.clone();
            self.begin(&mut state, &config);
        }
        wait_for(sending, FLUSH).await;
    }

    /// No more spans are made; those since [`Self::flush`] are sent, as far as the collector takes them at once.
    pub async fn stop(&self) {
        self.put_in_force(&TracingConfig::default());
        wait_for(self.take_sending(), LAST).await;
    }

    fn take_sending(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.sending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn wait_for(mut sending: JoinSet<()>, most: Duration) {
    let done = async { while sending.join_next().await.is_some() {} };
    if tokio::time::timeout(most, done).await.is_err() {
        tracing::warn!("the collector does not take the last spans in time, and they are left out");
    }
}

/// Makes spans and sends them on their way.
#[derive(Debug)]
pub struct Tracer {
    sample: f64,
    queue: mpsc::Sender<SpanData>,
}

impl Tracer {
    /// A webhook became this event: what its headers say of a trace is kept with it. Gives what is to be told when it
    /// is answered; nothing, where its trace is not recorded.
    pub fn accepting(self: Arc<Self>, event: &mut Event, headers: &HeaderMap) -> Option<Box<Accepting>> {
        context::keep(event, headers);
        let trace = EventTrace::of(event, self.sample);
        trace.is_sampled.then(|| Box::new(Accepting { event: Told::of(event), trace, tracer: self }))
    }

    /// What the target of a delivery of this event is told; nothing of the daemon's own events, which no request
    /// brought. `first` is the first try, in microseconds since 1970; `forgiven` how many attempts no longer count.
    pub fn headers(&self, event: &Event, sink: &str, id: &str, first: i64, forgiven: u32) -> Option<TraceHeaders> {
        let trace = self.trace(event)?;
        Some(trace.headers(trace.delivery(sink, id, first, forgiven)))
    }

    /// Whether spans of this event are recorded.
    pub fn records(&self, event: &Event) -> bool {
        self.trace(event).is_some_and(|trace| trace.is_sampled)
    }

    /// A delivery of this event has ended. First try and forgiven attempts are those of [`headers`](Self::headers).
    pub fn delivered(&self, event: &Event, ended: &Ended<'_>, first: i64, forgiven: u32) {
        if let Some(trace) = self.trace(event).filter(|trace| trace.is_sampled) {
            let own = trace.delivery(ended.sink, ended.id, first, forgiven);
            self.send(span::delivered(&trace, own, &Told::of(event), ended));
        }
    }

    fn trace(&self, event: &Event) -> Option<EventTrace> {
        (!event.method.is_empty()).then(|| EventTrace::of(event, self.sample))
    }

    fn send(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            leave_out(1);
        }
    }
}

/// A time in microseconds since 1970, as spans have it.
pub fn time_of(micros: i64) -> SystemTime {
    span::time_of(micros)
}

/// A webhook that became an event and is yet to be answered.
#[derive(Debug)]
pub struct Accepting {
    tracer: Arc<Tracer>,
    trace: EventTrace,
    event: Told,
}

impl Accepting {
    /// It is answered with this status, so long after its head was complete; `None`: nobody waited for the answer.
    pub fn answered(self, status: Option<u16>, took: Duration) {
        let end = SystemTime::now();
        let times = [end.checked_sub(took).unwrap_or(end), end];
        self.tracer.send(span::accepted(&self.trace, &self.event, status, times));
    }
}

#[cfg(test)]
mod tests;
