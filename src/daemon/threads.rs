//! Threads: the daemon starts where it can have all of those it cannot do without, and says so where it cannot.
//!
//! The runtime and the log panic where the system gives them no thread. So as many as they will need are started, all at
//! once and for nothing, before they are.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::error::DaemonError;

/// Beside the runtime's and those that serve: the log, the journal's two, the ledger's.
const OWN: usize = 4;
/// Threads for work that blocks, so that a sink that hangs in one does not keep the ledger from being opened.
const BLOCKING: usize = 2;
/// How long a thread that blocks is kept without work. The daemon looks for old dead letters once a minute, on such a
/// thread: so the last one never goes, and what comes for it is not left waiting where the system gives no other.
const KEPT: Duration = Duration::from_secs(150);
/// How long the first of those may take to begin. Others of the same user may have been quicker.
const BEGINNING: Duration = Duration::from_secs(10);
/// How long threads that have ended may still count as there, and how often that is looked at.
const GOING: (Duration, u32) = (Duration::from_millis(1), 1000);

/// The runtime of the sinks, once it is known that all threads can be had.
///
/// # Errors
/// [`DaemonError::Threads`], [`DaemonError::Runtime`].
pub fn runtime() -> Result<Runtime, DaemonError> {
    let cores = available_parallelism().map_or(1, usize::from);
    rehearse(2 * cores + OWN + BLOCKING)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().worker_threads(cores).thread_keep_alive(KEPT);
    let runtime = builder.build().map_err(DaemonError::Runtime)?;
    // The first of those that block, and kept.
    let begun = runtime.spawn_blocking(|| ());
    let begun = runtime.block_on(async { tokio::time::timeout(BEGINNING, begun).await });
    begun.map_err(|error| DaemonError::Runtime(error.into()))?.map_err(|error| DaemonError::Runtime(error.into()))?;
    Ok(runtime)
}

/// Starts so many threads at once, and lets them go again.
fn rehearse(needed: usize) -> Result<(), DaemonError> {
    let before = alive();
    let gate = Arc::new(Mutex::new(()));
    let shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let one = |_| {
        let gate = Arc::clone(&gate);
        Builder::new().spawn(move || drop(gate.lock()))
    };
    let mut started: Vec<JoinHandle<()>> = Vec::with_capacity(needed);
    let refused: Option<io::Error> = (0..needed).map(one).find_map(|thread| match thread {
        Ok(thread) => {
            started.push(thread);
            None
        }
        Err(error) => Some(error),
    });
    let had = started.len();
    drop(shut);
    for thread in started {
        // They hold nothing and cannot fail.
        let _ = thread.join();
    }
    match refused {
        Some(error) => Err(DaemonError::Threads { had, needed, error }),
        None => {
            // One that was joined counts against the limit until the kernel has cleared it away.
            let _ = (0..GOING.1).take_while(|_| alive() > before).map(|_| std::thread::sleep(GOING.0)).count();
            Ok(())
        }
    }
}

/// Threads of this process.
fn alive() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
