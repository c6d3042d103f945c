//! What the daemon does from the start of its sinks to the signal that ends it: one thing after the other, of what signals
//! and the admin listener tell it.

use std::pin::pin;

use tokio::sync::mpsc;
use tracing::{error, info};

use super::DaemonError;
use super::orders::{Order, Reply};
use super::reload::World;
use super::watching::Watch;
use crate::admin::Refusal;
use crate::config::Config;
use crate::shutdown::{Signals, Told};

/// Waits for the end, and for the sinks where they have not started yet; meanwhile it does what it is told.
pub(super) async fn until_stopped(
    world: &mut World,
    signals: &mut Signals,
    mut watch: Watch,
    mut inbox: mpsc::Receiver<Order>,
) -> Result<&'static str, DaemonError> {
    loop {
        let World { config, store, sinks, books, .. } = world;
        // Who waits for what comes of a reload, where one is asked for.
        let asked: Option<Option<Reply<_>>> = tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Told::Stop(name) => return Ok(name),
                Told::Reload => Some(None),
            },
            started = sinks.keep_trying(config, store, books), if !sinks.is_ready() => {
                started?;
                info!(sources = config.sources.len(), sinks = config.sinks.len(), "ready");
                if let Err(error) = world.resume_replays().await {
                    error!(%error, "replays wait for the next reload or start");
                }
                None
            }
            () = watch.changed() => Some(None),
            // The desk holds the other end for as long as this runs.
            Some(order) = inbox.recv() => match order {
                Order::Sink(ask, act, reply) => {
                    drop(reply.send(world.sink(ask, act).await));
                    None
                }
                Order::Replay(ask, reply) => {
                    drop(reply.send(world.replay(ask).await));
                    None
                }
                Order::CancelReplay(ask, reply) => {
                    drop(reply.send(world.cancel_replay(ask).await));
                    None
                }
                Order::Restart => {
                    world.restart().await;
                    None
                }
                Order::Reload(reply) => Some(Some(reply)),
            },
        };
        if let Some(mut reply) = asked {
            loop {
                let (loaded, again) = match load(world, signals).await {
                    Ok(loaded) => loaded,
                    Err(signal) => return Ok(signal),
                };
                // What came of it is in the log, too.
                let done = world.reload(loaded).await;
                let _ = reply.take().map(|reply| reply.send(done));
                if !again {
                    break;
                }
            }
        }
    }
}

/// Reads the config, which may take its time, and says whether it is to be read again: it may have changed meanwhile. The
/// error is the signal that ends the daemon meanwhile.
async fn load(world: &World, signals: &mut Signals) -> Result<(Result<Config, Refusal>, bool), &'static str> {
    let mut loading = pin!(world.load());
    let mut again = false;
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Told::Stop(name) => return Err(name),
                Told::Reload => again = true,
            },
            loaded = &mut loading => return Ok((loaded, again)),
        }
    }
}
