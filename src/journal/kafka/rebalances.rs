//! Notes the group's rebalances for the thread that polls, which answers them outside of librdkafka's callback.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use tracing::debug;

use super::clients;

/// A rebalance that is to be answered.
pub(super) enum Event {
    /// These shards are the member's.
    Assign(Vec<u32>),
    /// These are to be given up; and whether they are another's already.
    Revoke(Vec<u32>, bool),
}

/// Notes rebalances for the thread that polls.
#[derive(Default)]
pub(super) struct Events {
    events: Mutex<VecDeque<Event>>,
    /// The member ends: nobody will come for them.
    is_over: AtomicBool,
}

impl Events {
    /// What is to be answered next.
    pub fn next(&self) -> Option<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The member ends: from now on rebalances are answered here.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        clients::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, why: &str) {
        debug!(%error, why, "Kafka");
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assignment = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_over.load(Ordering::Acquire) {
            // The assignment is empty by now, or another's.
            let answer = if is_assignment {
                consumer.incremental_assign(&TopicPartitionList::new())
            } else {
                consumer.unassign()
            };
            if let Err(error) = answer {
                debug!(%error, "a rebalance at the end");
            }
            return;
        }
        let shards = list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        // It is known only here, and until the answer.
        let is_lost = consumer.assignment_lost();
        let event = if is_assignment { Event::Assign(shards) } else { Event::Revoke(shards, is_lost) };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}
