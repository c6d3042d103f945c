//! How long answers took, finely enough to tell half of them and 99 of 100 from counts alone. An answer costs one
//! addition to an atomic counter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many counters there are: from 0.1 ms to more than 20 s.
pub const BUCKETS: usize = 56;
/// Upper bound of the first, seconds; each further bound is a quarter higher.
const FIRST: f64 = 0.0001;
const STEP: f64 = 1.25;

/// How many answers took up to each bound, since the start.
pub type Counts = [u64; BUCKETS];

/// Counts answers by how long they took.
#[derive(Debug)]
pub struct Latency([AtomicU64; BUCKETS]);

impl Default for Latency {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Latency {
    /// An answer took so long.
    pub(in crate::ingress) fn add(&self, took: Duration) {
        let steps = (took.as_secs_f64() / FIRST).max(1.0).log(STEP).ceil();
        // Not negative, and small: the logarithm of at most some billion billions.
        let bucket = (steps as usize).min(BUCKETS - 1);
        if let Some(count) = self.0.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        std::array::from_fn(|at| self.0.get(at).map_or(0, |count| count.load(Ordering::Relaxed)))
    }
}

/// Within how many seconds that part of the answers came, to a quarter; `None` where there were none.
pub fn within(counts: &Counts, part: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let wanted = (all as f64 * part).ceil().max(1.0) as u64;
    let mut seen = 0;
    let bounds = std::iter::successors(Some(FIRST), |bound| Some(bound * STEP));
    let found = bounds.zip(counts).find(|(_, count)| {
        seen += **count;
        seen >= wanted
    });
    found.map(|(bound, _)| bound).filter(|_| all > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_99_of_100_are_told_to_a_quarter() {
        let latency = Latency::default();
        assert_eq!(within(&latency.counts(), 0.5), None);
        for millis in 1..=100 {
            latency.add(Duration::from_millis(millis));
        }
        for (part, exact) in [(0.5, 0.050), (0.99, 0.099), (1.0, 0.1), (0.0, 0.001)] {
            let told = within(&latency.counts(), part).unwrap();
            assert!(told >= exact && told <= exact * STEP * 1.001, "{part}: {told}");
        }
        for odd in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            latency.add(odd);
        }
        assert_eq!(latency.counts().iter().sum::<u64>(), 103);
    }
}
