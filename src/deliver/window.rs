//! Which events of a sink are read but not settled, and so how far its cursor may move. Pure.
//!
//! An event's counts travel with the cursor: they are added when the cursor passes it, so that an event delivered again
//! after a crash is not counted twice.

use std::collections::BTreeMap;

use crate::journal::{Counters, Position};

#[derive(Debug)]
struct Open {
    remaining: u32,
    bytes: u64,
    tally: Counters,
}

/// How one delivery of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It arrived.
    Delivered,
    /// It became a dead letter.
    Dead,
}

/// The events between a sink's cursor and its reading place.
#[derive(Debug)]
pub struct Window {
    open: BTreeMap<Position, Open>,
    bytes: u64,
    /// Everything before it was read.
    read: Position,
    passed: Counters,
}

impl Window {
    /// Nothing read past the cursor yet.
    pub fn new(cursor: Position) -> Self {
        Self { open: BTreeMap::new(), bytes: 0, read: cursor, passed: Counters::default() }
    }

    /// Where to read on.
    pub fn read_position(&self) -> Position {
        self.read
    }

    /// Events open, and their payload bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.open.len(), self.bytes)
    }

    /// Everything before `next` was read.
    pub fn read_to(&mut self, next: Position) {
        self.read = next;
    }

    /// An event with `deliveries` to make; `tally` is what it counts already (accepted, filtered, dead by rule).
    pub fn opened(&mut self, at: Position, deliveries: u32, bytes: u64, tally: Counters) {
        self.bytes += bytes;
        self.open.insert(at, Open { remaining: deliveries, bytes, tally });
        self.pass();
    }

    /// One delivery of the event ended.
    pub fn ended(&mut self, at: Position, end: End) {
        if let Some(event) = self.open.get_mut(&at) {
            event.remaining = event.remaining.saturating_sub(1);
            match end {
                End::Delivered => event.tally.delivered += 1,
                End::Dead => event.tally.dead += 1,
            }
        }
        self.pass();
    }

    fn pass(&mut self) {
        while let Some(first) = self.open.first_entry() {
            if first.get().remaining > 0 {
                return;
            }
            let event = first.remove();
            self.bytes = self.bytes.saturating_sub(event.bytes);
            self.passed.add(&event.tally);
        }
    }

    /// The first position not settled.
    pub fn cursor(&self) -> Position {
        self.open.first_key_value().map_or(self.read, |(position, _)| *position)
    }

    /// Takes what the cursor has passed since the last call.
    pub fn take_passed(&mut self) -> Counters {
        std::mem::take(&mut self.passed)
    }
}

impl Counters {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.filtered += other.filtered;
        self.dropped += other.dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { shard: 0, offset }
    }

    fn owing(n: u64) -> Counters {
        Counters { accepted: n, ..Counters::default() }
    }

    #[test]
    fn the_cursor_stays_at_the_first_unsettled_event_and_counts_only_what_it_passed() {
        let mut w = Window::new(at(5));
        w.opened(at(5), 2, 10, owing(2));
        w.opened(at(7), 1, 10, owing(1));
        w.read_to(at(9));
        w.ended(at(7), End::Delivered);
        w.ended(at(5), End::Delivered);
        assert_eq!((w.cursor(), w.take_passed()), (at(5), Counters::default()));
        w.ended(at(5), End::Dead);
        assert_eq!(w.cursor(), at(9));
        assert_eq!(w.take_passed(), Counters { accepted: 3, delivered: 2, dead: 1, ..Counters::default() });
        assert_eq!(w.size(), (0, 0));
    }

    #[test]
    fn an_event_that_owes_nothing_is_passed_at_once() {
        let mut w = Window::new(at(0));
        w.opened(at(3), 0, 10, Counters { accepted: 1, filtered: 1, ..Counters::default() });
        w.read_to(at(4));
        assert_eq!(w.cursor(), at(4));
        assert_eq!(w.take_passed().filtered, 1);
    }
}
