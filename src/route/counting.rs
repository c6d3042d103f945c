//! Counts what came of each route, once for each event that its globs and source match: where the first of the sinks
//! that it names reads the event. Live events only: what is tried again or replayed was counted before.

use std::sync::Arc;

use super::router::{Observer, Step};
use super::rules::RuleSet;
use crate::metrics::Counter;

/// What came of one route.
#[derive(Clone, Debug, Default)]
pub struct RouteCounts {
    /// Events that it applied to.
    pub matched: Counter,
    /// Events of which its condition or its transform left nothing, or that an earlier final route took.
    pub filtered: Counter,
    /// Events at which its condition, its transform or the sink's target failed.
    pub failed: Counter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Matched,
    Filtered,
    Failed,
}

/// Counts for one sink. What an event comes to is seen step by step, and counted when all of it is known.
#[derive(Debug)]
pub struct RouteCounter {
    /// Of each route that this sink counts.
    counts: Vec<Option<Arc<RouteCounts>>>,
    seen: Vec<(usize, Came)>,
}

impl RouteCounter {
    /// Counts for the routes whose first sink is this one.
    pub fn new(rules: &RuleSet, sink: &str) -> Self {
        let is_first = |to: &[String]| to.first().is_some_and(|first| first == sink);
        let routes = rules.routes.iter().zip(rules.counts());
        let counts = routes.map(|(route, counts)| is_first(&route.to).then(|| Arc::clone(counts)));
        Self { counts: counts.collect(), seen: Vec::new() }
    }

    /// All of the event is seen.
    pub fn count(&mut self) {
        for (route, came) in self.seen.drain(..) {
            let Some(counts) = self.counts.get(route).and_then(Option::as_ref) else { continue };
            let counter = match came {
                Came::Matched => &counts.matched,
                Came::Filtered => &counts.filtered,
                Came::Failed => &counts.failed,
            };
            counter.inc();
        }
    }
}

impl Observer for RouteCounter {
    fn saw(&mut self, route: usize, step: Step<'_>) {
        if self.counts.get(route).is_none_or(Option::is_none) {
            return;
        }
        let came = match step {
            Step::Applies => Came::Matched,
            Step::False | Step::AfterFinal(_) | Step::Nothing { .. } => Came::Filtered,
            Step::ConditionFailed(_) | Step::Failed(_) => Came::Failed,
        };
        match self.seen.iter_mut().find(|(seen, _)| *seen == route) {
            Some((_, before)) => *before = came,
            None => self.seen.push((route, came)),
        }
    }
}
