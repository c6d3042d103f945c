//! `hookrelay resend`: lists what waits to be sent again, and gives it up.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use clap::{Args, Subcommand};
use http::Method;
use sink_api::Timestamp;

use super::columns::{Cell, QUIET, colours, columns, print};
use super::{Failure, block_on, count, dead, human, short};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::list::List;
use crate::admin::sending::{CancelAsk, CancelDone, ResendView, ResendsAsk};
use crate::admin::status::Status;
use crate::config;
use crate::route::printable;
use crate::times::Zone;

/// `resend`.
#[derive(Debug, Subcommand)]
pub enum ResendVerb {
    /// A table of the messages that wait to be sent again, in the order in which they are due
    List(ListArgs),
    /// Gives up one of them, or all that wait for a message
    Cancel(CancelArgs),
}

/// `resend list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// No more than so many, those that are due first
    #[arg(long, value_name = "N", value_parser = dead::limit)]
    pub limit: Option<NonZeroUsize>,
    /// Personal data as it is, not masked
    #[arg(long)]
    pub clear: bool,
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// How many rows there are where nobody says.
const SHOWN: usize = 100;

/// `resend cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The id of one, as `resend list` has it, or of a message
    #[arg(value_name = "ID")]
    pub id: String,
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. A message that failed, and that a
rule `[resend.NAME]` has sent again, waits here until it is due. What was due is the sink's: `pending
list` and `dead list` have that, `message show ID` all of it. `list` shows 100 rows and says how many
more there are; --limit N shows N. `cancel` takes the id of a row, whole or
its last 8 characters, or that of a message: the first one, or the one that failed.

Examples:
  hookrelay resend list
  hookrelay resend list --limit 1000000 --json | jq 'group_by(.rule)[] | {rule: .[0].rule, waiting: length}'
  hookrelay resend cancel 456789ab

Exit codes: 0 done, 1 refused, or nothing that waits has the id, 69 no daemon answers, 78 the config has
faults, or there is none.";

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, verb: &ResendVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    match verb {
        ResendVerb::List(args) => list(&admin, args, zone, out),
        ResendVerb::Cancel(CancelArgs { id, json }) => {
            let ask = CancelAsk { id: id.clone() };
            let done: CancelDone =
                block_on(async { Ok(client::ask(&admin, Method::POST, "/api/resends/cancel", &ask).await?) })?;
            super::say_unanswered(&done.unanswered);
            if *json {
                return dead::json(&done, out);
            }
            for over in &done.over {
                // A remark: if standard error is gone, it is lost.
                let _ = writeln!(std::io::stderr(), "remark: {}", left(over));
            }
            let each: Vec<String> = done.resends.iter().map(told).collect();
            Ok(writeln!(out, "{} cancelled: {}", count(done.cancelled, "resend"), each.join(", "))?)
        }
    }
}

fn told(ResendView { id, rule, attempt, .. }: &ResendView) -> String {
    printable(&format!("{} ({rule}, try {attempt})", short(id)))
}

/// What is said of one that its sink is done with.
fn left(ResendView { id, attempt, to, fate, why, .. }: &ResendView) -> String {
    let because = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let what = match fate.as_deref() {
        Some("dead") => format!("it is a dead letter of {to}{because}: `dead drop {id}` forgets it"),
        _ => format!("{to} is done with it{because}"),
    };
    printable(&format!("try {attempt} was not given up: {what}"))
}

fn list(admin: &AdminConfig, args: &ListArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let mut rows: Vec<ResendView> = Vec::new();
    let mut ask = ResendsAsk { clear: args.clear, ..ResendsAsk::default() };
    let limit = args.limit.map_or(SHOWN, NonZeroUsize::get);
    loop {
        ask.limit = Some(limit.saturating_sub(rows.len()));
        let page: List<ResendView> =
            block_on(async { Ok(client::ask(admin, Method::GET, "/api/resends", &ask).await?) })?;
        super::say_unanswered(&page.unanswered);
        rows.extend(page.items);
        ask.after = page.next;
        if ask.after.is_none() || rows.len() >= limit {
            break;
        }
    }
    if ask.after.is_some() {
        let status: Status = block_on(async { Ok(client::get(admin, "/api/status").await?) })?;
        let waiting = status.resends.map_or(0, |resends| resends.waiting);
        let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        // A remark: if standard error is gone, it is lost.
        let _ = writeln!(std::io::stderr(), "remark: {}; --limit N shows N", more(waiting, shown));
    }
    if args.json {
        return dead::json(&rows, out);
    }
    if rows.is_empty() {
        return Ok(writeln!(out, "nothing waits to be sent again")?);
    }
    let heads = ["ID", "RULE", "TO", "TRY", "LAST CODE", "DUE", "AT", "MESSAGE", "PHONE"];
    let now = Timestamp::now();
    Ok(print(&columns(&heads, rows.iter().map(|row| cells(row, zone, now)).collect()), colours(), out)?)
}

/// That there are more than are shown, of so many that wait by now.
fn more(waiting: u64, shown: u64) -> String {
    match waiting.saturating_sub(shown) {
        0 => format!("the first {shown} of those that wait"),
        more => format!("the first {shown} of {waiting} that wait, {more} more are due later"),
    }
}

fn cells(row: &ResendView, zone: &Zone, now: Timestamp) -> Vec<Cell> {
    let ResendView { id, rule, to, attempt, code, due, failed, phone, rule_gone, .. } = row;
    let gone = if *rule_gone { " (gone)" } else { "" };
    let or_nothing = |text: Option<&str>| match text.filter(|text| !text.is_empty()) {
        Some(text) => Cell::plain(printable(text)),
        None => Cell::styled("-".to_owned(), QUIET),
    };
    vec![
        Cell::plain(printable(short(id))),
        Cell::plain(format!("{}{gone}", printable(rule))),
        Cell::plain(printable(to)),
        Cell::right(human::number(u64::from(*attempt))),
        or_nothing(Some(code)),
        Cell::plain(human::until(Some(due), now)),
        Cell::plain(human::clock(due, zone)),
        Cell::plain(printable(failed)),
        or_nothing(phone.as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_is_sent_again_and_when() {
        let row = ResendView {
            id: "01a229fc-587e-73e0-88ad-88f36097dc45".into(),
            rule: "marketing".into(),
            to: "whatsapp".into(),
            attempt: 2,
            code: "131049".into(),
            due: "2026-11-30T10:00:00Z".into(),
            failed: "m-1".into(),
            phone: Some("***10".into()),
            ..ResendView::default()
        };
        let now = "2026-11-30T09:59:00Z".parse().unwrap();
        let text = columns(&["A"; 9], vec![cells(&row, &Zone::utc(), now)]);
        let last = anstream::adapter::strip_str(&text).to_string().lines().last().unwrap().to_owned();
        let words: Vec<&str> = last.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        let wanted =
            ["6097dc45", "marketing", "whatsapp", "2", "131049", "in 1 min", "2026-11-30 10:00:00Z", "m-1", "***10"];
        assert_eq!(words, wanted);
        let gone = ResendView { rule_gone: true, ..row.clone() };
        let text = columns(&["A"; 9], vec![cells(&gone, &Zone::utc(), now)]);
        assert!(text.contains("marketing (gone)"), "{text}");
        assert_eq!(told(&row), "6097dc45 (marketing, try 2)");
        assert_eq!(more(250, 100), "the first 100 of 250 that wait, 150 more are due later");
        assert_eq!(more(100, 100), "the first 100 of those that wait");
    }
}
