//! What one daemon knows of events that another has found in the journal they share: `POST /api/fates`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::found::{DeliveryFateView, MessageView};

/// Which events are asked after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FatesAsk {
    /// `id` of each, and where it stands in the journal, as `at` of dead letters says it; the daemon has a bound of its
    /// own.
    pub of: Vec<(String, String)>,
    /// A message that the daemon may have sent, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// What the daemon knows of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FatesView {
    /// What became of the events, in the order of the question.
    pub events: Vec<EventFates>,
    /// What it has sent, or is to send, of the message; `null` where it has nothing to do with it.
    pub message: Option<MessageView>,
}

/// What became of an event, at the sinks of which the daemon knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventFates {
    /// The event.
    pub id: String,
    /// What became of it at each sink.
    pub sinks: Vec<SinkFate>,
}

/// What became of an event at a sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SinkFate {
    /// The sink.
    pub sink: String,
    /// What became of its live deliveries that are not named.
    pub rest: Rest,
    /// Where these were dropped, when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Where these were dropped, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryFateView>,
}

/// What became of live deliveries that a daemon does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    /// They are yet to be made, for all that it knows.
    #[default]
    Pending,
    /// There are none.
    Nothing,
    /// They are over: delivered, for all that is known.
    Over,
    /// They were dropped.
    Dropped,
}
