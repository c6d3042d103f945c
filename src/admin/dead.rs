//! Dead letters as the admin listener shows and takes them: `GET /api/dead`, `POST /api/dead/retry`, `POST /api/dead/drop`.
//! Plain data.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Which dead letters are meant, and which part of them. What is not set does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadAsk {
    /// Delivery ids, any of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// The sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// A pattern (`*`, `?`) over the type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The reason's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Accepted at or after, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Accepted before, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only behind this sink and id: where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<(String, String)>,
    /// Most letters of one answer; it has its own bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// With event, payload and target.
    pub whole: bool,
    /// Of a retry: payload, target and id as they were, and not by the rules in force.
    pub as_was: bool,
}

/// One page of dead letters.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadPage {
    /// In order of sink and id.
    pub letters: Vec<DeadView>,
    /// Where the next page begins; `null` where there is none.
    pub next: Option<(String, String)>,
}

/// One dead letter; `dead list --json` is a list of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadView {
    /// Its sink.
    pub sink: String,
    /// The delivery's id.
    pub id: String,
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// When the event was accepted, RFC 3339.
    pub time: String,
    /// How often it was tried.
    pub attempts: u32,
    /// First tried, RFC 3339.
    pub first_try: String,
    /// Given up, RFC 3339.
    pub last_try: String,
    /// Why it was given up.
    pub reason: ReasonView,
    /// This and what follows where it was asked for: the ordering key at the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name of the event's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The event's body: JSON, or `{"base64":"…"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// What was to be delivered, where that is not the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Where to, inside the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<RawValue>>,
}

/// A reason.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReasonView {
    /// A label.
    pub code: String,
    /// One line.
    pub detail: String,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadDone {
    /// Letters changed.
    pub letters: u64,
    /// Where to go on; `null` where all that matched were changed.
    pub next: Option<(String, String)>,
}

/// What to do with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadAct {
    /// Deliver them again.
    Retry,
    /// Forget them.
    Drop,
}
