//! Events on their way to the brokers: one idempotent producer for the process, which keeps the order of each
//! partition, and a local overflow for what it cannot hand on in time.
//!
//! # What becomes of an event
//! It stays in [`Flights`] until a broker has reported it durable (on all in-sync replicas). librdkafka gives none up
//! by itself: it sends again for as long as it takes, in order. Where no report comes within a second
//! ([`LATE`](super::flights::LATE)) the shard is late:
//! - What is to be kept of it is copied to the local overflow, in order, and told `AtRisk` when its copy is flushed; or
//!   when it cannot be copied, which is logged: then it is in memory alone. What comes next is copied at once.
//! - What is to be given back is refused from then on. What was sent already cannot be called back: it is told once it
//!   is durable.
//!
//! Where `overflow_max` bytes are on their way, they are copied, what is to be kept goes to the overflow alone behind
//! their copies, and all that comes later behind that, until what is there has been read and sent (`feeding.rs`). A
//! start begins so, with what an earlier life has left.
//!
//! # When the producer ends
//! Where librdkafka reports a failure of its own (a fatal error, a topic that is gone, a right that was taken) nobody
//! knows what of the partition's queue arrived. Nothing behind it is sent (`enable.gapless.guarantee`): the producer is
//! given up, and after a pause the next one sends again all that was not reported, in order. So an event may stand in
//! Kafka twice, never first behind one that came after it.
//!
//! # Locks
//! `turn` is held while events are handed over, so that librdkafka's queue and the overflow have the same order;
//! `state` for moments, and never while somebody is told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::BaseProducer;
use tokio::sync::Notify;

use super::clients::Quiet;
use super::cluster::Cluster;
use super::feeding::{self, Behind};
use super::flights::{Copied, Flight, Flights, Uncopied};
use super::known::KnownEnds;
use super::message::{self, MAX_BYTES};
use super::overflow::{Opened, Overflow, Places};
use super::producer::{self, Producer};
use super::sizes::Sizes;
use crate::journal::view::lock;
use crate::journal::{Append, AppendError, JournalError, JournalStat, OnFailure, Position, Progress};

/// Longest that closing waits for reports.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Why nothing is sent at first.
const UNJUDGED: &str = "its topics were not looked at yet";
/// Pause before the overflow is tried again where it took no copies.
const PAUSE: Duration = Duration::from_secs(1);

/// The events of this process on their way to the brokers.
pub struct Producing {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What is known of events on their way.
pub struct State {
    pub flights: Flights,
    /// Events that are in the overflow and not with the producer.
    pub behind: Behind,
    /// What is in the overflow and not in Kafka.
    pub places: Places,
    /// Why the producer is given up.
    pub broken: Option<String>,
    is_closing: bool,
    /// Whether a shard is late; said when it begins and when it is over.
    is_late: bool,
    /// When the overflow took no copy; said once.
    overflow_failed: Option<Instant>,
}

/// What the callers' threads, the thread that polls and the tasks of the overflow share.
pub struct Shared {
    pub topic: String,
    pub shards: u32,
    /// Most bytes with the producer.
    pub limit: u64,
    pub config: ClientConfig,
    known: Arc<KnownEnds>,
    /// What is told of the sizes of events.
    pub sizes: Arc<Sizes>,
    pub overflow: Overflow,
    pub turn: Mutex<Option<Arc<Producer>>>,
    pub state: Mutex<State>,
    /// Rung when nothing is on its way any more.
    is_empty: Condvar,
    /// Rung when the overflow is to be read, or may be read on.
    pub to_feed: Notify,
    /// Rung when something in the overflow has come to Kafka.
    pub moved: Notify,
    /// Whether the topics are known to be as they must.
    pub may_send: AtomicBool,
    /// Whether the thread is to end.
    pub is_over: AtomicBool,
    /// How often it was asked for a sign of life, and how often it had been when it gave one.
    asked: AtomicU64,
    seen: AtomicU64,
    /// What connections have suffered last.
    pub trouble: Mutex<String>,
}

/// What became of an event that was handed over.
enum Pushed {
    /// It is with the producer; whether its shard is late.
    Sent(bool),
    /// It goes to the overflow alone.
    Aside,
}

impl Producing {
    /// Begins; at most `overflow_max` bytes wait in memory, and librdkafka has a copy of them. Asks no broker. Is
    /// called within a runtime, which reads the overflow.
    ///
    /// # Errors
    /// Where librdkafka does not take the properties, or the system gives no thread.
    pub fn begin(
        cluster: &Cluster,
        overflow_max: u64,
        known: Arc<KnownEnds>,
        sizes: Arc<Sizes>,
        Opened { overflow, cursors, oldest, bytes }: Opened,
    ) -> Result<Self, JournalError> {
        let places = Places::new(cluster.partitions, &cursors);
        let behind = Behind::left(places.first().max(oldest), overflow.end(), bytes);
        let state = State {
            flights: Flights::new(cluster.partitions),
            behind,
            places,
            broken: Some(UNJUDGED.into()),
            is_closing: false,
            is_late: false,
            overflow_failed: None,
        };
        let shared = Arc::new(Shared {
            topic: cluster.events(),
            shards: cluster.partitions,
            limit: overflow_max,
            config: producer::config(cluster, overflow_max),
            known,
            sizes,
            overflow,
            turn: Mutex::new(None),
            state: Mutex::new(state),
            is_empty: Condvar::new(),
            to_feed: Notify::new(),
            moved: Notify::new(),
            may_send: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            trouble: Mutex::default(),
        });
        let refused = |error: KafkaError| JournalError::Kafka {
            what: "a producer cannot be made".into(),
            error: error.to_string(),
        };
        // One that is never used says what is wrong with the properties.
        drop(shared.config.create_with_context::<_, BaseProducer<Quiet>>(Quiet).map_err(refused)?);
        let polled = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("kafka-produce".into()).spawn(move || producer::run(&polled));
        let failed = |error| JournalError::Io { what: "cannot start the thread kafka-produce".into(), error };
        let thread = Mutex::new(Some(spawned.map_err(failed)?));
        let tasks = vec![
            tokio::spawn(feeding::feed(Arc::clone(&shared))),
            tokio::spawn(feeding::keep_cursors(Arc::clone(&shared))),
        ];
        Ok(Self { shared, thread, tasks })
    }

    /// From now on events are sent; before, they wait. The topics are there, and as they must be: brokers would make a
    /// weak one for whoever sends to none.
    pub fn allow(&self) {
        self.shared.may_send.store(true, Ordering::Release);
    }

    /// Hands events over, in order. Never blocks on I/O.
    pub fn append_all(&self, appends: Vec<Append>) {
        let shared = &self.shared;
        let (mut refused, mut late) = (Vec::new(), Vec::new());
        let turn = lock(&shared.turn);
        for append in appends {
            let shard = message::shard_of(&message::key_of(&append.record), shared.shards);
            match shared.push(turn.as_deref(), shard, append) {
                Ok(Pushed::Sent(true)) if !late.contains(&shard) => late.push(shard),
                Ok(_) => {}
                Err(refusal) => refused.push(refusal),
            }
        }
        shared.copy(late.into_iter());
        drop(turn);
        for (flight, why) in refused {
            flight.end(Progress::Failed(why));
        }
    }

    /// Bytes that were told at risk and are not in Kafka yet.
    pub fn at_risk(&self) -> u64 {
        let state = lock(&self.shared.state);
        state.flights.at_risk() + state.behind.at_risk()
    }

    /// Whether an event that is to be given back, and any event, would be refused now.
    pub fn refuses(&self) -> (bool, bool) {
        let state = lock(&self.shared.state);
        let is_full = state.behind.is_behind() || !state.has_room(1, self.shared.limit);
        let takes_none = state.is_closing || (is_full && self.shared.overflow.refuses());
        (takes_none || is_full || state.broken.is_some() || state.is_late, takes_none)
    }

    /// Asks the thread that listens to reports for a sign of life.
    pub fn ask(&self) {
        self.shared.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it has given one since.
    pub fn has_answered(&self) -> bool {
        self.shared.seen.load(Ordering::Relaxed) == self.shared.asked.load(Ordering::Relaxed)
    }

    /// Figures of the local overflow.
    pub async fn overflow(&self) -> Result<JournalStat, JournalError> {
        self.shared.overflow.stat().await
    }

    /// Takes no more events, and waits a few seconds for the reports of those on their way. What is left is copied to
    /// the overflow, for the next life.
    ///
    /// # Errors
    /// [`JournalError::Lost`] where there are some that are in neither.
    pub async fn close(self: Arc<Self>) -> Result<(), JournalError> {
        let this = Arc::clone(&self);
        let waited = tokio::task::spawn_blocking(move || this.settle()).await;
        if waited.is_err() {
            tracing::warn!("closing was cut short");
        }
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let closed = self.shared.overflow.close().await;
        let this = Arc::clone(&self);
        let saved = tokio::task::spawn_blocking(move || this.shared.save_cursors()).await;
        if !matches!(saved, Ok(Ok(()))) {
            tracing::warn!(?saved, "the overflow's cursors are not kept: events may come to Kafka twice");
        }
        closed?;
        let state = lock(&self.shared.state);
        let is_nowhere = |flight: &Flight| flight.keep && !matches!(flight.copied, Copied::At(_));
        match state.flights.iter().filter(|(.., flight)| is_nowhere(flight)).count() {
            0 => Ok(()),
            left => Err(JournalError::Lost(format!("{left} accepted events"))),
        }
    }

    /// As if librdkafka had failed.
    #[cfg(test)]
    pub(super) fn break_producer(&self) {
        lock(&self.shared.state).broken = Some("a test".into());
    }

    /// As if the overflow's disk were full.
    #[cfg(test)]
    pub(super) fn fill_overflow(&self, is_full: bool) {
        self.shared.overflow.takes_nothing.store(is_full, Ordering::Relaxed);
    }

    /// Waits for reports, ends the producer, and copies what is left. Blocks.
    fn settle(&self) {
        let shared = &self.shared;
        let mut state = lock(&shared.state);
        state.is_closing = true;
        let until = Instant::now() + CLOSE_LIMIT;
        while !state.flights.is_empty() || state.behind.is_behind() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = shared.is_empty.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        shared.is_over.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("a thread of the journal panicked");
        }
        let _turn = lock(&shared.turn);
        lock(&shared.state).flights.copy_again();
        shared.copy(0..shared.shards);
    }
}

/// What is on its way is let go of, as a crash would.
impl Drop for Producing {
    fn drop(&mut self) {
        lock(&self.shared.state).is_closing = true;
        self.shared.is_over.store(true, Ordering::Release);
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Shared {
    /// Hands one event over, within a turn. What is refused comes back, with the reason.
    fn push(
        self: &Arc<Self>,
        producer: Option<&Producer>,
        shard: u32,
        append: Append,
    ) -> Result<Pushed, (Flight, AppendError)> {
        let size = message::size_of(&append.record);
        let is_kept = append.on_failure == OnFailure::Keep;
        let flight = Flight::new(append, size as u64);
        if size > MAX_BYTES {
            return Err((flight, AppendError::TooLarge(size)));
        }
        let mut state = lock(&self.state);
        let is_late = state.flights.is_late(shard, Instant::now());
        if state.is_closing {
            return Err((flight, AppendError::Closed));
        }
        if !is_kept && (is_late || state.broken.is_some()) {
            let why = state.broken.clone().unwrap_or_else(|| self.why_late());
            return Err((flight, AppendError::Unwritable(why)));
        }
        if state.behind.is_behind() || !state.has_room(size as u64, self.limit) {
            if !is_kept && !state.behind.is_behind() {
                return Err((flight, AppendError::QueueFull));
            }
            drop(state);
            self.put_aside(shard, flight);
            return Ok(Pushed::Aside);
        }
        let record = Arc::clone(&flight.record);
        let n = state.flights.add(shard, flight);
        // Where there is no producer just now, the next one sends it.
        let Some(producer) = producer.filter(|_| state.broken.is_none()) else { return Ok(Pushed::Sent(is_late)) };
        drop(state);
        if let Err(error) = self.send(producer, shard, n, &record) {
            lock(&self.state).broken.get_or_insert(error.to_string());
        }
        Ok(Pushed::Sent(is_late))
    }

    /// Copies what is not yet copied of some shards, within a turn.
    pub fn copy(self: &Arc<Self>, shards: impl Iterator<Item = u32>) {
        let mut state = lock(&self.state);
        let uncopied: Vec<Uncopied> = shards.flat_map(|shard| state.flights.uncopied(shard)).collect();
        uncopied.iter().for_each(|one| state.places.ask(one.shard));
        drop(state);
        for Uncopied { shard, n, record } in uncopied {
            let this = Arc::clone(self);
            let on_progress = Box::new(move |progress| this.copied(shard, n, progress));
            self.overflow.append((*record).clone(), on_progress);
        }
    }

    /// A copy is flushed, or could not be made. Where its shard is late, who appended it is told.
    fn copied(&self, shard: u32, n: u64, progress: Progress) {
        let (copied, failure) = match progress {
            Progress::Durable(position) => (Copied::At(position.offset), None),
            Progress::AtRisk => return,
            Progress::Failed(why) => (Copied::Failed, Some(why)),
        };
        let mut state = lock(&self.state);
        let is_under_way = state.flights.note_copy(shard, n, copied);
        let failed_before = state.overflow_failed;
        state.overflow_failed = failure.as_ref().map(|_| failed_before.unwrap_or_else(Instant::now));
        let open = if let Copied::At(at) = copied { Some(at).filter(|_| is_under_way) } else { None };
        state.places.answer(shard, open);
        let is_late = state.flights.is_late(shard, Instant::now());
        let told = if is_late { state.flights.note_risk(shard) } else { vec![] };
        drop(state);
        self.moved.notify_one();
        if let Some(why) = failure.filter(|_| failed_before.is_none()) {
            tracing::error!(%why, "accepted events are in memory alone: neither Kafka nor the overflow takes them");
        }
        told.iter().for_each(|report| report.at_risk());
    }

    /// Looks for shards that are late; whether all is well.
    pub fn look_around(self: &Arc<Self>) -> bool {
        self.seen.store(self.asked.load(Ordering::Relaxed), Ordering::Relaxed);
        let turn = lock(&self.turn);
        let mut state = lock(&self.state);
        let late = state.flights.late(Instant::now());
        let is_late = !late.is_empty();
        let was_late = std::mem::replace(&mut state.is_late, is_late);
        let told: Vec<_> = late.iter().flat_map(|shard| state.flights.note_risk(*shard)).collect();
        let at_risk = state.flights.at_risk();
        if state.overflow_failed.is_some_and(|since| since.elapsed() >= PAUSE) {
            state.overflow_failed = Some(Instant::now());
            state.flights.copy_again();
        }
        drop(state);
        self.copy(late.iter().copied());
        drop(turn);
        told.iter().for_each(|report| report.at_risk());
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
    pub fn arrived(&self, shard: u32, n: u64, offset: i64) {
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
        if let Some(Copied::At(at)) = flight.as_ref().map(|flight| flight.copied) {
            state.places.done(shard, at);
            self.moved.notify_one();
        }
        if state.behind.is_behind() {
            self.to_feed.notify_one();
        }
        self.note_empty(&state);
        drop(state);
        if let Some(flight) = flight {
            flight.end(Progress::Durable(position));
        }
    }

    /// Rings where nothing is on its way any more.
    pub fn note_empty(&self, state: &State) {
        if state.flights.is_empty() && !state.behind.is_behind() {
            self.is_empty.notify_all();
        }
    }

    /// librdkafka has given one up.
    pub fn failed(&self, shard: u32, n: u64, code: Code) {
        let mut state = lock(&self.state);
        let is_its_fault = matches!(code, Code::MessageSizeTooLarge | Code::InvalidRecord);
        // The gap that it leaves ends the producer all the same.
        let flight = if is_its_fault { state.flights.remove(shard, n) } else { None };
        if let Some(Copied::At(at)) = flight.as_ref().map(|flight| flight.copied) {
            state.places.done(shard, at);
        }
        if !matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            state.broken.get_or_insert_with(|| code.to_string());
        }
        drop(state);
        if let Some(flight) = flight {
            tracing::error!(%code, "brokers refuse an event for what it is");
            flight.end(Progress::Failed(AppendError::Unwritable(code.to_string())));
        }
    }
}

impl State {
    /// Whether so many bytes more may be with the producer; one event may, whatever its size.
    pub fn has_room(&self, size: u64, limit: u64) -> bool {
        let waiting = self.flights.waiting();
        waiting == 0 || waiting.saturating_add(size) <= limit
    }
}
