//! The feed guard: says when a source's provider is about to switch the feed off for our failures, when it probably
//! has, and when a feed has gone quiet. One for each source; it outlives reloads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sink_api::{Period, Timestamp};

use super::source::failure_budget::FailureBudget;
use super::source::{SourceKind, SourcePlan};
use super::spending::{Failure, Level, Spending};
use crate::news::{Item, Kind};

/// The word of a failure that is an answer which came too late.
pub(super) const LATE: &str = "late";

/// What a guard knows of its source.
pub(super) struct Guard {
    /// Since when the source is served.
    since: Timestamp,
    spending: Mutex<Spending>,
    /// Since when the feed has been quiet, once that was told.
    silent_since: Mutex<Option<Timestamp>>,
}

/// How much of a budget is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// Failures that count now.
    pub used: usize,
    /// The budget.
    pub budget: FailureBudget,
    /// What they were, and from whom: `4 × wrong from 203.0.113.9`.
    pub failures: String,
    /// What to do, where it is spent; what to be afraid of, where it nearly is.
    pub advice: &'static str,
}

/// Now, by both clocks: one that is never set, and the one that people read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now(pub Instant, pub Timestamp);

impl Now {
    pub fn new() -> Self {
        Self(Instant::now(), Timestamp::now())
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { since: Timestamp::now(), spending: Mutex::default(), silent_since: Mutex::default() }
    }
}

impl Guard {
    /// An answer counts as a failure: `why` is a reason's word, or [`LATE`]. Gives what is news of that.
    pub fn fails(&self, plan: &SourcePlan, why: &'static str, remote: &Arc<str>) -> Option<Item> {
        let budget = plan.failure_budget.as_ref()?;
        let at = Instant::now();
        let mut spending = self.spending();
        let level = spending.spend(budget, Failure { at, why, remote: Arc::clone(remote) })?;
        let (used, failures) = (spending.used(budget, at), spending.told());
        drop(spending);
        let (source, of, within) = (&*plan.name, budget.failures, budget.within.to_string());
        let (kind, text) = match level {
            Level::Fine => return None,
            Level::Low => (Kind::FeedAtRisk, at_risk(plan.kind)),
            Level::Spent => (Kind::FeedFailing, failing(plan.kind)),
        };
        if level == Level::Spent {
            tracing::error!(source, used, of, within, failures, "the failure budget is spent: {text}");
        } else {
            tracing::warn!(source, used, of, within, failures, "the failure budget is nearly spent: {text}");
        }
        let text = format!("source {source} has {used} of {of} failures within {within} ({failures}): {text}");
        let item = Item::new(kind, source, text).reason(why).with("failures", failures);
        Some(item.with("used", used).with("of", of).with("within_s", budget.within.0.as_secs()))
    }

    /// Looks whether the budget has recovered, and whether the feed has gone quiet or come back; `last` is when its
    /// last webhook was accepted in this life of the daemon. Gives what is news of that. Called every second or so.
    pub fn look(&self, plan: &SourcePlan, last: Option<Timestamp>, now: Now) -> Option<Item> {
        if let Some(budget) = &plan.failure_budget {
            let mut spending = self.spending();
            let (recovers, used) = (spending.recovers(budget, now.0), spending.used(budget, now.0));
            drop(spending);
            let (source, of) = (&*plan.name, budget.failures);
            match recovers {
                Some(Level::Spent) => tracing::info!(source, used, of, "the failure budget has recovered; {STAYS_OFF}"),
                Some(_) => tracing::info!(source, used, of, "the failure budget has recovered"),
                None => {}
            }
        }
        self.listen(plan, last.map_or(self.since, |last| last.max(self.since)), now.1)
    }

    /// Looks whether a feed whose last sign of life came at `last` has gone quiet, or come back.
    fn listen(&self, plan: &SourcePlan, last: Timestamp, now: Timestamp) -> Option<Item> {
        let source = &*plan.name;
        let mut silent_since = self.silent_since();
        let Some(silence) = &plan.silence else {
            *silent_since = None;
            return None;
        };
        match *silent_since {
            Some(since) if last > since => {
                *silent_since = None;
                let quiet = whole_seconds(since, last);
                tracing::info!(source, quiet_for = %quiet, "webhooks come again: the feed is back");
                let text = format!("webhooks of source {source} come again, after {quiet} without one");
                let item = Item::new(Kind::SourceBack, source, text).with("since", since.to_string());
                Some(item.with("silent_s", quiet.0.as_secs()))
            }
            None if silence.is_over(last, now) => {
                *silent_since = Some(last);
                let quiet = whole_seconds(last, now);
                tracing::warn!(source, quiet_for = %quiet, since = %last, "{GONE_QUIET}");
                let text = format!("source {source}: no webhook for {quiet}: {GONE_QUIET}");
                let item = Item::new(Kind::SourceSilent, source, text).with("since", last.to_string());
                Some(item.with("after_s", silence.after.0.as_secs()))
            }
            _ => None,
        }
    }

    /// How much of the budget is spent, where there is one.
    pub fn budget(&self, plan: &SourcePlan) -> Option<BudgetUse> {
        let budget = plan.failure_budget?;
        let mut spending = self.spending();
        let used = spending.used(&budget, Instant::now());
        let advice = if used >= budget.most() { failing(plan.kind) } else { at_risk(plan.kind) };
        Some(BudgetUse { used, budget, failures: spending.told(), advice })
    }

    /// Since when the feed has been quiet, where it has gone quiet.
    pub fn silent_since(&self) -> MutexGuard<'_, Option<Timestamp>> {
        // Both are valid between any two statements, whoever panicked.
        self.silent_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spending(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time between two times, in whole seconds.
fn whole_seconds(from: Timestamp, to: Timestamp) -> Period {
    let seconds = to.as_millisecond().saturating_sub(from.as_millisecond()) / 1000;
    Period(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// What is said when a budget recovers that was spent.
const STAYS_OFF: &str = "a webhook that was switched off meanwhile stays so until somebody switches it on again";

/// What is said when a feed has gone quiet.
const GONE_QUIET: &str = "the feed has gone quiet; see in its provider's dashboard whether the webhook is switched on, \
                          and whether its URL leads here";

/// What is said when a budget is nearly spent.
fn at_risk(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Interakt => {
            "Interakt soon switches this webhook off, as it does after so many failures: mend what `failures` names \
             (where those addresses are not Interakt's, somebody else knocks, and the feed is in no danger)"
        }
        _ => {
            "the provider may soon switch this webhook off, for so many failures: mend what `failures` names (where \
             those addresses are not the provider's, somebody else knocks, and the feed is in no danger)"
        }
    }
}

/// What is said when a budget is spent, and what to do.
fn failing(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Interakt => {
            "Interakt has probably switched this webhook off: mend what `failures` names, open Settings → Developer \
             Settings in its dashboard, switch the webhook on again, and see that one arrives; what it would have sent \
             meanwhile does not come again (where those addresses are not Interakt's, somebody else knocks, and the \
             feed is in no danger)"
        }
        _ => {
            "the provider has probably switched this webhook off: mend what `failures` names, look in its dashboard, \
             switch the webhook on again, and see that one arrives (where those addresses are not the provider's, \
             somebody else knocks, and the feed is in no danger)"
        }
    }
}
