//! What waits to be delivered: fresh deliveries in their lanes, and parked ones, most of which lie in the ledger. Lanes
//! and the schedule of what is parked are kept in step here and nowhere else: what is fresh of a key that has something
//! parked stands behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Delivery, Timestamp};

use crate::deliver::budget::EVENT;
use crate::deliver::item::{History, Item, Ordinal};
use crate::deliver::lanes::Lanes;
use crate::deliver::parked::Parked;
use crate::journal::Position;
use crate::ledger::held::size_of;
use crate::ledger::parked::Schedule;
use crate::ledger::{Fate, HeldDelivery, Settlement};

/// Most lanes fetched from the ledger at once.
const FETCH_LANES: usize = 64;
/// Nothing more is fetched while so many lanes of parked deliveries have something to try.
const MAX_READY: usize = 128;
/// Nor while parked deliveries are charged so many bytes.
const MAX_RETRYING: u64 = 8 << 20;
/// How soon a parked lane is looked for again whose key has a fresh delivery under way.
const KEY_BUSY: Duration = Duration::from_millis(20);

/// One sink's backlog.
pub(super) struct Backlog {
    ordered: bool,
    /// What came from the journal.
    fresh: Lanes,
    /// When what the ledger keeps is due.
    parked: Parked,
    /// Parked deliveries that were fetched to be tried again.
    retries: Lanes,
    /// What the sink is charged for these.
    retrying: u64,
    last_probe: Option<Ordinal>,
    last_retry_probe: Option<Ordinal>,
    /// Deliveries taken in so far.
    arrived: u64,
}

impl Backlog {
    /// Nothing waits; so many bytes may be parked.
    pub fn new(ordered: bool, parked_max: u64) -> Self {
        Self {
            ordered,
            fresh: Lanes::new(ordered),
            parked: Parked::new(parked_max),
            retries: Lanes::new(ordered),
            retrying: 0,
            last_probe: None,
            last_retry_probe: None,
            arrived: 0,
        }
    }

    /// The lane of a delivery among those that are parked.
    pub fn lane_of(&self, delivery: &Delivery) -> Arc<str> {
        if self.ordered { Arc::clone(&delivery.key) } else { delivery.id.as_str().into() }
    }

    /// The lane of such a row.
    pub fn lane_of_row<'h>(&self, held: &'h HeldDelivery) -> &'h str {
        if self.ordered { &held.key } else { &held.id }
    }

    /// Makes ready whose retry is due.
    pub fn wake(&mut self, now: Instant) {
        self.fresh.wake(now);
        self.retries.wake(now);
    }

    /// Makes ready, or due, the first of what waits to be tried again.
    pub fn hurry(&mut self, now: Instant) {
        self.fresh.hurry();
        self.retries.hurry();
        let is_due = self.next_fetch().is_some_and(|at| at <= now);
        if self.ready() == (0, 0) && !is_due {
            self.parked.hurry(now);
        }
    }

    /// When the next retry is due of what is in memory.
    pub fn next_retry(&self) -> Option<Instant> {
        [self.fresh.next_due(), self.retries.next_due()].into_iter().flatten().min()
    }

    /// Lanes that are ready: with fresh deliveries, and with parked ones.
    pub fn ready(&self) -> (usize, usize) {
        (self.fresh.ready(), self.retries.ready())
    }

    // ── to the sink and back ──

    /// A delivery of the event at that position, which arrives now.
    fn item(&mut self, position: Position, delivery: Delivery) -> Item {
        self.arrived += 1;
        Item::new(Ordinal(self.arrived), position, delivery)
    }

    /// Takes in a delivery that was just routed, of the event at that position.
    pub fn push(&mut self, position: Position, delivery: Delivery) {
        let item = self.item(position, delivery);
        let behind = self.stands_behind_parked(&item).then(|| Arc::clone(&item.delivery.key));
        self.fresh.push(item);
        if let Some(key) = behind {
            self.fresh.set_behind_parked(&key);
        }
    }

    /// Takes a batch of fresh deliveries, or of parked ones.
    pub fn take(&mut self, parked: bool, max_events: usize, max_bytes: u64) -> Vec<Item> {
        let lanes = if parked { &mut self.retries } else { &mut self.fresh };
        lanes.take(max_events, max_bytes)
    }

    /// Takes a delivery to probe with, of another event each time: a fresh one where there is one, or a parked one.
    pub fn take_probe(&mut self, fresh_first: bool, now: Instant) -> Option<Item> {
        let first = if fresh_first { self.probe_fresh(now) } else { self.probe_parked(now) };
        first.or_else(|| if fresh_first { self.probe_parked(now) } else { self.probe_fresh(now) })
    }

    fn probe_fresh(&mut self, now: Instant) -> Option<Item> {
        let item = self.fresh.take_probe(self.last_probe, now)?;
        self.last_probe = Some(item.ordinal);
        Some(item)
    }

    fn probe_parked(&mut self, now: Instant) -> Option<Item> {
        let item = self.retries.take_probe(self.last_retry_probe, now)?;
        self.last_retry_probe = Some(item.ordinal);
        Some(item)
    }

    /// Ends a batch of fresh deliveries: see [`Lanes::put_back`].
    pub fn put_back(&mut self, again: Vec<(Item, Option<Instant>)>, done: &[Item]) {
        let keys: Vec<Arc<str>> = match self.ordered && !self.parked.is_empty() {
            true => again.iter().map(|(item, _)| item).chain(done).map(|item| item.delivery.key.clone()).collect(),
            false => vec![],
        };
        self.fresh.put_back(again, done);
        keys.iter().filter(|key| self.parked.holds(key)).for_each(|key| self.fresh.set_behind_parked(key));
    }

    /// Ends a batch of parked deliveries. What stands behind those that are `waiting` on, which are among the ones
    /// done, is left to the ledger until the lane is due again.
    pub fn put_back_parked(&mut self, again: Vec<(Item, Option<Instant>)>, done: &[Item], waiting: &[Item]) {
        self.retries.put_back(again, done);
        self.let_go(done);
        for item in waiting {
            let rest = self.retries.take_lane(item);
            self.let_go(&rest);
            self.parked.let_go(&self.lane_of(&item.delivery), u32::try_from(rest.len()).unwrap_or(u32::MAX));
        }
    }

    /// What the sink is charged for parked deliveries that were fetched to be tried again.
    pub fn charge(&self) -> u64 {
        self.retrying
    }

    /// These are in memory no more.
    fn let_go<'i>(&mut self, items: impl IntoIterator<Item = &'i Item>) {
        let charges = items.into_iter().filter_map(|item| item.parked.as_ref()).map(charge);
        self.retrying = self.retrying.saturating_sub(charges.sum());
    }

    // ── parking ──

    /// How many deliveries are parked.
    pub fn parked(&self) -> u64 {
        self.parked.rows()
    }

    /// Whether there is no room to park in.
    pub fn is_full(&self) -> bool {
        self.parked.is_full()
    }

    /// Whether something of the delivery's key is parked, so that the delivery has to wait for it.
    pub fn stands_behind_parked(&self, item: &Item) -> bool {
        self.ordered && self.parked.holds(&item.delivery.key)
    }

    /// Takes note that a delivery of that size goes into the ledger.
    pub fn park(&mut self, lane: &Arc<str>, due: Instant, size: u64) {
        self.parked.park(lane, due, size);
        if self.ordered {
            self.fresh.set_behind_parked(lane);
        }
    }

    /// Takes all that is fresh of a key that has something parked, where there is room to park it, too.
    pub fn take_behind_parked(&mut self) -> Option<VecDeque<Item>> {
        if self.parked.is_full() { None } else { self.fresh.take_behind_parked() }
    }

    // ── from the ledger and back ──

    /// Takes in what the ledger says is parked.
    pub fn load(&mut self, schedule: Schedule) {
        let new = self.parked.load(schedule, Timestamp::now().as_microsecond(), Instant::now());
        if self.ordered {
            new.iter().for_each(|key| self.fresh.set_behind_parked(key));
        }
    }

    /// Whether more parked deliveries may be fetched, for all that waits of them in memory.
    pub fn has_room_to_fetch(&self) -> bool {
        self.retries.ready() < MAX_READY && self.retrying < MAX_RETRYING
    }

    /// When the next lane is due that lies in the ledger.
    pub fn next_fetch(&self) -> Option<Instant> {
        self.parked.next_due()
    }

    /// The lanes to be fetched now.
    pub fn take_due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let due = self.parked.take_due(now, FETCH_LANES).into_iter();
        let (busy, lanes): (Vec<_>, Vec<_>) = due.partition(|lane| self.ordered && self.fresh.is_flying(lane));
        busy.iter().for_each(|lane| self.parked.put_off(lane, Some(now + KEY_BUSY), now));
        lanes
    }

    /// So many rows of a lane came from the ledger; where it has none any more, what is fresh of the key may go.
    pub fn fetched(&mut self, lane: &Arc<str>, rows: usize) {
        if self.parked.fetched(lane, u32::try_from(rows).unwrap_or(u32::MAX)) {
            self.fresh.release(lane);
        }
    }

    /// Takes in a parked delivery that was fetched, to be tried again after so many calls, of which so many count as no
    /// attempts.
    pub fn push_parked(&mut self, position: Position, delivery: Delivery, calls: [u32; 2], history: History) {
        let item = self.item(position, delivery);
        let [attempts, uncounted] = calls;
        self.retrying = self.retrying.saturating_add(charge(&history));
        self.retries.push(Item { attempts, uncounted, parked: Some(history), ..item });
    }

    /// Leaves so many fetched rows of a lane to the ledger, as they were; they are looked for again at once.
    pub fn leave(&mut self, lane: &Arc<str>, rows: usize, now: Instant) {
        self.parked.let_go(lane, u32::try_from(rows).unwrap_or(u32::MAX));
        self.parked.put_off(lane, Some(now), now);
    }

    /// A lane could not be fetched: it is looked for again later.
    pub fn put_off(&mut self, lane: &Arc<str>, now: Instant) {
        self.parked.put_off(lane, None, now);
    }

    /// A fetched delivery has failed, or was put off, and is due again then.
    pub fn waits_on(&mut self, lane: &Arc<str>, due: Instant) {
        self.parked.decided(lane, None, Some(due));
    }

    /// A fetched delivery of that size is over.
    pub fn over(&mut self, lane: &Arc<str>, size: u64) {
        self.parked.decided(lane, Some(size), None);
    }

    /// Takes note of what lies in the ledger now.
    pub fn settled(&mut self, step: &Settlement) {
        let replaced = step.fates.iter().filter_map(|parked| match &parked.fate {
            Fate::Replaced(by) => Some(by),
            Fate::Delivered(..) | Fate::Filtered(_) | Fate::Skipped(_) | Fate::Again(..) | Fate::Dead(_) => None,
        });
        let held = step.held.iter().chain(replaced.flatten());
        for held in held.filter(|held| held.due.is_some()) {
            let lane = self.lane_of_row(held);
            self.parked.written(lane, size_of(held));
        }
        for parked in &step.fates {
            self.parked.settled(&parked.lane, !matches!(parked.fate, Fate::Again(..)));
        }
    }
}

/// What the sink is charged for a parked delivery that was fetched.
fn charge(history: &History) -> u64 {
    history.size.saturating_add(EVENT)
}
