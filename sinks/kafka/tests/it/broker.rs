//! The broker: what tests need beside the sink.

use std::collections::BTreeMap;
use std::path::PathBuf;
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

/// Anything that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Tests that stop brokers hold it for writing, all others that need one for reading.
static TURN: RwLock<()> = RwLock::const_new(());

/// A cluster that is up.
#[derive(Clone)]
pub struct Cluster(BTreeMap<String, String>);

/// A message as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
    pub time: i64,
}

impl Stored {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn id(&self) -> String {
        self.header("ce_id").unwrap().to_owned()
    }
}

/// Straight to the terminal, as the harness swallows what the print macros write, and into the report.
fn note(line: &str) {
    use std::io::Write as _;
    let line = format!("{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("HOOKRELAY_TEST_REPORT") {
        let mut report = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        report.write_all(line.as_bytes()).unwrap();
    }
}

/// The cluster of `tests/services/up`, or the stand-in for it, shared with other tests.
pub async fn any(test: &str) -> Option<(Cluster, RwLockReadGuard<'static, ()>)> {
    let turn = TURN.read().await;
    let cluster = Cluster::of_environment(test)?;
    if let Some(name) = cluster.stand_in() {
        note(&format!("on the stand-in {name}: {test}"));
    }
    Some((cluster, turn))
}

/// The cluster of `tests/services/up`, shared with other tests.
pub async fn shared(test: &str) -> Option<(Cluster, RwLockReadGuard<'static, ()>)> {
    let turn = TURN.read().await;
    Some((Cluster::real(test)?, turn))
}

/// The same, with no other test beside: its brokers may be stopped.
pub async fn alone(test: &str) -> Option<(Cluster, RwLockWriteGuard<'static, ()>)> {
    let turn = TURN.write().await;
    Some((Cluster::real(test)?, turn))
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/services/kafka")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

impl Cluster {
    fn of_environment(test: &str) -> Option<Self> {
        let names = ["", "_TLS", "_CA", "_USER", "_STRANGER", "_PASSWORD", "_DIR", "_STANDIN"];
        let all = names.into_iter().filter_map(|name| {
            let name = format!("HOOKRELAY_TEST_KAFKA{name}");
            Some((name.clone(), std::env::var(name).ok().filter(|value| !value.is_empty())?))
        });
        let cluster = Self(all.collect());
        if cluster.0.contains_key("HOOKRELAY_TEST_KAFKA") {
            return Some(cluster);
        }
        let why = std::env::var("HOOKRELAY_TEST_KAFKA_MISSING");
        let why =
            why.unwrap_or_else(|_| "HOOKRELAY_TEST_KAFKA is not set; `eval \"$(tests/services/up)\"` sets it".into());
        note(&format!("skipped: {test}: {why}"));
        None
    }

    fn real(test: &str) -> Option<Self> {
        let cluster = Self::of_environment(test)?;
        let Some(name) = cluster.stand_in() else { return Some(cluster) };
        note(&format!("skipped: {test}: needs Apache Kafka, and there is only the stand-in {name}"));
        None
    }

    fn stand_in(&self) -> Option<&str> {
        self.0.get("HOOKRELAY_TEST_KAFKA_STANDIN").map(String::as_str)
    }

    /// A cluster of three brokers beside it, started here.
    pub fn of_three() -> Self {
        let exports = run(Command::new(script()).args(["up", "--brokers", "3"]));
        let lines = exports.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(&format!("HOOKRELAY_TEST_KAFKA{name}")).map_or("", String::as_str)
    }

    pub fn brokers(&self) -> &str {
        self.get("")
    }

    pub fn tls(&self) -> &str {
        self.get("_TLS")
    }

    pub fn ca(&self) -> &str {
        self.get("_CA")
    }

    pub fn user(&self) -> &str {
        self.get("_USER")
    }

    pub fn stranger(&self) -> &str {
        self.get("_STRANGER")
    }

    pub fn password(&self) -> &str {
        self.get("_PASSWORD")
    }

    /// `stop`, `kill` or `start` a broker, and wait until that is so.
    pub async fn broker(&self, number: usize, verb: &str) {
        let (dir, number, verb) = (self.get("_DIR").to_owned(), number.to_string(), verb.to_owned());
        let done = move || run(Command::new(script()).args(["broker", &dir, &number, &verb]));
        tokio::task::spawn_blocking(done).await.unwrap();
    }

    /// Stops all of its brokers for good.
    pub async fn broker_all_stop(&self, count: usize) {
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
        self.client().create().unwrap()
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
        let until = Instant::now() + PATIENCE;
        loop {
            let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
            for (key, value) in settings {
                topic = topic.set(key, value);
            }
            let made = admin.create_topics(&[topic], &AdminOptions::new()).await;
            // One that was deleted may still be on its way out.
            match made.as_deref() {
                Ok([Ok(_)]) => break,
                Ok([Err((_, Code::TopicAlreadyExists))]) if self.has(name) => break,
                other => assert!(Instant::now() < until, "{name}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while !self.has(name) {
            assert!(Instant::now() < until, "{name} is not there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Deletes a topic and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        self.admin().delete_topics(&[name], &AdminOptions::new()).await.unwrap();
        let until = Instant::now() + PATIENCE;
        while self.has(name) {
            assert!(Instant::now() < until, "{name} is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the topic is there, each partition with a leader.
    pub fn has(&self, name: &str) -> bool {
        let consumer: BaseConsumer = self.client().set("group.id", "tests").create().unwrap();
        let Ok(metadata) = consumer.fetch_metadata(Some(name), Duration::from_secs(5)) else { return false };
        let topic = &metadata.topics()[0];
        topic.error().is_none()
            && !topic.partitions().is_empty()
            && topic.partitions().iter().all(|p| p.error().is_none() && p.leader() >= 0)
    }

    /// All that is in a topic, partition by partition, in order of arrival.
    pub async fn stored(&self, topic: &str) -> Vec<Stored> {
        let (cluster, topic) = (self.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || cluster.read(&topic)).await.unwrap()
    }

    fn read(&self, topic: &str) -> Vec<Stored> {
        let mut config = self.client();
        config.set("group.id", "tests").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50");
        let consumer: BaseConsumer = config.create().unwrap();
        let wait = Duration::from_secs(30);
        let metadata = consumer.fetch_metadata(Some(topic), wait).unwrap();
        let mut stored = Vec::new();
        assert!(!metadata.topics()[0].partitions().is_empty(), "{topic}: {:?}", metadata.topics()[0].error());
        for partition in metadata.topics()[0].partitions() {
            let (low, high) = consumer.fetch_watermarks(topic, partition.id(), wait).unwrap();
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(topic, partition.id(), Offset::Offset(low)).unwrap();
            consumer.assign(&place).unwrap();
            let (mut next, until) = (low, Instant::now() + PATIENCE);
            while next < high {
                assert!(Instant::now() < until, "{topic}: read {next} of {high}");
                let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
                let Ok(message) = message else { continue };
                next = message.offset() + 1;
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                stored.push(Stored {
                    key: message.key().map(text),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers.map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect(),
                    time: message.timestamp().to_millis().unwrap(),
                });
            }
        }
        stored
    }
}
