//! Logs: to standard error, as text on a terminal, as JSON lines otherwise. `RUST_LOG` narrows or widens them.
//!
//! One event, one line; never bodies, secrets, query strings or client headers.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging; a second call changes nothing.
pub fn init() {
    // What a PostgreSQL server tells its clients (NOTICE) may hold values of rows.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,tokio_postgres=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // The error says that logging was started before: tests do that.
    let _ = if std::io::stderr().is_terminal() { logs.try_init() } else { logs.json().flatten_event(true).try_init() };
}
