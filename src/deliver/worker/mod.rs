//! One sink's worker: the loop that reads, routes, delivers and settles.
//!
//! It holds at most [`WINDOW_EVENTS`] events and [`WINDOW_BYTES`] of payloads between the sink's cursor and its reading
//! place; after a kill at most these are delivered again.

mod reading;
mod retrying;
mod telling;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{BuildError, Defaults, Reason, SinkConfig, SinkContext, Timestamp, Turns};
use tokio::sync::watch;
use tracing::{error, warn};

use super::asking::Questions;
use super::book::Book;
use super::breaker::Breaker;
use super::config::{DeliveryKeys, Ordering};
use super::flight::{Flights, Landed, Shared};
use super::item::{FirstTry, Item, Ordinal};
use super::lanes::Lanes;
use super::rate_limit::{Rate, RateLimiter};
use super::parked::Parked;
use super::settler::Settler;
use super::verdict::{self, Returned, Verdict};
use super::window::{End, Window};
use crate::event;
use crate::journal::{Chunk, Journal, JournalError, Position, Spent};
use crate::ledger::{Ledger, Room};
use crate::route::jq::Said;
use crate::route::{Destination, RuleSet};
use retrying::Fetching;
use telling::Rarely;

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
    /// Where its deliveries are parked.
    pub ledger: Arc<Ledger>,
}

/// What was read.
struct Read {
    chunk: Chunk,
    /// What jq says about each event of it; nothing where no rule asks.
    said: Vec<Option<Said>>,
    /// Those that asked.
    rules: Arc<RuleSet>,
    /// What the sink was owed of what is gone.
    dropped: u64,
}
type Reading = Pin<Box<dyn Future<Output = Result<Read, JournalError>> + Send>>;

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
    rate_limiter: RateLimiter,
    flights: Flights,
    settler: Settler,
    parked: Parked,
    /// Parked deliveries that are in memory to be tried again.
    retries: Lanes,
    retries_under_way: usize,
    /// Whether the last batch was of them.
    was_retry: bool,
    was_full: bool,
    fetching: Option<Fetching>,
    /// Sets apart places of deliveries fetched.
    fetched: u32,
    reading: Option<Reading>,
    caught_up: bool,
    linger_until: Option<Instant>,
    last_probe: Option<Ordinal>,
    last_parked_probe: Option<Ordinal>,
    dead_log: Rarely,
    failed_log: Rarely,
}

/// Runs a sink from `cursor` on until `stop` turns true, then finishes or abandons what is under way within `drain`.
pub async fn run(
    spec: Spec,
    cursor: Position,
    mut rules: watch::Receiver<Arc<RuleSet>>,
    journal: Arc<dyn Journal>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut worker = Worker::new(spec, cursor, rules.borrow_and_update().clone(), journal);
    // What is parked stands before what comes: nothing is read until it is known.
    tokio::select! {
        () = worker.load_parked() => worker.build(),
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let book = Arc::clone(&worker.spec.book);
    while !*stop.borrow_and_update() {
        let wake = worker.advance(Instant::now());
        worker.prepare_fetch(Instant::now());
        worker.prepare_read();
        tokio::select! {
            landed = worker.flights.landed() => worker.landed(landed),
            written = worker.settler.written() => worker.written(written),
            chunk = next(&mut worker.reading) => worker.fed(chunk),
            fetched = next(&mut worker.fetching) => worker.take_in(fetched),
            () = book.notified() => tokio::select! {
                () = worker.load_parked() => {}
                _ = stop.wait_for(|stop| *stop) => {}
            },
            () = tokio::time::sleep_until(wake.into()) => {}
            Ok(()) = rules.changed() => worker.follow(rules.borrow_and_update().clone()),
            changed = stop.changed() => if changed.is_err() { break },
        }
    }
    worker.finish(drain).await;
}

/// Waits for what is under way, for ever where nothing is. Cancel-safe.
async fn next<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    let Some(under_way) = future else { return std::future::pending().await };
    let outcome = under_way.await;
    *future = None;
    outcome
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
            rate_limiter: RateLimiter::new(spec.keys.rate.as_deref().and_then(Rate::parse), Instant::now()),
            flights: Flights::default(),
            settler: Settler::new(Arc::clone(&journal), &spec.name, &spec.room, &spec.book, cursor),
            parked: Parked::new(spec.keys.parked_max.0),
            retries: Lanes::new(ordered),
            retries_under_way: 0,
            was_retry: false,
            was_full: false,
            fetching: None,
            fetched: 0,
            journal,
            spec,
            reading: None,
            caught_up: false,
            linger_until: None,
            last_probe: None,
            last_parked_probe: None,
            dead_log: Rarely::default(),
            failed_log: Rarely::default(),
        }
    }

    // ── delivering ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Starts whatever may start now, and says when to look again.
    fn advance(&mut self, now: Instant) -> Instant {
        self.lanes.wake(now);
        self.retries.wake(now);
        self.park_behind(now);
        self.tell_parked();
        // First: where what was given up finds no room, nothing more is tried.
        let due = self.settler.due(&mut self.window, now);
        self.settler.tell_room();
        if self.breaker.is_closed() {
            self.dispatch(now);
        } else if self.breaker.probe_at().is_some_and(|at| at <= now)
            && self.flights.is_empty()
            && !self.settler.is_full()
            && self.rate_limiter.available(now) > 0
        {
            self.probe(now);
        }
        self.spec.book.set_breaker(self.breaker.state());
        if due.is_some_and(|at| at <= now) {
            self.settler.start(now);
        }
        let is_closed = self.breaker.is_closed();
        let gate = if is_closed { self.lanes.next_due() } else { self.breaker.probe_at() };
        let again = if is_closed { self.retries.next_due() } else { None };
        let fetch = if self.may_fetch() { self.parked.next_due() } else { None };
        let idle = now + Duration::from_secs(3600);
        [gate, again, fetch, self.linger_until, due, self.rate_limiter.next_at(now)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
            .unwrap_or(idle)
    }

    fn dispatch(&mut self, now: Instant) {
        let Some(sink) = self.sink.clone() else { return };
        while self.flights.len() < self.spec.limits.concurrency && !self.settler.is_full() {
            let most = self.spec.limits.max_events.min(self.rate_limiter.available(now));
            let is_retry = self.is_turn_of_retries();
            if most == 0 || (!is_retry && self.lingers(most, now)) {
                return;
            }
            let lanes = if is_retry { &mut self.retries } else { &mut self.lanes };
            let items = lanes.take(most, self.spec.limits.max_bytes);
            if items.is_empty() {
                break;
            }
            let items = if is_retry { items } else { self.park_suspects(items, now) };
            self.launch(&sink, items, false);
        }
        if self.lanes.ready() == 0 {
            self.linger_until = None;
        }
    }

    /// Whether a batch that would not be full waits for more.
    fn lingers(&mut self, most: usize, now: Instant) -> bool {
        if (1..most).contains(&self.lanes.ready()) {
            let until = *self.linger_until.get_or_insert(now + self.spec.limits.linger);
            if now < until {
                return true;
            }
        }
        self.linger_until = None;
        false
    }

    /// One real delivery to see whether the sink is back, of another event each time.
    fn probe(&mut self, now: Instant) {
        let Some(sink) = self.sink.clone() else {
            self.breaker.probing();
            self.build();
            return;
        };
        let item = match self.was_retry {
            true => self.lanes.take_probe(self.last_probe, now).or_else(|| self.probe_parked(now)),
            false => self.probe_parked(now).or_else(|| self.lanes.take_probe(self.last_probe, now)),
        };
        if let Some(item) = item {
            let last = if item.parked.is_some() { &mut self.last_parked_probe } else { &mut self.last_probe };
            *last = Some(item.ordinal);
            self.breaker.probing();
            self.launch(&sink, vec![item], true);
        }
    }

    fn probe_parked(&mut self, now: Instant) -> Option<Item> {
        self.retries.take_probe(self.last_parked_probe, now)
    }

    fn launch(&mut self, sink: &Shared, mut items: Vec<Item>, probe: bool) {
        if items.is_empty() {
            return;
        }
        let now = Instant::now();
        self.rate_limiter.consume(items.len(), now);
        let first =
            FirstTry { at: now, wall: Timestamp::now().as_microsecond(), open_before: self.breaker.time_open(now) };
        for item in &mut items {
            item.first.get_or_insert(first);
        }
        self.was_retry = items.first().is_some_and(|item| item.parked.is_some());
        self.retries_under_way += usize::from(self.was_retry);
        self.flights.launch(sink, items, self.spec.keys.timeout.0, self.ordered, probe);
    }

    /// From here on these rules hold, for events not yet read.
    fn follow(&mut self, rules: Arc<RuleSet>) {
        self.questions = Questions::new(&self.spec.name, &rules);
        self.rules = rules;
        // What is being read would be routed by the old ones: it is read again.
        self.reading = None;
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
                let is_retry = items.first().is_some_and(|item| item.parked.is_some());
                let now = Instant::now();
                let batch = Returned { keys: &self.spec.keys, ordered: self.ordered, probe, now };
                let (verdicts, changes) = verdict::judge(&batch, items, slots, &mut self.breaker);
                for verdict in &verdicts {
                    if let Verdict::Failed(item, _, why) = verdict {
                        self.log_failed(&item.delivery.id, why);
                    }
                }
                for change in changes {
                    self.log_change(&change);
                }
                if is_retry {
                    self.retries_under_way = self.retries_under_way.saturating_sub(1);
                    self.retried(verdicts, now);
                } else {
                    self.tried(verdicts, now);
                }
            }
        }
    }

    /// First tries, and those that came soon after.
    fn tried(&mut self, verdicts: Vec<Verdict>, now: Instant) {
        let (mut again, mut done) = (Vec::new(), Vec::with_capacity(verdicts.len()));
        let mut turns = Turns::default();
        for verdict in verdicts {
            turns.step();
            match verdict {
                Verdict::Again(item, due) => again.push((item, due)),
                Verdict::Failed(item, due, _) if !self.may_park(&item, due, now) => again.push((item, Some(due))),
                Verdict::Failed(item, due, why) => {
                    self.park(&item, due, why, now);
                    done.push(item);
                }
                Verdict::Delivered(item) => {
                    self.window.ended(item.ordinal.position, End::Delivered);
                    done.push(item);
                }
                Verdict::Dead(item, why) => {
                    self.log_dead(&item.delivery.id, &why);
                    let letter = self.keep(&item, why, None, Spent::default());
                    self.window.ended(item.ordinal.position, End::Held(Box::new(letter)));
                    done.push(item);
                }
            }
        }
        let behind: Vec<Arc<str>> = match self.ordered && !self.parked.is_empty() {
            true => again.iter().map(|(item, _)| item).chain(&done).map(|item| item.delivery.key.clone()).collect(),
            false => vec![],
        };
        self.lanes.put_back(again, &done);
        behind.iter().filter(|key| self.parked.holds(key)).for_each(|key| self.lanes.set_behind_parked(key));
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
