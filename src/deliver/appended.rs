//! What each sink is owed of the events this life has appended, counted by source and type, whatever is delivered: an
//! event costs one look-up and one addition. The other side of the books is what the workers settle.
//!
//! Types with the same share for every sink share a counter. Bounded: [`MAX_TYPES`] types are remembered, others are
//! worked out each time; counters are as many as the rules can tell apart.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::ingress::counts::Counter;
use crate::route::RuleSet;

/// Most (source, type) pairs remembered.
const MAX_TYPES: usize = 4_096;

/// Deliveries owed to each sink by one event, in the order of the sinks.
type Share = Vec<u32>;

/// Each type's counter, and whether any route wants it.
type Kinds = HashMap<Box<str>, (Arc<Counter>, bool)>;

#[derive(Debug, Default)]
struct Known {
    types: HashMap<Box<str>, Kinds>,
    len: usize,
    shares: HashMap<Share, Arc<Counter>>,
}

/// The counts since the start.
#[derive(Debug)]
pub struct Appended {
    rules: Arc<RuleSet>,
    sinks: Vec<String>,
    known: RwLock<Known>,
}

impl Appended {
    /// Nothing appended yet.
    pub fn new(rules: Arc<RuleSet>, sinks: Vec<String>) -> Self {
        Self { rules, sinks, known: RwLock::default() }
    }

    /// The counter that rises for an event of this type, and whether any route wants it.
    pub fn counter(&self, source: &str, kind: &str) -> (Arc<Counter>, bool) {
        // The maps are whole at any moment, so a panic elsewhere under the lock spoils nothing.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((counter, wanted)) = known.types.get(source).and_then(|kinds| kinds.get(kind)) {
            return (Arc::clone(counter), *wanted);
        }
        drop(known);
        let share: Share = self.sinks.iter().map(|sink| self.rules.owed(sink, source, kind)).collect();
        let wanted = share.iter().any(|owed| *owed > 0);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let counter = Arc::clone(known.shares.entry(share).or_default());
        if known.len < MAX_TYPES {
            let kinds = known.types.entry(source.into()).or_default();
            let is_new = kinds.insert(kind.into(), (Arc::clone(&counter), wanted)).is_none();
            known.len += usize::from(is_new);
        }
        (counter, wanted)
    }

    /// What the sinks are owed of all events so far, in their order.
    pub fn owed(&self) -> Vec<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut sums = vec![0; self.sinks.len()];
        for (share, counter) in &known.shares {
            let events = counter.get();
            sums.iter_mut().zip(share).for_each(|(sum, owed)| *sum += events * u64::from(*owed));
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{JqEval, RouteConfig};

    fn rules(toml: &str) -> Arc<RuleSet> {
        let routes: HashMap<String, Vec<RouteConfig>> = toml::from_str(toml).unwrap();
        Arc::new(RuleSet::compile(&routes["routes"], &["a", "b"], &["s"], Arc::new(JqEval)).unwrap())
    }

    #[test]
    fn each_sink_is_owed_by_its_routes_whatever_the_number_of_types() {
        let rules = rules(
            "[[routes]]\nmatch = \"x*\"\nto = [\"a\", \"b\"]\n[[routes]]\nname = \"two\"\nmatch = \"xy\"\nto = \"a\"\n",
        );
        let appended = Appended::new(rules, vec!["a".into(), "b".into()]);
        let add = |kind: &str| {
            let (counter, wanted) = appended.counter("s", kind);
            counter.add();
            wanted
        };
        assert!(add("x") && add("xy") && add("xy") && !add("z"));
        assert_eq!(appended.owed(), [5, 3]);
        for n in 0..2 * MAX_TYPES {
            assert!(add(&format!("x{n}")));
        }
        let more = 2 * MAX_TYPES as u64;
        assert_eq!(appended.owed(), [5 + more, 3 + more]);
        assert!(appended.known.read().unwrap().len <= MAX_TYPES);
    }
}
