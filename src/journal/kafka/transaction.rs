//! One transaction: the rows of some steps of a sink, and where the sink stands after them. Blocks; may never come back
//! (see `settling.rs`).

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::clients::Producer;
use super::member::Member;
use super::seam::Step;
use super::standing;

/// Longest that rows are waited for, which is as long as brokers keep the transaction open.
const ROWS: Duration = Duration::from_secs(10);
/// Longest that the cursors may take. librdkafka may take longer.
const CURSORS: Duration = Duration::from_secs(5);
/// Longest that the end may take.
const END: Duration = Duration::from_secs(15);
/// How often it is looked whether rows have arrived.
const LOOK: Duration = Duration::from_millis(1);

/// Why a transaction did not succeed. Whatever it is, its producer is of no use any more.
#[derive(Debug)]
pub(super) enum Failure {
    /// These shards are not ours. Nothing is durable.
    Fenced(Vec<u32>),
    /// It was not ended, and never will be. Nothing is durable.
    Refused(KafkaError),
    /// What became of its end is not known.
    Unknown(KafkaError),
}

/// Makes steps durable, all of them or none, that were made after so many assignments.
pub(super) fn run(producer: &Producer, member: &Member, steps: &[Step], made: u64) -> Result<(), Failure> {
    let cluster = &member.common.cluster;
    producer.begin_transaction().map_err(Failure::Refused)?;
    write(producer, &cluster.held(&member.sink), steps).map_err(Failure::Refused)?;
    #[cfg(test)]
    member.settling.hang(super::settling::Stage::BeforeCursors, steps);
    let stands = standing::with_notes(cluster, steps.iter().map(|step| &step.stand));
    // The fence. Between it and the end nothing is asked that could have become another generation's.
    let metadata = member.shards.fence(steps, made).map_err(Failure::Fenced)?;
    producer.send_offsets_to_transaction(&stands, &metadata, CURSORS).map_err(Failure::Refused)?;
    producer.commit_transaction(END).map_err(Failure::Unknown)?;
    #[cfg(test)]
    member.settling.hang(super::settling::Stage::BehindEnd, steps);
    Ok(())
}

/// Writes the rows, and waits until brokers have them.
fn write(producer: &Producer, topic: &str, steps: &[Step]) -> Result<(), KafkaError> {
    let until = Instant::now() + ROWS;
    for step in steps {
        let partition = i32::try_from(step.stand.cursor.shard).unwrap_or(i32::MAX);
        for row in &step.rows {
            let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).partition(partition).key(&row.key);
            record.payload = row.value.as_deref();
            while let Err((error, again)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(Code::QueueFull) || Instant::now() > until {
                    return Err(error);
                }
                producer.poll(LOOK);
                record = again;
            }
        }
    }
    while producer.in_flight_count() > 0 {
        if Instant::now() > until {
            return Err(KafkaError::Flush(Code::OperationTimedOut));
        }
        producer.poll(LOOK);
    }
    // The reports alone say that rows are missing.
    producer.context().take().map_or(Ok(()), Err)
}
