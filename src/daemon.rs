//! Builds the spine in the order data flows, and takes it down in the order that refuses nobody for long:
//! ledger → journal → sinks' first cursors → ingress → workers; then workers → ledger → ingress → journal.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sink_api::{DiskFloor, SinkContext, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::config::{Config, SinkEntry};
use crate::deliver::config::Start;
use crate::deliver::{self, Spec};
use crate::ingress::threads::Threads;
use crate::ingress::{self, Bound, Ingress};
use crate::journal::local::LocalJournal;
use crate::journal::lock::Lock;
use crate::journal::{Journal, JournalError, Position, Settlement};
use crate::ledger::{Ledger, LedgerError};
use crate::route::Unmatched;

/// How long sinks may finish what is under way when the daemon stops.
const SINK_DRAIN: Duration = Duration::from_secs(5);
/// Most fingerprints dedupe is given at start.
const MAX_KNOWN: usize = 1_000_000;

/// Why the daemon did not start, or could not go on.
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

/// Runs until `stop` resolves (to the reason's name), then takes everything down again.
///
/// # Errors
/// What kept it from starting; [`JournalError::Lost`] where it stopped without having written all that it had accepted.
pub async fn run(config: Config, stop: impl Future<Output = &'static str>) -> Result<(), DaemonError> {
    make_folder(&config.data_dir)?;
    let lock = Lock::take(&config.data_dir)?;
    let bound = ingress::bind(&config.server)?;
    let store = Store::open(&config)?;
    let rules = Arc::clone(&config.rules);

    let (stop_sinks, sinks_stop) = watch::channel(false);
    let mut sinks = JoinSet::new();
    for sink in &config.sinks {
        let cursor = store.first_cursor(sink).await?;
        store.journal.hold(&sink.name, cursor);
        if sink.keys.enabled {
            let spec = spec(&config, sink)?;
            let journal: Arc<dyn Journal> = store.journal.clone();
            sinks.spawn(deliver::run(spec, cursor, Arc::clone(&rules), journal, sinks_stop.clone(), SINK_DRAIN));
        } else {
            info!(sink = %sink.name, "not enabled: its cursor stays");
        }
    }

    // Every sink holds what it is owed: only now may anything be deleted.
    store.journal.begin_retention();
    let known = store.journal.fingerprints(dedupe_since(&config), MAX_KNOWN);
    let sources = config.sources.iter().map(|s| (s.name.clone(), s.config.clone())).collect();
    let front = Ingress::new(&config.server, sources, store.journal.clone(), known)?;
    let unmatched = Arc::new(Unmatched::default());
    let (rules, counted) = (Arc::clone(&config.rules), Arc::clone(&unmatched));
    front.on_append(Box::new(move |source, kind| {
        if !rules.matched(source, kind) && counted.note(source, kind) {
            info!(source, kind, "no route matches this type: its events are kept, and go nowhere");
        }
    }));
    let (stop_front, front_stop) = watch::channel(false);
    let listeners = bound.into_iter().map(Bound::listen).collect::<Result<Vec<_>, _>>()?;
    let threads = Threads::start(&front, &listeners, &front_stop).map_err(DaemonError::Runtime)?;
    for listener in listeners {
        info!(address = %listener.local_addr().map_err(DaemonError::Runtime)?, "listening");
    }
    info!(sources = config.sources.len(), sinks = config.sinks.len(), "ready");

    let signal = stop.await;
    info!(signal, "stopping: sinks first, webhooks are still taken");
    stop_sinks.send_replace(true);
    while sinks.join_next().await.is_some() {}
    store.ledger.close();
    stop_front.send_replace(true);
    // It cannot fail but by a panic, which was reported already.
    let _ = tokio::task::spawn_blocking(|| threads.join()).await;
    let closed = store.journal.close().await;
    for (source, kind, events) in unmatched.counts() {
        info!(source, kind, events, "matched no route since the start");
    }
    drop(lock);
    closed?;
    info!("stopped");
    Ok(())
}

/// What is on disk: the journal and the ledger.
struct Store {
    journal: Arc<LocalJournal>,
    ledger: Arc<Ledger>,
    /// The ledger is new although the journal is not: every sink starts at the oldest record.
    lost: bool,
}

impl Store {
    fn open(config: &Config) -> Result<Self, DaemonError> {
        let path = config.data_dir.join("ledger.db");
        let (ledger, opened) = Ledger::open(&path)?;
        let ledger = Arc::new(ledger);
        let size = move || ledger_size(&path);
        let folder = config.journal.dir.clone().unwrap_or_else(|| config.data_dir.join("journal"));
        make_folder(&folder)?;
        let (journal, found) = LocalJournal::open(&folder, &config.journal, ledger.clone(), Box::new(size))?;
        info!(segments = found.segments, scanned = found.scanned, cut_bytes = found.cut_bytes, "journal opened");
        let lost = opened.fresh && found.had_records;
        if lost {
            error!("the journal holds events but the ledger is new: every sink starts at the oldest, nothing is lost");
        }
        Ok(Self { journal: Arc::new(journal), ledger, lost })
    }

    /// Where a sink goes on; a new sink's first cursor is durable when this returns.
    async fn first_cursor(&self, sink: &SinkEntry) -> Result<Position, DaemonError> {
        if let Some(state) = self.journal.load(&sink.name).await? {
            return Ok(state.cursor);
        }
        let cursor = match sink.keys.start {
            Start::Now if !self.lost => self.journal.end(),
            Start::Now | Start::Beginning => self.journal.oldest(),
        };
        let step = Settlement { sink: sink.name.clone(), cursor: Some(cursor), ..Settlement::default() };
        self.journal.settle(step).await?;
        Ok(cursor)
    }
}

fn ledger_size(path: &Path) -> u64 {
    let of = |suffix: &str| std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |m| m.len());
    of("") + of("-wal")
}

fn spec(config: &Config, sink: &SinkEntry) -> Result<Spec, DaemonError> {
    let context = SinkContext {
        name: sink.name.clone(),
        base_dir: config.base_dir.clone(),
        state_dir: config.data_dir.join("sinks").join(&sink.name),
        floor: DiskFloor { min_free: config.journal.min_free.0 },
    };
    make_folder(&context.state_dir)?;
    Ok(Spec {
        name: sink.name.clone(),
        config: Arc::clone(&sink.config),
        keys: sink.keys.clone(),
        limits: sink.limits,
        context,
    })
}

/// The longest window of any source, back from now, in microseconds.
fn dedupe_since(config: &Config) -> i64 {
    let longest = config.sources.iter().filter_map(|s| s.config.dedupe.window()).max().unwrap_or_default();
    let micros = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().as_microsecond().saturating_sub(micros)
}

fn make_folder(path: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| DaemonError::Folder { path: path.to_owned(), error })
}
