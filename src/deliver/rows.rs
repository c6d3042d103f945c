//! Deliveries as rows for the ledger: parked, given up, tried again. Pure but for the clock.

use std::sync::Arc;
use std::time::Duration;

use sink_api::{Delivery, Payload, Reason, Timestamp};

use super::breaker::Moment;
use super::item::Item;
use crate::event;
use crate::journal::{Position, Record};
use crate::ledger::{HeldDelivery, Spent, Try};
use crate::route::Failed;

/// What the ledger is to know of a delivery, besides the delivery itself.
pub struct Kept {
    /// Where its event stands.
    pub position: Position,
    /// Why it is kept.
    pub why: Reason,
    /// Calls so far.
    pub attempts: u32,
    /// When it was first tried, in microseconds; `None`: never, which the row says as now.
    pub first: Option<i64>,
    /// When it is due, in microseconds; `None`: it is a dead letter.
    pub due: Option<i64>,
    /// What counts against its bounds.
    pub spent: Spent,
}

impl Kept {
    /// A delivery that was never tried.
    pub fn new(position: Position, why: Reason) -> Self {
        Self { position, why, attempts: 0, first: None, due: None, spent: Spent::default() }
    }
}

/// The row of a delivery.
pub fn delivery(delivery: &Delivery, kept: Kept) -> HeldDelivery {
    let event = &delivery.event;
    let now = Timestamp::now().as_microsecond();
    HeldDelivery {
        id: delivery.id.clone(),
        position: kept.position,
        kind: event.kind.to_string(),
        subject: event.subject.to_string(),
        key: delivery.key.to_string(),
        code: kept.why.code.to_owned(),
        detail: kept.why.detail,
        answer: kept.why.answer.map(|answer| answer.text().to_owned()),
        attempts: kept.attempts,
        times: [event.time.as_microsecond(), kept.first.unwrap_or(now), now],
        event: Arc::new(event::encode(event, None, false)),
        payload: match &delivery.payload {
            Payload::Body => None,
            Payload::Json(bytes) => Some(bytes.clone()),
        },
        // The target is a map of strings: serialising it cannot fail.
        target: serde_json::to_string(&delivery.target).unwrap_or_default(),
        due: kept.due,
        spent: kept.spent,
    }
}

/// The row of a delivery that the worker has tried: parked, or a dead letter where `due` is `None`.
pub fn item(item: &Item, why: Reason, due: Option<i64>, spent: Spent) -> HeldDelivery {
    let (position, attempts, first) = (item.position, item.attempts, item.first_wall());
    delivery(&item.delivery, Kept { position, why, attempts, first, due, spent })
}

/// The dead letter of what never became a delivery.
pub fn unrouted(
    position: Position,
    record: &Arc<Record>,
    (subject, key): (String, String),
    failed: Failed,
) -> HeldDelivery {
    let now = Timestamp::now().as_microsecond();
    HeldDelivery {
        id: failed.id,
        position,
        kind: record.kind.to_string(),
        subject,
        key,
        code: failed.reason.code.to_owned(),
        detail: failed.reason.detail,
        answer: None,
        attempts: 0,
        times: [record.time, now, now],
        event: Arc::clone(record),
        payload: failed.payload,
        target: "{}".to_owned(),
        due: None,
        spent: Spent::default(),
    }
}

/// How the last try of a delivery went that the ledger keeps already.
pub fn last_try(item: &Item, why: Reason, spent: Spent) -> Try {
    let now = Timestamp::now().as_microsecond();
    Try {
        attempts: item.attempts,
        spent,
        times: [item.first_wall().unwrap_or(now), now],
        code: why.code.to_owned(),
        detail: why.detail,
        answer: why.answer.map(|answer| answer.text().to_owned()),
    }
}

/// What a delivery will have used up of its bounds after that wait.
pub fn spent(item: &Item, wait: Duration, at: Moment) -> Spent {
    let time = item.time_spent(at.time_open, at.now).saturating_add(wait);
    let uncounted = item.uncounted;
    Spent { attempts: item.counted(), uncounted, micros: i64::try_from(time.as_micros()).unwrap_or(i64::MAX) }
}

/// The wall clock after that wait, in microseconds.
pub fn wall_after(wait: Duration) -> i64 {
    let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().as_microsecond().saturating_add(wait)
}
