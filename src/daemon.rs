//! Builds the spine in the order data flows, and takes it down in the order that refuses nobody for long:
//! journal → ledger → sinks' first cursors and workers → ingress; then workers → ledger → ingress → journal.
//!
//! A disk that is full or failing does not keep ingress from starting: then ledger and sinks come later (`sinks`), and
//! READY is said when they have. The addresses are taken at the very beginning, when a fault costs nothing yet, but they
//! listen last: no client gets a connection that a start which fails would reset.

mod dead;
mod panel;
mod sinks;
mod store;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use sink_api::Timestamp;
use tokio::sync::watch;
use tracing::{error, info};

use crate::admin::Listener;
use crate::config::Config;
use crate::ingress::threads::Threads;
use crate::ingress::{self, Bound, Ingress};
use crate::journal::lock::Lock;
use crate::journal::{Journal, JournalError, disk};
use crate::ledger::LedgerError;
use crate::route::Unmatched;
use panel::{Books, Desk};
use sinks::Sinks;
use store::Store;

/// Most fingerprints dedupe is given at start.
const MAX_KNOWN: usize = 1_000_000;

/// Why the daemon did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No runtime, no signals.
    #[error("the system refuses: {0}")]
    Runtime(io::Error),
    /// A folder cannot be made or used.
    #[error("{path}: {error}", path = path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The journal, or its lock.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A listen address.
    #[error(transparent)]
    Bind(#[from] ingress::BindError),
    /// A source.
    #[error(transparent)]
    Source(#[from] ingress::SetupError),
}

impl DaemonError {
    /// Whether it may pass while one waits: the disk is full or failing. What an open ledger answers always may: what is
    /// written to it is tried again for as long as the daemon runs, and so it is before.
    fn may_pass(&self) -> bool {
        match self {
            Self::Folder { error, .. } => disk::is_trouble(error),
            Self::Ledger(error) => error.is_disk_trouble(),
            Self::Journal(JournalError::Cursors(_)) => true,
            Self::Runtime(_) | Self::Journal(_) | Self::Bind(_) | Self::Source(_) => false,
        }
    }
}

/// Runs until `stop` resolves (to the reason's name), then takes everything down again.
///
/// # Errors
/// What kept it from starting; [`JournalError::Lost`] where it stopped without having written all that it had accepted.
pub async fn run(config: Config, stop: impl Future<Output = &'static str>) -> Result<(), DaemonError> {
    make_folder(&config.data_dir)?;
    let lock = Lock::take(&config.data_dir)?;
    let bound = ingress::bind(&config.server)?;
    let mut store = Store::open(&config)?;
    let unmatched = Arc::new(Unmatched::default());
    let books = Arc::new(Books::new(&config.rules, config.sinks.iter().map(|sink| sink.name.clone())));
    let front = front(&config, &store, &unmatched, &books)?;
    let mut sinks = Sinks::default();
    sinks.start_if_possible(&config, &mut store, &books).await?;

    let listeners = bound.into_iter().map(Bound::listen).collect::<Result<Vec<_>, _>>()?;
    let (stop_front, front_stop) = watch::channel(false);
    let threads = Threads::start(&front, &listeners, &front_stop).map_err(DaemonError::Runtime)?;
    for listener in listeners {
        info!(address = %listener.local_addr().map_err(DaemonError::Runtime)?, "listening");
    }

    let keeper = tokio::spawn(dead::keep(Arc::clone(&store.ledger), config.dead_letters.max_age.0));
    let desk = Arc::new(Desk::new(&config, &store, &front, &books));
    // Without it webhooks are taken all the same: a disk without room for a socket must not refuse them.
    let admin = Listener::start(&config.admin, desk.clone()).inspect_err(|error| error!(%error, "no live verbs")).ok();

    let ended = until_stopped(&config, &mut store, &mut sinks, &books, stop).await;
    match &ended {
        Ok(signal) => info!(signal, "stopping: sinks first, webhooks are still taken"),
        Err(reason) => error!(%reason, "stopping: the sinks cannot be started"),
    }
    keeper.abort();
    sinks.stop().await;
    store.ledger.close();
    desk.stopping();
    stop_front.send_replace(true);
    // It cannot fail but by a panic, which was reported already.
    let _ = tokio::task::spawn_blocking(|| threads.join()).await;
    // Last but for the journal, so that it can be asked how the stop goes.
    let _ = tokio::task::spawn_blocking(move || admin.map(Listener::stop)).await;
    let closed = store.journal.close().await;
    for (source, kind, events) in unmatched.counts() {
        info!(source, kind, events, "matched no route since the start");
    }
    drop(lock);
    closed?;
    ended?;
    info!("stopped");
    Ok(())
}

/// Waits for the end, and for the sinks where they have not started yet.
async fn until_stopped(
    config: &Config,
    store: &mut Store,
    sinks: &mut Sinks,
    books: &Books,
    stop: impl Future<Output = &'static str>,
) -> Result<&'static str, DaemonError> {
    let mut stop = pin!(stop);
    tokio::select! {
        biased;
        signal = &mut stop => return Ok(signal),
        started = sinks.keep_trying(config, store, books) => started?,
    }
    info!(sources = config.sources.len(), sinks = config.sinks.len(), "ready");
    Ok(stop.await)
}

/// The front, which tells `unmatched` of what no route wants.
fn front(
    config: &Config,
    store: &Store,
    unmatched: &Arc<Unmatched>,
    books: &Arc<Books>,
) -> Result<Arc<Ingress>, DaemonError> {
    let known = store.journal.fingerprints(dedupe_since(config), MAX_KNOWN);
    let sources = config.sources.iter().map(|s| (s.name.clone(), s.config.clone())).collect();
    let front = Ingress::new(&config.server, sources, store.journal.clone(), known)?;
    let (books, counted) = (Arc::clone(books), Arc::clone(unmatched));
    front.on_append(Box::new(move |source, kind| {
        let (owed, wanted) = books.appended.counter(source, kind);
        if !wanted && counted.note(source, kind) {
            info!(source, kind, "no route matches this type: its events are kept, and go nowhere");
        }
        owed
    }));
    Ok(front)
}

/// The longest window of any source, back from now, in microseconds.
fn dedupe_since(config: &Config) -> i64 {
    let longest = config.sources.iter().map(|s| s.config.dedupe_window()).max().unwrap_or_default();
    let micros = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().as_microsecond().saturating_sub(micros)
}

fn make_folder(path: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    // "File exists" says nothing of what is wrong with it.
    let made = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            io::Error::new(io::ErrorKind::NotADirectory, "something is there that is no folder")
        }
        _ => error,
    });
    made.map_err(|error| DaemonError::Folder { path: path.to_owned(), error })
}
