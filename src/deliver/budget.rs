//! One bound on the memory of all sinks (`[delivery] memory`): how much each may hold of events that are read and not
//! settled, by need. Half of the memory is guaranteed, in equal shares; the other half is for whoever needs more than
//! its share. So what all hold together stays within the memory, but for what one read brings beyond: a sink reads on
//! while it has room for anything, and an event is read whole, however large. No sink can starve, as nobody else can
//! use its share. Where sinks are added, shares become smaller: those that hold more than that settle first, and for so
//! long all may hold half of the memory more.
//!
//! [`Division`] is pure. [`Budget`] shares it between workers, and wakes those that wait for room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// What an event that a sink holds is charged beside the bytes of its record: the event, its delivery with id, key and
/// target, its places in lanes, batch and window, and what the allocator adds. A test compares it with their sizes.
pub const EVENT: u64 = 2560;
/// What an event with a record of so many bytes is charged, for so many deliveries. The record counts twice: sinks that
/// hold the event also hold the rendering that they have in common.
pub fn charge(record: u64, deliveries: usize) -> u64 {
    record.saturating_mul(2).saturating_add(EVENT.saturating_mul(deliveries as u64))
}

/// With less room than this a sink that holds something does not read on: a read is to be worth its wake-up. In small
/// shares it is half a share.
const WORTH_READING: u64 = 128 << 10;

/// What one sink holds.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    held: u64,
    /// Kept free for the read that is under way.
    reading: u64,
}

impl Part {
    fn bytes(self) -> u64 {
        self.held.saturating_add(self.reading)
    }
}

/// Who holds how much of the memory. Pure.
#[derive(Debug)]
struct Division {
    memory: u64,
    parts: BTreeMap<u64, Part>,
    /// All parts together.
    held: u64,
    /// What parts hold beyond their shares, all together.
    beyond: u64,
    /// Most that was held at a time.
    most: u64,
    /// The number of the next part.
    next: u64,
    /// Whether somebody was refused room since others were woken last.
    is_wanted: bool,
}

impl Division {
    fn new(memory: u64) -> Self {
        Self { memory, parts: BTreeMap::new(), held: 0, beyond: 0, most: 0, next: 0, is_wanted: false }
    }

    /// The share that each part has for itself.
    fn share(&self) -> u64 {
        self.memory / 2 / (self.parts.len() as u64).max(1)
    }

    /// What is for whoever needs it: the other half, and what does not divide evenly.
    fn common(&self) -> u64 {
        self.memory.saturating_sub(self.share().saturating_mul(self.parts.len() as u64))
    }

    /// Adds a part, and gives its number.
    fn join(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.parts.insert(number, Part::default());
        self.divide();
        number
    }

    /// Takes a part away, with all that it holds.
    fn leave(&mut self, number: u64) {
        self.parts.remove(&number);
        self.divide();
    }

    /// Shares have another size.
    fn divide(&mut self) {
        let share = self.share();
        self.held = self.parts.values().map(|part| part.bytes()).sum();
        self.beyond = self.parts.values().map(|part| part.bytes().saturating_sub(share)).sum();
    }

    fn part(&self, number: u64) -> Part {
        self.parts.get(&number).copied().unwrap_or_default()
    }

    fn set(&mut self, number: u64, now: Part) {
        let share = self.share();
        let Some(part) = self.parts.get_mut(&number) else { return };
        let before = std::mem::replace(part, now);
        self.held = self.held.saturating_sub(before.bytes()).saturating_add(now.bytes());
        let beyond = |part: Part| part.bytes().saturating_sub(share);
        self.beyond = self.beyond.saturating_sub(beyond(before)).saturating_add(beyond(now));
        self.most = self.most.max(self.held);
    }

    /// Bytes that a part may take beside what it holds.
    fn room(&self, number: u64) -> u64 {
        let own = self.share().saturating_sub(self.part(number).bytes());
        own.saturating_add(self.common().saturating_sub(self.beyond))
    }

    /// Whether a part may read on. One that holds nothing always may.
    fn may_read(&mut self, number: u64) -> bool {
        let worth = WORTH_READING.min(self.share() / 2).max(1);
        let may = self.part(number).bytes() == 0 || self.room(number) >= worth;
        self.is_wanted |= !may;
        may
    }

    /// Keeps room free for a read, at most so much; nothing where the part may not read on.
    fn reads(&mut self, number: u64, most: u64) -> Option<u64> {
        let part = Part { reading: 0, ..self.part(number) };
        self.set(number, part);
        if !self.may_read(number) {
            return None;
        }
        let granted = self.room(number).clamp(1, most.max(1));
        self.set(number, Part { reading: granted, ..part });
        Some(granted)
    }

    /// Whether those who wait for room are to be woken, where so much was held beyond the shares before.
    fn wakes(&mut self, beyond: u64) -> bool {
        self.beyond < beyond && std::mem::take(&mut self.is_wanted)
    }
}

/// The memory at a glance, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What there is for all sinks.
    pub all: u64,
    /// What they hold now.
    pub held: u64,
    /// Most that they held at a time.
    pub most: u64,
}

/// The memory of all sinks.
#[derive(Debug)]
pub struct Budget {
    division: Mutex<Division>,
    /// Changes when there is more room for others.
    freed: watch::Sender<()>,
}

impl Budget {
    /// So many bytes for all sinks.
    pub fn new(memory: u64) -> Arc<Self> {
        Arc::new(Self { division: Mutex::new(Division::new(memory)), freed: watch::Sender::new(()) })
    }

    /// A part of it, for a sink or a replay that begins to read.
    pub fn join(self: &Arc<Self>) -> Share {
        let number = self.division().join();
        Share { freed: self.freed.subscribe(), part: Arc::new(Holder { budget: Arc::clone(self), number }) }
    }

    /// The memory at a glance.
    pub fn now(&self) -> Memory {
        let division = self.division();
        Memory { all: division.memory, held: division.held, most: division.most }
    }

    /// How many parts there are.
    #[cfg(test)]
    pub fn parts(&self) -> usize {
        self.division().parts.len()
    }

    fn division(&self) -> MutexGuard<'_, Division> {
        self.division.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the division, and wakes those who wait where that made room for them.
    fn change<T>(&self, change: impl FnOnce(&mut Division) -> T) -> T {
        let mut division = self.division();
        let beyond = division.beyond;
        let done = change(&mut division);
        let wakes = division.wakes(beyond);
        drop(division);
        if wakes {
            self.freed.send_replace(());
        }
        done
    }
}

/// A part of the memory, as reads under way know it. All of it is given back when the last of them is dropped.
#[derive(Debug)]
pub struct Holder {
    budget: Arc<Budget>,
    number: u64,
}

impl Holder {
    /// Keeps room free for a read that begins: at least for something, at most for so many bytes. Nothing, where others
    /// hold too much now.
    pub fn reads(&self, most: u64) -> Option<u64> {
        self.budget.change(|division| division.reads(self.number, most))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.budget.change(|division| division.leave(self.number));
    }
}

/// A worker's part of the memory.
#[derive(Debug)]
pub struct Share {
    part: Arc<Holder>,
    freed: watch::Receiver<()>,
}

impl Share {
    /// The part, for a read.
    pub fn holder(&self) -> Arc<Holder> {
        Arc::clone(&self.part)
    }

    /// The worker holds that much now, beside what is being read.
    pub fn holds(&self, held: u64) {
        let Holder { budget, number } = &*self.part;
        budget.change(|division| division.set(*number, Part { held, ..division.part(*number) }));
    }

    /// The read is over: what it brought is held.
    pub fn has_read(&self, held: u64) {
        let Holder { budget, number } = &*self.part;
        budget.change(|division| division.set(*number, Part { held, reading: 0 }));
    }

    /// Whether more may be read. Where it may not, [`Self::freed`] says when to look again.
    pub fn may_read(&self) -> bool {
        self.part.budget.division().may_read(self.part.number)
    }

    /// Waits until others hold less than when somebody was refused room; returns at once where that was so since the
    /// last call. Cancel-safe.
    pub async fn freed(&mut self) {
        // The sender lives as long as the part.
        let _ = self.freed.changed().await;
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
