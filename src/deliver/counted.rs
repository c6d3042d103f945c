//! By which rules events were counted for a sink when they were appended: a reload may have changed the rules since,
//! and what an event comes to is booked against what was promised then. A snapshot, pure.

use std::sync::Arc;

use crate::journal::{JournalError, Marks, Position, TypeCount};
use crate::ledger::SinkStorage;
use crate::route::RuleSet;

/// The rules of each time, in the order in which they came into force; what stands before the first counts by it, too.
#[derive(Clone, Debug, Default)]
pub struct Counted(Vec<(Marks, Arc<RuleSet>)>);

/// A part of the journal that was counted by the same rules.
struct Stretch<'r> {
    from: Marks,
    to: Marks,
    rules: &'r Arc<RuleSet>,
}

impl Counted {
    /// These, each from its marks on.
    pub fn new(rules: Vec<(Marks, Arc<RuleSet>)>) -> Self {
        Self(rules)
    }

    /// Whether everything was counted by these rules.
    pub fn all_by(&self, rules: &Arc<RuleSet>) -> bool {
        self.0.iter().all(|(_, then)| Arc::ptr_eq(then, rules))
    }

    /// The rules that an event at that position was counted by; where none are known, the ones given.
    pub fn at<'r>(&'r self, at: Position, or: &'r Arc<RuleSet>) -> &'r Arc<RuleSet> {
        let then = self.0.iter().rev().find(|(from, _)| !from.is_past(at)).or_else(|| self.0.first());
        then.map_or(or, |(_, rules)| rules)
    }

    /// The stretches from one mark to another, in the shards that the second names, under the rules of each time.
    fn stretches<'r>(&'r self, [from, to]: [&Marks; 2], or: &'r Arc<RuleSet>) -> Vec<Stretch<'r>> {
        let mut from = from.earlier(to);
        let mut stretches = Vec::new();
        let mut rules = self.0.first().map_or(or, |(_, rules)| rules);
        let turns = self.0.iter().skip(1).map(|(turn, next)| (turn.later(&from).earlier(to), next)).collect::<Vec<_>>();
        for (turn, next) in turns {
            if !from.reaches(&turn) {
                stretches.push(Stretch { from: std::mem::replace(&mut from, turn.clone()), to: turn, rules });
            }
            rules = next;
        }
        if !from.reaches(to) {
            stretches.push(Stretch { from, to: to.clone(), rules });
        }
        stretches
    }

    /// What was counted for the sink of what stood between two marks, in the shards that the second names; what is
    /// deleted by now included.
    ///
    /// # Errors
    /// The journal or the ledger cannot be read.
    pub async fn between(
        &self,
        sink: &str,
        span: [&Marks; 2],
        or: &Arc<RuleSet>,
        storage: &SinkStorage,
    ) -> Result<u64, JournalError> {
        let mut sum = 0;
        for Stretch { from, to, rules } in self.stretches(span, or) {
            sum += owed(rules, sink, &storage.owed(&from, &to).await?.known);
        }
        Ok(sum)
    }

    /// The same of a hole in one shard of the journal, of which is known what stood there.
    ///
    /// # Errors
    /// As [`Self::between`].
    pub async fn of_hole(
        &self,
        sink: &str,
        [from, to]: [Position; 2],
        stood: &[TypeCount],
        or: &Arc<RuleSet>,
        storage: &SinkStorage,
    ) -> Result<u64, JournalError> {
        let span = [&from.into(), &to.into()];
        if stood.is_empty() || self.stretches(span, or).len() < 2 {
            return Ok(owed(self.at(from, or), sink, stood));
        }
        self.between(sink, span, or, storage).await
    }
}

/// What a sink is owed of these events.
pub fn owed(rules: &RuleSet, sink: &str, events: &[TypeCount]) -> u64 {
    events.iter().map(|c| c.events * u64::from(rules.owed(sink, &c.source, &c.kind))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::JqEval;

    fn rules() -> Arc<RuleSet> {
        Arc::new(RuleSet::compile(&[], &["a"], &["s"], Arc::new(JqEval)).unwrap())
    }

    fn marks(offsets: [u64; 2]) -> Marks {
        (0..).zip(offsets).map(|(shard, offset)| Position { shard, offset }).collect()
    }

    #[test]
    fn each_shard_has_turns_of_its_own() {
        let all = [rules(), rules(), rules()];
        let from = [marks([0, 0]), marks([10, 5]), marks([20, 5])];
        let counted = Counted::new(from.into_iter().zip(all.clone()).collect());
        let number = |rules: &Arc<RuleSet>| all.iter().position(|one| Arc::ptr_eq(one, rules)).unwrap();
        let at = |shard, offset| number(counted.at(Position { shard, offset }, &all[0]));
        assert_eq!([at(0, 9), at(0, 10), at(0, 19), at(0, 20)], [0, 1, 1, 2]);
        assert_eq!([at(1, 4), at(1, 5), at(1, 50), at(2, 0)], [0, 2, 2, 2], "a turn may come to nothing in a shard");
        let stretches = |from: &Marks, to: &Marks| -> Vec<_> {
            let all = counted.stretches([from, to], &all[0]).into_iter();
            all.map(|stretch| (stretch.from, stretch.to, number(stretch.rules))).collect()
        };
        let [a, b, c] = [marks([5, 0]), marks([10, 5]), marks([20, 5])];
        assert_eq!(
            stretches(&a, &marks([30, 9])),
            [(a.clone(), b.clone(), 0), (b, c.clone(), 1), (c, marks([30, 9]), 2),]
        );
        let one = |shard, offset| Marks::from(Position { shard, offset });
        assert_eq!(stretches(&one(1, 2), &one(1, 7)), [(one(1, 2), one(1, 5), 0), (one(1, 5), one(1, 7), 2)]);
        assert_eq!(stretches(&one(0, 12), &one(0, 15)), [(one(0, 12), one(0, 15), 1)]);
        assert_eq!(stretches(&one(0, 15), &one(0, 15)), []);
    }
}
