//! `hookrelay sink`: pauses a sink of the running daemon, resumes it, or has it skip events.

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};

use super::{Failure, block_on, count, time};
use crate::admin::client;
use crate::admin::sink::SinkDone;
use crate::config;
use crate::times::Zone;

/// `sink`.
#[derive(Debug, Subcommand)]
pub enum SinkVerb {
    /// It takes nothing, over restarts, until it is resumed; what it is owed is kept
    Pause(SinkArgs),
    /// It goes on where it stood
    Resume(SinkArgs),
    /// It goes on further on; what it was owed up to there counts as dropped
    Skip(SkipArgs),
}

/// Which sink.
#[derive(Debug, Args)]
pub struct SinkArgs {
    /// The sink's name in the config
    pub name: String,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// `sink skip`.
#[derive(Debug, Args)]
pub struct SkipArgs {
    /// Which sink.
    #[command(flatten)]
    pub which: SinkArgs,
    /// To what was accepted since: `2h` ago, `today`, `2026-01-31 09:00` …; without it, to the end
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. A paused sink holds what it is
owed in the journal, as far as max_size reaches. Dead letters and parked deliveries are not skipped.

Examples:
  hookrelay sink pause crm
  hookrelay sink skip crm --to 1h          only the last hour is of interest
  hookrelay sink resume crm

Exit codes: 0 done, 1 refused, 69 no daemon answers, 78 the config has faults, or there is none.";

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, verb: &SinkVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let (args, act, to) = match verb {
        SinkVerb::Pause(args) => (args, "pause", None),
        SinkVerb::Resume(args) => (args, "resume", None),
        SinkVerb::Skip(skip) => (&skip.which, "skip", time("--to", skip.to.as_deref(), zone)?),
    };
    let admin = config::read_admin(file)?;
    let path = format!("/api/sinks/{}/{act}", client::part(&args.name));
    let ask = serde_json::json!({ "to": to.map(|time| time.to_string()) });
    let done: SinkDone = block_on(async { Ok(client::ask(&admin, http::Method::POST, &path, &ask).await?) })?;
    if args.json {
        serde_json::to_writer(&mut *out, &done).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let state = if done.paused { "paused" } else { "running" };
    match verb {
        SinkVerb::Skip(_) => writeln!(out, "sink {}: {} dropped; {state}", args.name, count(done.dropped, "delivery"))?,
        _ => writeln!(out, "sink {}: {state}", args.name)?,
    }
    Ok(())
}
