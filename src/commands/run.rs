//! `hookrelay run`: the daemon, in the foreground.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Failure, first_there, test};
use crate::config::last_good::{self, NoLastGood};
use crate::config::{Config, Digest, Faults, Reading};
use crate::daemon::{self, DaemonError, Load, Refused, RunOptions, Watch};
use crate::registry::KINDS;
use crate::route::cases::Case;
use crate::shutdown::Signals;
use crate::sockets::inherited;
use crate::systemd::Manager;
use crate::telemetry;

/// Where sinks continue if the ledger is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cursors {
    /// At the next event that comes.
    Now,
}

/// How long a stop waits for calls of sinks that still block when all else is done, because a target hangs or a pipe's
/// reader is gone: they have had the sinks' own time to stop already, and webhooks are refused meanwhile. Their
/// deliveries are made again.
const LEFT_BEHIND: Duration = Duration::from_millis(50);

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the ledger is lost: sinks go on now, instead of at the oldest event; what they were owed is not delivered
    #[arg(long, value_name = "PLACE")]
    pub cursors: Option<Cursors>,
    /// Reload the config whenever its file changes
    #[arg(long)]
    pub watch: bool,
    /// A config file that is refused ends it (78), though there is a last good config to start from
    #[arg(long)]
    pub strict: bool,
    /// A further folder in which the last good config may lie, where the file is refused; moves no data
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// For `--help`.
pub const HELP: &str = "\
Where the config file is refused or gone, it starts from the last good one: the text that was last
in force, kept as last-good.toml in the data folder. The log says so as an error, with the faults;
`status` and /readyz (config_refused) say so until a reload succeeds. It is looked for in --data-dir,
in what the file says of data_dir, however broken it is, and in $STATE_DIRECTORY. Variables and
files that ${…} names are read as they are now. With --strict it refuses instead.";

/// Runs the daemon until a signal ends it. The first of these config files that is there counts.
///
/// # Errors
/// The config's faults; what kept the daemon from starting.
pub fn run(files: &[&Path], args: &RunArgs) -> Result<(), Failure> {
    // This comes before anything that starts a thread.
    let inherited = inherited::take().map_err(DaemonError::from)?;
    // Reading the config takes a thread. If there are too few, that is not to be shown as a fault of the config.
    let runtime = daemon::threads::runtime()?;
    let mut signals = runtime.block_on(async { Signals::listen() }).map_err(DaemonError::Runtime)?;
    let Start { config, watch, refused } = start(files, args)?;
    let _logging = telemetry::init(&config.log);
    if let Some(Instead { refused: Refused { why, .. }, since, path }) = &refused {
        tracing::error!(
            file = %config.file.display(), faults = why, last_good = %path.display(), in_force_since = since,
            "the config file is refused: started from the last good config; mend the file, then `hookrelay reload`"
        );
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let ended = runtime.block_on(async {
        let (load, cursors_now) = (loader(&config.file), args.cursors == Some(Cursors::Now));
        let refused = refused.map(|instead| instead.refused);
        let manager = Manager::of_environment();
        let options = RunOptions { load, watch, refused, cursors_now, inherited, manager };
        Ok(daemon::run(config, options, &mut signals).await?)
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}

/// What the daemon is started with.
struct Start {
    config: Config,
    watch: Watch,
    /// Why the config is not the file's.
    refused: Option<Instead>,
}

/// A last good config in the place of a file that is refused.
struct Instead {
    refused: Refused,
    /// Since when it was in force.
    since: String,
    /// Where it lies.
    path: PathBuf,
}

/// A file that is refused: its faults, what it holds, and which content that is.
type Bad = (Faults, String, Option<Digest>);

fn start(files: &[&Path], args: &RunArgs) -> Result<Start, Failure> {
    // This comes before the config is read, so that a change meanwhile is seen.
    let watch = |file: &Path| Watch::new(args.watch.then(|| file.to_owned()));
    let none = match first_there(files) {
        Ok(file) => {
            let watch = watch(&file);
            return match read(&file) {
                Ok(config) => Ok(Start { config, watch, refused: None }),
                Err((faults, ..)) if args.strict => Err(faults.into()),
                Err(bad) => instead(&file, bad, args).map(|(config, refused)| Start { config, watch, refused }),
            };
        }
        Err(none) => none,
    };
    // The file is gone. That of a running daemon may be any of those that are looked for.
    for file in files.iter().filter(|_| !args.strict) {
        let gone = Faults::of_file(file, "is not there");
        if last_good::find(file, "", args.data_dir.as_deref()).is_ok() {
            let (config, refused) = instead(file, (gone, String::new(), None), args)?;
            return Ok(Start { config, watch: watch(file), refused });
        }
    }
    Err(none)
}

fn read(file: &Path) -> Result<Config, Bad> {
    let reading = Reading::of(file).map_err(|faults| (faults, String::new(), None))?;
    let (text, digest) = (reading.lossy(), reading.digest());
    reading.judge(KINDS).map_err(|faults| (faults, text, Some(digest)))
}

/// The last good config of a file that is refused.
///
/// # Errors
/// The faults of the file, and of the last good config, or where that was looked for.
fn instead(file: &Path, bad: Bad, args: &RunArgs) -> Result<(Config, Option<Instead>), Failure> {
    let (faults, text, digest) = bad;
    let found = match last_good::find(file, &text, args.data_dir.as_deref()) {
        Ok(found) => found,
        Err(none) => return Err(Failure::NothingGood { faults, instead: no_last_good(&none) }),
    };
    match found.judge(file, KINDS) {
        Ok(config) => {
            let refused = Refused { why: faults.to_string(), file: digest };
            Ok((config, Some(Instead { refused, since: found.since, path: found.path })))
        }
        Err(own) => {
            let instead = format!("the last good config, in force since {}, is refused as well:\n{own}", found.since);
            Err(Failure::NothingGood { faults, instead })
        }
    }
}

fn no_last_good(none: &NoLastGood) -> String {
    format!("{none}\n  help: mend the file; if there was a good one, name its data folder with --data-dir DIR")
}

/// Reads the config again for a reload, and runs its tests.
fn loader(file: &Path) -> Load {
    // The path is made absolute, as the process's working folder may have changed by then.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    Arc::new(move || {
        let config = read(&file).map_err(|(faults, _, file)| Refused { why: faults.to_string(), file })?;
        let refused = |why: String| Refused { why, file: Some(config.written.digest()) };
        // Only tests with an inline body are run: a file with an event may be older or newer than the config.
        let inline: Vec<Case> = config.tests.iter().filter(|case| case.event.is_none()).cloned().collect();
        let outcomes =
            test::outcomes(&config, &inline, &config.base_dir).map_err(|error| refused(error.to_string()))?;
        let failed: Vec<String> = outcomes.iter().filter(|outcome| !outcome.ok).map(test::as_text).collect();
        if failed.is_empty() { Ok(config) } else { Err(refused(failed.concat())) }
    })
}
