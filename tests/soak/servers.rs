//! PostgreSQL and Kafka, where they are there: a server of its own of the one, a topic of its own of the other, killed
//! and started again.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use sink_testkit::skip;
use tokio_postgres::NoTls;

use crate::bodies::{number_in, numbered};

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

fn exported(what: &str, name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let missing = std::env::var(format!("{name}_MISSING"));
        skip(&format!("soak, {what}"), &missing.unwrap_or_else(|_| format!("{name} is not set")));
    }
    value
}

/// A cluster of this soak's own.
pub struct Postgres {
    ctl: String,
    name: String,
    url: String,
}

impl Postgres {
    pub fn new() -> Option<Self> {
        let ctl = exported("PostgreSQL", "HOOKRELAY_TEST_POSTGRES_CTL")?;
        let name = format!("soak{}", std::process::id());
        let made = Command::new(&ctl).args(["new", &name]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let url = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        Some(Self { ctl, name, url })
    }

    pub fn tell(&self, verb: &str) {
        let told = Command::new(&self.ctl).args(["server", &self.name, verb]).output().unwrap();
        assert!(told.status.success(), "{verb}: {}", String::from_utf8_lossy(&told.stderr));
    }

    pub fn table(&self) -> String {
        format!(
            "[sinks.postgres]\nkind = \"postgres\"\nurl = \"{}\"\ntable = \"statuses\"\nstart = \"beginning\"\n\
             setup = \"CREATE TABLE IF NOT EXISTS statuses (event_id TEXT NOT NULL UNIQUE, message_id TEXT)\"\n",
            self.url
        )
    }

    /// The number in each row.
    pub async fn rows(&self) -> Vec<u64> {
        let bare = self.url.split('?').next().unwrap();
        let Ok((client, driver)) = tokio_postgres::connect(&format!("{bare}?sslmode=disable"), NoTls).await else {
            return vec![];
        };
        tokio::spawn(driver);
        let rows = client.query("SELECT message_id FROM statuses", &[]).await.unwrap_or_default();
        rows.iter().map(|row| number_in(row.get(0))).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new(&self.ctl).args(["server", &self.name, "drop"]).output();
    }
}

/// A topic on the broker that the tests share.
pub struct Kafka {
    brokers: String,
    topic: String,
    folder: String,
}

impl Kafka {
    pub async fn new() -> Option<Self> {
        let brokers = exported("Kafka", "HOOKRELAY_TEST_KAFKA")?;
        if let Ok(name) = std::env::var("HOOKRELAY_TEST_KAFKA_STANDIN") {
            skip("soak, Kafka", &format!("needs Apache Kafka, and there is only the stand-in {name}"));
            return None;
        }
        let folder = exported("Kafka", "HOOKRELAY_TEST_KAFKA_DIR")?;
        let topic = format!("soak-{}", uuid::Uuid::now_v7().simple());
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        let made = admin.create_topics(&[new], &AdminOptions::new()).await.unwrap();
        assert!(made[0].is_ok(), "{made:?}");
        Some(Self { brokers, topic, folder })
    }

    pub fn tell(&self, verb: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/kafka");
        let told = Command::new(script).args(["broker", &self.folder, "1", verb]).output().unwrap();
        assert!(told.status.success(), "{verb}: {}", String::from_utf8_lossy(&told.stderr));
    }

    pub fn table(&self) -> String {
        let Self { brokers, topic, .. } = self;
        format!(
            "[sinks.kafka]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{topic}\"\nstart = \"beginning\"\n\
             batch = {{ max_events = 100 }}\nconcurrency = 2\n"
        )
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "soak").set("enable.auto.commit", "false");
        config.create().unwrap()
    }

    /// How often each number is there; what is not as it was sent.
    pub fn messages(&self) -> (BTreeMap<u64, u32>, Vec<String>) {
        let (consumer, mut all, mut spoiled) = (self.consumer(), BTreeMap::new(), Vec::new());
        for partition in 0..PARTITIONS {
            let (low, high) = consumer.fetch_watermarks(&self.topic, partition, PATIENCE).unwrap();
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(&self.topic, partition, Offset::Offset(low)).unwrap();
            consumer.assign(&place).unwrap();
            let mut next = low;
            while next < high {
                let message = consumer.poll(PATIENCE).expect("no message came").unwrap();
                next = message.offset() + 1;
                let body = message.payload().unwrap();
                let n = number_in(&String::from_utf8_lossy(body));
                if *body == numbered(n) {
                    *all.entry(n).or_default() += 1;
                } else {
                    spoiled.push(String::from_utf8_lossy(body).into_owned());
                }
            }
        }
        (all, spoiled)
    }
}
