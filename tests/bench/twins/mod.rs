//! Plain clients of what the sinks deliver to, each as one would write it by hand: the same batches, as many under way
//! at once, the same guarantees; no journal, no routing, no verdicts, no retries. Beside each twin stands the table of
//! the sink that it is compared with, and how to see what has arrived there.

mod file;
mod http;
mod kafka;
mod postgres;
mod sql;
mod sqlite;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use sink_testkit::kafka::Cluster;
use sink_testkit::postgres::PostgresServer;

use crate::client;

/// Keys that the events have, in turn.
pub const KEYS: usize = 10_000;

/// What an event is made of that a twin delivers.
pub struct Sample {
    pub key: String,
    pub body: String,
}

/// The bodies that the client sends, in turn.
pub fn samples() -> Vec<Sample> {
    (0..KEYS).map(|key| Sample { key: client::message(key), body: client::body(client::BODY_BYTES, key) }).collect()
}

/// A kind of sink and its twin.
pub trait Row {
    /// The sink's name, and that of the row.
    fn name(&self) -> &'static str;
    /// The sink's tables in the daemon's config.
    fn tables(&self) -> String;
    /// How many deliveries of the daemon's have arrived, of so many; exactly so, where it says that all have.
    fn arrived(&mut self, events: u64) -> Result<u64, Box<dyn Error>>;
    /// Delivers so many events by hand, to a target of its own; how long it took until all were there.
    fn by_hand(&mut self, samples: &[Sample], events: u64) -> Result<Duration, Box<dyn Error>>;
}

/// The real servers that there are, and those that there are not.
pub struct Services {
    kafka: Option<Cluster>,
    postgres: Option<PostgresServer>,
    /// Rows that are left out, and why.
    pub skipped: Vec<String>,
}

impl Services {
    /// Those that `tests/services/up` has exported.
    pub fn of_environment() -> Self {
        let kafka = Cluster::real("make bench, catch-up of kafka");
        let postgres = PostgresServer::shared("make bench, catch-up of postgres");
        let reason = |service: &str| {
            let missing = std::env::var(format!("HOOKRELAY_TEST_{service}_MISSING"));
            missing.unwrap_or_else(|_| "its server is not there; `tests/services/with` starts it".to_owned())
        };
        let mut skipped = Vec::new();
        if kafka.is_none() {
            skipped.push(format!("kafka, one key and many: {}", reason("KAFKA")));
        }
        if postgres.is_none() {
            skipped.push(format!("postgres: {}", reason("POSTGRES")));
        }
        Self { kafka, postgres, skipped }
    }

    /// All rows that can be measured, each with new targets in that folder or at the servers.
    pub fn rows(&self, folder: &Path, round: u32) -> Result<Vec<Box<dyn Row>>, Box<dyn Error>> {
        let mut rows: Vec<Box<dyn Row>> = vec![
            Box::new(file::FileRow::new(folder)),
            Box::new(sqlite::SqliteRow::new(folder)?),
            Box::new(http::HttpRow::new(folder)?),
        ];
        if let Some(server) = &self.postgres {
            rows.push(Box::new(postgres::PostgresRow::new(server, round)?));
        }
        if let Some(cluster) = &self.kafka {
            rows.push(Box::new(kafka::KafkaRow::new(cluster, round, false)?));
            rows.push(Box::new(kafka::KafkaRow::new(cluster, round, true)?));
        }
        Ok(rows)
    }
}
