//! `rate`: how many deliveries a sink is handed in a span of time, retries and probes included. Pure: the worker hands
//! in the time.
//!
//! The limiter spreads deliveries evenly: at most a tenth of a second's worth goes at once, so that no span holds more
//! than that above the rate. `300/min` is one delivery every 200 ms, never 300 at once.

use std::time::{Duration, Instant};

/// As many deliveries as the rate allows in this time may go at once.
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

    /// The time in which the rate allows `count` deliveries.
    pub fn time_for(self, count: u64) -> Duration {
        self.interval().saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// The time from one delivery to the next.
    fn interval(self) -> Duration {
        (self.per / self.count).max(Duration::from_nanos(1))
    }
}

/// Says how many deliveries may go and when; without a rate, any number at any time.
#[derive(Clone, Copy, Debug)]
pub struct RateLimiter {
    /// From one delivery to the next; zero where there is no rate.
    interval: Duration,
    burst: u32,
    /// When the deliveries handed over so far will have used up their intervals.
    paid_until: Instant,
}

impl RateLimiter {
    /// A limiter of a sink that has been handed nothing yet.
    pub fn new(rate: Option<Rate>, now: Instant) -> Self {
        let interval = rate.map_or(Duration::ZERO, Rate::interval);
        let burst = BURST.as_nanos().checked_div(interval.as_nanos()).unwrap_or_default();
        let burst = u32::try_from(burst).unwrap_or(u32::MAX).max(1);
        Self { interval, burst, paid_until: now }
    }

    /// How many deliveries may go now.
    pub fn available(&self, now: Instant) -> usize {
        let ahead = self.paid_until.saturating_duration_since(now);
        let all = self.interval * self.burst;
        let free = all.saturating_sub(ahead).as_nanos().checked_div(self.interval.as_nanos()).unwrap_or(u128::MAX);
        usize::try_from(free).unwrap_or(usize::MAX)
    }

    /// When the next delivery may go, where none may go now.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        (self.available(now) == 0).then(|| {
            let ahead = self.paid_until.saturating_duration_since(now);
            now + (ahead + self.interval).saturating_sub(self.interval * self.burst)
        })
    }

    /// Takes note that `count` deliveries went.
    pub fn consume(&mut self, count: usize, now: Instant) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.paid_until = self.paid_until.max(now) + self.interval.saturating_mul(count);
    }

    /// Takes note that `count` of the deliveries that went came back untried: others may go in their place.
    pub fn give_back(&mut self, count: usize) {
        let back = self.interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        self.paid_until = self.paid_until.checked_sub(back).unwrap_or(self.paid_until);
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

    /// How many deliveries go within a span where each goes as soon as it may.
    fn within(rate: &str, span: Duration) -> usize {
        let start = Instant::now();
        let (mut limiter, mut now, mut gone) = (RateLimiter::new(Rate::parse(rate), start), start, 0);
        while now - start < span {
            let available = limiter.available(now);
            limiter.consume(available, now);
            gone += available;
            let next = limiter.next_at(now).expect("nothing is left");
            assert!(next > now && limiter.available(next) == 1, "the wait is no longer and no shorter");
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
    fn what_came_back_untried_makes_room_and_no_more_than_it_took() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(Rate::parse("300/min"), start);
        limiter.consume(1, start);
        limiter.give_back(1);
        assert_eq!((limiter.available(start), limiter.next_at(start)), (1, None));
        limiter.consume(1, start);
        let later = start + Duration::from_secs(60);
        limiter.consume(1, later);
        limiter.give_back(2);
        assert_eq!(limiter.available(later), 1);
        let mut limiter = RateLimiter::new(None, start);
        limiter.give_back(1_000_000);
        assert_eq!(limiter.available(start), usize::MAX);
    }

    #[test]
    fn without_a_rate_anything_goes() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(None, now);
        limiter.consume(1_000_000, now);
        assert_eq!((limiter.available(now), limiter.next_at(now)), (usize::MAX, None));
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(Rate::parse("300/min"), start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(limiter.available(later), 1);
        limiter.consume(1, later);
        assert_eq!((limiter.available(later), limiter.next_at(later)), (0, Some(later + Duration::from_millis(200))));
    }
}
