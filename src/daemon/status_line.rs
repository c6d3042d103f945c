//! The daemon's state in one line, for `systemctl status`. Pure: figures in, text out.

use crate::admin::Status;
use crate::admin::status::{Reason, ReasonCode};

/// The line; `rate` is how many events were accepted a second since the line before.
pub(super) fn status_line(status: &Status, rate: f64) -> String {
    let pending: u64 = status.sinks.values().map(|sink| sink.pending).fold(0, u64::saturating_add);
    let sick = names(status, |breaker, _| breaker != "closed");
    let paused = names(status, |_, is_paused| is_paused);
    let mut parts = Vec::new();
    if !status.ready {
        parts.push("webhooks are REFUSED".to_owned());
    }
    // Below ten a second the tenths say something.
    parts.push(if rate > 0.0 && rate < 10.0 { format!("{rate:.1} events/s") } else { format!("{rate:.0} events/s") });
    parts.push(format!("{pending} pending"));
    parts.push(if sick.is_empty() { "all sinks well".to_owned() } else { format!("sick: {sick}") });
    if !paused.is_empty() {
        parts.push(format!("paused: {paused}"));
    }
    if status.journal.at_risk > 0 {
        parts.push(format!("AT RISK: {} bytes are not in the journal", status.journal.at_risk));
    }
    parts.extend(status.config.words().map(str::to_owned));
    // What the words above have not told.
    let is_told = [ReasonCode::ConfigRefused, ReasonCode::AtRisk, ReasonCode::SinkDown].map(ReasonCode::name);
    let others = status.reasons.iter().filter(|reason| !is_told.contains(&reason.code.as_str()));
    parts.extend(others.map(Reason::in_words));
    parts.join(", ")
}

/// The sinks of which that holds, given their breaker and whether they are paused.
fn names(status: &Status, holds: impl Fn(&str, bool) -> bool) -> String {
    let named = status.sinks.iter().filter(|(_, sink)| holds(&sink.breaker, sink.paused));
    named.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{ConfigState, JournalStatus, SinkStatus};

    fn status(at_risk: u64, sinks: &[(&str, &str, bool, u64)]) -> Status {
        let sink = |&(name, breaker, paused, pending): &(&str, &str, bool, u64)| {
            (name.to_owned(), SinkStatus { breaker: breaker.to_owned(), paused, pending, ..SinkStatus::default() })
        };
        Status {
            ready: true,
            journal: JournalStatus { at_risk, ..JournalStatus::default() },
            sinks: sinks.iter().map(sink).collect(),
            ..Status::default()
        }
    }

    #[test]
    fn the_line_has_the_rate_what_is_pending_and_whatever_is_not_well() {
        let well = [("a", "closed", false, 2), ("b", "closed", false, 3)];
        assert_eq!(status_line(&status(0, &well), 0.0), "0 events/s, 5 pending, all sinks well");
        assert_eq!(status_line(&status(0, &[]), 1.25), "1.2 events/s, 0 pending, all sinks well");
        assert_eq!(status_line(&status(0, &[]), 41.6), "42 events/s, 0 pending, all sinks well");
        let sick = [("a", "open", false, 7), ("b", "half_open", false, 0), ("c", "closed", true, 1)];
        let mut status = status(9, &sick);
        status.ready = false;
        status.config.state = ConfigState::Refused;
        for (code, subject) in [
            (ReasonCode::AtRisk, ""),
            (ReasonCode::BudgetLow, "shop"),
            (ReasonCode::SinkDown, "a"),
            (ReasonCode::ConfigRefused, "config.toml"),
            (ReasonCode::FrontPressed, ""),
        ] {
            let code = code.name().to_owned();
            status.reasons.push(Reason { code, subject: subject.to_owned(), ..Reason::default() });
        }
        assert_eq!(
            status_line(&status, 0.0),
            "webhooks are REFUSED, 0 events/s, 8 pending, sick: a b, paused: c, AT RISK: 9 bytes are not in the \
             journal, config on disk refused, budget low (shop), front pressed"
        );
    }
}
