//! `hookrelay replay`: has a span of the journal go through the rules once more.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::{Failure, block_on, count, dry_run, progress, span};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::list::List;
use crate::admin::replay::{
    ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayOutcome, ReplayPlan, ReplayView, SinkPlan,
};
use crate::config;
use crate::route::printable;
use crate::times::Zone;

/// How often progress is asked for.
const LOOK: Duration = Duration::from_millis(200);
/// Once all is read, what is still to be delivered is waited for as long as something comes of it within this time.
const STALLED: Duration = Duration::from_secs(15);

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
    /// Only what a sink has not: what was delivered there, or is pending, is left out
    #[arg(long, conflicts_with_all = ["list", "cancel", "dry_run"])]
    pub only_missing: bool,
    /// Does not ask whether to go on
    #[arg(long, short)]
    pub yes: bool,
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
    #[arg(long, value_name = "ID", conflicts_with = "since", value_parser = number)]
    pub cancel: Option<i64>,
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

fn number(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "expected the number of a replay; `replay --list` has it")
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. Events go through the rules in
force once more and are delivered under the same ids, so that sinks that know ids stay right; dedupe
is passed by. It says before how much that is, at most, and which sinks get things twice, and asks on a
terminal; how much --only-missing leaves out is not known before. It waits for the end (Ctrl-C leaves the
replay under way) and says what became of it; a restart does not end it.
--dry-run reads the journal itself, with or without a daemon.

Examples:
  hookrelay replay --since 1h --sink crm
  hookrelay replay --since 1d --sink crm --only-missing
  hookrelay replay --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z --type 'message_*' --rate 300/min
  hookrelay replay --since 1h --sink crm --dry-run
  hookrelay replay --since 7d --dry-run --rules new.toml
  hookrelay replay --list

Exit codes: 0 done, 1 refused, by the daemon or by you, 69 no daemon answers, 78 the config has faults, or there
is none.";

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
    let [since, until] = span(args.since.as_deref(), args.until.as_deref(), zone)?;
    let ask = ReplayAsk {
        since: since.map(|time| time.to_string()).unwrap_or_default(),
        until: until.map(|time| time.to_string()),
        kind: args.kind.clone(),
        subject: args.subject.clone(),
        sinks: args.sinks.clone(),
        rate: args.rate.clone(),
        only_missing: args.only_missing,
    };
    announce(&admin, &ask, args)?;
    let begun: ReplayBegun =
        block_on(async { Ok(client::ask(&admin, http::Method::POST, "/api/replay", &ask).await?) })?;
    if begun.id == 0 {
        return print(args.json, &begun, "nothing to replay: no event of that time", out);
    }
    let about = format!("{} looked at, for {}", count(begun.events, "event"), begun.sinks.join(", "));
    if args.detach {
        return print(args.json, &begun, &format!("replay {} is under way: {about}", begun.id), out);
    }
    let outcomes = follow(&admin, &begun)?;
    if args.json {
        let ReplayBegun { id, sinks, events } = &begun;
        let json = serde_json::json!({ "id": id, "sinks": sinks, "events": events, "outcomes": outcomes });
        return print(true, &json, "", out);
    }
    writeln!(out, "replay {} is complete: {about}", begun.id)?;
    for ReplayOutcome { sink, delivered, dead, filtered, dropped, pending, .. } in &outcomes {
        let rare = [(*dropped, "dropped"), (*pending, "pending")];
        let rare = rare.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect::<String>();
        writeln!(out, "  {}: {delivered} delivered, {dead} dead, {filtered} filtered{rare}", printable(sink))?;
    }
    Ok(())
}

/// Says on standard error what the replay would come to, and asks on a terminal whether to go on.
fn announce(admin: &AdminConfig, ask: &ReplayAsk, args: &ReplayArgs) -> Result<(), Failure> {
    let plan: ReplayPlan =
        block_on(async { Ok(client::ask(admin, http::Method::POST, "/api/replay/plan", ask).await?) })?;
    let mut err = io::stderr();
    write!(err, "{}", told(&plan, ask.only_missing))?;
    if plan.events == 0 || args.yes || !(io::stdin().is_terminal() && err.is_terminal()) {
        return Ok(());
    }
    write!(err, "Go on? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Refused("nothing was replayed".into())),
    }
}

/// What a replay would come to, in words.
fn told(plan: &ReplayPlan, only_missing: bool) -> String {
    if plan.events == 0 {
        return String::new();
    }
    let only = if only_missing { "; what a sink has, or is about to have, is left out" } else { "" };
    let mut text = format!("{} of this span, at most{only}\n", count(plan.events, "event"));
    for SinkPlan { sink, kind, deliveries, repeats } in &plan.sinks {
        let repeats = match repeats.as_str() {
            // Nothing comes twice.
            _ if only_missing => "",
            "ignored" => ", which it keeps once: it knows ids",
            "doubled" => ", which will be there twice where it has them: it knows no ids",
            _ => ", which come again under the same ids where it has them",
        };
        let line = format!("  {sink} ({kind}): {}{repeats}", count(*deliveries, "delivery"));
        text.push_str(&printable(&line));
        text.push('\n');
    }
    text
}

fn under_way(admin: &AdminConfig) -> Result<Vec<ReplayView>, Failure> {
    let list: List<ReplayView> = block_on(async { Ok(client::get(admin, "/api/replay").await?) })?;
    Ok(list.items)
}

/// Waits until none of its sinks is under way any more, and then for what is still to be delivered, as long as
/// something comes of that. Gives what became of it.
fn follow(admin: &AdminConfig, begun: &ReplayBegun) -> Result<Vec<ReplayOutcome>, Failure> {
    let bar = progress::bar(1000, "replay {bar:40} {percent}% {msg} ({elapsed}, {eta} to go)");
    loop {
        let all = under_way(admin)?;
        let left: Vec<&ReplayView> = all.iter().filter(|replay| replay.id == begun.id).collect();
        if left.is_empty() {
            break;
        }
        let sinks = begun.sinks.len().max(1) as f64;
        let done = (sinks - left.len() as f64 + left.iter().map(|replay| replay.done).sum::<f64>()) / sinks;
        // `done` is at most 1, so that this fits.
        bar.set_position((done * 1000.0) as u64);
        bar.set_message(format!("{} deliveries", left.iter().map(|replay| replay.deliveries).sum::<u64>()));
        std::thread::sleep(LOOK);
    }
    let ask = ReplayCancel { id: begun.id };
    let (mut before, mut changed) = (0, Instant::now());
    loop {
        let list: List<ReplayOutcome> =
            block_on(async { Ok(client::ask(admin, http::Method::GET, "/api/replay/outcome", &ask).await?) })?;
        let pending = list.items.iter().map(|outcome| outcome.pending).sum::<u64>();
        if pending != before {
            (before, changed) = (pending, Instant::now());
        }
        if pending == 0 || changed.elapsed() >= STALLED {
            bar.finish_and_clear();
            return Ok(list.items);
        }
        bar.set_message(format!("{pending} deliveries to go"));
        std::thread::sleep(LOOK);
    }
}

fn list(replays: &[ReplayView], json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        return print(true, &replays, "", out);
    }
    if replays.is_empty() {
        writeln!(out, "no replay is under way")?;
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
