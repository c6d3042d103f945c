//! Deliveries as the ledger keeps them. Pure but for the clock.

use std::sync::Arc;

use sink_api::{Delivery, Payload, Reason, Timestamp};

use crate::event;
use crate::journal::{Held, Position, Record, Spent};
use crate::route::Failed;

/// What is said of a delivery that is kept.
pub struct Kept {
    /// Where its event stands.
    pub position: Position,
    /// Why it is kept.
    pub why: Reason,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was first tried, microseconds; now where it never was.
    pub first: Option<i64>,
    /// When it is due, microseconds; `None`: it is dead.
    pub due: Option<i64>,
    /// What counts against its bounds.
    pub spent: Spent,
}

impl Kept {
    /// Never tried.
    pub fn new(position: Position, why: Reason) -> Self {
        Self { position, why, attempts: 0, first: None, due: None, spent: Spent::default() }
    }
}

/// A delivery, to be kept.
pub fn delivery(delivery: &Delivery, kept: Kept) -> Held {
    let event = &delivery.event;
    let now = Timestamp::now().as_microsecond();
    Held {
        id: delivery.id.clone(),
        position: kept.position,
        kind: event.kind.to_string(),
        subject: event.subject.to_string(),
        key: delivery.key.to_string(),
        code: kept.why.code.to_owned(),
        detail: kept.why.detail,
        attempts: kept.attempts,
        times: [event.time.as_microsecond(), kept.first.unwrap_or(now), now],
        event: Arc::new(event::encode(event, None, false)),
        payload: match &delivery.payload {
            Payload::Body => None,
            Payload::Json(bytes) => Some(bytes.clone()),
        },
        // A map of strings: serialising it cannot fail.
        target: serde_json::to_string(&delivery.target).unwrap_or_default(),
        due: kept.due,
        spent: kept.spent,
    }
}

/// The dead letter of what never became a delivery.
pub fn unrouted(position: Position, record: &Arc<Record>, (subject, key): (String, String), failed: Failed) -> Held {
    let now = Timestamp::now().as_microsecond();
    Held {
        id: failed.id,
        position,
        kind: record.kind.to_string(),
        subject,
        key,
        code: failed.reason.code.to_owned(),
        detail: failed.reason.detail,
        attempts: 0,
        times: [record.time, now, now],
        event: Arc::clone(record),
        payload: failed.payload,
        target: "{}".to_owned(),
        due: None,
        spent: Spent::default(),
    }
}
