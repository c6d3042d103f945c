//! `hookrelay status --check`: one line and an exit code, as Nagios and its like want them.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use sink_api::Timestamp;

use super::{Failure, count};
use crate::admin::client::AskError;
use crate::admin::status::Status;

/// The part of `status`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// One line for a monitor such as Nagios; exit code 0 ready, 1 degraded, 2 critical
    #[arg(long, conflicts_with = "json")]
    pub check: bool,
    /// With --check: a sink that is down for longer is critical, for less long degraded
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "check")]
    #[arg(value_parser = humantime::parse_duration)]
    pub down: Duration,
    /// With --check: more deliveries than this yet to be made, all sinks together, are degraded
    #[arg(long, value_name = "N", requires = "check")]
    pub pending: Option<u64>,
    /// With --check: more dead letters than this, all sinks together, are degraded
    #[arg(long, value_name = "N", requires = "check")]
    pub dead: Option<u64>,
}

/// How bad it is. The exit codes are those of Nagios' plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ready,
    Degraded,
    Critical,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "OK",
            Self::Degraded => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// Reason codes of `status` that are critical whatever the flags say.
const CRITICAL: [&str; 3] = ["budget_spent", "at_risk", "journal_failing"];
/// Reason codes that are judged here by the figures behind them.
const JUDGED: [&str; 2] = ["at_risk", "sink_down"];

/// Prints the line.
///
/// # Errors
/// [`Failure::Checked`] where anything is not as it should be; the line has said what.
pub fn run(answer: Result<Status, AskError>, args: &CheckArgs, out: &mut impl Write) -> Result<(), Failure> {
    let (level, line) = match &answer {
        Ok(status) => judged(status, args, Timestamp::now()),
        Err(error) => {
            let why = error.to_string();
            (Level::Critical, why.lines().next().unwrap_or_default().to_owned())
        }
    };
    writeln!(out, "hookrelay {}: {line}", level.word())?;
    match level {
        Level::Ready => Ok(()),
        Level::Degraded => Err(Failure::Checked(1)),
        Level::Critical => Err(Failure::Checked(2)),
    }
}

/// How bad it is, and the line: what is wrong, the worst first, then the figures as a monitor reads them.
fn judged(status: &Status, args: &CheckArgs, now: Timestamp) -> (Level, String) {
    let mut found: Vec<(Level, String)> = Vec::new();
    if !status.ready {
        found.push((Level::Critical, "webhooks are refused".into()));
    }
    if status.journal.at_risk > 0 {
        found.push((Level::Critical, format!("{} at risk", count(status.journal.at_risk, "byte"))));
    }
    for (name, sink) in status.sinks.iter().filter(|(_, sink)| sink.state == "down") {
        let since = sink.down_since.as_deref().and_then(|since| since.parse::<Timestamp>().ok());
        let seconds = since.map_or(0, |since| now.as_second().saturating_sub(since.as_second()));
        let long = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let level = if long > args.down { Level::Critical } else { Level::Degraded };
        found.push((level, format!("sink {name} down for {}", humantime::format_duration(long))));
    }
    for reason in status.reasons.iter().filter(|reason| !JUDGED.contains(&reason.code.as_str())) {
        let level = if CRITICAL.contains(&reason.code.as_str()) { Level::Critical } else { Level::Degraded };
        let of = if reason.subject.is_empty() { String::new() } else { format!(" ({})", reason.subject) };
        found.push((level, format!("{}{of}", reason.code)));
    }
    let sum =
        |of: fn(&crate::admin::status::SinkStatus) -> u64| status.sinks.values().map(of).fold(0, u64::saturating_add);
    let (pending, dead) = (sum(|sink| sink.pending), sum(|sink| sink.dead));
    for (number, most, what) in [(pending, args.pending, "pending"), (dead, args.dead, "dead")] {
        if let Some(most) = most.filter(|most| number > *most) {
            found.push((Level::Degraded, format!("{number} {what}, more than {most}")));
        }
    }
    // The worst first, and otherwise as found.
    found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let level = found.first().map_or(Level::Ready, |(level, _)| *level);
    let text = match found.is_empty() {
        true => format!("ready, {}", count(status.sinks.len() as u64, "sink")),
        false => found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; "),
    };
    let bound = |most: Option<u64>| most.map(|most| format!(";{most}")).unwrap_or_default();
    let figures = [
        figure("pending", pending, bound(args.pending)),
        figure("dead", dead, bound(args.dead)),
        figure("at_risk", format!("{}B", status.journal.at_risk), String::new()),
    ];
    (level, format!("{text} | {}", figures.join(" ")))
}

fn figure(name: &str, value: impl Display, bound: String) -> String {
    format!("{name}={value}{bound}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{Reason, SinkStatus};

    fn args() -> CheckArgs {
        CheckArgs { check: true, down: Duration::from_secs(300), pending: Some(10), dead: Some(0) }
    }

    fn sink(state: &str, down_since: Option<&str>, pending: u64, dead: u64) -> SinkStatus {
        let (state, down_since) = (state.to_owned(), down_since.map(str::to_owned));
        SinkStatus { state, down_since, pending, dead, ..SinkStatus::default() }
    }

    fn judge(ready: bool, at_risk: u64, sinks: Vec<SinkStatus>, codes: &[&str]) -> (Level, String) {
        let mut status = Status { ready, ..Status::default() };
        status.journal.at_risk = at_risk;
        status.sinks = sinks.into_iter().enumerate().map(|(n, sink)| (format!("s{n}"), sink)).collect();
        let reason = |code: &&str| Reason { code: (*code).to_owned(), subject: "x".into(), ..Reason::default() };
        status.reasons = codes.iter().map(reason).collect();
        judged(&status, &args(), "2026-11-29T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_monitor_gets_one_line_with_what_is_worst_first() {
        let (level, line) = judge(true, 0, vec![sink("running", None, 10, 0)], &[]);
        assert_eq!((level, line.as_str()), (Level::Ready, "ready, 1 sink | pending=10;10 dead=0;0 at_risk=0B"));
        let down =
            [sink("down", Some("2026-11-29T11:59:00Z"), 1, 1), sink("down", Some("2026-11-29T11:50:00Z"), 10, 0)];
        let (level, line) = judge(true, 0, down.to_vec(), &["sink_down"]);
        assert_eq!(level, Level::Critical);
        let text = "sink s1 down for 10m; sink s0 down for 1m; 11 pending, more than 10; 1 dead, more than 0 | ";
        assert!(line.starts_with(text) && !line.contains('\n'), "{line}");
    }

    #[test]
    fn each_sort_of_trouble_has_its_level() {
        let down = |since: &str| vec![sink("down", Some(since), 0, 0)];
        for (level, (got, line)) in [
            (Level::Critical, judge(false, 0, vec![], &[])),
            (Level::Critical, judge(true, 7, vec![], &["at_risk"])),
            (Level::Critical, judge(true, 0, vec![], &["budget_spent"])),
            (Level::Critical, judge(true, 0, down("2026-11-29T11:54:59Z"), &["sink_down"])),
            (Level::Degraded, judge(true, 0, down("2026-11-29T11:55:00Z"), &["sink_down"])),
            (Level::Degraded, judge(true, 0, down(""), &[])),
            (Level::Degraded, judge(true, 0, vec![], &["config_refused"])),
            (Level::Degraded, judge(true, 0, vec![sink("running", None, 11, 0)], &[])),
            (Level::Degraded, judge(true, 0, vec![sink("running", None, 0, 1)], &[])),
            (Level::Ready, judge(true, 0, vec![sink("paused", None, 0, 0)], &[])),
        ] {
            assert_eq!(got, level, "{line}");
        }
    }
}
