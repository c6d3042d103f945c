//! Everything that is not as it should be, for `status` and `/readyz`. Pure: what was seen in, reasons out.

use sink_api::Timestamp;

use crate::admin::status::{ConfigState, ConfigStatus, Reason, ReasonCode};
use crate::deliver::LastError;
use crate::ingress::{BudgetUse, Pressed, SourceFacts};

/// What was seen.
pub(super) struct Seen<'s> {
    /// Whether the journal cannot be written: it gives back, or takes no more.
    pub is_failing: bool,
    /// What keeps the journal from being written or asked, where others keep it.
    pub trouble: Option<String>,
    /// Bytes that wait for the journal: in memory, or where others keep the journal on this machine.
    pub at_risk: u64,
    /// Whether others keep the journal.
    pub is_shared: bool,
    /// What is wrong with the room on the disk.
    pub disk: Option<String>,
    /// That strangers press on the port.
    pub pressed: Option<Pressed>,
    pub config: &'s ConfigStatus,
    pub down: &'s [Down],
    pub sources: &'s [SourceFacts],
}

/// A sink that takes no deliveries.
pub(super) struct Down {
    pub sink: String,
    pub since: Option<Timestamp>,
    pub last_error: Option<LastError>,
}

/// The reasons, the gravest first.
pub(super) fn reasons(seen: &Seen<'_>) -> Vec<Reason> {
    let mut all = Vec::new();
    let mut add = |code: ReasonCode, subject: &str, text: String| {
        all.push(Reason { code: code.name().to_owned(), subject: subject.to_owned(), text, nodes: vec![] });
    };
    if let Some(trouble) = &seen.trouble {
        let text = format!(
            "the journal cannot be written: {trouble}; what is accepted waits on this machine's disk, and figures are \
             those that were heard last"
        );
        add(ReasonCode::JournalFailing, "", text);
    } else if seen.is_failing {
        let how = match seen.is_shared {
            true => "are refused or wait on this machine's disk",
            false => "are refused or wait in memory",
        };
        let text = format!("the journal cannot be written, so that webhooks {how}: the log says why");
        add(ReasonCode::JournalFailing, "", text);
    }
    if seen.at_risk > 0 {
        let how = match seen.is_shared {
            true => "are on this machine alone, until its brokers take them",
            false => "wait in memory, as the disk cannot be written",
        };
        let text = format!("{} bytes of accepted webhooks {how}", seen.at_risk);
        add(ReasonCode::AtRisk, "", text);
    }
    for facts in seen.sources {
        if let Some((code, text)) = budget(facts) {
            add(code, &facts.name, text);
        }
        if let Some(since) = facts.silent_since {
            let text = format!("source {} has had no webhook since {since:.0}", facts.name);
            add(ReasonCode::SourceSilent, &facts.name, text);
        }
    }
    for Down { sink, since, last_error } in seen.down {
        let since = since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        let why = last_error.as_ref().map(|LastError { why, .. }| format!(": {}: {}", why.code, why.detail));
        let text = format!("sink {sink} takes no deliveries{since}{}", why.unwrap_or_default());
        add(ReasonCode::SinkDown, sink, text);
    }
    if let Some(text) = &seen.disk {
        add(ReasonCode::DiskLow, "", text.clone());
    }
    if let ConfigStatus { state: ConfigState::Refused, path, since, fault } = seen.config {
        let fault = fault.as_deref().unwrap_or("its faults are in the log");
        let text = format!(
            "the config file was refused at {since}, and the config before it stays in force: {fault}; mend the file \
             (`hookrelay check` tells all faults), then `hookrelay reload`"
        );
        add(ReasonCode::ConfigRefused, path, text);
    }
    if let Some(Pressed { connections_cut, requests_cut, waiting }) = seen.pressed {
        let text = format!(
            "more is sent than [server] has room for (max_connections, max_inflight_bytes): {waiting} requests wait; \
             since the start {connections_cut} connections and {requests_cut} slow requests had to go"
        );
        add(ReasonCode::FrontPressed, "", text);
    }
    all
}

/// The codes of these reasons, each once.
pub(super) fn codes(reasons: &[Reason]) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    for Reason { code, .. } in reasons {
        if !codes.contains(code) {
            codes.push(code.clone());
        }
    }
    codes
}

/// Whether the provider may soon switch the source's feed off, or has done so.
fn budget(facts: &SourceFacts) -> Option<(ReasonCode, String)> {
    let BudgetUse { used, budget, failures, advice } = facts.budget.as_ref()?;
    let (name, of, within) = (&facts.name, budget.failures, budget.within);
    let code = match *used {
        used if used >= budget.most() => ReasonCode::BudgetSpent,
        used if used >= budget.low() => ReasonCode::BudgetLow,
        _ => return None,
    };
    Some((code, format!("source {name} has {used} of {of} failures within {within} ({failures}): {advice}")))
}

#[cfg(test)]
mod tests {
    use sink_api::Reason as Why;

    use crate::ingress::source::failure_budget::FailureBudget;

    use super::*;

    const FINE: ConfigStatus =
        ConfigStatus { state: ConfigState::Same, path: String::new(), since: String::new(), fault: None };

    fn fine(config: &ConfigStatus) -> Seen<'_> {
        let (trouble, disk, pressed) = (None, None, None);
        Seen {
            is_failing: false,
            trouble,
            at_risk: 0,
            is_shared: false,
            disk,
            pressed,
            config,
            down: &[],
            sources: &[],
        }
    }

    #[test]
    fn where_all_is_well_there_is_no_reason() {
        assert_eq!(reasons(&fine(&FINE)), []);
    }

    #[test]
    fn each_trouble_has_its_code_and_a_sentence_and_the_gravest_comes_first() {
        let last_error = LastError { time: Timestamp::UNIX_EPOCH, why: Why::new("connect", "refused") };
        let down = [Down { sink: "crm".into(), since: Some(Timestamp::UNIX_EPOCH), last_error: Some(last_error) }];
        let config = ConfigStatus { state: ConfigState::Refused, path: "config.toml".into(), ..FINE };
        let pressed = Some(Pressed::default());
        let disk = Some("little room".to_owned());
        let at_risk = 7;
        let seen = Seen {
            is_failing: true,
            trouble: None,
            at_risk,
            is_shared: false,
            disk,
            pressed,
            config: &config,
            down: &down,
            sources: &[],
        };
        let all = reasons(&seen);
        let codes: Vec<&str> = all.iter().map(|reason| reason.code.as_str()).collect();
        let wanted = ["journal_failing", "at_risk", "sink_down", "disk_low", "config_refused", "front_pressed"];
        assert_eq!(codes, wanted);
        assert_eq!(all[2].text, "sink crm takes no deliveries since 1970-01-01T00:00:00Z: connect: refused");
        assert_eq!((all[2].subject.as_str(), all[4].subject.as_str()), ("crm", "config.toml"));
    }

    #[test]
    fn where_others_keep_the_journal_what_is_wrong_there_is_told_in_its_place() {
        let trouble = Some("its brokers are away".to_owned());
        let all = reasons(&Seen { trouble, is_failing: true, at_risk: 7, is_shared: true, ..fine(&FINE) });
        assert_eq!((all.len(), all[0].code.as_str()), (2, "journal_failing"));
        assert!(all[1].text.starts_with("7 bytes") && all[1].text.contains("on this machine"), "{}", all[1].text);
        assert!(all[0].text.contains(": its brokers are away;"), "{}", all[0].text);
    }

    #[test]
    fn a_budget_is_low_at_three_fifths_and_spent_at_its_end() {
        let with = |used: usize| {
            let budget = FailureBudget::default();
            let budget = Some(BudgetUse { used, budget, failures: String::new(), advice: "" });
            let sources = [SourceFacts { budget, ..facts() }];
            let all = reasons(&Seen { sources: &sources, ..fine(&FINE) });
            all.into_iter().map(|reason| reason.code).collect::<Vec<_>>()
        };
        assert_eq!([2, 3, 4, 5].map(with), [&[][..], &["budget_low"], &["budget_low"], &["budget_spent"]]);
    }

    #[test]
    fn a_code_that_several_reasons_have_is_named_once() {
        let both = ["shop", "other"].map(|name| {
            let budget = FailureBudget::default();
            let budget = Some(BudgetUse { used: 3, budget, failures: String::new(), advice: "" });
            let silent_since = Some(Timestamp::UNIX_EPOCH);
            SourceFacts { name: name.to_owned(), budget, silent_since, ..facts() }
        });
        let all = reasons(&Seen { sources: &both, ..fine(&FINE) });
        assert_eq!((all.len(), codes(&all)), (4, vec!["budget_low".to_owned(), "source_silent".to_owned()]));
    }

    fn facts() -> SourceFacts {
        SourceFacts {
            name: "shop".into(),
            totals: vec![],
            last_accepted: None,
            budget: None,
            silent_since: None,
            rate: 0.0,
        }
    }
}
