//! `hookrelay pending`: lists what has failed and is tried again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use clap::Subcommand;
use sink_api::Timestamp;

use super::columns::{Cell, QUIET, colours, columns, print};
use super::dead::{self, ListArgs};
use super::{Failure, block_on, count, human, short};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::dead::{Count, DeadAsk, DeadBy, DeadView};
use crate::admin::list::List;
use crate::admin::status::{SinkStatus, Status};
use crate::config;
use crate::route::printable;
use crate::times::Zone;

/// `pending`.
#[derive(Debug, Subcommand)]
pub enum PendingVerb {
    /// A table, or with --by counts
    List(ListArgs),
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. What has failed three times lies in
the ledger until it is tried again; so do dead letters that were retried, what a replay brought, and what
a sink puts off for long. Only that has rows, and only that is counted by --by and printed by --json. What
waits for its first try, or for a sink that is down, has none: the last line says of each sink how much
that is, what it waits for, and when it is tried next.

Examples:
  hookrelay pending list --sink crm
  hookrelay pending list --by code

Exit codes: 0 done, 1 refused, 69 no daemon answers, 78 the config has faults, or there is none.";

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, verb: &PendingVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    let PendingVerb::List(args) = verb;
    if dead::counted(&admin, "/api/pending/counts", args, zone, out)? {
        return Ok(());
    }
    let rows = dead::rows(&admin, "/api/pending", args.which.ask(zone)?, args.limit())?;
    if rows.len() < args.limit() {
        dead::all_there(&args.which.ids, &rows, "nothing parked has the id", "`trace` says what became of it")?;
    }
    if args.which.json {
        return dead::json(&rows, out);
    }
    let sinks = parked_and_status(&admin)?;
    let heads = ["SINK", "ID", "TYPE", "SUBJECT", "TRIES", "LAST CODE", "NEXT TRY"];
    let now = Timestamp::now();
    if !rows.is_empty() {
        print(&columns(&heads, rows.iter().map(|row| cells(row, &sinks, now)).collect()), colours(), out)?;
    }
    let rest = elsewhere(&sinks, args.which.sink.as_deref());
    if rows.is_empty() && rest.is_empty() {
        let nothing = if super::is_partial() { "nothing that is known of now" } else { "nothing" };
        writeln!(out, "{nothing} is pending")?;
    } else if !rest.is_empty() {
        let sum = rest.iter().map(|(_, pending, _)| pending).sum::<u64>();
        let each: Vec<String> =
            rest.iter().map(|(sink, pending, status)| of_rest(sink, *pending, status, now)).collect();
        writeln!(out, "{} in memory or in the journal, not parked: {}", wait(sum), each.join("; "))?;
    }
    Ok(())
}

fn wait(deliveries: u64) -> String {
    format!("{} {}", count(deliveries, "further delivery"), if deliveries == 1 { "waits" } else { "wait" })
}

fn cells(row: &DeadView, sinks: &BTreeMap<String, SinkStatus>, now: Timestamp) -> Vec<Cell> {
    let DeadView { sink, id, kind, subject, attempts, reason, next_try, .. } = row;
    let code = match reason.code.as_str() {
        "" => Cell::styled("-".to_owned(), QUIET),
        code => Cell::plain(printable(code)),
    };
    vec![
        Cell::plain(printable(sink)),
        Cell::plain(printable(short(id))),
        Cell::plain(printable(kind)),
        Cell::plain(printable(subject)),
        Cell::right(human::number(u64::from(*attempts))),
        code,
        Cell::plain(next(sinks.get(sink), next_try.as_deref(), now)),
    ]
}

/// When a row of that sink is tried next, or why it is not.
pub(super) fn next(sink: Option<&SinkStatus>, due: Option<&str>, now: Timestamp) -> String {
    let Some(sink) = sink else { return "not in the config".to_owned() };
    let read = |text: Option<&str>| text.and_then(|text| text.parse::<Timestamp>().ok());
    match sink.state.as_str() {
        "paused" | "disabled" => sink.state.clone(),
        "down" => {
            let at = read(due).max(read(sink.next_try.as_deref())).map(|at| at.to_string());
            format!("{}, the sink is down", human::until(at.as_deref(), now))
        }
        _ => human::until(due, now),
    }
}

/// What waits for a sink and has no row: `crm 7: down, http_5xx, next try in 6 s`.
fn of_rest(name: &str, pending: u64, sink: &SinkStatus, now: Timestamp) -> String {
    let mut parts = vec![];
    if sink.state != "running" && !sink.state.is_empty() {
        parts.push(sink.state.clone());
    }
    if sink.state == "down" {
        parts.extend(sink.last_error.as_ref().map(|error| error.code.clone()));
        parts.extend(sink.next_try.as_deref().map(|at| format!("next try {}", human::until(Some(at), now))));
    }
    let told = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    printable(&format!("{name} {}{told}", human::number(pending)))
}

/// Every sink of the config, with as many parked as there are rows: a sink may not know yet of those that were just
/// put there.
pub(super) fn parked_and_status(admin: &AdminConfig) -> Result<BTreeMap<String, SinkStatus>, Failure> {
    let by = DeadAsk { by: Some(DeadBy::Sink), ..DeadAsk::default() };
    block_on(async {
        let status: Status = client::get(admin, "/api/status").await?;
        let rows: List<Count> = client::ask(admin, http::Method::GET, "/api/pending/counts", &by).await?;
        let mut sinks = status.sinks;
        for Count { key, count } in rows.items {
            if let Some(sink) = sinks.get_mut(&key) {
                sink.parked = sink.parked.max(count);
            }
        }
        Ok(sinks)
    })
}

/// What is pending and has no row, by sink.
fn elsewhere<'s>(sinks: &'s BTreeMap<String, SinkStatus>, sink: Option<&str>) -> Vec<(&'s str, u64, &'s SinkStatus)> {
    let of = sinks.iter().filter(|(name, _)| sink.is_none_or(|sink| sink == name.as_str()));
    let rest = of.map(|(name, status)| (name.as_str(), status.pending.saturating_sub(status.parked), status));
    rest.filter(|(_, rest, _)| *rest > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::SinkError;

    #[test]
    fn a_next_try_is_told_only_where_there_can_be_one() {
        let now: Timestamp = "2026-11-28T03:30:00Z".parse().unwrap();
        let (due, later) = (Some("2026-11-28T03:29:00Z"), Some("2026-11-28T03:30:06Z".to_owned()));
        let of = |state: &str| SinkStatus { state: state.into(), next_try: later.clone(), ..SinkStatus::default() };
        let told = |state: &str| next(Some(&of(state)), due, now);
        assert_eq!([told("running"), told("paused"), told("disabled")], ["now", "paused", "disabled"]);
        assert_eq!(
            (told("down"), next(None, due, now)),
            ("in 6 s, the sink is down".into(), "not in the config".into())
        );
        let error = SinkError { time: String::new(), code: "http_5xx".into(), detail: String::new() };
        let down = SinkStatus { last_error: Some(error), ..of("down") };
        assert_eq!(of_rest("crm", 7, &down, now), "crm 7: down, http_5xx, next try in 6 s");
        assert_eq!(
            [of_rest("crm", 3, &of("paused"), now), of_rest("a", 2, &of("running"), now)],
            ["crm 3: paused", "a 2"]
        );
    }
}
