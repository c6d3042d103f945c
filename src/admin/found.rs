//! What the journal holds and what became of it, as the admin listener shows it: `GET /api/events`, `/api/events/{id}`,
//! `/api/messages/{id}` and `/api/tail`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::list::Unanswered;
use super::sending::ResendView;
use crate::journal::Position;

/// Which events are meant, newest first. A filter that is not set lets all events through.
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
    /// Events of which this jq program says neither `false` nor `null`.
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

/// Which event is meant: by its id, or by that of one of its deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventAsk {
    /// Its id.
    pub id: String,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// Which message, event or phone is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceAsk {
    /// An event's, a delivery's or a message's id, the last 8 characters of an event's, or a phone number.
    pub id: String,
    /// For a phone number: how far back to look; a week where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// For a phone number: where the answer before ended, its `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
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
    /// Events of which this jq program says neither `false` nor `null`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Events that the rules send to that sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// First those accepted at or after that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// First those behind the event of this id. A request's `Last-Event-ID` says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
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

/// What a tail shows.
#[derive(Clone, Debug)]
pub enum Tailed {
    /// An event.
    Event(Box<CloudLine>),
    /// So many events are left out here: whoever reads is too slow.
    LeftOut(u64),
}

/// One event with all that is known of it: a CloudEvent in the JSON format, and more.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
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
    /// Its body, where that is JSON. Masked, what is no JSON is a text that says its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub data: Option<Box<RawValue>>,
    /// Its body, where that is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// Who sent it.
    pub remote: String,
    /// The headers that were kept.
    pub headers: Vec<(String, String)>,
    /// Every route, and why it matched or did not, by the rules in force.
    pub routes: Vec<RouteFate>,
    /// What became of its deliveries.
    pub deliveries: Vec<DeliveryFateView>,
    /// Whether personal data is masked.
    pub masked: bool,
    /// Of several daemons those that said nothing: what only they know is missing. Left out where all answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
    /// Where it stands in the journal, for whoever asks other daemons of it; no part of the answer.
    #[serde(skip)]
    pub at: Option<Position>,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Code of the last failure, also after success; of what was dropped, why; of what was not tried yet, why its sink
    /// takes nothing: `paused`, `disabled`, `sink_down` or `no_sink`.
    pub code: Option<String>,
    /// One line of detail.
    pub detail: Option<String>,
    /// When it is tried next, RFC 3339; `null` where its sink tries nothing.
    pub next_try: Option<String>,
    /// Of what is still to be delivered, why its sink takes nothing now, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// How long the last call took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// The route whose condition or transform left nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Id of the replay that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

/// What was found: the history of a message, and the way of each event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceView {
    /// What was looked for: `event`, `message` or `phone`.
    pub query: std::collections::BTreeMap<String, String>,
    /// The message; `null` where the events are of none, or of several.
    pub message: Option<MessageView>,
    /// The messages of a phone, by what was found here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageView>,
    /// The events, oldest first.
    pub events: Vec<TracedEvent>,
    /// Whether personal data is masked.
    pub masked: bool,
    /// What was not looked at, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// For a phone number: where the next answer begins, `null` where all of the span was looked at.
    #[serde(default)]
    pub next: Option<String>,
    /// For a phone number: how much of the span was looked at, of 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<f64>,
    /// Of several daemons those that said nothing: what only they know is missing. Left out where all answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
    /// The message as it is called, for whoever asks other daemons of it; no part of the answer.
    #[serde(skip)]
    pub about: Option<String>,
}

/// A message and its statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageView {
    /// Its id.
    pub id: String,
    /// The highest status that it had: `Received`, `Sent`, `Failed`, `Delivered` or `Read`; `null` where no event says.
    pub status: Option<String>,
    /// Every status that it had, from the lowest.
    pub ladder: Vec<Rung>,
    /// Clicks on its buttons, in order of time.
    pub clicks: Vec<Click>,
    /// What quoted it, in order of time.
    pub replies: Vec<ReplyView>,
    /// Why it failed, last; there also where it was delivered after all.
    pub error: Option<MessageError>,
    /// What it was sent by: `api`, `campaign`, `agent` or `customer`.
    pub way: Option<String>,
    /// The campaign's name, else its id.
    pub campaign: Option<String>,
    /// The template's name.
    pub template: Option<String>,
    /// The customer's phone.
    pub phone: Option<String>,
    /// The customer's name.
    pub customer: Option<String>,
    /// How hookrelay sent it; `null` where others did.
    #[serde(default)]
    pub sent: Option<SentView>,
    /// What was, or is to be, sent again of its chain, before and after it, in the order of the attempts.
    #[serde(default)]
    pub resends: Vec<ResendView>,
    /// Why what failed of its chain is not sent again, in order of time; empty where nothing failed for good.
    #[serde(default)]
    pub not_again: Vec<NotAgainView>,
}

/// Why a message that failed, and that a rule is for, is not sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotAgainView {
    /// The message that failed.
    pub failed: String,
    /// The rule, a table `[resend.NAME]`.
    pub rule: String,
    /// `never`: the rule never tries this code again; `exhausted`: a bound was reached.
    pub outcome: String,
    /// The provider's code of the failure; may be empty.
    pub code: String,
    /// What the code means, where that is known.
    pub in_words: Option<String>,
    /// Why: one line.
    pub why: String,
    /// When that was decided, RFC 3339.
    pub time: String,
}

/// How hookrelay sent a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentView {
    /// The sink that sent it.
    pub sink: String,
    /// The account it was sent by: `sender` of the sink, where the config says it.
    pub sender: Option<String>,
    /// The event that it was sent for; `null` where that is gone, or could not be found in a short time.
    pub event: Option<String>,
    /// When the call began, RFC 3339.
    pub time: String,
    /// How many-th further try it is; 0: none.
    pub attempt: u32,
    /// The rule by which it was sent again.
    pub rule: Option<String>,
    /// The first message of its chain; `null` where it is that itself.
    pub of: Option<String>,
}

/// A status that a message had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rung {
    /// The status.
    pub status: String,
    /// Since when, by the provider's clock.
    pub time: Option<String>,
    /// When we were told first.
    pub accepted: String,
    /// By the event of this id.
    pub event: String,
}

/// A click on a button.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Click {
    /// When, by the provider's clock.
    pub time: Option<String>,
    /// The button's text.
    pub button: Option<String>,
    /// `QR` or `CTA`.
    pub kind: Option<String>,
    /// When we were told first.
    pub accepted: String,
    /// By the event of this id.
    pub event: String,
}

/// An answer to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyView {
    /// When, by the provider's clock.
    pub time: Option<String>,
    /// Its own message id.
    pub id: Option<String>,
    /// What it is: `Text`, `Image` …
    pub content_type: Option<String>,
    /// What it says.
    pub text: Option<String>,
    /// When we accepted it.
    pub accepted: String,
    /// In the event of this id.
    pub event: String,
}

/// Why a message could not be delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageError {
    /// When the provider said so.
    pub time: Option<String>,
    /// The provider's code.
    pub code: Option<String>,
    /// What the code means, where that is known; else the provider's reason.
    pub text: Option<String>,
    /// The provider's reason, as sent.
    pub reason: Option<String>,
}

/// An event of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracedEvent {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of its source.
    pub source: String,
    /// What it is about.
    pub subject: String,
    /// When it was accepted, RFC 3339.
    pub time: String,
    /// Every route, and why it matched or did not, by the rules in force.
    pub routes: Vec<RouteFate>,
    /// What became of its deliveries.
    pub deliveries: Vec<DeliveryFateView>,
    /// Where it stands in the journal, for whoever asks other daemons of it; no part of the answer.
    #[serde(skip)]
    pub at: Option<Position>,
}
