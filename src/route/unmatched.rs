//! Counts events that no route matches, by source and type. The journal keeps them all the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most types that are counted separately; further ones are counted together, under an empty type.
pub const MOST_TYPES: usize = 256;

type ByType = HashMap<(String, String), u64>;

/// The counts since the start.
#[derive(Debug, Default)]
pub struct Unmatched(Mutex<ByType>);

impl Unmatched {
    /// Counts an event, and says whether it is the first of its type.
    pub fn note(&self, source: &str, kind: &str) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (source.to_owned(), kind.to_owned());
        if counts.len() >= MOST_TYPES && !counts.contains_key(&key) {
            key.1.clear();
        }
        let count = counts.entry(key).or_default();
        *count += 1;
        *count == 1
    }

    /// Source, type and count of each, sorted.
    pub fn counts(&self) -> Vec<(String, String, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = counts.iter().map(|((source, kind), n)| (source.clone(), kind.clone(), *n)).collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_counted_and_its_first_is_told_apart() {
        let unmatched = Unmatched::default();
        assert!(unmatched.note("interakt", "a") && unmatched.note("interakt", "b"));
        assert!(!unmatched.note("interakt", "a"));
        assert_eq!(unmatched.counts(), [("interakt".into(), "a".into(), 2), ("interakt".into(), "b".into(), 1)]);
    }

    #[test]
    fn types_beyond_the_bound_are_counted_together() {
        let unmatched = Unmatched::default();
        let first = (0..MOST_TYPES + 10).filter(|n| unmatched.note("s", &format!("t{n:04}"))).count();
        assert_eq!(first, MOST_TYPES + 1);
        let counts = unmatched.counts();
        assert_eq!(counts.len(), MOST_TYPES + 1);
        assert_eq!(counts[0], ("s".into(), String::new(), 10));
    }
}
