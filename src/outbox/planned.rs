//! A message that is to be sent again: what is known of it, and how far it is. Plain data.

use std::collections::BTreeMap;

use sink_api::{Timestamp, Uuid};

/// How far a message is that is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits until it is due.
    Waiting,
    /// Its event is in the journal: it is the sink's turn.
    Handed,
    /// The provider has taken it.
    Sent,
    /// Somebody gave it up.
    Cancelled,
    /// A message of its chain was delivered or read before it was sent.
    Overtaken,
    /// A bound was reached, or something is missing: a dead letter of the sink.
    Never,
}

impl State {
    /// All of them; their numbers in the file are their places here.
    pub const ALL: [Self; 6] = [Self::Waiting, Self::Handed, Self::Sent, Self::Cancelled, Self::Overtaken, Self::Never];

    /// The word that people are shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Handed => "handed",
            Self::Sent => "sent",
            Self::Cancelled => "cancelled",
            Self::Overtaken => "overtaken",
            Self::Never => "never",
        }
    }
}

/// A message that is to be sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its own id, which is that of the event that will have it sent.
    pub id: Uuid,
    /// The rule, `[resend.NAME]`.
    pub rule: String,
    /// The sink that is to send it.
    pub to: String,
    /// The id of the message that failed.
    pub failed: String,
    /// The id of the first message: that of `failed`, where this is the first further try.
    pub of: String,
    /// How many-th further try it is, from 1.
    pub attempt: u32,
    /// When the first message was sent; seconds since 1970.
    pub since: i64,
    /// Nothing is sent after this; seconds since 1970.
    pub until: i64,
    /// When it is to be sent.
    pub due: Timestamp,
    /// When it was planned.
    pub planned: Timestamp,
    /// The provider's code of the failure; may be empty.
    pub code: String,
    /// The customer's phone, `+` and digits.
    pub phone: Option<String>,
    /// What is to be sent: the API's body as JSON, `callbackData` the user's own text. None once it was handed over,
    /// and in lists.
    pub request: Option<Box<str>>,
    /// What is missing for that, in words; then `request` is none.
    pub missing: Option<String>,
    /// The name of the template.
    pub template: Option<String>,
    /// How far it is.
    pub state: State,
    /// The id of the message that it became.
    pub message: Option<String>,
    /// Why it was given up, in words, where it was; what is `missing` stands there.
    pub why: Option<String>,
}

impl Planned {
    /// Its place in the list of those that wait.
    pub fn cursor(&self) -> Cursor {
        Cursor { due: self.due, id: self.id }
    }
}

/// A place in the list of those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When the one there is due.
    pub due: Timestamp,
    /// Its id.
    pub id: Uuid,
}

/// What was planned for a first message so far, whatever became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// How often.
    pub total: u32,
    /// How often by the code of the failure.
    pub by_code: BTreeMap<String, u32>,
}
