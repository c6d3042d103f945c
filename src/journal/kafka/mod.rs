//! A journal on Kafka: several daemons are one relay (`[journal] kind = "kafka"`). What a 200 means, who owns which
//! shard, and what is written where is specified here; each part says how it does its share.
//!
//! # Topics of cluster `C`
//! | topic | partitions | what |
//! | --- | --- | --- |
//! | `C.events` | P | the events; a shard is a partition |
//! | `C.held.S` | P, compacted | what sink `S` holds: parked deliveries, dead letters ([`seam::Row`]) |
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
//! | `reach`, `sizes` | whether brokers answer; how much room events take, estimated |
//! | `group`, `member`, `feed`, `shards` | a sink's member of its group: what it polls and which shards are ours |
//! | `rebalances`, `gathering` | rebalances, noted until they are answered; that each shard is somebody's |
//! | `lease`, `naming`, `losing` | until when a member may deliver what it has read; whose the daemon's name is |
//! | `restoring`, `rows`, `standing` | shards that are taken over: where they stand, and what is held of them |
//! | `settling`, `transaction`, `committing` | steps made durable by their owner |
//! | `control`, `watching`, `glancing` | what all daemons know: written, asked, and read on; how far all have come |
//! | `retaining` | what nobody needs any more is deleted |
//! | `journal`, `known` | all of it as a `Journal`; the ends as this process knows them |
//! | `seam`, `cluster`, `clients`, `properties` | what is asked of the ledger; names, and how clients are set up |
//!
//! Threads: `kafka-produce` hears what became of events; a `kafka-span` reads one span; each member of a group has one
//! that polls, one that restores and one that settles, and for some time after a rebalance one that asks the group who
//! has what; `kafka-control` reads what all daemons know; the overflow has
//! those of a local journal; each of librdkafka's clients has some of its own.

mod clients;
pub mod cluster;
mod committing;
mod control;
mod feed;
mod feeding;
mod flights;
mod gathering;
mod glancing;
pub mod group;
#[cfg(test)]
mod group_tests;
pub mod journal;
pub mod known;
mod lease;
mod looking;
mod losing;
mod member;
pub mod message;
mod naming;
mod overflow;
#[cfg(test)]
mod overflow_tests;
mod producer;
mod producing;
mod properties;
mod reach;
mod rebalances;
mod restoring;
pub mod retaining;
mod rows;
mod scan;
pub mod seam;
mod settling;
mod shards;
mod sizes;
mod span;
mod standing;
#[cfg(test)]
#[path = "kit_tests.rs"]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod topics;
mod transaction;
mod watching;

pub use cluster::Cluster;
pub use group::Groups;
pub use journal::{Bounds, KafkaJournal};
pub use properties::RULES;
pub use retaining::{FromBegin, Retaining};
