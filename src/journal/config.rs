//! `[journal]` in `config.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use sink_api::kafka::Property;
use sink_api::settings::{one_or_many, table};
use sink_api::{Period, Secret, Size};

use super::JournalError;

/// Which engine keeps the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// This machine's disk.
    #[default]
    Local,
    /// A Kafka cluster, which several daemons share.
    Kafka,
}

/// What happens when `max_size` is reached and every event left is still owed to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The laggard's oldest events go, counted as dropped.
    DropOldest,
    /// New events are refused.
    Refuse,
}

/// The journal's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Which engine keeps the journal.
    pub kind: Kind,
    /// Folder; default `<data_dir>/journal`. May lie on another disk.
    pub dir: Option<PathBuf>,
    /// A segment is sealed when it has grown to this.
    pub segment_size: Size,
    /// How long settled events stay for replay.
    pub retention: Period,
    /// Most disk the journal and the ledger may take together.
    pub max_size: Size,
    /// What happens when `max_size` holds only owed events.
    pub when_full: WhenFull,
    /// The disk counts as full when less than this is free.
    pub min_free: Size,
    /// Most bytes waiting for a flush.
    pub overflow_max: Size,
    /// Kind `kafka`: `host:port` of brokers.
    #[serde(deserialize_with = "some_brokers")]
    pub brokers: Option<Vec<String>>,
    /// Kind `kafka`: what names of topics, groups and transactions begin with; [`CLUSTER`] where unset.
    pub cluster: Option<String>,
    /// Kind `kafka`: this daemon's name among those that share the journal; the host's name where unset.
    pub node: Option<String>,
    /// Kind `kafka`: shards, for ever; [`PARTITIONS`] where unset.
    pub partitions: Option<u32>,
    /// Kind `kafka`: most disk for events that brokers have not taken yet; [`OVERFLOW_DISK`] where unset.
    pub overflow_disk: Option<Size>,
    /// Kind `kafka`: whether brokers flush each event before they acknowledge it; not where unset.
    pub flush: Option<bool>,
    /// Kind `kafka`: properties for librdkafka.
    #[serde(deserialize_with = "properties")]
    pub properties: BTreeMap<String, Secret>,
}

/// What the names of topics begin with where the config does not say.
pub const CLUSTER: &str = "hookrelay";
/// Shards of a journal on Kafka where the config does not say.
pub const PARTITIONS: u32 = 24;
/// Room on the disk for events that brokers have not taken yet, where the config does not say.
pub const OVERFLOW_DISK: Size = Size::mib(1024);

fn some_brokers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    one_or_many(from).map(Some)
}

fn properties<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    let properties: BTreeMap<String, Property> = table(from)?;
    Ok(properties.into_iter().map(|(name, value)| (name, value.0)).collect())
}

impl JournalConfig {
    /// The folder that this machine keeps the journal in, or `or` where the config names none.
    ///
    /// # Errors
    /// It is kept elsewhere.
    pub fn folder<'f>(&'f self, or: &'f Path) -> Result<&'f Path, JournalError> {
        match self.kind {
            Kind::Local => Ok(self.dir.as_deref().unwrap_or(or)),
            Kind::Kafka => Err(JournalError::Unfit(
                "the journal is on Kafka (`[journal] kind`), and in no folder that could be read\n  help: ask a daemon \
                 that runs: `hookrelay trace`, `hookrelay tail --since`; or Kafka's own tools"
                    .into(),
            )),
        }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            kind: Kind::Local,
            dir: None,
            segment_size: Size::mib(64),
            retention: Period::secs(7 * 24 * 3600),
            max_size: Size::mib(10 * 1024),
            when_full: WhenFull::DropOldest,
            min_free: Size::mib(512),
            overflow_max: Size::mib(64),
            brokers: None,
            cluster: None,
            node: None,
            partitions: None,
            overflow_disk: None,
            flush: None,
            properties: BTreeMap::new(),
        }
    }
}
