//! How the deliveries of the events that a cursor has passed ended, in the order of the events, as data: neighbours
//! that ended alike are one run. Pure but for the clock.

use std::sync::Arc;
use std::time::Duration;

use sink_api::Timestamp;

use crate::journal::Position;

/// Times are kept in units of so many microseconds.
pub const TICK: i64 = 100_000;
/// How long a call took is kept in units of so many microseconds.
const TOOK_UNIT: u128 = 100;
/// Most endings that the runs of one step have together; what a step passes behind these (while the ledger cannot be
/// written) is not noted.
const MAX_ENDINGS: usize = 20_000;
/// Length of an event's id in text: what stands behind it in a delivery's id is its suffix.
pub const EVENT_ID: usize = crate::ids::WHOLE;

/// A call that was made to a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// When it came back, in [`TICK`]s since 1970.
    pub(super) tick: i64,
    /// How long it took, in tenths of a millisecond.
    pub(super) took: u32,
}

impl Call {
    /// A call that came back at that time (microseconds) and took so long.
    pub fn new(time: i64, took: Duration) -> Self {
        Self { tick: tick(time), took: u32::try_from(took.as_micros() / TOOK_UNIT).unwrap_or(u32::MAX) }
    }

    /// When it came back, microseconds.
    pub fn time(self) -> i64 {
        self.tick.saturating_mul(TICK)
    }

    /// How long it took.
    pub fn took(self) -> Duration {
        Duration::from_micros(u64::from(self.took) * 100)
    }
}

/// A time in microseconds as [`TICK`]s.
pub fn tick(time: i64) -> i64 {
    time.div_euclid(TICK)
}

/// What stands behind the event's id in a delivery's.
pub fn suffix(id: &str) -> &str {
    id.get(EVENT_ID..).unwrap_or_default()
}

/// How one delivery of an event ended, as far as the cursor that passes the event is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It arrived.
    Delivered {
        /// Its id behind the event's.
        suffix: Box<str>,
        /// The call that brought it there.
        call: Call,
        /// How many calls there were.
        attempts: u32,
    },
    /// A route left nothing of it.
    Filtered {
        /// Which; empty where nobody knows.
        route: Arc<str>,
        /// When, in [`TICK`]s.
        tick: i64,
    },
    /// It is held, or was, or is not needed any more: the rows of the ledger say more.
    Held {
        /// Its id behind the event's.
        suffix: Box<str>,
    },
    /// The cursor was moved over the events without a look at them, although deliveries were owed.
    Skipped {
        /// Why.
        why: Skip,
        /// When, in [`TICK`]s.
        tick: i64,
    },
}

/// Why a cursor was moved over events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Somebody wanted it.
    ByHand,
    /// The journal had deleted them.
    Deleted,
}

/// Events that ended alike and between which no other place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Place of the first event in its shard.
    pub first: u64,
    /// How many places, at least one.
    pub events: u64,
    /// How the deliveries of each event ended.
    pub ended: Vec<Ended>,
}

impl Run {
    /// The place behind its last event.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.events)
    }
}

/// What a step passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Where the cursor stood; `None`: nothing is noted of the step.
    pub from: Option<u64>,
    /// How events ended, in order; what stands between them was owed nothing.
    runs: Vec<Run>,
    /// How many endings these have.
    endings: usize,
    /// From that place on nothing is noted, as there was more than can be kept.
    cut: Option<u64>,
}

impl Passed {
    /// Passes what stands from that place on, up to the cursor: nothing was owed of it.
    pub fn from(place: u64) -> Self {
        Self { from: Some(place), ..Self::default() }
    }

    /// Passes by hand what stands from one position up to another, of which so many deliveries were owed.
    pub fn skipped(from: Position, to: Position, owed: u64) -> Self {
        let mut passed = Self::from(from.offset);
        let events = to.offset.saturating_sub(from.offset);
        if owed > 0 && events > 0 {
            let tick = tick(Timestamp::now().as_microsecond());
            let ended = vec![Ended::Skipped { why: Skip::ByHand, tick }];
            passed.add(Run { first: from.offset, events, ended });
        }
        passed
    }

    /// How events ended.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Up to which place the runs say how events ended, where the cursor goes there.
    pub fn noted_to(&self, cursor: u64) -> u64 {
        self.cut.map_or(cursor, |cut| cut.min(cursor))
    }

    /// Adds what comes next.
    pub fn add(&mut self, run: Run) {
        if self.cut.is_some() {
            return;
        }
        let endings = self.endings + run.ended.len().max(1);
        match self.runs.last_mut() {
            Some(last) if last.end() == run.first && last.ended == run.ended => last.events += run.events,
            _ if endings > MAX_ENDINGS => self.cut = Some(run.first),
            _ => {
                self.endings = endings;
                self.runs.push(run);
            }
        }
    }

    /// Adds all that another passes behind this.
    pub fn extend(&mut self, later: Self) {
        later.runs.into_iter().for_each(|run| self.add(run));
        self.cut = self.cut.or(later.cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(took: u32) -> Ended {
        Ended::Delivered { suffix: "".into(), call: Call { tick: 1, took }, attempts: 1 }
    }

    #[test]
    fn neighbours_that_ended_alike_are_one_run() {
        let mut passed = Passed::from(0);
        let run = |first, took| Run { first, events: 1, ended: vec![delivered(took)] };
        [run(0, 5), run(1, 5), run(3, 5), run(4, 6)].into_iter().for_each(|run| passed.add(run));
        let runs: Vec<_> = passed.runs().iter().map(|run| (run.first, run.events)).collect();
        assert_eq!(runs, [(0, 2), (3, 1), (4, 1)]);
        let mut whole = Passed::from(0);
        whole.add(run(0, 5));
        let mut later = Passed::from(1);
        [run(1, 5), run(3, 5), run(4, 6)].into_iter().for_each(|run| later.add(run));
        whole.extend(later);
        assert_eq!(whole, passed);
    }

    #[test]
    fn of_too_many_endings_the_first_are_noted_and_from_where_on_none_is() {
        let outputs =
            |first: u64| Run { first, events: 1, ended: (0..1000).map(|n| delivered(n + first as u32)).collect() };
        let mut passed = Passed::from(0);
        (0..15).for_each(|n| passed.add(outputs(n)));
        let mut later = Passed::from(15);
        (15..40).for_each(|n| later.add(outputs(n)));
        assert_eq!((passed.noted_to(15), later.noted_to(40)), (15, 35));
        passed.extend(later);
        assert_eq!((passed.runs().len(), passed.noted_to(40), passed.noted_to(9)), (20, 20, 9));
        passed.add(outputs(40));
        assert_eq!((passed.runs().len(), passed.noted_to(41)), (20, 20));
        let mut before = Passed::from(0);
        before.extend(passed);
        assert_eq!((before.runs().len(), before.noted_to(41)), (20, 20));
    }
}
