//! The copy as others use it: [`Keeper`] for the engine, which says which shards are this daemon's and what their rows
//! are, and what settling asks of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sink_api::Timestamp;
use tokio::sync::OnceCell;

use super::copy::{self, Follow};
use super::derive::Base;
use super::restore;
use super::rows::Progress;
use crate::journal::CursorsError;
use crate::journal::kafka::seam::{Keeper, Row, Stand};
use crate::ledger::{Dead, Ledger, SettleError};

/// Most rows that one transaction of the copy takes.
const MAX_ROWS: usize = 500;
/// A transaction of the copy ends with the row that passes this many bytes.
const MAX_BYTES: usize = 4 << 20;

/// Most rows of a kind that one transaction forgets.
const MAX_FORGOTTEN: i64 = 500;

/// What is written is not flushed: after a power cut the file is whole, and may lack the last changes of the copy,
/// which is made anew then anyway.
const UNFLUSHED: &str = "PRAGMA synchronous = NORMAL";

/// The copy of the shards that are this daemon's. Its ledger has a file of its own, or holds nothing of a journal on
/// this machine: what it held of shards when the process began is forgotten at the first use.
///
/// All rows of a shard are restored before its events are read: a row that came later would take the place of what was
/// settled meanwhile.
pub struct ShardCopy {
    ledger: Arc<Ledger>,
    begun: OnceCell<()>,
    /// How often a shard of a sink was taken or given away.
    changes: Mutex<HashMap<(String, u32), u64>>,
}

impl ShardCopy {
    /// A copy in that ledger, which need not be open yet.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, begun: OnceCell::new(), changes: Mutex::default() }
    }

    /// Forgets what the copy held in an earlier life, once. Whatever else is asked of the copy does so first; to be
    /// called before anybody looks at what is held.
    ///
    /// # Errors
    /// The ledger is not open, or cannot be written.
    pub async fn begin(&self) -> Result<(), SettleError> {
        let begin = || async {
            self.ledger.work(|connection| Ok(connection.execute_batch(UNFLUSHED)?)).await?;
            for (sink, shards) in self.ledger.write(restore::begin).await? {
                self.forget(&sink, shards).await?;
            }
            Ok::<(), SettleError>(())
        };
        self.begun.get_or_try_init(begin).await.map(drop)
    }

    /// How often a shard was taken or given away so far: what was made of it before the last time is void.
    pub(super) fn changes(&self, sink: &str, shard: u32) -> u64 {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.get(&(sink.to_owned(), shard)).copied().unwrap_or_default()
    }

    /// Forgets shards: at once for whoever settles, and then what is held of them, a part at a time, so that steps of
    /// other sinks come in between.
    async fn forget(&self, sink: &str, shards: Vec<u32>) -> Result<(), SettleError> {
        {
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            shards.iter().for_each(|shard| *changes.entry((sink.to_owned(), *shard)).or_default() += 1);
        }
        let of: (Arc<str>, Arc<[u32]>) = (sink.into(), shards.into());
        let (sink, shards) = of.clone();
        self.ledger.write(move |connection| restore::leave(connection, &sink, &shards)).await?;
        for shard in of.1.iter().copied() {
            let mut is_more = true;
            while is_more {
                let sink = Arc::clone(&of.0);
                let part = move |connection: &_| Ok(restore::forget(connection, &sink, shard, MAX_FORGOTTEN)?);
                is_more = self.ledger.write(part).await?;
            }
        }
        Ok(())
    }

    /// What steps of these shards are derived from that name these deliveries; nothing of a shard that is not this
    /// daemon's.
    pub(super) async fn bases(
        &self,
        sink: &str,
        wanted: BTreeMap<u32, Vec<String>>,
    ) -> Result<BTreeMap<u32, (String, Base)>, SettleError> {
        self.begin().await?;
        let sink = sink.to_owned();
        self.ledger.write(move |connection| copy::bases(connection, &sink, &wanted)).await
    }

    /// How far replays have come in the shards of a sink that are in the copy: number, shard, and that.
    pub(super) async fn progress(&self, sink: &str) -> Result<Vec<(i64, u32, Progress)>, SettleError> {
        self.begin().await?;
        let sink = sink.to_owned();
        self.ledger.write(move |connection| copy::progress(connection, &sink)).await
    }

    /// The shards in which a sink holds these deliveries as dead letters, and which ones.
    pub(super) async fn letters(
        &self,
        sink: &str,
        ids: Vec<String>,
    ) -> Result<BTreeMap<u32, Vec<String>>, SettleError> {
        self.begin().await?;
        let sink = sink.to_owned();
        self.ledger.write(move |connection| Ok(copy::letters(connection, &sink, &ids)?)).await
    }

    /// Follows steps that Kafka has.
    pub(super) async fn follow(&self, sink: &str, follows: Arc<Vec<Follow>>) -> Result<Dead, SettleError> {
        self.begin().await?;
        let (sink, now) = (sink.to_owned(), Timestamp::now().as_microsecond());
        self.ledger.write(move |connection| copy::follow(connection, &sink, &follows, now)).await
    }
}

#[async_trait]
impl Keeper for ShardCopy {
    async fn taking(&self, sink: &str, stands: Vec<Stand>) -> Result<(), CursorsError> {
        self.begin().await?;
        self.forget(sink, stands.iter().map(|stand| stand.cursor.shard).collect()).await?;
        let sink = sink.to_owned();
        Ok(self.ledger.write(move |connection| restore::taking(connection, &sink, &stands)).await?)
    }

    async fn restored(&self, sink: &str, shard: u32, rows: Vec<Row>) -> Result<(), CursorsError> {
        self.begin().await?;
        for part in parts(rows) {
            let sink = sink.to_owned();
            self.ledger.write(move |connection| restore::restored(connection, &sink, shard, &part)).await?;
        }
        Ok(())
    }

    async fn gone(&self, sink: &str, shards: Vec<u32>) -> Result<(), CursorsError> {
        let forgotten = async {
            self.begin().await?;
            self.forget(sink, shards).await
        };
        match forgotten.await {
            // The process ends: the next one forgets all of it.
            Err(SettleError::Closed) => Ok(()),
            done => Ok(done?),
        }
    }
}

/// Rows in the same order, in parts that a transaction takes.
fn parts(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let (mut parts, mut bytes): (Vec<Vec<Row>>, _) = (Vec::new(), 0);
    for row in rows {
        let size = row.key.len() + row.value.as_ref().map_or(0, |value| value.len());
        match parts.last_mut() {
            Some(part) if part.len() < MAX_ROWS && bytes < MAX_BYTES => {
                bytes += size;
                part.push(row);
            }
            _ => {
                bytes = size;
                parts.push(vec![row]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_in_order_and_in_parts_that_have_a_bound() {
        let row = |n: usize, bytes: usize| Row { key: n.to_string(), value: Some(vec![0; bytes].into()) };
        let many: Vec<Row> = (0..MAX_ROWS * 2 + 1).map(|n| row(n, 1)).collect();
        assert_eq!(parts(many.clone()).iter().map(Vec::len).collect::<Vec<_>>(), [MAX_ROWS, MAX_ROWS, 1]);
        assert_eq!(parts(many.clone()).concat(), many);
        let large = vec![row(0, MAX_BYTES), row(1, MAX_BYTES - 10), row(2, 1), row(3, 20), row(4, 1)];
        assert_eq!(parts(large).iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 1]);
        assert!(parts(vec![]).is_empty());
    }
}
