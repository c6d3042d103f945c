//! Does what is to be done about sinks and replays, whichever daemon was asked for it, as far as this one has a part in
//! it and has not done it yet: holds sinks and lets them go, moves them on, carries out replays.

use std::sync::Arc;

use tracing::{info, warn};

use super::refusals::unable;
use super::skipping::Skip;
use super::world::World;
use crate::admin::Refusal;
use crate::journal::Marks;

impl World {
    /// Follows. Where it cannot be known now what is to be done, it is tried again when there is news.
    pub async fn follow(&mut self) {
        if let Err(error) = self.follow_orders().await {
            warn!(%error, "it cannot be read what is to be done about sinks and replays");
        }
    }

    async fn follow_orders(&mut self) -> Result<(), Refusal> {
        let orders = self.store.storage.settle.orders().await.map_err(unable)?;
        for (name, to) in &orders.skips {
            self.begin_skip(name, to).await;
        }
        let sinks: Vec<_> = self.config.sinks.iter().map(|sink| (sink.name.clone(), sink.keys.enabled)).collect();
        for (name, is_enabled) in sinks {
            match (orders.paused.contains(&name), self.sinks.is_running(&name)) {
                (true, was_running) => {
                    self.hold(&name).await;
                    if was_running {
                        info!(sink = name, "paused, as another daemon was asked: its cursor stays");
                    }
                }
                (false, false) if is_enabled => match self.launch(&name).await {
                    Ok(()) => {}
                    Err(error) => warn!(sink = name, %error, "the sink cannot be started yet; it is tried again"),
                },
                (false, _) => {}
            }
        }
        self.resume_replays().await
    }

    /// Has a sink of the config moved on to these marks, in this process's shards, unless that is under way. Its worker
    /// runs again after that.
    pub(super) async fn begin_skip(&mut self, name: &str, to: &Marks) {
        let books = self.books.now();
        let Some(book) = books.of(name).filter(|_| !self.skipping.is_running(name)) else { return };
        let has_worker = self.sinks.is_running(name);
        self.sinks.halt([name].into_iter()).await;
        self.skipping.start(Skip {
            name: name.to_owned(),
            to: to.clone(),
            has_worker,
            book: Arc::clone(&book.book),
            rules: Arc::clone(&self.config.rules),
            storage: self.store.storage.clone(),
        });
    }

    /// Stops a sink's worker and shows that it is held.
    pub(super) async fn hold(&mut self, name: &str) {
        self.sinks.halt([name].into_iter()).await;
        if let Some(book) = self.books.now().of(name) {
            book.book.vitals().set_paused(true);
        }
    }
}
