//! `hookrelay sink`: pauses a sink of the running daemon, resumes it, has it skip events, or has it try at once.

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};

use super::{Failure, block_on, count, time};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::sink::{ProbeDone, SinkDone};
use crate::config;
use crate::route::printable;
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
    /// It tries at once, whatever it waits for; says what came of it
    Probe(SinkArgs),
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
owed in the journal, as far as max_size reaches. Dead letters and parked deliveries are not skipped:
skip says how many are parked, and `pending list` and `dead list` have them.

Examples:
  hookrelay sink pause crm
  hookrelay sink skip crm --to 1h          only the last hour is of interest
  hookrelay sink resume crm
  hookrelay sink probe crm                 it is mended: do not wait for the next try

A probe delivers what is tried next; where nothing waits it only asks the target whether it is there.

Exit codes: 0 done, 1 refused, or a probe failed, 69 no daemon answers, 78 the config has faults, or there is none.";

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, verb: &SinkVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    let (args, act, to) = match verb {
        SinkVerb::Pause(args) => (args, "pause", None),
        SinkVerb::Resume(args) => (args, "resume", None),
        SinkVerb::Skip(skip) => (&skip.which, "skip", time("--to", skip.to.as_deref(), zone)?),
        SinkVerb::Probe(args) => return probe(&admin, args, out),
    };
    let path = format!("/api/sinks/{}/{act}", client::part(&args.name));
    let ask = serde_json::json!({ "to": to.map(|time| time.to_string()) });
    let done: SinkDone = block_on(async { Ok(client::ask(&admin, http::Method::POST, &path, &ask).await?) })?;
    if let Some(remark) = done.remark.as_ref().filter(|_| !args.json) {
        // A remark: if standard error is gone, it is lost.
        let _ = writeln!(std::io::stderr(), "remark: {}", printable(remark));
    }
    if args.json {
        serde_json::to_writer(&mut *out, &done).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let state = if done.paused { "paused" } else { "running" };
    match verb {
        SinkVerb::Skip(_) => {
            let dropped = count(done.dropped, "delivery");
            writeln!(out, "sink {}: {dropped} dropped; {state}{}", args.name, stay(done.parked))?;
        }
        _ => writeln!(out, "sink {}: {state}", args.name)?,
    }
    Ok(())
}

/// What is said of deliveries that a skip leaves alone.
fn stay(parked: u64) -> String {
    match parked {
        0 => String::new(),
        1 => "; 1 parked stays: see `pending list`".to_owned(),
        n => format!("; {n} parked stay: see `pending list`"),
    }
}

fn probe(admin: &AdminConfig, args: &SinkArgs, out: &mut impl Write) -> Result<(), Failure> {
    let path = format!("/api/sinks/{}/probe", client::part(&args.name));
    let done: ProbeDone = block_on(async { Ok(client::ask(admin, http::Method::POST, &path, &()).await?) })?;
    if args.json {
        serde_json::to_writer(&mut *out, &done).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let what = match (done.outcome.as_str(), &done.code, &done.detail) {
            ("opens", ..) => "nothing to try, but the sink opens".to_owned(),
            ("waits", ..) => "nothing came of it in time; `status` says what it waits for".to_owned(),
            (_, Some(code), Some(detail)) => format!("{} {code}: {detail}", done.outcome),
            (outcome, ..) => outcome.to_owned(),
        };
        writeln!(out, "{}", printable(&format!("sink {}: {what}", args.name)))?;
    }
    if matches!(done.outcome.as_str(), "delivered" | "opens") { Ok(()) } else { Err(Failure::Checked(1)) }
}
