//! The Kafka cluster that keeps the journal: its names of topics and groups, and how clients of it are set up. Pure.

use std::collections::BTreeMap;

use std::path::PathBuf;

use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::topic_partition_list::TopicPartitionList;
use sink_api::Secret;

use super::properties::RULES;

/// What the ids of all daemons' clients begin with.
pub(super) const CLIENT: &str = "hookrelay-";

/// Which cluster, and who we are in it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// What names of topics, groups and transactions begin with.
    pub name: String,
    /// This daemon's name, of which no other daemon of the cluster has the same.
    pub node: String,
    /// How many shards there are, for ever.
    pub partitions: u32,
    /// librdkafka's properties, as the config has them: how to log in, whom to trust.
    pub properties: BTreeMap<String, Secret>,
    /// The folder in which their relative paths start.
    pub base_dir: PathBuf,
}

impl Cluster {
    /// The topic of events.
    pub fn events(&self) -> String {
        format!("{}.events", self.name)
    }

    /// The topic of what a sink holds.
    pub fn held(&self, sink: &str) -> String {
        format!("{}.held.{sink}", self.name)
    }

    /// The topic of what all daemons know.
    pub fn control(&self) -> String {
        format!("{}.control", self.name)
    }

    /// The consumer group of a sink.
    pub fn group(&self, sink: &str) -> String {
        format!("{}.{sink}", self.name)
    }

    /// The transactions of this daemon for a sink.
    pub fn transactions(&self, sink: &str) -> String {
        format!("{}.{sink}.{}", self.name, self.node)
    }

    /// A client, before its role adds what it needs. Clients of one process have different ids (librdkafka#4783).
    pub fn client(&self, role: &str) -> ClientConfig {
        let mut config = RULES.client(&self.brokers, &self.properties, |path| self.base_dir.join(path));
        config.set("client.id", self.client_id(role));
        config
    }

    /// By which id a client of that role is known to brokers.
    pub fn client_id(&self, role: &str) -> String {
        format!("{CLIENT}{}-{role}", self.node)
    }

    /// All shards of the events, without offsets.
    pub fn shards(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        let last = i32::try_from(self.partitions).unwrap_or(i32::MAX).saturating_sub(1);
        list.add_partition_range(&self.events(), 0, last);
        list
    }
}

/// These shards, each from its offset where it has one.
pub(super) fn list(topic: &str, shards: impl Iterator<Item = (u32, Option<u64>)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (shard, offset) in shards {
        let Ok(partition) = i32::try_from(shard) else { continue };
        let mut element = list.add_partition(topic, partition);
        if let Some(offset) = offset.and_then(|offset| i64::try_from(offset).ok()) {
            // It is refused for logical offsets alone.
            let _ = element.set_offset(Offset::Offset(offset));
        }
    }
    list
}
