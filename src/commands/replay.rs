//! `hookrelay replay`: has a span of the journal go through the rules once more.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{Failure, block_on, dry_run, progress, time};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayView};
use crate::config;
use crate::times::Zone;

/// How often progress is asked for.
const LOOK: Duration = Duration::from_millis(200);

/// `replay`.
#[derive(Debug, Default, Args)]
pub struct ReplayArgs {
    /// Events accepted since: `2h` ago, `today`, `2026-01-31 09:00` …
    #[arg(long, value_name = "TIME", required_unless_present_any = ["list", "cancel"])]
    pub since: Option<String>,
    /// Accepted before; without it, up to now
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of this type; may hold `*` and `?`
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// About this (a message's id)
    #[arg(long)]
    pub subject: Option<String>,
    /// For this sink alone; may be given several times
    #[arg(long = "sink", value_name = "SINK")]
    pub sinks: Vec<String>,
    /// So many deliveries in a span of time: 300/min
    #[arg(long)]
    pub rate: Option<String>,
    /// Delivers nothing: shows what would be delivered, or with --rules how that would change
    #[arg(long, conflicts_with_all = ["list", "cancel"])]
    pub dry_run: bool,
    /// The config with the other rules
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub rules: Option<PathBuf>,
    /// Does not wait for the end
    #[arg(long)]
    pub detach: bool,
    /// Replays under way
    #[arg(long, conflicts_with_all = ["since", "cancel"])]
    pub list: bool,
    /// Ends a replay where it stands
    #[arg(long, value_name = "ID", conflicts_with = "since")]
    pub cancel: Option<i64>,
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. Events go through the rules in
force once more and are delivered under the same ids, so that sinks that know ids stay right; dedupe
is passed by. It waits for the end (Ctrl-C leaves the replay under way); a restart does not end it.
--dry-run reads the journal itself, with or without a daemon.

Examples:
  hookrelay replay --since 1h --sink crm
  hookrelay replay --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z --type 'message_*' --rate 300/min
  hookrelay replay --since 1h --sink crm --dry-run
  hookrelay replay --since 7d --dry-run --rules new.toml
  hookrelay replay --list

Exit codes: 0 done, 1 refused, 69 no daemon answers, 78 the config has faults, or there is none.";

/// Asks, shows progress, and says what came of it.
///
/// # Errors
/// No daemon answers, it refuses, or a config has faults.
pub fn run(file: &Path, args: &ReplayArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    if args.dry_run {
        return dry_run::run(file, args, zone, out);
    }
    let admin = config::read_admin(file)?;
    if args.list {
        return list(&under_way(&admin)?, args.json, out);
    }
    if let Some(id) = args.cancel {
        let ask = ReplayCancel { id };
        let done: ReplayCancelled =
            block_on(async { Ok(client::ask(&admin, http::Method::POST, "/api/replay/cancel", &ask).await?) })?;
        return print(args.json, &done, &format!("replay {id} ended"), out);
    }
    let ask = ReplayAsk {
        since: time("--since", args.since.as_deref(), zone)?.map(|time| time.to_string()).unwrap_or_default(),
        until: time("--until", args.until.as_deref(), zone)?.map(|time| time.to_string()),
        kind: args.kind.clone(),
        subject: args.subject.clone(),
        sinks: args.sinks.clone(),
        rate: args.rate.clone(),
    };
    let begun: ReplayBegun =
        block_on(async { Ok(client::ask(&admin, http::Method::POST, "/api/replay", &ask).await?) })?;
    if begun.id == 0 {
        return print(args.json, &begun, "nothing to replay: no event of that time", out);
    }
    if !args.detach {
        follow(&admin, &begun)?;
    }
    let what = if args.detach { "is under way" } else { "is complete" };
    let text = format!("replay {} {what}: {} events looked at, for {}", begun.id, begun.events, begun.sinks.join(", "));
    print(args.json, &begun, &text, out)
}

fn under_way(admin: &AdminConfig) -> Result<Vec<ReplayView>, Failure> {
    block_on(async { Ok(client::get(admin, "/api/replay").await?) })
}

/// Waits until none of its sinks is under way any more.
fn follow(admin: &AdminConfig, begun: &ReplayBegun) -> Result<(), Failure> {
    let bar = progress::bar(1000, "replay {bar:40} {percent}% {msg} ({elapsed}, {eta} to go)");
    loop {
        let all = under_way(admin)?;
        let left: Vec<&ReplayView> = all.iter().filter(|replay| replay.id == begun.id).collect();
        if left.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        let sinks = begun.sinks.len().max(1) as f64;
        let done = (sinks - left.len() as f64 + left.iter().map(|replay| replay.done).sum::<f64>()) / sinks;
        // `done` is at most 1, so that this fits.
        bar.set_position((done * 1000.0) as u64);
        bar.set_message(format!("{} deliveries", left.iter().map(|replay| replay.deliveries).sum::<u64>()));
        std::thread::sleep(LOOK);
    }
}

fn list(replays: &[ReplayView], json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        return print(true, &replays, "", out);
    }
    for replay in replays {
        let ReplayView { id, sink, done, deliveries } = replay;
        writeln!(out, "replay {id}: sink {sink}: {:.1} %, {deliveries} deliveries so far", done * 100.0)?;
    }
    Ok(())
}

fn print(json: bool, value: &impl serde::Serialize, text: &str, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{text}")?;
    }
    Ok(())
}
