//! One sink's worker: the loop that reads, routes, delivers and settles.
//!
//! It holds at most [`WINDOW_EVENTS`] events and [`WINDOW_BYTES`] of payloads between the sink's cursor and its reading
//! place; after a kill at most these are delivered again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{BuildError, Bytes, Defaults, Reason, SinkConfig, SinkContext, Timestamp, Turns, Uuid};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::asking::Questions;
use super::book::Book;
use super::breaker::{Breaker, Change};
use super::config::{DeliveryKeys, Ordering};
use super::flight::{Flights, Landed, Shared};
use super::lanes::{FirstTry, Item, Lanes, Place};
use super::pace::{Pace, Rate};
use super::settler::Settler;
use super::verdict::{self, Bench, Verdict};
use super::window::{End, Passed, Window};
use crate::event;
use crate::journal::{Chunk, Counters, DeadLetter, Entry, Gap, Journal, JournalError, Position, TypeCount};
use crate::ledger::Room;
use crate::route::jq::Said;
use crate::route::{Destination, Failed, RuleSet};

/// Most events between a sink's cursor and its reading place.
pub const WINDOW_EVENTS: usize = 20_000;
/// Most payload bytes of these events.
pub const WINDOW_BYTES: u64 = 64 << 20;
/// Most bytes read from the journal at once.
const READ_BYTES: u64 = 1 << 20;
/// A sink that has caught up looks again no sooner: fewer wake-ups, larger batches.
const READ_PAUSE: Duration = Duration::from_millis(4);
/// After a failed read of the journal.
const READ_RETRY: Duration = Duration::from_secs(1);
/// Closing a sink takes no longer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// One log line about dead letters in this time; the others are counted in it.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What a worker is made from.
pub struct Spec {
    /// The sink's name.
    pub name: String,
    /// Its table, read.
    pub config: Arc<dyn SinkConfig>,
    /// The core's keys of its table.
    pub keys: DeliveryKeys,
    /// Batching and concurrency, the kind's defaults filled in.
    pub limits: Defaults,
    /// What it is built with.
    pub context: SinkContext,
    /// What it shows of itself.
    pub book: Arc<Book>,
    /// Room for dead letters.
    pub room: Arc<Room>,
}

/// What was read, and what jq says about each event of it (nothing where no rule asks).
type Read = (Chunk, Vec<Option<Said>>);
type Reading = std::pin::Pin<Box<dyn Future<Output = Result<Read, JournalError>> + Send>>;

struct Worker {
    spec: Spec,
    to: Destination,
    rules: Arc<RuleSet>,
    questions: Questions,
    journal: Arc<dyn Journal>,
    ordered: bool,
    sink: Option<Shared>,
    building: bool,
    window: Window,
    lanes: Lanes,
    /// Of the last event.
    texts: event::Texts,
    breaker: Breaker,
    pace: Pace,
    flights: Flights,
    settler: Settler,
    reading: Option<Reading>,
    caught_up: bool,
    linger_until: Option<Instant>,
    last_probe: Option<Place>,
    last_log: Option<Instant>,
    unlogged: u64,
}

/// Runs a sink from `cursor` on until `stop` turns true, then finishes or abandons what is under way within `drain`.
pub async fn run(
    spec: Spec,
    cursor: Position,
    rules: Arc<RuleSet>,
    journal: Arc<dyn Journal>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut worker = Worker::new(spec, cursor, rules, journal);
    worker.build();
    while !*stop.borrow_and_update() {
        let wake = worker.advance(Instant::now());
        worker.prepare_read();
        tokio::select! {
            landed = worker.flights.landed() => worker.landed(landed),
            () = worker.settler.written() => {}
            chunk = read(&mut worker.reading) => worker.fed(chunk),
            () = tokio::time::sleep_until(wake.into()) => {}
            changed = stop.changed() => if changed.is_err() { break },
        }
    }
    worker.finish(drain).await;
}

async fn read(reading: &mut Option<Reading>) -> Result<Read, JournalError> {
    let Some(future) = reading else { return std::future::pending().await };
    let chunk = future.await;
    *reading = None;
    chunk
}

impl Worker {
    fn new(spec: Spec, cursor: Position, rules: Arc<RuleSet>, journal: Arc<dyn Journal>) -> Self {
        let ordered = spec.keys.ordering == Ordering::Key;
        Self {
            to: Destination { name: spec.name.clone(), config: Arc::clone(&spec.config), key: spec.keys.key.clone() },
            questions: Questions::new(&spec.name, &rules),
            rules,
            ordered,
            sink: None,
            building: false,
            window: Window::new(cursor),
            lanes: Lanes::new(ordered),
            texts: event::Texts::default(),
            breaker: Breaker::new(spec.keys.breaker),
            pace: Pace::new(spec.keys.rate.as_deref().and_then(Rate::parse), Instant::now()),
            flights: Flights::default(),
            settler: Settler::new(Arc::clone(&journal), &spec.name, &spec.room, cursor),
            journal,
            spec,
            reading: None,
            caught_up: false,
            linger_until: None,
            last_probe: None,
            last_log: None,
            unlogged: 0,
        }
    }

    // ── reading and routing ────────────────────────────────────────────────────────────────────────────────────────

    /// Starts a read where there is room for what it brings.
    fn prepare_read(&mut self) {
        let (events, bytes) = self.window.size();
        if self.reading.is_some() || events >= WINDOW_EVENTS || bytes >= WINDOW_BYTES || self.settler.is_full() {
            return;
        }
        let (journal, from) = (Arc::clone(&self.journal), self.window.read_position());
        let pause = std::mem::take(&mut self.caught_up);
        let questions = self.questions.clone();
        self.reading = Some(Box::pin(async move {
            journal.wait(from).await;
            if pause {
                tokio::time::sleep(READ_PAUSE).await;
            }
            let chunk = journal.read(from, READ_BYTES).await;
            if chunk.is_err() {
                tokio::time::sleep(READ_RETRY).await;
            }
            Ok(questions.ask(chunk?).await)
        }));
    }

    fn fed(&mut self, read: Result<Read, JournalError>) {
        let (chunk, said) = match read {
            Ok(read) => read,
            Err(error) => {
                error!(sink = %self.spec.name, %error, "the journal cannot be read; trying again");
                return;
            }
        };
        if let Some(gap) = &chunk.gap {
            self.missed(gap);
        }
        let bytes: u64 = chunk.entries.iter().map(|e| e.record.payload.len() as u64).sum();
        self.caught_up = bytes < READ_BYTES / 2;
        let mut turns = Turns::default();
        for (index, entry) in chunk.entries.iter().enumerate() {
            turns.step();
            let owed = self.rules.owed(&self.spec.name, &entry.record.source, &entry.record.kind);
            if owed > 0 {
                self.route(entry, owed, said.get(index).and_then(Option::as_ref));
            }
        }
        self.window.read_to(chunk.next);
    }

    /// Books what this sink was owed and will never get. It travels with the cursor: the settlement that moves it over
    /// the gap counts it, once. Each route that names the sink counts, as its condition can be asked no more.
    fn missed(&mut self, gap: &Gap) {
        let sink = &self.spec.name;
        let owed = |c: &TypeCount| c.events * u64::from(self.rules.owed(sink, &c.source, &c.kind));
        let dropped = gap.deleted.iter().map(owed).sum();
        let (from, to) = (gap.from.offset, gap.to.offset);
        if dropped > 0 {
            let tally = Counters { accepted: dropped, dropped, ..Counters::default() };
            self.window.opened(self.window.read_position(), 0, 0, Passed::counts(tally));
            error!(%sink, dropped, from, to, "deliveries this sink was owed are dropped: the journal reached max_size");
        }
        if gap.lost > 0 {
            error!(%sink, records = gap.lost, from, to,
                "damaged records of the journal, of unknown types: what this sink was owed of them is lost");
        }
        if gap.deleted.is_empty() && gap.lost == 0 {
            warn!(%sink, from, to, "a part of the journal is gone, and nothing is known of what stood there");
        }
    }

    /// Routes one event to this sink, once: payload, target and id are fixed from here on.
    fn route(&mut self, entry: &Entry, owed: u32, said: Option<&Said>) {
        let event = match event::decode_shared(&entry.record, &mut self.texts) {
            Ok(event) => event,
            Err(error) => return self.undecodable(entry, owed, &error),
        };
        let routed = match said {
            None => self.rules.route(&self.to, &event, &mut ()),
            Some(said) => self.rules.route_by(said, &self.to, &event, &mut ()),
        };
        let tally = Counters {
            accepted: routed.deliveries.len() as u64 + routed.failed.len() as u64 + u64::from(routed.filtered),
            dead: routed.failed.len() as u64,
            filtered: u64::from(routed.filtered),
            ..Counters::default()
        };
        self.spec.book.extra(tally.accepted.saturating_sub(u64::from(owed)));
        let count = u32::try_from(routed.deliveries.len()).unwrap_or(u32::MAX);
        let bytes: u64 = routed.deliveries.iter().map(|d| d.bytes().len() as u64).sum();
        let letter = |failed: Failed| {
            let texts = (event.subject.to_string(), event.key.to_string());
            self.unrouted(entry, failed.id, texts, failed.reason, failed.payload)
        };
        let dead = routed.failed.into_iter().map(letter).collect();
        self.window.opened(entry.position, count, bytes, Passed { tally, dead });
        for (nth, delivery) in (0_u32..).zip(routed.deliveries) {
            let place = (entry.position, nth);
            self.lanes.push(Item { place, delivery: Arc::new(delivery), attempts: 0, first: None, told: None });
        }
    }

    /// An event this build cannot read (a later one wrote it) is kept as a dead letter, bytes and all.
    fn undecodable(&mut self, entry: &Entry, owed: u32, error: &event::CodecError) {
        // One letter stands for all its deliveries: which ones they would have been is not known.
        let owed = u64::from(owed);
        let tally = Counters { accepted: owed, dead: 1, filtered: owed.saturating_sub(1), ..Counters::default() };
        let id = Uuid::from_bytes(entry.record.id).to_string();
        let texts = (String::new(), entry.record.key.to_string());
        let letter = self.unrouted(entry, id, texts, Reason::new("undecodable", error.to_string()), None);
        self.window.opened(entry.position, 0, 0, Passed { tally, dead: vec![letter] });
    }

    /// The dead letter of what never became a delivery.
    fn unrouted(
        &mut self,
        entry: &Entry,
        id: String,
        (subject, key): (String, String),
        why: Reason,
        payload: Option<Bytes>,
    ) -> DeadLetter {
        self.log_dead(&id, &why);
        let now = Timestamp::now().as_microsecond();
        DeadLetter {
            id,
            position: entry.position,
            kind: entry.record.kind.to_string(),
            subject,
            key,
            code: why.code.to_owned(),
            detail: why.detail,
            attempts: 0,
            times: [entry.record.time, now, now],
            event: Arc::clone(&entry.record),
            payload,
            target: "{}".to_owned(),
        }
    }

    // ── delivering ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Starts whatever may start now, and says when to look again.
    fn advance(&mut self, now: Instant) -> Instant {
        self.lanes.wake(now);
        // First: where what was given up finds no room, nothing more is tried.
        let due = self.settler.due(&mut self.window, now);
        self.settler.tell_room(&self.spec.book);
        if self.breaker.is_closed() {
            self.dispatch(now);
        } else if self.breaker.probe_at().is_some_and(|at| at <= now)
            && self.flights.is_empty()
            && !self.settler.is_full()
            && self.pace.room(now) > 0
        {
            self.probe(now);
        }
        self.spec.book.breaker(self.breaker.state());
        if due.is_some_and(|at| at <= now) {
            self.settler.start(now);
        }
        let gate = if self.breaker.is_closed() { self.lanes.next_due() } else { self.breaker.probe_at() };
        let idle = now + Duration::from_secs(3600);
        [gate, self.linger_until, due, self.pace.next(now)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
            .unwrap_or(idle)
    }

    fn dispatch(&mut self, now: Instant) {
        let Some(sink) = self.sink.clone() else { return };
        while self.flights.len() < self.spec.limits.concurrency && self.lanes.ready() > 0 && !self.settler.is_full() {
            let most = self.spec.limits.max_events.min(self.pace.room(now));
            if most == 0 {
                return;
            }
            if self.lanes.ready() < most {
                let until = *self.linger_until.get_or_insert(now + self.spec.limits.linger);
                if now < until {
                    return;
                }
            }
            self.linger_until = None;
            let items = self.lanes.take(most, self.spec.limits.max_bytes);
            self.launch(&sink, items, false);
        }
        if self.lanes.ready() == 0 {
            self.linger_until = None;
        }
    }

    /// One real delivery to see whether the sink is back, of another event each time.
    fn probe(&mut self, now: Instant) {
        let Some(sink) = self.sink.clone() else {
            self.breaker.probing();
            self.build();
            return;
        };
        if let Some(item) = self.lanes.take_probe(self.last_probe, now) {
            self.last_probe = Some(item.place);
            self.breaker.probing();
            self.launch(&sink, vec![item], true);
        }
    }

    fn launch(&mut self, sink: &Shared, mut items: Vec<Item>, probe: bool) {
        if items.is_empty() {
            return;
        }
        let now = Instant::now();
        self.pace.took(items.len(), now);
        let first =
            FirstTry { at: now, wall: Timestamp::now().as_microsecond(), open_before: self.breaker.time_open(now) };
        for item in &mut items {
            item.first.get_or_insert(first);
        }
        self.flights.launch(sink, items, self.spec.keys.timeout.0, self.ordered, probe);
    }

    fn build(&mut self) {
        if !std::mem::replace(&mut self.building, true) {
            self.flights.build(Arc::clone(&self.spec.config), self.spec.context.clone());
        }
    }

    fn landed(&mut self, landed: Landed) {
        match landed {
            Landed::Built(built) => self.built(built),
            Landed::Batch { items, slots, probe } => {
                let now = Instant::now();
                let by = Bench { keys: &self.spec.keys, ordered: self.ordered, probe, now };
                let (verdicts, changes) = verdict::judge(&by, items, slots, &mut self.breaker);
                for change in changes {
                    self.log_change(&change);
                }
                let (mut again, mut done) = (Vec::new(), Vec::new());
                let mut turns = Turns::default();
                for verdict in verdicts {
                    turns.step();
                    match verdict {
                        Verdict::Again(item, due) => again.push((item, due)),
                        Verdict::Delivered(item) => {
                            self.window.ended(item.place.0, End::Delivered);
                            done.push(item);
                        }
                        Verdict::Dead(item, why) => {
                            let letter = self.letter(&item, why);
                            self.window.ended(item.place.0, End::Dead(Box::new(letter)));
                            done.push(item);
                        }
                    }
                }
                self.lanes.put_back(again, &done);
            }
        }
    }

    fn built(&mut self, built: Result<Shared, BuildError>) {
        self.building = false;
        let why = match built {
            Ok(sink) => {
                self.sink = Some(sink);
                let change = self.breaker.built(Instant::now());
                if let Some(change) = change {
                    self.log_change(&change);
                }
                return;
            }
            Err(BuildError::Unavailable(why)) => why,
            Err(BuildError::Refused(text)) => {
                if self.breaker.is_closed() {
                    error!(sink = %self.spec.name, "the sink cannot be opened: {text}");
                }
                Reason::new("refused", text)
            }
        };
        let change = self.breaker.trip(why, None, Instant::now());
        if let Some(change) = change {
            self.log_change(&change);
        }
    }

    // ── giving up, and telling ─────────────────────────────────────────────────────────────────────────────────────

    fn letter(&mut self, item: &Item, why: Reason) -> DeadLetter {
        self.log_dead(&item.delivery.id, &why);
        let event = &item.delivery.event;
        let now = Timestamp::now().as_microsecond();
        let payload = match &item.delivery.payload {
            sink_api::Payload::Body => None,
            sink_api::Payload::Json(bytes) => Some(bytes.clone()),
        };
        DeadLetter {
            id: item.delivery.id.clone(),
            position: item.place.0,
            kind: event.kind.to_string(),
            subject: event.subject.to_string(),
            key: item.delivery.key.to_string(),
            code: why.code.to_owned(),
            detail: why.detail,
            attempts: item.attempts,
            times: [event.time.as_microsecond(), item.first.map_or(now, |f| f.wall), now],
            event: Arc::new(event::encode(event, None, false)),
            payload,
            // A map of strings: serialising it cannot fail.
            target: serde_json::to_string(&item.delivery.target).unwrap_or_default(),
        }
    }

    fn log_change(&self, change: &Change) {
        match change {
            Change::Opened(why) => warn!(sink = %self.spec.name, reason = why.code, detail = %why.detail,
                "the sink does not take deliveries; holding them back and probing"),
            Change::Closed => info!(sink = %self.spec.name, "the sink takes deliveries again"),
        }
    }

    fn log_dead(&mut self, id: &str, why: &Reason) {
        if self.last_log.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.unlogged += 1;
            return;
        }
        self.last_log = Some(Instant::now());
        let others = std::mem::take(&mut self.unlogged);
        warn!(sink = %self.spec.name, id, reason = why.code, detail = %why.detail, others,
            "given up: kept as a dead letter");
    }

    // ── ending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Finishes or abandons what is under way, settles, closes the sink. An abandoned batch is no attempt.
    async fn finish(mut self, drain: Duration) {
        let until = tokio::time::Instant::now() + drain;
        while !self.flights.is_empty() {
            match tokio::time::timeout_at(until, self.flights.landed()).await {
                Ok(landed) => self.landed(landed),
                Err(_) => self.flights.abandon().await,
            }
        }
        self.settler.finish(&mut self.window).await;
        if let Some(sink) = self.sink.take().and_then(|shared| Arc::try_unwrap(shared).ok())
            && tokio::time::timeout(CLOSE_TIMEOUT, sink.close()).await.is_err()
        {
            warn!(sink = %self.spec.name, "the sink did not close in time");
        }
    }
}
