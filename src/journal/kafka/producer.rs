//! One librdkafka producer after the other: how one is set up, who listens to it, and what follows when it fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};

use super::cluster::Cluster;
use super::message::{self, MAX_MESSAGE};
use super::producing::Shared;
use super::sizes;
use crate::journal::view::lock;
use crate::journal::{AppendError, Progress, Record};

/// Longest one poll of librdkafka, and so how exactly a second is kept.
const POLL: Duration = Duration::from_millis(100);
/// Pauses before the next producer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Room that librdkafka's queue has beyond ours, which is the one that bounds: kilobytes.
const ROOM: u64 = 64 << 10;

/// A producer of events.
pub type Producer = BaseProducer<Listener>;

/// The whole configuration of a producer of events.
pub fn config(cluster: &Cluster, overflow_max: u64) -> ClientConfig {
    let mut config = cluster.client("events");
    let kilobytes = ((overflow_max >> 10).saturating_mul(2).saturating_add(ROOM)).min(i32::MAX as u64);
    let set = [
        ("acks", "all".to_owned()),
        ("enable.idempotence", "true".into()),
        ("enable.gapless.guarantee", "true".into()),
        ("message.timeout.ms", "0".into()),
        ("linger.ms", "1".into()),
        // Part of librdkafka itself: every build has it.
        ("compression.type", "lz4".into()),
        ("message.max.bytes", MAX_MESSAGE.to_string()),
        ("queue.buffering.max.messages", "0".into()),
        ("queue.buffering.max.kbytes", kilobytes.to_string()),
        ("statistics.interval.ms", sizes::INTERVAL.into()),
    ];
    set.into_iter().for_each(|(name, value)| _ = config.set(name, value));
    config
}

/// Polls one producer after the other, until it is over. There is none before the topics are known to be as they must.
pub fn run(shared: &Arc<Shared>) {
    let mut producer: Option<Arc<Producer>> = None;
    let mut pause = PAUSES.0;
    while !shared.is_over.load(Ordering::Acquire) {
        if let Some(producer) = producer.take() {
            while !shared.is_over.load(Ordering::Acquire) && lock(&shared.state).broken.is_none() {
                producer.poll(POLL);
                if shared.look_around() {
                    pause = PAUSES.0;
                }
            }
            shared.give_up(producer);
            continue;
        }
        std::thread::sleep(pause);
        shared.look_around();
        if !shared.may_send.load(Ordering::Acquire) {
            continue;
        }
        pause = (pause * 2).min(PAUSES.1);
        match shared.start() {
            Ok(next) => producer = Some(next),
            Err(error) => tracing::error!(%error, "no producer of events can be made"),
        }
    }
    *lock(&shared.turn) = None;
}

/// Takes what librdkafka reports, on the thread that polls.
pub struct Listener(Arc<Shared>);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // What matters comes back by other ways; the rest repeats itself while a broker is away.
        tracing::debug!(?level, facility, text, "librdkafka");
    }

    fn stats_raw(&self, json: &[u8]) {
        self.0.sizes.note(json, &self.0.topic);
    }

    fn error(&self, error: KafkaError, said: &str) {
        let code = error.rdkafka_error_code();
        tracing::debug!(?code, said, "librdkafka");
        said.clone_into(&mut lock(&self.0.trouble));
        if code == Some(Code::Fatal) {
            lock(&self.0.state).broken.get_or_insert(said.to_owned());
        }
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, n: usize) {
        let shard = |partition| u32::try_from(partition).unwrap_or_default();
        match result {
            Ok(message) => self.0.arrived(shard(message.partition()), n as u64, message.offset()),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                self.0.failed(shard(message.partition()), n as u64, code);
            }
        }
    }
}

impl Shared {
    /// Begins with a producer, which is sent again what was not reported.
    pub fn start(self: &Arc<Self>) -> Result<Arc<Producer>, KafkaError> {
        let producer: Arc<Producer> = Arc::new(self.config.create_with_context(Listener(Arc::clone(self)))?);
        let mut turn = lock(&self.turn);
        let mut state = lock(&self.state);
        let mut again = state.flights.iter();
        let failed = again.find_map(|(shard, n, flight)| self.send(&producer, shard, n, &flight.record).err());
        drop(again);
        state.broken = failed.map(|error| error.to_string());
        *turn = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// Ends with a producer; who wants its events back gets them.
    fn give_up(&self, producer: Arc<Producer>) {
        *lock(&self.turn) = None;
        // Reports of what has arrived meanwhile still come in here.
        drop(producer);
        let mut state = lock(&self.state);
        let Some(why) = state.broken.clone() else { return };
        let given = state.flights.give_back();
        drop(state);
        tracing::error!(why, "the producer of events has failed; the next one sends again what was not acknowledged");
        given.iter().for_each(|flight| flight.end(Progress::Failed(AppendError::Unwritable(why.clone()))));
    }

    /// Queues one event. Called within a turn.
    pub fn send(&self, producer: &Producer, shard: u32, n: u64, record: &Record) -> Result<(), KafkaError> {
        let key = message::key_of(record);
        let message = BaseRecord::with_opaque_to(&self.topic, n as usize)
            .partition(shard as i32)
            .key(&*key)
            .payload(&*record.payload)
            .headers(message::headers_of(record));
        producer.send(message).map_err(|(error, _)| error)
    }
}
