//! `hookrelay pending`: lists what has failed and is tried again.

use std::io::Write;
use std::path::Path;

use clap::Subcommand;
use sink_api::Timestamp;

use super::columns::{Cell, QUIET, colours, columns, print};
use super::dead::{self, ListArgs};
use super::{Failure, block_on, count, human, short};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::dead::DeadView;
use crate::admin::status::Status;
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
the ledger until it is tried again; so do dead letters that were retried, and what a replay brought. What
waits for its first try has no row here: the last line says how much that is.

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
    if args.which.json {
        return dead::json(&rows, out);
    }
    let heads = ["SINK", "ID", "TYPE", "SUBJECT", "TRIES", "LAST CODE", "NEXT TRY"];
    let now = Timestamp::now();
    if !rows.is_empty() {
        print(&columns(&heads, rows.iter().map(|row| cells(row, now)).collect()), colours(), out)?;
    }
    let rest = elsewhere(&admin, args.which.sink.as_deref())?;
    if rows.is_empty() && rest.is_empty() {
        writeln!(out, "nothing is pending")?;
    } else if !rest.is_empty() {
        let sum = rest.iter().map(|(_, pending)| pending).sum::<u64>();
        let each: Vec<String> =
            rest.iter().map(|(sink, pending)| format!("{sink} {}", human::number(*pending))).collect();
        writeln!(out, "{} in memory or in the journal, not parked: {}", wait(sum), each.join(", "))?;
    }
    Ok(())
}

fn wait(deliveries: u64) -> String {
    format!("{} {}", count(deliveries, "further delivery"), if deliveries == 1 { "waits" } else { "wait" })
}

fn cells(row: &DeadView, now: Timestamp) -> Vec<Cell> {
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
        Cell::plain(human::until(next_try.as_deref(), now)),
    ]
}

/// What is pending and has no row, by sink.
fn elsewhere(admin: &AdminConfig, sink: Option<&str>) -> Result<Vec<(String, u64)>, Failure> {
    let status: Status = block_on(async { Ok(client::get(admin, "/api/status").await?) })?;
    let of = status.sinks.into_iter().filter(|(name, _)| sink.is_none_or(|sink| sink == name));
    let rest = of.map(|(name, status)| (printable(&name), status.pending.saturating_sub(status.parked)));
    Ok(rest.filter(|(_, rest)| *rest > 0).collect())
}
