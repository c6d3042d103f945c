//! The embedded SQL sink: each delivery's payload, a JSON object, becomes a row of one table in a SQLite database.
//!
//! May touch: the database file, its `-wal` and `-shm`, and folders above it that are missing. Must not: sleep, retry,
//! spawn (blocking work goes to the runtime's blocking pool and is bounded by the batch's deadline), keep anything that
//! is not in the database.
//!
//! Modules, each of which uses only those after it: `sink` batch → transaction → report; `database` opening the file,
//! and noticing that it went away; `schema` the table as it stands, and its SQL; `verdict` SQLite's result codes →
//! whose fault; [`config`] the sink's table in `config.toml`. What becomes of a payload's keys is [`sink_api::rows`]'s
//! business, the search for a row that is refused [`sink_api::bad_row`]'s.

pub mod config;
mod database;
mod schema;
mod sink;
mod verdict;

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind};

/// How the registry lists this sink.
pub const KIND: SinkKind = SinkKind {
    name: "sqlite",
    also: &["sqlite3"],
    about: "rows of a table in a SQLite database file",
    example: include_str!("../example.toml"),
    defaults: Defaults {
        max_events: 500,
        max_bytes: 1 << 20,
        linger: Duration::from_millis(20),
        concurrency: 1,
        rate: None,
    },
    repeats: Repeats::Ignored,
    answers: false,
    sends: false,
    read: config::read,
};
