//! What a worker shows of itself while it runs, what `status` needs of its start, and by which rules events were
//! counted for the sink. Plain numbers.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::appended::Appended;
use super::aside::Inbox;
use super::breaker::BreakerState;
use super::counted::Counted;
use super::probes::Probes;
use super::vitals::Vitals;
use crate::journal::Marks;
use crate::ledger::{Counters, SinkState};

/// Most tables that a book keeps. A table is kept, with the rules it counted by, until the sink has read every event
/// that it counted. Of more tables the oldest is let go, and only its sum is kept.
const MAX_TABLES: usize = 64;

/// What was appended for the sink from these marks on, under one set of rules.
#[derive(Clone, Debug)]
struct Table {
    from: Marks,
    table: Arc<Appended>,
    /// The sink's column in the table.
    column: usize,
}

impl Table {
    fn owed(&self) -> u64 {
        self.table.owed(self.column)
    }
}

#[derive(Debug, Default)]
struct Sums {
    /// The sink's totals when this life of the daemon began.
    totals: Counters,
    /// Deliveries that are in no table: what the sink was owed when this life of the daemon began, what tables counted
    /// that were dropped since, and what replays brought.
    owed: u64,
    /// What was appended since, by the rules of each time.
    tables: Vec<Table>,
    /// By how much reading the events corrected what was counted by their types: more deliveries or, where negative,
    /// fewer.
    adjustment: i64,
    /// The sink's state as last seen in the ledger.
    last: Option<SinkState>,
    /// Steps on their way into the ledger that bring deliveries, which are in `owed` already.
    steps_under_way: u32,
    /// Rises with every change of the fields above.
    version: u64,
}

impl Sums {
    fn owed(&self) -> u64 {
        self.owed + self.tables.iter().map(Table::owed).sum::<u64>()
    }

    /// Lets go of the tables that are complete and that the sink is past, and of the oldest of too many.
    fn fold(&mut self, counted_to: &Marks) {
        let cursors = self.last.as_ref().map(|state| &state.cursors);
        while let [first, second, ..] = self.tables.as_slice() {
            let is_past =
                cursors.is_some_and(|cursors| cursors.reaches(&second.from)) || self.tables.len() > MAX_TABLES;
            if !counted_to.reaches(&second.from) || !is_past {
                return;
            }
            self.owed += first.owed();
            self.tables.remove(0);
        }
    }
}

/// What a sink is owed at one moment. See [`Book::reconcile`].
#[derive(Clone, Copy, Debug)]
pub struct OwedSnapshot {
    version: u64,
    owed: u64,
}

/// One sink's book.
#[derive(Debug, Default)]
pub struct Book {
    sums: Mutex<Sums>,
    breaker: AtomicU8,
    stuck: AtomicBool,
    /// Whether the sink was said to be down, and not since to be up.
    told_down: AtomicBool,
    vitals: Vitals,
    /// For the worker, where the ledger has parked deliveries that it does not know of.
    parked: tokio::sync::Notify,
    /// For the worker, who wants to know at once whether the sink takes deliveries.
    pub probes: Probes,
    /// For the worker, what the journal could not take of the daemon's own events.
    pub aside: Inbox,
}

/// A sink's figures: `accepted = delivered + dead + pending + filtered + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What is settled; `accepted` includes what is pending.
    pub counters: Counters,
    /// Accepted, and not settled.
    pub pending: u64,
    /// Whether `accepted` and `pending` are bounds: there may be fewer.
    pub at_most: bool,
}

impl Figures {
    /// The figures by the sink's state alone, and by what stands behind its cursors: events of known types that come to
    /// so many deliveries, and so many of unknown types, each of which comes to `most` at most.
    pub fn behind(state: &SinkState, known: u64, unknown: u64, most: u32) -> Self {
        let c = state.counters;
        let behind = known.saturating_add(unknown.saturating_mul(u64::from(most)));
        let held = c.accepted.saturating_sub(c.delivered + c.dead + c.filtered + c.dropped);
        let counters = Counters { accepted: c.accepted.saturating_add(behind), ..c };
        Self { counters, pending: behind.saturating_add(held), at_most: unknown > 0 && most > 0 }
    }
}

impl Book {
    /// Begins with the sink's state when this life of the daemon began, and with what the sink was owed then of the
    /// events before its first table, by the rules of that table.
    pub fn begin(&self, state: Option<SinkState>, owed: u64) {
        let mut sums = self.sums();
        sums.totals = state.as_ref().map_or_else(Counters::default, |state| state.counters);
        sums.owed += owed;
        sums.last = state;
        sums.version += 1;
    }

    /// Events from these marks on are counted for the sink in that column of the table. All events before
    /// `counted_to` are counted.
    pub fn counted_by(&self, from: &Marks, table: &Arc<Appended>, column: usize, counted_to: &Marks) {
        let mut sums = self.sums();
        sums.tables.push(Table { from: from.clone(), table: Arc::clone(table), column });
        sums.fold(counted_to);
        sums.version += 1;
    }

    /// By which rules events were counted for the sink. Holds for every event that was read before the call.
    pub fn counted(&self) -> Counted {
        Counted::new(self.sums().tables.iter().map(|t| (t.from.clone(), Arc::clone(&t.table.rules))).collect())
    }

    /// An event came to so many more deliveries than were counted when it was appended; to fewer where negative.
    pub fn adjust(&self, by: i64) {
        if by != 0 {
            let mut sums = self.sums();
            sums.adjustment += by;
            sums.version += 1;
        }
    }

    /// A step is on its way into the ledger, and brings so many deliveries that were not counted when events were
    /// appended.
    pub fn step_begins(&self, deliveries: u64) {
        let mut sums = self.sums();
        sums.steps_under_way += 1;
        sums.owed += deliveries;
        sums.version += 1;
    }

    /// So many steps of [`Self::step_begins`] ended; `lost` of the deliveries booked for them do not come.
    pub fn steps_end(&self, steps: u32, lost: u64) {
        if steps > 0 {
            let mut sums = self.sums();
            sums.steps_under_way = sums.steps_under_way.saturating_sub(steps);
            sums.owed = sums.owed.saturating_sub(lost);
            sums.version += 1;
        }
    }

    /// What the sink is owed now.
    pub fn snapshot(&self) -> OwedSnapshot {
        let sums = self.sums();
        OwedSnapshot { version: sums.version, owed: sums.owed() }
    }

    /// Sets the sums right by a state of the sink that has settled all there is. The caller read the state between the
    /// two snapshots, and knows that every counted event stands before its cursors. Whatever the sums say beyond was
    /// damaged, or counted by rules that are forgotten.
    pub fn reconcile(&self, snapshots: [OwedSnapshot; 2], state: &SinkState) {
        let mut sums = self.sums();
        if snapshots.iter().any(|snapshot| snapshot.version != sums.version) || sums.steps_under_way > 0 {
            return;
        }
        let owed = i64::try_from(snapshots[1].owed).unwrap_or(i64::MAX);
        let settled = i64::try_from(state.counters.accepted.saturating_sub(sums.totals.accepted)).unwrap_or(i64::MAX);
        sums.adjustment = settled.saturating_sub(owed);
    }

    /// What the worker shows of how it fares.
    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Shows the breaker's state.
    pub fn set_breaker(&self, now: BreakerState) {
        self.breaker.store(now as u8, Relaxed);
        self.vitals.set_closed(now == BreakerState::Closed);
    }

    /// The breaker's state as shown last.
    pub fn breaker(&self) -> BreakerState {
        match self.breaker.load(Relaxed) {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// Shows whether the sink was said to be down, for the workers that come after this one.
    pub fn set_told_down(&self, now: bool) {
        self.told_down.store(now, Relaxed);
    }

    /// Whether the sink was said to be down, and not since to be up.
    pub fn is_told_down(&self) -> bool {
        self.told_down.load(Relaxed)
    }

    /// Tells the worker that the ledger has more for it to try: dead letters that somebody wants tried again, or what
    /// a replay has parked.
    pub fn notify(&self) {
        self.parked.notify_one();
    }

    /// Waits for [`Self::notify`]. Cancel-safe.
    pub async fn notified(&self) {
        self.parked.notified().await;
    }

    /// Shows whether the sink waits for room for dead letters, and gives what was shown before.
    pub fn set_stuck(&self, now: bool) -> bool {
        self.stuck.swap(now, Relaxed)
    }

    /// Whether the sink waits for room for dead letters.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Relaxed)
    }

    /// The sink's figures by the ledger's state of it now; by the last one known where the ledger cannot say.
    pub fn figures(&self, state: Option<SinkState>) -> Figures {
        let mut sums = self.sums();
        if state.is_some() {
            sums.last = state;
        }
        let now = sums.last.as_ref().map_or(sums.totals, |state| state.counters);
        // Appended on the one side, settled on the other; an event may be settled a moment before it is counted.
        let owed = sums.owed().saturating_add_signed(sums.adjustment);
        let behind = owed.saturating_sub(now.accepted.saturating_sub(sums.totals.accepted));
        // The cursor is past these deliveries, which the ledger holds: parked, or dead letters to be tried again.
        let held = now.accepted.saturating_sub(now.delivered + now.dead + now.filtered + now.dropped);
        let counters = Counters { accepted: now.accepted + behind, ..now };
        Figures { counters, pending: behind + held, at_most: false }
    }

    /// What of these totals came about in this life of the daemon. Of dead letters [`Vitals::given_up`] knows: those
    /// that are kept may become fewer.
    pub fn since_the_start(&self, now: &Counters) -> Counters {
        let before = self.sums().totals;
        Counters {
            delivered: now.delivered.saturating_sub(before.delivered),
            filtered: now.filtered.saturating_sub(before.filtered),
            dropped: now.dropped.saturating_sub(before.dropped),
            dead: self.vitals.given_up().iter().map(|(_, count)| count).sum(),
            ..Counters::default()
        }
    }

    /// The sink's cursor as last seen.
    pub fn cursors(&self) -> Option<Marks> {
        self.sums().last.as_ref().map(|state| state.cursors.clone())
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        // Plain numbers, whole between any two statements.
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Position;

    fn state(accepted: u64, delivered: u64) -> Option<SinkState> {
        let counters = Counters { accepted, delivered, filtered: accepted - delivered, ..Counters::default() };
        Some(SinkState { cursors: Position { shard: 0, offset: accepted }.into(), counters })
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
        book.step_begins(3);
        assert_eq!(seen(state(10, 9)), (18, 8));
        assert_eq!(seen(state(14, 12)), (18, 4));
        assert_eq!(seen(None), (18, 4), "the ledger does not answer");
        book.adjust(2);
        assert_eq!(seen(state(14, 12)), (20, 6), "a transform made more of an event");
        assert_eq!(seen(state(20, 12)), (20, 0));
        assert_eq!(seen(state(21, 12)), (21, 0), "settled before it was counted");
        book.steps_end(1, 3);
        assert_eq!(seen(state(14, 12)), (17, 3), "the step did not come to be");
    }

    #[test]
    fn what_others_append_is_pending_too_and_a_bound_where_types_are_not_known() {
        let state = state(10, 7).unwrap();
        let exact = Figures::behind(&state, 4, 0, 3);
        assert_eq!((exact.counters.accepted, exact.pending, exact.at_most), (14, 4, false));
        let bound = Figures::behind(&state, 4, 5, 3);
        assert_eq!((bound.counters.accepted, bound.pending, bound.at_most), (29, 19, true));
        assert!(!Figures::behind(&state, 0, 5, 0).at_most, "no route names the sink");
    }

    #[test]
    fn a_dead_letter_that_is_to_be_delivered_after_all_is_pending() {
        let book = Book::default();
        book.begin(state(10, 9), 5);
        let counters = Counters { accepted: 12, delivered: 9, dead: 1, ..Counters::default() };
        let figures = book.figures(Some(SinkState { cursors: Position { shard: 0, offset: 9 }.into(), counters }));
        assert_eq!((figures.pending, figures.counters.accepted), (3 + 2, 15));
    }

    #[test]
    fn books_are_reconciled_with_what_was_seen_and_not_while_they_change() {
        let book = Book::default();
        book.begin(state(10, 10), 5);
        let now = state(13, 13).unwrap();
        let snapshots = [book.snapshot(), book.snapshot()];
        book.adjust(1);
        book.reconcile(snapshots, &now);
        assert_eq!(book.figures(Some(now.clone())).pending, 3, "it was booked on meanwhile");
        book.step_begins(1);
        book.reconcile([book.snapshot(), book.snapshot()], &now);
        assert_eq!(book.figures(Some(now.clone())).pending, 4, "a step is under way");
        book.steps_end(1, 0);
        book.reconcile([book.snapshot(), book.snapshot()], &now);
        assert_eq!(book.figures(Some(now.clone())).pending, 0);
    }
}
