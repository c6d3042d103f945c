//! Making durable how far sinks have come and what became of their deliveries, whichever engine keeps the journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::held::Change;
use super::replays::{Replay, ReplayCounts, UnderWay};
use super::shared::{NoteError, RowError};
use super::{Dead, Ledger, Settlement, SinkState};
use crate::journal::{Marks, Position, Retention};

/// Why the ledger did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// It is not open yet, or closed by now.
    #[error("ledger: the ledger is not open")]
    Closed,
    /// SQLite failed; nothing of what was asked for is written.
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A look into it was cut short.
    #[error("ledger: {0}")]
    CutShort(#[from] tokio::task::JoinError),
    /// The sink never began.
    #[error("ledger: the ledger knows no cursor of {0}")]
    NoCursor(String),
    /// These shards are another daemon's by now, or nobody's; nothing of what was asked for is written.
    #[error("ledger: shards {0:?} are not this daemon's any more")]
    Fenced(Vec<u32>),
    /// Kafka cannot take it now, or cannot be asked; nothing of what was asked for is written.
    #[error("ledger: Kafka cannot take it: {0}")]
    Unavailable(String),
    /// What was counted in a shard cannot be read.
    #[error("ledger: {0}")]
    Note(#[from] NoteError),
    /// What is held of a shard cannot be read.
    #[error("ledger: a row of what is held cannot be read: {0}")]
    Row(#[from] RowError),
    /// So many replays are under way already that no more may begin.
    #[error("ledger: {0} replays are under way: wait for one, or end one (`hookrelay replay --list`, `--cancel`)")]
    TooManyReplays(usize),
    /// It cannot be done yet where the journal is on Kafka.
    #[error("ledger: {0} is not supported where the journal is on Kafka")]
    NotOnKafka(&'static str),
}

/// What this process is to do about sinks, whichever process was asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Sinks that are held.
    pub paused: BTreeSet<String>,
    /// Sinks to be moved on to these marks, in the shards that are this process's, where they stand before them.
    pub skips: Vec<(String, Marks)>,
    /// Replays to be carried out: `until` names the shards that are this process's part of it, `first` all.
    pub replays: Vec<Replay>,
}

/// Everything that changes a sink's durable state goes through here. What these return without an error is flushed.
#[async_trait]
pub trait Settle: Send + Sync {
    /// A sink's state, `None` where it never had one.
    async fn load(&self, sink: &str) -> Result<Option<SinkState>, SettleError>;
    /// The same to be shown: not for who goes on from there, and may be asked often.
    async fn glance(&self, sink: &str) -> Result<Option<SinkState>, SettleError> {
        self.load(sink).await
    }
    /// Makes these steps durable, all of them or none, and lets retention have what nobody needs any more.
    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), SettleError>;
    /// Changes those of a sink's letters that are dead still.
    async fn change_dead(&self, sink: &str, ids: Vec<String>, change: Change) -> Result<Dead, SettleError>;
    /// Holds a sink over restarts, or lets it go; an error where the ledger does not know the sink.
    async fn pause(&self, sink: &str, paused: bool) -> Result<(), SettleError>;
    /// Whether a sink is held by [`Self::pause`].
    async fn is_paused(&self, sink: &str) -> Result<bool, SettleError>;
    /// Begins a replay for these sinks, under one new number.
    async fn begin_replay(&self, replays: Vec<Replay>) -> Result<i64, SettleError>;
    /// Ends a replay where it stands; says for how many sinks it was under way.
    async fn cancel_replay(&self, id: i64) -> Result<usize, SettleError>;
    /// All replays under way, and how far they have come.
    async fn replays(&self) -> Result<Vec<UnderWay>, SettleError>;
    /// What became of a replay so far, sink by sink; nothing of one that is long over.
    async fn replay_counts(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError>;
    /// Has every other process move the sink on to these marks, in its shards ([`Orders::skips`]).
    async fn skip(&self, _sink: &str, _to: &Marks) -> Result<(), SettleError> {
        Ok(())
    }
    /// What this process is to do.
    async fn orders(&self) -> Result<Orders, SettleError>;
    /// Waits until [`Self::orders`] may say something new that this process was not asked for itself; for ever where
    /// nobody else can be asked. Cancel-safe.
    async fn changed(&self) {
        std::future::pending().await
    }
}

/// The local engine's: the ledger, and retention, which learns of cursors once they are flushed.
pub struct LocalSettle {
    ledger: Arc<Ledger>,
    retention: Arc<dyn Retention>,
}

impl LocalSettle {
    /// Settles in this ledger, for a journal with that retention.
    pub fn new(ledger: Arc<Ledger>, retention: Arc<dyn Retention>) -> Self {
        Self { ledger, retention }
    }
}

#[async_trait]
impl Settle for LocalSettle {
    async fn load(&self, sink: &str) -> Result<Option<SinkState>, SettleError> {
        self.ledger.load(sink).await
    }

    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), SettleError> {
        let passed: Vec<(String, Position)> =
            steps.iter().filter_map(|step| Some((step.holder(), step.cursor?))).collect();
        self.ledger.settle(steps).await?;
        // Only now: a segment must not go before the cursor that released it is flushed.
        passed.iter().for_each(|(holder, cursor)| self.retention.passed(holder, *cursor));
        Ok(())
    }

    async fn change_dead(&self, sink: &str, ids: Vec<String>, change: Change) -> Result<Dead, SettleError> {
        self.ledger.change_dead(sink, ids, change).await
    }

    async fn pause(&self, sink: &str, paused: bool) -> Result<(), SettleError> {
        self.ledger.pause(sink, paused).await
    }

    async fn is_paused(&self, sink: &str) -> Result<bool, SettleError> {
        self.ledger.is_paused(sink).await
    }

    async fn begin_replay(&self, replays: Vec<Replay>) -> Result<i64, SettleError> {
        self.ledger.begin_replay(replays).await
    }

    async fn cancel_replay(&self, id: i64) -> Result<usize, SettleError> {
        self.ledger.cancel_replay(id).await
    }

    async fn replays(&self) -> Result<Vec<UnderWay>, SettleError> {
        Settle::replays(&*self.ledger).await
    }

    async fn replay_counts(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError> {
        self.ledger.replay_counts(id).await
    }

    async fn orders(&self) -> Result<Orders, SettleError> {
        self.ledger.orders().await
    }
}
