//! What the daemon can be told to do: `POST /api/sink/pause`, `/resume`, `/skip`, and `POST /api/reload`. Plain data.

use serde::{Deserialize, Serialize};

/// Which sink, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkAsk {
    /// The sink.
    pub sink: String,
    /// Of `skip`: to the first event accepted at or after that time, RFC 3339; to the end where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What to do with a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkAct {
    /// It takes nothing, over restarts, until it is let go.
    Pause,
    /// It goes on where it stood.
    Resume,
    /// It goes on further on.
    Skip,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkDone {
    /// Whether it is paused now.
    pub paused: bool,
    /// Deliveries that count as dropped.
    pub dropped: u64,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadDone {
    /// Sinks that are new, or back.
    pub added: Vec<String>,
    /// Sinks whose table is another one.
    pub changed: Vec<String>,
    /// Sinks that are gone.
    pub removed: Vec<Removed>,
    /// Sources there are now.
    pub sources: usize,
    /// Routes there are now.
    pub routes: usize,
    /// What is written and does not do what it says, each as `check` tells it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A sink that is gone. What it was owed it is given when it is back, as far as retention has kept it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub sink: String,
    /// What it was owed.
    pub pending: u64,
}

/// What to replay, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayAsk {
    /// Events accepted at or after, RFC 3339.
    pub since: String,
    /// Accepted before; up to now where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// A pattern (`*`, `?`, `[…]`) over the type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The sinks; all that the rules name where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<String>,
    /// Deliveries in a span of time, for each sink: `300/min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
}

/// A replay that has begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayBegun {
    /// Its number; 0 where there was nothing to replay.
    pub id: i64,
    /// The sinks.
    pub sinks: Vec<String>,
    /// Events of the span, at most, before any filter.
    pub events: u64,
}

/// `GET /api/replay`: those under way, one a sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayView {
    /// Number of the replay.
    pub id: i64,
    /// The sink.
    pub sink: String,
    /// How far it has come, of 1, by the events' times.
    pub done: f64,
    /// Deliveries it came to so far.
    pub deliveries: u64,
}

/// Which replay to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayCancel {
    /// Its number.
    pub id: i64,
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayCancelled {
    /// Its number.
    pub id: i64,
    /// For how many sinks it was under way.
    pub sinks: usize,
}
