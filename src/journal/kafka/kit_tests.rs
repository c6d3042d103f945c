//! For tests of this room: a cluster that is there, and one that is not.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sink_api::{Size, Uuid};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::cluster::Cluster;
use super::group::Groups;
use super::journal::{Bounds, KafkaJournal};
use super::message;
use super::seam::{Keeper, Row, Stand};
use crate::journal::{Chunk, CursorsError, Journal, JournalError, Marks, News, Of, OnFailure, Progress, Record};

/// Where three real brokers are; `None` where there is no real Kafka: then the test is left out, by name.
pub fn brokers(test: &str) -> Option<String> {
    use sink_testkit::kafka::Cluster;
    Cluster::real(test)?;
    Some(Cluster::of_three().brokers().to_owned())
}

/// A cluster of these brokers with a name of its own.
pub fn cluster(brokers: &str, partitions: u32) -> Cluster {
    Cluster {
        brokers: brokers.to_owned(),
        name: format!("k{}", Uuid::now_v7().simple()),
        node: "n1".into(),
        partitions,
        properties: BTreeMap::new(),
        base_dir: PathBuf::new(),
    }
}

/// The real one, where there is one.
pub fn real(test: &str, partitions: u32) -> Option<Cluster> {
    brokers(test).map(|brokers| cluster(&brokers, partitions))
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Removes topics at a test's end.
pub async fn remove(cluster: &Cluster, topics: &[&str]) {
    let admin: AdminClient<DefaultClientContext> = cluster.client("test").create().unwrap();
    admin.delete_topics(topics, &AdminOptions::new()).await.unwrap();
}

/// No test waits longer for what must come.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The first word.
pub fn subject_of(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload).ok()?.split(' ').next()
}

/// Groups of which nobody keeps what is held.
pub fn groups(cluster: &Cluster) -> Arc<Groups> {
    Arc::new(Groups::new(cluster.clone(), Arc::new(NoKeeper), message::decode, Handle::current()))
}

struct NoKeeper;

#[async_trait]
impl Keeper for NoKeeper {
    async fn taking(&self, _: &str, _: Vec<Stand>) -> Result<(), CursorsError> {
        Ok(())
    }

    async fn restored(&self, _: &str, _: u32, _: Vec<Row>) -> Result<(), CursorsError> {
        Ok(())
    }

    async fn gone(&self, _: &str, _: Vec<u32>) -> Result<(), CursorsError> {
        Ok(())
    }
}

/// A journal whose overflow lies there, once it is let go of by an earlier one.
pub async fn open(cluster: &Cluster, overflow: &Path, overflow_max: Size) -> KafkaJournal {
    let (max_size, overflow_disk, min_free) = (Size::mib(100), Size::mib(10), Size(0));
    let bounds = Bounds { max_size, overflow_max, overflow_disk, min_free, flush: false };
    let open = || KafkaJournal::open(cluster.clone(), overflow, bounds.clone(), subject_of, groups(cluster));
    let opened = async {
        loop {
            match open().await {
                Err(JournalError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("it is let go of")
}

/// An event that is accepted when its id says.
pub fn record(id: Uuid, key: &str, text: &str) -> Record {
    let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |time| time.to_unix());
    Record {
        id: id.into_bytes(),
        time: seconds as i64 * 1_000_000 + i64::from(nanos) / 1000,
        source: "s".into(),
        kind: "t".into(),
        key: key.into(),
        fingerprint: None,
        payload: Bytes::from(text.to_owned()),
        made: Default::default(),
    }
}

/// Appends one, and says what it is told, in order.
pub fn append(journal: &KafkaJournal, record: Record, on_failure: OnFailure) -> mpsc::Receiver<Progress> {
    let (sender, told) = mpsc::channel(4);
    journal.append(record, on_failure, Box::new(move |progress| _ = sender.try_send(progress)));
    told
}

/// What is told next.
pub async fn next(told: &mut mpsc::Receiver<Progress>) -> Progress {
    tokio::time::timeout(PATIENCE, told.recv()).await.expect("told").expect("told before it is dropped")
}

/// All chunks of a span.
pub async fn read(journal: &KafkaJournal, from: Marks, until: Marks) -> Vec<Chunk> {
    let mut reader = journal.reader(Of::Span { from: from.clone(), until: until.clone() }).await.unwrap();
    let (mut at, mut chunks) = (from, Vec::new());
    assert!(matches!(reader.next(1).await, Ok(News::Given(_))));
    while !at.reaches(&until) {
        let news = tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.expect("there is more").unwrap();
        let News::Chunk(chunk) = news else { panic!("no chunk") };
        at.set(chunk.next);
        chunks.push(chunk);
    }
    chunks
}

/// Waits for a condition.
pub async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect("in time");
}

/// Appends a message to a shard.
pub fn produce(cluster: &Cluster, partition: i32, value: &str) {
    let producer: BaseProducer = cluster.client("test-producer").create().unwrap();
    let topic = cluster.events();
    producer.send(BaseRecord::<(), str>::to(&topic).partition(partition).payload(value)).map_err(|(e, _)| e).unwrap();
    producer.flush(PATIENCE).unwrap();
}

/// The first offset of each shard.
pub fn oldest(cluster: &Cluster) -> Vec<i64> {
    let consumer: BaseConsumer = cluster.client("test-consumer").create().unwrap();
    let of = |partition| consumer.fetch_watermarks(&cluster.events(), partition, PATIENCE).unwrap().0;
    (0..cluster.partitions as i32).map(of).collect()
}
