//! A sink as the admin listener is asked to change it: `POST /api/sink/pause`, `/resume`, `/skip`. Plain data.

use serde::{Deserialize, Serialize};

/// Which sink, and for a skip where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkAsk {
    /// The sink.
    pub sink: String,
    /// For `skip`: to the first event accepted at or after that time, RFC 3339; to the end where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What to do with a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkAct {
    /// The sink takes nothing, over restarts, until it is resumed.
    Pause,
    /// The sink goes on where it stood.
    Resume,
    /// The sink goes on further on.
    Skip,
}

/// What came of the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkDone {
    /// Whether the sink is paused now.
    pub paused: bool,
    /// Deliveries that count as dropped.
    pub dropped: u64,
}
