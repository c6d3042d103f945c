//! The data folder while the daemon uses it. Every second the daemon looks whether the folder, the lock on it and the
//! files of ledger and outbox are still there, makes anew what was taken away, and logs it. (The journal looks after
//! its own folder.)

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::admin_listener::AdminListener;
use super::requests::{Request, Requests};
use crate::journal::lock::{Kept, Lock};
use crate::ledger::Ledger;
use crate::outbox::Outbox;

/// How often the daemon looks.
const EVERY: Duration = Duration::from_secs(1);

/// Looks after the data folder until this task is dropped, and the lock with it.
pub(super) async fn look_after(
    mut lock: Lock,
    (ledger, outbox): (Arc<Ledger>, Outbox),
    admin: AdminListener,
    requests: Requests,
) {
    let (mut failure_logged, mut restart_sinks) = (false, false);
    loop {
        tokio::time::sleep(EVERY).await;
        let looked = tokio::task::spawn_blocking(move || {
            let kept = lock.keep();
            (lock, kept)
        });
        // The task cannot fail but by a panic, which was reported.
        let Ok((held, kept)) = looked.await else { return };
        lock = held;
        match kept {
            Ok(Kept::Whole) => failure_logged = false,
            Ok(Kept::File) => error!("LOCK was deleted while the daemon runs: made anew, the folder stayed locked"),
            Ok(Kept::Folder) => {
                error!(
                    "the data folder was taken away while it was in use: what the daemon holds is written to a new one"
                );
                let admin = admin.clone();
                let _ = tokio::task::spawn_blocking(move || admin.restart()).await;
                // What sinks had noted in the old folder is gone.
                restart_sinks = true;
            }
            Err(reason) if !std::mem::replace(&mut failure_logged, true) => {
                error!(
                    %reason,
                    "the data folder was taken away while it was in use, and cannot be made anew; trying again"
                );
            }
            Err(_) => {}
        }
        // A sink that is stopped starts again only where the ledger can be read; before the ledger is open no sink
        // runs.
        let ledger = ledger.look_after().await;
        // It says by itself where that fails; what is asked of it meanwhile is answered from the file that is open.
        let _ = outbox.look_after().await;
        if restart_sinks && matches!(ledger, Ok(true)) {
            requests.send(Request::RestartSinks);
        }
        restart_sinks &= matches!(ledger, Ok(false));
    }
}
