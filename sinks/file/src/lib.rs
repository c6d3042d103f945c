//! The `file` sink: one line per delivery in files named by a template; delivered means flushed to the disk.
//!
//! Modules, each of which uses only those after it: `sink` the two traits; `recover` what a crash left; `retention`
//! which files are deleted; `store` the open files: write, flush, cut back, rotate; `steps` which lines go where, and
//! when; `pack` compression in the background; `open` one file and its end; `manifest` which files are ours; `verdict`
//! errors as outcomes; `env` the clock and the disk, which tests replace; `config` the table. Depends on `sink-api`
//! alone.

mod config;
mod env;
mod manifest;
mod open;
mod pack;
mod recover;
mod retention;
mod sink;
mod steps;
mod store;
mod verdict;

#[cfg(test)]
mod tests;

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind};

pub use config::{Compress, FileConfig, Rotate, Sync};
pub use sink_api::line::Format;

/// How the registry lists this kind. A batch is large: one flush per file covers all of it.
pub const KIND: SinkKind = SinkKind {
    name: "file",
    also: &["jsonl", "ndjson", "disk", "folder"],
    about: "lines in files named by a template, rotated, compressed and kept for a time",
    example: include_str!("../example.toml"),
    defaults: Defaults {
        max_events: 4096,
        max_bytes: 4 << 20,
        linger: Duration::from_millis(20),
        concurrency: 1,
        rate: None,
    },
    repeats: Repeats::Doubled,
    answers: false,
    sends: false,
    read: config::read,
};
