//! The lanes against a naive model: a list of what is pending, and what each batch under way holds.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use sink_testkit::event;

use super::*;
use crate::journal::Position;

#[derive(Clone, Debug)]
enum Step {
    Push(u8, u8),
    Take(usize, u64),
    Probe,
    /// Ends a batch; each bit says whether the item comes back (and, in the second, whether it has to wait).
    End(usize, u32, u32),
    Wake,
    /// Something of the key is parked, and what waits of it stands behind.
    Behind(u8),
    /// Nothing of the key is parked any more.
    Release(u8),
    /// The first of the lanes that stand behind is taken.
    TakeBehind,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u8, 1..30_u8).prop_map(|(key, size)| Step::Push(key, size)),
        3 => (1..6_usize, 1..60_u64).prop_map(|(events, bytes)| Step::Take(events, bytes)),
        1 => Just(Step::Probe),
        3 => (any::<usize>(), any::<u32>(), any::<u32>()).prop_map(|(n, back, wait)| Step::End(n, back, wait)),
        1 => Just(Step::Wake),
        1 => (0..5_u8).prop_map(Step::Behind),
        1 => (0..5_u8).prop_map(Step::Release),
        1 => Just(Step::TakeBehind),
    ]
}

/// What the model knows of one delivery.
#[derive(Clone, Debug)]
struct Known {
    offset: u64,
    key: u8,
    size: u64,
    waits: bool,
}

struct Model {
    ordered: bool,
    pending: Vec<Known>,
    flying: Vec<Vec<Item>>,
    /// Keys whose lanes stand behind parked deliveries.
    behind: BTreeSet<u8>,
}

impl Model {
    fn same_lane(&self, a: &Known, b: &Known) -> bool {
        if self.ordered { a.key == b.key } else { a.offset == b.offset }
    }

    /// Neither behind one of its key that is under way or waits, nor waiting itself.
    fn is_free(&self, one: &Known, flying: &[Known]) -> bool {
        !self.behind.contains(&one.key)
            && !flying.iter().any(|f| self.same_lane(f, one))
            && !self.pending.iter().any(|p| p.offset <= one.offset && p.waits && self.same_lane(p, one))
    }

    /// What stands behind parked deliveries; only where there is order.
    fn stand_behind(&mut self, lanes: &mut Lanes, step: &Step, flying: &[Known]) -> Result<(), TestCaseError> {
        match *step {
            Step::Behind(key) => {
                lanes.set_behind_parked(&lane_key(key));
                let waits = self.pending.iter().any(|p| p.key == key) && !flying.iter().any(|f| f.key == key);
                if self.ordered && waits {
                    self.behind.insert(key);
                }
            }
            Step::Release(key) => {
                lanes.release(&lane_key(key));
                if self.behind.remove(&key) {
                    self.pending.iter_mut().filter(|p| p.key == key).for_each(|p| p.waits = false);
                }
            }
            _ => {
                let key = self.pending.iter().map(|p| p.key).find(|key| self.behind.contains(key));
                let (taken, left): (Vec<Known>, Vec<Known>) = self.pending.drain(..).partition(|p| Some(p.key) == key);
                self.pending = left;
                key.map(|key| self.behind.remove(&key));
                let got = lanes.take_behind_parked().unwrap_or_default();
                let offsets: Vec<u64> = got.iter().map(|item| item.position.offset).collect();
                prop_assert_eq!(offsets, taken.iter().map(|p| p.offset).collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    /// Ends one of the batches under way. Of a key, what comes after one that comes back comes back, too.
    fn end(&mut self, lanes: &mut Lanes, all: &[Known], (n, back, wait): (usize, u32, u32), due: Instant) {
        if self.flying.is_empty() {
            return;
        }
        let batch = self.flying.remove(n % self.flying.len());
        let (mut again, mut done): (Vec<(Item, Option<Instant>)>, Vec<Item>) = Default::default();
        let mut stopped: Vec<Known> = Vec::new();
        for (i, item) in batch.into_iter().enumerate() {
            let bit = |bits: u32| bits >> (i % 32) & 1 == 1;
            let known = all[item.position.offset as usize].clone();
            let follows = self.ordered && stopped.iter().any(|s| s.key == known.key);
            if !follows && !bit(back) {
                done.push(item);
                continue;
            }
            let waits = !follows && bit(wait);
            stopped.push(Known { waits, ..known });
            again.push((item, waits.then_some(due)));
        }
        self.pending.append(&mut stopped);
        self.pending.sort_by_key(|p| p.offset);
        lanes.put_back(again, &done);
    }

    /// In journal order, as far as it fits; at least one.
    fn take(&self, events: usize, bytes: u64, flying: &[Known]) -> Vec<u64> {
        let mut out = Vec::new();
        let mut sum = 0;
        for one in self.pending.iter().filter(|p| self.is_free(p, flying)) {
            if out.len() == events || (!out.is_empty() && sum + one.size > bytes) {
                break;
            }
            sum += one.size;
            out.push(one.offset);
        }
        out
    }
}

fn lane_key(key: u8) -> Arc<str> {
    event("t").subject(&key.to_string()).delivery().key
}

/// Takes all there is, in batches, and says in order what it was.
fn drain(lanes: &mut Lanes) -> Vec<u64> {
    let mut out: Vec<u64> = Vec::new();
    loop {
        let batch = lanes.take(3, 20);
        if batch.is_empty() {
            out.sort_unstable();
            return out;
        }
        out.extend(batch.iter().map(|i| i.position.offset));
        lanes.put_back(vec![], &batch);
    }
}

/// Which lane stands where in the index.
fn indexed(lanes: &Lanes) -> Vec<(LaneKey, State, Ordinal)> {
    let Index { ready, waiting, behind_parked } = &lanes.index;
    let ready = ready.iter().map(|(head, key)| (key.clone(), State::Ready, *head));
    let waiting = waiting.iter().map(|((due, head), key)| (key.clone(), State::Waiting(*due), *head));
    let behind = behind_parked.iter().map(|(head, key)| (key.clone(), State::BehindParked, *head));
    ready.chain(waiting).chain(behind).collect()
}

/// Whether each lane stands in the index as its state says, once, and nothing else does.
fn is_indexed_by_state(lanes: &Lanes) -> bool {
    let indexed = indexed(lanes);
    let idle = lanes.lanes.values().filter(|lane| lane.state != State::InFlight).count();
    let holds = |(key, state, head): &(LaneKey, State, Ordinal)| {
        lanes.lanes.get(key).is_some_and(|lane| lane.state == *state && lane.head() == Some(*head))
    };
    indexed.len() == idle && indexed.iter().all(holds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn lanes_do_what_a_list_would(ordered: bool, steps in prop::collection::vec(step(), 1..120)) {
        let mut lanes = Lanes::new(ordered);
        let mut model = Model { ordered, pending: Vec::new(), flying: Vec::new(), behind: BTreeSet::new() };
        let mut all: Vec<Known> = Vec::new();
        let now = Instant::now();
        let due = now + Duration::from_secs(60);
        for step in steps {
            let flying: Vec<Known> =
                model.flying.iter().flatten().map(|i| all[i.position.offset as usize].clone()).collect();
            match step {
                Step::Push(key, size) => {
                    let known = Known { offset: all.len() as u64, key, size: u64::from(size), waits: false };
                    let delivery = event("t").subject(&key.to_string()).body("x".repeat(size.into())).delivery();
                    let position = Position { shard: 0, offset: known.offset };
                    lanes.push(Item::new(Ordinal(known.offset), position, delivery));
                    all.push(known.clone());
                    model.pending.push(known);
                }
                Step::Take(events, bytes) => {
                    let expected = model.take(events, bytes, &flying);
                    let got = lanes.take(events, bytes);
                    let offsets: Vec<u64> = got.iter().map(|i| i.position.offset).collect();
                    prop_assert_eq!(&offsets, &expected);
                    model.pending.retain(|p| !offsets.contains(&p.offset));
                    if !got.is_empty() { model.flying.push(got); }
                }
                Step::Probe => {
                    let heads = |p: &&Known| !flying.iter().any(|f| model.same_lane(f, p));
                    let any = model.pending.iter().any(|p| heads(&p) && !model.behind.contains(&p.key));
                    let got = lanes.take_probe(None, now);
                    prop_assert_eq!(got.is_some(), any);
                    if let Some(item) = got {
                        let offset = item.position.offset;
                        let first = model.pending.iter().find(|p| model.same_lane(p, &all[offset as usize]));
                        prop_assert_eq!(first.map(|p| p.offset), Some(offset), "not the first of its lane");
                        model.pending.retain(|p| p.offset != offset);
                        model.flying.push(vec![item]);
                    }
                }
                Step::End(n, back, wait) => model.end(&mut lanes, &all, (n, back, wait), due),
                Step::Wake => {
                    lanes.wake(due);
                    model.pending.iter_mut().for_each(|p| p.waits = false);
                }
                Step::Behind(_) | Step::Release(_) | Step::TakeBehind => {
                    model.stand_behind(&mut lanes, &step, &flying)?;
                }
            }
            prop_assert!(is_indexed_by_state(&lanes), "{:?}", lanes.index);
        }
        model.flying.drain(..).for_each(|batch| lanes.put_back(vec![], &batch));
        lanes.wake(due);
        model.behind.iter().for_each(|key| lanes.release(&lane_key(*key)));
        let expected: Vec<u64> = model.pending.iter().map(|p| p.offset).collect();
        prop_assert_eq!(drain(&mut lanes), expected, "nothing is left behind");
        prop_assert!(lanes.lanes.is_empty() && indexed(&lanes).is_empty());
    }
}
