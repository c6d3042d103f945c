//! Logs: written to standard error, as text on a terminal, as text with syslog's priorities where systemd's journal
//! reads it, as JSON lines otherwise. `RUST_LOG` narrows or widens them; what the daemon leaves out by itself
//! (`HELD_BACK`) stays out, unless `RUST_LOG` names it.
//!
//! One event is one line, and never holds bodies, secrets, query strings or client headers. Whoever logs never waits
//! and never fails: a thread of its own writes the lines, from a bounded queue. Where nobody reads standard error, or
//! it cannot be written (the log's disk is full), lines are left out and the daemon goes on.

pub mod journald;

use std::io::IsTerminal;

use sink_api::fault::nearest;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Most lines that wait to be written.
const QUEUE: usize = 4096;
/// The directives that are in force where `RUST_LOG` holds none.
const DEFAULT: &str = "info";
/// Targets whose lines may hold what no log may hold, or may be a flood, and the level from which on they are safe.
const HELD_BACK: &[(&str, Level)] = &[
    // What a PostgreSQL server tells its clients (NOTICE) may hold values of rows.
    ("tokio_postgres", Level::WARN),
    // Whoever can connect brings about a line for each connection; what matters of it is counted by ingress.
    ("h2", Level::ERROR),
];
/// Words that `RUST_LOG` takes for levels.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Keeps the log going. Dropped, it waits a second at most for lines that are not written yet.
#[must_use = "the last lines are lost without it"]
pub struct Logging {
    _thread: WorkerGuard,
}

/// Starts logging; a second call changes nothing. Where `RUST_LOG` has a fault, the first line says so.
pub fn init() -> Logging {
    let variable = std::env::var_os("RUST_LOG");
    let text = variable.as_deref().map(|text| text.to_str().ok_or("it is not UTF-8".to_owned()));
    let (directives, fault) = match text {
        None => (DEFAULT, None),
        Some(Err(why)) => (DEFAULT, Some(why)),
        Some(Ok(directives)) => match fault(directives) {
            Some(why) => (DEFAULT, Some(why)),
            None if directives.trim().is_empty() => (DEFAULT, None),
            None => (directives, None),
        },
    };
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).thread_name("log");
    let (writer, thread) = writer.finish(std::io::stderr());
    // Internal errors would be printed to standard error, with a panic where that cannot be written either.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).log_internal_errors(false);
    let lines = if journald::is_reading() {
        lines.with_ansi(false).event_format(journald::Lines::new()).boxed()
    } else if std::io::stderr().is_terminal() {
        lines.boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    // The error says that logging was started before: tests do that.
    let _ = tracing_subscriber::registry().with(filtered(lines, directives)).try_init();
    if let Some(why) = fault {
        tracing::warn!("RUST_LOG is not followed, `{DEFAULT}` is in force: {why}");
    }
    Logging { _thread: thread }
}

/// What is wrong with the directives, where something is.
fn fault(directives: &str) -> Option<String> {
    if let Err(error) = EnvFilter::builder().parse(directives) {
        return Some(format!("{error}; expected such as `info` or `warn,hookrelay=debug`"));
    }
    // A single word that is no level would be taken for a target, of which all is logged, and nothing else.
    let alone = directives.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ':']));
    let mut typos = alone.filter_map(|word| {
        let lower = word.to_lowercase();
        let level = nearest(&lower, LEVELS).filter(|level| *level != lower)?;
        Some(format!("`{word}` is no level; did you mean `{level}`?"))
    });
    typos.next()
}

/// The layer, which sees only what the directives ask for and nothing that is held back.
fn filtered<S, L>(lines: L, directives: &str) -> impl Layer<S> + use<S, L>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    // The directives have no fault: `fault` has looked.
    let asked = EnvFilter::builder().parse_lossy(directives);
    lines.with_filter(asked.and(not_held_back(directives)))
}

/// Lets through what is not held back, and what the directives name.
fn not_held_back(directives: &str) -> FilterFn<impl Fn(&Metadata<'_>) -> bool + use<>> {
    let held: Vec<_> = HELD_BACK.iter().filter(|(target, _)| !names(directives, target)).collect();
    filter_fn(move |line| held.iter().all(|(target, from)| *line.level() <= *from || !is_in(line.target(), target)))
}

/// Whether the directives name the target, or a part of it.
fn names(directives: &str, target: &str) -> bool {
    directives.split(',').any(|word| is_in(word.trim().split(['=', '[']).next().unwrap_or_default(), target))
}

fn is_in(name: &str, target: &str) -> bool {
    name.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a test's log was written into.
    #[derive(Clone, Default)]
    pub struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are logged under these directives.
    fn logged(directives: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(filtered(lines, directives));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "tokio_postgres::connection", "NOTICE: row-value");
            tracing::warn!(target: "tokio_postgres", "lost");
            tracing::info!(target: "hookrelay::daemon", "ours");
            tracing::info!(target: "tokio_postgres_rustls", "theirs");
        });
        written.text()
    }

    #[test]
    fn what_is_held_back_stays_so_unless_it_is_named() {
        for (words, seen) in [
            ("info", "lost ours theirs"),
            ("debug", "lost ours theirs"),
            ("trace,hookrelay=debug", "lost ours theirs"),
            ("info,sqlx=off", "lost ours theirs"),
            ("error", ""),
            ("warn", "lost"),
            ("tokio_postgres=info", "row-value lost theirs"),
            ("info, tokio_postgres::connection=debug", "row-value lost ours theirs"),
            ("info,tokio_postgres=error", "ours"),
            ("off", ""),
        ] {
            let text = logged(words);
            let got: Vec<&str> =
                ["row-value", "lost", "ours", "theirs"].into_iter().filter(|word| text.contains(word)).collect();
            assert_eq!(got.join(" "), seen, "{words}");
        }
    }

    #[test]
    fn directives_that_cannot_be_meant_are_named() {
        for good in ["", "info", "INFO", "warn,hookrelay=debug", "hookrelay", "off", "hookrelay[span]=info", "3"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for (bad, part) in
            [("inof", "did you mean `info`?"), ("warn,debg", "`debg`"), ("info,x=loud", "expected such as")]
        {
            assert!(fault(bad).is_some_and(|why| why.contains(part)), "{bad}: {:?}", fault(bad));
        }
    }
}
