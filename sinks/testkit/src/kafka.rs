//! Kafka clusters to try things on: the one of `tests/services/up`, and one of three brokers. Topics, and what is in
//! them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::must::Must as _;
use crate::services::{exported, run};
use crate::skip::{note, skip};
use crate::wait::PATIENCE;

/// How the names of the cluster's variables begin.
const VARIABLES: &str = "HOOKRELAY_TEST_KAFKA";
/// The script that starts and stops brokers.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/services/kafka");
/// Longest one answer of a broker is waited for.
const ANSWER: Duration = Duration::from_secs(30);

/// Tests that stop brokers hold it for writing, all others that need one for reading.
static BROKERS: RwLock<()> = RwLock::const_new(());

/// A cluster that is up.
#[derive(Clone)]
pub struct Cluster(BTreeMap<String, String>);

/// A message as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its time, in milliseconds since 1970.
    pub time: i64,
}

impl Stored {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The delivery's id.
    pub fn id(&self) -> String {
        self.header("ce_id").must("ce_id").to_owned()
    }
}

/// The cluster of `tests/services/up`, or the stand-in for it, shared with other tests.
pub async fn any(test: &str) -> Option<(Cluster, RwLockReadGuard<'static, ()>)> {
    let shared = BROKERS.read().await;
    let cluster = Cluster::of_environment(test)?;
    if let Some(name) = cluster.stand_in() {
        note(&format!("on the stand-in {name}: {test}"));
    }
    Some((cluster, shared))
}

/// The cluster of `tests/services/up`, shared with other tests.
pub async fn shared(test: &str) -> Option<(Cluster, RwLockReadGuard<'static, ()>)> {
    let shared = BROKERS.read().await;
    Some((Cluster::real(test)?, shared))
}

/// The same, with no other test beside: its brokers may be stopped.
pub async fn alone(test: &str) -> Option<(Cluster, RwLockWriteGuard<'static, ()>)> {
    let shared = BROKERS.write().await;
    Some((Cluster::real(test)?, shared))
}

impl Cluster {
    fn of_environment(test: &str) -> Option<Self> {
        let names = ["", "_TLS", "_BEHIND", "_CA", "_USER", "_STRANGER", "_PASSWORD", "_DIR", "_STANDIN"];
        let all = names.into_iter().filter_map(|name| {
            let name = format!("{VARIABLES}{name}");
            Some((name.clone(), std::env::var(name).ok().filter(|value| !value.is_empty())?))
        });
        let cluster = Self(all.collect());
        exported(test, VARIABLES, VARIABLES).map(|_| cluster)
    }

    /// The cluster, where it is Apache Kafka's. `None` where there is none: then the test is left out, by name.
    pub fn real(test: &str) -> Option<Self> {
        let cluster = Self::of_environment(test)?;
        let Some(name) = cluster.stand_in() else { return Some(cluster) };
        skip(test, &format!("needs Apache Kafka, and there is only the stand-in {name}"));
        None
    }

    fn stand_in(&self) -> Option<&str> {
        Some(self.get("_STANDIN")).filter(|name| !name.is_empty())
    }

    /// One that librdkafka plays, of which only the address is known.
    pub fn played(brokers: String) -> Self {
        Self(BTreeMap::from([(VARIABLES.to_owned(), brokers)]))
    }

    /// A cluster of three brokers beside it, started here, which tests share.
    pub fn of_three() -> Self {
        Self::of(3)
    }

    /// A cluster of so many brokers beside it, started here. Another number is another cluster.
    pub fn of(brokers: usize) -> Self {
        let exports = run(Command::new(SCRIPT).args(["up", "--brokers", &brokers.to_string()]));
        let lines = exports.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(&format!("{VARIABLES}{name}")).map_or("", String::as_str)
    }

    /// The folder that it lies in: the data of broker N is in `data-N`.
    pub fn folder(&self) -> &str {
        self.get("_DIR")
    }

    /// `host:port`, with commas between.
    pub fn brokers(&self) -> &str {
        self.get("")
    }

    /// The same, for TLS.
    pub fn tls(&self) -> &str {
        self.get("_TLS")
    }

    /// For each broker the port at which it says that it is, where nobody listens before the test puts a proxy there,
    /// and the port at which it is.
    pub fn behind(&self) -> Vec<[u16; 2]> {
        let ports = |pair: &str| {
            pair.split_once('=').map(|(proxy, broker)| [proxy, broker].map(|port| port.parse().must("a port")))
        };
        self.get("_BEHIND").split(',').filter_map(ports).collect()
    }

    /// The file of the certificate that signed the brokers'.
    pub fn ca(&self) -> &str {
        self.get("_CA")
    }

    /// A user who may do everything.
    pub fn user(&self) -> &str {
        self.get("_USER")
    }

    /// A user who may do nothing.
    pub fn stranger(&self) -> &str {
        self.get("_STRANGER")
    }

    /// The password of both.
    pub fn password(&self) -> &str {
        self.get("_PASSWORD")
    }

    /// `stop`, `kill` or `start` a broker, and wait until that is so; blocks.
    pub fn order(&self, broker: usize, verb: &str) {
        run(Command::new(SCRIPT).args(["broker", self.get("_DIR"), &broker.to_string(), verb]));
    }

    /// [`Self::order`], on a thread that may block.
    pub async fn broker(&self, number: usize, verb: &str) {
        let (cluster, verb) = (self.clone(), verb.to_owned());
        tokio::task::spawn_blocking(move || cluster.order(number, &verb)).await.must("the script");
    }

    /// Stops all of its brokers for good.
    pub async fn kill_all(&self, count: usize) {
        for number in 1..=count {
            self.broker(number, "kill").await;
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().must("a client")
    }

    /// A new topic with a name of its own.
    pub async fn topic(&self, partitions: i32, settings: &[(&str, &str)]) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.create(&name, partitions, settings).await;
        name
    }

    /// A topic of this name; waits until it can be written to.
    pub async fn create(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin = self.admin();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
            for (key, value) in settings {
                topic = topic.set(key, value);
            }
            let options = AdminOptions::new().request_timeout(Some(PATIENCE / 4));
            let made = admin.create_topics(&[topic], &options).await;
            // One that was deleted may still be on its way out.
            match made.as_deref() {
                Ok([Ok(_)]) => break,
                Ok([Err((_, Code::TopicAlreadyExists))]) if self.has(name) => break,
                other => assert!(Instant::now() < deadline, "{name}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while !self.has(name) {
            assert!(Instant::now() < deadline, "{name} is not there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Deletes a topic and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        self.admin().delete_topics(&[name], &AdminOptions::new()).await.must("deleting");
        let deadline = Instant::now() + PATIENCE;
        while self.has(name) {
            assert!(Instant::now() < deadline, "{name} is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the topic is there, each partition with a leader.
    pub fn has(&self, name: &str) -> bool {
        let consumer: BaseConsumer = self.client().set("group.id", "tests").create().must("a client");
        let Ok(metadata) = consumer.fetch_metadata(Some(name), Duration::from_secs(5)) else { return false };
        let Some(topic) = metadata.topics().first() else { return false };
        topic.error().is_none()
            && !topic.partitions().is_empty()
            && topic.partitions().iter().all(|p| p.error().is_none() && p.leader() >= 0)
    }

    /// All that is in a topic, partition by partition, in order of arrival.
    pub async fn stored(&self, topic: &str) -> Vec<Stored> {
        let (cluster, topic) = (self.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || cluster.read(&topic)).await.must("reading")
    }

    /// [`Self::stored`]; blocks.
    pub fn read(&self, topic: &str) -> Vec<Stored> {
        let consumer = self.consumer();
        let mut stored = Vec::new();
        for (partition, low, high) in self.partitions(&consumer, topic) {
            let mut begin = TopicPartitionList::new();
            begin.add_partition_offset(topic, partition, Offset::Offset(low)).must("an offset");
            consumer.assign(&begin).must("a partition");
            let (mut next, deadline) = (low, Instant::now() + PATIENCE);
            while next < high {
                assert!(Instant::now() < deadline, "{topic}: read {next} of {high}");
                let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
                let Ok(message) = message else { continue };
                next = message.offset() + 1;
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).must("UTF-8");
                stored.push(Stored {
                    key: message.key().map(text),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers.map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect(),
                    time: message.timestamp().to_millis().must("a time"),
                });
            }
        }
        stored
    }

    /// Messages that were ever put into a topic; blocks.
    pub fn produced(&self, topic: &str) -> u64 {
        let ends = self.partitions(&self.consumer(), topic).into_iter().map(|(_, _, high)| high);
        ends.sum::<i64>().try_into().must("a count")
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = self.client();
        config.set("group.id", "tests").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50");
        config.create().must("a client")
    }

    /// Each partition, with the first offset in it and the one behind the last.
    fn partitions(&self, consumer: &BaseConsumer, topic: &str) -> Vec<(i32, i64, i64)> {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER).must("what is known of the topic");
        let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
        assert!(!partitions.is_empty(), "{topic} has no partition");
        let of = |partition: i32| {
            let (low, high) = Self::bounds(consumer, topic, partition);
            (partition, low, high)
        };
        partitions.iter().map(|partition| of(partition.id())).collect()
    }

    /// The first offset in a partition and the one behind the last. A client may know the topic and not yet its
    /// partition's leader ("Local: Unknown partition"): the question is asked again, for [`PATIENCE`] at most.
    fn bounds(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match consumer.fetch_watermarks(topic, partition, ANSWER) {
                Ok(bounds) => return bounds,
                Err(fault) => assert!(Instant::now() < deadline, "bounds of {topic} [{partition}]: {fault}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
