//! A sink as the admin listener is asked to change it: `POST /api/sinks/{sink}/pause`, `/resume`, `/skip`, `/probe`.
//! Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which sink, and for a skip where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkDone {
    /// Whether the sink is paused now.
    pub paused: bool,
    /// Deliveries that count as dropped.
    pub dropped: u64,
    /// Of a skip: deliveries that had failed, and are tried again all the same.
    #[serde(default)]
    pub parked: u64,
    /// What else follows from it, in words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// Which sink is tried at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeAsk {
    /// The sink.
    pub sink: String,
}

/// What came of trying a sink at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeDone {
    /// The sink.
    pub sink: String,
    /// `delivered`; `opens`: there was nothing to deliver, but the target answers; `failed`; `waits`: nothing came of
    /// it in time.
    pub outcome: String,
    /// Where it failed, the reason's code.
    pub code: Option<String>,
    /// Where it failed, one line of detail.
    pub detail: Option<String>,
}
