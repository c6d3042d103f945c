//! Configs, sinks and deliveries in one line.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Batch, BuildError, Delivery, Outcome, Reason, Sink, SinkConfig, SinkContext};
use sink_testkit::{EventBuilder, MARKER, MemoryOutbox, batch, context, event, read_table};

/// A key as the dashboard shows one.
pub const KEY: &str = "c2VjcmV0LWtleTotdGhhdC1ub2JvZHktc2Vlcw==";

/// The config of a table without faults.
pub fn config(table: &str) -> Box<dyn SinkConfig> {
    read_table(&sink_interakt::KIND, table).unwrap()
}

/// Builds a sink with this outbox.
pub async fn build_in(
    config: &dyn SinkConfig,
    dir: &Path,
    outbox: &Arc<MemoryOutbox>,
) -> Result<Box<dyn Sink>, BuildError> {
    let outbox = Arc::clone(outbox) as Arc<_>;
    config.build(&SinkContext { outbox, ..context("whatsapp", dir) }).await
}

/// A sink, the config it is built from, and the outbox that it asks.
pub struct Open {
    pub config: Box<dyn SinkConfig>,
    pub sink: Box<dyn Sink>,
    pub outbox: Arc<MemoryOutbox>,
}

/// A sink of this API, with further lines in its table.
pub async fn open(url: &str, more: &str) -> Open {
    let config = config(&format!("url = \"{url}\"\napi_key = \"{KEY}\"\n{more}"));
    let (dir, outbox) = (tempfile::tempdir().unwrap(), Arc::default());
    let sink = build_in(config.as_ref(), dir.path(), &outbox).await.unwrap();
    Open { config, sink, outbox }
}

impl Open {
    /// A delivery of this event.
    pub fn delivery(&self, event: EventBuilder) -> Delivery {
        event.delivery_for(self.config.as_ref()).unwrap()
    }

    /// What becomes of a delivery; within so much time, where that is given.
    pub async fn deliver(&self, delivery: &Delivery, time: Option<Duration>) -> Outcome {
        let batch = batch([delivery.clone()]);
        let deadline = time.map_or(batch.deadline, |time| Instant::now() + time);
        self.sink.deliver(&Batch { deadline, ..batch }).await.into_slots().remove(0).expect("an outcome")
    }

    /// What becomes of a delivery of this event.
    pub async fn one(&self, event: EventBuilder) -> Outcome {
        self.deliver(&self.delivery(event), None).await
    }
}

/// The body of a call, whose phone, variable and own text are known; [`MARKER`] stands in it.
pub fn body(template: &str, own: &str) -> String {
    let template = format!(r#"{{"name":"{template}","languageCode":"en","bodyValues":["{MARKER}"]}}"#);
    let phone = r#""fullPhoneNumber":"+919876543210","type":"Template""#;
    format!(r#"{{{phone},"callbackData":"{own}","template":{template}}}"#)
}

/// An event whose payload is a message.
pub fn message() -> EventBuilder {
    event("message_received").json(body("then_nothing", "own text"))
}

/// The reason of a Retry; anything else is a failed test.
pub fn retry(outcome: &Outcome) -> &Reason {
    match outcome {
        Outcome::Retry { why, .. } => why,
        other => panic!("expected Retry, got {other:?}"),
    }
}
