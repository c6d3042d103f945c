//! The journal, the ledger and the outbox as the daemon opens them. The journal is opened first, and no start succeeds
//! without it; the ledger may come later: a full disk has no room for it, yet webhooks must be taken. The outbox opens
//! its file itself, when it is needed.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{error, warn};

use super::disk_watch::DiskTrouble;
use super::error::DaemonError;
use super::host::host;
use crate::config::Config;
use crate::deliver::Budget;
use crate::event;
use crate::journal::{Commits, JournalError, Marks, Pulse};
use crate::ledger::engine::{self, Engine, Opening};
use crate::ledger::nodes::Nodes;
use crate::ledger::{Ledger, Storage};
use crate::news::News;
use crate::outbox::{self, Outbox};

/// Holds the journal for every sink that the ledger may know of while it is not open. No sink can have such a name.
pub const UNKNOWN: &str = "@";

/// The journal, the ledger and the outbox.
pub struct Store {
    /// The way to journal and ledger.
    pub storage: Storage,
    /// The daemons that share the journal.
    pub nodes: Arc<dyn Nodes>,
    /// What is remembered of messages that sinks send.
    pub outbox: Outbox,
    /// The memory of all sinks.
    pub budget: Arc<Budget>,
    /// Whether what writes the journal goes on.
    pub pulse: Arc<dyn Pulse>,
    /// What the journal's commits cost.
    pub commits: Commits,
    /// `[journal] min_free` and `max_size`, bytes.
    pub disk_bounds: [u64; 2],
    /// The folder whose disk must have room, and what `max_size` bounds.
    pub room: (PathBuf, String),
    /// What is wrong with the room that the journal has.
    pub disk_trouble: Arc<DiskTrouble>,
    path: PathBuf,
    /// Whether the journal held events when it was opened.
    had_records: bool,
    /// The user asked that sinks do not start at the oldest record where the ledger is lost.
    cursors_now: bool,
    /// The ledger is lost, and the user asked for that: all sinks start at what comes next. Known with `lost`.
    pub all_now: bool,
    /// The journal's end when it was opened. Events accepted since then change neither whether a ledger that is opened
    /// later counts as lost nor where a new sink begins.
    pub begun: Marks,
    /// Whether the ledger is new although the journal is not, so that every sink starts at the oldest record. Known
    /// once the ledger is open.
    pub lost: Option<bool>,
}

/// What the config says of the journal's engine.
pub(super) fn opening<'o>(config: &'o Config, host: &'o str) -> Opening<'o> {
    Opening {
        config: &config.journal,
        data_dir: &config.data_dir,
        base_dir: &config.base_dir,
        host,
        dead_bytes: config.dead_letters.max_size.0,
        subject_of: event::subject_of,
    }
}

impl Store {
    /// Opens the journal. The ledger is not open yet. What the outbox notices goes to `news`.
    pub async fn open(config: &Config, cursors_now: bool, news: &News) -> Result<Self, DaemonError> {
        let Engine { storage, nodes, pulse, commits, had_records, ledger_file, folder, place } =
            engine::open(&opening(config, &host())).await?;
        let outbox = Outbox::new(config.data_dir.join(outbox::FILE), news.clone());
        outbox.put_in_force(Arc::clone(&config.resends));
        Ok(Self {
            nodes,
            outbox,
            budget: Budget::new(config.delivery.memory.0),
            pulse,
            commits,
            disk_bounds: [config.journal.min_free.0, config.journal.max_size.0],
            room: (folder, place),
            disk_trouble: Arc::default(),
            begun: storage.journal.known_ends(),
            storage,
            path: ledger_file,
            had_records,
            cursors_now,
            all_now: false,
            lost: None,
        })
    }

    /// The journal's end when this life of the daemon began; where others append, too, as they said it first.
    pub fn begun(&self) -> Marks {
        self.storage.journal.began().unwrap_or_else(|| self.begun.clone())
    }

    /// Opens the ledger, unless it is open. After an error this may be tried again.
    pub async fn open_ledger(&mut self) -> Result<(), DaemonError> {
        if self.lost.is_some() {
            return Ok(());
        }
        let (ledger, path) = (Arc::clone(&self.storage.ledger), self.path.clone());
        let opened = tokio::task::spawn_blocking(move || ledger.attach(&path)).await;
        let opened = opened.map_err(|panicked| DaemonError::Runtime(std::io::Error::other(panicked)))??;
        let lost = opened.fresh && self.had_records;
        match (lost, self.cursors_now) {
            (true, false) => error!(
                "the journal holds events but the ledger is new: every sink starts at the oldest, nothing is lost; \
                 what was parked or given up is gone with the old ledger, and delivered again as far as the journal \
                 reaches"
            ),
            (true, true) => error!(
                "the journal holds events but the ledger is new: by --cursors=now every sink starts now, and what it \
                 was owed is not delivered"
            ),
            (false, true) => warn!("--cursors=now has no effect: the ledger is there"),
            (false, false) => {}
        }
        self.all_now = lost && self.cursors_now;
        let lost = lost && !self.cursors_now;
        self.lost = Some(lost);
        Ok(())
    }

    /// The two that are looked after while they are in use.
    pub fn databases(&self) -> (Arc<Ledger>, Outbox) {
        (Arc::clone(&self.storage.ledger), self.outbox.clone())
    }

    /// Closes ledger and outbox, once they have done what they were asked for. Blocks until then.
    pub fn close(&self) {
        self.storage.ledger.close();
        self.outbox.close();
    }

    /// Lets retention begin while nobody knows what the sinks have settled: until the ledger is open, every sink holds
    /// the whole journal, sinks that are not in the config included.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn hold_everything(&self, config: &Config) -> Result<(), JournalError> {
        let Storage { journal, retention, .. } = &self.storage;
        if journal.is_shared() {
            // It deletes nothing of which it is not known that all have it.
            return Ok(());
        }
        let oldest = journal.oldest().await?;
        retention.hold(UNKNOWN, &oldest);
        config.sinks.iter().for_each(|sink| retention.hold(&sink.name, &oldest));
        retention.begin();
        Ok(())
    }
}
