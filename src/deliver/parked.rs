//! The schedule of the deliveries that the ledger keeps of a sink to be tried again: which lanes there are, and when
//! each one's first delivery is due. The deliveries lie in the ledger and come into memory a few at a time. Pure;
//! bounded by [`MAX_ROWS`].
//!
//! A lane is a key where order within keys is owed, else a delivery.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt as _};

use crate::ledger::parked::Schedule;

/// Most deliveries of a sink that are parked, whatever their size.
pub const MAX_ROWS: u64 = 100_000;
/// A due time of an earlier life is no further away than this, as clocks jump.
const MAX_AHEAD: Duration = Duration::from_secs(3600);
/// The pause after a failed look into the ledger.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A lane.
#[derive(Debug)]
struct Slot {
    due: Instant,
    /// Rows on their way into the ledger.
    unwritten: u32,
    /// Rows in memory.
    out: u32,
    /// Rows whose fate is on its way into the ledger.
    unsettled: u32,
    /// Those of them that are over, and the room they took.
    over: (u32, u64),
    /// Whether the lane's rows are being fetched.
    fetching: bool,
    /// Whether the last fetch found no rows: those there are have yet to be written.
    dry: bool,
    /// Whether rows were written since the fetch began, which may have looked before that.
    is_stale: bool,
}

impl Slot {
    fn new(due: Instant) -> Self {
        Self { due, unwritten: 0, out: 0, unsettled: 0, over: (0, 0), fetching: false, dry: false, is_stale: false }
    }

    /// Whether the lane's rows may be fetched when they are due: nothing changes what the ledger says of them.
    fn rests(&self) -> bool {
        self.out == 0 && self.unsettled == 0 && !self.fetching && !self.dry
    }
}

/// One sink's schedule.
#[derive(Debug)]
pub struct Parked {
    max: u64,
    rows: u64,
    bytes: u64,
    /// Rows and bytes of these that are on their way into the ledger.
    unwritten: (u64, u64),
    /// Rows and bytes of those that are over, where the ledger does not know yet.
    over: (u64, u64),
    slots: HashMap<Arc<str>, Slot>,
    /// Lanes that rest, by when they are due.
    due: BTreeSet<(Instant, Arc<str>)>,
}

impl Parked {
    /// Nothing is parked; there is room for so many bytes.
    pub fn new(max: u64) -> Self {
        let (unwritten, over) = ((0, 0), (0, 0));
        Self { max, rows: 0, bytes: 0, unwritten, over, slots: HashMap::new(), due: BTreeSet::new() }
    }

    /// Whether there is no room for more (`parked_max`).
    pub fn is_full(&self) -> bool {
        self.bytes >= self.max || self.rows >= MAX_ROWS
    }

    /// How many deliveries are parked.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether nothing is parked.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether something of this lane is parked.
    pub fn holds(&self, lane: &str) -> bool {
        self.slots.contains_key(lane)
    }

    /// Takes in what the ledger says while nothing of the sink is being written; gives the lanes that were not known.
    /// `wall` is now, in microseconds.
    pub fn load(&mut self, schedule: Schedule, wall: i64, now: Instant) -> Vec<Arc<str>> {
        self.rows = (schedule.rows + self.unwritten.0).saturating_sub(self.over.0);
        self.bytes = (schedule.bytes + self.unwritten.1).saturating_sub(self.over.1);
        let mut new = Vec::new();
        for (lane, due) in schedule.lanes {
            let ahead = Duration::from_micros(u64::try_from(due.saturating_sub(wall)).unwrap_or_default());
            let due = now + ahead.min(MAX_AHEAD);
            if !self.holds(&lane) {
                new.push(Arc::clone(&lane));
            }
            self.update(&lane, due, |slot| {
                slot.due = slot.due.min(due);
                slot.dry = false;
            });
        }
        new
    }

    /// Takes note that a delivery of that size goes into the ledger. A lane that has deliveries keeps its due time.
    pub fn park(&mut self, lane: &Arc<str>, due: Instant, size: u64) {
        self.rows += 1;
        self.bytes += size;
        self.unwritten = (self.unwritten.0 + 1, self.unwritten.1 + size);
        self.update(lane, due, |slot| slot.unwritten += 1);
    }

    /// Takes note that a delivery of that size lies in the ledger.
    pub fn written(&mut self, lane: &str, size: u64) {
        self.unwritten = (self.unwritten.0.saturating_sub(1), self.unwritten.1.saturating_sub(size));
        self.change(lane, |slot| {
            slot.unwritten = slot.unwritten.saturating_sub(1);
            slot.dry = false;
            slot.is_stale = slot.fetching;
        });
    }

    /// When the next lane is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Makes the lane due now that would be due next.
    pub fn hurry(&mut self, now: Instant) {
        if let Some((_, lane)) = self.due.first().filter(|(due, _)| *due > now).cloned() {
            self.change(&lane, |slot| slot.due = now);
        }
    }

    /// Lanes that are due, which count as being fetched from now on.
    pub fn take_due(&mut self, now: Instant, most: usize) -> Vec<Arc<str>> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now).take(most);
        let lanes: Vec<Arc<str>> = due.map(|(_, lane)| Arc::clone(lane)).collect();
        for lane in &lanes {
            self.change(lane, |slot| slot.fetching = true);
        }
        lanes
    }

    /// Takes note that so many rows of the lane came into memory. A lane that has no rows at all any more is forgotten;
    /// says whether it was.
    pub fn fetched(&mut self, lane: &str, rows: u32) -> bool {
        let is_empty = rows == 0 && self.slots.get(lane).is_some_and(|slot| slot.unwritten == 0 && !slot.is_stale);
        self.change(lane, |slot| {
            slot.fetching = false;
            slot.out = rows;
            slot.dry = rows == 0 && !slot.is_stale;
            slot.is_stale = false;
        });
        if is_empty {
            self.slots.remove(lane);
        }
        is_empty
    }

    /// Takes note that the lane could not be fetched: it is due at that time, or after a pause.
    pub fn put_off(&mut self, lane: &str, at: Option<Instant>, now: Instant) {
        self.change(lane, |slot| {
            slot.fetching = false;
            slot.is_stale = false;
            slot.due = at.unwrap_or(now + LOOK_AGAIN);
        });
    }

    /// Takes note that the fate of a delivery in memory is decided and goes into the ledger: the delivery is over and
    /// gives up its room (`over`: its size), or due again at that time.
    pub fn decided(&mut self, lane: &str, over: Option<u64>, due: Option<Instant>) {
        if let Some(size) = over {
            self.rows = self.rows.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(size);
            self.over = (self.over.0 + 1, self.over.1 + size);
        }
        self.change(lane, |slot| {
            slot.out = slot.out.saturating_sub(1);
            slot.unsettled += 1;
            slot.over = over.map_or(slot.over, |size| (slot.over.0 + 1, slot.over.1 + size));
            slot.due = due.unwrap_or(slot.due);
        });
    }

    /// Leaves so many deliveries in memory to the ledger again, as they were.
    pub fn let_go(&mut self, lane: &str, rows: u32) {
        self.change(lane, |slot| slot.out = slot.out.saturating_sub(rows));
    }

    /// Takes note that one fate lies in the ledger: of a delivery that is over, or due again.
    pub fn settled(&mut self, lane: &str, is_over: bool) {
        let mut over = (0, 0);
        self.change(lane, |slot| {
            slot.unsettled = slot.unsettled.saturating_sub(1);
            if is_over && slot.over.0 > 0 {
                // Which of the lane's it was is not known: they share the room.
                over = (1, slot.over.1 / u64::from(slot.over.0));
                slot.over = (slot.over.0 - 1, slot.over.1 - over.1);
            }
        });
        self.over = (self.over.0.saturating_sub(over.0), self.over.1.saturating_sub(over.1));
    }

    fn change(&mut self, lane: &str, change: impl FnOnce(&mut Slot)) {
        let Some((lane, _)) = self.slots.get_key_value(lane) else { return };
        let lane = Arc::clone(lane);
        // The slot is there: the time for a new one is not used.
        self.update(&lane, Instant::now(), change);
    }

    fn update(&mut self, lane: &Arc<str>, new: Instant, change: impl FnOnce(&mut Slot)) {
        let slot = self.slots.entry(Arc::clone(lane)).or_insert_with(|| Slot::new(new));
        self.due.remove(&(slot.due, Arc::clone(lane)));
        change(slot);
        if slot.rests() {
            self.due.insert((slot.due, Arc::clone(lane)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(lanes: &[Arc<str>]) -> Vec<&str> {
        lanes.iter().map(|lane| &**lane).collect()
    }

    #[test]
    fn a_lane_is_looked_for_when_due_and_only_when_the_ledger_knows_all_of_it() {
        let (mut p, now) = (Parked::new(1000), Instant::now());
        let (a, later) = (Arc::from("a"), now + Duration::from_secs(1));
        p.park(&a, later, 100);
        p.park(&a, now, 100);
        assert_eq!((p.next_due(), p.take_due(now, 9).len()), (Some(later), 0), "the second stands behind the first");
        assert_eq!(lanes(&p.take_due(later, 9)), ["a"]);
        assert!(!p.fetched("a", 0), "they are not written yet");
        assert_eq!(p.next_due(), None);
        p.written("a", 100);
        p.written("a", 100);
        assert_eq!(lanes(&p.take_due(later, 9)), ["a"]);
        p.fetched("a", 2);
        p.decided("a", Some(100), None);
        let again = later + Duration::from_secs(2);
        p.decided("a", None, Some(again));
        assert_eq!(p.next_due(), None, "the ledger does not know yet");
        p.settled("a", true);
        p.settled("a", false);
        assert_eq!(lanes(&p.take_due(again, 9)), ["a"]);
        p.fetched("a", 1);
        p.decided("a", Some(100), None);
        p.settled("a", true);
        assert!(p.holds("a"), "there may be more");
        assert_eq!(lanes(&p.take_due(again, 9)), ["a"]);
        assert!(p.fetched("a", 0) && !p.holds("a"));
        assert_eq!((p.rows, p.bytes, p.unwritten, p.over), (0, 0, (0, 0), (0, 0)));
    }

    #[test]
    fn what_is_over_and_not_written_yet_does_not_count_when_the_ledger_is_asked_again() {
        let (mut p, now) = (Parked::new(1000), Instant::now());
        p.load(Schedule { lanes: vec![("a".into(), 0), ("b".into(), 0)], rows: 2, bytes: 200 }, 0, now);
        p.take_due(now, 9);
        ["a", "b"].iter().for_each(|lane| _ = p.fetched(lane, 1));
        p.decided("a", Some(100), None);
        p.decided("b", None, Some(now));
        p.load(Schedule { lanes: vec![("c".into(), 0)], rows: 3, bytes: 300 }, 0, now);
        assert_eq!((p.rows, p.bytes), (2, 200), "the ledger has a still");
        p.settled("a", true);
        p.settled("b", false);
        p.load(Schedule { lanes: vec![], rows: 2, bytes: 200 }, 0, now);
        assert_eq!((p.rows, p.bytes, p.over), (2, 200, (0, 0)));
    }

    #[test]
    fn a_row_that_is_written_while_its_lane_is_looked_for_is_not_forgotten() {
        let (mut p, now) = (Parked::new(1000), Instant::now());
        p.park(&Arc::from("a"), now, 100);
        assert_eq!(lanes(&p.take_due(now, 9)), ["a"]);
        // The look came before the row, and what it found is heard of after it.
        p.written("a", 100);
        assert!(!p.fetched("a", 0) && p.holds("a"));
        assert_eq!(lanes(&p.take_due(now, 9)), ["a"]);
        p.fetched("a", 1);
        p.decided("a", Some(100), None);
        p.settled("a", true);
        assert_eq!(lanes(&p.take_due(now, 9)), ["a"]);
        assert!(p.fetched("a", 0) && !p.holds("a"));
    }

    #[test]
    fn the_lane_that_is_due_next_can_be_due_now() {
        let (mut p, now) = (Parked::new(1000), Instant::now());
        for (lane, secs) in [("a", 9), ("b", 5)] {
            p.park(&Arc::from(lane), now + Duration::from_secs(secs), 100);
        }
        p.hurry(now);
        p.hurry(now);
        assert_eq!(lanes(&p.take_due(now, 9)), ["b"]);
    }

    #[test]
    fn its_room_is_bounded_in_bytes_and_in_rows() {
        let (mut p, now) = (Parked::new(1000), Instant::now());
        p.park(&Arc::from("a"), now, 999);
        assert!(!p.is_full());
        p.park(&Arc::from("b"), now, 1);
        assert!(p.is_full());
        let mut p = Parked::new(u64::MAX);
        p.load(Schedule { rows: MAX_ROWS, ..Schedule::default() }, 0, now);
        assert!(p.is_full());
    }

    #[test]
    fn a_due_time_of_an_earlier_life_is_believed_for_an_hour_and_one_that_has_passed_is_now() {
        let (mut p, now) = (Parked::new(1000), Instant::now());
        let day = 86_400_000_000;
        let lanes = vec![("a".into(), 5 * day), ("b".into(), day), ("c".into(), 2 * day + 7_000_000)];
        assert_eq!(p.load(Schedule { lanes, rows: 3, bytes: 3 }, 2 * day, now).len(), 3);
        let due = |lane: &str| p.slots[lane].due - now;
        assert_eq!((due("a"), due("b"), due("c")), (MAX_AHEAD, Duration::ZERO, Duration::from_secs(7)));
        let lanes = vec![("a".into(), 2 * day), ("d".into(), 0)];
        let new = p.load(Schedule { lanes, rows: 4, bytes: 4 }, 2 * day, now);
        assert_eq!((new, p.slots["a"].due), (vec!["d".into()], now), "somebody wants it tried");
    }
}
