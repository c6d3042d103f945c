//! One verb per file, thin: each reads its arguments, asks the rooms below, and prints. There are no exit codes here: a
//! [`Failure`] says what happened, and `exit.rs` which exit code that is.
//!
//! The result of a verb goes to `out` (standard output); remarks go to standard error.

pub mod check;
mod columns;
pub mod completions;
pub mod dead;
mod dry_run;
mod dump;
pub mod explain;
mod human;
pub mod journal;
pub mod kinds;
pub mod log_level;
pub mod manual;
pub mod message;
pub mod pending;
mod progress;
pub mod reload;
pub mod replay;
pub mod resend;
pub mod run;
pub mod samples;
pub mod schema;
pub mod send;
pub mod sink;
pub mod status;
mod status_check;
pub mod tail;
mod target;
pub mod test;
pub mod trace;
pub mod version;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sink_api::Timestamp;
use sink_api::fault::nearest;

use crate::admin::Unanswered;
use crate::admin::everyone::UNKNOWN;
use crate::config::{Config, Faults};
use crate::daemon::DaemonError;
use crate::ids::short;
use crate::ingress::SourcePlan;
use crate::news::SOURCE;
use crate::route::printable;
use crate::times::{self, Zone};
use crate::trial::TrialError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The config has faults.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The config has faults, and they have been printed already.
    #[error("the config has faults")]
    ConfigTold,
    /// The config has faults, and what `run` would start from in its place cannot be taken either.
    #[error("{faults}\nhookrelay: {instead}")]
    NothingGood {
        /// The faults of the file.
        faults: Faults,
        /// Why there is nothing in its place.
        instead: String,
    },
    /// There is no config file at any of these paths.
    #[error("{}", no_config(.0))]
    NoConfig(Vec<PathBuf>),
    /// The daemon did not start.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The arguments ask for something that is not there.
    #[error("{0}")]
    Usage(String),
    /// Something that is needed cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// What was asked was tried, and did not work.
    #[error("{0}")]
    Refused(String),
    /// A check that speaks by its exit code, which this is, and has printed what it found.
    #[error("not as it should be")]
    Checked(u8),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl From<TrialError> for Failure {
    fn from(error: TrialError) -> Self {
        Self::Refused(error.to_string())
    }
}

fn no_config(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    format!(
        "there is no config: {} not found\n  help: copy config.example.toml to config.toml and edit it, or name \
         another with --config FILE; the data folder of a daemon that ran has the last good one, last-good.toml",
        paths.join(" and ")
    )
}

/// The first of these files that exists.
///
/// # Errors
/// [`Failure::NoConfig`] names them all.
pub fn first_there(paths: &[&Path]) -> Result<PathBuf, Failure> {
    // A file that may exist but cannot be looked at is taken: reading it gives a fault with the reason.
    let found = paths.iter().find(|path| path.try_exists().unwrap_or(true));
    found.map(|path| path.to_path_buf()).ok_or_else(|| Failure::NoConfig(paths.iter().map(PathBuf::from).collect()))
}

/// The source of that name, or the only one there is.
fn source<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Arc<SourcePlan>, Failure> {
    let names = || config.sources.iter().map(|s| &*s.name);
    let list = || names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    match (name, config.sources.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Failure::Usage(format!("several sources are defined: say which by --source, one of {}", list())))
        }
        (Some(name), all) => all.iter().find(|s| *s.name == *name).ok_or_else(|| {
            let near =
                nearest(name, names()).map(|near| format!("\n  help: did you mean `{near}`?")).unwrap_or_default();
            Failure::Usage(format!("unknown source `{name}`, expected one of {}{near}", list()))
        }),
    }
}

/// The same; `None` where the name is that of the daemon's own events.
fn source_or_own<'c>(config: &'c Config, name: Option<&str>) -> Result<Option<&'c Arc<SourcePlan>>, Failure> {
    if name == Some(SOURCE) { Ok(None) } else { source(config, name).map(Some) }
}

/// What an option such as `--since` says, by the clock of the zone.
fn time(option: &str, text: Option<&str>, zone: &Zone) -> Result<Option<Timestamp>, Failure> {
    let read = text.map(|text| times::read(text, zone, Timestamp::now())).transpose();
    read.map_err(|why| Failure::Usage(format!("{option}: {why}")))
}

/// What `--since` and `--until` say.
///
/// # Errors
/// One is no time, or nothing lies between them.
fn span(since: Option<&str>, until: Option<&str>, zone: &Zone) -> Result<[Option<Timestamp>; 2], Failure> {
    let times = [time("--since", since, zone)?, time("--until", until, zone)?];
    match times {
        [Some(begin), Some(end)] if begin >= end => {
            let [begin, end] = [begin, end].map(|time| times::shown(time, zone));
            Err(Failure::Usage(format!("--since ({begin}) is not before --until ({end}): are they swapped?")))
        }
        times => Ok(times),
    }
}

/// The daemons of which it was said that they said nothing.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whether some daemons have said nothing: then what was said may not be all.
fn is_partial() -> bool {
    !SAID.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// Says on standard error which of several daemons said nothing to a question: each once, however often they are asked.
fn say_unanswered(unanswered: &[Unanswered]) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    for Unanswered { node, why } in unanswered {
        if said.insert(node.clone()) {
            let who = match node.as_str() {
                UNKNOWN => "not all daemons were asked".to_owned(),
                node => format!("what daemon {node} has may be missing"),
            };
            // A remark: if standard error is gone, it is lost.
            let _ = writeln!(io::stderr(), "remark: {}", printable(&format!("{who}: {why}")));
        }
    }
}

/// Runs a command's asynchronous part on a small runtime of its own. When it is done, work that still blocks, such as a
/// database that hangs, is not waited for.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// A runtime for a command that has asynchronous work more than once.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Refused(format!("no runtime: {error}")))
}

/// A number with its noun: `1 sink`, `2 sinks`, `2 deliveries`.
fn count(n: impl TryInto<u64> + Copy + Display, what: &str) -> String {
    let is_one = n.try_into().is_ok_and(|n| n == 1);
    match what.strip_suffix('y') {
        _ if is_one => format!("1 {what}"),
        Some(stem) => format!("{n} {stem}ies"),
        None => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_swapped_are_refused() {
        let of = |since, until| span(Some(since), Some(until), &Zone::utc());
        assert!(of("2026-01-01", "2026-01-02").is_ok());
        let refused = of("2026-01-02", "2026-01-01").unwrap_err().to_string();
        assert!(refused.contains("2026-01-02 00:00:00Z") && refused.contains("swapped"), "{refused}");
        assert!(of("2026-01-01", "2026-01-01").is_err());
    }

    #[test]
    fn an_id_is_shortened_to_its_random_end() {
        let id = "01937e0c-5a1b-7c3d-8e4f-0123456789ab";
        assert_eq!((short(id), short(&format!("{id}-2")), short("abc")), ("456789ab", "456789ab-2", "abc"));
    }

    #[test]
    fn a_missing_config_names_the_paths_and_the_example() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        let text = first_there(&[&a, &b]).unwrap_err().to_string();
        for part in [a.to_str().unwrap(), b.to_str().unwrap(), "config.example.toml", "--config"] {
            assert!(text.contains(part), "{text}");
        }
        std::fs::write(&b, "").unwrap();
        assert_eq!(first_there(&[&a, &b]).unwrap(), b);
    }
}
