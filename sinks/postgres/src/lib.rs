//! The sink for the database a pipeline already has: each delivery's payload, a JSON object, becomes a row of one table
//! in a PostgreSQL database.
//!
//! May touch: that server, over connections of its own, and the file `sslrootcert` names. Must not: sleep, retry, spawn
//! (a connection is driven by the call that uses it, see [`server`]), keep anything that is not in the table.
//!
//! Modules, each of which uses only those after it: `sink` batch → transaction → report; [`server`] connections, and
//! the few of them that are kept; `table` the table as its catalogue has it, and its SQL; `bind` value → what a column
//! reads; `verdict` SQLSTATE → whose fault; `tls` whom to trust; [`config`] the sink's table in `config.toml`; [`url`]
//! the connection URL. What becomes of a payload's keys is [`sink_api::rows`]'s business, the search for a row that is
//! refused [`sink_api::bad_row`]'s.

mod bind;
pub mod config;
pub mod server;
mod sink;
mod table;
mod tls;
pub mod url;
mod verdict;

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind};

/// How the registry lists this sink.
pub const KIND: SinkKind = SinkKind {
    name: "postgres",
    also: &["postgresql", "pg", "psql"],
    about: "rows of a table in a PostgreSQL database",
    example: include_str!("../example.toml"),
    defaults: Defaults {
        max_events: 500,
        max_bytes: 1 << 20,
        linger: Duration::from_millis(20),
        concurrency: 2,
        rate: None,
    },
    repeats: Repeats::Ignored,
    answers: false,
    sends: false,
    read: config::read,
};
