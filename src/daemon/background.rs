//! What goes on beside all else while the daemon runs.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::config_state::{self, ConfigState};
use super::dead_letters;
use super::disk_watch;
use super::own_events::OwnEvents;
use super::store::Store;
use super::trimming;
use crate::config::Config;
use crate::news::News;

/// Starts it: forgetting old dead letters and what is noted of deleted events, looking at the config file and at the
/// disk, writing what is told as news. It ends when this is dropped.
pub(super) fn start(
    config: &Config,
    store: &Store,
    config_state: &Arc<ConfigState>,
    news: &News,
    own_events: &Arc<OwnEvents>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (storage, max_age) = (store.storage.clone(), config.dead_letters.max_age.0);
    let (journal, trouble) = (Arc::clone(&storage.journal), Arc::clone(&store.disk_trouble));
    tasks.spawn(disk_watch::run(journal, config.journal.clone(), trouble, news.clone()));
    tasks.spawn(trimming::run(storage.clone(), store.outbox.clone()));
    tasks.spawn(dead_letters::forget_old(storage, max_age, news.clone()));
    tasks.spawn(config_state::look_after(Arc::clone(config_state)));
    let own_events = Arc::clone(own_events);
    tasks.spawn(async move { own_events.run().await });
    tasks
}
