//! What a worker shows of itself while it runs, and what `status` needs of its start. Plain numbers.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::journal::{Counters, Position, SinkState};

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

#[derive(Clone, Copy, Debug, Default)]
struct Start {
    /// Its totals when this life began.
    totals: Counters,
    /// What it was owed then of events behind its cursor.
    owed: u64,
    /// Its state as last seen in the ledger.
    last: Option<SinkState>,
    /// What stands before was in `owed`, by the rules that were in force there.
    counted: Option<Position>,
}

/// One sink's book.
#[derive(Debug, Default)]
pub struct Book {
    start: Mutex<Start>,
    /// Deliveries beyond what the routes of the events' types promised.
    extra: AtomicI64,
    breaker: AtomicU8,
    stuck: AtomicBool,
    /// Steps of replays on their way into the ledger, booked as owed already.
    feeding: AtomicU32,
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
    /// Where the sink stood when this life began, and what it was owed then of what stood before `counted`, by the rules in
    /// force from there on.
    pub fn begin(&self, state: Option<SinkState>, owed: u64, counted: Position) {
        let totals = state.map_or_else(Counters::default, |state| state.counters);
        *self.start() = Start { totals, owed, last: state, counted: Some(counted) };
    }

    /// Says where the rules stood by which an event at a position was counted.
    pub fn counted_at(&self) -> impl Fn(Position) -> Position + use<> {
        let begun = self.start().counted;
        move |position| begun.map_or(position, |begun| position.max(begun))
    }

    /// An event came to more deliveries than was counted when it was appended, or to fewer.
    pub fn extra(&self, more: i64) {
        if more != 0 {
            self.extra.fetch_add(more, Relaxed);
        }
    }

    /// A replay's step of so many deliveries is on its way into the ledger.
    pub fn feeding(&self, deliveries: u64) {
        self.feeding.fetch_add(1, Relaxed);
        self.add_owed(deliveries);
    }

    /// It is there.
    pub fn fed(&self) {
        self.feeding.fetch_sub(1, Relaxed);
    }

    /// So much more was appended for it, counted elsewhere so far.
    pub fn add_owed(&self, more: u64) {
        self.start().owed += more;
    }

    /// Nothing is behind its cursor: whatever the counts say beyond was counted by rules that changed meanwhile.
    pub fn is_level(&self, state: SinkState, appended: u64) {
        let start = *self.start();
        if self.feeding.load(Relaxed) > 0 {
            return;
        }
        let owed = i64::try_from(start.owed + appended).unwrap_or(i64::MAX);
        let settled = i64::try_from(state.counters.accepted.saturating_sub(start.totals.accepted)).unwrap_or(i64::MAX);
        self.extra.store(settled.saturating_sub(owed), Relaxed);
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

    /// The sink's figures from what the ledger says now (`None`: it cannot say; what it said last counts) and what was
    /// appended for the sink in this life.
    pub fn figures(&self, state: Option<SinkState>, appended: u64) -> Figures {
        let mut start = self.start();
        start.last = state.or(start.last);
        let now = start.last.map_or(start.totals, |state| state.counters);
        // Appended on the one side, settled on the other; an event may be settled a moment before it is counted.
        let owed = (start.owed + appended).saturating_add_signed(self.extra.load(Relaxed));
        let behind = owed.saturating_sub(now.accepted.saturating_sub(start.totals.accepted));
        // The cursor is past these, and they are held in the ledger: dead letters to be delivered after all.
        let held = now.accepted.saturating_sub(now.delivered + now.dead + now.filtered + now.dropped);
        Figures { counters: Counters { accepted: now.accepted + behind, ..now }, pending: behind + held }
    }

    /// Its cursor as last seen.
    pub fn cursor(&self) -> Option<Position> {
        self.start().last.map(|state| state.cursor)
    }

    fn start(&self) -> std::sync::MutexGuard<'_, Start> {
        // Plain numbers, replaced whole.
        self.start.lock().unwrap_or_else(PoisonError::into_inner)
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
        book.begin(state(10, 9), 5, Position { shard: 0, offset: 10 });
        let seen = |now, appended| {
            let figures = book.figures(now, appended);
            let c = figures.counters;
            assert_eq!(c.accepted, c.delivered + c.dead + figures.pending + c.filtered + c.dropped);
            (c.accepted, figures.pending)
        };
        assert_eq!(seen(state(10, 9), 0), (15, 5));
        assert_eq!(seen(state(10, 9), 3), (18, 8));
        assert_eq!(seen(state(14, 12), 3), (18, 4));
        assert_eq!(seen(None, 3), (18, 4), "the ledger does not answer");
        book.extra(2);
        assert_eq!(seen(state(14, 12), 3), (20, 6), "a transform made more of an event");
        assert_eq!(seen(state(20, 12), 3), (20, 0));
        assert_eq!(seen(state(21, 12), 3), (21, 0), "settled before it was counted");
    }

    #[test]
    fn a_dead_letter_that_is_to_be_delivered_after_all_is_pending() {
        let book = Book::default();
        book.begin(state(10, 9), 5, Position { shard: 0, offset: 10 });
        let counters = Counters { accepted: 12, delivered: 9, dead: 1, ..Counters::default() };
        let figures = book.figures(Some(SinkState { cursor: Position { shard: 0, offset: 9 }, counters }), 0);
        assert_eq!((figures.pending, figures.counters.accepted), (3 + 2, 15));
    }
}
