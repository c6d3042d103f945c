//! The Kafka sink: each delivery is one message of a topic, its key the delivery's ordering key.
//!
//! Rooms: [`config`] its table in `config.toml`; [`properties`] what of it librdkafka gets, and what the sink keeps to
//! itself; [`message`] delivery → headers and value; [`sink`] batches, probes and the one lock; `call` one batch on its
//! way; `producer` one librdkafka producer from its birth to its end; [`verdict`] Kafka's error codes → whose fault.
//!
//! It touches the network through librdkafka alone, which has threads of its own (one polls for delivery reports, one or
//! more per broker); no file but those its `properties` name. It must not retry or sleep: the core owns time.

use std::time::Duration;

use sink_api::{Defaults, SinkKind, Size};

mod call;
pub mod config;
pub mod message;
mod producer;
pub mod properties;
pub mod sink;
pub mod verdict;

/// The kind, as the registry lists it.
pub const KIND: SinkKind = SinkKind {
    name: "kafka",
    also: &["redpanda"],
    about: "messages of Kafka topics, by an idempotent producer",
    example: include_str!("../example.toml"),
    defaults: Defaults { max_events: 500, max_bytes: Size::mib(1).0, linger: Duration::from_millis(5), concurrency: 4 },
    read: config::read,
};
