//! What a source is: which kinds there are, how their senders prove themselves, and what is read from their requests.
//!
//! Rooms: `config` is a source's table as it is written; [`kinds`] THE list of source kinds, with `presets/` beside it;
//! [`plan`] a table read once, ready for use, with the faults that [`check`] finds; [`failure_budget`] and [`silence`]
//! when the feed is in danger, and when it has gone quiet; `proof` how senders prove
//! themselves, `extraction` where type, subject and id are found in a request, [`typing`] what a body is about;
//! [`interakt`] the types that Interakt is known to send, with samples; `challenge` what providers ask before they
//! send; [`signer`] the sender's side of it all.
//!
//! Header maps and bodies are plain data here. Knows no connections and no sinks. Pure.

pub(in crate::ingress) mod challenge;
pub mod check;
pub mod config;
mod extraction;
pub mod failure_budget;
pub mod interakt;
pub mod kinds;
pub mod plan;
pub(in crate::ingress) mod proof;
pub mod signer;
pub mod silence;
pub mod typing;

pub use self::config::{OnJournalFailure, SourceConfig, Window};
pub use self::kinds::SourceKind;
pub use self::plan::SourcePlan;

#[cfg(test)]
pub(in crate::ingress) mod typing_tests;
