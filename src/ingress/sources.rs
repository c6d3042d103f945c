//! The sources that are served: each one's plan, with what it has counted and its table in dedupe's memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::answer_seconds::AnswerSeconds;
use super::at_risk::AtRisk;
use super::counts::{PreviousSecret, SourceCounts};
use super::guard::Guard;
use super::latency::Latency;
use super::recent::Recent;
use super::source::SourcePlan;
use super::throttle::Throttle;

/// How often the log says that a previous secret is still in use.
const PREVIOUS_EVERY: Duration = Duration::from_secs(60);

/// What metrics show of a source and nobody else needs to know.
#[derive(Debug, Default)]
pub struct Metered {
    /// How long its answers took.
    pub answers: AnswerSeconds,
    /// The same, all statuses together, for the history.
    pub latency: Latency,
    /// How many of its events are at risk now.
    pub at_risk: AtRisk,
}

/// One source while it is served.
pub(super) struct Source {
    pub plan: Arc<SourcePlan>,
    pub counts: Arc<SourceCounts>,
    pub metered: Arc<Metered>,
    /// Counts what the previous secret still proves.
    pub previous: Arc<PreviousSecret>,
    /// Its table in dedupe.
    pub slot: usize,
    pub guard: Arc<Guard>,
    pub recent: Arc<Recent>,
    pub at_risk: Throttle,
    pub late: Throttle,
    /// For the line about the previous secret. It is no trouble, and may go on for days.
    pub by_previous: Throttle,
}

/// What a request's path leads to.
pub(super) enum Place {
    Source(Arc<Source>),
    /// The health path.
    Health,
    Nowhere,
}

/// All sources of a config. Their paths differ: `config` has seen to it.
#[derive(Default)]
pub(super) struct Sources {
    pub list: Vec<Arc<Source>>,
    by_path: HashMap<Arc<str>, Arc<Source>>,
}

impl Sources {
    /// These sources. One that was there before under the same name takes its counts and its table in dedupe along, and
    /// what was counted of its previous secret while that is the same one; `new_slot` gives the others theirs.
    pub fn new(plans: Vec<Arc<SourcePlan>>, before: &Self, mut new_slot: impl FnMut(&SourcePlan) -> usize) -> Self {
        let source = |plan: Arc<SourcePlan>| {
            let old = before.list.iter().find(|old| old.plan.name == plan.name);
            let (slot, counts, metered) = match old {
                Some(old) => (old.slot, Arc::clone(&old.counts), Arc::clone(&old.metered)),
                None => (new_slot(&plan), Arc::default(), Arc::default()),
            };
            let guard = old.map(|old| Arc::clone(&old.guard)).unwrap_or_default();
            let recent = old.map(|old| Arc::clone(&old.recent)).unwrap_or_default();
            let previous = old.filter(|old| old.plan.previous == plan.previous);
            let previous = previous.map(|old| Arc::clone(&old.previous)).unwrap_or_default();
            let (at_risk, late) = Default::default();
            let by_previous = Throttle::every(PREVIOUS_EVERY);
            Arc::new(Source { plan, counts, metered, previous, slot, guard, recent, at_risk, late, by_previous })
        };
        let list: Vec<Arc<Source>> = plans.into_iter().map(source).collect();
        let by_path = list.iter().map(|source| (Arc::clone(&source.plan.path), Arc::clone(source))).collect();
        Self { list, by_path }
    }

    /// What has this path. One slash too many at the end leads to the source all the same, unless something has that
    /// very path.
    pub fn at(&self, path: &str, health: Option<&str>) -> Place {
        let without_slash = || path.strip_suffix('/').and_then(|path| self.by_path.get(path));
        match self.by_path.get(path) {
            Some(source) => Place::Source(Arc::clone(source)),
            None if health == Some(path) => Place::Health,
            None => without_slash().map_or(Place::Nowhere, |source| Place::Source(Arc::clone(source))),
        }
    }

    /// The source of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Source>> {
        self.list.iter().find(|source| *source.plan.name == *name)
    }
}
