//! What a sink's step carries into the ledger: where the sink stands, what it counted, what is held of it. Plain data.

use std::sync::Arc;

use bytes::Bytes;

use super::notes::Noted;
use super::runs::{Call, Passed};
use crate::journal::{Marks, Position, Record};

/// Running totals of one sink. The transaction that moves its cursor carries the deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Deliveries owed by the events behind the cursor.
    pub accepted: u64,
    /// Of these: delivered.
    pub delivered: u64,
    /// Dead letters.
    pub dead: u64,
    /// Filtered by a condition or an empty transform.
    pub filtered: u64,
    /// Dropped, by retention or by hand.
    pub dropped: u64,
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

/// Where a sink stands, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkState {
    /// The first position in each shard that it has not settled.
    pub cursors: Marks,
    /// Its totals, over all shards.
    pub counters: Counters,
}

/// A delivery on its way into the ledger, to be kept there: given up (a dead letter), or to be tried again (parked).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldDelivery {
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
    /// What the target said to the last try, where the sink's table wants it kept.
    pub answer: Option<String>,
    /// Calls that were made.
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
    /// Calls beside these which count as no attempts, as the sink was found down with them.
    pub uncounted: u32,
    /// Time, microseconds, waits included and an open breaker left out.
    pub micros: i64,
}

/// What became of a delivery that the ledger kept to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedFate {
    /// Delivery id.
    pub id: String,
    /// What it stands in line with at its sink.
    pub lane: Arc<str>,
    /// What became of it.
    pub fate: Fate,
}

/// See [`ParkedFate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived, with that call, the last of so many.
    Delivered(Call, u32),
    /// Routed anew, and that route left nothing of it.
    Filtered(Arc<str>),
    /// The sink says that it is not needed any more, and that it was tried so often before; code and detail say why.
    Skipped(Try),
    /// Tried in vain, or put off by the sink: again at that time, microseconds.
    Again(i64, Try),
    /// Given up.
    Dead(Try),
    /// Routed anew: these take its place.
    Replaced(Vec<HeldDelivery>),
}

/// How the last try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// Calls that were made by now.
    pub attempts: u32,
    /// What counts against its bounds by now.
    pub spent: Spent,
    /// First and last time it was tried, microseconds.
    pub times: [i64; 2],
    /// Reason code.
    pub code: String,
    /// One line.
    pub detail: String,
    /// What the target said, where the sink's table wants it kept.
    pub answer: Option<String>,
}

/// One step of one sink in one shard: its cursor, what it counted on the way, what the ledger is to hold, and what
/// became of what the ledger held. All or nothing.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// The sink.
    pub sink: String,
    /// The shard that the step belongs to: that of its cursor, where it moves one.
    pub shard: u32,
    /// The replay whose cursor it is, where it is not the sink's own.
    pub replay: Option<i64>,
    /// The new cursor; `None` leaves it where it is.
    pub cursor: Option<Position>,
    /// What to add to its totals.
    pub delta: Counters,
    /// What the cursor passes.
    pub passed: Passed,
    /// Of that: what arrived after failures, and what was not needed any more.
    pub noted: Vec<Noted>,
    /// What it gave up, or tries again later.
    pub held: Vec<HeldDelivery>,
    /// What became of deliveries that were parked.
    pub fates: Vec<ParkedFate>,
}

impl Settlement {
    /// A step of that sink which moves its cursor.
    pub fn to(sink: &str, cursor: Position) -> Self {
        Self { sink: sink.to_owned(), shard: cursor.shard, cursor: Some(cursor), ..Self::default() }
    }

    /// Whether it makes dead letters.
    pub fn buries(&self) -> bool {
        let buries = |parked: &ParkedFate| match &parked.fate {
            Fate::Dead(_) => true,
            Fate::Replaced(by) => by.iter().any(|held| held.due.is_none()),
            Fate::Delivered(..) | Fate::Filtered(_) | Fate::Skipped(_) | Fate::Again(..) => false,
        };
        self.held.iter().any(|held| held.due.is_none()) || self.fates.iter().any(buries)
    }
}
