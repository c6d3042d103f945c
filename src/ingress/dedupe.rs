//! Which webhooks were seen already, by source and digest, within a window of time and a bound of memory.
//!
//! A fingerprint is *reserved* from the moment its event is handed to the journal until the journal tells what became
//! of it, then *durable* for the rest of the window. The states follow what the journal tells, never the request: a
//! client that hangs up changes nothing. Only verified webhooks get here. Knows neither HTTP nor the journal.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// What a fingerprint costs: its slot in a table that is half empty after growing, and its entry in a queue that is,
/// too.
const ENTRY_BYTES: usize = 160;

/// Most entries that are looked at when one comes in, so that no request pays for all. More than one, so that expired
/// entries go faster than new ones come.
const SWEEP: usize = 8;

/// The first bytes of a digest.
pub type Fingerprint = [u8; 16];

/// What became of the event that holds a reservation, for the repeats that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On disk.
    Durable,
    /// In memory, to be written later.
    AtRisk,
    /// It will not be written.
    Failed,
}

/// An event of an earlier life.
#[derive(Clone, Copy, Debug)]
pub struct Earlier {
    /// Its digest.
    pub fingerprint: Fingerprint,
    /// Its id.
    pub id: [u8; 16],
    /// When it was accepted, in microseconds.
    pub time: i64,
}

/// The event that has a fingerprint already.
#[derive(Debug)]
pub enum Known {
    /// This event has it, and is on disk.
    Seen([u8; 16]),
    /// This event has it, and is kept in memory until it can be written.
    AtRisk([u8; 16]),
    /// This event has it and is on its way; its outcome comes here.
    Waiting([u8; 16], oneshot::Receiver<Outcome>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reserved,
    AtRisk,
    Durable,
}

struct Slot {
    id: [u8; 16],
    /// When the window began, in microseconds.
    time: i64,
    state: State,
}

#[derive(Default)]
struct Table {
    window: i64,
    slots: HashMap<Fingerprint, Slot>,
    /// In order of time; an entry whose slot has another time is stale.
    order: VecDeque<(i64, Fingerprint)>,
    waiting: HashMap<Fingerprint, Vec<oneshot::Sender<Outcome>>>,
    /// Time of the latest entry that was let go; within the window only where memory was short.
    cut: Option<i64>,
}

/// The memory of all sources, within one bound.
pub struct Dedupe {
    tables: Mutex<Vec<Table>>,
    /// Most entries, all sources together.
    capacity: usize,
}

impl Dedupe {
    /// A memory of `max` bytes, for no source yet.
    pub fn new(max: usize) -> Self {
        Self { tables: Mutex::default(), capacity: (max / ENTRY_BYTES).max(1) }
    }

    /// A table for one more source with this window (zero: repeats are not recognised), and its number.
    pub fn add(&self, window: Duration) -> usize {
        let mut tables = self.lock();
        tables.push(Table { window: micros(window), ..Table::default() });
        tables.len() - 1
    }

    /// From now on this window holds for a source; what is remembered stays.
    pub fn set_window(&self, source: usize, window: Duration) {
        if let Some(table) = self.lock().get_mut(source) {
            table.window = micros(window);
        }
    }

    /// Remembers events of earlier lives, each of a source, oldest first: as many of the newest as there is room for.
    /// What came meanwhile, and has the same digest, is what it is.
    pub fn remember(&self, earlier: impl DoubleEndedIterator<Item = (usize, Earlier)>, now: i64) {
        let mut tables = self.lock();
        let mut entries: usize = tables.iter().map(|table| table.order.len()).sum();
        for (source, Earlier { fingerprint, id, time }) in earlier.rev() {
            let Some(table) = tables.get_mut(source) else { continue };
            let is_alive = table.window > 0 && now.saturating_sub(time) <= table.window;
            if !is_alive || table.slots.contains_key(&fingerprint) {
                continue;
            }
            if entries >= self.capacity {
                table.cut = table.cut.max(Some(time));
                continue;
            }
            table.put(fingerprint, Slot { id, time, state: State::Durable });
            entries += 1;
        }
        for table in tables.iter_mut() {
            table.order.make_contiguous().sort_by_key(|(time, _)| *time);
        }
    }

    /// Looks a webhook up by its digest, and by the one it has under the other live secret; reserves the first where
    /// neither is known. A reservation ends with [`Dedupe::settle`].
    ///
    /// # Errors
    /// What is known of the event that the webhook repeats.
    pub fn reserve(
        &self,
        source: usize,
        fingerprint: Fingerprint,
        other: Option<Fingerprint>,
        id: [u8; 16],
        now: i64,
    ) -> Result<(), Known> {
        let mut tables = self.lock();
        let Some(table) = tables.get_mut(source).filter(|t| t.window > 0) else { return Ok(()) };
        for known in [Some(fingerprint), other].into_iter().flatten() {
            let Some(slot) = table.slots.get(&known) else { continue };
            match slot.state {
                State::Reserved => {
                    let (sender, receiver) = oneshot::channel();
                    let id = slot.id;
                    table.waiting.entry(known).or_default().push(sender);
                    return Err(Known::Waiting(id, receiver));
                }
                State::AtRisk => return Err(Known::AtRisk(slot.id)),
                State::Durable if now.saturating_sub(slot.time) <= table.window => return Err(Known::Seen(slot.id)),
                State::Durable => {}
            }
        }
        // Where all entries are of events still on their way, this event is not remembered: the bound holds.
        if self.make_room(&mut tables, now)
            && let Some(table) = tables.get_mut(source)
        {
            table.put(fingerprint, Slot { id, time: now, state: State::Reserved });
        }
        Ok(())
    }

    /// What the journal tells of the event with that id: its repeats learn it, and a failed event is forgotten.
    pub fn settle(&self, source: usize, fingerprint: Fingerprint, id: [u8; 16], outcome: Outcome) {
        let waiting = {
            let mut tables = self.lock();
            let Some(table) = tables.get_mut(source) else { return };
            let Some(slot) = table.slots.get_mut(&fingerprint).filter(|slot| slot.id == id) else { return };
            match outcome {
                Outcome::Durable => slot.state = State::Durable,
                Outcome::AtRisk => slot.state = State::AtRisk,
                Outcome::Failed => drop(table.slots.remove(&fingerprint)),
            }
            table.waiting.remove(&fingerprint)
        };
        for repeat in waiting.into_iter().flatten() {
            // A repeat whose client has gone does not listen any more.
            let _ = repeat.send(outcome);
        }
    }

    /// For how long repeats of a source are recognised in truth: its window, or less where memory was short.
    pub fn effective_window(&self, source: usize, now: i64) -> Duration {
        let tables = self.lock();
        let micros = tables.get(source).map_or(0, |t| match t.cut {
            Some(cut) => t.window.min(now.saturating_sub(cut)),
            None => t.window,
        });
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// How many repeats wait for an event of that source.
    #[cfg(test)]
    pub fn waiting(&self, source: usize) -> usize {
        self.lock()[source].waiting.values().map(Vec::len).sum()
    }

    /// Lets go of expired entries, then of the oldest, until one more fits. `false` where no entry may go.
    fn make_room(&self, tables: &mut [Table], now: i64) -> bool {
        for table in tables.iter_mut() {
            table.expire(now);
        }
        for _ in 0..SWEEP {
            if tables.iter().map(|t| t.order.len()).sum::<usize>() < self.capacity {
                return true;
            }
            let oldest = tables.iter_mut().filter(|t| !t.order.is_empty()).min_by_key(|t| t.order.front().copied());
            if let Some(table) = oldest {
                table.pop(now);
            }
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Table>> {
        // No code that can panic runs under it.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(window: Duration) -> i64 {
    i64::try_from(window.as_micros()).unwrap_or(i64::MAX)
}

impl Table {
    fn put(&mut self, fingerprint: Fingerprint, slot: Slot) {
        self.order.push_back((slot.time, fingerprint));
        self.slots.insert(fingerprint, slot);
    }

    fn expire(&mut self, now: i64) {
        for _ in 0..SWEEP {
            match self.order.front() {
                Some((time, _)) if now.saturating_sub(*time) > self.window => self.pop(now),
                _ => return,
            }
        }
    }

    /// Forgets the oldest entry, unless its event is still on its way: then its window begins anew.
    fn pop(&mut self, now: i64) {
        let Some((time, fingerprint)) = self.order.pop_front() else { return };
        let Some(slot) = self.slots.get_mut(&fingerprint).filter(|slot| slot.time == time) else { return };
        if slot.state == State::Durable {
            self.slots.remove(&fingerprint);
            self.cut = Some(time);
        } else {
            slot.time = now;
            self.order.push_back((now, fingerprint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const A: Fingerprint = [1; 16];
    const B: Fingerprint = [2; 16];
    const FIRST: [u8; 16] = [11; 16];
    const SECOND_ID: [u8; 16] = [12; 16];

    fn dedupe(entries: usize) -> Dedupe {
        let dedupe = Dedupe::new(entries * ENTRY_BYTES);
        for (number, seconds) in [10, 0, 60].into_iter().enumerate() {
            assert_eq!(dedupe.add(Duration::from_secs(seconds)), number);
        }
        dedupe
    }

    fn is_new(reserved: Result<(), Known>) -> bool {
        reserved.is_ok()
    }

    fn seen(reserved: Result<(), Known>) -> Option<[u8; 16]> {
        match reserved {
            Err(Known::Seen(id)) => Some(id),
            _ => None,
        }
    }

    fn numbered(n: usize) -> Fingerprint {
        (n as u128).to_be_bytes()
    }

    #[test]
    fn a_repeat_of_a_durable_one_is_seen_until_the_window_is_over() {
        let dedupe = dedupe(10);
        assert!(is_new(dedupe.reserve(0, A, None, FIRST, 0)));
        dedupe.settle(0, A, FIRST, Outcome::Durable);
        assert_eq!(seen(dedupe.reserve(0, A, None, SECOND_ID, 10 * SECOND)), Some(FIRST));
        assert!(is_new(dedupe.reserve(0, B, None, SECOND_ID, 10 * SECOND)), "another digest");
        assert!(is_new(dedupe.reserve(2, A, None, SECOND_ID, 10 * SECOND)), "another source");
        assert!(is_new(dedupe.reserve(0, A, None, SECOND_ID, 10 * SECOND + 1)), "the window is over");
    }

    #[test]
    fn repeats_of_a_reserved_one_wait_and_learn_its_outcome() {
        for outcome in [Outcome::Durable, Outcome::AtRisk, Outcome::Failed] {
            let dedupe = dedupe(10);
            assert!(is_new(dedupe.reserve(0, A, None, FIRST, 0)));
            let waiting: Vec<_> = (0..3).map(|_| dedupe.reserve(0, A, None, SECOND_ID, 0)).collect();
            dedupe.settle(0, A, FIRST, outcome);
            for known in waiting {
                let Err(Known::Waiting(FIRST, mut receiver)) = known else { panic!("{known:?}") };
                assert_eq!(receiver.try_recv(), Ok(outcome));
            }
            let again = dedupe.reserve(0, A, None, SECOND_ID, 0);
            match outcome {
                Outcome::Failed => assert!(is_new(again), "a failed one is forgotten"),
                Outcome::AtRisk => assert!(matches!(again, Err(Known::AtRisk(FIRST)))),
                Outcome::Durable => assert_eq!(seen(again), Some(FIRST)),
            }
        }
    }

    #[test]
    fn one_on_its_way_is_kept_past_its_window_and_past_the_bound() {
        let dedupe = dedupe(3);
        assert!(is_new(dedupe.reserve(0, A, None, FIRST, 0)));
        for n in 0..20 {
            assert!(is_new(dedupe.reserve(0, numbered(n), None, SECOND_ID, 100 * SECOND)));
            dedupe.settle(0, numbered(n), SECOND_ID, Outcome::Durable);
        }
        assert!(matches!(dedupe.reserve(0, A, None, SECOND_ID, 100 * SECOND), Err(Known::Waiting(FIRST, _))));
        dedupe.settle(0, A, FIRST, Outcome::AtRisk);
        assert!(matches!(dedupe.reserve(0, A, None, SECOND_ID, 200 * SECOND), Err(Known::AtRisk(FIRST))));
    }

    #[test]
    fn either_digest_finds_the_event_while_a_secret_is_changed() {
        let dedupe = dedupe(10);
        assert!(is_new(dedupe.reserve(0, A, Some(B), FIRST, 0)));
        assert!(matches!(dedupe.reserve(0, B, Some(A), SECOND_ID, 0), Err(Known::Waiting(FIRST, _))));
        dedupe.settle(0, A, FIRST, Outcome::Durable);
        assert_eq!(seen(dedupe.reserve(0, B, Some(A), SECOND_ID, 0)), Some(FIRST));
    }

    #[test]
    fn the_oldest_of_all_sources_goes_first_and_the_window_says_so() {
        let dedupe = dedupe(4);
        for n in 0..6 {
            let source = if n % 2 == 0 { 0 } else { 2 };
            assert!(is_new(dedupe.reserve(source, numbered(n), None, FIRST, n as i64 * SECOND)));
            dedupe.settle(source, numbered(n), FIRST, Outcome::Durable);
        }
        let now = 6 * SECOND;
        assert_eq!(dedupe.effective_window(0, now), Duration::from_secs(6), "0 went, 2 is there");
        assert_eq!(dedupe.effective_window(2, now), Duration::from_secs(5), "1 went, 3 is there");
        for (n, source) in [(2, 0), (3, 2), (4, 0), (5, 2)] {
            assert_eq!(seen(dedupe.reserve(source, numbered(n), None, SECOND_ID, now)), Some(FIRST), "{n}");
        }
        assert!(is_new(dedupe.reserve(0, numbered(0), None, SECOND_ID, now)));
    }

    #[test]
    fn what_has_expired_is_let_go_without_narrowing_the_window() {
        let dedupe = dedupe(100);
        for n in 0..1000 {
            assert!(is_new(dedupe.reserve(0, numbered(n), None, FIRST, n as i64 * SECOND)));
            dedupe.settle(0, numbered(n), FIRST, Outcome::Durable);
        }
        assert_eq!(dedupe.effective_window(0, 1000 * SECOND), Duration::from_secs(10));
        assert!(dedupe.lock()[0].slots.len() <= 11 && dedupe.lock()[0].order.len() <= 11);
    }

    #[test]
    fn with_dedupe_off_nothing_is_remembered() {
        let dedupe = dedupe(10);
        for _ in 0..3 {
            assert!(is_new(dedupe.reserve(1, A, None, FIRST, 0)));
        }
        assert_eq!(dedupe.lock()[1].slots.len(), 0);
    }

    #[test]
    fn an_earlier_life_is_remembered_within_the_window() {
        let dedupe = dedupe(10);
        let of = |fingerprint, time| (0, Earlier { fingerprint, id: FIRST, time: time * SECOND });
        dedupe.remember([of(A, 0), of(B, 5)].into_iter(), 11 * SECOND);
        assert!(is_new(dedupe.reserve(0, A, None, SECOND_ID, 11 * SECOND)));
        assert_eq!(seen(dedupe.reserve(0, B, None, SECOND_ID, 11 * SECOND)), Some(FIRST));
    }

    #[test]
    fn an_earlier_life_that_is_remembered_late_takes_no_place_of_what_came_meanwhile() {
        let dedupe = dedupe(4);
        assert!(is_new(dedupe.reserve(0, A, None, SECOND_ID, 8 * SECOND)));
        assert!(is_new(dedupe.reserve(2, B, None, SECOND_ID, 8 * SECOND)));
        dedupe.settle(2, B, SECOND_ID, Outcome::Durable);
        let of = |source, fingerprint, time| (source, Earlier { fingerprint, id: FIRST, time: time * SECOND });
        let earlier = [(1, 0), (2, 1), (3, 2)].map(|(n, time)| of(2, numbered(n), time));
        dedupe.remember([of(0, A, 1)].into_iter().chain(earlier), 9 * SECOND);
        assert!(matches!(dedupe.reserve(0, A, None, FIRST, 9 * SECOND), Err(Known::Waiting(SECOND_ID, _))));
        assert_eq!(seen(dedupe.reserve(2, B, None, FIRST, 9 * SECOND)), Some(SECOND_ID));
        for n in [2, 3] {
            assert_eq!(seen(dedupe.reserve(2, numbered(n), None, SECOND_ID, 9 * SECOND)), Some(FIRST), "{n}");
        }
        assert_eq!(dedupe.effective_window(2, 9 * SECOND), Duration::from_secs(9), "the first found no room");
        // The oldest is the first to go, although it was remembered last.
        assert!(is_new(dedupe.reserve(2, numbered(1), None, SECOND_ID, 9 * SECOND)));
        assert_eq!(seen(dedupe.reserve(2, numbered(3), None, SECOND_ID, 9 * SECOND)), Some(FIRST));
        assert_eq!(dedupe.effective_window(2, 9 * SECOND), Duration::from_secs(8));
    }

    #[test]
    fn a_word_on_an_event_that_holds_no_reservation_changes_nothing() {
        let dedupe = dedupe(10);
        assert!(is_new(dedupe.reserve(0, A, None, FIRST, 0)));
        dedupe.settle(0, A, SECOND_ID, Outcome::Failed);
        assert!(matches!(dedupe.reserve(0, A, None, SECOND_ID, 0), Err(Known::Waiting(FIRST, _))));
    }
}
