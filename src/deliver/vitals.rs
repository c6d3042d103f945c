//! What a sink's worker shows of how it fares, beside the books: what it does now, what its calls came to, when it last
//! got something through and what went wrong last. `status` and `/metrics` read it. Counts are of this life of the
//! daemon. Plain numbers; on the way of deliveries nothing here is locked but where something has failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sink_api::{Outcome, Reason, Timestamp};

use crate::metrics::{Histogram, histograms};

/// Most codes told apart for each outcome; those beyond are counted under [`OTHER`]. Sinks have fixed lists of codes,
/// and far fewer.
const MAX_CODES: usize = 32;
/// The code of those beyond.
const OTHER: &str = "other";
/// In the place of a time, in microseconds.
const NEVER: i64 = 0;

/// What a sink does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its worker has yet to start, or to open it.
    Starting,
    /// It takes deliveries.
    Running,
    /// It takes none: its breaker is not closed.
    Down,
    /// It is held by `sink pause`.
    Paused,
    /// The config says `enabled = false`.
    Disabled,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Running, Self::Down, Self::Paused, Self::Disabled];

    /// The name that `status` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub time: Timestamp,
    /// Why.
    pub why: Reason,
}

/// Counts by code, of which there are at most [`MAX_CODES`] and [`OTHER`].
#[derive(Debug, Default)]
struct ByCode(Mutex<BTreeMap<Box<str>, u64>>);

impl ByCode {
    fn add(&self, code: &str) {
        let mut counts = self.counts();
        let is_known = counts.contains_key(code) || counts.len() < MAX_CODES;
        *counts.entry(if is_known { code } else { OTHER }.into()).or_default() += 1;
    }

    fn all(&self) -> Vec<(String, u64)> {
        self.counts().iter().map(|(code, count)| (code.to_string(), *count)).collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Box<str>, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One sink's vitals.
#[derive(Debug)]
pub struct Vitals {
    is_disabled: AtomicBool,
    is_paused: AtomicBool,
    is_working: AtomicBool,
    is_open: AtomicBool,
    /// Since when the breaker is not closed, microseconds.
    down_since: AtomicI64,
    in_flight: AtomicU64,
    parked: AtomicU64,
    /// Microseconds.
    last_delivered: AtomicI64,
    /// Microseconds.
    next_try: AtomicI64,
    last_error: Mutex<Option<LastError>>,
    delivered: AtomicU64,
    retried: ByCode,
    rejected: ByCode,
    dead: ByCode,
    /// How long calls took, seconds.
    pub batch_seconds: Histogram,
    /// How many deliveries each had.
    pub batch_events: Histogram,
}

impl Default for Vitals {
    fn default() -> Self {
        let [is_disabled, is_paused, is_working, is_open] = [const { AtomicBool::new(false) }; 4];
        let [down_since, last_delivered, next_try] = [const { AtomicI64::new(NEVER) }; 3];
        let [in_flight, parked, delivered] = [const { AtomicU64::new(0) }; 3];
        Self {
            is_disabled,
            is_paused,
            is_working,
            is_open,
            down_since,
            in_flight,
            parked,
            last_delivered,
            next_try,
            last_error: Mutex::default(),
            delivered,
            retried: ByCode::default(),
            rejected: ByCode::default(),
            dead: ByCode::default(),
            batch_seconds: histograms::call_seconds(),
            batch_events: histograms::together(),
        }
    }
}

/// A worker at work, until this is dropped.
#[derive(Debug)]
pub struct AtWork<'v>(&'v Vitals);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.is_working.store(false, Relaxed);
        self.0.rests();
    }
}

impl Vitals {
    // ── what it does ──

    /// Whether the config lets the sink run.
    pub fn set_enabled(&self, now: bool) {
        self.is_disabled.store(!now, Relaxed);
    }

    /// Whether the sink is held by `sink pause`.
    pub fn set_paused(&self, now: bool) {
        self.is_paused.store(now, Relaxed);
    }

    /// Whether the sink is held by `sink pause`.
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Relaxed)
    }

    /// The worker begins.
    pub fn works(&self) -> AtWork<'_> {
        self.rests();
        self.is_working.store(true, Relaxed);
        AtWork(self)
    }

    fn rests(&self) {
        self.is_open.store(false, Relaxed);
        self.in_flight.store(0, Relaxed);
        for time in [&self.down_since, &self.next_try] {
            time.store(NEVER, Relaxed);
        }
    }

    /// The sink was opened.
    pub fn opened(&self) {
        self.is_open.store(true, Relaxed);
    }

    /// Shows whether the breaker is closed.
    pub fn set_closed(&self, now: bool) {
        if now {
            self.down_since.store(NEVER, Relaxed);
        } else if self.down_since.load(Relaxed) == NEVER {
            self.down_since.store(Timestamp::now().as_microsecond(), Relaxed);
        }
    }

    /// What the sink does now.
    pub fn condition(&self) -> Condition {
        let is = |flag: &AtomicBool| flag.load(Relaxed);
        match () {
            () if is(&self.is_disabled) => Condition::Disabled,
            () if is(&self.is_paused) => Condition::Paused,
            () if !is(&self.is_working) => Condition::Starting,
            () if self.down_since.load(Relaxed) != NEVER => Condition::Down,
            () if !is(&self.is_open) => Condition::Starting,
            () => Condition::Running,
        }
    }

    /// Since when the sink takes no deliveries.
    pub fn down_since(&self) -> Option<Timestamp> {
        time(&self.down_since)
    }

    /// Shows how many deliveries are parked.
    pub fn set_parked(&self, rows: u64) {
        self.parked.store(rows, Relaxed);
    }

    /// How many deliveries the worker knows to be parked.
    pub fn parked(&self) -> u64 {
        self.parked.load(Relaxed)
    }

    /// Shows when something is tried next.
    pub fn set_next_try(&self, at: Option<Instant>, now: Instant) {
        let wall = |at: Instant| {
            let ahead = i64::try_from(at.saturating_duration_since(now).as_micros()).unwrap_or(i64::MAX);
            Timestamp::now().as_microsecond().saturating_add(ahead)
        };
        self.next_try.store(at.map_or(NEVER, wall), Relaxed);
    }

    /// When what has failed is tried next, where anything has.
    pub fn next_try(&self) -> Option<Timestamp> {
        time(&self.next_try)
    }

    // ── calls ──

    /// A batch of so many deliveries was handed to the sink.
    pub fn left(&self, deliveries: usize) {
        self.in_flight.fetch_add(deliveries as u64, Relaxed);
    }

    /// It came back after that time.
    pub fn landed(&self, deliveries: usize, took: Duration) {
        let less = |now: u64| Some(now.saturating_sub(deliveries as u64));
        let _ = self.in_flight.fetch_update(Relaxed, Relaxed, less);
        self.batch_seconds.observe(took.as_secs_f64());
        self.batch_events.observe(deliveries as f64);
    }

    /// What was handed to the sink is not waited for any more.
    pub fn abandoned(&self) {
        self.in_flight.store(0, Relaxed);
    }

    /// Deliveries that the sink has and has not answered for.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// So many attempts were successful.
    pub fn delivered(&self, deliveries: u64) {
        if deliveries > 0 {
            self.delivered.fetch_add(deliveries, Relaxed);
            self.last_delivered.store(Timestamp::now().as_microsecond(), Relaxed);
        }
    }

    /// An attempt was not.
    pub fn attempted(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered => self.delivered(1),
            Outcome::Retry { why, .. } => self.retried.add(why.code),
            Outcome::Reject { why } => self.rejected.add(why.code),
            // Nothing was tried.
            Outcome::Later { .. } | Outcome::Skipped { .. } => {}
        }
    }

    /// Attempts by outcome and code.
    pub fn attempts(&self) -> Vec<(&'static str, String, u64)> {
        let by = |outcome, codes: &ByCode| codes.all().into_iter().map(move |(code, n)| (outcome, code, n));
        let delivered = ("delivered", String::new(), self.delivered.load(Relaxed));
        [delivered].into_iter().chain(by("retry", &self.retried)).chain(by("reject", &self.rejected)).collect()
    }

    /// Attempts that failed and are made again.
    pub fn retried(&self) -> u64 {
        self.retried.all().iter().map(|(_, count)| count).sum()
    }

    /// When a delivery was last made.
    pub fn last_delivered(&self) -> Option<Timestamp> {
        time(&self.last_delivered)
    }

    /// A delivery was given up.
    pub fn gave_up(&self, code: &str) {
        self.dead.add(code);
    }

    /// How many deliveries were given up, by code.
    pub fn given_up(&self) -> Vec<(String, u64)> {
        self.dead.all()
    }

    /// Something went wrong.
    pub fn failed(&self, why: &Reason) {
        let error = LastError { time: Timestamp::now(), why: why.clone() };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn time(of: &AtomicI64) -> Option<Timestamp> {
    Some(of.load(Relaxed)).filter(|micros| *micros != NEVER).and_then(|micros| Timestamp::from_microsecond(micros).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_bounded_and_none_is_lost() {
        let vitals = Vitals::default();
        for n in 0..2 * MAX_CODES {
            vitals.gave_up(&format!("code{n:03}"));
        }
        let given_up = vitals.given_up();
        assert_eq!(given_up.len(), MAX_CODES + 1);
        assert_eq!(given_up.iter().map(|(_, count)| count).sum::<u64>(), 2 * MAX_CODES as u64);
        assert!(given_up.contains(&(OTHER.to_owned(), MAX_CODES as u64)), "{given_up:?}");
    }

    #[test]
    fn attempts_are_told_apart_by_outcome_and_code() {
        let vitals = Vitals::default();
        vitals.delivered(3);
        vitals.attempted(&Outcome::retry("connect", ""));
        vitals.attempted(&Outcome::retry("connect", ""));
        vitals.attempted(&Outcome::reject("constraint", ""));
        let attempt = |outcome, code: &str, count| (outcome, code.to_owned(), count);
        let all = [attempt("delivered", "", 3), attempt("retry", "connect", 2), attempt("reject", "constraint", 1)];
        assert_eq!(vitals.attempts(), all);
        assert_eq!(vitals.retried(), 2);
    }

    #[test]
    fn a_sink_is_starting_until_it_is_open_and_down_while_its_breaker_is_not_closed() {
        let vitals = Vitals::default();
        let is = |condition: Condition| assert_eq!(vitals.condition(), condition);
        is(Condition::Starting);
        let at_work = vitals.works();
        is(Condition::Starting);
        vitals.opened();
        is(Condition::Running);
        vitals.set_closed(false);
        is(Condition::Down);
        let since = vitals.down_since().unwrap();
        vitals.set_closed(false);
        assert_eq!(vitals.down_since(), Some(since), "a probe that fails does not begin it anew");
        vitals.set_closed(true);
        is(Condition::Running);
        vitals.left(5);
        vitals.set_paused(true);
        drop(at_work);
        is(Condition::Paused);
        assert_eq!(vitals.in_flight(), 0);
        vitals.set_enabled(false);
        is(Condition::Disabled);
        vitals.set_enabled(true);
        vitals.set_paused(false);
        is(Condition::Starting);
    }
}
