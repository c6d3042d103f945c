//! What is waiting to be delivered: one lane per ordering key, so that deliveries of a key never overtake each other
//! and no two batches hold the same key. Pure; bounded by the worker's window.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt as _};
use sink_api::Delivery;

use crate::journal::Position;

/// Place of a delivery: its event's position, and its number among the event's deliveries to this sink.
pub type Place = (Position, u32);

/// A delivery waiting or under way.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it comes from.
    pub place: Place,
    /// What it is.
    pub delivery: Arc<Delivery>,
    /// Attempts so far.
    pub attempts: u32,
    /// Failures of this life, counted against its bounds or not; probes left out.
    pub failures: u32,
    /// The first attempt of this life.
    pub first: Option<FirstTry>,
    /// When last tried, the target asked to be left alone until then.
    pub told: Option<Instant>,
    /// Of one the ledger keeps.
    pub parked: Option<Before>,
}

/// What a parked delivery had behind it when it was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Room it takes in the ledger, bytes.
    pub size: u64,
    /// Attempts that count no more: somebody wanted it tried after all.
    pub forgiven: u32,
    /// Of its time.
    pub spent: Duration,
    /// When it was first tried, microseconds; `None`: never.
    pub first: Option<i64>,
}

impl Item {
    /// Not tried yet.
    pub fn new(place: Place, delivery: Delivery) -> Self {
        Self { place, delivery: Arc::new(delivery), attempts: 0, failures: 0, first: None, told: None, parked: None }
    }

    /// Attempts that count.
    pub fn counted(&self) -> u32 {
        self.attempts.saturating_sub(self.parked.map_or(0, |before| before.forgiven))
    }

    /// What it has used up of its time, where the breaker was open for so long up to now.
    pub fn time_spent(&self, open: Duration, now: Instant) -> Duration {
        let before = self.parked.map_or(Duration::ZERO, |before| before.spent);
        let here = self.first.map_or(Duration::ZERO, |first| {
            now.duration_since(first.at).saturating_sub(open.saturating_sub(first.open_before))
        });
        before.saturating_add(here)
    }
}

/// When a delivery was first tried.
#[derive(Clone, Copy, Debug)]
pub struct FirstTry {
    /// Monotonic.
    pub at: Instant,
    /// Wall clock, microseconds.
    pub wall: i64,
    /// The breaker's time open at that moment.
    pub open_before: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LaneKey {
    Key(Arc<str>),
    Lone(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    InFlight,
    Waiting(Instant),
    /// Behind what the ledger keeps of its key.
    Behind,
}

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Item>,
    state: State,
}

/// All lanes of one sink.
#[derive(Debug)]
pub struct Lanes {
    ordered: bool,
    lanes: HashMap<LaneKey, Lane>,
    ready: BTreeMap<Place, LaneKey>,
    /// Lanes waiting for a retry. Stale entries are passed over.
    waiting: BinaryHeap<Reverse<(Instant, Place)>>,
    waiting_keys: HashMap<Place, LaneKey>,
    /// Lanes behind parked deliveries.
    behind: VecDeque<LaneKey>,
}

impl Lanes {
    /// No lanes. Where `ordered` is false every delivery has a lane of its own.
    pub fn new(ordered: bool) -> Self {
        Self {
            ordered,
            lanes: HashMap::new(),
            ready: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            waiting_keys: HashMap::new(),
            behind: VecDeque::new(),
        }
    }

    /// Number of lanes with something ready: a lower bound of what a batch could hold.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    fn key_of(&self, item: &Item) -> LaneKey {
        if self.ordered { LaneKey::Key(Arc::clone(&item.delivery.key)) } else { LaneKey::Lone(item.place) }
    }

    /// Adds a new delivery behind those of its key.
    pub fn push(&mut self, item: Item) {
        let key = self.key_of(&item);
        let place = item.place;
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.queue.push_back(item);
            return;
        }
        self.ready.insert(place, key.clone());
        self.lanes.insert(key, Lane { queue: VecDeque::from([item]), state: State::Ready });
    }

    /// Takes a batch of what is ready, in journal order; the lanes it took from are held until [`Lanes::put_back`].
    /// At least one delivery where any is ready, whatever its size.
    pub fn take(&mut self, max_events: usize, max_bytes: u64) -> Vec<Item> {
        let mut batch: Vec<Item> = Vec::new();
        let mut left: Vec<LaneKey> = Vec::new();
        let mut bytes = 0_u64;
        while let Some((place, key)) = self.ready.pop_first() {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            // Its run: up to where another lane's turn comes.
            let until = self.ready.first_key_value().map(|(place, _)| *place);
            let before = batch.len();
            let mut fits = true;
            while let Some(head) = lane.queue.front().filter(|head| until.is_none_or(|until| head.place < until)) {
                let size = head.delivery.bytes().len() as u64;
                fits = batch.len() < max_events && (batch.is_empty() || bytes + size <= max_bytes);
                if !fits {
                    break;
                }
                bytes += size;
                batch.extend(lane.queue.pop_front());
            }
            if batch.len() > before {
                lane.state = State::InFlight;
            } else if lane.state == State::Ready {
                self.ready.insert(place, key);
                break;
            }
            if !fits {
                break;
            }
            if let Some(head) = lane.queue.front() {
                self.ready.insert(head.place, key.clone());
                left.push(key);
            }
        }
        // A key is in one batch at a time: what is left of a lane that was touched waits.
        for key in left {
            if let Some(head) = self.lanes.get(&key).and_then(|lane| lane.queue.front()) {
                self.ready.remove(&head.place);
            }
        }
        batch
    }

    /// Takes one delivery to probe with: of those that were tried least the first behind `after` that is not in flight, else
    /// the first, so that each probe takes another, and one that nobody has tried where there is one. Its own backoff does not keep a delivery from being the probe, but the target's word
    /// does, unless all were told to wait: then the one that was told to wait least.
    pub fn take_probe(&mut self, after: Option<Place>, now: Instant) -> Option<Item> {
        let rank = |place: &Place, key: &LaneKey| {
            let head = self.lanes.get(key).and_then(|lane| lane.queue.front());
            let told = head.and_then(|head| head.told).filter(|told| *told > now);
            let tried = head.map_or(0, |head| head.attempts.max(head.failures));
            (told, tried, after.is_some_and(|after| *place <= after), *place)
        };
        let heads = self.ready.iter().chain(self.waiting_keys.iter());
        let (place, key) = heads.min_by_key(|(place, key)| rank(place, key))?;
        let (place, key) = (*place, key.clone());
        self.ready.remove(&place);
        self.waiting_keys.remove(&place);
        let lane = self.lanes.get_mut(&key)?;
        lane.state = State::InFlight;
        lane.queue.pop_front()
    }

    /// Ends a batch: `returned` are its deliveries that must be tried again, in the batch's order, each with the time
    /// before which it must not; `done` are the others.
    pub fn put_back(&mut self, returned: Vec<(Item, Option<Instant>)>, done: &[Item]) {
        let mut held: HashMap<LaneKey, (Vec<Item>, Option<Instant>)> = HashMap::new();
        let mut last: Option<LaneKey> = None;
        for item in done {
            let key = self.key_of(item);
            if last.as_ref() != Some(&key) {
                held.entry(key.clone()).or_default();
                last = Some(key);
            }
        }
        for (item, due) in returned {
            let slot = held.entry(self.key_of(&item)).or_default();
            slot.1 = slot.1.max(due);
            slot.0.push(item);
        }
        for (key, (items, due)) in held {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            for item in items.into_iter().rev() {
                lane.queue.push_front(item);
            }
            let Some(head) = lane.queue.front().map(|item| item.place) else {
                self.lanes.remove(&key);
                continue;
            };
            match due {
                Some(due) => {
                    lane.state = State::Waiting(due);
                    self.waiting.push(Reverse((due, head)));
                    self.waiting_keys.insert(head, key);
                }
                None => {
                    lane.state = State::Ready;
                    self.ready.insert(head, key);
                }
            }
        }
    }

    /// Whether deliveries of this key are under way.
    pub fn is_flying(&self, key: &Arc<str>) -> bool {
        self.lanes.get(&LaneKey::Key(Arc::clone(key))).is_some_and(|lane| lane.state == State::InFlight)
    }

    /// What waits of this key stands behind what the ledger keeps of it; what is under way is left alone.
    pub fn set_behind(&mut self, key: &Arc<str>) {
        let key = LaneKey::Key(Arc::clone(key));
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let Some(head) = lane.queue.front().map(|head| head.place) else { return };
        match lane.state {
            State::InFlight | State::Behind => return,
            State::Ready => drop(self.ready.remove(&head)),
            State::Waiting(_) => drop(self.waiting_keys.remove(&head)),
        }
        lane.state = State::Behind;
        self.behind.push_back(key);
    }

    /// Nothing stands before what waits of this key any more.
    pub fn release(&mut self, key: &Arc<str>) {
        let key = LaneKey::Key(Arc::clone(key));
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.state == State::Behind) else { return };
        self.behind.retain(|behind| *behind != key);
        if let Some(head) = lane.queue.front() {
            lane.state = State::Ready;
            self.ready.insert(head.place, key);
        }
    }

    /// Takes a lane that stands behind parked deliveries, whole.
    pub fn take_behind(&mut self) -> Option<VecDeque<Item>> {
        let key = self.behind.pop_front()?;
        self.lanes.remove(&key).map(|lane| lane.queue)
    }

    /// Takes all that waits behind the first of a lane that is not under way.
    pub fn take_lane(&mut self, like: &Item) -> VecDeque<Item> {
        let key = self.key_of(like);
        if self.lanes.get(&key).is_none_or(|lane| lane.state == State::InFlight) {
            return VecDeque::new();
        }
        let Some(lane) = self.lanes.remove(&key) else { return VecDeque::new() };
        if let Some(head) = lane.queue.front() {
            self.ready.remove(&head.place);
            self.waiting_keys.remove(&head.place);
        }
        lane.queue
    }

    /// Makes ready what is due.
    pub fn wake(&mut self, now: Instant) {
        while let Some(Reverse((due, place))) = self.waiting.peek().copied() {
            if due > now && self.is_waiting(place, due) {
                return;
            }
            self.waiting.pop();
            if !self.is_waiting(place, due) {
                continue; // stale: a probe took it meanwhile
            }
            if let Some(key) = self.waiting_keys.remove(&place) {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.state = State::Ready;
                }
                self.ready.insert(place, key);
            }
        }
    }

    fn is_waiting(&self, place: Place, due: Instant) -> bool {
        let lane = self.waiting_keys.get(&place).and_then(|key| self.lanes.get(key));
        lane.is_some_and(|lane| lane.state == State::Waiting(due))
    }

    /// When the next retry is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    use sink_testkit::event;

    use super::*;

    fn item(offset: u64, key: &str) -> Item {
        Item::new((Position { shard: 0, offset }, 0), event("t").subject(key).body("0123456789").delivery())
    }

    fn lanes(ordered: bool, items: &[(u64, &str)]) -> Lanes {
        let mut lanes = Lanes::new(ordered);
        items.iter().for_each(|(offset, key)| lanes.push(item(*offset, key)));
        lanes
    }

    fn offsets(items: &[Item]) -> Vec<u64> {
        items.iter().map(|i| i.place.0.offset).collect()
    }

    #[test]
    fn a_batch_stands_in_journal_order_and_holds_its_keys() {
        let mut l = lanes(true, &[(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a")]);
        let first = l.take(3, u64::MAX);
        assert_eq!(offsets(&first), [1, 2, 3]);
        assert_eq!(offsets(&l.take(9, u64::MAX)), [4], "5 is of a key in flight");
        l.put_back(vec![], &first);
        assert_eq!(offsets(&l.take(9, u64::MAX)), [5]);
    }

    #[test]
    fn what_comes_back_goes_before_what_came_later_and_waits_with_it() {
        let mut l = lanes(true, &[(1, "a"), (2, "a"), (3, "a"), (4, "b")]);
        let now = Instant::now();
        let mut batch = l.take(2, u64::MAX);
        let due = now + Duration::from_secs(1);
        let second = batch.pop().unwrap();
        l.put_back(vec![(batch.pop().unwrap(), Some(due)), (second, None)], &[]);
        assert_eq!(offsets(&l.take(9, u64::MAX)), [4]);
        assert_eq!(l.next_due(), Some(due));
        l.wake(now);
        assert_eq!(l.ready(), 0);
        l.wake(due);
        assert_eq!(offsets(&l.take(9, u64::MAX)), [1, 2, 3]);
    }

    #[test]
    fn without_order_every_delivery_stands_alone() {
        let mut l = lanes(false, &[(1, "a"), (2, "a")]);
        let first = l.take(1, u64::MAX);
        assert_eq!(offsets(&l.take(1, u64::MAX)), [2]);
        l.put_back(vec![], &first);
    }

    #[test]
    fn bytes_bound_a_batch_but_one_always_goes() {
        let mut l = lanes(true, &[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(offsets(&l.take(9, 25)), [1, 2]);
        assert_eq!(offsets(&l.take(9, 5)), [3]);
    }

    #[test]
    fn each_probe_takes_another_and_comes_round_again() {
        let mut l = lanes(true, &[(1, "a"), (2, "b"), (3, "a")]);
        let mut after = None;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let probe = l.take_probe(after, Instant::now()).unwrap();
            after = Some(probe.place);
            seen.push(probe.place.0.offset);
            l.put_back(vec![(probe, Some(Instant::now() + Duration::from_secs(60)))], &[]);
        }
        assert_eq!(seen, [1, 2, 1], "3 stands behind 1");
    }

    #[test]
    fn what_was_told_to_wait_is_no_probe_unless_all_were() {
        let mut l = lanes(true, &[(1, "a"), (2, "b"), (3, "c")]);
        let now = Instant::now();
        let until = |secs| Some(now + Duration::from_secs(secs));
        let told = l.take(3, u64::MAX).into_iter().zip([until(60), None, until(30)]);
        l.put_back(told.map(|(item, told)| (Item { told, ..item }, told)).collect(), &[]);
        let second = l.take_probe(None, now).unwrap();
        assert_eq!(second.place.0.offset, 2);
        assert_eq!(l.take_probe(None, now).unwrap().place.0.offset, 3, "all were: the one that has to wait least");
        l.put_back(vec![(second, None)], &[]);
        let over = now + Duration::from_secs(60);
        assert_eq!(l.take_probe(None, over).unwrap().place.0.offset, 1, "its time is over");
    }
}

#[cfg(test)]
#[path = "lanes_model_tests.rs"]
mod model;
