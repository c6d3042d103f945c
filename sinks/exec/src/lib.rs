//! The `exec` sink, a sink in any language: a program is handed deliveries as JSON lines on its standard input and
//! answers with one verdict line each on its standard output.
//!
//! May touch: the program it starts, that program's process group, and three pipes to it. Must not: sleep, retry, keep
//! a program that broke the protocol or missed a deadline. The sink holds no thread. One task per running program
//! copies the program's standard error to our log and ends with it, because nobody else reads that pipe between two
//! deliveries.
//!
//! A program belongs to the one call that uses it, and goes back to the idle ones only when every verdict is in. In
//! every other case, a dropped call included, its whole process group is killed, and no other is started before it is
//! dead: so no verdict of an earlier batch can be taken for one of this, and no earlier attempt overtakes a later one.
//!
//! Modules, each of which uses only those after it: `sink` batch → a program → report; `program` one running program;
//! `errors` its standard error → our log; `spec` what a program is started with; `exit` the end of a process;
//! `exchange` what is asked and what was answered, `verdict` a line → an outcome (both pure); `mask` what must not be
//! shown; [`config`] the sink's table in `config.toml`.

pub mod config;
mod errors;
mod exchange;
mod exit;
mod mask;
mod program;
mod sink;
mod spec;
mod verdict;

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind};

pub use config::ExecConfig;

/// How the registry lists this sink. Few deliveries a batch: the program has `timeout` for all of them together.
pub const KIND: SinkKind = SinkKind {
    name: "exec",
    also: &["command", "program", "script", "shell", "cmd", "process"],
    about: "a program of yours, in any language: JSON lines in, verdict lines out",
    example: include_str!("../example.toml"),
    defaults: Defaults { max_events: 20, max_bytes: 1 << 20, linger: Duration::ZERO, concurrency: 1, rate: None },
    repeats: Repeats::Marked,
    answers: true,
    sends: false,
    read: config::read,
};
