//! The status of several daemons as one. What a sink was owed and what became of it each daemon reads from the journal,
//! for all; what is a daemon's own is summed up, or the worst of it shown. Pure.

use std::collections::BTreeMap;

use super::others::{Said, Silent, unknown};
use crate::admin::status::{
    BudgetStatus, NodeStatus, Reason, ReasonCode, ResendsStatus, SinkStatus, SourceStatus, State, Status,
};
use crate::ledger::nodes::Node;

/// Most paths that no source has; what is more counts as [`OTHER`].
const PATHS: usize = 64;
const OTHER: &str = "other";
/// Conditions of sinks and states of breakers, the worst first.
const CONDITIONS: [&str; 5] = ["down", "paused", "disabled", "starting", "running"];
const BREAKERS: [&str; 3] = ["open", "half_open", "closed"];

/// What all say, asked of the daemon of that name.
pub(super) fn merged(name: &str, own: Status, said: Said<Status>) -> Status {
    let config = said.own.as_ref().map(|own| own.config.clone());
    let host = said.own.map(|own| own.host).unwrap_or_default();
    let mut nodes = vec![answered(name, host, &own)];
    let mut all = Status { reasons: tagged(name, own.reasons.clone()), ..own };
    let mut statuses = 1;
    for (node, status) in said.others {
        match status {
            Ok(status) => {
                let config_differs = config.as_ref().is_some_and(|config| *config != node.config);
                nodes.push(NodeStatus { config_differs, ..answered(&node.name, node.host, &status) });
                add(&mut all, &node.name, status);
                statuses += 1;
            }
            Err(silent) => {
                let why = match silent {
                    Silent::Why(why) => why,
                    Silent::Missing => "it does not know the question".to_owned(),
                };
                let text = format!("daemon {} cannot be asked: {why}", node.name);
                all.reasons.push(reason(&node.name, text));
                let Node { name, host, version, .. } = node;
                nodes.push(NodeStatus { name, host, version, why: Some(why), ..NodeStatus::default() });
            }
        }
    }
    if let Some(why) = said.unknown {
        all.reasons.push(reason("", unknown(&why)));
    }
    settle_silence(&mut all, statuses);
    settle_risk(&mut all);
    all.reasons.sort_by_key(|reason| ReasonCode::ALL.iter().position(|code| code.name() == reason.code));
    if all.state == State::Ready && !all.reasons.is_empty() {
        all.state = State::Degraded;
    }
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Status { nodes, ..all }
}

fn answered(name: &str, host: String, status: &Status) -> NodeStatus {
    let mut reasons: Vec<String> = status.reasons.iter().map(|reason| reason.code.clone()).collect();
    reasons.dedup();
    NodeStatus {
        name: name.to_owned(),
        answered: true,
        host,
        version: status.version.clone(),
        ready: Some(status.ready),
        state: Some(status.state),
        reasons,
        at_risk: Some(status.journal.at_risk),
        config_differs: false,
        why: None,
    }
}

fn reason(node: &str, text: String) -> Reason {
    Reason { code: ReasonCode::NodeAway.name().to_owned(), subject: node.to_owned(), text, nodes: vec![] }
}

fn tagged(node: &str, reasons: Vec<Reason>) -> Vec<Reason> {
    reasons.into_iter().map(|reason| Reason { nodes: vec![node.to_owned()], ..reason }).collect()
}

fn add(all: &mut Status, node: &str, status: Status) {
    for reason in tagged(node, status.reasons) {
        match all.reasons.iter_mut().find(|same| (&same.code, &same.subject) == (&reason.code, &reason.subject)) {
            Some(same) => same.nodes.extend(reason.nodes),
            None => all.reasons.push(reason),
        }
    }
    all.journal.at_risk += status.journal.at_risk;
    all.unmatched += status.unmatched;
    for (name, source) in status.sources {
        match all.sources.get_mut(&name) {
            Some(own) => add_source(own, source),
            // Where configs differ.
            None => _ = all.sources.insert(name, source),
        }
    }
    for (name, sink) in status.sinks {
        match all.sinks.get_mut(&name) {
            Some(own) => add_sink(own, sink),
            None => _ = all.sinks.insert(name, sink),
        }
    }
    add_paths(&mut all.refused_elsewhere, status.refused_elsewhere);
    all.resends = match (all.resends.take(), status.resends) {
        (Some(own), Some(more)) => Some(ResendsStatus {
            waiting: own.waiting + more.waiting,
            next: own.next.into_iter().chain(more.next).min_by_key(|time| order(time)),
        }),
        (own, more) => own.or(more),
    };
}

/// Times as they are written have an order, but for how many digits they have of a second.
fn order(time: &str) -> Option<sink_api::Timestamp> {
    time.parse().ok()
}

fn later(own: &mut Option<String>, more: Option<String>) {
    *own = own.take().into_iter().chain(more).max_by_key(|time| order(time));
}

fn earlier(own: &mut Option<String>, more: Option<String>) {
    *own = own.take().into_iter().chain(more).min_by_key(|time| order(time));
}

fn add_source(own: &mut SourceStatus, more: SourceStatus) {
    own.accepted += more.accepted;
    own.duplicate += more.duplicate;
    own.rejected += more.rejected;
    for (reason, count) in more.refused {
        *own.refused.entry(reason).or_default() += count;
    }
    own.late += more.late;
    own.rate += more.rate;
    own.too_long.kind += more.too_long.kind;
    own.too_long.subject += more.too_long.subject;
    own.previous_secret.count += more.previous_secret.count;
    later(&mut own.previous_secret.last, more.previous_secret.last);
    later(&mut own.last_accepted, more.last_accepted);
    // The provider counts what any of them answered.
    own.budget = match (own.budget, more.budget) {
        (Some(own), Some(more)) => Some(BudgetStatus { used: (own.used + more.used).min(own.of), ..own }),
        (own, more) => own.or(more),
    };
    // The feed is quiet where no daemon has heard of it.
    own.silent_since = match (own.silent_since.take(), more.silent_since) {
        (Some(own), Some(more)) => Some(own).into_iter().chain(Some(more)).max_by_key(|time| order(time)),
        _ => None,
    };
}

/// A source is silent where it is silent for all that answered.
fn settle_silence(all: &mut Status, statuses: usize) {
    let sources = &all.sources;
    all.reasons.retain(|reason| {
        reason.code != ReasonCode::SourceSilent.name()
            || reason.nodes.len() == statuses
            || sources.get(&reason.subject).is_none_or(|source| source.silent_since.is_some())
    });
}

/// What is at risk is told as a sum: it may be at risk on several machines.
fn settle_risk(all: &mut Status) {
    let bytes = all.journal.at_risk;
    let at_risk = |reason: &&mut Reason| reason.code == ReasonCode::AtRisk.name() && reason.nodes.len() > 1;
    if let Some(reason) = all.reasons.iter_mut().find(at_risk) {
        let machines = reason.nodes.len();
        reason.text = format!(
            "{bytes} bytes of accepted webhooks are on {machines} machines, each on one of them alone, until the \
             brokers take them"
        );
    }
}

fn add_sink(own: &mut SinkStatus, more: SinkStatus) {
    // Totals are all daemons', so the newest count.
    let age = |sink: &SinkStatus| (sink.unknown, sink.stale);
    if age(&more) < age(own) {
        let SinkStatus { accepted, delivered, dead, pending, at_most, filtered, dropped, unknown, stale, .. } = more;
        *own = SinkStatus {
            accepted,
            delivered,
            dead,
            pending,
            at_most,
            filtered,
            dropped,
            unknown,
            stale,
            ..std::mem::take(own)
        };
    }
    own.state = worst(&CONDITIONS, &own.state, more.state);
    own.breaker = worst(&BREAKERS, &own.breaker, more.breaker);
    own.paused |= more.paused;
    // What failed, and is tried again, each daemon knows of its own shards.
    own.parked += more.parked;
    own.retried += more.retried;
    own.oldest_pending_s = own.oldest_pending_s.max(more.oldest_pending_s);
    earlier(&mut own.down_since, more.down_since);
    earlier(&mut own.next_try, more.next_try);
    later(&mut own.last_delivered, more.last_delivered);
    let errors = own.last_error.take().into_iter().chain(more.last_error);
    own.last_error = errors.max_by_key(|error| order(&error.time));
}

/// The worse of two words; one that is not listed is no worse than any.
fn worst(words: &[&str], own: &str, more: String) -> String {
    let rank = |word: &str| words.iter().position(|one| *one == word).unwrap_or(words.len());
    if rank(&more) < rank(own) { more } else { own.to_owned() }
}

fn add_paths(own: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (path, count) in more {
        let is_known = own.contains_key(&path) || own.len() < PATHS;
        *own.entry(if is_known { path } else { OTHER.to_owned() }).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{JournalStatus, SinkError};

    fn node(name: &str, config: &str) -> Node {
        Node { name: name.into(), config: config.into(), version: "1".into(), ..Node::default() }
    }

    fn told(code: ReasonCode, subject: &str) -> Reason {
        Reason { code: code.name().into(), subject: subject.into(), ..Reason::default() }
    }

    fn merge(own: Status, others: Vec<(Node, Result<Status, Silent>)>) -> Status {
        merged("b", own, Said { own: Some(node("b", "1")), others, unknown: None })
    }

    fn status(source: SourceStatus, sink: SinkStatus, reasons: Vec<Reason>) -> Status {
        Status {
            ready: true,
            state: if reasons.is_empty() { State::Ready } else { State::Degraded },
            reasons,
            journal: JournalStatus { events: Some(7), at_risk: 5, ..JournalStatus::default() },
            sources: [("shop".to_owned(), source)].into(),
            sinks: [("crm".to_owned(), sink)].into(),
            ..Status::default()
        }
    }

    #[test]
    fn who_does_not_answer_is_named_and_that_is_a_reason() {
        let silent = Err(Silent::Why("nobody answers".into()));
        let all = merge(
            Status { ready: true, ..Status::default() },
            vec![(node("a", "1"), silent), (node("c", "2"), Ok(Status::default()))],
        );
        let names = all.nodes.iter().map(|node| (node.name.as_str(), node.answered, node.config_differs));
        assert_eq!(names.collect::<Vec<_>>(), [("a", false, false), ("b", true, false), ("c", true, true)]);
        assert_eq!((all.nodes[0].why.as_deref(), all.nodes[0].version.as_str()), (Some("nobody answers"), "1"));
        assert_eq!((all.state, all.reasons.len()), (State::Degraded, 1));
        assert_eq!((all.reasons[0].code.as_str(), all.reasons[0].subject.as_str()), ("node_away", "a"));
        let said = Said { own: None, others: vec![], unknown: Some("no broker".into()) };
        let alone = merged("b", Status::default(), said);
        assert!(alone.nodes.len() == 1 && alone.reasons[0].text.contains("no broker"), "{alone:?}");
    }

    #[test]
    fn what_is_a_daemons_own_is_summed_and_of_a_sink_the_worst_is_shown() {
        let at = |second: u8| Some(format!("2026-12-01T00:00:0{second}Z"));
        let error = |second: u8, code: &str| {
            Some(SinkError { time: at(second).unwrap(), code: code.into(), detail: String::new() })
        };
        let own = SinkStatus {
            accepted: 9,
            pending: 2,
            state: "running".into(),
            breaker: "closed".into(),
            parked: 1,
            last_error: error(1, "old"),
            next_try: at(5),
            ..SinkStatus::default()
        };
        let more = SinkStatus {
            state: "down".into(),
            breaker: "half_open".into(),
            parked: 2,
            last_error: error(2, "new"),
            next_try: at(4),
            down_since: at(3),
            ..own.clone()
        };
        let source = |accepted, last| SourceStatus {
            accepted,
            rate: 0.5,
            last_accepted: last,
            budget: Some(BudgetStatus { used: 3, of: 5, within_s: 600 }),
            ..SourceStatus::default()
        };
        let down = told(ReasonCode::SinkDown, "crm");
        let all = merge(
            status(source(1, at(1)), own, vec![told(ReasonCode::ConfigRefused, "c"), down.clone()]),
            vec![(node("c", "1"), Ok(status(source(2, at(2)), more, vec![down])))],
        );
        let (shop, crm) = (&all.sources["shop"], &all.sinks["crm"]);
        assert_eq!((shop.accepted, shop.rate, shop.last_accepted.clone()), (3, 1.0, at(2)));
        assert_eq!(shop.budget.unwrap().used, 5, "of five");
        assert_eq!((crm.accepted, crm.pending, crm.parked), (9, 2, 3), "totals are the cluster's already");
        assert_eq!((crm.state.as_str(), crm.breaker.as_str()), ("down", "half_open"));
        assert_eq!((crm.down_since.clone(), crm.next_try.clone()), (at(3), at(4)));
        assert_eq!(crm.last_error.as_ref().unwrap().code, "new");
        assert_eq!((all.journal.events, all.journal.at_risk), (Some(7), 10));
        let reasons: Vec<_> = all.reasons.iter().map(|r| (r.code.as_str(), r.nodes.join(" "))).collect();
        assert_eq!(reasons, [("sink_down", "b c".to_owned()), ("config_refused", "b".to_owned())]);
        assert_eq!(all.nodes[1].reasons, ["sink_down"]);
    }

    #[test]
    fn figures_that_one_daemon_has_not_heard_are_those_of_one_that_has() {
        let known = SinkStatus { accepted: 9, delivered: 7, pending: 2, at_most: true, ..SinkStatus::default() };
        let unknown = SinkStatus { unknown: true, parked: 1, ..SinkStatus::default() };
        let of = |sink: &SinkStatus| status(SourceStatus::default(), sink.clone(), vec![]);
        for (own, other) in [(&known, &unknown), (&unknown, &known)] {
            let all = merge(of(own), vec![(node("c", "1"), Ok(of(other)))]);
            let crm = &all.sinks["crm"];
            assert_eq!((crm.accepted, crm.delivered, crm.pending, crm.parked), (9, 7, 2, 1));
            assert!(crm.at_most && !crm.unknown && crm.balances());
        }
        let old = SinkStatus { accepted: 8, delivered: 8, stale: true, ..SinkStatus::default() };
        let newer = merge(of(&old), vec![(node("c", "1"), Ok(of(&known)))]);
        assert!(newer.sinks["crm"].accepted == 9 && !newer.sinks["crm"].stale);
        let neither = merge(of(&unknown), vec![(node("c", "1"), Ok(of(&unknown)))]);
        assert!(neither.sinks["crm"].unknown);
    }

    #[test]
    fn what_is_at_risk_on_several_machines_is_told_as_a_sum() {
        let at_risk = || {
            let text = "5 bytes".to_owned();
            vec![Reason { text, ..told(ReasonCode::AtRisk, "") }]
        };
        let of = |reasons| status(SourceStatus::default(), SinkStatus::default(), reasons);
        let both = merge(of(at_risk()), vec![(node("c", "1"), Ok(of(at_risk())))]);
        assert!(both.reasons[0].text.starts_with("10 bytes"), "{}", both.reasons[0].text);
        let one = Status { journal: JournalStatus::default(), ..of(vec![]) };
        let one = merge(of(at_risk()), vec![(node("c", "1"), Ok(one))]);
        assert_eq!(one.reasons[0].text, "5 bytes");
    }

    #[test]
    fn a_source_is_silent_where_no_daemon_has_heard_of_it() {
        let quiet = |second: u8| SourceStatus {
            silent_since: Some(format!("2026-12-01T00:00:0{second}Z")),
            ..SourceStatus::default()
        };
        let silent = || vec![told(ReasonCode::SourceSilent, "shop")];
        let of = |own, more, reasons| {
            let other = status(more, SinkStatus::default(), reasons);
            merge(status(own, SinkStatus::default(), silent()), vec![(node("c", "1"), Ok(other))])
        };
        let both = of(quiet(1), quiet(2), silent());
        assert_eq!(
            (both.reasons.len(), both.sources["shop"].silent_since.as_deref()),
            (1, Some("2026-12-01T00:00:02Z"))
        );
        let one = of(quiet(1), SourceStatus::default(), vec![]);
        assert_eq!((one.reasons, one.sources["shop"].silent_since.clone()), (vec![], None));
        assert_eq!(one.nodes[0].reasons, ["source_silent"], "of the daemon itself it is still told");
    }

    #[test]
    fn paths_that_no_source_has_are_bounded() {
        let paths = |from: usize| (from..from + PATHS).map(|n| (format!("/{n}"), 1)).collect::<BTreeMap<_, _>>();
        let mut own = paths(0);
        add_paths(&mut own, paths(1));
        assert_eq!((own.len(), own["/1"], own[OTHER]), (PATHS + 1, 2, 1));
    }
}
