//! `kafka`: librdkafka as it comes, with an idempotent producer. As many messages are under way as the sink has in its
//! batches; key, value and headers are those of the sink.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use sink_testkit::kafka::Cluster;
use tokio::runtime::Builder;

use super::{Row, Sample};
use crate::recipe::sink;

/// Messages of a batch and batches under way, as the sink's kind has it.
const BATCH: u64 = 1000;
const CONCURRENCY: u64 = 4;
/// Of each topic.
const PARTITIONS: i32 = 4;
/// Longest time that a broker's answer is waited for, and that no message may be acknowledged.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct KafkaRow {
    brokers: String,
    topic: String,
    /// Whether all events have one key.
    is_hot: bool,
    reader: BaseConsumer,
}

impl KafkaRow {
    pub fn new(cluster: &Cluster, round: u32, is_hot: bool) -> Result<Self, Box<dyn Error>> {
        let keys = if is_hot { "one" } else { "many" };
        let topic = format!("bench-{}-{round}-{keys}", std::process::id());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            cluster.create(&topic, PARTITIONS, &[]).await;
            cluster.create(&by_hand(&topic), PARTITIONS, &[]).await;
        });
        let brokers = cluster.brokers().to_owned();
        let reader = ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", "bench").create()?;
        Ok(Self { brokers, topic, is_hot, reader })
    }

    fn messages(&self, topic: &str) -> Result<u64, Box<dyn Error>> {
        let mut messages = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = self.reader.fetch_watermarks(topic, partition, PATIENCE)?;
            messages += (high - low).unsigned_abs();
        }
        Ok(messages)
    }
}

fn by_hand(topic: &str) -> String {
    format!("{topic}-by-hand")
}

impl Row for KafkaRow {
    fn name(&self) -> &'static str {
        if self.is_hot { "kafka_one_key" } else { "kafka" }
    }

    fn tables(&self) -> String {
        // The type is the same for all events.
        let key = if self.is_hot { "key = \"{type}\"\n" } else { "" };
        let table = format!("kind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{}\"\n{key}", self.brokers, self.topic);
        sink(self.name(), &table, "")
    }

    fn arrived(&mut self, _: u64) -> Result<u64, Box<dyn Error>> {
        self.messages(&self.topic)
    }

    fn by_hand(&mut self, samples: &[Sample], events: u64) -> Result<Duration, Box<dyn Error>> {
        let topic = by_hand(&self.topic);
        let heard = Heard::default();
        let producer: BaseProducer<Heard> = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("partitioner", "murmur2_random")
            .create_with_context(heard.clone())?;
        let headers = headers();
        let begun = Instant::now();
        let (mut sent, mut samples, mut last) = (0, samples.iter().cycle(), (0, begun));
        while heard.acknowledged() < events {
            while sent < events && sent - heard.acknowledged() <= (CONCURRENCY - 1) * BATCH {
                let batch = BATCH.min(events - sent);
                for sample in samples.by_ref().take(batch as usize) {
                    let key = if self.is_hot { "message_api_delivered" } else { sample.key.as_str() };
                    let record = BaseRecord::to(&topic).key(key).payload(&sample.body).headers(headers.clone());
                    producer.send(record).map_err(|(error, _)| error)?;
                }
                sent += batch;
                producer.poll(Duration::ZERO);
            }
            producer.poll(Duration::from_millis(1));
            if heard.failed.load(Ordering::Relaxed) > 0 {
                return Err("a message was not acknowledged".into());
            }
            if heard.acknowledged() > last.0 {
                last = (heard.acknowledged(), Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Err("no message is acknowledged any more".into());
            }
        }
        let took = begun.elapsed();
        producer.flush(PATIENCE)?;
        let there = self.messages(&topic)?;
        if there == events { Ok(took) } else { Err(format!("{there} messages by hand, not {events}").into()) }
    }
}

/// What became of the messages.
#[derive(Clone, Default)]
struct Heard {
    acknowledged: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Heard {
    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

impl ClientContext for Heard {}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let heard = if result.is_ok() { &self.acknowledged } else { &self.failed };
        heard.fetch_add(1, Ordering::Relaxed);
    }
}

/// As many headers as the sink writes, of the same size.
fn headers() -> OwnedHeaders {
    let all = [
        ("ce_specversion", "1.0"),
        ("ce_id", "0197f0a0-0000-7000-8000-000000000000"),
        ("ce_source", "/webhooks/interakt"),
        ("ce_type", "message_api_delivered"),
        ("ce_subject", "5f2f6c1e-8c39-4d57-9a44-000000000000"),
        ("ce_time", "2026-01-13T23:05:00.123456Z"),
        ("content-type", "application/json"),
    ];
    let empty = OwnedHeaders::new_with_capacity(all.len());
    all.into_iter().fold(empty, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}
