//! Events on their way to the brokers: one idempotent producer for the process, which keeps the order of each
//! partition.
//!
//! # What becomes of an event
//! It stays in [`Flights`] until a broker has reported it durable (on all in-sync replicas). librdkafka gives none up
//! by itself: it sends again for as long as it takes, in order. Where no report comes within a second ([`LATE`]) the
//! shard is late:
//! - An event that is to be kept is told `AtRisk`, as soon as its copy is flushed in the local overflow, or cannot be.
//! - An event that is to be given back is refused from then on. One that was sent already cannot be called back: it is
//!   told once it is durable.
//!
//! # When the producer ends
//! Where librdkafka reports a failure of its own (a fatal error, a topic that is gone, a right that was taken) nobody
//! knows what of the partition's queue arrived. Nothing behind it is sent (`enable.gapless.guarantee`): the producer is
//! given up, and after a pause the next one sends again all that was not reported, in order. So an event may stand in
//! Kafka twice, never behind one that came after it.
//!
//! # Locks
//! `turn` is held while events are handed over, so that each queue behind it has the same order; `state` for moments,
//! and never while somebody is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};

use super::cluster::Cluster;
use super::flights::{Flight, Flights, Report, ToCopy};
use super::known::KnownEnds;
use super::message::{self, MAX_BYTES, MAX_MESSAGE};
use crate::journal::view::lock;
use crate::journal::{Append, AppendError, JournalError, OnFailure, Position, Progress, Record};

/// Longest one poll of librdkafka, and so how exactly a second is kept.
const POLL: Duration = Duration::from_millis(100);
/// Pauses before the next producer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Longest that closing waits for reports.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Room that librdkafka's queue has beyond ours, which is the one that bounds: kilobytes.
const ROOM: u64 = 64 << 10;

/// A producer, and who listens to it.
type Producer = BaseProducer<Listener>;

/// What is known of events on their way.
struct State {
    flights: Flights,
    /// Why the producer is given up.
    broken: Option<String>,
    is_closing: bool,
    /// Whether a shard is late; said when it begins and when it is over.
    is_late: bool,
}

/// The events of this process on their way to the brokers.
pub struct Producing {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    topic: String,
    shards: u32,
    /// Most bytes on their way.
    limit: u64,
    config: ClientConfig,
    known: Arc<KnownEnds>,
    turn: Mutex<Option<Arc<Producer>>>,
    state: Mutex<State>,
    /// Rung when nothing is on its way any more.
    is_empty: Condvar,
    /// Whether the thread is to end.
    is_over: AtomicBool,
    /// What connections have suffered last.
    trouble: Mutex<String>,
}

impl Producing {
    /// Begins; at most `overflow_max` bytes wait in memory, and librdkafka has a copy of them. Asks no broker.
    ///
    /// # Errors
    /// Where librdkafka does not take the properties, or the system gives no thread.
    pub fn begin(cluster: &Cluster, overflow_max: u64, known: Arc<KnownEnds>) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared {
            topic: cluster.events(),
            shards: cluster.partitions,
            limit: overflow_max,
            config: config(cluster, overflow_max),
            known,
            turn: Mutex::new(None),
            state: Mutex::new(State {
                flights: Flights::new(cluster.partitions),
                broken: None,
                is_closing: false,
                is_late: false,
            }),
            is_empty: Condvar::new(),
            is_over: AtomicBool::new(false),
            trouble: Mutex::default(),
        });
        let first = shared.start().map_err(|error| JournalError::Kafka {
            what: "a producer cannot be made".into(),
            error: error.to_string(),
        })?;
        let polled = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("kafka-produce".into()).spawn(move || run(&polled, first));
        let failed = |error| JournalError::Io { what: "cannot start the thread kafka-produce".into(), error };
        Ok(Self { shared, thread: Mutex::new(Some(spawned.map_err(failed)?)) })
    }

    /// Hands events over, in order. Never blocks on I/O.
    pub fn append_all(&self, appends: Vec<Append>) {
        let shared = &*self.shared;
        let (mut refused, mut late) = (Vec::new(), Vec::new());
        let turn = lock(&shared.turn);
        for append in appends {
            let shard = message::shard_of(&message::key_of(&append.record), shared.shards);
            match shared.push(turn.as_deref(), shard, append) {
                Ok(true) if !late.contains(&shard) => late.push(shard),
                Ok(_) => {}
                Err(refusal) => refused.push(refusal),
            }
        }
        let risky = shared.copy(&late);
        drop(turn);
        for (flight, why) in refused {
            flight.end(Progress::Failed(why));
        }
        risky.iter().for_each(|report| report.at_risk());
    }

    /// Bytes that were told at risk and are not in Kafka yet.
    pub fn at_risk(&self) -> u64 {
        lock(&self.shared.state).flights.at_risk()
    }

    /// Whether an event that is to be given back, and any event, would be refused now.
    pub fn refuses(&self) -> (bool, bool) {
        let state = lock(&self.shared.state);
        let is_full = state.is_closing || state.flights.waiting() >= self.shared.limit;
        (is_full || state.broken.is_some() || state.is_late, is_full)
    }

    /// Takes no more events, and waits a few seconds for the reports of those on their way. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Lost`] where there are some of which nobody knows.
    pub fn close(&self) -> Result<(), JournalError> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        state.is_closing = true;
        let until = Instant::now() + CLOSE_LIMIT;
        while !state.flights.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = shared.is_empty.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.end();
        let left = lock(&shared.state).flights.iter().filter(|(.., flight)| flight.keep).count();
        if left == 0 { Ok(()) } else { Err(JournalError::Lost(format!("{left} accepted events"))) }
    }

    /// As if librdkafka had failed.
    #[cfg(test)]
    pub(super) fn break_producer(&self) {
        lock(&self.shared.state).broken = Some("a test".into());
    }

    /// Ends the thread, and with it the producer.
    fn end(&self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that listens to Kafka's reports panicked");
        }
    }
}

/// What is on its way is let go of, as a crash would.
impl Drop for Producing {
    fn drop(&mut self) {
        lock(&self.shared.state).is_closing = true;
        self.shared.is_over.store(true, Ordering::Release);
    }
}

/// The whole configuration of a producer of events.
fn config(cluster: &Cluster, overflow_max: u64) -> ClientConfig {
    let mut config = cluster.client("events");
    let kilobytes = ((overflow_max >> 10).saturating_mul(2) + ROOM).min(i32::MAX as u64);
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
    ];
    set.into_iter().for_each(|(name, value)| _ = config.set(name, value));
    config
}

/// Polls one producer after the other, until it is over.
fn run(shared: &Arc<Shared>, first: Arc<Producer>) {
    let mut producer = Some(first);
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
        pause = (pause * 2).min(PAUSES.1);
        match shared.start() {
            Ok(next) => producer = Some(next),
            Err(error) => tracing::error!(%error, "no producer of events can be made"),
        }
    }
    *lock(&shared.turn) = None;
}

impl Shared {
    /// Begins with a producer, which is sent again what was not reported.
    fn start(self: &Arc<Self>) -> Result<Arc<Producer>, KafkaError> {
        let listener = Listener(Arc::clone(self));
        let producer: Arc<Producer> = Arc::new(self.config.create_with_context(listener)?);
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

    /// Hands one event over; whether its shard is late. What is refused comes back, with the reason.
    fn push(&self, producer: Option<&Producer>, shard: u32, append: Append) -> Result<bool, (Flight, AppendError)> {
        let size = message::size_of(&append.record);
        let is_kept = append.on_failure == OnFailure::Keep;
        let flight = Flight::new(append, size as u64);
        if size > MAX_BYTES {
            return Err((flight, AppendError::TooLarge(size)));
        }
        let mut state = lock(&self.state);
        let is_late = state.flights.is_late(shard, Instant::now());
        let waiting = state.flights.waiting();
        if state.is_closing {
            return Err((flight, AppendError::Closed));
        }
        if !is_kept && (is_late || state.broken.is_some()) {
            let why = state.broken.clone().unwrap_or_else(|| self.why_late());
            return Err((flight, AppendError::Unwritable(why)));
        }
        if waiting > 0 && waiting.saturating_add(size as u64) > self.limit {
            return Err((flight, AppendError::QueueFull));
        }
        let record = Arc::clone(&flight.record);
        let n = state.flights.add(shard, flight);
        // Where there is no producer just now, the next one sends it.
        let Some(producer) = producer.filter(|_| state.broken.is_none()) else { return Ok(is_late) };
        drop(state);
        if let Err(error) = self.send(producer, shard, n, &record) {
            lock(&self.state).broken.get_or_insert(error.to_string());
        }
        Ok(is_late)
    }

    fn send(&self, producer: &Producer, shard: u32, n: u64, record: &Record) -> Result<(), KafkaError> {
        let key = message::key_of(record);
        let message = BaseRecord::with_opaque_to(&self.topic, n as usize)
            .partition(shard as i32)
            .key(&*key)
            .payload(&*record.payload)
            .headers(message::headers_of(record));
        producer.send(message).map_err(|(error, _)| error)
    }

    /// Copies what is not yet copied of late shards; who is to be told now that it is at risk.
    fn copy(&self, late: &[u32]) -> Vec<Arc<Report>> {
        let mut state = lock(&self.state);
        let to_copy: Vec<ToCopy> = late.iter().flat_map(|shard| state.flights.uncopied(*shard)).collect();
        to_copy.iter().filter_map(|one| state.flights.note_risk(one.shard, one.n, None)).collect()
    }

    /// Looks for shards that are late; whether all is well.
    fn look_around(&self) -> bool {
        let turn = lock(&self.turn);
        let mut state = lock(&self.state);
        let late = state.flights.late(Instant::now());
        let is_late = !late.is_empty();
        let was_late = std::mem::replace(&mut state.is_late, is_late);
        let at_risk = state.flights.at_risk();
        drop(state);
        let risky = self.copy(&late);
        drop(turn);
        risky.iter().for_each(|report| report.at_risk());
        match (was_late, is_late) {
            (false, true) => tracing::error!(shards = late.len(), why = self.why_late(), "events wait for Kafka"),
            (true, false) => tracing::info!(at_risk, "Kafka takes events again"),
            _ => {}
        }
        !is_late
    }

    fn why_late(&self) -> String {
        let trouble = lock(&self.trouble);
        let why = if trouble.is_empty() { "no broker has acknowledged it" } else { &trouble };
        format!("Kafka acknowledges nothing: {why}")
    }

    /// An event is durable.
    fn arrived(&self, shard: u32, n: u64, offset: i64) {
        // A broker that has forgotten where a repeat stands says only that it is there.
        let position = match u64::try_from(offset) {
            Ok(offset) => Position { shard, offset },
            Err(_) => self.known.now().at(shard),
        };
        if offset >= 0 {
            self.known.pass(position);
        }
        let mut state = lock(&self.state);
        let flight = state.flights.remove(shard, n);
        if state.flights.is_empty() {
            self.is_empty.notify_all();
        }
        drop(state);
        if let Some(flight) = flight {
            flight.end(Progress::Durable(position));
        }
    }

    /// librdkafka has given one up.
    fn failed(&self, shard: u32, n: u64, code: Code) {
        let mut state = lock(&self.state);
        let is_its_fault = matches!(code, Code::MessageSizeTooLarge | Code::InvalidMessage | Code::InvalidRecord);
        // The gap that it leaves ends the producer all the same.
        let flight = if is_its_fault { state.flights.remove(shard, n) } else { None };
        if !matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            state.broken.get_or_insert_with(|| code.to_string());
        }
        drop(state);
        if let Some(flight) = flight {
            flight.end(Progress::Failed(AppendError::Unwritable(code.to_string())));
        }
    }
}

/// Takes what librdkafka reports, on the thread that polls.
struct Listener(Arc<Shared>);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // What matters comes back by other ways; the rest repeats itself while a broker is away.
        tracing::debug!(?level, facility, text, "librdkafka");
    }

    fn stats_raw(&self, _json: &[u8]) {}

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
