//! `hookrelay status`: prints the figures of the running daemon, once or again and again.

mod view;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anstream::ColorChoice;
use clap::Args;
use sink_api::Timestamp;

use super::columns::{colours, print};
use super::status_check::{self, CheckArgs};
use super::{Failure, block_on};
use crate::admin::client::{self, AskError};
use crate::admin::status::Status;
use crate::config;

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// Again every two seconds, until Ctrl-C
    #[arg(long, conflicts_with_all = ["json", "check"])]
    pub watch: bool,
    /// For monitors.
    #[command(flatten)]
    pub check: CheckArgs,
}

/// How long `--check` waits for an answer: monitors wait for ten seconds.
const CHECK: Duration = Duration::from_secs(8);
/// How often `--watch` asks.
const WATCH: Duration = Duration::from_secs(2);
/// Puts a terminal's cursor at its beginning, and clears the screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`; of the config only data_dir
and [admin] are read. Sources and sinks count since they were first in the config; of sinks
accepted = delivered + dead + pending + filtered + dropped. `config` tells whether the config file
is what runs: same, changed since, or refused by a start or a reload. The first line is `ready`, or
`degraded` and why.

With --check it prints one line, as Nagios and its like want it, and exits 0 (ready), 1 (degraded: a
sink is down, or any other reason that `status` gives, or more than --pending or --dead) or 2
(critical: webhooks are refused, events are at risk, a sink is down for longer than --down, the
failure budget is spent, or no daemon answers).

Exit codes without --check: 0 it answered, 69 no daemon answers, 78 the config has faults, or there is none.";

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NoDaemon { .. } | AskError::NotOurs { .. } => Self::Unavailable(error.to_string()),
            AskError::Refused { .. } => Self::Refused(error.to_string()),
        }
    }
}

/// Prints the figures.
///
/// # Errors
/// No daemon answers, or the config does not say where. With `--watch` the former is shown, and asked again.
pub fn run(file: &Path, args: &StatusArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    let ask = || block_on(async { Ok(client::get::<Status>(&admin, "/api/status").await) });
    if args.check.check {
        return status_check::run(
            block_on(async { Ok(client::get_within(&admin, "/api/status", CHECK).await) })?,
            &args.check,
            out,
        );
    }
    if args.json {
        serde_json::to_writer(&mut *out, &ask()??).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let colours = colours();
    if !args.watch {
        return Ok(print(&view::text(&ask()??, Timestamp::now()), colours, out)?);
    }
    loop {
        let text = match ask()? {
            Ok(status) => view::text(&status, Timestamp::now()),
            Err(error) => format!("{error}\n"),
        };
        // On a terminal the figures stay where they are.
        match colours {
            ColorChoice::Never => writeln!(out, "\n{:.0}", Timestamp::now())?,
            _ => write!(out, "{CLEAR}")?,
        }
        print(&text, colours, out)?;
        std::thread::sleep(WATCH);
    }
}
