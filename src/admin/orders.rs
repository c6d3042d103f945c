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
}

/// A sink that is gone. What it was owed it is given when it is back, as far as retention has kept it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub sink: String,
    /// What it was owed.
    pub pending: u64,
}
