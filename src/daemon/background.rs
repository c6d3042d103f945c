//! What goes on beside all else while the daemon runs.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::config_state::{self, ConfigState};
use super::dead_letters;
use super::disk_watch;
use super::nodes;
use super::own_events::OwnEvents;
use super::store::Store;
use super::trimming;
use crate::config::Config;
use crate::news::News;

/// Starts it: forgetting old dead letters and what is noted of deleted events, looking at the config file and at the
/// disk, writing what is told as news, telling other daemons that this one is there, and what the start has begun and
/// not waited for. It ends when this is dropped.
pub(super) fn start(
    config: &Config,
    store: &Store,
    config_state: &Arc<ConfigState>,
    (news, own_events): (&News, &Arc<OwnEvents>),
    begun: Option<impl Future<Output = ()> + Send + 'static>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    begun.map(|begun| tasks.spawn(begun));
    let (storage, max_age) = (store.storage.clone(), config.dead_letters.max_age.0);
    let (journal, trouble) = (Arc::clone(&storage.journal), Arc::clone(&store.disk_trouble));
    tasks.spawn(disk_watch::run(journal, store.room.clone(), store.disk_bounds, trouble, news.clone()));
    tasks.spawn(trimming::run(storage.clone(), store.outbox.clone()));
    tasks.spawn(dead_letters::forget_old(storage, max_age, news.clone()));
    tasks.spawn(config_state::look_after(Arc::clone(config_state)));
    tasks.spawn(nodes::announce(Arc::clone(&store.nodes), config.admin.clone(), Arc::clone(config_state)));
    let own_events = Arc::clone(own_events);
    tasks.spawn(async move { own_events.run().await });
    tasks
}
