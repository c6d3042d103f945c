//! Log lines that must not become a flood: at most one in ten seconds, with how many it stands for. Pure but for time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(10);

/// One kind of line of one source.
#[derive(Debug)]
pub struct Throttle {
    base: Instant,
    /// From when on the next line may be logged: milliseconds after `base`.
    next: AtomicU64,
    unlogged: AtomicU64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { base: Instant::now(), next: AtomicU64::new(0), unlogged: AtomicU64::new(0) }
    }
}

impl Throttle {
    /// Counts one. Gives how many there were since the last line, where another may be logged now.
    pub fn hit(&self) -> Option<u64> {
        self.hit_at(self.base.elapsed())
    }

    fn hit_at(&self, since_base: Duration) -> Option<u64> {
        self.unlogged.fetch_add(1, Relaxed);
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let (now, next) = (millis(since_base), self.next.load(Relaxed));
        let mine = now >= next && self.next.compare_exchange(next, now + millis(EVERY), Relaxed, Relaxed).is_ok();
        mine.then(|| self.unlogged.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_then_one_in_ten_seconds_with_the_count_since() {
        let throttle = Throttle::default();
        let hit = |millis| throttle.hit_at(Duration::from_millis(millis));
        assert_eq!([hit(0), hit(1), hit(9_999), hit(10_000), hit(10_001)], [Some(1), None, None, Some(3), None]);
    }
}
