//! `hookrelay run`: the daemon, in the foreground.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Failure, test};
use crate::config;
use crate::daemon::{self, DaemonError, Load, RunOptions, Watch};
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
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// The config's faults; what kept the daemon from starting.
pub fn run(file: &Path, args: &RunArgs) -> Result<(), Failure> {
    // This comes before anything that starts a thread.
    let inherited = inherited::take().map_err(DaemonError::from)?;
    // Reading the config takes a thread. If there are too few, that is not to be shown as a fault of the config.
    let runtime = daemon::threads::runtime()?;
    let mut signals = runtime.block_on(async { Signals::listen() }).map_err(DaemonError::Runtime)?;
    // This comes before the config is read, so that a change meanwhile is seen.
    let watch = Watch::new(args.watch.then(|| file.to_owned()));
    let config = config::read(file, KINDS)?;
    let _logging = telemetry::init();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let ended = runtime.block_on(async {
        let cursors_now = args.cursors == Some(Cursors::Now);
        let manager = Manager::of_environment();
        let options = RunOptions { load: loader(file), watch, cursors_now, inherited, manager };
        Ok(daemon::run(config, options, &mut signals).await?)
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}

/// Reads the config again for a reload, and runs its tests.
fn loader(file: &Path) -> Load {
    // The path is made absolute, as the process's working folder may have changed by then.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    Arc::new(move || {
        let config = config::read(&file, KINDS).map_err(|faults| faults.to_string())?;
        // Only tests with an inline body are run: a file with an event may be older or newer than the config.
        let inline: Vec<Case> = config.tests.iter().filter(|case| case.event.is_none()).cloned().collect();
        let outcomes = test::outcomes(&config, &inline, &config.base_dir).map_err(|error| error.to_string())?;
        let failed: Vec<String> = outcomes.iter().filter(|outcome| !outcome.ok).map(test::as_text).collect();
        if failed.is_empty() { Ok(config) } else { Err(failed.concat()) }
    })
}
