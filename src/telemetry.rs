//! Logs: to standard error, as text on a terminal, as JSON lines otherwise. `RUST_LOG` narrows or widens them; what the
//! daemon holds back by itself (`HELD_BACK`) stays so, unless `RUST_LOG` names it.
//!
//! One event, one line; never bodies, secrets, query strings or client headers. Whoever logs never waits and never
//! fails: a thread of its own writes, from a bounded queue. Where nobody reads standard error, or it cannot be written (the
//! log's disk is full), lines are left out and the daemon goes on.

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
const WAITING: usize = 4096;
/// What is logged where nobody says otherwise.
const DEFAULT: &str = "info";
/// Targets whose lines may hold what no log may, and the level from which on they do not.
const HELD_BACK: &[(&str, Level)] = &[
    // What a PostgreSQL server tells its clients (NOTICE) may hold values of rows.
    ("tokio_postgres", Level::WARN),
];
/// Words that `RUST_LOG` takes for levels.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Lets what is still waiting be written when it is dropped, for a second at most.
#[must_use = "the last lines are lost without it"]
pub struct Logging {
    _thread: WorkerGuard,
}

/// Starts logging; a second call changes nothing. What is wrong with `RUST_LOG` is the first line.
pub fn init() -> Logging {
    let said = std::env::var_os("RUST_LOG");
    let (words, fault) = match said.as_deref().map(|said| said.to_str().ok_or("it is not UTF-8".to_owned())) {
        None => (DEFAULT, None),
        Some(Err(why)) => (DEFAULT, Some(why)),
        Some(Ok(words)) => match fault(words) {
            Some(why) => (DEFAULT, Some(why)),
            None if words.trim().is_empty() => (DEFAULT, None),
            None => (words, None),
        },
    };
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).thread_name("log");
    let (writer, thread) = writer.finish(std::io::stderr());
    // It would say so on standard error, and panic where that cannot be written either.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).log_internal_errors(false);
    let lines = if std::io::stderr().is_terminal() { lines.boxed() } else { lines.json().flatten_event(true).boxed() };
    // The error says that logging was started before: tests do that.
    let _ = tracing_subscriber::registry().with(filtered(lines, words)).try_init();
    if let Some(why) = fault {
        tracing::warn!("RUST_LOG is not followed, `{DEFAULT}` is in force: {why}");
    }
    Logging { _thread: thread }
}

/// What is wrong with the directives.
fn fault(words: &str) -> Option<String> {
    if let Err(error) = EnvFilter::builder().parse(words) {
        return Some(format!("{error}; expected such as `info` or `warn,hookrelay=debug`"));
    }
    // One word without a level would be a target of which all is logged, and nothing else.
    let alone = words.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ':']));
    let mut typos = alone.filter_map(|word| {
        let lower = word.to_lowercase();
        let level = nearest(&lower, LEVELS).filter(|level| *level != lower)?;
        Some(format!("`{word}` is no level; did you mean `{level}`?"))
    });
    typos.next()
}

/// The layer, given only what the directives ask for and nothing that is held back.
fn filtered<S, L>(lines: L, words: &str) -> impl Layer<S> + use<S, L>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    // They were read before; what cannot be is left out.
    let asked = EnvFilter::builder().parse_lossy(words);
    lines.with_filter(asked.and(held_back(words)))
}

/// Lets through what is not held back, and what the directives name.
fn held_back(words: &str) -> FilterFn<impl Fn(&Metadata<'_>) -> bool + use<>> {
    let held: Vec<_> = HELD_BACK.iter().filter(|(target, _)| !names(words, target)).collect();
    filter_fn(move |line| held.iter().all(|(target, from)| *line.level() <= *from || !is_in(line.target(), target)))
}

/// Whether the directives name the target, or a part of it.
fn names(words: &str, target: &str) -> bool {
    words.split(',').any(|word| is_in(word.trim().split(['=', '[']).next().unwrap_or_default(), target))
}

fn is_in(name: &str, target: &str) -> bool {
    name.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sheet(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sheet {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that come through under these directives.
    fn logged(words: &str) -> String {
        let sheet = Sheet::default();
        let writer = sheet.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(filtered(lines, words));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "tokio_postgres::connection", "NOTICE: row-value");
            tracing::warn!(target: "tokio_postgres", "lost");
            tracing::info!(target: "hookrelay::daemon", "ours");
            tracing::info!(target: "tokio_postgres_rustls", "theirs");
        });
        String::from_utf8(sheet.0.lock().unwrap().clone()).unwrap()
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
