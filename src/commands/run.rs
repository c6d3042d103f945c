//! `hookrelay run`: the daemon, in the foreground.

use crate::config::Config;
use crate::daemon::{self, DaemonError};
use crate::shutdown::Signals;
use crate::telemetry;

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: Config) -> Result<(), DaemonError> {
    telemetry::init();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(DaemonError::Runtime)?;
    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(DaemonError::Runtime)?;
        daemon::run(config, async move { signals.first().await }).await
    })
}
