//! What a sink's step carries into the ledger: texts, bytes and numbers. Nobody here knows what they mean.

use std::sync::Arc;

use bytes::Bytes;

use super::{Counters, Position, Record};

/// A delivery on its way into the ledger, to be kept there: given up (a dead letter), or to be tried again (parked).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Delivery id.
    pub id: String,
    /// Where its event stands.
    pub position: Position,
    /// Event type, subject, ordering key.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Ordering key at the sink.
    pub key: String,
    /// Reason code and detail; empty where it was never tried.
    pub code: String,
    /// One line.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Event accepted, first tried, last tried: microseconds.
    pub times: [i64; 3],
    /// The event's record: id, source and payload as the journal keeps them.
    pub event: Arc<Record>,
    /// The rendered payload, where it is not the body.
    pub payload: Option<Bytes>,
    /// The rendered target, a JSON object.
    pub target: String,
    /// When it is to be tried again, microseconds; `None`: it is given up.
    pub due: Option<i64>,
    /// What counts against its bounds.
    pub spent: Spent,
}

/// What a delivery has used up of its bounds since it was new, or since somebody wanted it tried after all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Attempts.
    pub attempts: u32,
    /// Time, microseconds, waits included and an open breaker left out.
    pub micros: i64,
}

/// What became of a delivery that the ledger kept to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Delivery id.
    pub id: String,
    /// What it stands in line with at its sink.
    pub lane: Arc<str>,
    /// What became of it.
    pub fate: Fate,
}

/// See [`Turn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is over, delivered or filtered, as the step's counts say.
    Over,
    /// Tried in vain: again at that time, microseconds.
    Again(i64, Try),
    /// Given up.
    Dead(Try),
    /// Routed anew: these take its place.
    Replaced(Vec<Held>),
}

/// How the last try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// How often it was tried by now.
    pub attempts: u32,
    /// What counts against its bounds by now.
    pub spent: Spent,
    /// First and last time it was tried, microseconds.
    pub times: [i64; 2],
    /// Reason code.
    pub code: String,
    /// One line.
    pub detail: String,
}

/// One step of one sink: its cursor, what it counted on the way, what the ledger is to keep, and what became of what it
/// kept. All or nothing.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// The sink.
    pub sink: String,
    /// The replay whose cursor it is, where it is not the sink's own.
    pub reader: Option<i64>,
    /// Its new cursor; `None` leaves it.
    pub cursor: Option<Position>,
    /// What to add to its totals.
    pub delta: Counters,
    /// What it gave up, or tries again later.
    pub held: Vec<Held>,
    /// What became of what it had kept.
    pub turns: Vec<Turn>,
}

impl Settlement {
    /// Whether it makes dead letters.
    pub fn buries(&self) -> bool {
        let replaced = |turn: &Turn| match &turn.fate {
            Fate::Dead(_) => true,
            Fate::Replaced(by) => by.iter().any(|held| held.due.is_none()),
            Fate::Over | Fate::Again(..) => false,
        };
        self.held.iter().any(|held| held.due.is_none()) || self.turns.iter().any(replaced)
    }
}
