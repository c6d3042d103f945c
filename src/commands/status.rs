//! `hookrelay status`: prints the figures of the running daemon.

use std::io::Write;
use std::path::Path;

use clap::Args;

use super::status_check::{self, CheckArgs};
use super::{Failure, block_on, count};
use crate::admin::client::{self, AskError};
use crate::admin::status::{ConfigState, ConfigStatus, Status};
use crate::config;

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// For monitors.
    #[command(flatten)]
    pub check: CheckArgs,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`; of the config only data_dir
and [admin] are read. Sources and sinks count since they were first in the config; of sinks
accepted = delivered + dead + pending + filtered + dropped. `config` tells whether the config file
is what runs: same, changed since, or refused by a start or a reload.

With --check it prints one line, as Nagios and its like want it, and exits 0 (ready), 1 (degraded: a
sink is down, or any other reason that `status` gives, or more than --pending or --dead) or 2
(critical: webhooks are refused, events are at risk, a sink is down for longer than --down, the
failure budget is spent, or no daemon answers).

Exit codes: 0 it answered, 69 no daemon answers, 78 the config has faults, or there is none.";

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
/// No daemon answers, or the config does not say where.
pub fn run(file: &Path, args: &StatusArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    let answer = block_on(async { Ok(client::get::<Status>(&admin, "/api/status").await) })?;
    if args.check.check {
        return status_check::run(answer, &args.check, out);
    }
    let status = answer?;
    if args.json {
        serde_json::to_writer(&mut *out, &status).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    print(&status, out)?;
    Ok(())
}

fn print(status: &Status, out: &mut impl Write) -> std::io::Result<()> {
    let journal = &status.journal;
    writeln!(out, "{}", if status.ready { "ready" } else { "not ready: webhooks are refused" })?;
    let since = journal.oldest_time.as_deref().map(|time| format!(", since {time}")).unwrap_or_default();
    writeln!(out, "journal: {}, {} bytes{since}", count(journal.events, "event"), journal.bytes)?;
    if journal.at_risk > 0 {
        writeln!(out, "AT RISK: {} bytes wait in memory, the disk cannot be written", journal.at_risk)?;
    }
    if status.config.state == ConfigState::Changed {
        let ConfigStatus { path, since, fault, .. } = &status.config;
        let fault = fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
        writeln!(out, "config: {path} is not what runs, since {since}{fault}; `hookrelay reload` puts it in force")?;
    }
    for reason in &status.reasons {
        writeln!(out, "{}: {}", reason.code, reason.text)?;
    }
    for (name, source) in &status.sources {
        let (taken, again, refused) = (source.accepted, source.duplicate, source.rejected);
        write!(out, "source {name}: {taken} accepted, {again} duplicate, {refused} rejected")?;
        for (long, what) in [(source.too_long.kind, "type"), (source.too_long.subject, "subject")] {
            if long > 0 {
                write!(out, "; {} too long to be taken", count(long, what))?;
            }
        }
        let previous = &source.previous_secret;
        if let Some(last) = &previous.last {
            write!(out, "; {} still signed with previous_secret, the last at {last}", previous.count)?;
        }
        writeln!(out)?;
    }
    for (name, sink) in &status.sinks {
        write!(out, "sink {name}: {} accepted = {} delivered", sink.accepted, sink.delivered)?;
        for (count, what) in [(sink.dead, "dead"), (sink.pending, "pending"), (sink.filtered, "filtered")] {
            write!(out, " + {count} {what}")?;
        }
        write!(out, " + {} dropped; breaker {}", sink.dropped, sink.breaker)?;
        if sink.paused {
            write!(out, "; PAUSED")?;
        }
        if sink.pending > 0 {
            write!(out, "; oldest pending {:.1} s", sink.oldest_pending_s)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
