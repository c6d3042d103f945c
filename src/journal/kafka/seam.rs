//! What the engine on Kafka and the ledger ask of each other. The engine knows groups, transactions and topics, and
//! nothing of what rows and notes say; the ledger knows what is held and counted, and nothing of Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::journal::{CursorsError, Marks, Position};

/// Most bytes of a note: what a broker takes as the metadata of a committed offset (`offset.metadata.max.bytes`).
pub const MAX_NOTE: usize = 4096;

/// One row of what is held of a sink in a shard, whole: whoever has the last row of each key has all. The topic of rows
/// is compacted by the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which row; unique in its sink and shard.
    pub key: String,
    /// What it says; `None`: it is forgotten.
    pub value: Option<Bytes>,
}

/// Where one sink stands in one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The first position that it has not settled.
    pub cursor: Position,
    /// What was counted on the way, in the ledger's words, at most [`MAX_NOTE`] bytes. Two steps of a shard never have
    /// the same: by its note is known whether a step arrived.
    pub note: String,
}

/// One step of one sink in one shard. All that it says is absolute, so that it may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the sink stands after it. The cursor is named with every step, moved or not: it is the fence.
    pub stand: Stand,
    /// The rows that change.
    pub rows: Vec<Row>,
}

/// Why steps were not made durable. Nothing of them is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// These shards are another's by now, or nobody's: what was done of them is done again by whoever has them.
    #[error("shards {0:?} are not this daemon's any more")]
    Fenced(Vec<u32>),
    /// The brokers could not be asked, or refused; it may be tried again.
    #[error("Kafka cannot take it: {0}")]
    Unavailable(String),
}

/// Makes steps durable. Implemented by the engine.
#[async_trait]
pub trait Committer: Send + Sync {
    /// Makes these steps of one sink durable, all of them or none, where all their shards are this daemon's. Where a
    /// broker's answer was lost, it is found out what became of them before this returns.
    async fn commit(&self, sink: &str, steps: Vec<Step>) -> Result<(), CommitError>;
    /// Where a sink stands in every shard, whoever owns it; nothing where it never began.
    async fn stands(&self, sink: &str) -> Result<Vec<Stand>, CommitError>;
    /// Lets a sink begin that never did: it stands there from now on, in every shard. Nothing happens where it has
    /// begun meanwhile.
    async fn begin(&self, sink: &str, stands: Vec<Stand>) -> Result<(), CommitError>;
    /// Writes a row that all daemons see (`sink/NAME`, `replay/N` …), or takes it away.
    async fn set_control(&self, row: Row) -> Result<(), CommitError>;
    /// The rows that all daemons see, by key, with all that was written before this was asked.
    async fn control(&self) -> Result<Vec<Row>, CommitError>;
}

/// The rows that all daemons see, as somebody has them who reads on.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// By key; all that stood before `next`.
    pub rows: Arc<BTreeMap<String, Bytes>>,
    /// The place behind the last row that was read.
    pub next: u64,
    /// Whether they were read to the end of the topic once. Before that there are none here.
    pub is_whole: bool,
}

/// What a daemon has of its own and what it hears of the others without asking brokers each time. Implemented by the
/// engine.
#[async_trait]
pub trait Hears: Committer {
    /// What all daemons see, read on for as long as this process lives: a moment late, and late by as long as brokers
    /// are away.
    fn told(&self) -> watch::Receiver<Told>;
    /// Where a sink stands in the shards that are read here, which are surely this daemon's to settle.
    fn here(&self, sink: &str) -> Vec<Stand>;
    /// Where a sink stands in every shard, as [`Committer::stands`] says it, but for what a daemon that died left open:
    /// that is not waited for. Not for who goes on from there; may be asked often.
    async fn glance(&self, sink: &str) -> Result<Vec<Stand>, CommitError>;
    /// A number that nobody in the cluster was ever given before, and greater than all that were.
    async fn number(&self) -> Result<u64, CommitError>;
}

/// Keeps a copy of the shards that are this daemon's. Implemented by the ledger.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// These shards of a sink will be this daemon's: what was kept of them is forgotten, and what follows is theirs.
    async fn taking(&self, sink: &str, stands: Vec<Stand>) -> Result<(), CursorsError>;
    /// Rows of one of these shards, in the order of the topic; a key may come more than once, the last counts.
    async fn restored(&self, sink: &str, shard: u32, rows: Vec<Row>) -> Result<(), CursorsError>;
    /// These shards are not this daemon's any more: what was kept of them is forgotten.
    async fn gone(&self, sink: &str, shards: Vec<u32>) -> Result<(), CursorsError>;
}

/// Where all sinks' stands are, as marks.
pub fn marks(stands: &[Stand]) -> Marks {
    stands.iter().map(|stand| stand.cursor).collect()
}
