//! What an event comes to at one sink: its deliveries, its counts, and rows for the ledger. Reading, trying again and
//! replaying all turn what the rules say into counts and rows here. Pure but for the clock.

use std::sync::Arc;

use sink_api::{Delivery, Event, Reason, Uuid};

use super::rows::{self, Kept};
use crate::event::CodecError;
use crate::journal::{Entry, Position, Record};
use crate::ledger::{Counters, HeldDelivery};
use crate::route::jq::Said;
use crate::route::{Destination, Failed, Observer, Routed, RuleSet};

/// Reason code of an event that this build cannot read, because a later one wrote it.
pub const UNDECODABLE: &str = "undecodable";

/// Where an event comes from, and the texts that its dead letters are found by.
#[derive(Clone, Copy)]
pub struct Origin<'e> {
    /// Its position in the journal.
    pub position: Position,
    /// Its record.
    pub record: &'e Arc<Record>,
    /// Its subject.
    pub subject: &'e str,
    /// Its ordering key.
    pub key: &'e str,
}

/// What an event comes to.
#[derive(Default)]
pub struct Accounted {
    /// What the event adds to the sink's totals.
    pub counts: Counters,
    /// The deliveries to be made.
    pub deliveries: Vec<Delivery>,
    /// The dead letters of what never became a delivery; `counts` has them.
    pub letters: Vec<HeldDelivery>,
    /// The routes that left nothing of the event, as `counts` has them; empty names where nobody knows which.
    pub filtered: Vec<Arc<str>>,
}

/// Routes an event to one sink by the rules, with jq's answers about the event where jq was asked.
pub fn route(
    rules: &RuleSet,
    said: Option<&Said>,
    to: &Destination,
    event: &Arc<Event>,
    observer: &mut dyn Observer,
) -> Routed {
    match said {
        None => rules.route(to, event, observer),
        Some(said) => rules.route_by(said, to, event, observer),
    }
}

impl Accounted {
    /// What a routed event comes to.
    pub fn of(routed: Routed, origin: Origin<'_>) -> Self {
        let Routed { deliveries, failed, filtered } = routed;
        let counts = Counters {
            accepted: (deliveries.len() + failed.len() + filtered.len()) as u64,
            dead: failed.len() as u64,
            filtered: filtered.len() as u64,
            ..Counters::default()
        };
        let letters = failed.into_iter().map(|failed| letter(origin, failed)).collect();
        Self { counts, deliveries, letters, filtered }
    }

    /// What an event comes to that cannot be read and for which the rules owe `owed` deliveries: one letter, which
    /// keeps the event's bytes, stands for them all, as nobody knows which they would have been.
    pub fn undecodable(entry: &Entry, owed: u32, error: &CodecError) -> Self {
        let filtered = vec![Arc::from(""); owed.saturating_sub(1) as usize];
        let owed = u64::from(owed);
        let Entry { position, record } = entry;
        let origin = Origin { position: *position, record, subject: "", key: &record.key };
        let id = Uuid::from_bytes(record.id).to_string();
        let reason = Reason::new(UNDECODABLE, error.to_string());
        Self {
            counts: Counters { accepted: owed, dead: 1, filtered: filtered.len() as u64, ..Counters::default() },
            deliveries: vec![],
            filtered,
            letters: vec![letter(origin, Failed { id, payload: None, reason })],
        }
    }

    /// The counts, and everything else as rows for the ledger: the deliveries parked, due at once, then the letters.
    pub fn into_rows(self, position: Position) -> (Counters, Vec<HeldDelivery>) {
        let due = Some(rows::wall_after(std::time::Duration::ZERO));
        let parked = |delivery: &Delivery| {
            let kept = Kept { due, ..Kept::new(position, Reason::new("", "")) };
            rows::delivery(delivery, kept)
        };
        let mut rows: Vec<HeldDelivery> = self.deliveries.iter().map(parked).collect();
        rows.extend(self.letters);
        (self.counts, rows)
    }
}

fn letter(origin: Origin<'_>, failed: Failed) -> HeldDelivery {
    let texts = (origin.subject.to_owned(), origin.key.to_owned());
    rows::unrouted(origin.position, origin.record, texts, failed)
}
