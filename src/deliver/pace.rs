//! `rate`: how many deliveries a sink is handed in a span of time, retries and probes included. Pure; the worker hands it
//! the time.
//!
//! They are spread evenly, at most a tenth of a second's worth at once, so that no span of that length holds more than
//! that above the rate: `300/min` is one every 200 ms, never 300 at once.

use std::time::{Duration, Instant};

/// What may go at once, as a part of a second.
const BURST: Duration = Duration::from_millis(100);

/// A count in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
}

impl Rate {
    /// Reads `300/min`; units are s, min and h, with their longer names.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "min" | "minute" => 60,
            "h" | "hour" => 3600,
            _ => return None,
        };
        let count = count.trim().parse().ok().filter(|count| *count > 0)?;
        Some(Self { count, per: Duration::from_secs(seconds) })
    }

    /// Time that so many deliveries take up.
    pub fn time_for(self, count: u64) -> Duration {
        self.step().saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Time that one delivery takes up.
    fn step(self) -> Duration {
        (self.per / self.count).max(Duration::from_nanos(1))
    }
}

/// What a rate lets go, and when; without a rate, anything at any time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What one delivery takes up; nothing where there is no rate.
    step: Duration,
    burst: u32,
    /// Everything handed over so far is paid for by then.
    paid: Instant,
}

impl Pace {
    /// Nothing handed over yet.
    pub fn new(rate: Option<Rate>, now: Instant) -> Self {
        let step = rate.map_or(Duration::ZERO, Rate::step);
        let burst = BURST.as_nanos().checked_div(step.as_nanos()).unwrap_or_default();
        let burst = u32::try_from(burst).unwrap_or(u32::MAX).max(1);
        Self { step, burst, paid: now }
    }

    /// How many may go now.
    pub fn room(&self, now: Instant) -> usize {
        let ahead = self.paid.saturating_duration_since(now);
        let all = self.step * self.burst;
        let free = all.saturating_sub(ahead).as_nanos().checked_div(self.step.as_nanos()).unwrap_or(u128::MAX);
        usize::try_from(free).unwrap_or(usize::MAX)
    }

    /// When there is room for one, where there is none now.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        (self.room(now) == 0).then(|| {
            let ahead = self.paid.saturating_duration_since(now);
            now + (ahead + self.step).saturating_sub(self.step * self.burst)
        })
    }

    /// So many went.
    pub fn took(&mut self, count: usize, now: Instant) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.paid = self.paid.max(now) + self.step.saturating_mul(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_a_unit() {
        assert!(["300/min", "1/s", "5 / hour"].into_iter().all(|text| Rate::parse(text).is_some()));
        let not = ["300", "0/min", "-1/s", "x/s", "5/fortnight", ""];
        assert!(not.into_iter().all(|text| Rate::parse(text).is_none()));
    }

    /// What goes within a span where as much as may is taken whenever it may.
    fn within(rate: &str, span: Duration) -> usize {
        let start = Instant::now();
        let (mut pace, mut now, mut gone) = (Pace::new(Rate::parse(rate), start), start, 0);
        while now - start < span {
            let room = pace.room(now);
            pace.took(room, now);
            gone += room;
            let next = pace.next(now).expect("nothing is left");
            assert!(next > now && pace.room(next) == 1, "it is no longer and no shorter");
            now = next;
        }
        gone
    }

    #[test]
    fn no_more_goes_than_the_rate_says_and_no_less() {
        assert_eq!(within("300/min", Duration::from_secs(60)), 300);
        assert_eq!(within("1/s", Duration::from_secs(10)), 10);
        assert_eq!(within("2/h", Duration::from_secs(3600)), 2);
        let most = within("1000/s", Duration::from_secs(2));
        assert!((2000..=2100).contains(&most), "a tenth of a second's worth at once: {most}");
    }

    #[test]
    fn without_a_rate_anything_goes() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        pace.took(1_000_000, now);
        assert_eq!((pace.room(now), pace.next(now)), (usize::MAX, None));
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::parse("300/min"), start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.room(later), 1);
        pace.took(1, later);
        assert_eq!((pace.room(later), pace.next(later)), (0, Some(later + Duration::from_millis(200))));
    }
}
