//! What `status` shows people: a line that says whether all is well, then tables of sources and sinks. Pure: figures
//! and the time in, text out.

use std::fmt::{self, Write};

use anstyle::Style;
use sink_api::Timestamp;

use crate::admin::status::{ConfigState, NodeStatus, Reason, SinkStatus, SourceStatus, State, Status};
use crate::commands::columns::{BAD, Cell, DOUBTFUL, GOOD, QUIET, columns};
use crate::commands::{count, human};
use crate::route::printable;

/// Most paths shown of those that no source has.
const PATHS: usize = 5;

/// The text, with colours; what prints it takes them out where they are not wanted.
pub fn text(status: &Status, now: Timestamp) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_all(status, now, &mut out);
    out
}

fn write_all(status: &Status, now: Timestamp, out: &mut String) -> fmt::Result {
    headline(status, out)?;
    for Reason { code, text, nodes, .. } in &status.reasons {
        let of = if nodes.is_empty() { String::new() } else { format!(" ({})", nodes.join(", ")) };
        writeln!(out, "  {DOUBTFUL}{code}{DOUBTFUL:#}{of}: {text}")?;
    }
    about(status, now, out)?;
    if !status.nodes.is_empty() {
        writeln!(out)?;
        nodes(&status.nodes, out);
    }
    writeln!(out)?;
    sources(status, now, out)?;
    writeln!(out)?;
    sinks(status, now, out)
}

fn headline(status: &Status, out: &mut String) -> fmt::Result {
    if status.state == State::Stopping {
        return writeln!(out, "{DOUBTFUL}stopping{DOUBTFUL:#}");
    }
    if !status.ready {
        return writeln!(out, "{BAD}not ready{BAD:#}: webhooks of some source, or of all, are refused");
    }
    if status.state == State::Ready {
        return writeln!(out, "{GOOD}ready{GOOD:#}");
    }
    let mut why: Vec<String> = status.reasons.iter().map(Reason::in_words).collect();
    why.dedup();
    writeln!(out, "{DOUBTFUL}degraded{DOUBTFUL:#}: {}", why.join(", "))
}

/// The daemon, its journal and its config.
fn about(status: &Status, now: Timestamp, out: &mut String) -> fmt::Result {
    let Status { journal, disk, config, .. } = status;
    writeln!(out, "hookrelay {}, up {}", status.version, human::since(Some(&status.started), now))?;
    let oldest = match &journal.oldest_time {
        Some(time) => format!(", the oldest {} ago", human::since(Some(time), now)),
        None => String::new(),
    };
    let most = human::size(disk.max_size);
    // What others keep they may not have told.
    let holds = journal.events.map_or_else(|| "what it holds is not known".to_owned(), events);
    let size = journal.bytes.map_or_else(|| format!("at most {most}"), |b| format!("{} of {most}", human::size(b)));
    let free = match disk.free {
        0 if journal.events.is_none() => String::new(),
        free => format!("; {} free", human::size(free)),
    };
    writeln!(out, "journal: {holds}, {size}{oldest}{free}")?;
    let since = human::since(Some(&config.since), now);
    let fault = config.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
    match config.state {
        ConfigState::Same => writeln!(out, "config: {}, in force for {since}", config.path)?,
        ConfigState::Changed => writeln!(
            out,
            "config: {} is not what runs, for {since}{fault}; `hookrelay reload` puts it in force",
            config.path
        )?,
        // The reason of that code has said it all.
        ConfigState::Refused => {}
    }
    if let Some(resends) = status.resends.as_ref().filter(|resends| resends.waiting > 0) {
        let (waiting, next) = (human::number(resends.waiting), human::until(resends.next.as_deref(), now));
        writeln!(out, "resends: {waiting} to be sent again, the next {next} (`hookrelay resend list`)")?;
    }
    if status.unmatched > 0 {
        let matched = events(status.unmatched);
        writeln!(out, "routes: {matched} matched none since the start (`hookrelay explain --id ID` tells why)")?;
    }
    Ok(())
}

/// Each of several daemons.
fn nodes(nodes: &[NodeStatus], out: &mut String) {
    let row = |node: &NodeStatus| {
        let state = match (node.state, node.ready) {
            (None, _) => Cell::styled("NO ANSWER".to_owned(), BAD),
            (Some(State::Stopping), _) => Cell::styled("stopping".to_owned(), DOUBTFUL),
            (Some(_), Some(false)) => Cell::styled("NOT READY".to_owned(), BAD),
            (Some(State::Degraded), _) => Cell::styled("degraded".to_owned(), DOUBTFUL),
            (Some(State::Ready), _) => Cell::styled("ready".to_owned(), GOOD),
        };
        let at_risk = match node.at_risk {
            None => Cell::right("-".to_owned()),
            Some(bytes) => Cell::right(human::size(bytes)).with(if bytes == 0 { Style::new() } else { BAD }),
        };
        let mut about: Vec<String> = node.reasons.iter().map(|code| code.replace('_', " ")).collect();
        about.extend(node.why.clone());
        if node.config_differs {
            about.push("its config is another one".to_owned());
        }
        vec![
            Cell::plain(printable(&node.name)),
            state,
            at_risk,
            Cell::plain(printable(&node.host)),
            Cell::plain(printable(&node.version)),
            Cell::plain(printable(&about.join(", "))),
        ]
    };
    out.push_str(&columns(&["NODE", "STATE", "AT RISK", "HOST", "VERSION", ""], nodes.iter().map(row).collect()));
}

fn events(n: u64) -> String {
    count(n, "event").replacen(&n.to_string(), &human::number(n), 1)
}

fn sources(status: &Status, now: Timestamp, out: &mut String) -> fmt::Result {
    let heads = ["SOURCE", "LAST ACCEPTED", "PER SECOND", "ACCEPTED", "DUPLICATE", "REFUSED", "BUDGET"];
    let row = |(name, source): (&String, &SourceStatus)| {
        let last = match (&source.silent_since, &source.last_accepted) {
            (Some(silent), _) => Cell::styled(format!("SILENT for {}", human::since(Some(silent), now)), DOUBTFUL),
            (None, last) => Cell::plain(human::ago(last.as_deref(), now)),
        };
        let budget = match &source.budget {
            None => Cell::styled("-".to_owned(), QUIET),
            Some(budget) => {
                let text = format!("{} of {} failures", budget.used, budget.of);
                let style = match budget.used {
                    0 => Style::new(),
                    used if used >= budget.of => BAD,
                    _ => DOUBTFUL,
                };
                Cell::styled(text, style)
            }
        };
        let numbers = [source.accepted, source.duplicate].map(|n| Cell::right(human::number(n)));
        let [accepted, duplicate] = numbers;
        let refused = if source.rejected == 0 { Cell::plain("0".to_owned()) } else { refused(source) };
        vec![
            Cell::plain(name.clone()),
            last,
            Cell::right(human::rate(source.rate)),
            accepted,
            duplicate,
            refused,
            budget,
        ]
    };
    out.push_str(&columns(&heads, status.sources.iter().map(row).collect()));
    for (name, source) in &status.sources {
        for (long, what) in [(source.too_long.kind, "type"), (source.too_long.subject, "subject")] {
            if long > 0 {
                writeln!(out, "  {name}: {} too long to be taken", count(long, what))?;
            }
        }
        let previous = &source.previous_secret;
        if let Some(last) = &previous.last {
            let ago = human::ago(Some(last), now);
            writeln!(out, "  {name}: {} still signed with previous_secret, the last {ago}", previous.count)?;
        }
    }
    let paths = &status.refused_elsewhere;
    if !paths.is_empty() {
        let mut all: Vec<_> = paths.iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = all.iter().take(PATHS).map(|(path, count)| format!("{path} {}", human::number(**count)));
        let rest = all.len().saturating_sub(PATHS);
        let rest = if rest > 0 { format!(", and {}", count(rest, "other path")) } else { String::new() };
        writeln!(out, "  at no source: {}{rest}", shown.collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}

/// How many requests were refused, by reason.
fn refused(source: &SourceStatus) -> Cell {
    let words = source.refused.iter().filter(|(_, count)| **count > 0);
    let words: Vec<String> =
        words.map(|(reason, count)| format!("{} {}", human::number(*count), reason.replace('_', " "))).collect();
    Cell::styled(words.join(", "), DOUBTFUL)
}

fn sinks(status: &Status, now: Timestamp, out: &mut String) -> fmt::Result {
    let heads = [
        "SINK",
        "STATE",
        "DELIVERED",
        "PENDING",
        "PARKED",
        "DEAD",
        "FILTERED",
        "DROPPED",
        "OLDEST",
        "LAST SUCCESS",
        "NEXT TRY",
    ];
    let row = |(name, sink): (&String, &SinkStatus)| {
        let state = match sink.state.as_str() {
            "down" => Cell::styled(format!("DOWN for {}", human::since(sink.down_since.as_deref(), now)), BAD),
            "running" => Cell::styled("running".to_owned(), GOOD),
            other => Cell::styled(other.to_owned(), DOUBTFUL),
        };
        let old = if sink.stale { "~" } else { "" };
        let plain =
            |n: u64| Cell::right(if sink.unknown { "?".to_owned() } else { format!("{old}{}", human::number(n)) });
        let bad = |n: u64| plain(n).with(if n == 0 { Style::new() } else { BAD });
        let oldest = if sink.unknown {
            "?".to_owned()
        } else if sink.pending == 0 {
            "-".to_owned()
        } else {
            human::seconds(sink.oldest_pending_s)
        };
        let mut row = vec![Cell::plain(name.clone()), state];
        let bound = if sink.at_most { "≤" } else { "" };
        let pending = match sink.unknown {
            true => plain(0),
            false => Cell::right(format!("{old}{bound}{}", human::number(sink.pending))),
        };
        let parked = Cell::right(human::number(sink.parked));
        row.extend([plain(sink.delivered), pending, parked, bad(sink.dead)]);
        row.extend([plain(sink.filtered), bad(sink.dropped), Cell::right(oldest)]);
        row.push(Cell::plain(human::ago(sink.last_delivered.as_deref(), now)));
        row.push(Cell::plain(human::until(sink.next_try.as_deref(), now)));
        row
    };
    out.push_str(&columns(&heads, status.sinks.iter().map(row).collect()));
    for (name, sink) in &status.sinks {
        // Of a sink that is down it stands among the reasons.
        if let Some(last) = sink.last_error.as_ref().filter(|_| sink.state != "down") {
            let ago = human::ago(Some(&last.time), now);
            writeln!(out, "  {name}: {ago} {BAD}{}{BAD:#}: {}", last.code, last.detail)?;
        }
    }
    Ok(())
}
