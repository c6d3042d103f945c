//! The second listener: what operators and the live verbs ask of a running daemon. HTTP/1.1 on a Unix socket in the data
//! folder, or on TCP with a token.
//!
//! It runs on a thread of its own, so that neither a slow client nor a slow answer touches the webhooks. It knows how
//! questions come in and answers go out; what they say comes from the [`Control`], which the daemon implements.
//!
//! Rooms: [`config`] the table, `listener` the socket and the thread, `places` who may be connected, `service` paths and
//! statuses, `verbs` those that carry a question, [`status`], [`dead`] and [`orders`] the shapes, [`client`] the verbs'
//! side.

pub mod client;
pub mod config;
pub mod dead;
mod listener;
pub mod orders;
mod places;
mod service;
pub mod status;
#[cfg(test)]
mod tests;
mod verbs;

pub use config::{AdminConfig, AdminKeys, Listen};
pub use listener::{AdminError, Listener};
pub use places::CONNECTIONS;
pub use status::{Readiness, Status};
pub use verbs::Refusal;

/// What can be asked of the daemon.
#[async_trait::async_trait]
pub trait Control: Send + Sync + 'static {
    /// Whether a webhook sent now would be taken. At once.
    fn readiness(&self) -> Readiness;
    /// All figures. Waits for the ledger at most.
    async fn status(&self) -> Status;
    /// A page of dead letters.
    async fn dead(&self, ask: dead::DeadAsk) -> Result<dead::DeadPage, Refusal>;
    /// Holds a sink, lets it go, or moves it on; durable when this returns.
    async fn sink(&self, ask: orders::SinkAsk, act: orders::SinkAct) -> Result<orders::SinkDone, Refusal>;
    /// Replays under way.
    async fn replays(&self) -> Result<Vec<orders::ReplayView>, Refusal>;
    /// Begins a replay; durable when this returns.
    async fn replay(&self, ask: orders::ReplayAsk) -> Result<orders::ReplayBegun, Refusal>;
    /// Ends one before its time; durable when this returns.
    async fn cancel_replay(&self, ask: orders::ReplayCancel) -> Result<orders::ReplayCancelled, Refusal>;
    /// Reads the config again and puts it in force, or says why not.
    async fn reload(&self) -> Result<orders::ReloadDone, Refusal>;
    /// Changes a page of dead letters; durable when this returns.
    async fn change_dead(&self, ask: dead::DeadAsk, act: dead::DeadAct) -> Result<dead::DeadDone, Refusal>;
}
