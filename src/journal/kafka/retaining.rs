//! Retention: has Kafka delete the events that every sink has settled and that are older than `[journal] retention`, by
//! the brokers' clock. Any daemon may do it, and all do. `retention.bytes` of the topic is the bound beyond that: what
//! Kafka deletes by it although a sink was owed it, that sink's reader notices. So that an alarm comes before, it is
//! noted where the slowest sink stands in each shard (`Sizes`); it may have moved on by the time that is read, so
//! that what is owed seems more than it is, by what came since.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::warn;

use super::cluster::Cluster;
use super::seam::{CommitError, Committer, Stand};
use super::sizes::Sizes;
use crate::journal::view::lock;
use crate::journal::{Marks, Position, Retention};

/// How often is looked whether something may go.
const PERIOD: Duration = Duration::from_secs(60);
/// How often is looked where sinks stand.
const LOOK: Duration = Duration::from_secs(20);
/// Longest that brokers may take for one question, or for deleting.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the keys of sinks, and of replays under way, begin with among the rows that all daemons see.
const SINK: &str = "sink/";
const REPLAY: &str = "replay/";

/// Why nothing was deleted. It is tried again a minute later.
#[derive(Debug, thiserror::Error)]
pub enum RetainingError {
    /// Brokers did not answer, or refused.
    #[error("the brokers cannot be asked what may be deleted: {0}")]
    Kafka(#[from] KafkaError),
    /// Where the sinks stand is not known.
    #[error(transparent)]
    Stands(#[from] CommitError),
    /// A question was cut short.
    #[error("a question to the brokers was cut short: {0}")]
    CutShort(#[from] tokio::task::JoinError),
}

/// Deletes what nobody needs.
pub struct Retaining {
    cluster: Cluster,
    committer: Arc<dyn Committer>,
    retention: Duration,
    sizes: Arc<Sizes>,
}

/// Where sinks stand.
struct Sinks {
    /// Each sink that any daemon knows, in the shards in which it is known where it stands.
    stands: Vec<Vec<Stand>>,
    /// Whether a replay reads what sinks have settled.
    is_replayed: bool,
}

impl Retaining {
    /// Events stay for so long at least. Where sinks stand is told to `sizes`.
    pub fn new(cluster: Cluster, committer: Arc<dyn Committer>, retention: Duration, sizes: Arc<Sizes>) -> Self {
        Self { cluster, committer, retention, sizes }
    }

    /// Looks where sinks stand, and each minute what may go, for ever. What cannot be done is logged once, until it can
    /// be again.
    pub async fn run(self) {
        let (mut is_failing, mut deleted) = (false, Instant::now());
        loop {
            let sinks = self.look().await;
            let done = match sinks {
                Ok(sinks) if deleted.elapsed() >= PERIOD => {
                    deleted = Instant::now();
                    self.delete(sinks).await.map(drop)
                }
                looked => looked.map(drop),
            };
            match done {
                Err(error) if !std::mem::replace(&mut is_failing, true) => {
                    warn!(%error, "nothing is deleted of the journal on Kafka; trying again each minute");
                }
                Err(_) => {}
                Ok(()) => is_failing = false,
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Looks where sinks stand.
    async fn look(&self) -> Result<Sinks, RetainingError> {
        let control = self.committer.control().await?;
        let rows = || control.iter().filter(|row| row.value.is_some());
        let mut stands = Vec::new();
        for row in rows() {
            if let Some(sink) = row.key.strip_prefix(SINK) {
                stands.push(self.committer.stands(sink).await?);
            }
        }
        self.sizes.need(slowest(&stands, self.cluster.partitions));
        Ok(Sinks { stands, is_replayed: rows().any(|row| row.key.starts_with(REPLAY)) })
    }

    /// Deletes what may go now; gives up to where, in the shards where something was deleted.
    ///
    /// # Errors
    /// What has to be known cannot be learnt, or the brokers refuse; some shards may be done then, and others not.
    async fn delete(&self, Sinks { stands, is_replayed }: Sinks) -> Result<Marks, RetainingError> {
        if is_replayed {
            return Ok(Marks::default());
        }
        let cluster = self.cluster.clone();
        let since = SystemTime::now().checked_sub(self.retention).unwrap_or(UNIX_EPOCH);
        let asked = tokio::task::spawn_blocking(move || ends(&cluster, since)).await??;
        let due = due(&stands, &asked, self.cluster.partitions);
        if due.iter().next().is_none() {
            return Ok(due);
        }
        self.delete_before(&due).await?;
        Ok(due)
    }

    async fn delete_before(&self, due: &Marks) -> Result<(), RetainingError> {
        let mut offsets = TopicPartitionList::new();
        for position in due.iter() {
            let offset = Offset::Offset(i64::try_from(position.offset).unwrap_or(i64::MAX));
            let partition = i32::try_from(position.shard).unwrap_or(i32::MAX);
            offsets.add_partition_offset(&self.cluster.events(), partition, offset)?;
        }
        let admin: AdminClient<DefaultClientContext> = self.cluster.client("retention").create()?;
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let done = admin.delete_records(&offsets, &options).await?;
        // Dropping a client blocks.
        tokio::task::spawn_blocking(move || drop(admin)).await?;
        done.elements().iter().try_for_each(|element| element.error())?;
        Ok(())
    }
}

/// Deletes from [`Retention::begin`] on, until this is dropped. Who needs what, the groups' cursors say: nobody has to
/// hold anything.
pub struct FromBegin {
    retaining: Mutex<Option<Retaining>>,
    runtime: Handle,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl FromBegin {
    /// Nothing is deleted yet.
    pub fn new(retaining: Retaining, runtime: Handle) -> Self {
        Self { retaining: Mutex::new(Some(retaining)), runtime, task: Mutex::default() }
    }
}

impl Retention for FromBegin {
    fn hold(&self, _: &str, _: &Marks) {}
    fn passed(&self, _: &str, _: Position) {}
    fn leave(&self, _: &str, _: &Marks) {}
    fn release(&self, _: &str) {}

    fn begin(&self) {
        if let Some(retaining) = lock(&self.retaining).take() {
            *lock(&self.task) = Some(self.runtime.spawn(retaining.run()));
        }
    }
}

impl Drop for FromBegin {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// One shard, as the brokers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    /// The first event that is there.
    oldest: Position,
    /// The first event that is too young to go.
    young: Position,
}

fn ends(cluster: &Cluster, since: SystemTime) -> Result<Vec<Ends>, KafkaError> {
    let consumer: BaseConsumer = cluster.client("retention-looks").create()?;
    let millis = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let mut times = cluster.shards();
    times.set_all_offsets(Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX)))?;
    let young = consumer.offsets_for_times(times, PATIENCE)?;
    let mut all = Vec::new();
    for element in young.elements() {
        element.error()?;
        let Ok(shard) = u32::try_from(element.partition()) else { continue };
        let (low, high) = consumer.fetch_watermarks(&cluster.events(), element.partition(), PATIENCE)?;
        let at = |offset: i64| Position { shard, offset: u64::try_from(offset).unwrap_or_default() };
        let young = match element.offset() {
            Offset::Offset(offset) => offset,
            // All that is there is older.
            _ => high,
        };
        all.push(Ends { oldest: at(low), young: at(young) });
    }
    Ok(all)
}

/// How far all sinks have come in each shard; nothing of a shard where it is not known of some sink, nor where there is
/// no sink.
fn slowest(sinks: &[Vec<Stand>], shards: u32) -> Option<Marks> {
    let of_shard = |shard: u32| {
        let of_sink = |stands: &Vec<Stand>| {
            stands.iter().find(|stand| stand.cursor.shard == shard).map(|stand| stand.cursor.offset)
        };
        let cursors: Option<Vec<u64>> = sinks.iter().map(of_sink).collect();
        Some(Position { shard, offset: cursors?.into_iter().min()? })
    };
    let marks: Vec<Position> = (0..shards).filter_map(of_shard).collect();
    (!marks.is_empty()).then(|| marks.into_iter().collect())
}

/// Up to where each shard may be deleted, in the shards where that deletes anything: what every sink has settled and
/// what is old. Nothing in a shard where it is not known of some sink how far it has come, or where no sink is known.
fn due(sinks: &[Vec<Stand>], ends: &[Ends], shards: u32) -> Marks {
    let settled = slowest(sinks, shards).unwrap_or_default();
    let due = |settled: Position| {
        let ends = ends.iter().find(|ends| ends.young.shard == settled.shard)?;
        let to = settled.offset.min(ends.young.offset);
        (to > ends.oldest.offset).then_some(Position { offset: to, ..settled })
    };
    settled.iter().filter_map(due).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;

    use super::*;
    use crate::journal::kafka::seam::{Row, Step};
    use crate::journal::kafka::testing;
    use crate::journal::kafka::topics::{self, Wanted};

    fn at(shard: u32, offset: u64) -> Position {
        Position { shard, offset }
    }

    fn stands(cursors: &[u64]) -> Vec<Stand> {
        let stand = |(shard, offset): (u32, &u64)| Stand { cursor: at(shard, *offset), note: String::new() };
        (0..).zip(cursors).map(stand).collect()
    }

    fn ends(all: &[(u64, u64)]) -> Vec<Ends> {
        let of = |(shard, (oldest, young)): (u32, &(u64, u64))| Ends {
            oldest: at(shard, *oldest),
            young: at(shard, *young),
        };
        (0..).zip(all).map(of).collect()
    }

    #[test]
    fn what_every_sink_has_settled_and_what_is_old_may_go() {
        let sinks = [stands(&[7, 3, 9]), stands(&[5, 9, 9])];
        let found = due(&sinks, &ends(&[(0, 100), (0, 2), (0, 9)]), 3);
        assert_eq!(found, [at(0, 5), at(1, 2), at(2, 9)].into_iter().collect());
    }

    #[test]
    fn where_it_deletes_nothing_a_shard_is_not_named() {
        let found = due(&[stands(&[5, 5])], &ends(&[(5, 100), (2, 100)]), 2);
        assert_eq!(found.iter().collect::<Vec<_>>(), [at(1, 5)]);
    }

    #[test]
    fn a_sink_whose_cursor_is_not_known_keeps_everything_and_so_does_a_journal_without_sinks() {
        let all = ends(&[(0, 100), (0, 100)]);
        assert_eq!(due(&[stands(&[5, 5]), vec![]], &all, 2), Marks::default());
        assert_eq!(due(&[stands(&[5, 5]), stands(&[5])], &all, 2), at(0, 5).into());
        assert_eq!(due(&[], &all, 2), Marks::default());
    }

    /// Sinks and rows as a test says.
    struct Says {
        sinks: BTreeMap<&'static str, Vec<Stand>>,
        replays: bool,
    }

    #[async_trait]
    impl Committer for Says {
        async fn commit(&self, _: &str, _: Vec<Step>) -> Result<(), CommitError> {
            Ok(())
        }
        async fn stands(&self, sink: &str) -> Result<Vec<Stand>, CommitError> {
            Ok(self.sinks.get(sink).cloned().unwrap_or_default())
        }
        async fn begin(&self, _: &str, _: Vec<Stand>) -> Result<(), CommitError> {
            Ok(())
        }
        async fn set_control(&self, _: Row) -> Result<(), CommitError> {
            Ok(())
        }
        async fn control(&self) -> Result<Vec<Row>, CommitError> {
            let row = |key: String| Row { key, value: Some("{}".into()) };
            let mut rows: Vec<Row> = self.sinks.keys().map(|sink| row(format!("sink/{sink}"))).collect();
            rows.push(Row { key: "sink/removed".into(), value: None });
            rows.extend(self.replays.then(|| row("replay/1".into())));
            Ok(rows)
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn kafka_deletes_what_is_settled_and_old_and_nothing_while_a_replay_is_under_way() {
        let Some(cluster) = testing::real("kafka_deletes_what_is_settled_and_old", 2) else { return };
        topics::prepare(&cluster, vec![Wanted::events(&cluster, 1 << 30)]).await.unwrap();
        for (n, partition) in (0..20).map(|n| (n, n % 2)) {
            testing::produce(&cluster, partition, &n.to_string());
        }
        let retaining = |sinks: &[(&'static str, &[u64])], replays, retention| {
            let sinks = sinks.iter().map(|(sink, cursors)| (*sink, stands(cursors))).collect();
            let (says, retention) = (Arc::new(Says { sinks, replays }), Duration::from_secs(retention));
            Retaining::new(cluster.clone(), says, retention, Arc::default())
        };
        let delete = async |retaining: Retaining| {
            let sinks = retaining.look().await.unwrap();
            retaining.delete(sinks).await.unwrap()
        };
        let both: [(&str, &[u64]); 2] = [("a", &[7, 4]), ("b", &[9, 3])];
        for (replays, retention) in [(false, 3600), (true, 0)] {
            assert_eq!(delete(retaining(&both, replays, retention)).await, Marks::default());
        }
        let deleted = delete(retaining(&[("a", &[4])], false, 0)).await;
        assert_eq!((deleted, testing::oldest(&cluster)), (at(0, 4).into(), vec![4, 0]));
        let deleted = delete(retaining(&both, false, 0)).await;
        assert_eq!((deleted, testing::oldest(&cluster)), ([at(0, 7), at(1, 3)].into_iter().collect(), vec![7, 3]));
        testing::remove(&cluster, &[&cluster.events()]).await;
    }
}
