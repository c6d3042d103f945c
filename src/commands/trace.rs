//! `hookrelay trace`: what became of a message, of one event, or of what has to do with a phone number.

mod words;

pub(super) use words::event_in_words;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use sink_api::Timestamp;

use super::{Failure, block_on, progress, say_unanswered, time};
use crate::admin::AdminConfig;
use crate::admin::client::{self, AskError};
use crate::admin::found::{MessageView, TraceAsk, TraceView};
use crate::config;
use crate::route::printable_json;
use crate::times::Zone;

/// How long a phone number is looked for, and the most events that are found by it.
const LOOK: Duration = Duration::from_mins(5);
const MOST_EVENTS: usize = 1_000;
/// The progress is drawn in so many parts.
const PARTS: u64 = 1_000;

/// `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The id of a message, an event or a delivery, the last 8 characters of an event's, or a phone number
    #[arg(value_name = "ID|MESSAGE-ID|PHONE")]
    pub id: String,
    /// How it is looked for, and shown.
    #[command(flatten)]
    pub look: LookArgs,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// How an id or a phone is looked for, and what is found is shown: `trace`, `message show`.
#[derive(Debug, Args)]
pub struct LookArgs {
    /// For a phone number: events accepted since, `30d` ago, `2026-01-31` …; a week where it is not given
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Personal data as it is, not masked
    #[arg(long)]
    pub clear: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config. First comes the message: how far it got, by the
provider's clock and ours, what was clicked, what quoted it, why it failed. Then each event's
way: when it came, which routes match and why, and what became of it at each sink. Routes are
told by the rules in force now.

An id is looked up; the last 8 characters of one are looked for among recent events, and a
phone number (with or without its country) in all events of the last 7 days.

Examples:
  hookrelay trace 7f00602d-4c9c-4346-9d4d-a24d478c9926
  hookrelay trace 5f6a7b8c
  hookrelay trace +919876543210 --since 30d
  hookrelay trace m-1 --json | jq '.events[].deliveries[] | select(.fate != \"delivered\")'

Exit codes: 0 found, 1 there is no such thing, or refused, 69 no daemon answers,
78 the config has faults, or there is none.";

/// Asks, and prints what was found.
///
/// # Errors
/// No daemon answers, it refuses, or there is nothing to be found.
pub fn run(file: &Path, args: &TraceArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let found = found(file, &args.id, &args.look, zone)?;
    if args.json {
        let json = serde_json::to_string(&found).map_err(std::io::Error::from)?;
        return Ok(writeln!(out, "{}", printable_json(&json))?);
    }
    Ok(write!(out, "{}", words::whole(&found, zone, Timestamp::now()))?)
}

/// Asks for what an id or a phone stands for, until all of it is there.
///
/// # Errors
/// No daemon answers, it refuses, or there is nothing to be found.
pub(super) fn found(file: &Path, id: &str, how: &LookArgs, zone: &Zone) -> Result<TraceView, Failure> {
    if id.trim().is_empty() {
        let why = "say what to look for: the id of a message, an event or a delivery, or a phone number";
        return Err(Failure::Usage(why.into()));
    }
    let admin = config::read_admin(file)?;
    let since = time("--since", how.since.as_deref(), zone)?.map(|time| time.to_string());
    block_on(look(&admin, TraceAsk { id: id.to_owned(), since, after: None, clear: how.clear }))
}

/// Asks once.
///
/// # Errors
/// [`AskError`].
pub(super) async fn ask_once(admin: &AdminConfig, ask: &TraceAsk) -> Result<TraceView, AskError> {
    // The path has the id.
    let mut question = serde_json::to_value(ask).unwrap_or_default();
    if let Some(members) = question.as_object_mut() {
        members.remove("id");
    }
    let found: TraceView =
        client::ask(admin, Method::GET, &format!("/api/messages/{}", client::part(&ask.id)), &question).await?;
    say_unanswered(&found.unanswered);
    Ok(found)
}

/// Asks until all of a phone's span was looked at; other answers are whole at once.
async fn look(admin: &AdminConfig, mut ask: TraceAsk) -> Result<TraceView, Failure> {
    let mut found = ask_once(admin, &ask).await?;
    if found.next.is_some() {
        let begun = Instant::now();
        let bar = progress::bar(PARTS, "looking through the journal {bar:40} {percent}% ({elapsed}, {eta} to go)");
        while let Some(next) = found.next.take() {
            bar.set_position((found.done.unwrap_or_default() * PARTS as f64) as u64);
            if begun.elapsed() > LOOK || found.events.len() >= MOST_EVENTS {
                found.notes.push("the journal goes on: narrow it with --since".to_owned());
                break;
            }
            ask.after = Some(next);
            join(&mut found, ask_once(admin, &ask).await?);
        }
        bar.finish_and_clear();
        // An answer has a message whole, as it was then: the last one counts.
        let mut seen = BTreeSet::new();
        let newest: Vec<MessageView> =
            found.messages.drain(..).rev().filter(|one| seen.insert(one.id.clone())).collect();
        found.messages = newest.into_iter().rev().collect();
        if let [_] = found.messages.as_slice() {
            found.message = found.messages.pop();
        }
    }
    if found.query.contains_key("phone") && found.events.is_empty() {
        let why = "no event of that time is about this phone\n  help: look further back with --since 30d";
        return Err(Failure::Refused(why.into()));
    }
    found.events.truncate(MOST_EVENTS);
    Ok(found)
}

/// Adds what the next answer found.
fn join(found: &mut TraceView, more: TraceView) {
    found.messages.extend(found.message.take());
    found.messages.extend(more.message);
    found.messages.extend(more.messages);
    found.events.extend(more.events);
    found.notes.extend(more.notes);
    (found.next, found.done) = (more.next, more.done);
}
