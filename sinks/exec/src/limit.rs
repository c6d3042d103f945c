//! How often something is logged: so many times in a window, and a count of what was left out. Pure: it is handed the time.

use std::time::{Duration, Instant};

/// A budget that is renewed when its window has passed.
#[derive(Debug)]
pub struct Limit {
    most: u32,
    window: Duration,
    since: Option<Instant>,
    used: u32,
    left_out: u64,
}

impl Limit {
    /// So many in so long.
    pub fn new(most: u32, window: Duration) -> Self {
        Self { most, window, since: None, used: 0, left_out: 0 }
    }

    /// Whether one more is admitted now; then, how many were left out before it.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.window) {
            (self.since, self.used) = (Some(now), 0);
        }
        if self.used >= self.most {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_budget_is_counted_and_told_in_the_next_window() {
        let (mut limit, start) = (Limit::new(2, Duration::from_secs(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!([0, 1, 2, 9].map(|s| limit.admit(at(s))), [Some(0), Some(0), None, None]);
        assert_eq!([10, 11, 12].map(|s| limit.admit(at(s))), [Some(2), Some(0), None]);
        assert_eq!(limit.admit(at(60)), Some(1));
    }
}
