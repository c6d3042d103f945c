//! The admin listener: where operators and the live verbs ask things of a running daemon. HTTP/1.1 on a Unix socket in
//! the data folder, or on TCP with a token.
//!
//! The listener runs on a thread of its own, so that neither a slow client nor a slow answer touches the webhooks. It
//! knows how questions come in and answers go out; the answers come from the trait [`Control`], which the daemon
//! implements.
//!
//! - [`config`]: the table `[admin]`
//! - `listener`: the socket and the thread; `connections`: which connections are kept; `hurried`: whoever does not read
//!   his answer is not waited for
//! - `service`: a request's way to its answer; `endpoints`: the table of paths
//! - `doors`: who may ask what, with `session`s of browsers, `guesses` at the token, and `sites` that are not ours
//! - `openapi`: the table and the shapes as a description for other programs
//! - `question` reads what is asked, `answers` makes answers, `streams` those that go on
//! - [`status`], [`found`], [`dead`], [`sending`], [`sink`], [`replay`], [`running`], [`reload`], [`history`],
//!   [`explain`], [`fates`], [`log`]: the shapes of questions and answers; [`list`]: that of every list
//! - [`client`]: how the live verbs ask
//! - [`everyone`]: where several daemons share a journal, the answers of all of them as one

mod answers;
pub mod client;
pub mod config;
mod connections;
pub mod dead;
mod doors;
mod endpoints;
pub mod everyone;
pub mod explain;
pub mod fates;
pub mod found;
mod guesses;
pub mod history;
mod hurried;
pub mod list;
mod listener;
pub mod log;
mod login;
mod openapi;
mod question;
pub mod reload;
pub mod replay;
pub mod running;
pub mod sending;
mod service;
mod session;
pub mod sink;
mod sites;
pub mod status;
mod streams;
#[cfg(test)]
mod tests;

pub use config::{AdminConfig, AdminKeys, Listen};
pub use connections::{ANSWERED, QUEUE};
pub use list::{List, Unanswered};
pub use listener::{AdminError, Listener};
pub use service::Answering;
pub use status::{Readiness, Status};

use std::pin::Pin;

use crate::metrics::Format;
use dead::{Count, DeadAct, DeadAsk, DeadDone, DeadView, OutcomeView, OutcomesAsk};
use explain::{ExplainAsk, ExplainView};
use fates::{FatesAsk, FatesView};
use found::{CloudLine, EventAsk, EventView, EventsAsk, TailAsk, Tailed, TraceAsk, TraceView};
use history::{HistoryAsk, HistoryView};
use log::{LogAsk, LogLevels};
use reload::ReloadDone;
use replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayOutcome, ReplayPlan, ReplayView};
use running::ConfigView;
use sending::{CancelAsk, CancelDone, ResendView, ResendsAsk, SendDone, ToSend};
use sink::{ProbeDone, SinkAct, SinkAsk, SinkDone};

/// What comes one after the other, for as long as it is asked for.
pub type BoxStream<T> = Pin<Box<dyn futures_core::Stream<Item = T> + Send>>;

/// With what a refusal begins where a sink is neither in the config nor in the ledger.
pub const NO_SINK: &str = "there is no sink";

/// Why the daemon does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The question makes no sense.
    #[error("{0}")]
    Question(String),
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// Others ask for the same already.
    #[error("{0}")]
    Busy(String),
    /// The config has faults, or asks for what a running daemon cannot do.
    #[error("{0}")]
    Config(String),
    /// The same key was given to something else before.
    #[error("{0}")]
    Reused(String),
    /// What was asked cannot be done now.
    #[error("{0}")]
    Unable(String),
}

/// What can be asked of the daemon.
#[async_trait::async_trait]
pub trait Control: Send + Sync + 'static {
    /// Whether a webhook sent now would be taken. Answers at once.
    fn readiness(&self) -> Readiness;
    /// All figures. Waits for the ledger at most.
    async fn status(&self) -> Status;
    /// The same and more for Prometheus, in that format: half a second old at most.
    async fn metrics(&self, format: Format) -> String;
    /// A page of dead letters.
    async fn dead(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal>;
    /// A page of what has failed and is tried again.
    async fn pending(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal>;
    /// How many dead letters there are of each key, the most first.
    async fn dead_counts(&self, ask: DeadAsk) -> Result<List<Count>, Refusal>;
    /// The same of what has failed and is tried again.
    async fn pending_counts(&self, ask: DeadAsk) -> Result<List<Count>, Refusal>;
    /// What became of dead letters that were retried.
    async fn outcomes(&self, ask: OutcomesAsk) -> Result<List<OutcomeView>, Refusal>;
    /// Tries a sink at once, and says what came of it.
    async fn probe(&self, sink: String) -> Result<ProbeDone, Refusal>;
    /// Pauses a sink, resumes it, or moves its cursor on; durable when this returns.
    async fn sink(&self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal>;
    /// The replays under way.
    async fn replays(&self) -> Result<List<ReplayView>, Refusal>;
    /// What a replay would come to.
    async fn replay_plan(&self, ask: ReplayAsk) -> Result<ReplayPlan, Refusal>;
    /// What became of a replay so far.
    async fn replay_outcome(&self, ask: ReplayCancel) -> Result<List<ReplayOutcome>, Refusal>;
    /// Begins a replay; durable when this returns.
    async fn replay(&self, ask: ReplayAsk) -> Result<ReplayBegun, Refusal>;
    /// Ends a replay before it has read all of its span; durable when this returns.
    async fn cancel_replay(&self, ask: ReplayCancel) -> Result<ReplayCancelled, Refusal>;
    /// Reads the config again and puts it in force, or says why not.
    async fn reload(&self) -> Result<ReloadDone, Refusal>;
    /// What the log says.
    fn log_levels(&self) -> LogLevels;
    /// Changes what the log says, until the next reload or restart.
    fn set_log_level(&self, ask: LogAsk) -> Result<LogLevels, Refusal>;
    /// Changes a page of dead letters; durable when this returns.
    async fn change_dead(&self, ask: DeadAsk, act: DeadAct) -> Result<DeadDone, Refusal>;
    /// Has a message sent; that it is to be is durable when this returns.
    async fn send(&self, told: ToSend) -> Result<SendDone, Refusal>;
    /// What waits to be sent again, in the order in which it is due.
    async fn resends(&self, ask: ResendsAsk) -> Result<List<ResendView>, Refusal>;
    /// Gives up what waits to be sent again; durable when this returns.
    async fn cancel_resends(&self, ask: CancelAsk) -> Result<CancelDone, Refusal>;
    /// The events that match.
    async fn events(&self, ask: EventsAsk) -> Result<List<CloudLine>, Refusal>;
    /// One event, with all that is known of it.
    async fn event(&self, ask: EventAsk) -> Result<EventView, Refusal>;
    /// The history of a message, and the way of each of its events.
    async fn trace(&self, ask: TraceAsk) -> Result<TraceView, Refusal>;
    /// What is known here of events that another daemon has found.
    async fn fates(&self, ask: FatesAsk) -> Result<FatesView, Refusal>;
    /// The events that match, as they come. Ends when the stream is dropped.
    async fn tail(&self, ask: TailAsk) -> Result<BoxStream<Tailed>, Refusal>;
    /// The config in force, and the file's where that is another one.
    async fn config(&self) -> Result<ConfigView, Refusal>;
    /// The last hour or day in figures.
    async fn history(&self, ask: HistoryAsk) -> Result<HistoryView, Refusal>;
    /// Where an event goes and why, and what other rules would change.
    async fn explain(&self, ask: ExplainAsk) -> Result<ExplainView, Refusal>;
}
