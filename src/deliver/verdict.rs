//! What an outcome leads to: settled, tried again and when, or given up. Pure but for the dice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Outcome, Reason, code};

use super::backoff;
use super::breaker::{Breaker, Change};
use super::config::DeliveryKeys;
use super::item::Item;

/// What becomes of one item of a batch that came back.
#[derive(Debug)]
pub enum Verdict {
    /// It arrived.
    Delivered(Item),
    /// It was not tried, or the try, which failed for that reason, does not count against its bounds. It goes back to
    /// the front of its lane and is not tried before that time; `None`: as soon as the breaker lets it.
    Again(Item, Option<Instant>, Option<Reason>),
    /// It was tried in vain and is tried again at that time.
    Failed(Item, Instant, Reason),
    /// The sink put it off without having tried it, for that reason: it is handed out again at that time.
    PutOff(Item, Instant, Reason),
    /// It is not needed any more, for that reason; it was not tried.
    Skipped(Item, Reason),
    /// It is a dead letter.
    Dead(Item, Reason),
}

impl Verdict {
    /// Why the sink did not take it, where it was tried.
    pub fn why(&self) -> Option<&Reason> {
        match self {
            Self::Delivered(_) | Self::PutOff(..) | Self::Skipped(..) => None,
            Self::Again(_, _, why) => why.as_ref(),
            Self::Failed(_, _, why) | Self::Dead(_, why) => Some(why),
        }
    }

    /// Whether the sink was tried in vain.
    pub fn has_failed(&self) -> bool {
        matches!(self, Self::Failed(..) | Self::Dead(..))
    }

    /// Whether nothing was tried.
    pub fn is_untried(&self) -> bool {
        matches!(self, Self::PutOff(..) | Self::Skipped(..) | Self::Again(_, _, None))
    }
}

/// A batch that came back, but for its outcomes.
pub struct Returned<'k> {
    /// The sink's keys.
    pub keys: &'k DeliveryKeys,
    /// Whether order within a key is owed.
    pub ordered: bool,
    /// Whether the batch was the breaker's probe.
    pub probe: bool,
    /// When it came back.
    pub now: Instant,
}

/// Judges a batch: a verdict for each item, and what happened to the breaker. `attempted` is told the outcome of each
/// attempt.
pub fn judge(
    batch: &Returned<'_>,
    items: Vec<Item>,
    slots: Vec<Option<Outcome>>,
    breaker: &mut Breaker,
    attempted: &mut dyn FnMut(&Outcome),
) -> (Vec<Verdict>, Vec<Change>) {
    let Returned { keys, ordered, probe, now } = *batch;
    let mut changes = Vec::new();
    let mut stopped: HashSet<Arc<str>> = HashSet::new();
    let mut verdicts = Vec::with_capacity(items.len());
    for (mut item, slot) in items.into_iter().zip(slots) {
        let mut outcome = match slot {
            Some(outcome) => outcome,
            // The sink stopped at an earlier delivery of the key that it could not make: this is no attempt.
            None if ordered && stopped.contains(&item.delivery.key) => {
                item.was_not_tried();
                verdicts.push(Verdict::Again(item, None, None));
                continue;
            }
            None => Outcome::retry(code::NO_VERDICT, "the sink gave no verdict"),
        };
        if let Some(why) = outcome.why().filter(|_| !keys.keep_answer) {
            why.answer = None;
        }
        match outcome {
            Outcome::Later { .. } | Outcome::Skipped { .. } => item.was_not_tried(),
            Outcome::Delivered | Outcome::Retry { .. } | Outcome::Reject { .. } => attempted(&outcome),
        }
        if ordered && outcome.holds_its_key() {
            stopped.insert(Arc::clone(&item.delivery.key));
        }
        changes.extend(breaker.note(item.delivery.event.id, &outcome, now));
        if let Outcome::Retry { why, .. } = &outcome {
            item.failures += u32::from(!probe);
            item.last_failure = Some(Arc::new(Reason::new(why.code, why.detail.clone())));
        }
        verdicts.push(match outcome {
            Outcome::Delivered => Verdict::Delivered(item),
            Outcome::Reject { why } => {
                item.attempts += 1;
                Verdict::Dead(item, why)
            }
            Outcome::Later { after, why } => {
                let due = now + after.clamp(backoff::MIN_LATER, backoff::MAX_AFTER);
                item.not_before = Some(due);
                item.put_offs += 1;
                Verdict::PutOff(item, due, why)
            }
            Outcome::Skipped { why } => Verdict::Skipped(item, why),
            // While the breaker is open only the probe uses up attempts.
            Outcome::Retry { after, why } if !breaker.is_closed() && !probe => {
                item.attempts += 1;
                item.uncounted += 1;
                item.not_before = not_before(after, now);
                let due = item.not_before;
                Verdict::Again(item, due, Some(why))
            }
            Outcome::Retry { after, why } => {
                item.attempts += 1;
                item.not_before = not_before(after, now);
                if is_spent(&item, keys, breaker, now) {
                    Verdict::Dead(item, why)
                } else {
                    let wait = backoff::wait(&keys.retry, item.counted(), after, rand::random::<f64>());
                    Verdict::Failed(item, now + wait, why)
                }
            }
        });
    }
    (verdicts, changes)
}

/// Until when the target asked to be left alone.
fn not_before(after: Option<Duration>, now: Instant) -> Option<Instant> {
    after.map(|after| now + after.min(backoff::MAX_AFTER))
}

/// Whether a failed item has used up its attempts or its time. The time in which the breaker was open does not count.
fn is_spent(item: &Item, keys: &DeliveryKeys, breaker: &Breaker, now: Instant) -> bool {
    let too_often = keys.retry.attempts.is_some_and(|most| item.counted() >= most.get());
    too_often || item.time_spent(breaker.time_open(now), now) >= keys.retry.deadline.0
}

#[cfg(test)]
mod tests {
    use sink_testkit::event;

    use super::*;
    use crate::deliver::item::{FirstTry, Ordinal};
    use crate::deliver::rows;
    use crate::journal::Position;

    fn items(keys: &[&str]) -> Vec<Item> {
        let item = |(n, key): (u64, &&str)| {
            let position = Position { shard: 0, offset: n };
            Item::new(Ordinal(n), position, event("t").subject(key).delivery())
        };
        (0..).zip(keys).map(item).collect()
    }

    /// Offset, attempts that count, and whether it waits, of each delivery that is tried again.
    fn again(verdicts: &[Verdict]) -> Vec<(u64, u32, bool)> {
        let one = |v: &Verdict| match v {
            Verdict::Again(item, due, _) => Some((item.position.offset, item.counted(), due.is_some())),
            Verdict::Failed(item, ..) => Some((item.position.offset, item.counted(), true)),
            Verdict::Delivered(_) | Verdict::PutOff(..) | Verdict::Skipped(..) | Verdict::Dead(..) => None,
        };
        verdicts.iter().filter_map(one).collect()
    }

    fn judged(probe: bool, breaker: &mut Breaker, keys: &[&str], slots: Vec<Option<Outcome>>) -> Vec<Verdict> {
        let settings = DeliveryKeys::default();
        let batch = Returned { keys: &settings, ordered: true, probe, now: Instant::now() };
        judge(&batch, items(keys), slots, breaker, &mut |_| {}).0
    }

    #[test]
    fn what_the_target_said_is_kept_where_the_table_says_so_and_nowhere_else() {
        for keep_answer in [false, true] {
            let keys = DeliveryKeys { keep_answer, ..DeliveryKeys::default() };
            let batch = Returned { keys: &keys, ordered: true, probe: false, now: Instant::now() };
            let slots =
                vec![Some(Outcome::reject("x", "").answered(b"no")), Some(Outcome::retry("x", "").answered(b"no"))];
            let mut breaker = Breaker::new(keys.breaker);
            let (verdicts, _) = judge(&batch, items(&["a", "b"]), slots, &mut breaker, &mut |_| {});
            for verdict in verdicts {
                let (Verdict::Dead(item, why) | Verdict::Failed(item, _, why)) = verdict else { panic!("{verdict:?}") };
                assert!(item.last_failure.is_none_or(|last| last.answer.is_none()), "it is kept once");
                assert_eq!(why.answer.is_some(), keep_answer);
            }
        }
    }

    #[test]
    fn what_was_held_back_behind_its_key_has_used_no_attempt_but_silence_has() {
        let mut breaker = Breaker::new(DeliveryKeys::default().breaker);
        let slots = vec![Some(Outcome::retry("x", "")), None, None, Some(Outcome::Delivered)];
        let verdicts = judged(false, &mut breaker, &["a", "a", "b", "c"], slots);
        assert_eq!(again(&verdicts), [(0, 1, true), (1, 0, false), (2, 1, true)]);
    }

    #[test]
    fn while_the_breaker_is_open_only_the_probe_uses_up_an_attempt() {
        let mut breaker = Breaker::new(DeliveryKeys::default().breaker);
        let down = || Some(Outcome::retry(code::CONNECT, "refused"));
        let verdicts = judged(false, &mut breaker, &["a", "b"], vec![down(), down()]);
        assert_eq!(again(&verdicts), [(0, 0, false), (1, 0, false)]);
        // Each was a call nevertheless, and its row says so.
        let at = breaker.at(Instant::now());
        for verdict in verdicts {
            let Verdict::Again(item, None, Some(why)) = verdict else { panic!("{verdict:?}") };
            let row = rows::item(&item, why, Some(9), rows::spent(&item, Duration::ZERO, at));
            assert_eq!((row.attempts, row.spent.attempts, row.spent.uncounted), (1, 0, 1));
        }
        breaker.probing();
        assert_eq!(again(&judged(true, &mut breaker, &["a"], vec![down()])), [(0, 1, true)]);
    }

    #[test]
    fn what_is_put_off_comes_back_within_bounds_and_has_used_up_nothing() {
        let later = |after| Some(Outcome::Later { after, why: Reason::new("quiet", "") });
        let skipped = || Some(Outcome::Skipped { why: Reason::new("overtaken", "") });
        let (settings, now) = (DeliveryKeys::default(), Instant::now());
        let batch = Returned { keys: &settings, ordered: true, probe: true, now };
        let slots = vec![later(Duration::ZERO), None, later(Duration::MAX), skipped(), skipped()];
        let mut breaker = Breaker::new(settings.breaker);
        let mut handed = items(&["a", "a", "b", "c", "c"]);
        let since = FirstTry { at: now, wall: 5, open_before: Duration::ZERO };
        handed.iter_mut().for_each(|item| item.first = Some(since));
        let (verdicts, changes) = judge(&batch, handed, slots, &mut breaker, &mut |tried| panic!("{tried:?}"));
        assert!(changes.is_empty() && verdicts.iter().all(|v| v.is_untried() && v.why().is_none() && !v.has_failed()));
        let [
            Verdict::PutOff(first, soon, _),
            Verdict::Again(behind, None, None),
            Verdict::PutOff(second, late, _),
            Verdict::Skipped(..),
            Verdict::Skipped(..),
        ] = &verdicts[..]
        else {
            panic!("{verdicts:?}")
        };
        assert_eq!([*soon - now, *late - now], [backoff::MIN_LATER, backoff::MAX_AFTER]);
        assert_eq!((first.not_before, second.not_before, behind.not_before), (Some(*soon), Some(*late), None));
        for item in [first, behind, second] {
            assert_eq!((item.attempts, item.failures, item.first_wall()), (0, 0, None), "it was never tried");
        }
    }

    #[test]
    fn the_time_that_a_sink_puts_a_delivery_off_is_not_the_deliverys() {
        let (mut item, now) = (items(&["a"]).remove(0), Instant::now());
        item.first = Some(FirstTry { at: now, wall: 5, open_before: Duration::ZERO });
        item.last_failure = Some(Arc::new(Reason::new("x", "")));
        item.was_not_tried();
        assert_eq!(item.first_wall(), Some(5), "it was tried before that");
        item.waits_for_its_sink(Duration::from_secs(60));
        let spent = |after: u64| item.time_spent(Duration::ZERO, now + Duration::from_secs(after)).as_secs();
        assert_eq!([spent(30), spent(60), spent(90)], [0, 0, 30]);
    }

    #[test]
    fn what_the_target_wants_to_wait_waits_whether_the_breaker_is_open_or_not() {
        let mut breaker = Breaker::new(DeliveryKeys::default().breaker);
        let down = |after| Some(Outcome::Retry { after, why: Reason::new(code::CONNECT, "") });
        let slots = vec![down(None), down(Some(Duration::from_secs(9))), down(Some(Duration::MAX))];
        let now = Instant::now();
        let verdicts = judged(false, &mut breaker, &["a", "b", "c"], slots);
        let waits =
            |v: &Verdict| if let Verdict::Again(item, due, _) = v { (*due, item.not_before) } else { (None, None) };
        assert_eq!(waits(&verdicts[0]), (None, None));
        for (n, least) in [(1, Duration::from_secs(9)), (2, backoff::MAX_AFTER)] {
            assert!(waits(&verdicts[n]).0.is_some_and(|due| due >= now + least), "{n}");
            assert_eq!(waits(&verdicts[n]).0, waits(&verdicts[n]).1);
        }
    }
}
