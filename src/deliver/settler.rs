//! Carries a sink's settled steps into the journal's ledger: gathered, written at intervals, kept until they are durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::book::Book;
use super::window::Window;
use crate::journal::{Counters, Fate, Journal, JournalError, Position, Settlement, Turn};
use crate::ledger::Room;
use crate::ledger::held::size_of;

/// How often a sink's steps are made durable while it is busy. What was delivered since is delivered again after a kill.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// So many settled events are made durable at once, however soon: what a kill makes us deliver again stays small.
pub const EVENTS: u64 = 1000;
/// Rows for the ledger that may wait; beyond, the sink pauses.
const MAX_ROWS: usize = 1000;
/// Bytes of them; beyond, the sink pauses.
const MAX_BYTES: u64 = 16 << 20;
/// So many steps of what the ledger keeps are made durable at once: until then no more of the same lanes is tried.
const TURNS: usize = 64;
/// How often room for dead letters is looked for where there was none.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

type Written = (Settlement, Result<(), JournalError>);

/// What the book was told already of what is not durable yet: taken back where it does not come to be.
#[derive(Clone, Copy, Debug, Default)]
struct Booked {
    /// Beyond what was counted at append.
    adjustment: i64,
    /// Steps that bring more than was counted, and how much.
    steps: u32,
    more: u64,
}

impl Booked {
    fn add(&mut self, other: Self) {
        self.adjustment += other.adjustment;
        self.steps += other.steps;
        self.more += other.more;
    }
}

/// One sink's steps on their way.
pub struct Settler {
    journal: Arc<dyn Journal>,
    sink: String,
    room: Arc<Room>,
    book: Arc<Book>,
    durable: Position,
    next: Settlement,
    /// Room that what is in `next` takes in memory.
    bytes: u64,
    writing: Option<JoinHandle<Written>>,
    /// Of what is in `next`, and of what is being written.
    booked: [Booked; 2],
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
            durable,
            next: Settlement { sink: sink.to_owned(), ..Settlement::default() },
            bytes: 0,
            writing: None,
            booked: Default::default(),
            last: None,
            failing: false,
        }
    }

    /// Whether so much waits for the ledger that no more may be made.
    pub fn is_full(&self) -> bool {
        self.next.held.len() + self.next.turns.len() >= MAX_ROWS || self.bytes >= MAX_BYTES || self.is_stuck()
    }

    /// What became of a delivery the ledger keeps, and what that adds to the counts.
    pub fn turned(&mut self, turn: Turn, delta: &Counters) {
        self.next.delta.add(delta);
        if delta.accepted > 0 {
            self.book.step_begins(delta.accepted);
            self.booked[0].add(Booked { adjustment: 0, steps: 1, more: delta.accepted });
        }
        if let Fate::Replaced(by) = &turn.fate {
            self.bytes += by.iter().map(size_of).sum::<u64>();
        }
        self.next.turns.push(turn);
    }

    /// Whether dead letters wait for room (`[dead_letters] max_size`). Until there is some nothing is settled: the cursor
    /// must not pass them.
    pub fn is_stuck(&self) -> bool {
        self.next.buries() && !self.room.takes(&self.sink)
    }

    /// Tells when dead letters find no room, and when they do again.
    pub fn tell_room(&self) {
        let (sink, stuck) = (&self.sink, self.is_stuck());
        match (self.book.set_stuck(stuck), stuck) {
            (false, true) => error!(%sink, max_size = self.room.max(),
                "[dead_letters] has no room for what this sink gives up: it waits; see `hookrelay dead list`"),
            (true, false) => info!(%sink, "there is room for dead letters again"),
            _ => {}
        }
    }

    /// Whether a write is under way.
    pub fn is_busy(&self) -> bool {
        self.writing.is_some()
    }

    fn gather(&mut self, window: &mut Window) -> bool {
        let passed = window.take_passed();
        self.next.delta.add(&passed.tally);
        self.booked[0].adjustment += passed.adjustment;
        self.bytes += passed.held.iter().map(size_of).sum::<u64>();
        self.next.held.extend(passed.held);
        let cursor = window.cursor();
        self.next.cursor = (cursor != self.durable).then_some(cursor);
        self.next.cursor.is_some() || !self.next.held.is_empty() || !self.next.turns.is_empty()
    }

    /// When the next step is due, where there is one and none is under way.
    pub fn due(&mut self, window: &mut Window, now: Instant) -> Option<Instant> {
        let many = (self.next.delta.accepted >= EVENTS || self.next.turns.len() >= TURNS) && !self.failing;
        let regular = self.last.map_or(now, |last| last + INTERVAL);
        let is_something = self.gather(window);
        if self.is_busy() || !is_something {
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

    /// Waits for the write under way, for ever where there is none, and gives what is durable now. Cancel-safe.
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
            // The task cannot panic by itself; where the runtime is going down, what it carried is delivered again.
            Err(error) => {
                self.booked[0].add(booked);
                warn!(sink = %self.sink, %error, "a step was not settled");
            }
        }
        None
    }

    /// Writes everything left, once.
    pub async fn finish(&mut self, window: &mut Window) {
        if self.is_busy() {
            self.written().await;
        }
        // What has no room is delivered again, and given up again, in the next life.
        if self.gather(window) && !self.is_stuck() {
            self.start(Instant::now());
            self.written().await;
        }
        // What did not come to be is done again.
        let Booked { adjustment, steps, more } = std::mem::take(&mut self.booked[0]);
        self.book.adjust(-adjustment - window.open_adjustment());
        self.book.steps_end(steps, more);
    }
}
