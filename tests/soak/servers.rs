//! PostgreSQL and Kafka, if the tests have them: the soak has a PostgreSQL server and a Kafka topic of its own, and
//! kills and starts the servers.

use std::collections::BTreeMap;

use sink_testkit::kafka::Cluster;
use sink_testkit::postgres::PostgresServer;

use crate::bodies::{number_in, numbered};

const PARTITIONS: i32 = 3;

/// A PostgreSQL cluster of this soak's own.
pub struct Postgres(PostgresServer);

impl Postgres {
    pub fn new() -> Option<Self> {
        Some(Self(PostgresServer::own("soak, PostgreSQL", &[])?))
    }

    pub fn run(&self, verb: &str) {
        self.0.order(verb);
    }

    pub fn table(&self) -> String {
        format!(
            "[sinks.postgres]\nkind = \"postgres\"\nurl = \"{}\"\ntable = \"statuses\"\nstart = \"beginning\"\n\
             setup = \"CREATE TABLE IF NOT EXISTS statuses (event_id TEXT NOT NULL UNIQUE, message_id TEXT)\"\n",
            self.0.url
        )
    }

    /// The number in each row; none while the server is down, or has no table yet.
    pub async fn rows(&self) -> Vec<u64> {
        let Ok(client) = self.0.connect().await else { return vec![] };
        let rows = client.query("SELECT message_id FROM statuses", &[]).await.unwrap_or_default();
        rows.iter().map(|row| number_in(row.get(0))).collect()
    }
}

/// A topic on the broker that the tests share.
pub struct Kafka {
    cluster: Cluster,
    topic: String,
}

impl Kafka {
    pub async fn new() -> Option<Self> {
        let cluster = Cluster::real("soak, Kafka")?;
        let topic = format!("soak-{}", uuid::Uuid::now_v7().simple());
        cluster.create(&topic, PARTITIONS, &[]).await;
        Some(Self { cluster, topic })
    }

    pub fn run(&self, verb: &str) {
        self.cluster.order(1, verb);
    }

    pub fn table(&self) -> String {
        let (brokers, topic) = (self.cluster.brokers(), &self.topic);
        format!(
            "[sinks.kafka]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{topic}\"\nstart = \"beginning\"\n\
             batch = {{ max_events = 100 }}\nconcurrency = 2\n"
        )
    }

    /// How often each number is in the topic, and the messages that are not as they were sent.
    pub fn messages(&self) -> (BTreeMap<u64, u32>, Vec<String>) {
        let (mut all, mut spoiled) = (BTreeMap::new(), Vec::new());
        for message in self.cluster.read(&self.topic) {
            let body = message.value.unwrap();
            let n = number_in(&String::from_utf8_lossy(&body));
            if body == numbered(n) {
                *all.entry(n).or_default() += 1;
            } else {
                spoiled.push(String::from_utf8_lossy(&body).into_owned());
            }
        }
        (all, spoiled)
    }
}
