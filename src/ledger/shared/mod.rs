//! The ledger where several daemons share a journal on Kafka. What a sink's step changes is made durable in Kafka, in
//! one transaction with the cursor; SQLite is a copy of the shards that this daemon owns, and may be thrown away.
//!
//! A step goes three ways, in this order: `derive` says what it comes to, as whole rows and a note of each shard; the
//! [`Committer`](crate::journal::kafka::seam::Committer) makes these durable, or refuses where the shard is another's;
//! the copy follows. Where Kafka refuses, nothing is written anywhere. Whoever takes a shard over makes its copy of it
//! from the note and the rows.
//!
//! Knows rows, notes and SQLite; of Kafka it knows the seam alone.

mod control;
mod copy;
mod derive;
mod fields;
mod keeper;
mod note;
mod restore;
mod rows;
mod settle;

pub(super) use copy::TABLES;
pub use fields::RowError;
pub use keeper::ShardCopy;
pub use note::{Note, NoteError};
pub use settle::KafkaSettle;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod settle_tests;
