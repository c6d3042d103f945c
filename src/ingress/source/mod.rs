//! What a source is: which kinds there are, how their senders prove themselves, and what is read from their requests.
//!
//! Rooms: `config` is a source's table as it is written and [`kinds`] THE list of source kinds, with `presets/` beside it;
//! [`plan`] is
//! a table read once, with what [`check`] finds wrong with it; `proof` is who sent it, `extraction` where type, subject and id are found,
//! [`typing`] how Interakt's body is read, [`interakt`]
//! what that provider is known to send, `challenge` what they ask before they
//! send; `signer` is the sender's side of it all.
//!
//! Header maps and bodies are plain data here: it knows no connections, no journal and no sinks. Pure.

pub(in crate::ingress) mod challenge;
pub mod check;
pub mod config;
mod extraction;
pub mod interakt;
pub mod kinds;
pub mod plan;
pub(in crate::ingress) mod proof;
pub mod signer;
pub mod typing;

pub use self::config::{OnJournalFailure, SourceConfig, Window};
pub use self::kinds::SourceKind;
pub use self::plan::SourcePlan;

#[cfg(test)]
pub(in crate::ingress) mod typing_tests;
