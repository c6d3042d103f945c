//! Carries what a sink has settled into the ledger: gathered into a step, written at intervals, kept until the step is
//! durable. The settler owns the sink's window, from which its steps get cursor, counts and rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::Delivery;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::accounting::Accounted;
use super::book::Book;
use super::window::{End, Passed, Window};
use crate::journal::{Counters, Fate, Journal, JournalError, Position, Settlement, Turn};
use crate::ledger::Room;
use crate::ledger::held::size_of;

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

type Written = (Settlement, Result<(), JournalError>);

/// What the book was told already of a step that is not durable yet: to be taken back where the step is not written.
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

/// One sink's steps on their way into the ledger.
pub struct Settler {
    journal: Arc<dyn Journal>,
    sink: String,
    room: Arc<Room>,
    book: Arc<Book>,
    window: Window,
    /// The cursor that the ledger has.
    durable: Position,
    /// The step that is gathered.
    next: Settlement,
    /// Bytes that the rows in `next` take.
    bytes: u64,
    writing: Option<JoinHandle<Written>>,
    /// What the book was told of the step that is gathered, and of the one that is being written.
    booked: [Booked; 2],
    /// When a step was written last.
    last: Option<Instant>,
    failing: bool,
}

impl Settler {
    /// Starts from the sink's durable cursor.
    pub fn new(journal: Arc<dyn Journal>, sink: &str, room: &Arc<Room>, book: &Arc<Book>, durable: Position) -> Self {
        Self {
            journal,
            sink: sink.to_owned(),
            room: Arc::clone(room),
            book: Arc::clone(book),
            window: Window::new(durable),
            durable,
            next: Settlement { sink: sink.to_owned(), ..Settlement::default() },
            bytes: 0,
            writing: None,
            booked: Default::default(),
            last: None,
            failing: false,
        }
    }

    // ── what is read and delivered ─────────────────────────────────────────────────────────────────────────────────

    /// From where to read on, where more may be read.
    pub fn read_position(&self) -> Option<Position> {
        (!self.window.is_full() && !self.is_full()).then(|| self.window.read_position())
    }

    /// Opens an event that was counted as `counted` deliveries when it was appended, and gives the deliveries to be
    /// made.
    pub fn open(&mut self, at: Position, counted: u64, event: Accounted) -> Vec<Delivery> {
        let Accounted { counts, deliveries, letters } = event;
        let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let adjustment = signed(counts.accepted).saturating_sub(signed(counted));
        self.book.adjust(adjustment);
        let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
        let bytes = deliveries.iter().map(|delivery| delivery.bytes().len() as u64).sum();
        self.window.opened(at, count, bytes, Passed { tally: counts, held: letters, adjustment });
        deliveries
    }

    /// Books what the sink was owed of a gap in the journal and will never get. It travels with the cursor: the step
    /// that moves the cursor over the gap counts it, once.
    pub fn drop_owed(&mut self, dropped: u64) {
        let tally = Counters { accepted: dropped, dropped, ..Counters::default() };
        self.window.opened(self.window.read_position(), 0, 0, Passed { tally, ..Passed::default() });
    }

    /// Every event before `next` was read.
    pub fn read_to(&mut self, next: Position) {
        self.window.read_to(next);
    }

    /// Takes note that a delivery of the event at that position ended.
    pub fn ended(&mut self, at: Position, end: End) {
        self.window.ended(at, end);
    }

    /// Takes note of what became of a parked delivery, and of what that adds to the totals.
    pub fn decided(&mut self, turn: Turn, counts: &Counters) {
        self.next.delta.add(counts);
        if counts.accepted > 0 {
            self.book.step_begins(counts.accepted);
            self.booked[0].add(Booked { adjustment: 0, steps: 1, deliveries: counts.accepted });
        }
        if let Fate::Replaced(by) = &turn.fate {
            self.bytes += by.iter().map(size_of).sum::<u64>();
        }
        self.next.turns.push(turn);
    }

    // ── room ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether so much waits for the ledger that nothing more may be tried.
    pub fn is_full(&self) -> bool {
        self.next.held.len() + self.next.turns.len() >= MAX_ROWS || self.bytes >= MAX_BYTES || self.is_stuck()
    }

    /// Whether dead letters wait for room (`[dead_letters] max_size`). Until there is some nothing is settled, as the
    /// cursor must not pass them.
    pub fn is_stuck(&self) -> bool {
        self.next.buries() && !self.room.takes(&self.sink)
    }

    /// Says when dead letters find no room, and when they do again.
    pub fn tell_room(&self) {
        let (sink, stuck) = (&self.sink, self.is_stuck());
        match (self.book.set_stuck(stuck), stuck) {
            (false, true) => error!(%sink, max_size = self.room.max(),
                "[dead_letters] has no room for what this sink gives up: it waits; see `hookrelay dead list`"),
            (true, false) => info!(%sink, "there is room for dead letters again"),
            _ => {}
        }
    }

    // ── into the ledger ────────────────────────────────────────────────────────────────────────────────────────────

    /// Gathers what the cursor has passed; says whether there is anything to write.
    fn gather(&mut self) -> bool {
        let passed = self.window.take_passed();
        self.next.delta.add(&passed.tally);
        self.booked[0].adjustment += passed.adjustment;
        self.bytes += passed.held.iter().map(size_of).sum::<u64>();
        self.next.held.extend(passed.held);
        let cursor = self.window.cursor();
        self.next.cursor = (cursor != self.durable).then_some(cursor);
        self.next.cursor.is_some() || !self.next.held.is_empty() || !self.next.turns.is_empty()
    }

    /// When the next step is due, where there is one and none is being written.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let many = (self.next.delta.accepted >= EVENTS || self.next.turns.len() >= FATES) && !self.failing;
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
        self.booked = [Booked::default(), self.booked[0]];
        let step = std::mem::replace(&mut self.next, Settlement { sink: self.sink.clone(), ..Settlement::default() });
        let journal = Arc::clone(&self.journal);
        self.writing = Some(tokio::spawn(async move {
            let result = journal.settle(vec![step.clone()]).await;
            (step, result)
        }));
    }

    /// Waits for the step that is being written, for ever where there is none, and gives the step where it is durable
    /// now. Cancel-safe.
    pub async fn written(&mut self) -> Option<Settlement> {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let outcome = writing.await;
        self.writing = None;
        let booked = std::mem::take(&mut self.booked[1]);
        match outcome {
            Ok((step, Ok(()))) => {
                self.book.steps_end(booked.steps, 0);
                self.durable = step.cursor.unwrap_or(self.durable);
                if std::mem::take(&mut self.failing) {
                    warn!(sink = %self.sink, "the ledger can be written again");
                }
                return Some(step);
            }
            Ok((step, Err(error))) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(sink = %self.sink, %error, "the ledger cannot be written; the cursor waits");
                }
                self.booked[0].add(booked);
                self.next.delta.add(&step.delta);
                self.bytes += step.held.iter().map(size_of).sum::<u64>();
                self.next.held.splice(0..0, step.held);
                self.next.turns.splice(0..0, step.turns);
            }
            // The task does not panic by itself. Where the runtime is going down, what it carried is delivered again.
            Err(error) => {
                self.booked[0].add(booked);
                warn!(sink = %self.sink, %error, "a step was not settled");
            }
        }
        None
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
        let Booked { adjustment, steps, deliveries } = std::mem::take(&mut self.booked[0]);
        self.book.adjust(-adjustment - self.window.open_adjustment());
        self.book.steps_end(steps, deliveries);
    }
}
