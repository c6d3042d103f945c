//! Logs: to standard error, as text on a terminal, as JSON lines otherwise. `RUST_LOG` narrows or widens them.
//!
//! One event, one line; never bodies, secrets, query strings or client headers. Whoever logs never waits and never
//! fails: a thread of its own writes, from a bounded queue. Where nobody reads standard error, or it cannot be written (the
//! log's disk is full), lines are left out and the daemon goes on.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Most lines that wait to be written.
const WAITING: usize = 4096;

/// Lets what is still waiting be written when it is dropped, for a second at most.
#[must_use = "the last lines are lost without it"]
pub struct Logging {
    _thread: WorkerGuard,
}

/// Starts logging; a second call changes nothing.
pub fn init() -> Logging {
    // What a PostgreSQL server tells its clients (NOTICE) may hold values of rows.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,tokio_postgres=warn"));
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).thread_name("log");
    let (writer, thread) = writer.finish(std::io::stderr());
    let is_terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        // It would say so on standard error, and panic where that cannot be written either.
        .log_internal_errors(false);
    // The error says that logging was started before: tests do that.
    let _ = if is_terminal { logs.try_init() } else { logs.json().flatten_event(true).try_init() };
    Logging { _thread: thread }
}
