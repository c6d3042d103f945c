//! `hookrelay log-level`: shows from which level on the running daemon logs, or changes that while it runs.

use std::io::Write;
use std::path::Path;

use clap::Args;

use super::{Failure, block_on};
use crate::admin::client;
use crate::admin::log::{LogAsk, LogLevels};
use crate::config;
use crate::telemetry::config::{Level, target};

/// `log-level`.
#[derive(Debug, Args)]
pub struct LogLevelArgs {
    /// The level, or a room and its level; without it the levels in force are shown
    #[arg(value_name = "[ROOM=]LEVEL", value_parser = asked)]
    pub level: Option<LogAsk>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. Levels are error, warn, info,
debug, trace and off; rooms are admin, config, daemon, deliver, ingress, journal, ledger, route,
sinks, systemd and traces. What is set holds until the next reload or restart; `[log]` in the
config (or RUST_LOG, where it is set) says what holds then. `left_out` of --json is how many lines
nobody took.

Examples:
  hookrelay log-level                      what is in force?
  hookrelay log-level deliver=debug        a line for each attempt of a delivery
  hookrelay log-level info                 everything from info on; rooms set apart are forgotten

Exit codes: 0 done, 1 refused, 69 no daemon answers, 78 the config has faults, or there is none.";

/// Reads `[ROOM=]LEVEL`.
fn asked(text: &str) -> Result<LogAsk, String> {
    let (room, level) = text.split_once('=').map_or((None, text), |(room, level)| (Some(room), level));
    room.map(target).transpose()?;
    Ok(LogAsk { room: room.map(str::to_owned), level: Level::of(level)?.name().to_owned() })
}

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, args: &LogLevelArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    let path = "/api/log-level";
    let levels: LogLevels = block_on(async {
        Ok(match &args.level {
            Some(ask) => client::ask(&admin, http::Method::POST, path, ask).await?,
            None => client::get(&admin, path).await?,
        })
    })?;
    if args.json {
        serde_json::to_writer(&mut *out, &levels).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let remark = if levels.of_environment { " (RUST_LOG is set: the levels of [log] do not count)" } else { "" };
    writeln!(out, "{}{remark}", levels.levels)?;
    Ok(())
}
