//! A journal on Kafka: several daemons are one relay (`[journal] kind = "kafka"`). What a 200 means, who owns which
//! shard, and what is written where is specified here; each part says how it does its share.
//!
//! # Topics of cluster `C`
//! | topic | partitions | what |
//! | --- | --- | --- |
//! | `C.events` | P | the events; a shard is a partition |
//! | `C.held.S` | P, compacted | what sink `S` holds: parked deliveries, dead letters ([`seam::Row`]), by shard |
//! | `C.control` | 1, compacted | what all daemons know of each other and of sinks |
//!
//! Each sink is the consumer group `C.S`, whose committed offset in a partition is the sink's cursor there and whose
//! metadata is its note. What a step changes, rows and cursor, is one transaction, fenced by the member's generation.
//!
//! # Parts
//! | file | what |
//! | --- | --- |
//! | `cluster`, `topics`, `message` | names; topics, made or judged; an event as a message |
//! | `producing`, `producer`, `flights` | events on their way to the brokers, in order, until they are reported |
//! | `overflow`, `feeding` | what Kafka does not take for now, on this machine's disk, and its way back |
//! | `looking`, `scan`, `span` | reading beside the groups: lookups, and spans |
//! | `journal`, `known` | all of it as a `Journal`; the ends as this process knows them |
//!
//! Threads: `kafka-produce` hears what became of events; a `kafka-span` reads one span; the overflow has those of a local
//! journal; each of librdkafka's clients has some of its own.

mod clients;
pub mod cluster;
mod committing;
mod control;
mod feed;
pub mod group;
#[cfg(test)]
mod group_tests;
mod member;
mod restoring;
mod rows;
mod feeding;
mod flights;
pub mod group;
pub mod journal;
pub mod known;
mod looking;
pub mod message;
mod overflow;
#[cfg(test)]
mod overflow_tests;
mod producer;
mod producing;
mod scan;
pub mod seam;
mod settling;
mod shards;
mod standing;
mod transaction;
mod span;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod topics;
