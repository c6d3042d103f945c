//! What the daemon does from the start of its sinks to the signal that ends it: one thing after the other, of what signals
//! and the admin listener tell it.

use tokio::sync::mpsc;
use tracing::{error, info};

use super::config_reading::Reading;
use super::config_watch::Watch;
use super::error::DaemonError;
use super::requests::Order;
use super::world::World;
use crate::shutdown::{Signals, Told};

/// Waits for the end, and for the sinks where they have not started yet; meanwhile it does what it is told.
pub(super) async fn until_stopped(
    world: &mut World,
    signals: &mut Signals,
    mut watch: Watch,
    mut reading: Reading,
    mut inbox: mpsc::Receiver<Order>,
) -> Result<&'static str, DaemonError> {
    loop {
        let World { config, store, sinks, books, .. } = world;
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Told::Stop(name) => return Ok(name),
                Told::Reload => reading.ask(None),
            },
            started = sinks.keep_trying(config, store, books), if !sinks.is_ready() => {
                started?;
                info!(sources = config.sources.len(), sinks = config.sinks.len(), "ready");
                if let Err(error) = world.resume_replays().await {
                    error!(%error, "replays wait for the next reload or start");
                }
            }
            () = watch.changed() => reading.ask(None),
            // The desk holds the other end for as long as this runs.
            Some(order) = inbox.recv() => match order {
                Order::Sink(ask, act, reply) => drop(reply.send(world.sink(ask, act).await)),
                Order::Replay(ask, reply) => drop(reply.send(world.replay(ask).await)),
                Order::CancelReplay(ask, reply) => drop(reply.send(world.cancel_replay(ask).await)),
                Order::Restart => world.restart_sinks().await,
                Order::Reload(reply) => reading.ask(Some(reply)),
            },
            (loaded, askers) = reading.next() => {
                // What came of it is in the log, too.
                let done = world.reload(loaded).await;
                for asker in askers {
                    let _ = asker.send(done.clone());
                }
            }
        }
    }
}
