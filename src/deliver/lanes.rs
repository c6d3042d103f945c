//! What is waiting to be delivered: one lane per ordering key, so that deliveries of a key never overtake each other
//! and no two batches hold the same key. Pure; bounded by the worker's window.
//!
//! A lane's state is its [`State`]. The index of lanes by what they wait for follows the states: a lane changes its
//! state in [`Lane::set`] and [`Lanes::take`] and nowhere else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use foldhash::{HashMap, HashMapExt as _};

use super::item::{Item, Ordinal};

/// Room for so many lanes is kept, however few there are.
const SPARE: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LaneKey {
    Key(Arc<str>),
    Lone(Ordinal),
}

/// What a lane does, or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its first delivery may go.
    Ready,
    /// Some of its deliveries are in a batch under way; those queued wait for it to come back. Only here may a queue
    /// be empty.
    InFlight,
    /// Its first delivery waits for a retry.
    Waiting(Instant),
    /// It stands behind parked deliveries of its key.
    BehindParked,
}

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Item>,
    state: State,
}

impl Lane {
    fn head(&self) -> Option<Ordinal> {
        self.queue.front().map(|item| item.ordinal)
    }

    /// Gives the lane another state, and its place in the index with it.
    fn set(&mut self, state: State, key: LaneKey, index: &mut Index) {
        let Some(head) = self.head() else { return };
        index.remove(self.state, head);
        self.state = state;
        index.insert(state, head, key);
    }
}

/// Lanes by state. A lane in flight is not in it.
#[derive(Debug, Default)]
struct Index {
    ready: BTreeMap<Ordinal, LaneKey>,
    waiting: BTreeMap<(Instant, Ordinal), LaneKey>,
    behind_parked: BTreeMap<Ordinal, LaneKey>,
}

impl Index {
    fn insert(&mut self, state: State, head: Ordinal, key: LaneKey) {
        match state {
            State::InFlight => None,
            State::Ready => self.ready.insert(head, key),
            State::Waiting(due) => self.waiting.insert((due, head), key),
            State::BehindParked => self.behind_parked.insert(head, key),
        };
    }

    fn remove(&mut self, state: State, head: Ordinal) {
        match state {
            State::InFlight => None,
            State::Ready => self.ready.remove(&head),
            State::Waiting(due) => self.waiting.remove(&(due, head)),
            State::BehindParked => self.behind_parked.remove(&head),
        };
    }
}

/// All lanes of one sink.
#[derive(Debug)]
pub struct Lanes {
    ordered: bool,
    lanes: HashMap<LaneKey, Lane>,
    index: Index,
}

impl Lanes {
    /// No lanes. Where `ordered` is false every delivery has a lane of its own.
    pub fn new(ordered: bool) -> Self {
        Self { ordered, lanes: HashMap::new(), index: Index::default() }
    }

    /// Number of lanes that are ready: a lower bound of what a batch could hold.
    pub fn ready(&self) -> usize {
        self.index.ready.len()
    }

    fn key_of(&self, item: &Item) -> LaneKey {
        if self.ordered { LaneKey::Key(Arc::clone(&item.delivery.key)) } else { LaneKey::Lone(item.ordinal) }
    }

    /// Adds a new delivery behind those of its key.
    pub fn push(&mut self, item: Item) {
        let key = self.key_of(&item);
        let head = item.ordinal;
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.queue.push_back(item);
            return;
        }
        self.index.insert(State::Ready, head, key.clone());
        self.lanes.insert(key, Lane { queue: VecDeque::from([item]), state: State::Ready });
    }

    /// Takes a batch of what is ready, in journal order; the lanes the batch takes from are in flight until
    /// [`Lanes::put_back`]. Where any delivery is ready at least one is taken, whatever its size.
    pub fn take(&mut self, max_events: usize, max_bytes: u64) -> Vec<Item> {
        let mut batch: Vec<Item> = Vec::new();
        // Lanes that are in the batch already and have more: their next delivery may follow in its turn.
        let mut joined: BTreeMap<Ordinal, LaneKey> = BTreeMap::new();
        let mut bytes = 0_u64;
        loop {
            let (ready, more) = (first(&self.index.ready), first(&joined));
            let has_joined = more.is_some_and(|more| ready.is_none_or(|ready| more < ready));
            let next = if has_joined { joined.pop_first() } else { self.index.ready.pop_first() };
            let Some((head, key)) = next else { break };
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            // The lane's run ends where another lane's turn comes.
            let end = first(&self.index.ready).into_iter().chain(first(&joined)).min();
            let before = batch.len();
            let mut fits = true;
            while let Some(item) = lane.queue.front().filter(|item| end.is_none_or(|end| item.ordinal < end)) {
                let size = item.delivery.bytes().len() as u64;
                fits = batch.len() < max_events && (batch.is_empty() || bytes + size <= max_bytes);
                if !fits {
                    break;
                }
                bytes += size;
                batch.extend(lane.queue.pop_front());
            }
            if batch.len() > before {
                lane.state = State::InFlight;
            } else if !has_joined {
                self.index.ready.insert(head, key);
                break;
            }
            if !fits {
                break;
            }
            if let Some(head) = lane.head() {
                joined.insert(head, key);
            }
        }
        batch
    }

    /// Takes one delivery to probe with. Each probe takes another, and one that nobody has tried where there is one:
    /// of the deliveries that were tried least, the first behind `after` that is not in flight, else the first. The
    /// delivery's own backoff does not keep it from being the probe, but the target's wish (`Retry-After`) does; where
    /// all wait for such a wish the delivery that has to wait least is taken.
    pub fn take_probe(&mut self, after: Option<Ordinal>, now: Instant) -> Option<Item> {
        let rank = |(ordinal, key): &(Ordinal, &LaneKey)| {
            let head = self.lanes.get(*key).and_then(|lane| lane.queue.front());
            let not_before = head.and_then(|head| head.not_before).filter(|not_before| *not_before > now);
            let tried = head.map_or(0, |head| head.attempts.max(head.failures));
            (not_before, tried, after.is_some_and(|after| *ordinal <= after), *ordinal)
        };
        let ready = self.index.ready.iter().map(|(ordinal, key)| (*ordinal, key));
        let waiting = self.index.waiting.iter().map(|((_, ordinal), key)| (*ordinal, key));
        let key = ready.chain(waiting).min_by_key(rank).map(|(_, key)| key.clone())?;
        let lane = self.lanes.get_mut(&key)?;
        lane.set(State::InFlight, key, &mut self.index);
        lane.queue.pop_front()
    }

    /// Ends a batch: `returned` are its deliveries that must be tried again, in the batch's order, each with the time
    /// before which it must not; `done` are the others.
    pub fn put_back(&mut self, returned: Vec<(Item, Option<Instant>)>, done: &[Item]) {
        let mut by_lane: HashMap<LaneKey, (Vec<Item>, Option<Instant>)> = HashMap::new();
        let mut last: Option<LaneKey> = None;
        for item in done {
            let key = self.key_of(item);
            if last.as_ref() != Some(&key) {
                by_lane.entry(key.clone()).or_default();
                last = Some(key);
            }
        }
        for (item, due) in returned {
            let slot = by_lane.entry(self.key_of(&item)).or_default();
            slot.1 = slot.1.max(due);
            slot.0.push(item);
        }
        for (key, (items, due)) in by_lane {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            for item in items.into_iter().rev() {
                lane.queue.push_front(item);
            }
            if lane.queue.is_empty() {
                self.lanes.remove(&key);
            } else {
                lane.set(due.map_or(State::Ready, State::Waiting), key, &mut self.index);
            }
        }
        // Room for the lanes of a bad hour is not kept for ever.
        if self.lanes.capacity() > SPARE.max(4 * self.lanes.len()) {
            self.lanes.shrink_to(2 * self.lanes.len());
        }
    }

    /// Whether deliveries of this key are under way.
    pub fn is_flying(&self, key: &Arc<str>) -> bool {
        self.lanes.get(&LaneKey::Key(Arc::clone(key))).is_some_and(|lane| lane.state == State::InFlight)
    }

    /// Makes what waits of this key wait for what is parked of the key; what is under way is left alone.
    pub fn set_behind_parked(&mut self, key: &Arc<str>) {
        let key = LaneKey::Key(Arc::clone(key));
        let lane = self.lanes.get_mut(&key).filter(|lane| lane.state != State::InFlight);
        if let Some(lane) = lane {
            lane.set(State::BehindParked, key, &mut self.index);
        }
    }

    /// Makes ready what waits of this key, as nothing of the key is parked any more.
    pub fn release(&mut self, key: &Arc<str>) {
        let key = LaneKey::Key(Arc::clone(key));
        let lane = self.lanes.get_mut(&key).filter(|lane| lane.state == State::BehindParked);
        if let Some(lane) = lane {
            lane.set(State::Ready, key, &mut self.index);
        }
    }

    /// Takes all of a lane that stands behind parked deliveries.
    pub fn take_behind_parked(&mut self) -> Option<VecDeque<Item>> {
        let (_, key) = self.index.behind_parked.pop_first()?;
        self.lanes.remove(&key).map(|lane| lane.queue)
    }

    /// Takes all that waits in the lane of this delivery, unless some of the lane is under way.
    pub fn take_lane(&mut self, of: &Item) -> VecDeque<Item> {
        let key = self.key_of(of);
        if self.lanes.get(&key).is_none_or(|lane| lane.state == State::InFlight) {
            return VecDeque::new();
        }
        let Some(lane) = self.lanes.remove(&key) else { return VecDeque::new() };
        if let Some(head) = lane.head() {
            self.index.remove(lane.state, head);
        }
        lane.queue
    }

    /// Makes ready what is due.
    pub fn wake(&mut self, now: Instant) {
        while let Some(first) = self.index.waiting.first_entry().filter(|first| first.key().0 <= now) {
            let key = first.get().clone();
            let Some(lane) = self.lanes.get_mut(&key) else {
                first.remove();
                continue;
            };
            lane.set(State::Ready, key, &mut self.index);
        }
    }

    /// Makes ready the retry that would be due next, where nothing is ready.
    pub fn hurry(&mut self) {
        if let Some(((due, _), _)) = self.index.waiting.first_key_value().filter(|_| self.index.ready.is_empty()) {
            self.wake(*due);
        }
    }

    /// When the next retry is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.index.waiting.first_key_value().map(|((due, _), _)| *due)
    }
}

fn first(lanes: &BTreeMap<Ordinal, LaneKey>) -> Option<Ordinal> {
    lanes.first_key_value().map(|(head, _)| *head)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sink_testkit::event;

    use super::*;
    use crate::journal::Position;

    fn item(offset: u64, key: &str) -> Item {
        Item::new(Ordinal(offset), Position { shard: 0, offset }, event("t").subject(key).body("0123456789").delivery())
    }

    fn lanes(ordered: bool, items: &[(u64, &str)]) -> Lanes {
        let mut lanes = Lanes::new(ordered);
        items.iter().for_each(|(offset, key)| lanes.push(item(*offset, key)));
        lanes
    }

    fn offsets(items: &[Item]) -> Vec<u64> {
        items.iter().map(|i| i.position.offset).collect()
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
            after = Some(probe.ordinal);
            seen.push(probe.position.offset);
            l.put_back(vec![(probe, Some(Instant::now() + Duration::from_secs(60)))], &[]);
        }
        assert_eq!(seen, [1, 2, 1], "3 stands behind 1");
    }

    #[test]
    fn what_the_target_wants_to_wait_is_no_probe_unless_all_were() {
        let mut l = lanes(true, &[(1, "a"), (2, "b"), (3, "c")]);
        let now = Instant::now();
        let until = |secs| Some(now + Duration::from_secs(secs));
        let asked = l.take(3, u64::MAX).into_iter().zip([until(60), None, until(30)]);
        let wish = |(item, not_before)| (Item { not_before, ..item }, not_before);
        l.put_back(asked.map(wish).collect(), &[]);
        let second = l.take_probe(None, now).unwrap();
        assert_eq!(second.position.offset, 2);
        assert_eq!(l.take_probe(None, now).unwrap().position.offset, 3, "all were: the one that has to wait least");
        l.put_back(vec![(second, None)], &[]);
        let over = now + Duration::from_secs(60);
        assert_eq!(l.take_probe(None, over).unwrap().position.offset, 1, "its time is over");
    }
}

#[cfg(test)]
#[path = "lanes_model_tests.rs"]
mod model;
