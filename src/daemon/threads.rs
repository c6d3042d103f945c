//! Sees that the system gives the daemon all the threads it cannot do without, before the daemon starts.
//!
//! The runtime and the log panic where the system gives them no thread. So as many threads as they will need are
//! started before them, all at the same time and without work, and ended again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::error::DaemonError;

/// Threads beside the runtime's and those that serve: the log's, the journal's two, the ledger's, the outbox's, the
/// watchdog's.
const OWN: usize = 6;
/// Threads for work that blocks: two, so that a sink that hangs in one of them does not keep the ledger from being
/// opened.
const BLOCKING: usize = 2;
/// How long a thread for blocking work is kept without work. The daemon looks for old dead letters once a minute, on
/// such a thread, so that the last of these threads never ends: where the system gives no other, work does not wait for
/// ever.
const KEEP_ALIVE: Duration = Duration::from_secs(150);
/// How long the first of those threads may take to start. Other processes of the same user may take the last threads
/// that the limit allows.
const FIRST_START: Duration = Duration::from_secs(10);
/// How long to pause between looks whether ended threads are gone, and how many looks at most.
const ENDED: (Duration, u32) = (Duration::from_millis(1), 1000);

/// The runtime of the sinks, once it is known that all threads can be had.
///
/// # Errors
/// [`DaemonError::Threads`], [`DaemonError::Runtime`].
pub fn runtime() -> Result<Runtime, DaemonError> {
    let cores = available_parallelism().map_or(1, usize::from);
    rehearse(2 * cores + OWN + BLOCKING)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().worker_threads(cores).thread_keep_alive(KEEP_ALIVE);
    let runtime = builder.build().map_err(DaemonError::Runtime)?;
    // Starts the first thread for blocking work, which is kept from then on.
    let begun = runtime.spawn_blocking(|| ());
    let begun = runtime.block_on(async { tokio::time::timeout(FIRST_START, begun).await });
    begun.map_err(|error| DaemonError::Runtime(error.into()))?.map_err(|error| DaemonError::Runtime(error.into()))?;
    Ok(runtime)
}

/// Starts so many threads at the same time, and ends them again.
fn rehearse(needed: usize) -> Result<(), DaemonError> {
    let before = alive();
    let gate = Arc::new(Mutex::new(()));
    let shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let spawn = |_| {
        let gate = Arc::clone(&gate);
        Builder::new().spawn(move || drop(gate.lock()))
    };
    let mut started: Vec<JoinHandle<()>> = Vec::with_capacity(needed);
    let refused: Option<io::Error> = (0..needed).map(spawn).find_map(|thread| match thread {
        Ok(thread) => {
            started.push(thread);
            None
        }
        Err(error) => Some(error),
    });
    let had = started.len();
    drop(shut);
    for thread in started {
        // These threads do nothing that could fail.
        let _ = thread.join();
    }
    match refused {
        Some(error) => Err(DaemonError::Threads { had, needed, error }),
        None => {
            // A thread that was joined counts against the limit until the kernel has cleared it away.
            let _ = (0..ENDED.1).take_while(|_| alive() > before).map(|_| std::thread::sleep(ENDED.0)).count();
            Ok(())
        }
    }
}

/// Threads of this process.
fn alive() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
