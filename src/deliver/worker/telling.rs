//! What the worker gives the ledger to keep, and what it says in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::Reason;
use tracing::{info, warn};

use super::Worker;
use crate::deliver::breaker::Change;
use crate::deliver::rows::{self, Kept};
use crate::deliver::item::Item;
use crate::journal::{Held, Position, Record, Spent};
use crate::route::Failed;

/// One log line about dead letters in this time; the others are counted in it.
const DEAD_INTERVAL: Duration = Duration::from_secs(1);
/// And one about failed deliveries, each of which is tried many times.
const FAILED_INTERVAL: Duration = Duration::from_secs(60);

impl Worker {
    /// What the ledger is to keep of a delivery; of a dead letter where `due` is `None`.
    pub(super) fn keep(&self, item: &Item, why: Reason, due: Option<i64>, spent: Spent) -> Held {
        let kept = Kept { position: item.ordinal.position, why, attempts: item.attempts, first: item.first_wall(), due, spent };
        rows::delivery(&item.delivery, kept)
    }

    /// The dead letter of what never became a delivery.
    pub(super) fn unrouted(
        &mut self,
        position: Position,
        record: &Arc<Record>,
        texts: (String, String),
        failed: Failed,
    ) -> Held {
        self.log_dead(&failed.id, &failed.reason);
        rows::unrouted(position, record, texts, failed)
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
        let Some(others) = self.dead_log.turn(DEAD_INTERVAL) else { return };
        warn!(sink = %self.spec.name, id, reason = why.code, detail = %why.detail, others,
            "given up: kept as a dead letter");
    }

    /// Says that deliveries fail where nothing else would: the breaker stays closed over a few of them.
    pub(super) fn log_failed(&mut self, id: &str, why: &Reason) {
        let Some(others) = self.failed_log.turn(FAILED_INTERVAL) else { return };
        warn!(sink = %self.spec.name, id, reason = why.code, detail = %why.detail, others,
            "a delivery failed; it is tried again");
    }
}

/// Something that happens often and is said rarely.
#[derive(Debug, Default)]
pub(super) struct Rarely {
    last: Option<Instant>,
    unsaid: u64,
}

impl Rarely {
    /// It happened: where it is to be said now, how many times it was not said since the last time.
    fn turn(&mut self, interval: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}
