//! How much room dead letters take, and whether a sink may add to them (`[dead_letters] max_size`). Plain numbers.
//!
//! Half of the room is shared out evenly, the other half is for whoever needs it: a sink that rejects everything cannot
//! fill what its siblings need for a letter now and then.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Dead letters of one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dead {
    /// How many.
    pub letters: u64,
    /// Room they take, bytes.
    pub bytes: u64,
}

/// The room that there is, and the room that is taken.
#[derive(Debug)]
pub struct HeldBudget {
    max: u64,
    taken: Mutex<HashMap<String, Dead>>,
}

/// Without a bound.
impl Default for HeldBudget {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl HeldBudget {
    /// Nothing taken of `max` bytes yet.
    pub fn new(max: u64) -> Self {
        Self { max, taken: Mutex::default() }
    }

    /// How much there is, bytes.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Replaces what is known of the room taken, of every sink that the ledger knows.
    pub fn set(&self, taken: HashMap<String, Dead>) {
        *self.taken() = taken;
    }

    /// All dead letters.
    pub fn total(&self) -> Dead {
        let add = |sum: Dead, dead: &Dead| Dead {
            letters: sum.letters.saturating_add(dead.letters),
            bytes: sum.bytes.saturating_add(dead.bytes),
        };
        self.taken().values().fold(Dead::default(), add)
    }

    /// Whether this sink may add dead letters. Asked before a step is written, which may then pass the bound by what it
    /// carries.
    pub fn has_room(&self, sink: &str) -> bool {
        let taken = self.taken();
        let share = self.max / 2 / (taken.len() as u64).max(1);
        let own = taken.get(sink).map_or(0, |dead| dead.bytes);
        let common: u64 = taken.values().map(|dead| dead.bytes.saturating_sub(share)).sum();
        own < share || common < self.max / 2
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, Dead>> {
        // Replaced whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[(&str, u64)]) -> HeldBudget {
        let budget = HeldBudget::new(1000);
        let dead = |(sink, bytes): &(&str, u64)| (sink.to_string(), Dead { letters: 1, bytes: *bytes });
        budget.set(bytes.iter().map(dead).collect());
        budget
    }

    #[test]
    fn one_sink_alone_may_fill_it_and_no_more() {
        assert!(taken(&[]).has_room("a"));
        assert!(taken(&[("a", 999)]).has_room("a"));
        assert!(!taken(&[("a", 1000)]).has_room("a"));
        assert!(HeldBudget::default().has_room("a"));
    }

    #[test]
    fn a_sink_that_fills_it_leaves_the_others_their_share() {
        let budget = taken(&[("sick", 750), ("well", 0)]);
        assert!(!budget.has_room("sick") && budget.has_room("well"));
        let budget = taken(&[("sick", 750), ("well", 250)]);
        assert!(!budget.has_room("sick") && !budget.has_room("well"));
        assert_eq!(budget.total(), Dead { letters: 2, bytes: 1000 });
        let budget = taken(&[("sick", 700), ("well", 250)]);
        assert!(budget.has_room("sick") && budget.has_room("well"));
    }
}
