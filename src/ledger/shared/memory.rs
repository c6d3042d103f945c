//! A Kafka in memory, for tests: compacted logs of rows, cursors with notes, owners of shards, and failures on demand.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use rusqlite::types::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{KafkaSettle, ShardCopy};
use crate::journal::kafka::seam::{CommitError, Committer, Hears, Keeper, Row, Stand, Step, Told};
use crate::ledger::Ledger;

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The brokers cannot be asked.
    Refused,
    /// The answer is lost; the commit was made, or was not. Which of them is looked up by the notes.
    Unknown { made: bool },
    /// The commit is made, and the process ends before it hears of that.
    Dies,
}

#[derive(Default)]
struct Sink {
    stands: BTreeMap<u32, Stand>,
    logs: BTreeMap<u32, Vec<Row>>,
    owners: BTreeMap<u32, u32>,
}

/// What the brokers have.
pub struct Brokers {
    sinks: Mutex<HashMap<String, Sink>>,
    told: watch::Sender<Told>,
}

impl Default for Brokers {
    fn default() -> Self {
        let told = watch::Sender::new(Told { is_whole: true, ..Told::default() });
        Self { sinks: Mutex::default(), told }
    }
}

/// One daemon's way to the brokers.
pub struct Member {
    pub brokers: Arc<Brokers>,
    pub node: u32,
    pub faults: Mutex<VecDeque<Fault>>,
}

impl Brokers {
    fn sinks(&self) -> MutexGuard<'_, HashMap<String, Sink>> {
        self.sinks.lock().unwrap()
    }

    /// Writes a row that all daemons see, or takes it away; says where it stands.
    pub fn tell(&self, Row { key, value }: Row) -> u64 {
        let mut place = 0;
        self.told.send_modify(|told| {
            let rows = Arc::make_mut(&mut told.rows);
            match value {
                Some(value) => _ = rows.insert(key, value),
                None => _ = rows.remove(&key),
            }
            place = told.next;
            told.next += 1;
        });
        place
    }

    /// The keys of rows that all daemons see.
    pub fn told(&self) -> Vec<String> {
        self.told.borrow().rows.keys().cloned().collect()
    }

    /// A daemon.
    pub fn member(self: &Arc<Self>, node: u32) -> Arc<Member> {
        Arc::new(Member { brokers: Arc::clone(self), node, faults: Mutex::default() })
    }

    /// Writes a row past everybody.
    pub fn append(&self, sink: &str, shard: u32, row: Row) {
        self.sinks().entry(sink.to_owned()).or_default().logs.entry(shard).or_default().push(row);
    }

    /// Sets a note as Kafka's own tools do.
    pub fn set_note(&self, sink: &str, shard: u32, note: &str) {
        self.sinks().get_mut(sink).unwrap().stands.get_mut(&shard).unwrap().note = note.to_owned();
    }

    /// All rows that were ever written in a shard.
    pub fn log(&self, sink: &str, shard: u32) -> Vec<Row> {
        self.sinks().get(sink).and_then(|sink| sink.logs.get(&shard).cloned()).unwrap_or_default()
    }

    /// Makes a shard a daemon's, and gives where the sink stands.
    pub fn give(&self, sink: &str, shards: &[u32], node: u32) -> Vec<Stand> {
        let mut sinks = self.sinks();
        let sink = sinks.get_mut(sink).unwrap();
        shards.iter().for_each(|shard| _ = sink.owners.insert(*shard, node));
        shards.iter().filter_map(|shard| sink.stands.get(shard).cloned()).collect()
    }

    /// Gives shards to a daemon, which makes its copy of them from the rows as they are.
    pub async fn take(&self, sink: &str, shards: &[u32], node: u32, copy: &ShardCopy) {
        self.take_compacted(sink, shards, node, copy, |rows| vec![rows]).await;
    }

    /// The same, where the rows come in parts, of a log that may have been compacted.
    pub async fn take_compacted(
        &self,
        sink: &str,
        shards: &[u32],
        node: u32,
        copy: &ShardCopy,
        parts: impl Fn(Vec<Row>) -> Vec<Vec<Row>>,
    ) {
        let stands = self.give(sink, shards, node);
        copy.taking(sink, stands).await.unwrap();
        for shard in shards {
            for part in parts(self.log(sink, *shard)) {
                copy.restored(sink, *shard, part).await.unwrap();
            }
        }
    }
}

/// What a log cleaner leaves of a log whose first `cleaned` rows it has been over: the last of each key, without those
/// that say that a key is gone where these are old enough.
pub fn compacted(mut rows: Vec<Row>, cleaned: usize, forgets: bool) -> Vec<Row> {
    let behind = rows.split_off(cleaned.min(rows.len()));
    let mut seen = HashSet::new();
    let mut head: Vec<Row> = rows.into_iter().rev().filter(|row| seen.insert(row.key.clone())).collect();
    head.retain(|row| row.value.is_some() || !forgets);
    head.into_iter().rev().chain(behind).collect()
}

impl Member {
    /// The next commits end like this.
    pub fn fail(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    fn make(&self, sink: &str, steps: &[Step]) {
        let mut sinks = self.brokers.sinks();
        let sink = sinks.get_mut(sink).unwrap();
        for Step { stand, rows } in steps {
            sink.stands.insert(stand.cursor.shard, stand.clone());
            sink.logs.entry(stand.cursor.shard).or_default().extend(rows.iter().cloned());
        }
    }

    fn was_made(&self, sink: &str, steps: &[Step]) -> bool {
        let sinks = self.brokers.sinks();
        let note = |step: &Step| sinks[sink].stands[&step.stand.cursor.shard].note == step.stand.note;
        steps.iter().all(note)
    }
}

fn away() -> CommitError {
    CommitError::Unavailable("no broker answers".into())
}

#[async_trait]
impl Committer for Member {
    async fn commit(&self, sink: &str, steps: Vec<Step>) -> Result<(), CommitError> {
        let lost: Vec<u32> = {
            let sinks = self.brokers.sinks();
            let owner = |shard| sinks.get(sink).and_then(|sink| sink.owners.get(&shard)).copied();
            let shards = steps.iter().map(|step| step.stand.cursor.shard);
            shards.filter(|shard| owner(*shard) != Some(self.node)).collect()
        };
        if !lost.is_empty() {
            return Err(CommitError::Fenced(lost));
        }
        let fault = self.faults.lock().unwrap().pop_front();
        if !matches!(fault, Some(Fault::Refused | Fault::Unknown { made: false })) {
            self.make(sink, &steps);
        }
        match fault {
            None => Ok(()),
            Some(Fault::Refused) => Err(away()),
            Some(Fault::Dies) => std::future::pending().await,
            Some(Fault::Unknown { .. }) => {
                if self.was_made(sink, &steps) {
                    Ok(())
                } else {
                    Err(away())
                }
            }
        }
    }

    async fn stands(&self, sink: &str) -> Result<Vec<Stand>, CommitError> {
        Ok(self.brokers.sinks().get(sink).map(|sink| sink.stands.values().cloned().collect()).unwrap_or_default())
    }

    async fn begin(&self, sink: &str, stands: Vec<Stand>) -> Result<(), CommitError> {
        let mut sinks = self.brokers.sinks();
        let sink = sinks.entry(sink.to_owned()).or_default();
        if sink.stands.is_empty() {
            sink.stands = stands.into_iter().map(|stand| (stand.cursor.shard, stand)).collect();
        }
        Ok(())
    }

    async fn set_control(&self, row: Row) -> Result<(), CommitError> {
        self.brokers.tell(row);
        Ok(())
    }

    async fn control(&self) -> Result<Vec<Row>, CommitError> {
        let told = self.brokers.told.borrow();
        Ok(told.rows.iter().map(|(key, value)| Row { key: key.clone(), value: Some(value.clone()) }).collect())
    }
}

#[async_trait]
impl Hears for Member {
    fn told(&self) -> watch::Receiver<Told> {
        self.brokers.told.subscribe()
    }

    fn here(&self, sink: &str) -> Vec<Stand> {
        let sinks = self.brokers.sinks();
        let Some(sink) = sinks.get(sink) else { return vec![] };
        let is_here = |shard: &u32| sink.owners.get(shard) == Some(&self.node);
        sink.stands.iter().filter(|(shard, _)| is_here(shard)).map(|(_, stand)| stand.clone()).collect()
    }

    async fn glance(&self, sink: &str) -> Result<Vec<Stand>, CommitError> {
        self.stands(sink).await
    }

    async fn number(&self) -> Result<u64, CommitError> {
        Ok(self.brokers.tell(Row { key: "number".into(), value: Some("1".into()) }))
    }
}

/// A daemon: its way to the brokers, its copy.
pub struct Daemon {
    _folder: TempDir,
    pub path: PathBuf,
    pub ledger: Arc<Ledger>,
    pub copy: Arc<ShardCopy>,
    pub member: Arc<Member>,
    pub settle: KafkaSettle,
    pub node: u32,
}

impl Daemon {
    pub fn new(brokers: &Arc<Brokers>, node: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Arc::new(Ledger::open(&path).unwrap().0);
        let copy = Arc::new(ShardCopy::new(Arc::clone(&ledger)));
        let member = brokers.member(node);
        let settle = KafkaSettle::new(Arc::clone(&copy), member.clone());
        Self { _folder: folder, path, ledger, copy, member, settle, node }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.ledger.close();
    }
}

/// All that a ledger says of the sink, but for what became of deliveries that are over.
pub fn told(path: &Path) -> Vec<Vec<Value>> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let queries = [
        "SELECT * FROM held ORDER BY sink, id",
        "SELECT name, accepted, delivered, dead, filtered, dropped, dead_bytes, paused FROM sinks",
        "SELECT sink, shard, place FROM cursors UNION SELECT name, shard, place FROM sinks ORDER BY 1, 2",
        "SELECT id, sink, shard, first, place, until, type, subject, rate, fed, only_missing FROM replays
         ORDER BY id, shard",
        "SELECT * FROM replay_counts ORDER BY id, sink",
    ];
    let mut told = Vec::new();
    for query in queries {
        let mut statement = connection.prepare(query).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|n| row.get(n)).collect::<Result<Vec<Value>, _>>();
        told.extend(statement.query_map([], row).unwrap().map(Result::unwrap));
        told.push(vec![]);
    }
    told
}
