//! A cluster to try groups on, daemons in it, and what is kept in memory by them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::runtime::Handle;

use crate::journal::kafka::cluster::Cluster;
use crate::journal::kafka::group::Groups;
use crate::journal::kafka::member::list;
use crate::journal::kafka::seam::{Committer as _, Keeper, Row, Stand, Step, marks};
use crate::journal::kafka::testing;
use crate::journal::{Chunk, CursorsError, Marks, News, Position, Reader, Record};

/// No test waits longer for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The shortest session that brokers take.
pub(super) const SESSION: Duration = Duration::from_secs(6);
/// Shards of the tests' clusters.
pub(super) const SHARDS: u32 = 4;
/// The sink.
pub(super) const SINK: &str = "s";

/// Topics with a name of their own; they go when this is dropped.
pub(super) struct Topics {
    pub cluster: Cluster,
}

impl Topics {
    /// Topics of a cluster of this test's own; `None` where there is no Kafka: then the test is left out.
    pub async fn new(test: &str) -> Option<Self> {
        let brokers = testing::brokers(test)?;
        let name = format!("g{}", uuid::Uuid::now_v7().simple());
        let topics = Self { cluster: cluster(brokers, name, "none") };
        let admin = topics.admin();
        let made = |name, partitions| NewTopic::new(name, partitions, TopicReplication::Fixed(3));
        let names = topics.names();
        let compact = |topic: NewTopic<'static>| topic.set("cleanup.policy", "compact").set("min.insync.replicas", "2");
        let [events, held, control] = names.clone().map(|name| &*Box::leak(name.into_boxed_str()));
        let all = [made(events, SHARDS as i32), compact(made(held, SHARDS as i32)), compact(made(control, 1))];
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for result in admin.create_topics(&all, &options).await.unwrap() {
            result.unwrap();
        }
        eventually("the topics have leaders", || {
            names.iter().all(|name| {
                let Ok(data) = admin.inner().fetch_metadata(Some(name), Duration::from_secs(5)) else { return false };
                let partitions = data.topics()[0].partitions();
                !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0)
            })
        })
        .await;
        Some(topics)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.cluster.client("admin").create().unwrap()
    }

    fn names(&self) -> [String; 3] {
        [self.cluster.events(), self.cluster.held(SINK), self.cluster.control()]
    }

    /// A daemon of that name.
    pub fn daemon(&self, node: &str) -> Daemon {
        let kept = Arc::new(Kept::default());
        let cluster = Cluster { node: node.into(), ..self.cluster.clone() };
        let groups = Groups::new(cluster, kept.clone(), decode, Handle::current());
        groups.set_session(SINK, SESSION);
        Daemon { groups: Arc::new(groups), kept, folder: None }
    }

    /// The same, which leaves its mark on the name.
    pub fn marked(&self, node: &str) -> Daemon {
        let Daemon { groups, kept, .. } = self.daemon(node);
        let folder = tempfile::tempdir().unwrap();
        let groups = Arc::into_inner(groups).unwrap().marked_in(folder.path());
        Daemon { groups: Arc::new(groups), kept, folder: Some(folder) }
    }

    /// Lets the sink begin at the beginning of each shard.
    pub async fn begin(&self) {
        let stands = (0..SHARDS).map(|shard| stand(shard, 0, "begin")).collect();
        self.daemon("beginner").groups.begin(SINK, stands).await.unwrap();
    }

    /// Lets another sink begin there; its topic of rows stays when the others go.
    pub async fn begin_another(&self, sink: &str) {
        let held = self.cluster.held(sink);
        let topic = NewTopic::new(&held, SHARDS as i32, TopicReplication::Fixed(3)).set("cleanup.policy", "compact");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        self.admin().create_topics(&[topic], &options).await.unwrap();
        let stands = (0..SHARDS).map(|shard| stand(shard, 0, "begin")).collect();
        self.daemon("beginner").groups.begin(sink, stands).await.unwrap();
    }

    /// Writes events, each with its number as payload, round about the shards.
    pub fn fill(&self, numbers: std::ops::Range<u64>) {
        self.write(numbers.map(|number| ((number % u64::from(SHARDS)) as i32, number.to_string())));
    }

    /// Deletes the events before that offset, in each shard.
    pub async fn delete_before(&self, offset: u64) {
        let before = list(&self.cluster.events(), (0..SHARDS).map(|shard| (shard, Some(offset))));
        let deleted = self.admin().delete_records(&before, &AdminOptions::new()).await.unwrap();
        deleted.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Writes messages of these partitions and payloads.
    pub fn write(&self, messages: impl Iterator<Item = (i32, String)>) {
        let producer: BaseProducer =
            self.cluster.client("fill").set("enable.idempotence", "true").set("linger.ms", "5").create().unwrap();
        for (partition, payload) in messages {
            let topic = self.cluster.events();
            let mut record = BaseRecord::<str, str>::to(&topic).partition(partition).payload(&payload);
            while let Err((_, again)) = producer.send(record) {
                producer.poll(Duration::from_millis(5));
                record = again;
            }
        }
        producer.flush(PATIENCE).unwrap();
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let (admin, names) = (self.admin(), self.names());
        // On a thread without a runtime: this may be dropped on one.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let _ = runtime.block_on(admin.delete_topics(&names, &AdminOptions::new()));
        })
        .join();
    }
}

pub(super) fn cluster(brokers: String, name: String, node: &str) -> Cluster {
    Cluster {
        brokers,
        name,
        node: node.into(),
        partitions: SHARDS,
        properties: BTreeMap::new(),
        base_dir: PathBuf::new(),
    }
}

fn decode(message: &BorrowedMessage<'_>) -> Result<Record, String> {
    let payload = message.payload().ok_or("no payload")?;
    if payload.starts_with(b"damaged") {
        return Err("is damaged".into());
    }
    Ok(record(payload))
}

/// An event with that payload.
pub(super) fn record(payload: &[u8]) -> Record {
    Record {
        id: [0; 16],
        time: 0,
        source: "s".into(),
        kind: "t".into(),
        key: "k".into(),
        fingerprint: None,
        payload: Bytes::copy_from_slice(payload),
        made: Default::default(),
    }
}

/// A keeper in memory.
#[derive(Default)]
pub(super) struct Kept {
    pub rows: Mutex<BTreeMap<u32, BTreeMap<String, Bytes>>>,
    /// Where the shards stood when they were taken, each time.
    pub taken: Mutex<Vec<Stand>>,
    pub gone: Mutex<Vec<u32>>,
}

impl Kept {
    /// The rows that are kept of a shard.
    pub fn rows(&self, shard: u32) -> BTreeMap<String, String> {
        let rows = self.rows.lock().unwrap().get(&shard).cloned().unwrap_or_default();
        rows.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned())).collect()
    }

    /// How often shards were taken.
    pub fn takings(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

#[async_trait]
impl Keeper for Kept {
    async fn taking(&self, _: &str, stands: Vec<Stand>) -> Result<(), CursorsError> {
        let mut rows = self.rows.lock().unwrap();
        stands.iter().for_each(|stand| _ = rows.insert(stand.cursor.shard, BTreeMap::new()));
        self.taken.lock().unwrap().extend(stands);
        Ok(())
    }

    async fn restored(&self, _: &str, shard: u32, rows: Vec<Row>) -> Result<(), CursorsError> {
        let mut kept = self.rows.lock().unwrap();
        let kept = kept.get_mut(&shard).expect("a shard that was taken");
        for Row { key, value } in rows {
            match value {
                Some(value) => kept.insert(key, value),
                None => kept.remove(&key),
            };
        }
        Ok(())
    }

    async fn gone(&self, _: &str, shards: Vec<u32>) -> Result<(), CursorsError> {
        let mut rows = self.rows.lock().unwrap();
        shards.iter().for_each(|shard| _ = rows.remove(shard));
        self.gone.lock().unwrap().extend(shards);
        Ok(())
    }
}

/// A daemon, as far as groups go.
pub(super) struct Daemon {
    pub groups: Arc<Groups>,
    pub kept: Arc<Kept>,
    /// Where its mark lies.
    #[allow(dead_code)]
    pub folder: Option<tempfile::TempDir>,
}

impl Daemon {
    /// The sink's reader.
    pub async fn reader(&self) -> Box<dyn Reader> {
        self.groups.reader(SINK).await.unwrap()
    }

    /// Waits until so many shards are this daemon's; its reader, and where they were given.
    pub async fn joins(&self, shards: usize) -> (Box<dyn Reader>, Marks) {
        let mut reader = self.reader().await;
        let mut given = Marks::default();
        while given.iter().count() < shards {
            given = given.later(&super::kit::given(&mut reader).await);
        }
        (reader, given)
    }

    /// Where the sink stands, by shard.
    pub async fn stands(&self) -> BTreeMap<u32, (u64, String)> {
        let stands = self.groups.stands(SINK).await.unwrap();
        stands.into_iter().map(|stand| (stand.cursor.shard, (stand.cursor.offset, stand.note))).collect()
    }
}

/// Where a sink stands.
pub(super) fn stand(shard: u32, offset: u64, note: &str) -> Stand {
    Stand { cursor: Position { shard, offset }, note: note.into() }
}

/// A step with these rows; an empty value takes the row away.
pub(super) fn step(shard: u32, offset: u64, note: &str, rows: &[(&str, &str)]) -> Step {
    let row = |(key, value): &(&str, &str)| Row {
        key: (*key).to_owned(),
        value: (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes())),
    };
    Step { stand: stand(shard, offset, note), rows: rows.iter().map(row).collect() }
}

/// What comes next.
pub(super) async fn news(reader: &mut Box<dyn Reader>) -> News {
    tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.expect("there is more").unwrap()
}

/// The shards that come next, events passed over.
pub(super) async fn given(reader: &mut Box<dyn Reader>) -> Marks {
    loop {
        match news(reader).await {
            News::Given(marks) => return marks,
            News::Chunk(_) => {}
            News::Taken(shards, _) => panic!("{shards:?} are taken"),
            News::Lost(shards) => panic!("{shards:?} are lost"),
        }
    }
}

/// The shards that are taken next, events passed over.
pub(super) async fn taken(reader: &mut Box<dyn Reader>) -> (Vec<u32>, tokio::sync::oneshot::Sender<()>) {
    loop {
        match news(reader).await {
            News::Taken(shards, told) => return (shards, told),
            News::Chunk(_) => {}
            News::Given(marks) => panic!("given at {marks}"),
            News::Lost(shards) => panic!("{shards:?} are lost"),
        }
    }
}

/// The events that come next.
pub(super) async fn chunk(reader: &mut Box<dyn Reader>) -> Chunk {
    loop {
        if let News::Chunk(chunk) = news(reader).await {
            return chunk;
        }
    }
}

/// An event's number.
pub(super) fn number(record: &Record) -> u64 {
    std::str::from_utf8(&record.payload).unwrap().parse().unwrap()
}

/// Waits for what is so sooner or later.
pub(super) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The marks of stands, for comparisons.
pub(super) fn at(offsets: &[u64]) -> Marks {
    marks(&(0..).zip(offsets).map(|(shard, offset)| stand(shard, *offset, "")).collect::<Vec<_>>())
}
