//! Dead letters as the admin listener shows and takes them: `GET /api/dead`, `POST /api/dead/retry`, `POST
//! /api/dead/drop`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Which dead letters are meant, and how much of them is shown. A filter that is not set lets all letters through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadAsk {
    /// Letters with any of these delivery ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Letters of that sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Letters whose event type matches this pattern (`*`, `?`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Letters that were given up for the reason of this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Letters whose event was accepted at or after that time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Letters whose event was accepted before that time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Letters behind this sink and id, where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<(String, String)>,
    /// Most letters in one answer; the daemon has a bound of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Show event, payload and target, too.
    pub whole: bool,
    /// Retry with payload, target and id as they were, and not by the rules in force.
    pub as_was: bool,
}

/// One page of dead letters.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadPage {
    /// In order of sink and id.
    pub letters: Vec<DeadView>,
    /// Where the next page begins; `null` where there is none.
    pub next: Option<(String, String)>,
}

/// One dead letter; `dead list --json` is a list of them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadView {
    /// The sink it was for.
    pub sink: String,
    /// The delivery's id.
    pub id: String,
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// Subject of the event.
    pub subject: String,
    /// When the event was accepted, RFC 3339.
    pub time: String,
    /// How often the delivery was tried.
    pub attempts: u32,
    /// When it was tried first, RFC 3339.
    pub first_try: String,
    /// When it was given up, RFC 3339.
    pub last_try: String,
    /// Why it was given up.
    pub reason: ReasonView,
    /// The ordering key at the sink. This field and those after it are there where they were asked for.
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
    #[schemars(with = "Option<serde_json::Value>")]
    pub event: Option<Box<RawValue>>,
    /// The payload that was to be delivered, where that is not the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub payload: Option<Box<RawValue>>,
    /// The target inside the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub target: Option<Box<RawValue>>,
}

/// Why a delivery was given up.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReasonView {
    /// The reason's code, a label.
    pub code: String,
    /// One line of detail.
    pub detail: String,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadDone {
    /// How many letters were changed.
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
