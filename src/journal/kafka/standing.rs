//! Where a group stands, asked by a client that never joins it; and how a group begins.

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::clients::{self, Looker};
use super::cluster::Cluster;
use super::group::GroupError;
use super::member::list;
use super::seam::{CommitError, Stand};
use crate::journal::Position;

/// Longest one question to a broker. Where a transaction is open, it is not answered before that has ended.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Where a sink stands in these shards, `None` where nothing was ever committed. Blocks.
pub(super) fn committed(
    cluster: &Cluster,
    sink: &str,
    shards: &[u32],
) -> Result<Vec<(u32, Option<Stand>)>, GroupError> {
    let trouble = |error: KafkaError| GroupError::kafka("asking where a group stands", &error);
    committed_by(&clients::looker(cluster, sink).map_err(trouble)?, cluster, shards, ANSWER)
}

/// The same by a client of that group, which may take so long. Blocks.
pub(super) fn committed_by(
    client: &Looker,
    cluster: &Cluster,
    shards: &[u32],
    answer: Duration,
) -> Result<Vec<(u32, Option<Stand>)>, GroupError> {
    let trouble = |error: KafkaError| GroupError::kafka("asking where a group stands", &error);
    let asked = list(&cluster.events(), shards.iter().map(|shard| (*shard, None)));
    let told = client.committed_offsets(asked, answer).map_err(trouble)?;
    let mut stands = Vec::with_capacity(shards.len());
    for element in told.elements() {
        element.error().map_err(trouble)?;
        let shard = u32::try_from(element.partition()).unwrap_or_default();
        let offset = if let Offset::Offset(offset) = element.offset() { u64::try_from(offset).ok() } else { None };
        let stand =
            offset.map(|offset| Stand { cursor: Position { shard, offset }, note: element.metadata().to_owned() });
        stands.push((shard, stand));
    }
    Ok(stands)
}

/// Where a sink stands in all shards; nothing where it never began. Blocks.
pub(super) fn all(cluster: &Cluster, sink: &str) -> Result<Vec<Stand>, GroupError> {
    let shards: Vec<u32> = (0..cluster.partitions).collect();
    Ok(committed(cluster, sink, &shards)?.into_iter().filter_map(|(_, stand)| stand).collect())
}

/// Commits where a sink stands first, where it never began. Blocks.
pub(super) fn begin(cluster: &Cluster, sink: &str, stands: &[Stand]) -> Result<(), CommitError> {
    if !all(cluster, sink)?.is_empty() {
        return Ok(());
    }
    let trouble = |error: KafkaError| GroupError::kafka("beginning a group", &error);
    let client = clients::looker(cluster, sink).map_err(trouble)?;
    match client.commit(&with_notes(cluster, stands.iter()), CommitMode::Sync) {
        // The group has members: it has begun meanwhile.
        Err(KafkaError::ConsumerCommit(Code::UnknownMemberId | Code::IllegalGeneration)) | Ok(()) => {}
        Err(error) => return Err(trouble(error).into()),
    }
    match all(cluster, sink)?.len() {
        0 => Err(CommitError::Unavailable("a group has begun and does not know it yet".into())),
        _ => Ok(()),
    }
}

/// Cursors and notes, as they are committed.
pub(super) fn with_notes<'s>(
    cluster: &Cluster,
    stands: impl Iterator<Item = &'s Stand>,
) -> rdkafka::TopicPartitionList {
    let topic = cluster.events();
    let mut all = rdkafka::TopicPartitionList::new();
    for stand in stands {
        let Ok(partition) = i32::try_from(stand.cursor.shard) else { continue };
        let mut element = all.add_partition(&topic, partition);
        let offset = i64::try_from(stand.cursor.offset).unwrap_or(i64::MAX);
        // It is refused for logical offsets alone.
        let _ = element.set_offset(Offset::Offset(offset));
        // Once for each: librdkafka would not free an earlier one.
        element.set_metadata(&stand.note);
    }
    all
}
