//! Whether brokers answer questions. Where they do not, whoever asks is told so at once, and one question at a time
//! finds out when they do again: else each would hold a thread, and whoever waits for it, for as long as an answer may
//! take. Pure but for the lock: the time comes from outside.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::journal::view::lock;

/// After so long without an answer to one question others are not asked.
const SILENT: Duration = Duration::from_secs(1);
/// Pause between two questions while brokers are away.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the brokers by the questions that they were asked.
#[derive(Default)]
pub struct Reach(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the questions under way began.
    asking: BTreeMap<u64, Instant>,
    next: u64,
    away: Option<Away>,
}

struct Away {
    since: Instant,
    /// When a question failed last.
    failed: Option<Instant>,
    why: String,
}

impl Away {
    fn text(&self, now: Instant) -> String {
        let Self { since, why, .. } = self;
        format!("its brokers have not answered for {} s ({why})", now.duration_since(*since).as_secs())
    }
}

impl Reach {
    /// A question begins; gives its number.
    ///
    /// # Errors
    /// Brokers are away: it is not to be asked now.
    pub fn ask(&self, now: Instant) -> Result<u64, String> {
        let mut state = lock(&self.0);
        state.check(now)?;
        let number = state.next;
        state.next += 1;
        state.asking.insert(number, now);
        Ok(number)
    }

    /// A question is over; `failure` says why it was not answered, where it was not.
    pub fn done(&self, number: u64, failure: Option<String>, now: Instant) {
        let mut state = lock(&self.0);
        let since = state.asking.remove(&number).unwrap_or(now);
        match (failure, &mut state.away) {
            (None, away) => *away = None,
            (Some(why), Some(away)) => (away.failed, away.why) = (Some(now), why),
            (Some(why), away) => *away = Some(Away { since, failed: Some(now), why }),
        }
    }

    /// Somebody else has found that brokers are away.
    pub fn missed(&self, why: String, now: Instant) {
        let mut state = lock(&self.0);
        let since = state.away.as_ref().map_or(now, |away| away.since);
        state.away = Some(Away { since, failed: Some(now), why });
    }

    /// Whether a question would be asked now.
    ///
    /// # Errors
    /// Why not, as [`Self::ask`].
    pub fn check(&self, now: Instant) -> Result<(), String> {
        lock(&self.0).check(now)
    }

    /// That brokers are away, where they are for so long at least.
    pub fn away(&self, at_least: Duration, now: Instant) -> Option<String> {
        let mut state = lock(&self.0);
        state.look(now);
        state.away.as_ref().filter(|away| now.duration_since(away.since) >= at_least).map(|away| away.text(now))
    }
}

impl State {
    fn check(&mut self, now: Instant) -> Result<(), String> {
        self.look(now);
        let Some(away) = &self.away else { return Ok(()) };
        let is_soon = away.failed.is_some_and(|failed| now.duration_since(failed) < PAUSE);
        if self.asking.is_empty() && !is_soon { Ok(()) } else { Err(away.text(now)) }
    }

    /// Brokers that are silent for long are away.
    fn look(&mut self, now: Instant) {
        let first = self.asking.values().min().copied();
        if let Some(since) = first.filter(|since| self.away.is_none() && now.duration_since(*since) >= SILENT) {
            self.away = Some(Away { since, failed: None, why: "no answer yet".into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_brokers_are_away_one_question_at_a_time_is_asked_and_all_others_are_told() {
        let (reach, start) = (Reach::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        let (one, two) = (reach.ask(at(0)).unwrap(), reach.ask(at(900)).unwrap());
        assert!(reach.ask(at(1000)).unwrap_err().contains("for 1 s (no answer yet)"), "the first is not answered");
        assert!(reach.check(at(1000)).is_err() && reach.away(Duration::ZERO, at(1000)).is_some());
        assert_eq!(reach.away(Duration::from_secs(2), at(1000)), None, "it may pass");
        reach.done(one, Some("refused".into()), at(2000));
        assert!(reach.ask(at(4000)).is_err(), "the second is under way");
        reach.done(two, Some("refused".into()), at(4000));
        assert!(reach.away(Duration::from_secs(2), at(4000)).unwrap().contains("for 4 s (refused)"));
        assert!(reach.ask(at(4900)).is_err(), "one has failed a moment ago");
        assert!(reach.check(at(5000)).is_ok() && reach.away(Duration::ZERO, at(5000)).is_some(), "to find out");
        let probe = reach.ask(at(5000)).unwrap();
        assert!(reach.ask(at(5000)).is_err());
        reach.done(probe, None, at(5100));
        assert_eq!((reach.check(at(5100)), reach.away(Duration::ZERO, at(9000))), (Ok(()), None));
        assert!(reach.ask(at(5100)).is_ok() && reach.ask(at(5100)).is_ok());
    }

    #[test]
    fn that_brokers_are_away_is_known_however_it_was_found_out() {
        let (reach, start) = (Reach::default(), Instant::now());
        [0, 2].into_iter().for_each(|seconds| reach.missed("refused".into(), start + PAUSE * seconds));
        assert!(reach.ask(start + PAUSE * 2).unwrap_err().contains("for 2 s (refused)"));
        let probe = reach.ask(start + PAUSE * 3).unwrap();
        reach.done(probe, None, start + PAUSE * 3);
        assert!(reach.ask(start + PAUSE * 3).is_ok());
    }

    #[test]
    fn an_answer_that_comes_late_says_that_they_are_there() {
        let (reach, start) = (Reach::default(), Instant::now());
        let slow = reach.ask(start).unwrap();
        assert!(reach.check(start + SILENT).is_err());
        reach.done(slow, None, start + SILENT * 2);
        assert!(reach.check(start + SILENT * 2).is_ok());
    }
}
