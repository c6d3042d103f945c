//! What all daemons know of each other and of sinks: the rows of one small topic, written and read by clients that come
//! and go. `watching` has one that stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::clients;
use super::cluster::Cluster;
use super::group::GroupError;
use super::rows;
use super::seam::Row;

/// Longest that a row may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the row has arrived.
const LOOK: Duration = Duration::from_millis(1);
/// The topic has one.
pub(super) const PARTITION: u32 = 0;

/// Writes a row, or takes it away; says where that stands. Blocks.
pub(super) fn set(cluster: &Cluster, row: &Row) -> Result<u64, GroupError> {
    let trouble = |error: KafkaError| GroupError::kafka("writing a row that all daemons see", &error);
    let (producer, topic) = (clients::plain(cluster, "control", PATIENCE).map_err(trouble)?, cluster.control());
    let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(&topic).partition(0).key(&row.key);
    record.payload = row.value.as_deref();
    producer.send(record).map_err(|(error, _)| trouble(error))?;
    let until = Instant::now() + PATIENCE * 2;
    while producer.in_flight_count() > 0 {
        if Instant::now() > until {
            return Err(trouble(KafkaError::Flush(Code::OperationTimedOut)));
        }
        producer.poll(LOOK);
    }
    producer.context().take().map_or(Ok(producer.context().last()), |error| Err(trouble(error)))
}

/// The rows, by key. Blocks.
pub(super) fn all(cluster: &Cluster) -> Result<Vec<Row>, GroupError> {
    let mut all: BTreeMap<String, Bytes> = BTreeMap::new();
    rows::read(cluster, "control", &cluster.control(), &[PARTITION], &mut |_, rows| {
        for Row { key, value } in rows {
            match value {
                Some(value) => all.insert(key, value),
                None => all.remove(&key),
            };
        }
        Ok(())
    })?;
    Ok(all.into_iter().map(|(key, value)| Row { key, value: Some(value) }).collect())
}
