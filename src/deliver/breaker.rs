//! The breaker: whether a sink as a whole is worth trying. A pure state machine; the worker hands it the time.
//!
//! The breaker opens at once on failures that are the sink's own ([`sink_api::code::SINK_DOWN`]), when three
//! *different* events failed with no success between, or when fifty different events in a row were rejected. While it
//! is open nothing is tried but one probe at a time, which is a real delivery.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sink_api::{Outcome, Reason, Uuid, code};

use super::backoff::MAX_AFTER;
use super::config::BreakerKeys;

/// Different events that must fail, with no success between.
const FAILURES: usize = 3;
/// Different events that must be rejected, one after the other.
const REJECTS: usize = 50;
/// The reason code of a breaker that opened on rejects.
pub const REJECT_STORM: &str = "reject_storm";

/// A breaker's state, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Deliveries flow.
    #[default]
    Closed,
    /// Nothing is tried but a probe now and then.
    Open,
    /// The probe is under way.
    HalfOpen,
}

impl BreakerState {
    /// The name that `status` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Nothing is tried before that time.
    Open {
        until: Instant,
        wait: Duration,
        since: Instant,
    },
    /// One probe is under way.
    HalfOpen {
        wait: Duration,
        since: Instant,
    },
}

/// What a change of the breaker means for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The breaker has just opened.
    Opened(Reason),
    /// The breaker has just closed.
    Closed,
}

/// What the breaker says at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// That moment.
    pub now: Instant,
    /// Whether deliveries flow freely.
    pub is_closed: bool,
    /// How long the breaker has been open by then, all times together.
    pub time_open: Duration,
}

/// One sink's breaker.
#[derive(Debug)]
pub struct Breaker {
    keys: BreakerKeys,
    state: State,
    failing: HashSet<Uuid>,
    rejected: HashSet<Uuid>,
    /// How long it was open, all times together but for the one that lasts.
    spent: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(keys: BreakerKeys) -> Self {
        Self { keys, state: State::Closed, failing: HashSet::new(), rejected: HashSet::new(), spent: Duration::ZERO }
    }

    /// What the breaker says at that moment.
    pub fn at(&self, now: Instant) -> Moment {
        Moment { now, is_closed: self.is_closed(), time_open: self.time_open(now) }
    }

    /// Whether deliveries flow freely.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Its state, for people.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When a probe may start, where the breaker is open and no probe is under way.
    pub fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Lets a probe start now, where one would have to wait.
    pub fn hurry(&mut self, now: Instant) {
        if let State::Open { until, wait, since } = self.state {
            self.state = State::Open { until: until.min(now), wait, since };
        }
    }

    /// Takes note that a probe starts.
    pub fn probing(&mut self) {
        if let State::Open { wait, since, .. } = self.state {
            self.state = State::HalfOpen { wait, since };
        }
    }

    /// How long it was open up to now, all times together: a delivery's deadline does not run meanwhile.
    pub fn time_open(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed => self.spent,
            State::Open { since, .. } | State::HalfOpen { since, .. } => self.spent + now.duration_since(since),
        }
    }

    /// Opens the breaker, or keeps it open with a longer wait after a failed probe. There is no probe before the wait
    /// `after` is over that the sink asked for (an hour at most).
    pub fn trip(&mut self, why: Reason, after: Option<Duration>, now: Instant) -> Option<Change> {
        let asked = after.unwrap_or_default().min(MAX_AFTER);
        match self.state {
            State::Closed => {
                let wait = self.keys.probe.0;
                self.state = State::Open { until: now + wait.max(asked), wait, since: now };
                Some(Change::Opened(why))
            }
            State::HalfOpen { wait, since } => {
                let wait = wait.saturating_mul(2).min(self.keys.probe_max.0.max(self.keys.probe.0));
                self.state = State::Open { until: now + wait.max(asked), wait, since };
                None
            }
            // The failure is of a batch that was under way when the breaker opened: only the sink's wish counts.
            State::Open { until, wait, since } => {
                self.state = State::Open { until: until.max(now + asked), wait, since };
                None
            }
        }
    }

    /// Takes note that the sink was opened; where opening the sink was the probe, the breaker closes.
    pub fn built(&mut self, now: Instant) -> Option<Change> {
        match self.state {
            State::HalfOpen { since, .. } => Some(self.close(since, now)),
            State::Closed | State::Open { .. } => None,
        }
    }

    /// What the probe was made with was not tried, which says nothing of the target: another probe comes, no later than
    /// the first one after a failure.
    fn was_not_tried(&mut self, now: Instant) {
        if let State::HalfOpen { wait, since } = self.state {
            self.state = State::Open { until: now + self.keys.probe.0, wait, since };
        }
    }

    fn close(&mut self, since: Instant, now: Instant) -> Change {
        self.spent += now.duration_since(since);
        self.state = State::Closed;
        Change::Closed
    }

    /// Takes note of one outcome.
    pub fn note(&mut self, event: Uuid, outcome: &Outcome, now: Instant) -> Option<Change> {
        match outcome {
            Outcome::Delivered => {
                self.failing.clear();
                self.rejected.clear();
                let since = match self.state {
                    State::Closed => return None,
                    State::Open { since, .. } | State::HalfOpen { since, .. } => since,
                };
                Some(self.close(since, now))
            }
            Outcome::Retry { why, after } => {
                self.rejected.clear();
                if self.failing.len() < FAILURES {
                    self.failing.insert(event);
                }
                let down = code::SINK_DOWN.contains(&why.code) || self.failing.len() >= FAILURES;
                (down || matches!(self.state, State::HalfOpen { .. }))
                    .then(|| self.trip(why.clone(), *after, now))
                    .flatten()
            }
            Outcome::Later { .. }
            | Outcome::Skipped { .. }
            | Outcome::Reject { why: Reason { is_local: true, .. } } => {
                self.was_not_tried(now);
                None
            }
            Outcome::Reject { why } => {
                self.failing.remove(&event);
                if self.rejected.len() < REJECTS {
                    self.rejected.insert(event);
                }
                let storm = self.rejected.len() >= REJECTS;
                match self.state {
                    State::Closed if !storm => None,
                    // The sink is there, as it answers, if with a refusal. Only a storm of them keeps the breaker open.
                    State::HalfOpen { since, .. } if !storm => Some(self.close(since, now)),
                    _ => self.trip(Reason::new(REJECT_STORM, format!("{REJECTS} in a row, last {why}")), None, now),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(BreakerKeys::default()), Instant::now())
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn one_connect_failure_opens_it_and_says_so_once() {
        let (mut b, now) = breaker();
        let refused = Outcome::retry(code::CONNECT, "refused");
        assert!(matches!(b.note(id(1), &refused, now), Some(Change::Opened(_))));
        assert_eq!(b.note(id(2), &refused, now), None);
        assert_eq!(b.probe_at(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn one_poison_event_never_opens_it_three_different_ones_do() {
        let (mut b, now) = breaker();
        let failed = Outcome::retry("http_5xx", "500");
        for _ in 0..20 {
            assert_eq!(b.note(id(1), &failed, now), None);
        }
        b.note(id(2), &failed, now);
        b.note(id(3), &Outcome::Delivered, now);
        b.note(id(1), &failed, now);
        b.note(id(2), &failed, now);
        assert!(b.is_closed());
        assert!(matches!(b.note(id(4), &failed, now), Some(Change::Opened(_))));
    }

    #[test]
    fn probes_wait_longer_each_time_and_a_success_closes_it() {
        let (mut b, start) = breaker();
        let refused = Outcome::retry(code::CONNECT, "refused");
        b.note(id(1), &refused, start);
        let mut now = start;
        for expected in [2, 4, 8, 16, 30, 30] {
            now = b.probe_at().unwrap();
            b.probing();
            assert_eq!(b.probe_at(), None);
            b.note(id(1), &refused, now);
            assert_eq!(b.probe_at(), Some(now + Duration::from_secs(expected)));
        }
        b.probing();
        assert_eq!(b.note(id(2), &Outcome::Delivered, now), Some(Change::Closed));
        assert!(b.is_closed());
        assert_eq!(b.time_open(now + Duration::from_secs(99)), now - start);
    }

    #[test]
    fn no_probe_comes_before_the_sink_asked_for_one() {
        let (mut b, start) = breaker();
        let asks =
            |secs| Outcome::Retry { after: Some(Duration::from_secs(secs)), why: Reason::new(code::CONNECT, "") };
        let opens_in = |b: &Breaker, now| b.probe_at().map(|at| at - now);
        b.note(id(1), &asks(7), start);
        assert_eq!(opens_in(&b, start), Some(Duration::from_secs(7)));
        b.note(id(2), &asks(5), start);
        assert_eq!(opens_in(&b, start), Some(Duration::from_secs(7)), "of the same batch, shorter");
        b.note(id(3), &asks(9), start);
        assert_eq!(opens_in(&b, start), Some(Duration::from_secs(9)), "of the same batch, longer");
        b.probing();
        b.note(id(1), &asks(86_400), start);
        assert_eq!(opens_in(&b, start), Some(MAX_AFTER));
        b.probing();
        b.note(id(1), &Outcome::retry(code::CONNECT, ""), start);
        assert_eq!(opens_in(&b, start), Some(Duration::from_secs(4)), "its own wait does not grow by what was asked");
    }

    #[test]
    fn a_probe_that_somebody_asks_for_waits_for_nothing_and_there_is_one_at_a_time() {
        let (mut b, now) = breaker();
        b.hurry(now);
        assert_eq!(b.probe_at(), None, "there is nothing to probe while it is closed");
        b.note(id(1), &Outcome::retry(code::CONNECT, "refused"), now);
        b.hurry(now);
        assert_eq!(b.probe_at(), Some(now));
        b.probing();
        b.hurry(now);
        assert_eq!(b.probe_at(), None, "one is under way");
    }

    #[test]
    fn what_was_not_tried_moves_it_neither_way_and_ends_a_probe_with_another_to_come() {
        let why = || Reason::new(code::CONNECT, "it would open it");
        let untried = [
            Outcome::Later { after: Duration::from_secs(9), why: why() },
            Outcome::Skipped { why: why() },
            Outcome::Reject { why: why().local() },
        ];
        for outcome in untried {
            let (mut b, now) = breaker();
            (0..60).for_each(|n| assert_eq!(b.note(id(n), &outcome, now), None));
            assert!(b.is_closed());
            let failed = Outcome::retry("http_5xx", "500");
            b.note(id(1), &failed, now);
            b.note(id(2), &failed, now);
            b.note(id(3), &outcome, now);
            assert!(matches!(b.note(id(4), &failed, now), Some(Change::Opened(_))), "it was no success");
            b.probing();
            b.note(id(1), &failed, now);
            b.probing();
            assert_eq!((b.note(id(5), &outcome, now), b.state()), (None, BreakerState::Open));
            assert_eq!(b.probe_at(), Some(now + Duration::from_secs(1)));
            b.note(id(6), &outcome, now);
            assert_eq!(b.probe_at(), Some(now + Duration::from_secs(1)), "it was under way when the breaker opened");
            b.probing();
            b.note(id(1), &failed, now);
            assert_eq!(b.probe_at(), Some(now + Duration::from_secs(4)), "after failures it waits as if nothing was");
        }
    }

    #[test]
    fn fifty_rejects_in_a_row_open_it_forty_nine_do_not() {
        let (mut b, now) = breaker();
        let rejected = Outcome::reject("constraint", "x");
        for n in 0..49 {
            assert_eq!(b.note(id(n), &rejected, now), None);
        }
        assert_eq!(b.note(id(48), &rejected, now), None, "the same event again is not a different one");
        let change = b.note(id(49), &rejected, now);
        assert!(matches!(change, Some(Change::Opened(why)) if why.code == REJECT_STORM));
    }

    #[test]
    fn a_rejected_probe_closes_a_breaker_that_opened_on_connect() {
        let (mut b, now) = breaker();
        b.note(id(1), &Outcome::retry(code::CONNECT, "refused"), now);
        b.probing();
        assert_eq!(b.note(id(1), &Outcome::reject("http_4xx", "400"), now), Some(Change::Closed));
    }
}
