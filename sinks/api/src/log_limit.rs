//! How often something may be logged: so many times in a window, and a count of what was left out.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A budget of log lines, which is renewed when its window has passed. Threads may share it; none waits for another.
#[derive(Debug)]
pub struct LogLimit {
    most: u32,
    window: Duration,
    began: Instant,
    /// Milliseconds after `began` at which the window ends.
    window_end: AtomicU64,
    used: AtomicU32,
    left_out: AtomicU64,
}

impl LogLimit {
    /// So many lines in so long.
    pub fn new(most: u32, window: Duration) -> Self {
        let (window_end, used, left_out) = Default::default();
        Self { most, window, began: Instant::now(), window_end, used, left_out }
    }

    /// Whether a line may be logged now; if so, how many were left out before it.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(self.began.elapsed())
    }

    fn admit_at(&self, since_began: Duration) -> Option<u64> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now, end) = (millis(since_began), self.window_end.load(Relaxed));
        let next_end = now.saturating_add(millis(self.window));
        if now >= end && self.window_end.compare_exchange(end, next_end, Relaxed, Relaxed).is_ok() {
            self.used.store(0, Relaxed);
        }
        let has_room = self.used.fetch_update(Relaxed, Relaxed, |used| (used < self.most).then_some(used + 1)).is_ok();
        if has_room {
            Some(self.left_out.swap(0, Relaxed))
        } else {
            self.left_out.fetch_add(1, Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_budget_is_counted_and_told_in_the_next_window() {
        let limit = LogLimit::new(2, Duration::from_secs(10));
        let at = |seconds| limit.admit_at(Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 9].map(at), [Some(0), Some(0), None, None]);
        assert_eq!([10, 11, 12].map(at), [Some(2), Some(0), None]);
        assert_eq!(at(60), Some(1));
    }

    #[test]
    fn the_first_line_is_admitted_at_once_and_then_one_in_each_window() {
        let limit = LogLimit::new(1, Duration::from_secs(10));
        let at = |millis| limit.admit_at(Duration::from_millis(millis));
        assert_eq!([0, 1, 9_999, 10_000, 10_001].map(at), [Some(0), None, None, Some(2), None]);
    }
}
