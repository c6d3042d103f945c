//! How many events a source has accepted a second of late. Pure, but for its own state; its caller says what time it
//! is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Over how long the rate is taken.
const OVER: Duration = Duration::from_secs(60);
/// How often the count is noted.
const EVERY: Duration = Duration::from_secs(5);

/// What was counted in the last minute, at times that lie [`EVERY`] apart.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<(Instant, u64)>>);

impl Recent {
    /// So many events were accepted until now. To be called every second or so.
    pub fn note(&self, accepted: u64, now: Instant) {
        let mut noted = self.noted();
        if noted.back().is_some_and(|(last, _)| now.saturating_duration_since(*last) < EVERY) {
            return;
        }
        noted.push_back((now, accepted));
        // One that is older than a minute is where the minute begins.
        while noted.get(1).is_some_and(|(second, _)| now.saturating_duration_since(*second) >= OVER) {
            noted.pop_front();
        }
    }

    /// Events a second, over the last minute or for as long as there are notes; `accepted` is how many there were until
    /// now.
    pub fn rate(&self, accepted: u64, now: Instant) -> f64 {
        let noted = self.noted();
        let Some((since, before)) = noted.front() else { return 0.0 };
        let seconds = now.saturating_duration_since(*since).as_secs_f64();
        accepted.saturating_sub(*before) as f64 / seconds.max(1.0)
    }

    fn noted(&self) -> MutexGuard<'_, VecDeque<(Instant, u64)>> {
        // Valid whoever panicked: what may be lost is a note.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute_and_the_notes_are_few() {
        let (recent, began) = (Recent::default(), Instant::now());
        let at = |second: u64| began + Duration::from_secs(second);
        assert_eq!(recent.rate(7, at(0)), 0.0);
        for second in 0..=300 {
            recent.note(second * 2, at(second));
        }
        assert_eq!(recent.rate(600, at(300)), 2.0);
        assert_eq!(recent.noted().len(), 13);
        for second in 301..=400 {
            recent.note(600, at(second));
        }
        assert_eq!(recent.rate(600, at(400)), 0.0, "it has been quiet for longer than a minute");
        assert_eq!(recent.rate(660, at(400)), 1.0);
    }
}
