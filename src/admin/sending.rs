//! Messages as the admin listener is asked to send them, and what waits to be sent again: `POST /api/messages`,
//! `GET /api/resends`, `POST /api/resends/cancel`. Plain data.

use bytes::Bytes;
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use super::list::Unanswered;

/// Longest wait for what comes of a message, seconds.
pub const MAX_WAIT_S: u64 = 60;
/// How long the answer waits where nobody says, seconds.
pub const WAIT_S: u64 = 10;
/// With what a refusal of a message begins that can be none.
pub const NOT_UNDERSTOOD: &str = "the message is not understood";
/// The header by which a question that is asked once more is known as the same (draft-ietf-httpapi-idempotency-key).
pub const KEY_HEADER: &str = "idempotency-key";
/// Longest value of that header, bytes.
pub const MAX_KEY: usize = 255;

/// How a message is sent: the query string beside the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SendAsk {
    /// The sink that sends it; may be left out where the config has one that sends messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// How long the answer waits for what comes of it, seconds: at most 60, 10 where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
}

/// A message that is to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToSend {
    /// How.
    pub ask: SendAsk,
    /// Known under this key, it is sent once, however often it is asked for.
    pub key: Option<String>,
    /// The body of the send API's own call.
    pub body: Bytes,
}

/// Describes the body of a message that is to be sent: an object of the send API, which the sink checks.
pub(super) fn body_shape(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "The body of Interakt's send API, as it is: `fullPhoneNumber`, or `countryCode` and \
                        `phoneNumber`; `type`; `template` or `data`; `callbackData`, if any.",
        "additionalProperties": true,
    })
}

/// How far a message has come that was to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SendState {
    /// The provider has taken it.
    Sent,
    /// It is on disk, and is yet to be sent; or its id is yet to be known, as `detail` says.
    #[default]
    Waiting,
    /// It is not sent: a dead letter says why.
    Refused,
    /// It is not sent: nobody wants it any more.
    Skipped,
}

impl SendState {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
        }
    }
}

/// What came of a message that was to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SendDone {
    /// The event that asks for it.
    pub event: String,
    /// The delivery that sends it.
    pub delivery: String,
    /// The sink that sends it.
    pub sink: String,
    /// The message's id, as the provider gave it; `null` until it is known. One that was sent longer ago than calls are
    /// remembered has none, either.
    pub message: Option<String>,
    /// How far it has come.
    pub state: SendState,
    /// Where it is not sent, or was tried in vain, the reason's code.
    pub code: Option<String>,
    /// One line of detail.
    pub detail: Option<String>,
    /// The same was asked for before, under the same `Idempotency-Key`: nothing more is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Where it is not sent: why, for people, as in every answer that refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which part of the list of resends that wait is meant. It is in the order in which they are due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResendsAsk {
    /// Where the page before ended: its `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most of them in one answer; the daemon has a bound of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Show personal data as it is, not masked.
    pub clear: bool,
}

/// A message that is, or was, to be sent again; `resend list --json` is a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResendView {
    /// Id of the event that asks for it, or will.
    pub id: String,
    /// The rule, a table `[resend.NAME]`.
    pub rule: String,
    /// The sink that sends it.
    pub to: String,
    /// How many-th further try it is.
    pub attempt: u32,
    /// The code of the failure.
    pub code: String,
    /// When it is due, RFC 3339.
    pub due: String,
    /// When that was planned, RFC 3339.
    pub planned: String,
    /// The message that failed.
    pub failed: String,
    /// The first message of the chain.
    pub of: String,
    /// `waiting`; `handed`: its event is in the journal; or how it ended: `sent`, `cancelled`, `overtaken` (one of the
    /// chain arrived before), `never` (a bound was reached, or something is missing).
    pub state: String,
    /// What became of its delivery, where it is `handed` and its event is in the journal: `pending`, `parked`, `dead`,
    /// `filtered` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fate: Option<String>,
    /// Why it is as it is, where there is a reason: one line, with its delivery's code before it where it is `handed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its rule is not in the config any more: it is given up when it is due.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rule_gone: bool,
    /// The message that it came to, where it was sent.
    #[serde(default)]
    pub message: Option<String>,
    /// The customer's phone.
    pub phone: Option<String>,
    /// The template's name.
    pub template: Option<String>,
    /// What is missing for it, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Which resends are given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CancelAsk {
    /// The id of one, or its last 8 characters; or that of a message: then all that wait for it.
    pub id: String,
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelDone {
    /// How many.
    pub cancelled: u64,
    /// They; masked.
    pub resends: Vec<ResendView>,
    /// Those that were meant as well and are over already, as `fate` and `why` say: dead letters of their sink, which
    /// `dead retry` tries again and `dead drop` forgets, and what was passed over there. They are as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<ResendView>,
    /// Of several daemons those that said nothing: what they have may not be given up. Left out where all answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
}
