//! Builds the spine in the order data flows, and takes it down in the order that refuses nobody for long:
//! journal → ledger → sinks' first cursors and workers → ingress; then workers → ledger → ingress → journal.
//!
//! A disk that is full or failing does not keep ingress from starting: then ledger and sinks come later (`sinks`), and
//! READY is said when they have. The addresses are taken at the very beginning, when a fault costs nothing yet, but they
//! listen last: no client gets a connection that a start which fails would reset.

mod books;
mod config_reading;
mod config_watch;
mod control;
mod data_folder;
mod dead_letters;
mod descriptors;
mod error;
mod figures;
mod main_loop;
mod open_ingress;
mod refusals;
mod reload;
mod replay_requests;
mod requests;
mod running_replays;
mod sink_requests;
mod sinks;
mod store;
pub mod threads;
mod world;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info};

use crate::config::Config;
use crate::ingress::threads::Threads;
use crate::ingress::{self, Bound};
use crate::journal::lock::Lock;
use crate::journal::{Journal, folder};
use crate::route::Unmatched;
use crate::shutdown::Signals;
use books::Books;
pub use config_reading::Load;
use config_reading::Reading;
pub use config_watch::Watch;
use control::DaemonControl;
use data_folder::Admin;
pub use error::DaemonError;
use main_loop::until_stopped;
use requests::Orders;
use running_replays::RunningReplays;
use sinks::Sinks;
use store::Store;
use world::World;

/// What a run is asked for beside its config.
pub struct Asked {
    /// Reads the config again, for a reload.
    pub load: Load,
    /// The file that brings one about when it changes.
    pub watch: Watch,
    /// Where the ledger is lost, sinks go on now.
    pub cursors_now: bool,
}

/// Runs until a signal ends it, then takes everything down again.
///
/// # Errors
/// What kept it from starting; [`JournalError::Lost`](crate::journal::JournalError::Lost) where it stopped without having
/// written all that it had accepted.
pub async fn run(config: Config, asked: Asked, signals: &mut Signals) -> Result<(), DaemonError> {
    let Asked { load, watch, cursors_now } = asked;
    let server = descriptors::fitting(&config, descriptors::raise());
    folder::make(&config.data_dir)?;
    let lock = Lock::take(&config.data_dir)?;
    let bound = ingress::bind(&config.server)?;
    let mut store = Store::open(&config, cursors_now)?;
    let unmatched = Arc::new(Unmatched::default());
    let books = Arc::new(Books::new(&config.rules, config.sink_names().collect(), store.begun));
    let front = open_ingress::open(&config, &server, &store, &unmatched, &books)?;
    let mut sinks = Sinks::new(&config.rules);
    sinks.start_if_possible(&config, &mut store, &books).await?;

    let listeners = bound.into_iter().map(Bound::listen).collect::<Result<Vec<_>, _>>()?;
    let (stop_front, front_stop) = watch::channel(false);
    let threads = Threads::start(&front, &listeners, &front_stop).map_err(DaemonError::Runtime)?;
    for listener in listeners {
        info!(address = %listener.local_addr().map_err(DaemonError::Runtime)?, "listening");
    }

    let keeper = tokio::spawn(dead_letters::keep(Arc::clone(&store.ledger), config.dead_letters.max_age.0));
    let (orders, inbox) = Orders::new();
    let given = orders.clone();
    let desk = Arc::new(DaemonControl::new(&store, &front, &books, orders));
    let admin = Admin::start(config.admin.clone(), &desk);
    let footing = tokio::spawn(data_folder::keep(lock, Arc::clone(&store.ledger), admin.clone(), given));

    let mut world = World { config, store, sinks, replays: RunningReplays::default(), books, ingress: front };
    let ended = until_stopped(&mut world, signals, watch, Reading::new(load), inbox).await;
    let World { store, mut sinks, mut replays, .. } = world;
    match &ended {
        Ok(signal) => info!(signal, "stopping: sinks first, webhooks are still taken"),
        Err(reason) => error!(%reason, "stopping: the sinks cannot be started"),
    }
    keeper.abort();
    replays.halt().await;
    sinks.stop().await;
    store.ledger.close();
    desk.stopping();
    stop_front.send_replace(true);
    // It cannot fail but by a panic, which was reported already.
    let _ = tokio::task::spawn_blocking(|| threads.join()).await;
    // Last but for the journal, so that it can be asked how the stop goes.
    let _ = tokio::task::spawn_blocking(move || admin.stop()).await;
    let closed = store.journal.close().await;
    for (source, kind, events) in unmatched.counts() {
        info!(source, kind, events, "matched no route since the start");
    }
    // With it goes the lock.
    footing.abort();
    let _ = footing.await;
    closed?;
    ended?;
    info!("stopped");
    Ok(())
}
