//! How long to wait before the next attempt: exponential, with full jitter, the target's own wish honoured within
//! bounds. Pure.

use std::time::Duration;

use super::config::RetryKeys;

/// The longest `Retry-After` that is honoured, and the longest that a sink may put a delivery off.
pub const MAX_AFTER: Duration = Duration::from_secs(3600);

/// What a sink puts off is not handed to it again sooner, so that a sink that says "now" does not keep a core busy.
pub const MIN_LATER: Duration = Duration::from_millis(100);

/// The wait after `attempts` failed attempts (at least 1). `unit` is a random number in `[0, 1)`; `after` is the wait
/// that the target asked for, a lower bound. Full jitter as in "Exponential Backoff And Jitter" (AWS, 2015): the wait
/// is anywhere between zero and the cap, so that many failed deliveries do not come back together.
pub fn wait(keys: &RetryKeys, attempts: u32, after: Option<Duration>, unit: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let cap = keys.initial.0.saturating_mul(1 << doublings).min(keys.max.0);
    let jittered = cap.mul_f64(unit.clamp(0.0, 1.0));
    after.map_or(jittered, |asked| jittered.max(asked.min(MAX_AFTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_doubles_up_to_the_maximum_and_jitter_spans_it() {
        let keys = RetryKeys::default();
        assert_eq!(wait(&keys, 1, None, 1.0), Duration::from_millis(500));
        assert_eq!(wait(&keys, 4, None, 0.5), Duration::from_secs(2));
        assert_eq!(wait(&keys, u32::MAX, None, 1.0), Duration::from_secs(300));
        assert_eq!(wait(&keys, 9, None, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_targets_wish_is_a_lower_bound_of_at_most_an_hour() {
        let keys = RetryKeys::default();
        assert_eq!(wait(&keys, 1, Some(Duration::from_secs(7)), 0.3), Duration::from_secs(7));
        assert_eq!(wait(&keys, 1, Some(Duration::from_secs(86_400)), 0.3), MAX_AFTER);
        assert_eq!(wait(&keys, 20, Some(Duration::from_secs(1)), 1.0), Duration::from_secs(300));
    }
}
