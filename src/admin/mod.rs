//! The admin listener: where operators and the live verbs ask things of a running daemon. HTTP/1.1 on a Unix socket in
//! the data folder, or on TCP with a token.
//!
//! The listener runs on a thread of its own, so that neither a slow client nor a slow answer touches the webhooks. It
//! knows how questions come in and answers go out; the answers come from the trait [`Control`], which the daemon
//! implements.
//!
//! - [`config`]: the table `[admin]`
//! - `listener`: the socket and the thread; `connections`: which connections are kept
//! - `service`: the token and the statuses; `endpoints`: the table of paths
//! - [`status`], [`dead`], [`sink`], [`replay`], [`reload`], [`log`]: the shapes of questions and answers
//! - [`client`]: how the live verbs ask

pub mod client;
pub mod config;
mod connections;
pub mod dead;
mod endpoints;
mod listener;
pub mod log;
pub mod reload;
pub mod replay;
mod service;
pub mod sink;
pub mod status;
#[cfg(test)]
mod tests;

pub use config::{AdminConfig, AdminKeys, Listen};
pub use connections::CONNECTIONS;
pub use listener::{AdminError, Listener};
pub use status::{Readiness, Status};

use std::sync::Arc;

use crate::metrics::Page;
use dead::{DeadAct, DeadAsk, DeadDone, DeadPage};
use log::{LogAsk, LogLevels};
use reload::ReloadDone;
use replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayView};
use sink::{SinkAct, SinkAsk, SinkDone};

/// Why the daemon does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The question makes no sense.
    #[error("{0}")]
    Question(String),
    /// The config has faults, or asks for what a running daemon cannot do.
    #[error("{0}")]
    Config(String),
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
    /// The same and more for Prometheus: half a second old at most.
    async fn metrics(&self) -> Arc<Page>;
    /// A page of dead letters.
    async fn dead(&self, ask: DeadAsk) -> Result<DeadPage, Refusal>;
    /// Pauses a sink, resumes it, or moves its cursor on; durable when this returns.
    async fn sink(&self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal>;
    /// The replays under way.
    async fn replays(&self) -> Result<Vec<ReplayView>, Refusal>;
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
}
