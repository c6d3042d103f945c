//! Reads a topic of rows to its end: what sinks hold, and what all daemons know. The end is the one that no transaction
//! has passed yet: where one is still open, it is waited for, as it may be what this daemon takes over from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use tracing::warn;

use super::clients::{self, Looker};
use super::cluster::Cluster;
use super::group::GroupError;
use super::member::list;
use super::seam::Row;

/// Longest one question to a broker.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest that nothing comes, or an open transaction is waited for, until it is tried anew.
const SILENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a transaction is over.
const LOOK: Duration = Duration::from_millis(50);
/// Longest one poll.
const POLL: Duration = Duration::from_millis(100);
/// Most bytes of rows that are given at once, about.
const PART_BYTES: usize = 1 << 20;
/// Most rows that are given at once.
const PART_ROWS: usize = 1000;

/// Takes parts of a partition's rows, in order; an error ends the reading.
pub(super) type Take<'t> = &'t mut dyn FnMut(u32, Vec<Row>) -> Result<(), GroupError>;

/// Rows of partitions that are not given yet.
#[derive(Default)]
struct Part {
    rows: Vec<Row>,
    bytes: usize,
}

/// Gives all rows of these partitions. Blocks.
pub(super) fn read(
    cluster: &Cluster,
    role: &str,
    topic: &str,
    partitions: &[u32],
    take: Take<'_>,
) -> Result<(), GroupError> {
    let trouble = |error: KafkaError| GroupError::kafka("reading rows", &error);
    let dirty = clients::ends(cluster, role).map_err(trouble)?;
    let clean = clients::rows(cluster, role).map_err(trouble)?;
    let mut open = BTreeSet::new();
    for partition in partitions {
        let (oldest, end) = watermarks(&dirty, topic, *partition)?;
        if oldest < end {
            await_end(&clean, topic, *partition, end)?;
            open.insert(*partition);
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    clean.assign(&list(topic, open.iter().map(|partition| (*partition, Some(0))))).map_err(trouble)?;
    let mut parts: BTreeMap<u32, Part> = BTreeMap::new();
    let mut since = Instant::now();
    while !open.is_empty() {
        match clean.poll(POLL) {
            Some(Ok(message)) => {
                since = Instant::now();
                let Ok(partition) = u32::try_from(message.partition()) else { continue };
                let Some(row) = row(message.key(), message.payload()) else {
                    warn!(topic, partition, offset = message.offset(), "a row without a readable key is passed over");
                    continue;
                };
                let part = parts.entry(partition).or_default();
                part.bytes += row.key.len() + message.payload_len();
                part.rows.push(row);
                if part.bytes >= PART_BYTES || part.rows.len() >= PART_ROWS {
                    take(partition, std::mem::take(part).rows)?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                since = Instant::now();
                let partition = u32::try_from(partition).unwrap_or_default();
                if open.remove(&partition)
                    && let Some(part) = parts.remove(&partition)
                {
                    take(partition, part.rows)?;
                }
            }
            Some(Err(_)) | None if since.elapsed() > SILENCE => return Err(GroupError::silent("reading rows")),
            Some(Err(_)) | None => {}
        }
    }
    Ok(())
}

pub(super) fn row(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Row> {
    let key = std::str::from_utf8(key?).ok()?.to_owned();
    Some(Row { key, value: value.map(Bytes::copy_from_slice) })
}

/// The oldest offset of a partition, and its end as this client sees it. Blocks.
pub(super) fn watermarks(client: &Looker, topic: &str, partition: u32) -> Result<(u64, u64), GroupError> {
    let number = i32::try_from(partition).unwrap_or(i32::MAX);
    let since = Instant::now();
    let (oldest, end) = loop {
        match client.fetch_watermarks(topic, number, ANSWER) {
            Ok(found) => break found,
            // Leaders move, and a client learns of it by such an error.
            Err(_) if since.elapsed() < ANSWER => std::thread::sleep(LOOK),
            Err(error) => return Err(GroupError::kafka("asking where a topic ends", &error)),
        }
    };
    Ok((u64::try_from(oldest).unwrap_or_default(), u64::try_from(end).unwrap_or_default()))
}

/// Waits until no transaction is open before that end.
fn await_end(clean: &Looker, topic: &str, partition: u32, end: u64) -> Result<(), GroupError> {
    let since = Instant::now();
    while watermarks(clean, topic, partition)?.1 < end {
        if since.elapsed() > SILENCE {
            return Err(GroupError::silent("waiting for a transaction to end"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
