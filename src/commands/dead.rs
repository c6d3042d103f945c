//! `hookrelay dead`: lists dead letters, shows them, has them delivered again, or forgets them.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use clap::{Args, Subcommand};

use super::{Failure, block_on, time};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::dead::{DeadAsk, DeadDone, DeadPage, DeadView};
use crate::config;
use crate::route::{printable, printable_json};
use crate::times::Zone;

/// `dead`.
#[derive(Debug, Subcommand)]
pub enum DeadVerb {
    /// One line per dead letter
    List(ListArgs),
    /// Everything about dead letters: reason, event, payload, target
    Show(DeadArgs),
    /// Delivers them again, from now on, by the rules in force or as they were
    Retry(RetryArgs),
    /// Forgets them; they count as dropped
    Drop(DropArgs),
}

/// Which dead letters.
#[derive(Clone, Debug, Default, Args)]
pub struct DeadArgs {
    /// Delivery ids
    pub ids: Vec<String>,
    /// Of this sink
    #[arg(long)]
    pub sink: Option<String>,
    /// Of this type; may hold `*` and `?`
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Given up for this reason
    #[arg(long)]
    pub code: Option<String>,
    /// Accepted since: `2h` ago, `today`, `2026-01-31 09:00` …
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Accepted before
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `dead list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which dead letters.
    #[command(flatten)]
    pub which: DeadArgs,
    /// No more than so many
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
}

/// `dead drop`.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// Which dead letters.
    #[command(flatten)]
    pub which: DeadArgs,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// `dead retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Which dead letters.
    #[command(flatten)]
    pub which: DropArgs,
    /// Payload, target and id as they were, instead of by the rules in force
    #[arg(long)]
    pub as_was: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. Filters narrow together; retry and
drop want at least one, or --all. What is retried counts as pending again.

Examples:
  hookrelay dead list --sink crm --since 2h
  hookrelay dead show 0198c0de-…
  hookrelay dead retry --sink crm --code http_4xx
  hookrelay dead drop --all

Exit codes: 0 done, 1 refused or no such id, 2 nothing was said of which, 69 no daemon answers,
78 the config has faults, or there is none.";

impl DeadArgs {
    fn ask(&self, zone: &Zone) -> Result<DeadAsk, Failure> {
        Ok(DeadAsk {
            ids: self.ids.clone(),
            sink: self.sink.clone(),
            kind: self.kind.clone(),
            code: self.code.clone(),
            since: time("--since", self.since.as_deref(), zone)?.map(|time| time.to_string()),
            until: time("--until", self.until.as_deref(), zone)?.map(|time| time.to_string()),
            ..DeadAsk::default()
        })
    }
}

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, verb: &DeadVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    match verb {
        DeadVerb::List(args) => list(&admin, args, zone, out),
        DeadVerb::Show(args) => show(&admin, args, zone, out),
        DeadVerb::Retry(args) => {
            let ask = DeadAsk { as_was: args.as_was, ..args.which.which.ask(zone)? };
            change(&admin, &args.which, ask, ("/api/dead/retry", "to be delivered again"), out)
        }
        DeadVerb::Drop(args) => change(&admin, args, args.which.ask(zone)?, ("/api/dead/drop", "forgotten"), out),
    }
}

/// All dead letters that match, asked for page by page.
fn letters(admin: &AdminConfig, mut ask: DeadAsk, limit: usize) -> Result<Vec<DeadView>, Failure> {
    let mut letters: Vec<DeadView> = Vec::new();
    loop {
        ask.limit = Some(limit.saturating_sub(letters.len()));
        let page: DeadPage = block_on(async { Ok(client::ask(admin, http::Method::GET, "/api/dead", &ask).await?) })?;
        letters.extend(page.letters);
        ask.after = page.next;
        if ask.after.is_none() || letters.len() >= limit {
            return Ok(letters);
        }
    }
}

fn list(admin: &AdminConfig, args: &ListArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let letters = letters(admin, args.which.ask(zone)?, args.limit.map_or(usize::MAX, NonZeroUsize::get))?;
    if args.which.json {
        return json(&letters, out);
    }
    for letter in &letters {
        let DeadView { sink, id, kind, subject, time, attempts, reason, .. } = letter;
        let (code, detail) = (&reason.code, &reason.detail);
        let line = format!("{time} {sink} {id} {kind} {subject} attempts {attempts}: {code}: {detail}");
        writeln!(out, "{}", printable(&line))?;
    }
    Ok(())
}

fn show(admin: &AdminConfig, args: &DeadArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    if args.ids.is_empty() {
        return Err(Failure::Usage("say which: `dead show ID…`; `dead list` has the ids".into()));
    }
    let letters = letters(admin, DeadAsk { whole: true, ..args.ask(zone)? }, usize::MAX)?;
    all_there(&args.ids, |id| letters.iter().any(|letter| letter.id == id))?;
    if args.json {
        return json(&letters, out);
    }
    for letter in &letters {
        let text = serde_json::to_string_pretty(letter).map_err(std::io::Error::from)?;
        writeln!(out, "{}", text.split('\n').map(printable).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(())
}

fn all_there(ids: &[String], is_there: impl Fn(&str) -> bool) -> Result<(), Failure> {
    match ids.iter().find(|id| !is_there(id)) {
        None => Ok(()),
        Some(id) => Err(Failure::Refused(format!("there is no dead letter `{id}`; `dead list` has the ids"))),
    }
}

fn change(
    admin: &AdminConfig,
    args: &DropArgs,
    mut ask: DeadAsk,
    (path, what): (&str, &str),
    out: &mut impl Write,
) -> Result<(), Failure> {
    let which = DeadAsk { as_was: false, ..ask.clone() };
    if args.all == (which != DeadAsk::default()) {
        let text =
            "say which dead letters: by id, --sink, --type, --code, --since, --until, or --all and none of these";
        return Err(Failure::Usage(text.into()));
    }
    if !args.which.ids.is_empty() {
        let there = letters(admin, which, usize::MAX)?;
        all_there(&args.which.ids, |id| there.iter().any(|letter| letter.id == id))?;
    }
    let mut changed = 0;
    loop {
        let done: DeadDone = block_on(async { Ok(client::ask(admin, http::Method::POST, path, &ask).await?) })?;
        changed += done.letters;
        ask.after = done.next;
        if ask.after.is_none() {
            break;
        }
    }
    if args.which.json {
        return json(&serde_json::json!({ "letters": changed }), out);
    }
    let letters = if changed == 1 { "dead letter" } else { "dead letters" };
    writeln!(out, "{changed} {letters} {what}")?;
    Ok(())
}

fn json(value: &impl serde::Serialize, out: &mut impl Write) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(std::io::Error::from)?;
    Ok(writeln!(out, "{}", printable_json(&json))?)
}
