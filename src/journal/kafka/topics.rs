//! The topics: what is missing is made, what is there is judged. A topic that is weaker than what a 200 promises is
//! refused, with the way out, and never changed: it may be somebody's on purpose.
//!
//! | topic | properties |
//! | --- | --- |
//! | all | replication factor 3 (2 where there are two brokers), `min.insync.replicas=2`, no unclean election |
//! | all, with `[journal] flush` | `flush.messages=1` |
//! | events | deleted by size alone, in segments of an eighth of that; times by the brokers' clocks |
//! | held, control | compacted |

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tracing::warn;

use super::clients::Quiet;
use super::cluster::Cluster;
use super::message::MAX_MESSAGE;
use crate::journal::JournalError;

/// Copies of every event, where there are so many brokers.
const COPIES: usize = 3;
/// Copies that a 200 promises.
const IN_SYNC: usize = 2;
/// Longest that brokers may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest until a topic that was made is seen by the broker that is asked.
const SEEN: Duration = Duration::from_secs(20);
/// Longest that it is looked whether anybody listens at all.
const REACH: Duration = Duration::from_secs(1);
/// Kafka deletes whole segments, and none that it writes: a partition's bound is about so many of them, if they may be
/// so small, and need not be larger.
const SEGMENTS: u64 = 8;
const SEGMENT: [u64; 2] = [1 << 20, 1 << 30];
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(100);

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds events: at most so many bytes in each partition.
    Events(u64),
    /// It holds the last row of each key.
    Rows,
}

/// A topic that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
    /// What for.
    pub role: Role,
    /// Whether each message is flushed before it is acknowledged.
    pub is_flushed: bool,
}

impl Wanted {
    /// The topic of events, of at most `max_size` bytes in all.
    pub fn events(cluster: &Cluster, max_size: u64) -> Self {
        let role = Role::Events(max_size / u64::from(cluster.partitions.max(1)));
        Self { name: cluster.events(), partitions: cluster.partitions, role, is_flushed: false }
    }

    /// The topic of what a sink holds.
    pub fn held(cluster: &Cluster, sink: &str) -> Self {
        Self { name: cluster.held(sink), partitions: cluster.partitions, role: Role::Rows, is_flushed: false }
    }

    /// The topic of what all daemons know.
    pub fn control(cluster: &Cluster) -> Self {
        Self { name: cluster.control(), partitions: 1, role: Role::Rows, is_flushed: false }
    }

    /// The same, with each message flushed or not.
    #[must_use]
    pub fn flushed(self, is_flushed: bool) -> Self {
        Self { is_flushed, ..self }
    }

    fn properties(&self) -> Vec<(&'static str, String)> {
        let mut properties = vec![
            ("min.insync.replicas", IN_SYNC.to_string()),
            ("unclean.leader.election.enable", "false".into()),
            ("max.message.bytes", MAX_MESSAGE.to_string()),
        ];
        if self.is_flushed {
            properties.push(("flush.messages", "1".into()));
        }
        match self.role {
            Role::Events(bytes) => properties.extend([
                ("segment.bytes", (bytes / SEGMENTS).clamp(SEGMENT[0], SEGMENT[1]).to_string()),
                ("cleanup.policy", "delete".into()),
                ("message.timestamp.type", "LogAppendTime".into()),
                ("retention.ms", "-1".into()),
                ("retention.bytes", bytes.to_string()),
            ]),
            Role::Rows => properties.push(("cleanup.policy", "compact".into())),
        }
        properties
    }
}

/// A topic as brokers tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many partitions it has.
    pub partitions: u32,
    /// How many copies the partition with the fewest has.
    pub copies: usize,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
}

/// Why a topic is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weak {
    /// The topic.
    pub topic: String,
    /// Which property.
    pub property: &'static str,
    /// What it is.
    pub found: String,
    /// What it must be.
    pub needed: String,
    /// The way out.
    pub help: String,
}

impl fmt::Display for Weak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, property, found, needed, help } = self;
        write!(f, "topic {topic}: {property} is {found}, and must be {needed}: {help}")
    }
}

/// Why there are no topics to work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicsError {
    /// The brokers cannot be asked; it may be tried again.
    #[error("Kafka cannot be asked about its topics: {0}")]
    Unavailable(String),
    /// A topic cannot be made.
    #[error("the topic {topic} is missing and cannot be made: {why}")]
    Missing {
        /// Which.
        topic: String,
        /// Why.
        why: String,
    },
    /// Topics are weaker than what a 200 promises.
    #[error("{}", lines(.0))]
    Weak(Vec<Weak>),
}

impl From<TopicsError> for JournalError {
    fn from(error: TopicsError) -> Self {
        match error {
            TopicsError::Unavailable(why) => {
                Self::Kafka { what: "Kafka cannot be asked about its topics".into(), error: why }
            }
            TopicsError::Missing { .. } | TopicsError::Weak(_) => Self::Unfit(error.to_string()),
        }
    }
}

fn lines(faults: &[Weak]) -> String {
    faults.iter().map(Weak::to_string).collect::<Vec<_>>().join("\n")
}

/// Everything in which a topic is weaker than it must be. Pure.
pub fn judge(wanted: &Wanted, found: &Found) -> Vec<Weak> {
    let mut faults = Vec::new();
    let mut weak = |property, found: String, needed: String, help: String| {
        faults.push(Weak { topic: wanted.name.clone(), property, found, needed, help });
    };
    if found.partitions != wanted.partitions {
        let help = match is_of_events(wanted) {
            true => format!("say `partitions = {}`, or name another `cluster`", found.partitions),
            false => format!(
                "say `partitions = {}` if the topic of events has as many, or name another `cluster`: what sinks \
                 hold is in it",
                found.partitions
            ),
        };
        weak("partitions", found.partitions.to_string(), wanted.partitions.to_string(), help);
    }
    if found.copies < IN_SYNC {
        let help = "a 200 means that two brokers have the event; add brokers, and reassign the topic's partitions";
        weak("replication.factor", found.copies.to_string(), format!("at least {IN_SYNC}"), help.into());
    }
    let alter = |name: &str, value: &str| {
        format!("`kafka-configs.sh --alter --topic {} --add-config {name}={value}`", wanted.name)
    };
    let says = |name: &str| found.properties.get(name).map_or("", String::as_str);
    let number = |name: &str| says(name).parse::<i64>().unwrap_or_default();
    let in_sync = number("min.insync.replicas");
    // With two copies one broker that is away stops the topic, and events go to the local overflow meanwhile.
    let most = found.copies.saturating_sub(1).max(IN_SYNC);
    if in_sync < IN_SYNC as i64 || in_sync > most as i64 {
        let help = alter("min.insync.replicas", "2");
        weak("min.insync.replicas", in_sync.to_string(), "2, or more with more copies than that".into(), help);
    }
    let mut must = |name: &'static str, is_right: bool, value: &str| {
        if !is_right {
            weak(name, format!("`{}`", says(name)), format!("`{value}`"), alter(name, value));
        }
    };
    let is = |name: &str, value: &str| says(name).eq_ignore_ascii_case(value);
    let unclean = "unclean.leader.election.enable";
    must(unclean, is(unclean, "false"), "false");
    let is_large = number("max.message.bytes") >= MAX_MESSAGE as i64;
    must("max.message.bytes", is_large, &MAX_MESSAGE.to_string());
    must("flush.messages", !wanted.is_flushed || is("flush.messages", "1"), "1");
    match wanted.role {
        Role::Events(_) => {
            must("cleanup.policy", is("cleanup.policy", "delete"), "delete");
            must("retention.ms", is("retention.ms", "-1"), "-1");
            must("message.timestamp.type", is("message.timestamp.type", "LogAppendTime"), "LogAppendTime");
        }
        Role::Rows => must("cleanup.policy", is("cleanup.policy", "compact"), "compact"),
    }
    faults
}

/// Sees whether anybody listens where brokers are to be: a client waits for its whole patience where nobody does.
///
/// # Errors
/// [`TopicsError::Unavailable`] where nobody does.
pub async fn reach(brokers: &str) -> Result<(), TopicsError> {
    let mut tries = JoinSet::new();
    for broker in brokers.split(',').map(str::to_owned) {
        tries.spawn(async move { TcpStream::connect(&broker).await.map_err(|error| format!("{broker}: {error}")) });
    }
    let somebody = async {
        let mut why = String::new();
        while let Some(tried) = tries.join_next().await {
            match tried {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => why = error,
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    };
    let silent = |_| Err(format!("nobody answers at {brokers}"));
    tokio::time::timeout(REACH, somebody).await.unwrap_or_else(silent).map_err(TopicsError::Unavailable)
}

/// Judges the topics that are there, and makes those that are missing; none where one is refused. Blocks only for what
/// creating a client takes.
///
/// # Errors
/// [`TopicsError::Unavailable`] where no broker answers in time, [`TopicsError::Missing`] where a topic cannot be
/// made, [`TopicsError::Weak`] with all faults of all topics.
pub async fn prepare(cluster: &Cluster, wanted: Vec<Wanted>) -> Result<(), TopicsError> {
    let (config, admin) = clients(cluster)?;
    let mut faults = Vec::new();
    for (topic, copies) in missing(cluster, &config, &admin, wanted).await? {
        make(&admin, &topic, copies).await?;
        let until = Instant::now() + SEEN;
        let mut seen = look(&config, topic.name.clone()).await?;
        while seen.is_missing && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            seen = look(&config, topic.name.clone()).await?;
        }
        if seen.is_missing {
            return Err(TopicsError::Unavailable(format!("the topic {} was made, and is not seen", topic.name)));
        }
        // Another daemon may have been quicker, and wants something else.
        faults.extend(judged(&admin, &topic, seen).await?);
    }
    if faults.is_empty() { Ok(()) } else { Err(TopicsError::Weak(faults)) }
}

/// Names the topics that are missing, which [`prepare`] would make, and judges the others. Changes nothing.
///
/// # Errors
/// As [`prepare`].
pub async fn inspect(cluster: &Cluster, wanted: Vec<Wanted>) -> Result<Vec<String>, TopicsError> {
    let (config, admin) = clients(cluster)?;
    let missing = missing(cluster, &config, &admin, wanted).await?;
    Ok(missing.into_iter().map(|(topic, _)| topic.name).collect())
}

/// The topics that are missing, each with how many copies it is to have. Those that are there are as they must be.
async fn missing(
    cluster: &Cluster,
    config: &ClientConfig,
    admin: &AdminClient<Quiet>,
    wanted: Vec<Wanted>,
) -> Result<Vec<(Wanted, usize)>, TopicsError> {
    let (mut missing, mut faults) = (Vec::new(), Vec::new());
    for topic in wanted {
        let seen = look(config, topic.name.clone()).await?;
        if seen.is_missing {
            missing.push((topic, seen.brokers));
        } else {
            faults.extend(judged(admin, &topic, seen).await?);
        }
    }
    if !faults.is_empty() {
        return Err(TopicsError::Weak(faults));
    }
    let is_first = missing.iter().any(|(topic, _)| is_of_events(topic));
    let with_copies = |(topic, brokers)| copies(cluster, &topic, brokers, is_first).map(|copies| (topic, copies));
    missing.into_iter().map(with_copies).collect()
}

/// How a client is set up that asks, and one that makes and describes.
fn clients(cluster: &Cluster) -> Result<(ClientConfig, AdminClient<Quiet>), TopicsError> {
    let mut config = cluster.client("topics");
    let admin = config.create_with_context(Quiet).map_err(unavailable)?;
    // A consumer's question makes no topics, whatever the brokers would make by themselves.
    config.set("allow.auto.create.topics", "false");
    Ok((config, admin))
}

/// In what a topic that is there is too weak.
async fn judged(admin: &AdminClient<Quiet>, topic: &Wanted, seen: Seen) -> Result<Vec<Weak>, TopicsError> {
    let properties = described(admin, topic).await?;
    if let Role::Events(bytes) = topic.role
        && let Some(other) = properties.get("retention.bytes").filter(|found| **found != bytes.to_string())
    {
        let topic = &topic.name;
        warn!(
            topic,
            retention_bytes = other,
            max_size = bytes,
            "Kafka deletes events at another size than `max_size`, of which each shard has its part: change either \
            (`kafka-configs.sh --alter`)"
        );
    }
    Ok(judge(topic, &Found { properties, ..seen.found }))
}

fn is_of_events(topic: &Wanted) -> bool {
    matches!(topic.role, Role::Events(_))
}

/// How many copies a topic is to have that is made now, which it then has for ever. So a relay's first topics are not
/// made as long as fewer brokers are there than the config names. A sink that comes later waits for two.
fn copies(cluster: &Cluster, wanted: &Wanted, brokers: usize, is_first: bool) -> Result<usize, TopicsError> {
    let topic = &wanted.name;
    let named = cluster.brokers.split(',').count();
    let needed = named.min(if is_first { COPIES } else { IN_SYNC });
    if brokers < needed {
        return Err(TopicsError::Unavailable(format!(
            "{topic} is missing, and is made once {needed} brokers are there: {brokers} of {named} are"
        )));
    }
    if brokers < IN_SYNC {
        let why = format!("a 200 means that {IN_SYNC} brokers have the event, and there is one broker alone");
        return Err(TopicsError::Missing { topic: topic.clone(), why });
    }
    Ok(COPIES.min(brokers))
}

/// What the metadata say.
struct Seen {
    brokers: usize,
    is_missing: bool,
    found: Found,
}

async fn look(config: &ClientConfig, topic: String) -> Result<Seen, TopicsError> {
    let config = config.clone();
    let ask = move || -> Result<Seen, TopicsError> {
        let client: BaseConsumer<Quiet> = config.create_with_context(Quiet).map_err(unavailable)?;
        let silent = |error| {
            let brokers = config.get("bootstrap.servers").unwrap_or_default();
            TopicsError::Unavailable(format!("{brokers}: no answer that can be used within {ANSWER:?}: {error}"))
        };
        let metadata = client.fetch_metadata(Some(&topic), ANSWER).map_err(silent)?;
        let about = metadata.topics().iter().find(|about| about.name() == topic);
        let error = about.and_then(|about| about.error()).map(Code::from);
        let is_missing = matches!(error, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic));
        if let Some(error) = error.filter(|_| !is_missing) {
            return Err(TopicsError::Unavailable(format!("{topic}: {error}")));
        }
        let partitions = about.map_or(&[][..], |about| about.partitions());
        let found = Found {
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            copies: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default(),
            properties: BTreeMap::new(),
        };
        Ok(Seen { brokers: metadata.brokers().len(), is_missing: is_missing || partitions.is_empty(), found })
    };
    tokio::task::spawn_blocking(ask).await.map_err(|error| TopicsError::Unavailable(error.to_string()))?
}

async fn make(admin: &AdminClient<Quiet>, wanted: &Wanted, copies: usize) -> Result<(), TopicsError> {
    let missing = |why: String| TopicsError::Missing { topic: wanted.name.clone(), why };
    if copies < COPIES {
        let topic = &wanted.name;
        warn!(
            topic,
            copies, "a topic is made with two copies: while one of their brokers is away, Kafka takes no events"
        );
    }
    let partitions = i32::try_from(wanted.partitions).map_err(|error| missing(error.to_string()))?;
    let copies = i32::try_from(copies).map_err(|error| missing(error.to_string()))?;
    let properties = wanted.properties();
    let topic = NewTopic::new(&wanted.name, partitions, TopicReplication::Fixed(copies));
    let topic = properties.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
    match admin.create_topics(&[topic], &options).await.map_err(unavailable)?.into_iter().next() {
        // Another daemon was quicker.
        Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, Code::RequestTimedOut | Code::NotController | Code::OperationTimedOut))) => {
            Err(TopicsError::Unavailable(format!("making {} took too long", wanted.name)))
        }
        Some(Err((_, code))) => Err(missing(code.to_string())),
        None => Err(missing("the brokers did not say why".into())),
    }
}

/// What a topic is set to, as soon as the broker that is asked knows: of one that was made a moment ago it may know
/// nothing yet.
async fn described(admin: &AdminClient<Quiet>, topic: &Wanted) -> Result<BTreeMap<String, String>, TopicsError> {
    let until = Instant::now() + SEEN;
    loop {
        let properties = describe(admin, &topic.name).await?;
        if topic.properties().iter().all(|(name, _)| properties.contains_key(*name)) {
            return Ok(properties);
        }
        if Instant::now() > until {
            return Err(TopicsError::Unavailable(format!("the brokers do not say what {} is set to", topic.name)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn describe(admin: &AdminClient<Quiet>, topic: &str) -> Result<BTreeMap<String, String>, TopicsError> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let answers = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await.map_err(unavailable)?;
    let answer = answers.into_iter().next().ok_or_else(|| TopicsError::Unavailable(topic.to_owned()))?;
    let answer = answer.map_err(|code| TopicsError::Unavailable(format!("{topic}: {code}")))?;
    Ok(answer.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

fn unavailable(error: KafkaError) -> TopicsError {
    TopicsError::Unavailable(error.to_string())
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
