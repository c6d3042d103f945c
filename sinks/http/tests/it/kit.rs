//! Configs, sinks and deliveries in one line.

use std::path::Path;
use std::time::{Duration, Instant};

use sink_api::{Batch, BuildError, Outcome, Sink, SinkConfig};
use sink_testkit::{EventBuilder, batch, context, read_table};

/// 24 bytes: the shortest key the Standard Webhooks specification takes.
pub const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The config of a table without faults.
pub fn config(table: &str) -> Box<dyn SinkConfig> {
    read_table(&sink_http::KIND, table).unwrap()
}

pub async fn build_in(config: &dyn SinkConfig, dir: &Path) -> Result<Box<dyn Sink>, BuildError> {
    config.build(&context("crm", dir)).await
}

/// A sink and the config it is built from.
pub struct Open {
    pub config: Box<dyn SinkConfig>,
    pub sink: Box<dyn Sink>,
}

pub async fn open(table: &str) -> Open {
    let config = config(table);
    let dir = tempfile::tempdir().unwrap();
    let sink = build_in(config.as_ref(), dir.path()).await.unwrap();
    Open { config, sink }
}

impl Open {
    /// A batch of these events, with a deadline no test comes near.
    pub fn batch(&self, events: impl IntoIterator<Item = EventBuilder>) -> Batch {
        batch(events.into_iter().map(|e| e.delivery_for(self.config.as_ref()).unwrap()))
    }

    /// Delivers these events, and says what became of each.
    pub async fn deliver(&self, events: impl IntoIterator<Item = EventBuilder>) -> Vec<Option<Outcome>> {
        self.sink.deliver(&self.batch(events)).await.into_slots()
    }

    /// Delivers one event.
    pub async fn one(&self, event: EventBuilder) -> Outcome {
        self.deliver([event]).await.remove(0).expect("an outcome")
    }

    /// Delivers these events within so much time.
    pub async fn within(&self, time: Duration, events: impl IntoIterator<Item = EventBuilder>) -> Vec<Option<Outcome>> {
        let batch = Batch { deadline: Instant::now() + time, ..self.batch(events) };
        self.sink.deliver(&batch).await.into_slots()
    }
}

/// The code of a Retry; anything else is a failed test.
pub fn retry(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Retry { why, .. } => why.code,
        other => panic!("expected Retry, got {other:?}"),
    }
}

/// The wait a Retry asks for.
pub fn after(outcome: &Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Retry { after, .. } => *after,
        other => panic!("expected Retry, got {other:?}"),
    }
}
