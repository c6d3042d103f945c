//! The last hour and the last day in figures, as the admin listener shows them: `GET /api/history`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::Unanswered;

/// Which history is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryAsk {
    /// How far back.
    pub span: Span,
}

/// How far back a history goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// The last hour, by 10 seconds.
    #[default]
    Hour,
    /// The last day, by 10 minutes.
    Day,
}

/// A history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// How far back it goes at most.
    pub span: Span,
    /// Seconds that each sample stands for.
    pub step_s: u64,
    /// The samples, oldest first. Where the daemon was not running there are none.
    pub samples: Vec<HistorySample>,
    /// Of several daemons those that said nothing: what only they know is missing. Left out where all answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
}

/// What happened in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistorySample {
    /// When the step ended, seconds since 1970.
    pub time: i64,
    /// Webhooks that were taken.
    pub accepted: u64,
    /// Requests that were refused on the paths of sources.
    pub refused: u64,
    /// Deliveries that were made.
    pub delivered: u64,
    /// Deliveries that were yet to be made at the step's end.
    pub pending: u64,
    /// Half of the webhooks were answered within so many seconds; `null` where there were none.
    pub answer_p50: Option<f64>,
    /// 99 of 100 webhooks were answered within so many seconds; `null` where there were none.
    pub answer_p99: Option<f64>,
}
