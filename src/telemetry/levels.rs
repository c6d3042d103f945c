//! From which level on lines are written, of which targets: what the config says, or `RUST_LOG` where it is set, and on
//! top what was asked for while the daemon runs, until the next reload.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use sink_api::fault::nearest;
use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::config::{Level, LogConfig, target};

/// Targets whose lines may hold what no log may hold, or may be a flood, and the level from which on they are safe.
const HELD_BACK: &[(&str, tracing::Level)] = &[
    // What a PostgreSQL server tells its clients (NOTICE) may hold values of rows.
    ("tokio_postgres", tracing::Level::WARN),
    // Whoever can connect brings about a line for each connection; what matters of it is counted by ingress.
    ("h2", tracing::Level::ERROR),
    // What HTTP clients do in between says nothing that the sinks do not say.
    ("hyper", tracing::Level::INFO),
    ("hyper_util", tracing::Level::INFO),
    ("reqwest", tracing::Level::INFO),
];

/// What decides whether a line is written.
pub(super) type LineFilter<S> = Box<dyn Filter<S> + Send + Sync>;

/// The levels in force, and the way to change them.
static IN_FORCE: OnceLock<Mutex<Levels>> = OnceLock::new();

struct Levels {
    handle: reload::Handle<LineFilter<Registry>, Registry>,
    /// `RUST_LOG`, or what the config says.
    directives: String,
    /// Whether the directives are those of `RUST_LOG`, which no reload changes.
    is_fixed: bool,
    /// What was asked for since, by target; `""` is all.
    asked: BTreeMap<String, Level>,
}

impl Levels {
    /// What is in force: of the config's directives (or `RUST_LOG`'s) those in whose place nothing else was asked for.
    fn all(&self) -> String {
        let base = match self.asked.get("") {
            Some(level) => level.name(),
            None => &self.directives,
        };
        let is_replaced = |word: &str| word.split_once('=').is_some_and(|(own, _)| self.asked.contains_key(own.trim()));
        let base = base.split(',').filter(|word| !is_replaced(word)).map(str::to_owned);
        let rooms = self.asked.iter().filter(|(target, _)| !target.is_empty());
        base.chain(rooms.map(|(target, level)| format!("{target}={}", level.name()))).collect::<Vec<_>>().join(",")
    }

    fn apply(&self) {
        // The error says that nobody logs any more.
        let _ = self.handle.reload(filter(&self.all()));
    }
}

fn in_force() -> Option<MutexGuard<'static, Levels>> {
    // Whole between any two statements, whoever panicked.
    IN_FORCE.get().map(|levels| levels.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The filter by the directives of `RUST_LOG`, where it is set and has no fault, else by the config's; and what is
/// wrong with `RUST_LOG`, where something is.
pub(super) fn begin(config: &LogConfig) -> (reload::Layer<LineFilter<Registry>, Registry>, Option<String>) {
    let variable = std::env::var_os("RUST_LOG");
    let text = variable.as_deref().map(|text| text.to_str().ok_or("it is not UTF-8".to_owned()));
    let (asked, fault) = match text {
        None => (None, None),
        Some(Err(why)) => (None, Some(why)),
        Some(Ok(text)) => match fault(text) {
            Some(why) => (None, Some(why)),
            None => (Some(text.to_owned()).filter(|text| !text.trim().is_empty()), None),
        },
    };
    let is_fixed = asked.is_some();
    let directives = asked.unwrap_or_else(|| config.directives());
    let (layer, handle) = reload::Layer::new(filter(&directives));
    let _ = IN_FORCE.set(Mutex::new(Levels { handle, directives, is_fixed, asked: BTreeMap::new() }));
    (layer, fault)
}

/// A reload has put this table in force: what was asked for while the daemon ran is forgotten. `RUST_LOG` stays.
pub(super) fn put_in_force(config: &LogConfig) {
    if let Some(mut levels) = in_force() {
        if !levels.is_fixed {
            levels.directives = config.directives();
        }
        levels.asked.clear();
        levels.apply();
    }
}

/// From now on lines of that room are written from that level on, or all lines where no room is named; until the next
/// reload or restart.
///
/// # Errors
/// There is no such room.
pub fn set(room: Option<&str>, level: Level) -> Result<(), String> {
    let target = room.map_or(Ok(String::new()), target)?;
    if let Some(mut levels) = in_force() {
        // A level for all is meant for all.
        if target.is_empty() {
            levels.asked.clear();
        }
        levels.asked.insert(target, level);
        levels.apply();
    }
    Ok(())
}

/// Whether `RUST_LOG` is set, which counts in the place of the config's levels.
pub fn is_of_environment() -> bool {
    in_force().is_some_and(|levels| levels.is_fixed)
}

/// The levels in force, as `RUST_LOG` has them: `info,hookrelay::deliver=debug`.
pub fn now() -> String {
    in_force().map(|levels| levels.all()).unwrap_or_default()
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
        let level = nearest(&lower, Level::ALL.iter().map(|(name, _)| *name)).filter(|level| *level != lower)?;
        Some(format!("`{word}` is no level; did you mean `{level}`?"))
    });
    typos.next()
}

/// Lets through only what the directives ask for and nothing that is held back.
fn filter<S>(directives: &str) -> LineFilter<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    // The directives have no fault: `fault` has looked.
    let asked = EnvFilter::builder().parse_lossy(directives);
    let held: Vec<_> = HELD_BACK.iter().filter(|(target, _)| !names(directives, target)).collect();
    let is_free = move |line: &Metadata<'_>| {
        held.iter().all(|(target, from)| *line.level() <= *from || !is_in(line.target(), target))
    };
    Box::new(asked.and(filter_fn(is_free)))
}

/// Whether the directives name the target, or a part of it.
fn names(directives: &str, target: &str) -> bool {
    directives.split(',').any(|word| is_in(word.trim().split(['=', '[']).next().unwrap_or_default(), target))
}

fn is_in(name: &str, target: &str) -> bool {
    name.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

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
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter(directives)));
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

    #[test]
    fn a_levels_table_is_what_rust_log_would_say() {
        let levels = [("deliver".to_owned(), Level::Debug), ("sinks".to_owned(), Level::Off)].into();
        let config = LogConfig { level: Level::Warn, levels, ..LogConfig::default() };
        assert_eq!(config.directives(), "warn,hookrelay::deliver=debug,sink_=off");
        assert_eq!(fault(&config.directives()), None);
        assert_eq!(LogConfig::default().directives(), "info");
    }
}
