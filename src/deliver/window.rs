//! Which events of a sink are read but not settled, and so how far its cursor may move; a window for each shard. Pure.
//!
//! The windows of a sink hold at most [`MAX_EVENTS`] events and [`MAX_BYTES`] of payloads together, and what one read
//! brings beyond; after a kill at most these are delivered again.
//!
//! An event's counts travel with the cursor, and so do its dead letters and what is parked of it: they are added when
//! the cursor passes the event, so that an event delivered again after a crash is neither counted nor kept twice.

use std::collections::BTreeMap;

use crate::journal::Position;
use crate::ledger::{Counters, HeldDelivery};

/// Most events between a sink's cursors and the positions from which the worker reads on.
pub const MAX_EVENTS: usize = 20_000;
/// Most payload bytes of these events.
pub const MAX_BYTES: u64 = 64 << 20;

#[derive(Debug)]
struct Open {
    remaining: u32,
    bytes: u64,
    passed: Passed,
}

/// How one delivery of an event ended.
#[derive(Debug)]
pub enum End {
    /// It arrived.
    Delivered,
    /// The ledger is to keep it: given up, or parked.
    Held(Box<HeldDelivery>),
}

/// What goes into the ledger with the cursor when it passes an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What the event adds to the totals.
    pub tally: Counters,
    /// Rows of what was parked or given up; `tally` counts the latter.
    pub held: Vec<HeldDelivery>,
    /// By how much the book was adjusted for the event: to be taken back where the event is not passed.
    pub adjustment: i64,
}

/// The events of one shard between a sink's cursor and the position from which the worker reads on.
#[derive(Debug)]
pub struct Window {
    /// By offset.
    open: BTreeMap<u64, Open>,
    bytes: u64,
    /// Every event before this position was read.
    read: Position,
    passed: Passed,
}

impl Window {
    /// Nothing was read past the cursor yet.
    pub fn new(cursor: Position) -> Self {
        Self { open: BTreeMap::new(), bytes: 0, read: cursor, passed: Passed::default() }
    }

    /// Where to read on.
    pub fn read_position(&self) -> Position {
        self.read
    }

    /// How many events are open, and the bytes of their payloads.
    pub fn size(&self) -> (usize, u64) {
        (self.open.len(), self.bytes)
    }

    /// Every event before `next` was read.
    pub fn read_to(&mut self, next: Position) {
        self.read = next;
    }

    /// Opens an event with so many deliveries to make, of `bytes` together; `passed` is what the event comes to already
    /// (accepted, filtered, dead by rule).
    pub fn opened(&mut self, at: Position, deliveries: u32, bytes: u64, passed: Passed) {
        self.bytes += bytes;
        self.open.insert(at.offset, Open { remaining: deliveries, bytes, passed });
        self.pass();
    }

    /// Takes note that a delivery of the event at that position ended.
    pub fn ended(&mut self, at: Position, end: End) {
        if let Some(event) = self.open.get_mut(&at.offset) {
            event.remaining = event.remaining.saturating_sub(1);
            match end {
                End::Delivered => event.passed.tally.delivered += 1,
                End::Held(held) => {
                    event.passed.tally.dead += u64::from(held.due.is_none());
                    event.passed.held.push(*held);
                }
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
            self.passed.tally.add(&event.passed.tally);
            self.passed.held.extend(event.passed.held);
            self.passed.adjustment += event.passed.adjustment;
        }
    }

    /// The first position that is not settled.
    pub fn cursor(&self) -> Position {
        self.open.first_key_value().map_or(self.read, |(offset, _)| Position { offset: *offset, ..self.read })
    }

    /// By how much the book was adjusted for events that the cursor has not passed.
    pub fn open_adjustment(&self) -> i64 {
        self.open.values().map(|event| event.passed.adjustment).sum()
    }

    /// Takes what the cursor has passed since the last call.
    pub fn take_passed(&mut self) -> Passed {
        std::mem::take(&mut self.passed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::journal::Record;
    use crate::ledger::Spent;

    fn at(offset: u64) -> Position {
        Position { shard: 0, offset }
    }

    fn owing(n: u64) -> Passed {
        Passed { tally: Counters { accepted: n, ..Counters::default() }, ..Passed::default() }
    }

    fn letter(id: &str) -> HeldDelivery {
        let (source, kind, key) = ("s".into(), "t".into(), "k".into());
        let record = Record { id: [0; 16], time: 0, source, kind, key, fingerprint: None, payload: Bytes::new() };
        let text = String::new;
        HeldDelivery {
            id: id.into(),
            position: at(5),
            kind: text(),
            subject: text(),
            key: text(),
            code: text(),
            detail: text(),
            attempts: 1,
            times: [0; 3],
            event: Arc::new(record),
            payload: None,
            target: text(),
            due: None,
            spent: Spent::default(),
        }
    }

    #[test]
    fn the_cursor_stays_at_the_first_unsettled_event_and_counts_and_letters_only_follow_it() {
        let mut w = Window::new(at(5));
        w.opened(at(5), 2, 10, owing(2));
        w.opened(at(7), 1, 10, owing(1));
        w.read_to(at(9));
        w.ended(at(7), End::Held(Box::new(letter("later"))));
        w.ended(at(5), End::Delivered);
        assert_eq!((w.cursor(), w.take_passed()), (at(5), Passed::default()));
        w.ended(at(5), End::Delivered);
        assert_eq!(w.cursor(), at(9));
        let passed = w.take_passed();
        assert_eq!(passed.tally, Counters { accepted: 3, delivered: 2, dead: 1, ..Counters::default() });
        assert_eq!(passed.held, [letter("later")]);
        assert_eq!((w.size(), w.take_passed()), ((0, 0), Passed::default()));
    }

    #[test]
    fn an_event_that_owes_nothing_is_passed_at_once() {
        let mut w = Window::new(at(0));
        let tally = Counters { accepted: 2, filtered: 1, dead: 1, ..Counters::default() };
        w.opened(at(3), 0, 10, Passed { tally, held: vec![letter("by rule")], adjustment: 0 });
        w.read_to(at(4));
        assert_eq!(w.cursor(), at(4));
        let passed = w.take_passed();
        assert_eq!((passed.tally.filtered, passed.held.len()), (1, 1));
    }
}
