//! What the daemon stands on, looked at every second: its folder, the lock on it, the ledger's files. What was taken away
//! is made anew, and said. (The journal looks after its own folder.)

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::error;

use super::control::DaemonControl;
use super::requests::{Order, Orders};
use crate::admin::{AdminConfig, Listener};
use crate::journal::lock::{Kept, Lock};
use crate::ledger::Ledger;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// The admin listener, as long as there is one.
#[derive(Clone)]
pub(super) struct Admin {
    config: AdminConfig,
    desk: Arc<DaemonControl>,
    listener: Arc<Mutex<Option<Listener>>>,
}

impl Admin {
    /// Starts it. Without it webhooks are taken all the same: a disk without room for a socket must not refuse them.
    pub fn start(config: AdminConfig, desk: &Arc<DaemonControl>) -> Self {
        let admin = Self { config, desk: Arc::clone(desk), listener: Arc::default() };
        admin.begin();
        admin
    }

    fn begin(&self) {
        let started = Listener::start(&self.config, self.desk.clone());
        // Without it webhooks are taken all the same: a disk without room for a socket must not refuse them.
        let missing =
            |error: &_| error!(%error, "the admin listener is missing: no live verbs, no /healthz; a restart may help");
        let started = started.inspect_err(missing).ok();
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = started;
    }

    /// Blocks, shortly.
    pub fn stop(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        listener.map(Listener::stop).unwrap_or_default();
    }
}

/// Looks until it is dropped, which lets go of the lock.
pub(super) async fn keep(mut lock: Lock, ledger: Arc<Ledger>, admin: Admin, orders: Orders) {
    let (mut told, mut restart) = (false, false);
    loop {
        tokio::time::sleep(EVERY).await;
        let looked = tokio::task::spawn_blocking(move || {
            let kept = lock.keep();
            (lock, kept)
        });
        // It cannot fail but by a panic, which was reported.
        let Ok((held, kept)) = looked.await else { return };
        lock = held;
        match kept {
            Ok(Kept::Whole) => told = false,
            Ok(Kept::File) => error!("LOCK was deleted while the daemon runs: made anew, the folder stayed locked"),
            Ok(Kept::Folder) => {
                error!(
                    "the data folder was taken away while it was in use: what the daemon holds is written to a new one"
                );
                let admin = admin.clone();
                let again = tokio::task::spawn_blocking(move || {
                    admin.stop();
                    admin.begin();
                });
                let _ = again.await;
                // What sinks had noted there is gone.
                restart = true;
            }
            Err(reason) if !std::mem::replace(&mut told, true) => {
                error!(%reason, "the data folder was taken away while it was in use, and cannot be made anew; trying again");
            }
            Err(_) => {}
        }
        // A sink that is stopped starts again only where the ledger can be read; before it is open, none has started.
        let ledger = ledger.look_after().await;
        if restart && matches!(ledger, Ok(true)) {
            orders.tell(Order::Restart);
        }
        restart &= matches!(ledger, Ok(false));
    }
}
