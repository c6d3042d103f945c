//! The rules in force, as a worker sees them: they may be replaced while it runs. What was appended before was counted by
//! earlier ones, so these are remembered: what an event comes to is booked against what was promised when it was counted.

use std::sync::Arc;

use crate::journal::Position;
use crate::route::RuleSet;

/// Most earlier rules that are remembered; beyond, the oldest stand in for those before them.
const MAX_PAST: usize = 16;

/// The rules in force, and by which ones events were counted.
#[derive(Clone, Debug)]
pub struct Rules {
    /// In force.
    pub now: Arc<RuleSet>,
    /// Events before that position were counted by these, in order of position.
    past: Vec<(Position, Arc<RuleSet>)>,
}

impl Rules {
    /// Rules that have been in force since the start.
    pub fn new(now: Arc<RuleSet>) -> Self {
        Self { now, past: Vec::new() }
    }

    /// The same after others have come into force: what stands before `from` was counted by the ones before.
    #[must_use]
    pub fn followed_by(&self, next: Arc<RuleSet>, from: Position) -> Self {
        let mut past = self.past.clone();
        past.push((from, Arc::clone(&self.now)));
        if past.len() > MAX_PAST {
            past.remove(0);
        }
        Self { now: next, past }
    }

    /// Whether they have been in force since the start.
    pub fn are_first(&self) -> bool {
        self.past.is_empty()
    }

    /// What was counted for the sink when the event at that position was appended.
    pub fn counted(&self, sink: &str, at: Position, source: &str, kind: &str) -> u32 {
        let then = self.past.iter().find(|(until, _)| at < *until).map_or(&self.now, |(_, rules)| rules);
        then.owed(sink, source, kind)
    }
}
