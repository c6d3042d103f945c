//! By which rules events were counted for a sink when they were appended: a reload may have changed the rules since,
//! and what an event comes to is booked against what was promised then. A snapshot, pure.

use std::sync::Arc;

use crate::journal::{Journal, JournalError, Position, TypeCount};
use crate::route::RuleSet;

/// The rules of each time, each from a position on, in order. Events before the first position count by the first
/// rules, too.
#[derive(Clone, Debug, Default)]
pub struct Counted(Vec<(Position, Arc<RuleSet>)>);

impl Counted {
    /// These rules, each from its position on.
    pub fn new(rules: Vec<(Position, Arc<RuleSet>)>) -> Self {
        Self(rules)
    }

    /// Whether everything was counted by these rules.
    pub fn all_by(&self, rules: &Arc<RuleSet>) -> bool {
        self.0.iter().all(|(_, then)| Arc::ptr_eq(then, rules))
    }

    /// The rules that an event at that position was counted by; where none are known, the ones given.
    pub fn at<'r>(&'r self, at: Position, or: &'r Arc<RuleSet>) -> &'r Arc<RuleSet> {
        let then = self.0.iter().rev().find(|(from, _)| *from <= at).or_else(|| self.0.first());
        then.map_or(or, |(_, rules)| rules)
    }

    /// The stretches from one position to another under the rules of each time.
    fn stretches(&self, from: Position, to: Position) -> Vec<(Position, Position)> {
        let changes = self.0.iter().map(|(change, _)| *change).filter(|change| from < *change && *change < to);
        let firsts: Vec<Position> = std::iter::once(from).chain(changes).collect();
        let ends = firsts.iter().skip(1).copied().chain(std::iter::once(to));
        firsts.iter().copied().zip(ends).collect()
    }

    /// What was counted for the sink of the events from one position to another, those that are deleted by now
    /// included.
    ///
    /// # Errors
    /// The journal or the ledger cannot be read.
    pub async fn between(
        &self,
        sink: &str,
        [from, to]: [Position; 2],
        or: &Arc<RuleSet>,
        journal: &dyn Journal,
    ) -> Result<u64, JournalError> {
        let mut sum = 0;
        for (first, end) in self.stretches(from, to) {
            sum += owed(self.at(first, or), sink, &journal.owed(first, end).await?);
        }
        Ok(sum)
    }

    /// What was counted for the sink of the events `stood`, which stood in a hole of the journal.
    ///
    /// # Errors
    /// As [`Self::between`].
    pub async fn of_hole(
        &self,
        sink: &str,
        [from, to]: [Position; 2],
        stood: &[TypeCount],
        or: &Arc<RuleSet>,
        journal: &dyn Journal,
    ) -> Result<u64, JournalError> {
        if stood.is_empty() || self.stretches(from, to).len() < 2 {
            return Ok(owed(self.at(from, or), sink, stood));
        }
        self.between(sink, [from, to], or, journal).await
    }
}

/// What a sink is owed of these events.
pub fn owed(rules: &RuleSet, sink: &str, events: &[TypeCount]) -> u64 {
    events.iter().map(|c| c.events * u64::from(rules.owed(sink, &c.source, &c.kind))).sum()
}
