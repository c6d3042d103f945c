//! Configs, sinks and deliveries in one line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use sink_api::{Batch, Outcome, Sink, SinkConfig};
use sink_testkit::{EventBuilder, batch, context, event, read_table, verdicts};

/// The config of a table without faults.
pub fn config(table: &str) -> Box<dyn SinkConfig> {
    read_table(&sink_kafka::KIND, table).unwrap()
}

/// A sink and the config it is built from.
#[derive(Clone)]
pub struct Open {
    pub config: Arc<dyn SinkConfig>,
    pub sink: Arc<Box<dyn Sink>>,
    in_vain: Arc<AtomicUsize>,
}

/// A sink for these brokers and this topic, with further lines.
pub async fn open(brokers: &str, topic: &str, more: &str) -> Open {
    open_table(&format!("brokers = \"{brokers}\"\ntopic = \"{topic}\"\n{more}")).await
}

pub async fn open_table(table: &str) -> Open {
    let config: Arc<dyn SinkConfig> = config(table).into();
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(config.build(&context("pipeline", dir.path())).await.unwrap());
    Open { config, sink, in_vain: Arc::default() }
}

/// librdkafka's mock cluster of one broker, with the topic `t` of one partition.
pub fn mock() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    cluster
}

/// Events, each with a key of its own.
pub fn events(n: usize) -> Vec<EventBuilder> {
    (0..n).map(|i| event("message_api_sent").subject(&format!("m-{i}"))).collect()
}

impl Open {
    /// A batch of these events, with so much time.
    pub fn batch(&self, time: Duration, events: impl IntoIterator<Item = EventBuilder>) -> Batch {
        let batch = batch(events.into_iter().map(|e| e.delivery_for(self.config.as_ref()).unwrap()));
        Batch { deadline: Instant::now() + time, ..batch }
    }

    /// Delivers these events with plenty of time, and says what became of each.
    pub async fn verdicts(&self, events: impl IntoIterator<Item = EventBuilder>) -> Vec<String> {
        self.within(Duration::from_secs(30), events).await
    }

    /// Delivers these events within so much time.
    pub async fn within(&self, time: Duration, events: impl IntoIterator<Item = EventBuilder>) -> Vec<String> {
        self.sent(&self.batch(time, events)).await
    }

    pub async fn sent(&self, batch: &Batch) -> Vec<String> {
        verdicts(&**self.sink, batch).await
    }

    /// How many calls of [`Self::insist`] came back with nothing delivered.
    pub fn in_vain(&self) -> usize {
        self.in_vain.load(Ordering::Relaxed)
    }

    /// Delivers a batch until all of it has arrived, as the core would: what has not is handed out again, in order.
    pub async fn insist(&self, batch: Batch, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut left = batch.deliveries;
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "{} of a batch are still not delivered", left.len());
            let again =
                Batch { deliveries: left.clone(), deadline: Instant::now() + Duration::from_secs(5), ordered: true };
            let slots = self.sink.deliver(&again).await.into_slots();
            let rejected = slots.iter().find(|slot| matches!(slot, Some(Outcome::Reject { .. })));
            assert!(rejected.is_none(), "{rejected:?}");
            let is_there = |slot: &Option<Outcome>| *slot == Some(Outcome::Delivered);
            self.in_vain.fetch_add(usize::from(!slots.iter().any(is_there)), Ordering::Relaxed);
            let still = left.iter().zip(&slots).filter(|(_, slot)| !is_there(slot));
            left = still.map(|(delivery, _)| Arc::clone(delivery)).collect();
            tokio::time::sleep(Duration::from_millis(20)).await; // the core would wait longer
        }
    }
}
