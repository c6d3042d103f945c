//! Replays as the admin listener shows and takes them: `GET` and `POST /api/replay`, `POST /api/replay/plan`, `/cancel`
//! and `/outcome`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to replay, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayAsk {
    /// Events accepted at or after that time.
    pub since: String,
    /// Events accepted before that time; up to now where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Events whose type matches this pattern (`*`, `?`, `[…]`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Events of that subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The sinks; all sinks that the rules name where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<String>,
    /// Most deliveries in a span of time, for each sink: `300/min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Only what a sink has not: no delivery is known to have arrived, and none is pending.
    pub only_missing: bool,
}

/// What a replay would come to, before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayPlan {
    /// Events of the span that have such a type, at most.
    pub events: u64,
    /// What each sink would be given.
    pub sinks: Vec<SinkPlan>,
}

/// What a replay would give one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkPlan {
    /// The sink.
    pub sink: String,
    /// Its kind.
    pub kind: String,
    /// Deliveries that the routes name for these types, at most: subject, conditions and `only_missing` leave out more.
    pub deliveries: u64,
    /// What comes of a delivery that was made before: `ignored`, `marked` (it comes again with the same id) or
    /// `doubled` (it is there twice).
    pub repeats: String,
}

/// What came of the request: a replay that has begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayBegun {
    /// The replay's number; 0 where there was nothing to replay.
    pub id: i64,
    /// The sinks it delivers to.
    pub sinks: Vec<String>,
    /// Events of the span, at most, before any filter.
    pub events: u64,
}

/// A replay under way for one sink; `GET /api/replay` lists them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayView {
    /// Number of the replay.
    pub id: i64,
    /// The sink.
    pub sink: String,
    /// How far the replay has come, of 1, by the events' times.
    pub done: f64,
    /// Deliveries that it has come to so far.
    pub deliveries: u64,
}

/// What became of one sink's share of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayOutcome {
    /// The sink.
    pub sink: String,
    /// Whether its span is being read still.
    pub is_under_way: bool,
    /// Deliveries that it came to.
    pub accepted: u64,
    /// Of these: delivered.
    pub delivered: u64,
    /// Given up, and kept as dead letters.
    pub dead: u64,
    /// Held back by a condition or an empty transform.
    pub filtered: u64,
    /// Dropped, by hand, or because a further replay came to the same deliveries.
    pub dropped: u64,
    /// Yet to be made.
    pub pending: u64,
}

/// Which replay to end, or is asked after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayCancel {
    /// Its number.
    pub id: i64,
}

/// The replay that was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayCancelled {
    /// Its number.
    pub id: i64,
    /// For how many sinks the replay was under way.
    pub sinks: usize,
}
