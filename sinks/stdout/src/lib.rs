//! The `stdout` sink: one line per delivery on standard output, for trying things out. The model of a sink:
//! `sinks/README.md` follows it file by file.
//!
//! Modules: `sink` the work, which uses `config`, the table. Depends on `sink-api` alone.

mod config;
mod sink;

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind};

pub use config::StdoutConfig;
pub use sink::StdoutSink;
pub use sink_api::line::Format;

/// How the registry lists this kind.
pub const KIND: SinkKind = SinkKind {
    name: "stdout",
    also: &["console", "log", "stderr", "terminal"],
    about: "lines on standard output, for trying things out",
    example: include_str!("../example.toml"),
    defaults: Defaults {
        max_events: 500,
        max_bytes: 1 << 20,
        linger: Duration::from_millis(5),
        concurrency: 1,
        rate: None,
    },
    repeats: Repeats::Doubled,
    answers: false,
    sends: false,
    read: config::read,
};
