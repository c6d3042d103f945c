//! Logs: written to standard error, as text on a terminal, as text with syslog's priorities where systemd's journal
//! reads it, as JSON lines otherwise; `[log]` ([`config`]) says otherwise. [`levels`] has from which level on lines are
//! written; what the daemon leaves out by itself stays out, unless `RUST_LOG` names it.
//!
//! One event is one line, and never holds bodies (but where `[log] bodies` asks for them), secrets, query strings or
//! client headers. Whoever logs never waits and never fails: a thread of its own writes the lines, from a bounded
//! queue. Where nobody reads standard error, or it cannot be written (the log's disk is full), lines are left out and
//! counted, and the daemon goes on.

pub mod config;
pub mod journald;
pub mod levels;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use config::{Format, LogConfig};

/// Most lines that wait to be written.
const QUEUE: usize = 4096;

/// Whether lines of level `debug` about a webhook hold its body.
static BODIES: AtomicBool = AtomicBool::new(false);
/// Counts the lines that were left out.
static LEFT_OUT: OnceLock<ErrorCounter> = OnceLock::new();

/// Keeps the log going. Dropped, it waits a second at most for lines that are not written yet.
#[must_use = "the last lines are lost without it"]
pub struct Logging {
    _thread: WorkerGuard,
}

/// Starts logging; a second call changes nothing. Where `RUST_LOG` has a fault, the first line says so.
pub fn init(config: &LogConfig) -> Logging {
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).thread_name("log");
    let (writer, thread) = writer.finish(std::io::stderr());
    let _ = LEFT_OUT.set(writer.error_counter());
    // Internal errors would be printed to standard error, with a panic where that cannot be written either.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).log_internal_errors(false);
    let lines = match in_fact(config.format) {
        Format::Journald => lines.with_ansi(false).event_format(journald::Lines::new()).boxed(),
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json | Format::Auto => lines.json().flatten_event(true).boxed(),
    };
    let (filter, fault) = levels::begin(config);
    BODIES.store(config.bodies, Relaxed);
    // The error says that logging was started before: tests do that.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    if let Some(why) = fault {
        tracing::warn!("RUST_LOG is not followed, `{}` is in force: {why}", levels::now());
    }
    Logging { _thread: thread }
}

/// A reload has put this table in force. The format is that of the start.
pub fn put_in_force(config: &LogConfig) {
    BODIES.store(config.bodies, Relaxed);
    levels::put_in_force(config);
}

/// Whether lines of level `debug` about a webhook hold its body.
pub fn shows_bodies() -> bool {
    BODIES.load(Relaxed)
}

/// How many lines were left out since the start, as nobody took them.
pub fn left_out() -> u64 {
    LEFT_OUT.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

fn in_fact(format: Format) -> Format {
    match format {
        Format::Auto if journald::is_reading() => Format::Journald,
        Format::Auto if std::io::stderr().is_terminal() => Format::Text,
        Format::Auto => Format::Json,
        asked => asked,
    }
}
