//! The ledger where several daemons share a journal on Kafka. What a sink's step changes is made durable in Kafka, in
//! one transaction with the cursor; SQLite is a copy of the shards that this daemon owns, and may be thrown away.
//!
//! A step goes three ways, in this order: `derive` says what it comes to, as whole rows and a note of each shard; the
//! [`Committer`](crate::journal::kafka::seam::Committer) makes these durable, or refuses where the shard is another's;
//! the copy follows. Where Kafka refuses, nothing is written anywhere. Whoever takes a shard over makes its copy of it
//! from the note and the rows.
//!
//! What all daemons are to do (hold a sink, move it on, replay a span) are rows of one small topic that every daemon
//! hears of; each does its part for its own shards, in such steps, and whoever sees that all is done takes the row away
//! (`asked`).
//!
//! Knows rows, notes and SQLite; of Kafka it knows the seam alone.

mod asked;
mod control;
mod copy;
mod derive;
mod fields;
mod keeper;
mod nodes;
mod note;
mod restore;
mod rows;
mod settle;
mod spans;

pub(super) use copy::TABLES;
pub use fields::RowError;
pub use keeper::ShardCopy;
pub use nodes::KafkaNodes;
pub use note::{Note, NoteError};
pub use settle::KafkaSettle;

#[cfg(test)]
mod asked_tests;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod settle_tests;
