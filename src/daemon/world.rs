//! What the daemon holds while it runs: the config in force, and all that was built from it.
//!
//! The main loop alone owns the [`World`] and changes it for one request after the other. How each request changes it
//! is written beside that request: `reload`, `sink_requests`, `replay_requests`; how what others were asked for does:
//! `following`.

use std::sync::Arc;

use tracing::error;

use super::books::Books;
use super::config_state::ConfigState;
use super::error::DaemonError;
use super::own_events::OwnEvents;
use super::running_replays::RunningReplays;
use super::sinks::Sinks;
use super::skipping::Skipping;
use super::store::Store;
use crate::config::Config;
use crate::ingress::Ingress;
use crate::news::News;

/// The daemon's state.
pub(super) struct World {
    /// The config in force.
    pub config: Config,
    /// The journal and the ledger.
    pub store: Store,
    /// The sinks' workers.
    pub sinks: Sinks,
    /// The tasks that carry out replays.
    pub replays: RunningReplays,
    /// The tasks that move sinks on.
    pub skipping: Skipping,
    /// What each sink is owed, and by which rules.
    pub books: Arc<Books>,
    /// What takes webhooks in.
    pub ingress: Arc<Ingress>,
    /// Whether the config file is what runs.
    pub config_state: Arc<ConfigState>,
    /// Where people are told what they want to hear of.
    pub news: News,
    /// What makes events of that.
    pub own_events: Arc<OwnEvents>,
}

impl World {
    /// Starts a sink of the config where its cursor stands; one that is being moved on is started after that.
    pub async fn launch(&mut self, name: &str) -> Result<(), DaemonError> {
        if self.skipping.is_running(name) {
            return Ok(());
        }
        let books = self.books.now();
        let Some((sink, book)) = self.config.sinks.iter().find(|sink| sink.name == name).zip(books.of(name)) else {
            return Ok(());
        };
        self.sinks.launch(&self.config, sink, &book.book, &self.store).await
    }

    /// Starts these sinks where their cursors stand. A sink that cannot be started is logged and keeps nobody else
    /// back.
    pub async fn launch_all(&mut self, names: impl Iterator<Item = &String>) {
        for name in names {
            if let Err(error) = self.launch(name).await {
                error!(
                    sink = %name,
                    %error,
                    "the sink cannot be started; it keeps its place and is tried again at the next reload"
                );
            }
        }
    }

    /// Stops every running sink and starts it anew where its cursor stands.
    pub async fn restart_sinks(&mut self) {
        let names: Vec<String> = self.config.sinks.iter().map(|sink| sink.name.clone()).collect();
        let running: Vec<String> = names.into_iter().filter(|name| self.sinks.is_running(name)).collect();
        self.sinks.halt(running.iter().map(String::as_str)).await;
        self.launch_all(running.iter()).await;
    }
}
