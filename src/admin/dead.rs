//! Dead letters, and what is parked, as the admin listener shows and takes them: `GET /api/dead` and `/api/pending`,
//! the same below `/counts`, `POST /api/dead/retry`, `/drop` and `/outcomes`. Plain data.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::list::Unanswered;

/// Which deliveries are meant, dead letters or parked ones, and how much of them is shown. A filter that is not set
/// lets all through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadAsk {
    /// Letters with any of these delivery ids. The last 8 characters of an id are enough where they are unambiguous.
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
    /// Letters whose event was accepted at or after that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Letters whose event was accepted before that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Letters behind this one: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most letters in one answer; the daemon has a bound of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Show event, payload and target, too.
    pub whole: bool,
    /// Show personal data as it is, not masked.
    pub clear: bool,
    /// Retry with payload, target and id as they were, and not by the rules in force.
    pub as_was: bool,
    /// For counts: by what; by code where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<DeadBy>,
}

/// By what dead letters, or parked deliveries, are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DeadBy {
    /// The reason's code.
    Code,
    /// The sink.
    Sink,
    /// The event's type.
    Type,
}

/// How many there are of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// The key.
    pub key: String,
    /// How many.
    pub count: u64,
}

/// One dead letter, or one parked delivery; `dead list --json` and `pending list --json` are lists of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// When it was tried last; of a dead letter that is when it was given up, RFC 3339.
    pub last_try: String,
    /// When a parked delivery is tried next, RFC 3339; a dead letter has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<String>,
    /// Where its event stands in the journal: what `outcomes` wants to know.
    #[serde(default)]
    pub at: String,
    /// Why it was given up, or failed last; both texts are empty where it was not tried yet.
    pub reason: ReasonView,
    /// What the target said to the last try, where the sink's table has `keep_answer = true`. This field is there where
    /// event and payload were asked for, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
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
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReasonView {
    /// The reason's code, a label.
    pub code: String,
    /// One line of detail.
    pub detail: String,
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadDone {
    /// How many letters were changed.
    pub letters: u64,
    /// How many of each sink.
    #[serde(default)]
    pub sinks: BTreeMap<String, u64>,
    /// Where to go on; `null` where all that matched were changed.
    pub next: Option<String>,
    /// Of several daemons those that said nothing: what they have may not be changed. Left out where all answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
}

/// Which retried deliveries are asked after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutcomesAsk {
    /// `sink`, `id` and `at` of each; the daemon has a bound of its own.
    pub of: Vec<(String, String, String)>,
}

/// What became of a delivery so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeView {
    /// Its sink.
    pub sink: String,
    /// Its id.
    pub id: String,
    /// `delivered`, `dead`, `pending`, `filtered` or `dropped`.
    pub outcome: String,
    /// Of a dead letter, and of what failed and is pending, the reason's code.
    pub code: Option<String>,
}

/// What to do with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadAct {
    /// Deliver them again.
    Retry,
    /// Forget them.
    Drop,
}
