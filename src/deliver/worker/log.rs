//! What a worker says in the log.

use std::time::{Duration, Instant};

use sink_api::Reason;
use tracing::{info, warn};

use crate::deliver::breaker::Change;

/// There is at most one line about dead letters in this time; the next one says how many others there were.
const DEAD_INTERVAL: Duration = Duration::from_secs(1);
/// The same for failed deliveries, each of which is tried many times.
const FAILED_INTERVAL: Duration = Duration::from_secs(60);

/// One sink's lines.
pub(super) struct Log {
    sink: String,
    dead: Limiter,
    failed: Limiter,
    is_parking_full: bool,
}

impl Log {
    pub fn new(sink: &str) -> Self {
        let (dead, failed) = (Limiter::default(), Limiter::default());
        Self { sink: sink.to_owned(), dead, failed, is_parking_full: false }
    }

    /// Says when there is no room to park in, and when there is again.
    pub fn parking(&mut self, is_full: bool, parked_max: u64) {
        let sink = &self.sink;
        match (std::mem::replace(&mut self.is_parking_full, is_full), is_full) {
            (false, true) => warn!(%sink, parked_max,
                "parked_max is reached: what this sink does not take keeps its cursor from moving on"),
            (true, false) => info!(%sink, "there is room to park again"),
            _ => {}
        }
    }

    pub fn breaker(&self, change: &Change) {
        match change {
            Change::Opened(why) => warn!(sink = %self.sink, reason = why.code, detail = %why.detail,
                "the sink does not take deliveries; holding them back and probing"),
            Change::Closed => info!(sink = %self.sink, "the sink takes deliveries again"),
        }
    }

    pub fn dead(&mut self, id: &str, reason: &str, detail: &str) {
        let Some(others) = self.dead.allow(DEAD_INTERVAL) else { return };
        warn!(sink = %self.sink, id, reason, %detail, others, "given up: kept as a dead letter");
    }

    /// Says that a delivery failed, which nothing else says where the breaker stays closed over a few failures.
    pub fn failed(&mut self, id: &str, why: &Reason) {
        let Some(others) = self.failed.allow(FAILED_INTERVAL) else { return };
        warn!(sink = %self.sink, id, reason = why.code, detail = %why.detail, others,
            "a delivery failed; it is tried again");
    }
}

/// Lets one line in an interval through.
#[derive(Debug, Default)]
struct Limiter {
    last: Option<Instant>,
    left_out: u64,
}

impl Limiter {
    /// Whether a line may be written now: how many were left out since the last one, else `None`.
    fn allow(&mut self, interval: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.left_out))
    }
}
