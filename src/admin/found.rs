//! What the journal holds and what became of it, as the admin listener shows it: `GET /api/events`, `/api/events/{id}`,
//! `/api/messages/{id}` and `/api/tail`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Which events are meant, oldest first. A filter that is not set lets all events through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventsAsk {
    /// Events whose type matches this pattern (`*`, `?`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Events of that source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Events of that subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Events accepted at or after that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Events accepted before that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Events that the rules send to that sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Events of which this jq program says `true`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Most events in one answer; the daemon has a bound of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the page before ended: its `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether the bodies are shown, too; they are where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// Which event is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventAsk {
    /// Its id.
    pub id: String,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// Which message is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceAsk {
    /// An event's, a delivery's or a message's id, or a phone number.
    pub id: String,
    /// For a phone number: how far back to look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// Which events are shown as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TailAsk {
    /// Events whose type matches this pattern (`*`, `?`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Events of that source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Events of which this jq program says `true`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Events that the rules send to that sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// First those accepted at or after that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether the bodies are shown, too; they are where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// An event as a CloudEvent in the JSON format, and where it goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CloudLine {
    /// `1.0`.
    pub specversion: String,
    /// The event's id.
    pub id: String,
    /// Path of its source.
    pub source: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it was accepted, RFC 3339.
    pub time: String,
    /// Media type of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Its body, where that is JSON and was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub data: Option<Box<RawValue>>,
    /// Its body, where that is not JSON and was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// The sinks that it goes to.
    #[serde(default)]
    pub deliveries: Vec<String>,
}

/// One event with all that is known of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// The event.
    #[serde(flatten)]
    pub event: CloudEvent,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// Who sent it.
    pub remote: String,
    /// The headers that were kept.
    pub headers: Vec<(String, String)>,
    /// Every route, and why it matched or did not.
    pub routes: Vec<RouteFate>,
    /// What became of its deliveries.
    pub deliveries: Vec<DeliveryFateView>,
    /// Whether personal data is masked.
    pub masked: bool,
}

/// The attributes of a CloudEvent, and its data.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: String,
    /// The event's id.
    pub id: String,
    /// Path of its source.
    pub source: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it was accepted, RFC 3339.
    pub time: String,
    /// Media type of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Its body, where that is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// Its body, where that is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

/// What a route made of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteFate {
    /// Its name.
    pub name: String,
    /// Whether it applies to the event.
    pub matched: bool,
    /// Why, or why not.
    pub why: String,
}

/// What became of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryFateView {
    /// The delivery's id.
    pub id: String,
    /// The sink.
    pub sink: String,
    /// `delivered`, `pending`, `parked`, `dead`, `filtered` or `dropped`.
    pub fate: String,
    /// When, RFC 3339.
    pub time: Option<String>,
    /// Calls that were made.
    pub attempts: u32,
    /// Code of the last failure.
    pub code: Option<String>,
    /// One line of detail.
    pub detail: Option<String>,
    /// When it is tried next, RFC 3339.
    pub next_try: Option<String>,
    /// Id of the replay that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

/// The history of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceView {
    /// What was looked for: `event`, `message` or `phone`.
    pub query: std::collections::BTreeMap<String, String>,
    /// The message; `null` where the events are of none.
    pub message: Option<MessageView>,
    /// Its events, oldest first.
    pub events: Vec<TracedEvent>,
}

/// A message and its statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageView {
    /// Its id.
    pub id: String,
    /// Its status now.
    pub status: String,
    /// Every status that it had.
    pub ladder: Vec<Rung>,
    /// Clicks on its buttons.
    pub clicks: Vec<Click>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A status that a message had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rung {
    /// The status.
    pub status: String,
    /// Since when, by the provider's clock.
    pub time: Option<String>,
    /// When we were told.
    pub accepted: String,
    /// The event's id.
    pub event: String,
}

/// A click on a button.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Click {
    /// When.
    pub time: Option<String>,
    /// The button's text.
    pub button: String,
    /// `QR` or `CTA`.
    pub kind: String,
}

/// An event of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TracedEvent {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of its source.
    pub source: String,
    /// When it was accepted, RFC 3339.
    pub time: String,
    /// Every route, and why it matched or did not.
    pub routes: Vec<RouteFate>,
    /// What became of its deliveries.
    pub deliveries: Vec<DeliveryFateView>,
}
