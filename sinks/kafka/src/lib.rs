//! The Kafka sink: each delivery is one message of a topic, its key the delivery's ordering key.
//!
//! Modules, each of which uses only those after it: [`sink`] batches, probes and the locks around the producers; `call`
//! one batch on its way; `producer` one librdkafka producer from its birth to its end; [`verdict`] Kafka's error codes
//! → whose fault; [`message`] delivery → headers and value; [`config`] the sink's table in `config.toml`;
//! [`properties`] which of its properties librdkafka gets, and which are the sink's own.
//!
//! The sink touches the network through librdkafka alone, which has threads of its own (one polls for delivery reports,
//! one or more per broker), and no file but those its `properties` name. It must not retry or sleep: the core owns
//! time.

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind, Size};

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
    defaults: Defaults {
        max_events: 1000,
        max_bytes: Size::mib(1).0,
        linger: Duration::from_millis(5),
        concurrency: 4,
        rate: None,
    },
    repeats: Repeats::Marked,
    answers: false,
    sends: false,
    read: config::read,
};

/// The library that it is linked with, and the version of it that runs.
pub fn library() -> (&'static str, String) {
    ("librdkafka", rdkafka::util::get_rdkafka_version().1)
}
