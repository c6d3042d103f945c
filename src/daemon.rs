//! Builds the daemon in the order in which data flows, and takes it down in the order that refuses nobody for long.
//!
//! Start: journal, ledger, the sinks' first cursors, the sinks' workers, ingress. Stop: workers, ledger, ingress,
//! journal. The service manager is told when webhooks are taken, and when the stop begins.
//!
//! A disk that is full or failing does not keep ingress from starting, nor do others who keep the journal and do not
//! answer: then the ledger and the sinks come later (`sinks`), and "ready" is logged when they have. The listen
//! addresses are bound at the very beginning, when a fault costs nothing yet, but nobody listens on them before the end
//! of the start: no client gets a connection that a failing start would reset (on a socket from systemd it waits).
//!
//! Imports inside this folder point one way; `tests/tidy/daemon.rs` holds the order and enforces it.

mod admin_listener;
mod background;
mod books;
mod caught_up;
mod commanding;
mod config_reading;
mod config_state;
mod config_watch;
mod control;
mod counted;
mod data_folder;
mod dead_letters;
mod descriptors;
mod disk_watch;
mod endings;
mod error;
mod explaining;
mod figures;
mod following;
mod found;
mod found_fates;
mod found_ids;
mod found_reading;
mod found_rules;
mod found_sent;
mod found_shown;
mod found_tail;
mod found_told;
mod found_trace;
mod history;
mod host;
pub mod inspecting;
mod main_loop;
mod nodes;
mod open_ingress;
mod options;
mod own_events;
mod probing;
mod reasons;
mod refusals;
mod reload;
mod replay_outcome;
mod replay_plan;
mod replay_requests;
mod requests;
mod resending;
mod resends;
mod running_replays;
mod scrape;
mod sending;
mod service_manager;
mod shown_config;
mod sink_requests;
mod sinks;
mod skipping;
mod status_line;
mod store;
pub mod threads;
mod told_down;
mod trimming;
mod world;

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};
use tracing::{error, info};

use crate::config::Config;
use crate::ingress::{self, Bound, threads::Threads};
use crate::journal::{folder, lock::Lock};
use crate::news::News;
use crate::route::Unmatched;
use crate::shutdown::Signals;
use admin_listener::AdminListener;
use books::Books;
use config_reading::ConfigReader;
pub use config_reading::{Load, Refused};
use config_state::ConfigState;
pub use config_watch::Watch;
use control::DaemonControl;
use counted::FrontCounts;
pub use error::DaemonError;
use open_ingress::{open_ingress, recognise};
pub use options::RunOptions;
use own_events::OwnEvents;
use requests::Requests;
use resending::Resending;
use sinks::Sinks;
use store::Store;
use world::World;

/// What the manager is told while the daemon stops.
const STOPPING: &str = "stopping: sinks first, webhooks are still taken";
/// Why the daemon stops without a signal.
const NO_SINKS: &str = "the sinks cannot be started";
/// What goes on where the config file is refused at a start.
const LAST_GOOD: &str = "and the last good one is in force";

/// Runs until a signal ends it, then takes everything down again.
///
/// # Errors
/// What kept the daemon from starting; [`JournalError::Lost`](crate::journal::JournalError::Lost) where it stopped
/// without having written all that it had accepted.
pub async fn run(config: Config, options: RunOptions, signals: &mut Signals) -> Result<(), DaemonError> {
    let RunOptions { load, watch, refused, cursors_now, inherited, manager } = options;
    // What is told in here ends with it.
    let mut telling = JoinSet::new();
    telling.spawn(service_manager::extend_start(manager.clone()));
    let config_state = Arc::new(ConfigState::new(&config, refused.as_ref()));
    let server = descriptors::fitting(&config, descriptors::raise());
    folder::make(&config.data_dir)?;
    let lock = Lock::take(&config.data_dir)?;
    let bound = ingress::bind(&config.server, inherited)?;
    let (news, desk) = News::new();
    let mut store = Store::open(&config, cursors_now, &news).await?;
    let unmatched = Arc::new(Unmatched::default());
    let books = Arc::new(Books::new(&config.rules, config.sink_names().collect(), &store.begun));
    caught_up::tell(&store, &books);
    let own_events = OwnEvents::new(&books, &store, &config.data_dir, desk);
    let ingress = open_ingress(&config, &server, &store, &unmatched, (&books, &news));
    refused.iter().for_each(|refused| news.tell(own_events::config_refused(&config.file, &refused.why, LAST_GOOD)));
    let mut sinks = Sinks::new(&config.rules, news.clone(), ingress.traces());
    sinks.start_if_possible(&config, &mut store, &books).await?;
    let recognising = recognise(&config, &store, &ingress, sinks.has_started()).await;
    let counting = FrontCounts::start(&ingress, &store.storage.ledger).await;

    let listeners: Vec<_> = bound.into_iter().map(Bound::listen).collect::<Result<_, _>>()?;
    let (stop_ingress, ingress_stop) = watch::channel(false);
    let told: Vec<_> = listeners.iter().map(|own| (own.address(), own.is_tls, own.is_inherited)).collect();
    let threads = Threads::start(&ingress, listeners, &ingress_stop).map_err(DaemonError::Runtime)?;
    config_state.keep().await;
    told.into_iter().for_each(|(address, tls, inherited)| info!(address, tls, inherited, "listening"));
    news.tell(own_events::started(config.sources.len(), config.own_sinks().count()));

    let mut background = background::start(&config, &store, &config_state, (&news, &own_events), recognising);
    background.spawn(Resending::new(&store.outbox, &books, &store.storage).run());
    let (requests, inbox) = Requests::new();
    let control = Arc::new(DaemonControl::new(&store, &ingress, &books, &config_state, &unmatched, requests.clone()));
    background.spawn(control.keep_history());
    let admin = AdminListener::start(config.admin.clone(), &control, &store.nodes);
    let looking = tokio::spawn(data_folder::look_after(lock, store.databases(), admin.clone(), requests));
    // Webhooks are taken. Sinks that wait for room on the disk keep nobody waiting for that.
    let watchdog = service_manager::watch(&manager, &threads, Arc::clone(&store.pulse), &control);
    telling.abort_all();
    manager.ready();
    telling.spawn(service_manager::tell_status(manager.clone(), Arc::clone(&control)));

    let (replays, skipping) = (running_replays::RunningReplays::default(), skipping::Skipping::default());
    let mut world = World { config, store, sinks, replays, skipping, books, ingress, config_state, news, own_events };
    let ended = main_loop::run(&mut world, signals, watch, ConfigReader::new(load), inbox, &manager).await;
    let World { store, mut sinks, mut replays, ingress, news, own_events, .. } = world;
    ingress.stopping();
    telling.shutdown().await;
    manager.stopping(STOPPING);
    say_ended(&ended);
    background.shutdown().await;
    own_events.farewell(&news, ended.as_ref().map_or(NO_SINKS, |name| *name), |sink| sinks.is_running(sink)).await;
    store.storage.journal.closes_soon();
    replays.halt().await;
    tokio::join!(sinks.stop(&*store.storage.journal), nodes::withdraw(&*store.nodes, ended.is_ok()));
    store.close();
    ingress.traces().flush().await;
    control.stopping();
    stop_ingress.send_replace(true);
    // Joining cannot fail but by a panic, which was reported already.
    let _ = tokio::task::spawn_blocking(|| threads.join()).await;
    tokio::join!(counting.end(), ingress.traces().stop());
    // The admin listener stops last but for the journal, so that it can be asked how the stop goes.
    let _ = tokio::task::spawn_blocking(move || admin.stop()).await;
    own_events.last_words().await;
    let closed = store.storage.journal.close().await;
    figures::say_unmatched(&unmatched);
    // The task owns the lock, and lets go of it as it ends.
    looking.abort();
    let _ = looking.await;
    drop(watchdog);
    closed?;
    ended?;
    info!("stopped");
    Ok(())
}

fn say_ended(ended: &Result<&'static str, DaemonError>) {
    match ended {
        Ok(signal) => info!(signal, "{STOPPING}"),
        Err(reason) => error!(%reason, "stopping: the sinks cannot be started"),
    }
}
