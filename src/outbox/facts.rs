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

/// A call that a sink made, and the message that it brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// The call.
    pub call: CallId,
    /// The sink that made it.
    pub sink: String,
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
