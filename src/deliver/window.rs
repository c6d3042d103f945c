//! Which events of a sink are read but not settled, and so how far its cursor may move; a window for each shard. Pure.
//!
//! The windows of a sink hold at most [`MAX_EVENTS`] events and [`MAX_BYTES`] of payloads together, and what one read
//! brings beyond; after a kill at most these are delivered again.
//!
//! An event's counts travel with the cursor, and so do its dead letters, what is parked of it and how its deliveries
//! ended: they are added when the cursor passes the event, so that an event delivered again after a crash is neither
//! counted nor kept nor told twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use sink_api::Reason;

use crate::journal::Position;
use crate::ledger::runs::{Call, Ended, Run, suffix};
use crate::ledger::{Counters, HeldDelivery, Noted};

/// Most events between a sink's cursors and the positions from which the worker reads on.
pub const MAX_EVENTS: usize = 20_000;
/// Most payload bytes of these events.
pub const MAX_BYTES: u64 = 64 << 20;

/// An event that was read.
#[derive(Debug, Default)]
pub struct Event {
    /// Deliveries to be made.
    pub deliveries: u32,
    /// Bytes of these together.
    pub bytes: u64,
    /// What the sink is charged for it: see [`budget`](super::budget).
    pub charge: u64,
    /// What the event comes to already (accepted, filtered, dead by rule).
    pub passed: Passed,
    /// How deliveries ended that are not to be made.
    pub ended: Vec<Ended>,
    /// Further places behind the event's for which the same is true.
    pub more: u64,
}

/// How one delivery of an event ended.
#[derive(Debug)]
pub enum End {
    /// It arrived.
    Delivered(Arrival),
    /// The ledger is to keep it: given up, or parked.
    Held(Box<HeldDelivery>),
    /// The sink says that it is not needed any more.
    Skipped(Skipped),
}

/// A delivery that is not needed any more.
#[derive(Debug)]
pub struct Skipped {
    /// Its id behind the event's.
    pub suffix: Box<str>,
    /// The call that said so.
    pub call: Call,
    /// How often it was tried before that.
    pub attempts: u32,
    /// Why.
    pub why: Reason,
}

/// How a delivery arrived.
#[derive(Debug)]
pub struct Arrival {
    /// Its id behind the event's.
    pub suffix: Box<str>,
    /// The call that brought it there.
    pub call: Call,
    /// How many calls there were.
    pub attempts: u32,
    /// Why it failed last before that, where it did.
    pub after: Option<Arc<Reason>>,
}

/// What goes into the ledger with the cursor when it passes events.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What the event adds to the totals.
    pub tally: Counters,
    /// Rows of what was parked or given up; `tally` counts the latter.
    pub held: Vec<HeldDelivery>,
    /// What arrived after failures, and what was not needed any more.
    pub noted: Vec<Noted>,
    /// By how much the book was adjusted for the event: to be taken back where the event is not passed.
    pub adjustment: i64,
    /// How the deliveries of each event ended, in order.
    pub runs: Vec<Run>,
}

impl Event {
    fn arrived(&mut self, at: Position, arrival: Arrival) {
        let Arrival { suffix, call, attempts, after } = arrival;
        self.passed.tally.delivered += 1;
        if let Some(why) = after {
            let (suffix, why) = (suffix.clone(), Reason::clone(&why));
            self.passed.noted.push(Noted { position: at, suffix, call, attempts, why, is_skipped: false });
        }
        self.ended.push(Ended::Delivered { suffix, call, attempts });
    }

    fn skipped(&mut self, at: Position, skipped: Skipped) {
        let Skipped { suffix, call, attempts, why } = skipped;
        self.passed.tally.filtered += 1;
        self.ended.push(Ended::Held { suffix: suffix.clone() });
        self.passed.noted.push(Noted { position: at, suffix, call, attempts, why, is_skipped: true });
    }
}

/// The events of one shard between a sink's cursor and the position from which the worker reads on.
#[derive(Debug)]
pub struct Window {
    /// By offset.
    open: BTreeMap<u64, Event>,
    bytes: u64,
    charge: u64,
    /// Every event before this position was read.
    read: Position,
    passed: Passed,
}

impl Window {
    /// Nothing was read past the cursor yet.
    pub fn new(cursor: Position) -> Self {
        Self { open: BTreeMap::new(), bytes: 0, charge: 0, read: cursor, passed: Passed::default() }
    }

    /// Where to read on.
    pub fn read_position(&self) -> Position {
        self.read
    }

    /// How many events are open, and the bytes of their payloads.
    pub fn size(&self) -> (usize, u64) {
        (self.open.len(), self.bytes)
    }

    /// What the sink is charged for the events that are open.
    pub fn charge(&self) -> u64 {
        self.charge
    }

    /// Every event before `next` was read.
    pub fn read_to(&mut self, next: Position) {
        self.read = next;
    }

    /// Opens an event.
    pub fn opened(&mut self, at: Position, event: Event) {
        self.bytes += event.bytes;
        self.charge += event.charge;
        self.open.insert(at.offset, event);
        self.pass();
    }

    /// Takes note that a delivery of the event at that position ended.
    pub fn ended(&mut self, at: Position, end: End) {
        if let Some(event) = self.open.get_mut(&at.offset) {
            event.deliveries = event.deliveries.saturating_sub(1);
            match end {
                End::Delivered(arrival) => event.arrived(at, arrival),
                End::Skipped(skipped) => event.skipped(at, skipped),
                End::Held(held) => {
                    event.passed.tally.dead += u64::from(held.due.is_none());
                    event.ended.push(Ended::Held { suffix: suffix(&held.id).into() });
                    event.passed.held.push(*held);
                }
            }
        }
        self.pass();
    }

    fn pass(&mut self) {
        while let Some(first) = self.open.first_entry() {
            if first.get().deliveries > 0 {
                return;
            }
            let (offset, event) = first.remove_entry();
            self.bytes = self.bytes.saturating_sub(event.bytes);
            self.charge = self.charge.saturating_sub(event.charge);
            self.passed.tally.add(&event.passed.tally);
            self.passed.held.extend(event.passed.held);
            self.passed.noted.extend(event.passed.noted);
            self.passed.adjustment += event.passed.adjustment;
            if !event.ended.is_empty() {
                self.passed.runs.push(Run { first: offset, events: event.more + 1, ended: event.ended });
            }
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
        let (payload, made) = (Bytes::new(), Default::default());
        let record = Record { id: [0; 16], time: 0, source, kind, key, fingerprint: None, payload, made };
        let text = String::new;
        HeldDelivery {
            id: id.into(),
            position: at(5),
            kind: text(),
            subject: text(),
            key: text(),
            code: text(),
            detail: text(),
            answer: None,
            attempts: 1,
            times: [0; 3],
            event: Arc::new(record),
            payload: None,
            target: text(),
            due: None,
            spent: Spent::default(),
        }
    }

    fn arrival(suffix: &str, attempts: u32, after: Option<&str>) -> End {
        let after = after.map(|detail| Arc::new(Reason::new("x", detail)));
        End::Delivered(Arrival { suffix: suffix.into(), call: Call::default(), attempts, after })
    }

    fn delivered(suffix: &str, attempts: u32) -> Ended {
        Ended::Delivered { suffix: suffix.into(), call: Call::default(), attempts }
    }

    #[test]
    fn the_cursor_stays_at_the_first_unsettled_event_and_all_that_is_told_only_follows_it() {
        let mut w = Window::new(at(5));
        w.opened(at(5), Event { deliveries: 2, bytes: 10, passed: owing(2), ..Event::default() });
        w.opened(at(7), Event { deliveries: 1, bytes: 10, passed: owing(1), ..Event::default() });
        w.read_to(at(9));
        let later = format!("{}-route", sink_api::Uuid::nil());
        w.ended(at(7), End::Held(Box::new(letter(&later))));
        w.ended(at(5), arrival("-2", 3, Some("was down")));
        assert_eq!((w.cursor(), w.take_passed()), (at(5), Passed::default()));
        w.ended(at(5), arrival("", 1, None));
        assert_eq!(w.cursor(), at(9));
        let passed = w.take_passed();
        assert_eq!(passed.tally, Counters { accepted: 3, delivered: 2, dead: 1, ..Counters::default() });
        assert_eq!(passed.held, [letter(&later)]);
        let run = |first, ended| Run { first, events: 1, ended };
        let both = vec![delivered("-2", 3), delivered("", 1)];
        assert_eq!(passed.runs, [run(5, both), run(7, vec![Ended::Held { suffix: "-route".into() }])]);
        let noted: Vec<_> = passed.noted.iter().map(|r| (r.position, &*r.suffix, &*r.why.detail)).collect();
        assert_eq!(noted, [(at(5), "-2", "was down")]);
        assert_eq!((w.size(), w.take_passed()), ((0, 0), Passed::default()));
    }

    #[test]
    fn an_event_that_owes_nothing_is_passed_at_once() {
        let mut w = Window::new(at(0));
        let tally = Counters { accepted: 2, filtered: 1, dead: 1, ..Counters::default() };
        let passed = Passed { tally, held: vec![letter("by rule")], ..Passed::default() };
        let ended = vec![Ended::Filtered { route: "r".into(), tick: 1 }];
        w.opened(at(3), Event { bytes: 10, passed, ended: ended.clone(), more: 4, ..Event::default() });
        w.read_to(at(8));
        assert_eq!(w.cursor(), at(8));
        let passed = w.take_passed();
        assert_eq!((passed.tally.filtered, passed.held.len()), (1, 1));
        assert_eq!(passed.runs, [Run { first: 3, events: 5, ended }]);
    }
}
