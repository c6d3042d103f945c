//! How much of a source's failure budget is spent, and when that is worth a word. Pure, but for its own state; its
//! caller says what time it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::source::failure_budget::FailureBudget;

/// Most kinds of failures that are told one by one.
const MOST_TOLD: usize = 5;

/// An answer that the provider counts as a failure.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub at: Instant,
    /// A reason's word, or `late`.
    pub why: &'static str,
    pub remote: Arc<str>,
}

/// How near a budget is to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Fine,
    /// Three fifths are spent.
    Low,
    /// All is spent.
    Spent,
}

/// The failures of one source. Holds at most as many as the budget has.
#[derive(Debug, Default)]
pub(super) struct Spending {
    failures: VecDeque<Failure>,
    level: Level,
}

impl Spending {
    /// Takes note of a failure. Gives the level where that has risen.
    pub fn spend(&mut self, budget: &FailureBudget, failure: Failure) -> Option<Level> {
        let now = failure.at;
        self.failures.push_back(failure);
        self.forget(budget, now);
        let level = match self.failures.len() {
            used if used >= budget.most() => Level::Spent,
            used if used >= budget.low() => Level::Low,
            _ => Level::Fine,
        };
        (level > self.level).then(|| {
            self.level = level;
            level
        })
    }

    /// Forgets what is too old to count. Where the budget has recovered by that, gives how far it was spent: what was
    /// told once is not told again before.
    pub fn recovers(&mut self, budget: &FailureBudget, now: Instant) -> Option<Level> {
        self.forget(budget, now);
        let recovers = self.level > Level::Fine && self.failures.len() < budget.low();
        recovers.then(|| std::mem::take(&mut self.level))
    }

    /// How many failures count now, at most as many as the budget has.
    pub fn used(&mut self, budget: &FailureBudget, now: Instant) -> usize {
        self.forget(budget, now);
        self.failures.len()
    }

    fn forget(&mut self, budget: &FailureBudget, now: Instant) {
        let is_old = |failure: &Failure| now.saturating_duration_since(failure.at) >= budget.within.0;
        let too_many = self.failures.len().saturating_sub(budget.most());
        self.failures.drain(..too_many);
        while self.failures.front().is_some_and(is_old) {
            self.failures.pop_front();
        }
    }

    /// Who caused them, and how: `4 × wrong from 203.0.113.9, 1 × late from 198.51.100.2`.
    pub fn told(&self) -> String {
        let mut kinds: Vec<(usize, &'static str, &str)> = Vec::new();
        for Failure { why, remote, .. } in &self.failures {
            match kinds.iter_mut().find(|(_, own, from)| own == why && *from == &**remote) {
                Some((count, ..)) => *count += 1,
                None => kinds.push((1, why, remote)),
            }
        }
        kinds.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
        let rest: usize = kinds.iter().skip(MOST_TOLD).map(|(count, ..)| count).sum();
        let told = kinds.iter().take(MOST_TOLD).map(|(count, why, from)| format!("{count} × {why} from {from}"));
        told.chain((rest > 0).then(|| format!("{rest} others"))).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Times in seconds, and what they bring about: `Some` level of a failure, `None` for a mere look.
    fn levels(failures: u32, steps: &[(u64, bool)]) -> Vec<String> {
        let budget = FailureBudget { failures, ..FailureBudget::default() };
        let (mut spending, began) = (Spending::default(), Instant::now());
        let mut told = Vec::new();
        for (second, is_failure) in steps {
            let at = began + Duration::from_secs(*second);
            if *is_failure {
                let failure = Failure { at, why: "wrong", remote: "r".into() };
                told.extend(spending.spend(&budget, failure).map(|level| format!("{second} {level:?}")));
            } else {
                told.extend(spending.recovers(&budget, at).map(|level| format!("{second} recovered from {level:?}")));
            }
        }
        told
    }

    #[test]
    fn three_of_five_are_told_and_five_and_when_it_is_over() {
        let fails = |seconds: &[u64]| seconds.iter().map(|second| (*second, true)).collect::<Vec<_>>();
        assert_eq!(levels(5, &fails(&[0, 1])), [""; 0]);
        assert_eq!(levels(5, &fails(&[0, 1, 2, 3, 4, 5, 6])), ["2 Low", "4 Spent"]);
        assert_eq!(levels(1, &fails(&[0, 1])), ["0 Spent"]);
        // The first is 10 minutes old when the third comes.
        assert_eq!(levels(5, &fails(&[0, 1, 600])), [""; 0]);
        let then = |looks: &[u64]| {
            let looks = looks.iter().map(|second| (*second, false));
            levels(5, &fails(&[0, 1, 2, 3, 4]).into_iter().chain(looks).collect::<Vec<_>>())
        };
        assert_eq!(then(&[5, 600, 601]), ["2 Low", "4 Spent"], "two fifths are still three of five");
        assert_eq!(then(&[602, 603]), ["2 Low", "4 Spent", "602 recovered from Spent"]);
    }

    #[test]
    fn after_a_recovery_it_is_told_again() {
        let steps = [(0, true), (1, true), (2, true), (700, false), (701, true), (702, true), (703, true)];
        assert_eq!(levels(5, &steps), ["2 Low", "700 recovered from Low", "703 Low"]);
    }

    #[test]
    fn who_caused_the_failures_is_told_apart() {
        let (mut spending, budget) = (Spending::default(), FailureBudget { failures: 20, ..FailureBudget::default() });
        for (why, remote, times) in
            [("late", "198.51.100.2", 1), ("wrong", "203.0.113.9", 4), ("wrong", "::1", 2), ("missing", "::1", 2)]
        {
            for _ in 0..times {
                spending.spend(&budget, Failure { at: Instant::now(), why, remote: remote.into() });
            }
        }
        for n in 0..4 {
            spending.spend(&budget, Failure { at: Instant::now(), why: "wrong", remote: format!("::{n}2").into() });
        }
        assert_eq!(
            spending.told(),
            "4 × wrong from 203.0.113.9, 2 × wrong from ::1, 2 × missing from ::1, 1 × late from 198.51.100.2, \
             1 × wrong from ::02, 3 others"
        );
    }
}
