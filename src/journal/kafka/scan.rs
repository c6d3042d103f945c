//! A stretch of each shard, read once: for whoever looks something up. Blocks; joins no group and commits nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

use super::clients::Quiet;
use super::cluster::Cluster;
use crate::journal::{JournalError, Marks, Position};

/// Longest one poll, and so the longest until it is seen that nobody waits any more.
const POLL: Duration = Duration::from_millis(100);
/// Most kilobytes that a client reads ahead.
const AHEAD: &str = "8192";

/// What a stretch has come to.
#[derive(Debug)]
pub struct Scanned {
    /// Where it ended in each shard; elsewhere than where it was to end, if it was cut short.
    pub upto: Marks,
    /// Whether the time or the caller's patience ended first.
    pub is_cut: bool,
}

/// What follows a message.
pub enum Next {
    /// The next one.
    On,
    /// Nothing more of this shard.
    Enough,
}

/// The bounds of a scan.
pub struct Bounds<'b> {
    /// When it ends, wherever it is.
    pub until: Instant,
    /// Whether nobody waits for it any more.
    pub is_gone: &'b AtomicBool,
}

/// A consumer that reads what it is told to, and never joins a group.
pub fn consumer(cluster: &Cluster, role: &str) -> Result<BaseConsumer<Quiet>, KafkaError> {
    let mut config = cluster.client(role);
    let set = [
        // librdkafka assigns nothing without the name of a group. Nobody ever joins this one.
        ("group.id", format!("{}-{role}", cluster.name)),
        // Events are in no transaction; one that a stranger has left open hides none of them.
        ("isolation.level", "read_uncommitted".into()),
        ("enable.auto.commit", "false".into()),
        ("enable.auto.offset.store", "false".into()),
        ("enable.partition.eof", "true".into()),
        ("auto.offset.reset", "earliest".into()),
        ("allow.auto.create.topics", "false".into()),
        ("queued.max.messages.kbytes", AHEAD.into()),
        ("fetch.wait.max.ms", "100".into()),
        // By default a client that has read enough ahead looks again after a second.
        ("fetch.queue.backoff.ms", "20".into()),
    ];
    set.into_iter().for_each(|(name, value)| _ = config.set(name, value));
    config.create_with_context(Quiet)
}

/// Where a client is to begin.
pub fn list(topic: &str, marks: impl Iterator<Item = Position>) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for mark in marks {
        let offset = Offset::Offset(i64::try_from(mark.offset).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, mark.shard as i32, offset)?;
    }
    Ok(list)
}

/// Hands each message of the stretches to `each`, in order within its shard. Both marks must lie within what is there.
///
/// # Errors
/// Where librdkafka cannot be made to read, or ends for good.
pub fn scan(
    cluster: &Cluster,
    (from, to): (&Marks, &Marks),
    bounds: &Bounds<'_>,
    mut each: impl FnMut(Position, &BorrowedMessage<'_>) -> ControlFlow<(), Next>,
) -> Result<Scanned, JournalError> {
    let mut at = from.clone();
    let mut left: BTreeMap<u32, u64> = BTreeMap::new();
    left.extend(to.iter().filter(|end| !from.is_past(*end) && from.at(end.shard) != *end).map(|e| (e.shard, e.offset)));
    if left.is_empty() {
        return Ok(Scanned { upto: to.clone(), is_cut: false });
    }
    let topic = cluster.events();
    let failed =
        |error: KafkaError| JournalError::Kafka { what: format!("cannot read {topic}"), error: error.to_string() };
    let consumer = consumer(cluster, "scan").map_err(failed)?;
    consumer.assign(&list(&topic, left.keys().map(|shard| from.at(*shard))).map_err(failed)?).map_err(failed)?;
    let is_over = || Instant::now() >= bounds.until || bounds.is_gone.load(Ordering::Relaxed);
    while !left.is_empty() {
        if is_over() {
            return Ok(Scanned { upto: at, is_cut: true });
        }
        let done = match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let position = super::message::position(&message);
                let Some(end) = left.get(&position.shard).copied() else { continue };
                let next =
                    if position.offset < end { each(position, &message) } else { ControlFlow::Continue(Next::Enough) };
                at.set(if position.offset < end { position.behind() } else { Position { offset: end, ..position } });
                match next {
                    ControlFlow::Break(()) => return Ok(Scanned { upto: at, is_cut: true }),
                    ControlFlow::Continue(Next::Enough) => Some(position.shard),
                    ControlFlow::Continue(Next::On) => (position.offset + 1 >= end).then_some(position.shard),
                }
            }
            // Nothing stands behind it, not even where messages are missing before the end.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let shard = partition as u32;
                if let Some(end) = left.get(&shard) {
                    at.set(Position { shard, offset: *end });
                }
                Some(shard)
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(failed(error)),
            // Connections come and go.
            Some(Err(error)) => {
                tracing::debug!(%error, "a read from Kafka goes on");
                None
            }
            None => None,
        };
        if let Some(shard) = done
            && left.remove(&shard).is_some()
            && !left.is_empty()
        {
            let mut done = TopicPartitionList::new();
            done.add_partition(&topic, shard as i32);
            consumer.pause(&done).map_err(failed)?;
        }
    }
    Ok(Scanned { upto: at, is_cut: false })
}
