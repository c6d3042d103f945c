//! What a sink answers: one outcome per delivery. A slot left unset means Retry, never Delivered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::Batch;

/// Reason codes that more than one sink uses. A code is a metric label: short, fixed, lower case.
pub mod code {
    /// The target could not be reached (refused, reset, no route).
    pub const CONNECT: &str = "connect";
    /// Its name could not be resolved.
    pub const DNS: &str = "dns";
    /// TLS could not be agreed on.
    pub const TLS: &str = "tls";
    /// The target refused our credentials or rights.
    pub const AUTH: &str = "auth";
    /// The disk the sink writes to is full, or below `min_free`.
    pub const DISK_FULL: &str = "disk_full";
    /// Reading or writing failed.
    pub const IO: &str = "io";
    /// No answer in time.
    pub const TIMEOUT: &str = "timeout";
    /// The payload is not what this sink can take.
    pub const BAD_PAYLOAD: &str = "bad_payload";
    /// Somebody else holds what is needed: a lock, memory, every connection.
    pub const BUSY: &str = "busy";
    /// The table is missing, lacks a column, or has no unique `event_id`.
    pub const SCHEMA: &str = "schema";
    /// The database is damaged.
    pub const CORRUPT: &str = "corrupt";
    /// A rule of the table refused the row.
    pub const CONSTRAINT: &str = "constraint";
    /// The target, or the sink itself, misbehaved.
    pub const INTERNAL: &str = "internal";
    /// The sink left the slot unset.
    pub const NO_VERDICT: &str = "no_verdict";
    /// A rule failed while it was evaluated for this event.
    pub const RULE_ERROR: &str = "rule_error";

    /// Codes that speak of the sink as a whole: one such failure opens its breaker at once.
    pub const SINK_DOWN: &[&str] = &[CONNECT, DNS, TLS, AUTH, DISK_FULL];
}

/// Longest `detail` kept, in bytes.
pub const MAX_DETAIL: usize = 500;

/// Why a delivery was not made. `detail` never holds row values, bodies, or URLs with user-info or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Metric label, see [`code`].
    pub code: &'static str,
    /// One line for people.
    pub detail: String,
}

impl Reason {
    /// A reason; the detail is cut at [`MAX_DETAIL`] bytes and kept to one line.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        // It goes to terminals, too: what would steer one is taken out.
        if detail.contains(char::is_control) {
            let words = detail.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
            detail = words.collect::<Vec<_>>().join(" ");
        }
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        Self { code, detail }
    }

    /// The batch's deadline has passed before anything was tried.
    pub fn too_late() -> Self {
        Self::new(code::TIMEOUT, "the batch's deadline has passed")
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, safely.
    Delivered,
    /// It is not, and may be later.
    Retry {
        /// The target's own wish how long to wait (`Retry-After`); the core clamps it.
        after: Option<Duration>,
        /// Why.
        why: Reason,
    },
    /// It never will be: a dead letter.
    Reject {
        /// Why.
        why: Reason,
    },
}

impl Outcome {
    /// Retry without a wish.
    pub fn retry(code: &'static str, detail: impl Into<String>) -> Self {
        Self::retry_for(Reason::new(code, detail))
    }

    /// Retry without a wish, for a reason that is known already.
    pub fn retry_for(why: Reason) -> Self {
        Self::Retry { after: None, why }
    }

    /// Reject.
    pub fn reject(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Reject { why: Reason::new(code, detail) }
    }
}

/// One slot per delivery of a batch.
#[derive(Debug)]
#[must_use]
pub struct Report {
    slots: Vec<Option<Outcome>>,
    ordered: bool,
    /// Keys with a delivery in this batch that was attempted and not delivered.
    stopped: HashSet<Arc<str>>,
}

impl Report {
    /// All slots unset.
    pub fn open(batch: &Batch) -> Self {
        Self { slots: vec![None; batch.len()], ordered: batch.ordered, stopped: HashSet::new() }
    }

    /// The same outcome for every delivery.
    pub fn all(batch: &Batch, outcome: &Outcome) -> Self {
        Self { slots: vec![Some(outcome.clone()); batch.len()], ordered: batch.ordered, stopped: HashSet::new() }
    }

    /// Whether delivery `i` may be attempted: false where order is owed and an earlier delivery of its key, in this
    /// batch, was not delivered. Such a slot is left unset; the core hands it out again behind the earlier one.
    pub fn may_attempt(&self, batch: &Batch, i: usize) -> bool {
        !self.ordered || batch.deliveries.get(i).is_none_or(|d| !self.stopped.contains(&d.key))
    }

    /// Sets the outcome of delivery `i`; an `i` outside the batch is ignored.
    pub fn set(&mut self, batch: &Batch, i: usize, outcome: Outcome) {
        let (Some(slot), Some(delivery)) = (self.slots.get_mut(i), batch.deliveries.get(i)) else {
            return;
        };
        if self.ordered && outcome != Outcome::Delivered {
            self.stopped.insert(delivery.key.clone());
        }
        *slot = Some(outcome);
    }

    /// The outcome of delivery `i`, if set.
    pub fn get(&self, i: usize) -> Option<&Outcome> {
        self.slots.get(i).and_then(Option::as_ref)
    }

    /// The slots, one per delivery, in the batch's order.
    pub fn into_slots(self) -> Vec<Option<Outcome>> {
        self.slots
    }
}
