//! The answer to `GET /api/status` and the state behind `/readyz`. Scripts rely on these shapes. Plain data.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /api/status`, and `status --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Whether a webhook sent now would be taken.
    pub ready: bool,
    /// Whether all is as it should be.
    #[serde(default)]
    pub state: State,
    /// Everything that is not as it should be, the gravest first.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// The daemon's version.
    #[serde(default)]
    pub version: String,
    /// When it started, RFC 3339.
    #[serde(default)]
    pub started: String,
    /// Whether the config file is what runs.
    #[serde(default)]
    pub config: ConfigStatus,
    /// The journal's disk.
    #[serde(default)]
    pub disk: DiskStatus,
    /// The journal.
    pub journal: JournalStatus,
    /// Events that no route matched, since the daemon started.
    #[serde(default)]
    pub unmatched: u64,
    /// Every source by name, counted since the source was first in the config.
    pub sources: BTreeMap<String, SourceStatus>,
    /// Requests that were refused at paths which no source has: at most 64 paths, the rest as `other`.
    #[serde(default)]
    pub refused_elsewhere: BTreeMap<String, u64>,
    /// Every sink by name, counted since the sink was first in the config.
    pub sinks: BTreeMap<String, SinkStatus>,
    /// What waits to be sent again; there where a sink of the config sends messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resends: Option<ResendsStatus>,
    /// Where several daemons share the journal, each of them; left out where none can. Then sources, reasons and what
    /// is at risk are those of all that answered; `ready`, `version`, `started`, `config` and `disk` are of the one
    /// that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus>,
}

/// One of several daemons that share a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Its name: `[journal] node`.
    pub name: String,
    /// Whether it answered.
    pub answered: bool,
    /// Name of its host.
    #[serde(default)]
    pub host: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Whether a webhook sent to it now would be taken; `null` where it did not answer.
    #[serde(default)]
    pub ready: Option<bool>,
    /// Whether all is as it should be; `null` where it did not answer.
    #[serde(default)]
    pub state: Option<State>,
    /// The codes of all that is not as it should be, each once.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Bytes that it alone has, until they are in the journal; `null` where it did not answer.
    #[serde(default)]
    pub at_risk: Option<u64>,
    /// Its config says something else than that of the daemon that was asked. What is a machine's own is not compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_differs: bool,
    /// Why it did not answer, or why it could not be asked: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Messages that wait to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResendsStatus {
    /// How many.
    pub waiting: u64,
    /// When the next is due, RFC 3339; `null` where none waits.
    pub next: Option<String>,
}

/// Something that is not as it should be, though webhooks may be taken all the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// What is wrong: the name of a [`ReasonCode`].
    pub code: String,
    /// The source, the sink or the file it is about; empty where it is about none of these.
    pub subject: String,
    /// A sentence for people.
    pub text: String,
    /// Of several daemons those of which it is told; left out where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

impl Reason {
    /// A few words for a line that has others, too.
    pub fn in_words(&self) -> String {
        let what = self.code.replace('_', " ");
        // The file's path would be long.
        let is_named = !self.subject.is_empty() && self.code != ReasonCode::ConfigRefused.name();
        if is_named { format!("{what} ({})", self.subject) } else { what }
    }
}

/// Whether all is as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    #[default]
    Ready,
    /// Something is not: the reasons say what.
    Degraded,
    /// The daemon is stopping.
    Stopping,
}

/// Defines [`ReasonCode`] with the name of each.
macro_rules! reason_codes {
    ($($(#[$about:meta])* $code:ident $name:literal,)*) => {
        /// What may be wrong. Scripts rely on the names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ReasonCode {
            $($(#[$about])* $code,)*
        }

        impl ReasonCode {
            /// All of them, the gravest first.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }
        }
    };
}

reason_codes! {
    /// The journal cannot be written.
    JournalFailing "journal_failing",
    /// Accepted webhooks wait in memory for the disk, or on one machine for those who keep the journal.
    AtRisk "at_risk",
    /// A source's provider has probably switched the feed off.
    BudgetSpent "budget_spent",
    /// A source's provider may soon switch the feed off.
    BudgetLow "budget_low",
    /// A source has gone quiet.
    SourceSilent "source_silent",
    /// Another daemon of the cluster does not answer.
    NodeAway "node_away",
    /// A sink takes no deliveries.
    SinkDown "sink_down",
    /// The disk is near `min_free`, or what sinks are owed near `max_size`.
    DiskLow "disk_low",
    /// The config file was refused, so that the daemon runs on another config than it says.
    ConfigRefused "config_refused",
    /// More webhooks are sent than `[server]` has room for, so that some have to wait or are cut.
    FrontPressed "front_pressed",
}

/// Whether the config file is what runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// What the file is to what runs.
    pub state: ConfigState,
    /// The config file.
    pub path: String,
    /// Since when that is so, RFC 3339.
    pub since: String,
    /// The first line of what is wrong with the file, where something is.
    pub fault: Option<String>,
}

/// What the config file is to what runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConfigState {
    /// It is what runs.
    #[default]
    Same,
    /// It is another text, or is gone, and nobody has asked for it to be read.
    Changed,
    /// A start or a reload refused it. So it stays until a reload succeeds, or the file is again what runs.
    Refused,
}

impl ConfigStatus {
    /// A few words for a line that tells how the daemon is; `None` where the file is what runs.
    pub fn words(&self) -> Option<&'static str> {
        match self.state {
            ConfigState::Same => None,
            ConfigState::Changed => Some("config on disk changed"),
            ConfigState::Refused => Some("config on disk refused"),
        }
    }
}

/// The disk that the journal lies on, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskStatus {
    /// Free for the daemon; 0 where the disk does not say. Where the journal is on Kafka: of the disk on which events
    /// wait for it.
    pub free: u64,
    /// With less than this free the journal counts as full: `[journal] min_free`.
    pub min_free: u64,
    /// The journal and the ledger take no more than this: `[journal] max_size`.
    pub max_size: u64,
}

/// The journal at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalStatus {
    /// Events that the journal holds; `null` where others keep it and have not said.
    pub events: Option<u64>,
    /// Bytes of the journal's segments; where others keep it an estimate, or `null`.
    pub bytes: Option<u64>,
    /// When the oldest event was accepted, RFC 3339; `null` where the journal holds none.
    pub oldest_time: Option<String>,
    /// Bytes that wait in memory because the disk cannot be written; where others keep the journal, those that are on
    /// this machine alone.
    pub at_risk: u64,
}

/// What a source has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    /// Events that were taken.
    pub accepted: u64,
    /// Repeats of events that were taken before.
    pub duplicate: u64,
    /// Requests that were not answered with success: the sum of `refused`.
    pub rejected: u64,
    /// These by reason.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// Webhooks answered with success, but later than `answer_within`.
    #[serde(default)]
    pub late: u64,
    /// When the last event was taken, RFC 3339; `null` where none was.
    #[serde(default)]
    pub last_accepted: Option<String>,
    /// How much of the failure budget is spent; `null` where there is none.
    #[serde(default)]
    pub budget: Option<BudgetStatus>,
    /// Since when the feed has been quiet, RFC 3339, where it has gone quiet.
    #[serde(default)]
    pub silent_since: Option<String>,
    /// Events taken a second, over the last minute.
    #[serde(default)]
    pub rate: f64,
    /// Events that were taken without their type or subject, as that was too long.
    #[serde(default)]
    pub too_long: TooLongStatus,
    /// What is still signed with the previous secret.
    #[serde(default)]
    pub previous_secret: PreviousSecretStatus,
}

/// How many answers the provider has counted as failures, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetStatus {
    /// Failures that count now, at most `of`.
    pub used: u64,
    /// At so many the provider switches the feed off.
    pub of: u64,
    /// If they come within so many seconds.
    pub within_s: u64,
}

/// What was proved with the previous secret alone, since that one and the new one are both believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviousSecretStatus {
    /// How many webhooks.
    pub count: u64,
    /// When the last one came, RFC 3339; `null` where none did.
    pub last: Option<String>,
}

/// How many types and subjects were too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TooLongStatus {
    /// Types of more than 128 bytes: these events are `unknown`.
    #[serde(rename = "type")]
    pub kind: u64,
    /// Subjects of more than 256 bytes: no order is owed to these events.
    pub subject: u64,
}

/// How many deliveries a sink was owed, and what became of them: `accepted = delivered + dead + pending + filtered +
/// dropped`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SinkStatus {
    /// Deliveries that were owed.
    pub accepted: u64,
    /// Deliveries that were made.
    pub delivered: u64,
    /// Deliveries that are kept as dead letters.
    pub dead: u64,
    /// Deliveries yet to be made.
    pub pending: u64,
    /// Whether `accepted` and `pending` are bounds: there may be fewer. Left out where they are exact.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most: bool,
    /// Whether none of these figures is known: where others keep the journal, they have not answered since the start.
    /// Left out where they are known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Whether these figures are of a while ago, as those who keep the journal do not say newer ones. Left out where
    /// they are of now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Deliveries that a condition or an empty transform held back.
    pub filtered: u64,
    /// Deliveries given up for good, by retention or by hand.
    pub dropped: u64,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// Whether the sink is held by `sink pause`.
    #[serde(default)]
    pub paused: bool,
    /// `running`, `down`, `paused`, `disabled` or `starting`.
    #[serde(default)]
    pub state: String,
    /// Since when it is down, RFC 3339; `null` where it is not.
    #[serde(default)]
    pub down_since: Option<String>,
    /// Of the pending deliveries, those that have failed and lie in the ledger until they are tried again.
    #[serde(default)]
    pub parked: u64,
    /// Attempts that failed and were, or will be, made again, since the daemon started.
    #[serde(default)]
    pub retried: u64,
    /// When a delivery was last made, RFC 3339; `null` where none was since the daemon started.
    #[serde(default)]
    pub last_delivered: Option<String>,
    /// When what has failed is tried next, RFC 3339; `null` where nothing waits for that.
    #[serde(default)]
    pub next_try: Option<String>,
    /// What went wrong last, since the daemon started.
    #[serde(default)]
    pub last_error: Option<SinkError>,
    /// Age of the oldest event with something pending, seconds; 0 where nothing is.
    pub oldest_pending_s: f64,
}

/// What went wrong at a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkError {
    /// When, RFC 3339.
    pub time: String,
    /// The reason's code.
    pub code: String,
    /// One line for people; it holds neither bodies nor secrets.
    pub detail: String,
}

impl SinkStatus {
    /// Whether `accepted` is the sum of the others.
    pub fn balances(&self) -> bool {
        self.accepted == self.delivered + self.dead + self.pending + self.filtered + self.dropped
    }
}

/// The answer to `GET /healthz`: nothing but that there is one.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Alive {}

/// The body of `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReadyView {
    /// Bytes that wait in memory because the disk cannot be written; where others keep the journal, those that are on
    /// this machine alone.
    pub at_risk: u64,
    /// The codes of all that is not as it should be, each once.
    pub reasons: Vec<String>,
}

/// Whether webhooks are taken, as `GET /readyz` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether a webhook sent now would be taken.
    pub ready: bool,
    /// Bytes that wait in memory because the disk cannot be written; where others keep the journal, those that are on
    /// this machine alone.
    pub at_risk: u64,
    /// The codes of all that is not as it should be, each once.
    pub reasons: Vec<String>,
}
