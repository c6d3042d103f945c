//! What the worker gives the ledger to keep, and what it says in the log.

use std::sync::Arc;
use std::time::Instant;

use sink_api::{Payload, Reason, Timestamp};
use tracing::{info, warn};

use super::{LOG_INTERVAL, Worker};
use crate::deliver::breaker::Change;
use crate::deliver::lanes::Item;
use crate::event;
use crate::journal::{Held, Position, Record, Spent};
use crate::route::Failed;

impl Worker {
    /// What the ledger is to keep of a delivery; of a dead letter where `due` is `None`.
    pub(super) fn keep(&self, item: &Item, why: Reason, due: Option<i64>, spent: Spent) -> Held {
        let delivery = &item.delivery;
        let event = &delivery.event;
        let now = Timestamp::now().as_microsecond();
        let first = item.parked.and_then(|before| before.first).or(item.first.map(|first| first.wall));
        Held {
            id: delivery.id.clone(),
            position: item.place.0,
            kind: event.kind.to_string(),
            subject: event.subject.to_string(),
            key: delivery.key.to_string(),
            code: why.code.to_owned(),
            detail: why.detail,
            attempts: item.attempts,
            times: [event.time.as_microsecond(), first.unwrap_or(now), now],
            event: Arc::new(event::encode(event, None, false)),
            payload: match &delivery.payload {
                Payload::Body => None,
                Payload::Json(bytes) => Some(bytes.clone()),
            },
            // A map of strings: serialising it cannot fail.
            target: serde_json::to_string(&delivery.target).unwrap_or_default(),
            due,
            spent,
        }
    }

    /// The dead letter of what never became a delivery.
    pub(super) fn unrouted(
        &mut self,
        position: Position,
        record: &Arc<Record>,
        (subject, key): (String, String),
        failed: Failed,
    ) -> Held {
        self.log_dead(&failed.id, &failed.reason);
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

    /// Tells when there is no room to park in, and when there is again.
    pub(super) fn tell_parked(&mut self) {
        let (sink, full) = (&self.spec.name, self.parked.is_full());
        match (std::mem::replace(&mut self.was_full, full), full) {
            (false, true) => warn!(%sink, parked_max = self.spec.keys.parked_max.0,
                "parked_max is reached: what this sink does not take keeps its cursor from moving on"),
            (true, false) => info!(%sink, "there is room to park again"),
            _ => {}
        }
    }

    pub(super) fn log_change(&self, change: &Change) {
        match change {
            Change::Opened(why) => warn!(sink = %self.spec.name, reason = why.code, detail = %why.detail,
                "the sink does not take deliveries; holding them back and probing"),
            Change::Closed => info!(sink = %self.spec.name, "the sink takes deliveries again"),
        }
    }

    pub(super) fn log_dead(&mut self, id: &str, why: &Reason) {
        if self.last_log.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.unlogged += 1;
            return;
        }
        self.last_log = Some(Instant::now());
        let others = std::mem::take(&mut self.unlogged);
        warn!(sink = %self.spec.name, id, reason = why.code, detail = %why.detail, others,
            "given up: kept as a dead letter");
    }
}
