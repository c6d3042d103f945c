//! The Kafka sink against a real Kafka (`eval "$(tests/services/up)"`). Table of contents below; `kit` has the tools.
//! What needs a broker is skipped by name where there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod kit; // configs, sinks and deliveries in one line

mod bounce; // brokers that go away, under load and for minutes, and what is still there after
mod calls; // deadlines and dropped calls: what is left behind, and what is not
mod config; // what is refused, with which words, and what is never shown
mod conformance; // the suite every sink passes
mod faults; // faults that no real broker shows on demand, on librdkafka's mock cluster
mod hot_key; // many deliveries of one key: under way together, and in order whatever happens
mod messages; // what stands in a topic: keys, headers, values, time
mod security; // TLS, passwords, rights
mod three; // one broker of three dies under load
mod topics; // topics that are not there, or not any more, and messages too large for them
