//! What the daemon does from the start of its sinks to the signal that ends it: it waits for signals, for a changed
//! config file, for requests and for what other daemons were asked for, and carries out one after the other.

use tokio::sync::mpsc;
use tracing::info;

use super::config_reading::ConfigReader;
use super::config_watch::Watch;
use super::error::DaemonError;
use super::requests::Request;
use super::running_replays::RunningReplays;
use super::skipping::Skipping;
use super::world::World;
use crate::ledger::{Settle, Storage};
use crate::shutdown::{Meaning, Signals};
use crate::systemd::Manager;

/// Runs until a signal says to stop, and gives that signal's name. Sinks that have not started yet are tried again
/// meanwhile.
///
/// # Errors
/// Why the sinks cannot be started, or why this process must not go on.
pub(super) async fn run(
    world: &mut World,
    signals: &mut Signals,
    mut watch: Watch,
    mut reader: ConfigReader,
    mut requests: mpsc::Receiver<Request>,
    manager: &Manager,
) -> Result<&'static str, DaemonError> {
    let ask = |reader: &mut ConfigReader, asker| {
        manager.reloading();
        reader.ask(asker);
    };
    let Storage { journal, settle, .. } = world.store.storage.clone();
    let mut replaced = std::pin::pin!(journal.replaced());
    loop {
        let World { config, store, sinks, books, replays, skipping, .. } = world;
        let may_follow = sinks.is_ready();
        tokio::select! {
            biased;
            error = &mut replaced => return Err(error.into()),
            signal = signals.next() => match signal {
                Meaning::Stop(name) => return Ok(name),
                Meaning::Reload => ask(&mut reader, None),
            },
            started = sinks.keep_trying(config, store, books), if !sinks.is_ready() => {
                started?;
                info!(sources = config.sources.len(), sinks = config.own_sinks().count(), "ready");
                world.follow().await;
            }
            () = watch.changed() => ask(&mut reader, None),
            // DaemonControl holds the other end for as long as this runs.
            Some(request) = requests.recv() => match request {
                Request::Sink(ask, act, reply) => world.sink(ask, act, reply).await,
                Request::Replay(ask, reply) => drop(reply.send(world.replay(ask).await)),
                Request::CancelReplay(ask, reply) => drop(reply.send(world.cancel_replay(ask).await)),
                Request::RestartSinks => world.restart_sinks().await,
                Request::Reload(reply) => ask(&mut reader, Some(reply)),
            },
            () = news_of(&*settle, replays, skipping), if may_follow => world.follow().await,
            (config, askers) = reader.next() => {
                // The log says, too, what came of the reload.
                let done = world.reload(config).await;
                // Whatever came of it: the old config is as good a one to run with.
                manager.ready();
                for asker in askers {
                    let _ = asker.send(done.clone());
                }
            }
        }
    }
}

/// Waits until there may be something new to do about sinks and replays. Cancel-safe.
async fn news_of(settle: &dyn Settle, replays: &RunningReplays, skipping: &Skipping) {
    tokio::select! {
        () = settle.changed() => {}
        () = replays.ended() => {}
        () = skipping.ended() => {}
    }
}
