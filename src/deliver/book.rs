//! What a worker shows of itself while it runs, what `status` needs of its start, and by which rules events were counted
//! for it. Plain numbers.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::appended::Appended;
use super::counted::Counted;
use crate::journal::{Counters, Position, SinkState};

/// Most tables whose rules are remembered although the sink may not have read all that they counted; beyond, the one after
/// stands in for the oldest, until the sink has caught up.
const MAX_TABLES: usize = 64;

/// A breaker's state, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaking {
    /// Deliveries flow.
    #[default]
    Closed,
    /// None but a probe now and then.
    Open,
    /// The probe is under way.
    HalfOpen,
}

impl Breaking {
    /// As `status` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What was appended for the sink from a position on, under one set of rules.
#[derive(Clone, Debug)]
struct Table {
    from: Position,
    table: Arc<Appended>,
    /// The sink's place in it.
    at: usize,
}

impl Table {
    fn owed(&self) -> u64 {
        self.table.owed(self.at)
    }
}

#[derive(Debug, Default)]
struct Sums {
    /// Its totals when this life began.
    totals: Counters,
    /// What it was owed then of events behind its cursor; what older tables counted; what replays brought.
    owed: u64,
    /// What was appended since, by the rules of each time.
    tables: Vec<Table>,
    /// Deliveries beyond what the routes of the events' types promised.
    extra: i64,
    /// Its state as last seen in the ledger.
    last: Option<SinkState>,
    /// Steps on their way into the ledger that were booked as owed already.
    feeding: u32,
    /// Rises with every change of what is above.
    version: u64,
}

impl Sums {
    fn owed(&self) -> u64 {
        self.owed + self.tables.iter().map(Table::owed).sum::<u64>()
    }

    /// Lets go of tables: of those that get nothing any more and that the sink is past, and of the oldest of too many.
    fn fold(&mut self, counted_to: Position) {
        let cursor = self.last.map(|state| state.cursor);
        while let [first, second, ..] = self.tables.as_slice() {
            let is_past = cursor.is_some_and(|cursor| second.from <= cursor) || self.tables.len() > MAX_TABLES;
            if second.from > counted_to || !is_past {
                return;
            }
            self.owed += first.owed();
            self.tables.remove(0);
        }
    }
}

/// What a sink is owed at one moment. See [`Book::level`].
#[derive(Clone, Copy, Debug)]
pub struct Look {
    version: u64,
    owed: u64,
}

/// One sink's book.
#[derive(Debug, Default)]
pub struct Book {
    sums: Mutex<Sums>,
    breaker: AtomicU8,
    stuck: AtomicBool,
    /// Dead letters are to be tried again.
    nudge: tokio::sync::Notify,
}

/// A sink's figures: `accepted = delivered + dead + pending + filtered + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What is settled; `accepted` includes what is pending.
    pub counters: Counters,
    /// Accepted, and not settled.
    pub pending: u64,
}

impl Book {
    /// Where the sink stood when this life began, and what it was owed then of what stands before its first table, by the
    /// rules of that table.
    pub fn begin(&self, state: Option<SinkState>, owed: u64) {
        let mut sums = self.sums();
        sums.totals = state.map_or_else(Counters::default, |state| state.counters);
        sums.owed += owed;
        sums.last = state;
        sums.version += 1;
    }

    /// From that position on events are counted for the sink by this table, where it has that place. Everything before
    /// `counted_to` is counted.
    pub fn counted_by(&self, from: Position, table: &Arc<Appended>, at: usize, counted_to: Position) {
        let mut sums = self.sums();
        sums.tables.push(Table { from, table: Arc::clone(table), at });
        sums.fold(counted_to);
        sums.version += 1;
    }

    /// By which rules events were counted for the sink. Good for all that was read before this is asked.
    pub fn counted(&self) -> Counted {
        Counted::new(self.sums().tables.iter().map(|t| (t.from, Arc::clone(&t.table.rules))).collect())
    }

    /// An event came to more deliveries than was counted when it was appended, or to fewer.
    pub fn extra(&self, more: i64) {
        if more != 0 {
            let mut sums = self.sums();
            sums.extra += more;
            sums.version += 1;
        }
    }

    /// A step that brings so many deliveries beyond all that is counted is on its way into the ledger.
    pub fn feeding(&self, deliveries: u64) {
        let mut sums = self.sums();
        sums.feeding += 1;
        sums.owed += deliveries;
        sums.version += 1;
    }

    /// So many of these steps are there.
    pub fn fed(&self, steps: u32) {
        self.unfed(steps, 0);
    }

    /// So many of these steps ended; of what was booked for them, so much does not come.
    pub fn unfed(&self, steps: u32, deliveries: u64) {
        if steps > 0 {
            let mut sums = self.sums();
            sums.feeding = sums.feeding.saturating_sub(steps);
            sums.owed = sums.owed.saturating_sub(deliveries);
            sums.version += 1;
        }
    }

    /// What it is owed now.
    pub fn look(&self) -> Look {
        let sums = self.sums();
        Look { version: sums.version, owed: sums.owed() }
    }

    /// What was looked at is all that stands before the cursor, and that state, read after the first of two looks and
    /// before the second, has settled it: whatever the counts say beyond was damaged, or counted by rules that are forgotten.
    pub fn level(&self, looks: [Look; 2], state: SinkState) {
        let mut sums = self.sums();
        if looks.iter().any(|look| look.version != sums.version) || sums.feeding > 0 {
            return;
        }
        let owed = i64::try_from(looks[1].owed).unwrap_or(i64::MAX);
        let settled = i64::try_from(state.counters.accepted.saturating_sub(sums.totals.accepted)).unwrap_or(i64::MAX);
        sums.extra = settled.saturating_sub(owed);
    }

    /// What its breaker does now.
    pub fn breaker(&self, now: Breaking) {
        self.breaker.store(now as u8, Relaxed);
    }

    /// What its breaker did last.
    pub fn breaking(&self) -> Breaking {
        match self.breaker.load(Relaxed) {
            0 => Breaking::Closed,
            1 => Breaking::Open,
            _ => Breaking::HalfOpen,
        }
    }

    /// Dead letters of this sink are to be tried again: the ledger says which.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Waits for [`Self::nudge`]. Cancel-safe.
    pub async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// Whether it waits for room for dead letters; gives what it said before.
    pub fn stuck(&self, now: bool) -> bool {
        self.stuck.swap(now, Relaxed)
    }

    /// Whether it did when it said so last.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Relaxed)
    }

    /// The sink's figures from what the ledger says now (`None`: it cannot say; what it said last counts).
    pub fn figures(&self, state: Option<SinkState>) -> Figures {
        let mut sums = self.sums();
        sums.last = state.or(sums.last);
        let now = sums.last.map_or(sums.totals, |state| state.counters);
        // Appended on the one side, settled on the other; an event may be settled a moment before it is counted.
        let owed = sums.owed().saturating_add_signed(sums.extra);
        let behind = owed.saturating_sub(now.accepted.saturating_sub(sums.totals.accepted));
        // The cursor is past these, and they are held in the ledger: dead letters to be delivered after all.
        let held = now.accepted.saturating_sub(now.delivered + now.dead + now.filtered + now.dropped);
        Figures { counters: Counters { accepted: now.accepted + behind, ..now }, pending: behind + held }
    }

    /// Its cursor as last seen.
    pub fn cursor(&self) -> Option<Position> {
        self.sums().last.map(|state| state.cursor)
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        // Plain numbers, whole between any two statements.
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(accepted: u64, delivered: u64) -> Option<SinkState> {
        let counters = Counters { accepted, delivered, filtered: accepted - delivered, ..Counters::default() };
        Some(SinkState { cursor: Position { shard: 0, offset: accepted }, counters })
    }

    #[test]
    fn what_was_appended_is_pending_until_it_is_settled() {
        let book = Book::default();
        book.begin(state(10, 9), 5);
        let seen = |now| {
            let figures = book.figures(now);
            let c = figures.counters;
            assert_eq!(c.accepted, c.delivered + c.dead + figures.pending + c.filtered + c.dropped);
            (c.accepted, figures.pending)
        };
        assert_eq!(seen(state(10, 9)), (15, 5));
        book.feeding(3);
        assert_eq!(seen(state(10, 9)), (18, 8));
        assert_eq!(seen(state(14, 12)), (18, 4));
        assert_eq!(seen(None), (18, 4), "the ledger does not answer");
        book.extra(2);
        assert_eq!(seen(state(14, 12)), (20, 6), "a transform made more of an event");
        assert_eq!(seen(state(20, 12)), (20, 0));
        assert_eq!(seen(state(21, 12)), (21, 0), "settled before it was counted");
        book.unfed(1, 3);
        assert_eq!(seen(state(14, 12)), (17, 3), "the step did not come to be");
    }

    #[test]
    fn a_dead_letter_that_is_to_be_delivered_after_all_is_pending() {
        let book = Book::default();
        book.begin(state(10, 9), 5);
        let counters = Counters { accepted: 12, delivered: 9, dead: 1, ..Counters::default() };
        let figures = book.figures(Some(SinkState { cursor: Position { shard: 0, offset: 9 }, counters }));
        assert_eq!((figures.pending, figures.counters.accepted), (3 + 2, 15));
    }

    #[test]
    fn books_are_levelled_by_what_was_looked_at_and_not_while_they_change() {
        let book = Book::default();
        book.begin(state(10, 10), 5);
        let now = state(13, 13).unwrap();
        let looks = [book.look(), book.look()];
        book.extra(1);
        book.level(looks, now);
        assert_eq!(book.figures(Some(now)).pending, 3, "it was booked on meanwhile");
        book.feeding(1);
        book.level([book.look(), book.look()], now);
        assert_eq!(book.figures(Some(now)).pending, 4, "a step is under way");
        book.fed(1);
        book.level([book.look(), book.look()], now);
        assert_eq!(book.figures(Some(now)).pending, 0);
    }
}
