//! What `status` says: the shapes scripts rely on. Plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /api/status`, and `status --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether a webhook sent now would be taken.
    pub ready: bool,
    /// What is not as it should be.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// The journal.
    pub journal: JournalStatus,
    /// By name, since the daemon started.
    pub sources: BTreeMap<String, SourceStatus>,
    /// By name, since the sink was first seen.
    pub sinks: BTreeMap<String, SinkStatus>,
}

/// Something that is not as it should be, though webhooks may be taken all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Which thing: [`FRONT_PRESSED`].
    pub code: String,
    /// Whose: a source, a sink, or nobody's in particular.
    pub subject: String,
    /// A sentence for people.
    pub text: String,
}

/// More is sent to the front than `[server]` has room for, so that some have to wait or to go.
pub const FRONT_PRESSED: &str = "front_pressed";

/// The journal at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Events it holds.
    pub events: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// When the oldest event was accepted, RFC 3339; `null` where it holds none.
    pub oldest_time: Option<String>,
    /// Bytes that wait in memory because the disk cannot be written.
    pub at_risk: u64,
}

/// What a source has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Events taken.
    pub accepted: u64,
    /// Repeats of events taken before.
    pub duplicate: u64,
    /// Answered 401.
    pub rejected: u64,
    /// Events taken whose type or subject was too long to be.
    #[serde(default)]
    pub too_long: TooLongStatus,
}

/// What was too long to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooLongStatus {
    /// Types of more than 128 bytes: these events are `unknown`.
    #[serde(rename = "type")]
    pub kind: u64,
    /// Subjects of more than 256 bytes: no order is owed to these events.
    pub subject: u64,
}

/// What a sink was owed and what became of it: `accepted = delivered + dead + pending + filtered + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Deliveries owed.
    pub accepted: u64,
    /// Of these: made.
    pub delivered: u64,
    /// Kept as dead letters.
    pub dead: u64,
    /// Yet to be made.
    pub pending: u64,
    /// Held back by a condition or an empty transform.
    pub filtered: u64,
    /// Given up for good, by retention or by hand.
    pub dropped: u64,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// Whether it is held by `sink pause`.
    #[serde(default)]
    pub paused: bool,
    /// Age of the oldest event with something pending, seconds; 0 where nothing is.
    pub oldest_pending_s: f64,
}

impl SinkStatus {
    /// Whether the identity holds.
    pub fn balances(&self) -> bool {
        self.accepted == self.delivered + self.dead + self.pending + self.filtered + self.dropped
    }
}

/// `GET /readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether a POST would be taken.
    pub ready: bool,
    /// Bytes at risk.
    pub at_risk: u64,
    /// Whether more is sent than there is room for: [`FRONT_PRESSED`].
    pub is_pressed: bool,
}
