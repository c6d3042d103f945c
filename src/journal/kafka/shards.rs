//! Which shards of a sink are this daemon's, and where the sink stands in them. This is the lock that revoking takes: a
//! settle takes the group's metadata under it, after it has seen that its shards are here. From then on the metadata's
//! generation is the fence: it is of a time at which the shards were ours, and brokers refuse it once they are not.
//!
//! ```text
//! (assigned) → Taking → Taken → Owned → Leaving → (released, unassigned) → gone
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};

use super::rebalances::Events;
use super::seam::{Stand, Step};
use crate::journal::Position;

/// What is known of a shard that is not another's.
#[derive(Debug)]
enum State {
    /// Assigned; what is held of it is to be restored. The ticket tells one assignment from the next.
    Taking { ticket: u64, is_claimed: bool },
    /// Restored, not read yet.
    Taken(Taken),
    /// Read and settled.
    Owned(Taken),
    /// To be given away; settled until the reader has said so.
    Leaving(Taken),
}

/// A shard that was restored.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// Where the sink stands in it.
    pub stand: Stand,
    /// The oldest offset that there was.
    pub oldest: u64,
}

impl Taken {
    /// From where there is something to read.
    pub fn from(&self) -> Position {
        let Position { shard, offset } = self.stand.cursor;
        Position { shard, offset: offset.max(self.oldest) }
    }
}

/// What is to be done about shards away from the thread that polls.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Shards of which nothing is kept any more.
    pub gone: Vec<u32>,
    /// Shards to be restored, each with its ticket.
    pub take: Vec<(u32, u64)>,
}

#[derive(Default)]
struct Inner {
    states: BTreeMap<u32, State>,
    gone: BTreeSet<u32>,
    /// Whether the keeper is being asked to forget shards.
    is_forgetting: bool,
    tickets: u64,
    /// The ticket of each shard's last assignment.
    since: BTreeMap<u32, u64>,
    consumer: Weak<BaseConsumer<Events>>,
    is_over: bool,
}

/// The shards of one sink's member.
#[derive(Default)]
pub(super) struct Shards {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Shards {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose metadata fences settles from now on.
    pub fn attach(&self, consumer: Weak<BaseConsumer<Events>>) {
        self.inner().consumer = consumer;
    }

    // ── the thread that polls ──

    /// These shards were assigned.
    pub fn take(&self, shards: &[u32]) {
        let mut inner = self.inner();
        for shard in shards {
            inner.tickets += 1;
            let ticket = inner.tickets;
            inner.since.insert(*shard, ticket);
            inner.states.insert(*shard, State::Taking { ticket, is_claimed: false });
        }
        self.changed.notify_all();
    }

    /// What was restored since this was asked last: it is owned from now on.
    pub fn own(&self) -> Vec<Taken> {
        let mut owned = vec![];
        for state in self.inner().states.values_mut() {
            if let State::Taken(taken) = state {
                owned.push(taken.clone());
                *state = State::Owned(taken.clone());
            }
        }
        owned
    }

    /// These shards are to be given away; gives those that were read.
    pub fn leave(&self, shards: &[u32]) -> Vec<u32> {
        let mut inner = self.inner();
        let mut left = vec![];
        for shard in shards {
            if let Some(state) = inner.states.get_mut(shard)
                && let State::Owned(taken) | State::Leaving(taken) = state
            {
                *state = State::Leaving(taken.clone());
                left.push(*shard);
            }
        }
        left
    }

    /// Nothing more of these shards is settled; gives those that the consumer was assigned.
    pub fn release(&self, shards: &[u32]) -> Vec<u32> {
        let mut inner = self.inner();
        let is_assigned = |state: &State| matches!(state, State::Owned(_) | State::Leaving(_));
        let released = shards.iter().filter(|shard| inner.states.remove(shard).as_ref().is_some_and(is_assigned));
        released.copied().collect()
    }

    /// These shards are unassigned: what is kept of them is to be forgotten.
    pub fn forget(&self, shards: &[u32]) {
        self.inner().gone.extend(shards);
        self.changed.notify_all();
    }

    /// Nothing is this daemon's any more, for good.
    pub fn end(&self) {
        let mut inner = self.inner();
        let shards = std::mem::take(&mut inner.states);
        inner.gone.extend(shards.into_keys());
        (inner.is_over, inner.consumer) = (true, Weak::new());
        self.changed.notify_all();
    }

    // ── the thread that restores ──

    /// Waits for work; `None` once all is over and done.
    pub fn work(&self) -> Option<Work> {
        let mut inner = self.inner();
        loop {
            let gone: Vec<u32> = std::mem::take(&mut inner.gone).into_iter().collect();
            let mut take = vec![];
            for (shard, state) in &mut inner.states {
                if let State::Taking { ticket, is_claimed } = state
                    && !std::mem::replace(is_claimed, true)
                {
                    take.push((*shard, *ticket));
                }
            }
            if !gone.is_empty() || !take.is_empty() {
                inner.is_forgetting = !gone.is_empty();
                return Some(Work { gone, take });
            }
            if inner.is_over {
                return None;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was gone is forgotten.
    pub fn forgot(&self) {
        self.inner().is_forgetting = false;
    }

    /// Whether nothing is kept any more of shards that are another's.
    pub fn is_clear(&self) -> bool {
        let inner = self.inner();
        inner.gone.is_empty() && !inner.is_forgetting
    }

    /// Whether a shard is still to be restored.
    pub fn is_wanted(&self, (shard, ticket): (u32, u64)) -> bool {
        matches!(self.inner().states.get(&shard), Some(State::Taking { ticket: now, .. }) if *now == ticket)
    }

    /// These shards are restored, where they are wanted still.
    pub fn restored(&self, shards: Vec<(u64, Taken)>) {
        let mut inner = self.inner();
        for (ticket, taken) in shards {
            if let Some(state) = inner.states.get_mut(&taken.stand.cursor.shard)
                && matches!(state, State::Taking { ticket: now, .. } if *now == ticket)
            {
                *state = State::Taken(taken);
            }
        }
    }

    // ── who reads and who settles ──

    /// The shards that are read.
    pub fn owned(&self) -> Vec<Taken> {
        let owned = |state: &State| if let State::Owned(taken) = state { Some(taken.clone()) } else { None };
        self.inner().states.values().filter_map(owned).collect()
    }

    /// Where the sink stands in the shards that may be settled.
    pub fn held(&self) -> Vec<Stand> {
        let held = |state: &State| match state {
            State::Owned(taken) | State::Leaving(taken) => Some(taken.stand.clone()),
            State::Taking { .. } | State::Taken(_) => None,
        };
        self.inner().states.values().filter_map(held).collect()
    }

    /// How many assignments there were. A step that was made before an assignment says nothing of what became of the
    /// shard since: another may have settled it in between.
    pub fn assignments(&self) -> u64 {
        self.inner().tickets
    }

    /// Which of these steps' shards are not this daemon's, or not any more what they were after so many assignments,
    /// when the steps were made.
    pub fn foreign(&self, steps: &[Step], made: u64) -> Vec<u32> {
        foreign(&self.inner(), steps, made)
    }

    /// The metadata that fences these steps, where their shards are all here; else those that are foreign.
    pub fn fence(&self, steps: &[Step], made: u64) -> Result<ConsumerGroupMetadata, Vec<u32>> {
        let inner = self.inner();
        let foreign = foreign(&inner, steps, made);
        if !foreign.is_empty() {
            return Err(foreign);
        }
        let metadata = inner.consumer.upgrade().and_then(|consumer| consumer.group_metadata());
        metadata.ok_or_else(|| shards_of(steps))
    }

    /// These steps are durable.
    pub fn settled(&self, steps: &[Step]) {
        let mut inner = self.inner();
        for step in steps {
            if let Some(State::Owned(taken) | State::Leaving(taken)) = inner.states.get_mut(&step.stand.cursor.shard) {
                taken.stand = step.stand.clone();
            }
        }
    }

    /// Whether all is over.
    pub fn is_over(&self) -> bool {
        self.inner().is_over
    }
}

/// The shards of these steps.
pub(super) fn shards_of(steps: &[Step]) -> Vec<u32> {
    steps.iter().map(|step| step.stand.cursor.shard).collect()
}

fn foreign(inner: &Inner, steps: &[Step], made: u64) -> Vec<u32> {
    let is_here = |shard: &u32| {
        matches!(inner.states.get(shard), Some(State::Owned(_) | State::Leaving(_)))
            && inner.since.get(shard).is_some_and(|since| *since <= made)
    };
    shards_of(steps).into_iter().filter(|shard| !is_here(shard)).collect()
}
