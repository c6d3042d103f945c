//! What can be asked for of what is remembered. Plain data.

use std::collections::BTreeMap;

use sink_api::{CallId, Timestamp};

use super::planned::Planned;
use crate::message::Status;

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// It has begun; where the daemon ended meanwhile, its answer is lost.
    Begun,
    /// The provider has taken the message.
    Sent,
    /// The provider did not take it: it may be made again.
    NotSent,
    /// Its answer was lost.
    Unknown,
}

impl CallState {
    /// All of them; their numbers in the file are their places here.
    pub const ALL: [Self; 4] = [Self::Begun, Self::Sent, Self::NotSent, Self::Unknown];

    /// The word that people are shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Sent => "sent",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
        }
    }
}

/// What a rule says of a message that failed and is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Such a failure is never tried again.
    Never,
    /// It was tried as often, or as long, as the rule says.
    Exhausted,
}

impl Verdict {
    /// All of them; their numbers in the file are their places here.
    pub const ALL: [Self; 2] = [Self::Never, Self::Exhausted];

    /// The word by which it is counted, and that people are shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A message that failed and is not sent again, as a rule has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAgain {
    /// Its id.
    pub failed: String,
    /// The rule, `[resend.NAME]`.
    pub rule: String,
    /// What that says.
    pub verdict: Verdict,
    /// The provider's code of the failure; may be empty.
    pub code: String,
    /// Why, in words; at most 300 bytes.
    pub why: String,
    /// When that was decided.
    pub at: Timestamp,
}

impl NotAgain {
    /// Of what was planned and cannot be, after all.
    pub(super) fn never(planned: &Planned, why: &str) -> Self {
        Self {
            failed: planned.failed.clone(),
            rule: planned.rule.clone(),
            verdict: Verdict::Never,
            code: planned.code.clone(),
            why: why.to_owned(),
            at: planned.planned,
        }
    }
}

/// A call that a sink made, and the message that it brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// The call.
    pub call: CallId,
    /// The sink that made it.
    pub sink: String,
    /// The id of the delivery that it was made for.
    pub delivery: String,
    /// When it began, last.
    pub begun: Timestamp,
    /// How far it is.
    pub state: CallState,
    /// The message's id, once it is known.
    pub message: Option<String>,
    /// The highest status that was heard of it.
    pub status: Option<Status>,
    /// How many-th further try it is; 0: none.
    pub attempt: u32,
    /// The first message's id; empty where `attempt` is 0.
    pub of: String,
    /// The customer's phone, `+` and digits.
    pub phone: Option<String>,
}

/// What is remembered of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The id of the first message of its chain: its own, where it is nobody's further try.
    pub of: String,
    /// The call that sent it, where a sink of ours did.
    pub call: Option<SentMessage>,
    /// All that was planned for its chain, in the order of their attempts, whatever became of it.
    pub chain: Vec<Planned>,
    /// What failed of its chain and is not sent again, in the order in which that was decided.
    pub not_again: Vec<NotAgain>,
}

/// What was counted since the daemon started, by labels; and how many wait now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By rule and outcome (`planned`, `sent`, `overtaken`, `exhausted`, `never`, `cancelled`, `incomplete`): messages
    /// that failed and have a rule.
    pub resends: BTreeMap<(String, &'static str), u64>,
    /// By rule: how many wait to be sent again.
    pub waiting: BTreeMap<String, u64>,
    /// By sink and outcome (`sent`, `not_sent`, `unknown`, `confirmed`, `repeated`): calls.
    pub calls: BTreeMap<(String, &'static str), u64>,
}
