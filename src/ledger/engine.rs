//! Which engine keeps the journal. This is the one place that asks: whoever comes later sees [`Storage`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sink_api::kafka::addresses;
use tokio::runtime::Handle;
use tracing::info;

use super::nodes::{Alone, Nodes};
use super::shared::{KafkaNodes, KafkaSettle, ShardCopy};
use super::{Ledger, LocalSettle, Storage};
use crate::journal::kafka::{Bounds, Cluster, FromBegin, Groups, KafkaJournal, Retaining, message};
use crate::journal::{
    Commits, JournalConfig, JournalError, Kind, LocalJournal, Pulse, Reads, SubjectOf, config, folder,
};

/// What an engine is opened by.
pub struct Opening<'o> {
    /// `[journal]`.
    pub config: &'o JournalConfig,
    /// The daemon's folder.
    pub data_dir: &'o Path,
    /// The folder in which the config's relative paths start.
    pub base_dir: &'o Path,
    /// The host's name, which is the daemon's where its config gives it none.
    pub host: &'o str,
    /// Most bytes of dead letters.
    pub dead_bytes: u64,
    /// What an event is about.
    pub subject_of: SubjectOf,
}

/// An engine that was opened. Its ledger is not open yet.
pub struct Engine {
    /// The way to it.
    pub storage: Storage,
    /// The daemons that share the journal.
    pub nodes: Arc<dyn Nodes>,
    /// Whether what writes the journal goes on.
    pub pulse: Arc<dyn Pulse>,
    /// What commits cost.
    pub commits: Commits,
    /// Whether the journal held events that a new ledger would know nothing of.
    pub had_records: bool,
    /// Where the ledger's file is, or will be.
    pub ledger_file: PathBuf,
    /// The folder whose disk must have room: the journal's, or the one where events wait for others to take them.
    pub folder: PathBuf,
    /// What `max_size` bounds, as people call it.
    pub place: String,
}

/// Opens the engine that the config names. Waits for the disk, and asks nobody else.
///
/// # Errors
/// Where the journal cannot be had.
pub async fn open(opening: &Opening<'_>) -> Result<Engine, JournalError> {
    match opening.config.kind {
        Kind::Local => local(opening),
        Kind::Kafka => kafka(opening).await,
    }
}

fn local(opening: &Opening<'_>) -> Result<Engine, JournalError> {
    let ledger_file = opening.data_dir.join("ledger.db");
    let ledger = Arc::new(Ledger::bounded(opening.dead_bytes));
    let size = {
        let path = ledger_file.clone();
        move || ledger_size(&path)
    };
    let config = opening.config;
    let folder = config.dir.clone().unwrap_or_else(|| opening.data_dir.join("journal"));
    folder::make(&folder)?;
    let (journal, found) = LocalJournal::open(&folder, config, opening.subject_of, ledger.clone(), Box::new(size))?;
    info!(segments = found.segments, scanned = found.scanned, cut_bytes = found.cut_bytes, "journal opened");
    let journal = Arc::new(journal);
    let settle = Arc::new(LocalSettle::new(Arc::clone(&ledger), journal.clone()));
    Ok(Engine {
        nodes: Arc::new(Alone),
        pulse: journal.clone(),
        commits: journal.commits(),
        had_records: found.had_records,
        ledger_file,
        place: folder.display().to_string(),
        folder,
        storage: Storage { retention: journal.clone(), journal, settle, ledger },
    })
}

/// Whether whoever keeps the journal elsewhere is there, and would do; names what a start would make there. `None`
/// where this machine keeps it. Changes nothing.
///
/// # Errors
/// Where nobody answers, or a start would be refused.
pub async fn inspect(opening: &Opening<'_>, readers: &[Reads]) -> Result<Option<Vec<String>>, JournalError> {
    match opening.config.kind {
        Kind::Local => Ok(None),
        Kind::Kafka => {
            let (cluster, bounds) = (cluster(opening)?, bounds(opening.config));
            KafkaJournal::inspect(&cluster, &bounds, readers).await.map(Some)
        }
    }
}

fn cluster(opening: &Opening<'_>) -> Result<Cluster, JournalError> {
    let config = opening.config;
    let brokers = addresses(config.brokers.as_deref().unwrap_or_default());
    Ok(Cluster {
        brokers: brokers.map_err(|_| JournalError::Unfit("[journal] has no `brokers`".to_owned()))?,
        name: config.cluster.clone().unwrap_or_else(|| config::CLUSTER.to_owned()),
        node: config.node.clone().unwrap_or_else(|| opening.host.to_owned()),
        partitions: config.partitions.unwrap_or(config::PARTITIONS),
        properties: config.properties.clone(),
        base_dir: opening.base_dir.to_owned(),
    })
}

fn bounds(config: &JournalConfig) -> Bounds {
    Bounds {
        max_size: config.max_size,
        overflow_max: config.overflow_max,
        overflow_disk: config.overflow_disk.unwrap_or(config::OVERFLOW_DISK),
        min_free: config.min_free,
        flush: config.flush.unwrap_or_default(),
    }
}

async fn kafka(opening: &Opening<'_>) -> Result<Engine, JournalError> {
    let (config, cluster, bounds) = (opening.config, cluster(opening)?, bounds(opening.config));
    let ledger = Arc::new(Ledger::bounded(opening.dead_bytes));
    let copy = Arc::new(ShardCopy::new(Arc::clone(&ledger)));
    let overflow = opening.data_dir.join("overflow");
    let groups = Groups::new(cluster.clone(), copy.clone(), message::decode, Handle::current());
    let groups = Arc::new(groups.marked_in(&overflow));
    let nodes = Arc::new(KafkaNodes::new(cluster.node.clone(), groups.clone()));
    info!(cluster = cluster.name, node = cluster.node, shards = cluster.partitions, "the journal is on Kafka");
    let (members, subject_of) = (Arc::clone(&groups), opening.subject_of);
    let place = cluster.events();
    let journal = KafkaJournal::open(cluster.clone(), &overflow, bounds, subject_of, members).await?;
    let journal = Arc::new(journal);
    let retaining = Retaining::new(cluster, groups.clone(), config.retention.0, journal.sizes());
    Ok(Engine {
        nodes,
        pulse: journal.clone(),
        commits: Commits::default(),
        // What the ledger held comes from Kafka again.
        had_records: false,
        ledger_file: opening.data_dir.join("shards.db"),
        folder: overflow,
        place,
        storage: Storage {
            retention: Arc::new(FromBegin::new(retaining, Handle::current())),
            journal,
            settle: Arc::new(KafkaSettle::new(copy, groups)),
            ledger,
        },
    })
}

fn ledger_size(path: &Path) -> u64 {
    let of = |suffix: &str| std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |m| m.len());
    of("") + of("-wal")
}
