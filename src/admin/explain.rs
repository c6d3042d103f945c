//! Where an event goes and why, and what other rules would change, as the admin listener is asked: `POST /api/explain`.
//! Plain data.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::found::RouteFate;

/// What is to be explained: one event, given by `body` or by `event`; the traffic since a time; or both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainAsk {
    /// A webhook's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub body: Option<Box<RawValue>>,
    /// An event of the journal instead, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The source that `body` comes from; not needed where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The type that `body` has, whatever stands in it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Other rules: `[[routes]]` in TOML, in place of those in force. `${…}` in them is not filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// What the traffic accepted since that time came to, and what the other rules would change of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// The explanation.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ExplainView {
    /// The event by the rules in force; `null` where none was given.
    pub now: Option<Explained>,
    /// The event by the other rules; `null` where none were given.
    pub other: Option<Explained>,
    /// The traffic; `null` where `since` was not given.
    pub traffic: Option<Traffic>,
}

/// An event, and where it goes: what `explain --json` prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The event.
    pub event: ExplainedEvent,
    /// Every route, and why it matched or did not.
    pub routes: Vec<RouteFate>,
    /// Every delivery.
    pub deliveries: Vec<ExplainedDelivery>,
}

/// An event's attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedEvent {
    /// Its id.
    pub id: String,
    /// Name of its source.
    pub source: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about; may be empty.
    pub subject: String,
    /// Its own ordering key.
    pub key: String,
    /// What was not taken of the webhook, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What one sink would get.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedDelivery {
    /// The sink.
    pub sink: String,
    /// The delivery's id.
    pub id: String,
    /// Its ordering key.
    pub key: String,
    /// What is delivered: JSON, or `{"base64":"…"}`.
    #[schemars(with = "serde_json::Value")]
    pub payload: Box<RawValue>,
    /// Where to, inside the sink.
    pub target: BTreeMap<String, String>,
}

/// What a span of the journal comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Events looked at.
    pub events: u64,
    /// Whether these are all of the span; there is a bound in number, bytes and time.
    pub complete: bool,
    /// Events whose deliveries are not the same by both rules.
    pub differing: u64,
    /// Stretches of damage in the journal.
    pub damaged: u64,
    /// By type, then sink.
    pub changes: BTreeMap<String, BTreeMap<String, Change>>,
    /// A few deliveries of each sort.
    pub examples: Vec<Example>,
}

/// What one sink would get of the events of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Deliveries by the rules in force.
    pub before: u64,
    /// Deliveries by the other rules.
    pub after: u64,
    /// Deliveries that only the other rules make.
    pub gained: u64,
    /// Deliveries that only the rules in force make.
    pub lost: u64,
    /// Deliveries that both make, with another payload, key or target.
    pub changed: u64,
}

/// A delivery that is gained, lost or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Example {
    /// `gained`, `lost` or `changed`.
    pub what: String,
    /// The sink.
    pub sink: String,
    /// The delivery's id.
    pub id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's subject.
    pub subject: String,
}
