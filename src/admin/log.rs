//! What the log says, as the admin listener is asked: `GET` and `POST /api/log-level`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From which level on lines are to be written, until the next reload or restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogAsk {
    /// Of which room; of all where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`.
    pub level: String,
}

/// What is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLevels {
    /// As `RUST_LOG` has it: `info,hookrelay::deliver=debug`.
    pub levels: String,
    /// Whether `RUST_LOG` is set, so that `level` and `levels` of the config do not count.
    #[serde(default)]
    pub of_environment: bool,
    /// Lines that were left out since the start, as nobody took them.
    pub left_out: u64,
}
