//! Carries what a sink has settled into the ledger: gathered into a step for each shard, written at intervals, kept
//! until the steps are durable. The settler owns the sink's windows, from which its steps get cursor, counts and rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Delivery, Payload, Timestamp};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::accounting::Accounted;
use super::book::Book;
use super::budget;
use super::window::{self, End, Event, Passed, Window};
use crate::journal::{Marks, Position};
use crate::ledger::held::size_of;
use crate::ledger::runs::{Ended, Skip, suffix, tick};
use crate::ledger::{Counters, Fate, HeldDelivery, ParkedFate, SettleError, Settlement, SinkStorage};

/// How often a sink's steps are made durable while the sink is busy. What was delivered since the last one is delivered
/// again after a kill.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// So many settled events are made durable at once, however soon, so that little is delivered again after a kill.
pub const EVENTS: u64 = 1000;
/// Rows for the ledger that may wait; beyond that the sink pauses.
const MAX_ROWS: usize = 1000;
/// Bytes of rows that may wait; beyond that the sink pauses.
const MAX_BYTES: u64 = 16 << 20;
/// So many fates of parked deliveries are made durable at once, however soon: until then no more of the same lanes is
/// tried.
const FATES: usize = 64;
/// How often the settler looks for room for dead letters where there was none.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

type Written = (Vec<Settlement>, Result<(), SettleError>);

/// What the book was told already of steps that are not durable yet: to be taken back where they are not written.
#[derive(Clone, Copy, Debug, Default)]
struct Booked {
    /// By how much the book was adjusted.
    adjustment: i64,
    /// Steps that were begun in the book.
    steps: u32,
    /// Deliveries that these steps bring.
    deliveries: u64,
}

impl Booked {
    fn add(&mut self, other: Self) {
        self.adjustment += other.adjustment;
        self.steps += other.steps;
        self.deliveries += other.deliveries;
    }
}

/// What is on its way into the ledger of one shard.
#[derive(Debug, Default)]
struct Shard {
    /// What was read of it; `None` until the shard is given.
    window: Option<Window>,
    /// The cursor that the ledger has.
    durable: Option<Position>,
    /// The step that is gathered; its `sink` is set when it goes.
    next: Settlement,
    /// What the book was told of the step that is gathered, and of the one that is being written.
    booked: [Booked; 2],
}

impl Shard {
    fn is_something(&self) -> bool {
        self.next.cursor.is_some() || !self.next.held.is_empty() || !self.next.fates.is_empty()
    }

    /// Gathers what the cursor has passed; says how many bytes that takes.
    fn gather(&mut self) -> u64 {
        let Some(window) = &mut self.window else { return 0 };
        let passed = window.take_passed();
        self.next.delta.add(&passed.tally);
        self.booked[0].adjustment += passed.adjustment;
        let bytes = passed.held.iter().map(size_of).sum();
        self.next.held.extend(passed.held);
        self.next.noted.extend(passed.noted);
        passed.runs.into_iter().for_each(|run| self.next.passed.add(run));
        self.next.passed.from = self.durable.map(|durable| durable.offset);
        let cursor = window.cursor();
        self.next.cursor = (self.durable != Some(cursor)).then_some(cursor);
        bytes
    }

    /// Takes back from the book what was not written: it is done again, here or elsewhere.
    fn take_back(&self, book: &Book) {
        let Booked { adjustment, steps, deliveries } = self.booked[0];
        let open = self.window.as_ref().map_or(0, Window::open_adjustment);
        book.adjust(-adjustment - open);
        book.steps_end(steps, deliveries);
    }
}

/// One sink's steps on their way into the ledger.
pub struct Settler {
    storage: SinkStorage,
    sink: String,
    book: Arc<Book>,
    shards: BTreeMap<u32, Shard>,
    /// Shards that are another's by now.
    lost: Vec<u32>,
    /// Bytes that the rows take which are gathered.
    bytes: u64,
    writing: Option<JoinHandle<Written>>,
    /// When steps were written last.
    last: Option<Instant>,
    failing: bool,
}

impl Settler {
    /// Nothing is read yet, and of no shard is known where it goes on.
    pub fn new(storage: SinkStorage, sink: &str, book: &Arc<Book>) -> Self {
        Self {
            storage,
            sink: sink.to_owned(),
            book: Arc::clone(book),
            shards: BTreeMap::new(),
            lost: vec![],
            bytes: 0,
            writing: None,
            last: None,
            failing: false,
        }
    }

    fn shard(&mut self, number: u32) -> &mut Shard {
        self.shards.entry(number).or_insert_with(|| Shard {
            next: Settlement { shard: number, ..Settlement::default() },
            ..Shard::default()
        })
    }

    fn window(&mut self, shard: u32) -> Option<&mut Window> {
        self.shards.get_mut(&shard)?.window.as_mut()
    }

    // ── what is read and delivered ──

    /// These shards are read from now on, each from its durable cursor.
    pub fn given(&mut self, cursors: &Marks) {
        for cursor in cursors.iter() {
            let shard = self.shard(cursor.shard);
            (shard.window, shard.durable) = (Some(Window::new(cursor)), Some(cursor));
        }
    }

    /// Whether more may be read.
    pub fn has_room(&self) -> bool {
        let add = |(events, bytes): (usize, u64), (more, size): (usize, u64)| (events + more, bytes + size);
        let windows = self.shards.values().filter_map(|shard| shard.window.as_ref());
        let (events, bytes) = windows.map(Window::size).fold((0, 0), add);
        events < window::MAX_EVENTS && bytes < window::MAX_BYTES && !self.is_full()
    }

    /// What the sink is charged for events that are read and not passed, and for rows that wait for the ledger.
    pub fn charge(&self) -> u64 {
        let windows = self.shards.values().filter_map(|shard| shard.window.as_ref());
        windows.map(Window::charge).sum::<u64>().saturating_add(self.bytes)
    }

    /// Opens an event that was counted as `counted` deliveries when it was appended and whose record has so many bytes,
    /// and gives the deliveries to be made.
    pub fn open(&mut self, at: Position, counted: u64, record: u64, event: Accounted) -> Vec<Delivery> {
        let Accounted { counts, deliveries, letters, filtered } = event;
        let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let adjustment = signed(counts.accepted).saturating_sub(signed(counted));
        self.book.adjust(adjustment);
        let event = Event {
            deliveries: u32::try_from(deliveries.len()).unwrap_or(u32::MAX),
            bytes: deliveries.iter().map(|delivery| delivery.bytes().len() as u64).sum(),
            charge: budget::charge(record, deliveries.len()).saturating_add(deliveries.iter().map(made).sum()),
            ended: ended_by_rules(filtered, &letters, deliveries.len()),
            passed: Passed { tally: counts, held: letters, adjustment, ..Passed::default() },
            more: 0,
        };
        if let Some(window) = self.window(at.shard) {
            window.opened(at, event);
        }
        deliveries
    }

    /// Books what the sink was owed of a gap that ends there and will never get. It travels with the cursor: the step
    /// that moves the cursor over the gap counts it, once.
    pub fn drop_owed(&mut self, end: Position, dropped: u64) {
        let passed =
            Passed { tally: Counters { accepted: dropped, dropped, ..Counters::default() }, ..Passed::default() };
        if let Some(window) = self.window(end.shard) {
            let at = window.read_position();
            let more = end.offset.saturating_sub(at.offset).saturating_sub(1);
            let ended = vec![Ended::Skipped { why: Skip::Deleted, tick: tick_now() }];
            window.opened(at, Event { passed, ended, more, ..Event::default() });
        }
    }

    /// Every event of that shard before `next` was read.
    pub fn read_to(&mut self, next: Position) {
        if let Some(window) = self.window(next.shard) {
            window.read_to(next);
        }
    }

    /// Takes note that a delivery of the event at that position ended.
    pub fn ended(&mut self, at: Position, end: End) {
        if let Some(window) = self.window(at.shard) {
            window.ended(at, end);
        }
    }

    /// Takes note of what became of a parked delivery of that shard, and of what that adds to the totals.
    pub fn decided(&mut self, shard: u32, parked: ParkedFate, counts: &Counters) {
        if self.lost.contains(&shard) {
            return;
        }
        if let Fate::Replaced(by) = &parked.fate {
            self.bytes += by.iter().map(size_of).sum::<u64>();
        }
        let accepted = counts.accepted;
        if accepted > 0 {
            self.book.step_begins(accepted);
        }
        let shard = self.shard(shard);
        shard.booked[0].add(Booked { adjustment: 0, steps: u32::from(accepted > 0), deliveries: accepted });
        shard.next.delta.add(counts);
        shard.next.fates.push(parked);
    }

    // ── room ──

    /// Whether so much waits for the ledger that nothing more may be tried.
    pub fn is_full(&self) -> bool {
        let rows = |step: &Settlement| step.held.len() + step.fates.len() + step.noted.len();
        let rows = self.steps().map(rows).sum::<usize>();
        rows >= MAX_ROWS || self.bytes >= MAX_BYTES || self.is_stuck()
    }

    /// Whether dead letters wait for room (`[dead_letters] max_size`). Until there is some nothing is settled, as the
    /// cursor must not pass them.
    pub fn is_stuck(&self) -> bool {
        self.steps().any(Settlement::buries) && !self.storage.has_room()
    }

    /// Says when dead letters find no room, and when they do again.
    pub fn tell_room(&self) {
        let (sink, stuck) = (&self.sink, self.is_stuck());
        match (self.book.set_stuck(stuck), stuck) {
            (false, true) => error!(%sink, max_size = self.storage.held_budget().max(),
                "[dead_letters] has no room for what this sink gives up: it waits; see `hookrelay dead list`"),
            (true, false) => info!(%sink, "there is room for dead letters again"),
            _ => {}
        }
    }

    // ── into the ledger ──

    /// The steps that are gathered.
    fn steps(&self) -> impl Iterator<Item = &Settlement> {
        self.shards.values().map(|shard| &shard.next)
    }

    /// Gathers what the cursors have passed; says whether there is anything to write.
    fn gather(&mut self) -> bool {
        let mut is_something = false;
        for shard in self.shards.values_mut() {
            self.bytes += shard.gather();
            is_something |= shard.is_something();
        }
        is_something
    }

    /// When the next step is due, where there is one and none is being written.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let events = self.steps().map(|step| step.delta.accepted).sum::<u64>();
        let fates = self.steps().map(|step| step.fates.len()).sum::<usize>();
        let many = (events >= EVENTS || fates >= FATES) && !self.failing;
        let regular = self.last.map_or(now, |last| last + INTERVAL);
        let is_something = self.gather();
        if self.writing.is_some() || !is_something {
            return None;
        }
        Some(match self.is_stuck() {
            true => now + ROOM_PAUSE,
            false if many => now,
            false => regular,
        })
    }

    /// Starts writing the next step.
    pub fn start(&mut self, now: Instant) {
        self.last = Some(now);
        self.bytes = 0;
        let mut steps = Vec::with_capacity(self.shards.len());
        for (number, shard) in self.shards.iter_mut().filter(|(_, shard)| shard.is_something()) {
            let empty = Settlement { shard: *number, ..Settlement::default() };
            shard.booked = [Booked::default(), shard.booked[0]];
            steps.push(Settlement { sink: self.sink.clone(), ..std::mem::replace(&mut shard.next, empty) });
        }
        let storage = self.storage.clone();
        self.writing = Some(tokio::spawn(async move {
            let result = storage.settle(steps.clone()).await;
            (steps, result)
        }));
    }

    /// Whether steps are being written.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Waits for the steps that are being written, for ever where there are none, and gives those that are durable now.
    /// Cancel-safe.
    pub async fn written(&mut self) -> Vec<Settlement> {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let outcome = writing.await;
        self.writing = None;
        match outcome {
            Ok((steps, Ok(()))) => {
                for step in &steps {
                    let shard = self.shard(step.shard);
                    shard.durable = step.cursor.or(shard.durable);
                    let booked = std::mem::take(&mut shard.booked[1]);
                    self.book.steps_end(booked.steps, 0);
                }
                if std::mem::take(&mut self.failing) {
                    warn!(sink = %self.sink, "the ledger can be written again");
                }
                return steps;
            }
            Ok((steps, Err(error))) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(sink = %self.sink, %error, "the ledger cannot be written; the cursor waits");
                }
                for step in steps {
                    self.bytes += step.held.iter().map(size_of).sum::<u64>();
                    let next = &mut self.shard(step.shard).next;
                    next.delta.add(&step.delta);
                    next.held.splice(0..0, step.held);
                    next.fates.splice(0..0, step.fates);
                    next.noted.splice(0..0, step.noted);
                    let later = std::mem::replace(&mut next.passed, step.passed);
                    next.passed.extend(later);
                }
            }
            // The task does not panic by itself. Where the runtime is going down, what it carried is delivered again.
            Err(error) => warn!(sink = %self.sink, %error, "a step was not settled"),
        }
        for shard in self.shards.values_mut() {
            let booked = std::mem::take(&mut shard.booked[1]);
            shard.booked[0].add(booked);
        }
        vec![]
    }

    /// Writes everything that is left, once.
    pub async fn finish(&mut self) {
        if self.writing.is_some() {
            self.written().await;
        }
        // Dead letters without room are delivered again, and given up again, in the next life.
        if self.gather() && !self.is_stuck() {
            self.start(Instant::now());
            self.written().await;
        }
        // What was not written is done again in the next life.
        self.shards.values().for_each(|shard| shard.take_back(&self.book));
        self.shards.clear();
    }

    /// These shards are another's: what was read of them is not settled any more.
    pub async fn forget(&mut self, shards: &[u32]) {
        if self.writing.is_some() {
            self.written().await;
        }
        for shard in shards.iter().filter_map(|shard| self.shards.remove(shard)) {
            shard.take_back(&self.book);
        }
        self.lost.extend(shards);
    }
}

/// Bytes that a transform has made of the event for this delivery.
fn made(delivery: &Delivery) -> u64 {
    match &delivery.payload {
        Payload::Body => 0,
        Payload::Json(bytes) => bytes.len() as u64,
    }
}

/// How what the rules alone decided of an event ended, with room for so many deliveries.
fn ended_by_rules(filtered: Vec<Arc<str>>, letters: &[HeldDelivery], deliveries: usize) -> Vec<Ended> {
    let mut ended = Vec::with_capacity(filtered.len() + letters.len() + deliveries);
    if filtered.is_empty() && letters.is_empty() {
        return ended;
    }
    let now = tick_now();
    let filtered = filtered.into_iter().map(|route| Ended::Filtered { route, tick: now });
    ended.extend(filtered.chain(letters.iter().map(|letter| Ended::Held { suffix: suffix(&letter.id).into() })));
    ended
}

fn tick_now() -> i64 {
    tick(Timestamp::now().as_microsecond())
}
