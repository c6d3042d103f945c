//! A delivery as the worker holds it: where it comes from, and how it has fared so far. Plain data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Delivery, Reason};

use crate::journal::Position;

/// The number of a delivery in the order in which deliveries came into memory: positions of different shards have no
/// order, and a delivery that waits must not be overtaken for ever by those of another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u64);

/// A delivery that waits or is under way.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it stands among the others.
    pub ordinal: Ordinal,
    /// Where its event stands in the journal.
    pub position: Position,
    /// What the sink is handed.
    pub delivery: Arc<Delivery>,
    /// Calls so far, those of earlier lives of the daemon included.
    pub attempts: u32,
    /// Of these: calls that count as no attempts, as the breaker was open when they came back.
    pub uncounted: u32,
    /// Failures of this life, whether or not they count against the delivery's bounds. Probes are left out.
    pub failures: u32,
    /// How often the sink has put it off in this life.
    pub put_offs: u32,
    /// The first attempt of this life.
    pub first: Option<FirstTry>,
    /// Until when the target asked to be left alone at the last attempt (`Retry-After`), or the sink put it off.
    pub not_before: Option<Instant>,
    /// How it failed last in this life, without what the target said.
    pub last_failure: Option<Arc<Reason>>,
    /// What the ledger knew of the delivery; `None` where the delivery was never parked.
    pub parked: Option<History>,
}

/// What the ledger knew of a parked delivery when it was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Bytes it takes in the ledger.
    pub size: u64,
    /// Attempts that no longer count against its bounds, because somebody asked for another try.
    pub forgiven: u32,
    /// What it had used up of its time.
    pub spent: Duration,
    /// When it was first tried, in microseconds; `None`: never.
    pub first: Option<i64>,
}

/// When a delivery was first tried.
#[derive(Clone, Copy, Debug)]
pub struct FirstTry {
    /// By the monotonic clock.
    pub at: Instant,
    /// By the wall clock, in microseconds.
    pub wall: i64,
    /// How long the breaker had been open by then, all times together.
    pub open_before: Duration,
}

impl Item {
    /// A delivery that was not tried yet.
    pub fn new(ordinal: Ordinal, position: Position, delivery: Delivery) -> Self {
        Self {
            ordinal,
            position,
            delivery: Arc::new(delivery),
            attempts: 0,
            uncounted: 0,
            failures: 0,
            put_offs: 0,
            first: None,
            not_before: None,
            last_failure: None,
            parked: None,
        }
    }

    /// It was handed to the sink, which did not try it: where it never was tried in this life, its time does not run.
    pub fn was_not_tried(&mut self) {
        if self.last_failure.is_none() {
            self.first = None;
            // Which span it belongs to follows from its first try.
            if self.delivery.trace.is_some() {
                Arc::make_mut(&mut self.delivery).trace = None;
            }
        }
    }

    /// It waits in memory for so long because the sink has put it off: that is not the delivery's time.
    pub fn waits_for_its_sink(&mut self, wait: Duration) {
        if let Some(first) = &mut self.first {
            first.at += wait;
        }
    }

    /// Attempts that count against the delivery's bounds.
    pub fn counted(&self) -> u32 {
        let forgiven = self.parked.map_or(0, |history| history.forgiven);
        self.attempts.saturating_sub(forgiven).saturating_sub(self.uncounted)
    }

    /// What the delivery has used up of its time, where the breaker was open for `open` up to now.
    pub fn time_spent(&self, open: Duration, now: Instant) -> Duration {
        let before = self.parked.map_or(Duration::ZERO, |history| history.spent);
        let here = self.first.map_or(Duration::ZERO, |first| {
            now.duration_since(first.at).saturating_sub(open.saturating_sub(first.open_before))
        });
        before.saturating_add(here)
    }

    /// When it was first tried in any life, in microseconds.
    pub fn first_wall(&self) -> Option<i64> {
        self.parked.and_then(|history| history.first).or(self.first.map(|first| first.wall))
    }
}
