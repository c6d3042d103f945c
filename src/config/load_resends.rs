//! The part of reading a config that is about sending messages: `[resend.*]`, what the daemon adds of its own for them
//! (the sink that hears of statuses, the routes of commands), and doubts about routes that could answer themselves.

use std::ops::Range;

use sink_api::fault::nearest;
use sink_api::{At, Fault};
use toml::de::DeTable;

use super::load::Loader;
use super::sinks::{self, SinkEntry};
use crate::ingress::source::kinds::SourceKind;
use crate::outbox::keys::{ANY_CODE, Again};
use crate::outbox::{FOLLOWER, ResendKeys, Rules};
use crate::route::doubts::{Known, named};
use crate::route::{Implicit, RouteConfig, glob};
use crate::times::Zone;

/// The types of the statuses of what the send API sends.
const STATUSES: &[&str] =
    &["message_api_sent", "message_api_delivered", "message_api_read", "message_api_failed", "message_api_clicked"];
/// How the type of a status ends that says that a message failed.
const FAILED: &str = "_failed";

/// The names of sources and sinks, and what is known of them.
pub(super) struct Around<'a> {
    /// The names of all sources.
    pub sources: &'a [String],
    /// The types of those that were read.
    pub known: &'a [Known<'a>],
    /// The names of all sinks, and where they stand.
    pub sink_names: &'a [(String, Range<usize>)],
    /// Those that were read.
    pub sinks: &'a [SinkEntry],
}

impl Around<'_> {
    /// The names of the sinks that send messages.
    fn senders(&self) -> Vec<&str> {
        self.sinks.iter().filter(|sink| sink.kind.sends).map(|sink| sink.name.as_str()).collect()
    }
}

impl<'t> Loader<'t> {
    /// The rules by which messages that failed are sent again.
    pub fn resends(&mut self, around: &Around<'_>, zone: &Zone) -> Rules {
        let mut rules: Vec<(String, ResendKeys, String)> = Vec::new();
        for (name, _, table) in self.named("resend") {
            let Some((table, header)) = table else { continue };
            let place = format!("resend.{name}");
            let Some((keys, kept)) = self.read_on(&place, (table, header.clone()), ResendKeys::check) else { continue };
            let mut faults = Vec::new();
            if let Some(source) = keys.source.as_ref().filter(|source| !around.sources.contains(source)) {
                faults.extend(self.unless_unread("sources", unknown("source", source, around.sources)));
            }
            let sender = self.sender(keys.to.as_deref(), around).map_err(|fault| faults.push(fault)).ok().flatten();
            self.report.faults(&place, faults, &kept, &header);
            let mut doubts = doubts(&keys, sender.as_deref(), around.known);
            doubts.extend(sender.as_deref().and_then(|to| self.of_sender(&keys, to, around)));
            doubts.extend(never_asked(&keys, &rules, around.known));
            for doubt in doubts {
                self.report.doubt(&place, doubt, &kept, &header);
            }
            rules.extend(sender.map(|to| (name, keys, to)));
        }
        Rules::new(rules, zone)
    }

    /// The sink that sends for a rule; none where that cannot be told, as sinks have faults of their own.
    fn sender(&self, to: Option<&str>, around: &Around<'_>) -> Result<Option<String>, Fault> {
        let senders = around.senders();
        let list = || senders.iter().map(|name| format!("to = \"{name}\"")).collect::<Vec<_>>().join(" or ");
        let add = || "add a sink that sends, such as [sinks.interakt] with kind = \"interakt\"".to_owned();
        let help = || if senders.is_empty() { add() } else { format!("write {}", list()) };
        let all_are_read = !self.unread.contains(&"sinks") && around.sinks.len() == around.sink_names.len();
        match to {
            Some(name) => match around.sinks.iter().find(|sink| sink.name == name) {
                Some(sink) if sink.kind.sends => Ok(Some(name.to_owned())),
                Some(sink) => {
                    let message =
                        format!("key `to`: sink `{name}` does not send messages: it is of kind `{}`", sink.kind.name);
                    Err(Fault::at_key("to", message).help(help()))
                }
                None if around.sink_names.iter().any(|(known, _)| known == name) || !all_are_read => Ok(None),
                None => {
                    let names: Vec<String> = around.sink_names.iter().map(|(name, _)| name.clone()).collect();
                    Err(unknown("to", name, &names))
                }
            },
            None => match senders.as_slice() {
                [one] => Ok(Some((*one).to_owned())),
                _ if !all_are_read => Ok(None),
                [] => {
                    let message = "there is no sink that sends messages".to_owned();
                    Err(Fault { at: At::Table, message, help: Some(add()) })
                }
                _ => {
                    let message = "missing key `to`: several sinks send messages".to_owned();
                    Err(Fault { at: At::Table, message, help: Some(help()) })
                }
            },
        }
    }

    /// Whether a rule wants of its sink what that does not do.
    fn of_sender(&self, keys: &ResendKeys, to: &str, around: &Around<'_>) -> Option<Fault> {
        if around.sinks.iter().any(|sink| sink.name == to && !sink.keys.enabled) {
            let message = format!("sink `{to}` has `enabled = false`: what a rule plans waits, and is too old at last");
            return Some(Fault { at: At::Table, message, help: None });
        }
        let bounds = self.bounds_of(to)?;
        let most_age = humantime::parse_duration(&bounds.max_age).ok();
        let mut late = keys.tries().filter(|(_, again)| most_age.is_some_and(|most| again.after.0 > most));
        if let Some((code, _)) = late.next() {
            let message = format!(
                "`codes.{code}`: `after` is longer than `max_age` of [sinks.{to}] ({}): it would never be sent",
                bounds.max_age
            );
            let fault = Fault::at_key(format!("codes.{code}"), message);
            return Some(
                fault.help(format!("make `after` shorter, or `max_age` of [sinks.{to}] longer (\"7d\" at most)")),
            );
        }
        let most = bounds.max_attempts;
        (keys.max_attempts > most).then(|| {
            let wanted = keys.max_attempts;
            let message = format!("`max_attempts` is {wanted}, and that of [sinks.{to}] {most}: it ends after {most}");
            Fault::at_key("max_attempts", message).help(format!("write max_attempts = {wanted} in [sinks.{to}], too"))
        })
    }

    fn unless_unread(&self, what: &str, fault: Fault) -> Option<Fault> {
        (!self.unread.contains(&what)).then_some(fault)
    }

    /// Adds the sink by which the daemon hears of statuses, where there is a source of them and anybody wants to know.
    pub fn add_follower(
        &mut self,
        sources: &[(&str, SourceKind)],
        rules: &Rules,
        names: &[(String, Range<usize>)],
        sinks: &mut Vec<SinkEntry>,
    ) {
        let has_statuses = sources.iter().any(|(_, kind)| *kind == SourceKind::Interakt);
        if !has_statuses || (rules.is_empty() && !sinks.iter().any(|sink| sink.kind.sends)) {
            return;
        }
        if let Some((_, header)) = names.iter().find(|(name, _)| name == FOLLOWER) {
            let message = format!(
                "the name `{FOLLOWER}` is kept for the daemon's own sink, by which it hears what becomes of messages"
            );
            let help = "give this sink another name, also in the routes that name it";
            self.report.error(&format!("sinks.{FOLLOWER}"), header.clone(), message, Some(help.to_owned()));
        }
        sinks.extend(sinks::follower(&mut self.report));
    }

    /// Warns of routes that could answer themselves without an end but for the bounds that hold where none is set.
    pub fn loops(&mut self, routes: &[(&RouteConfig, &DeTable<'t>, &Range<usize>)], around: &Around<'_>) {
        for (route, kept, header) in routes {
            let leaves_tries_out = route.condition.as_deref().is_some_and(leaves_tries_out);
            let hears = |(name, types): &Known<'_>| {
                let concerns = route.source.as_deref().is_none_or(|source| source == *name);
                if concerns && types.iter().any(|kind| STATUSES.contains(kind)) { STATUSES } else { &[] }
            };
            let types = around.known.iter().map(hears).find(|types| !types.is_empty()).unwrap_or_default();
            let matching: Vec<&str> = route.globs.iter().flat_map(|text| glob::matching(text, types)).collect();
            let sends = |to: &&String| {
                let sends = around.sinks.iter().any(|sink| sink.name == **to && sink.kind.sends);
                sends && !self.bounds_of(to).is_some_and(|bounds| bounds.are_meant)
            };
            let Some(to) = route.to.iter().find(sends).filter(|_| !leaves_tries_out && !matching.is_empty()) else {
                continue;
            };
            let bounds = self.bounds_of(to).map(|bounds| (bounds.max_attempts, bounds.max_age.as_str()));
            let (most, age) = bounds.unwrap_or_default();
            let message = format!(
                "key `to`: sink `{to}` sends messages, and this route matches what becomes of them ({}): it could \
                 answer itself. No more than {most} further messages are sent for a first one, and none after {age}",
                named(&matching)
            );
            let help = format!(
                "begin its `where` with `$event.resend == null and`, or write in [sinks.{to}] that it is meant: \
                 max_attempts = 3 or fewer, and `max_age`"
            );
            self.report.doubt("routes", Fault::at_key("to", message).help(help), kept, header);
        }
    }
}

/// The routes that stand in no file: from sources of statuses to the sink that hears of them, and for commands to each
/// sink that sends.
pub(super) fn implicit(sources: &[(&str, SourceKind)], sinks: &[SinkEntry]) -> Vec<Implicit> {
    let listens = sinks.iter().any(|sink| sink.implicit);
    let of_statuses = sources.iter().filter(|(_, kind)| listens && *kind == SourceKind::Interakt);
    let statuses = of_statuses.enumerate().map(|(n, (source, _))| {
        let name = if n == 0 { FOLLOWER.to_owned() } else { format!("{FOLLOWER}@{source}") };
        Implicit::Statuses { name, source: (*source).to_owned(), to: FOLLOWER.to_owned() }
    });
    let senders = sinks.iter().filter(|sink| sink.kind.sends).map(|sink| sink.name.clone());
    let commands = senders.map(|to| Implicit::Commands { name: format!("{FOLLOWER}:{to}"), to });
    statuses.chain(commands).collect()
}

/// Whether a condition holds for no status of a further try, as far as can be told: it asks for that, and no `or` or
/// `//` lets others through.
fn leaves_tries_out(condition: &str) -> bool {
    let text: Vec<&str> = condition.split_whitespace().collect();
    let (has_or, text) = (text.contains(&"or"), text.concat());
    let asks = ["$event.resend==null", "null==$event.resend", "$event.resend|not", "$event.resend.attempt<"];
    !has_or && !text.contains("//") && asks.iter().any(|asks| text.contains(asks))
}

/// The statuses that say that a message failed, by source, which a rule takes.
fn taken<'k>(keys: &ResendKeys, known: &'k [Known<'k>]) -> Vec<(&'k str, &'k str)> {
    let concerned = known.iter().filter(|(name, _)| keys.source.as_deref().is_none_or(|source| source == *name));
    let failing = concerned.flat_map(|(name, types)| types.iter().map(move |kind| (*name, *kind)));
    let matches = |kind: &str| keys.globs.iter().any(|text| !glob::matching(text, &[kind]).is_empty());
    failing.filter(|(_, kind)| kind.ends_with(FAILED) && matches(kind)).collect()
}

/// Whether the rules before it take all that a rule would.
fn never_asked(keys: &ResendKeys, before: &[(String, ResendKeys, String)], known: &[Known<'_>]) -> Option<Fault> {
    let own = taken(keys, known);
    let earlier: Vec<_> = before.iter().map(|(name, keys, _)| (name, taken(keys, known))).collect();
    if own.is_empty() || !own.iter().all(|one| earlier.iter().any(|(_, taken)| taken.contains(one))) {
        return None;
    }
    let names = earlier.iter().filter(|(_, taken)| own.iter().any(|one| taken.contains(one)));
    let names: Vec<String> = names.map(|(name, _)| format!("[resend.{name}]")).collect();
    let message = format!("this rule is never asked: {} before it takes all that it matches", names.join(", "));
    let help = "the first rule that matches decides, alone: put all codes into one, or let each match other types";
    Some(Fault::at_key("match", message).help(help))
}

/// What is valid in a rule and cannot be meant.
fn doubts(keys: &ResendKeys, to: Option<&str>, known: &[Known<'_>]) -> Vec<Fault> {
    let mut doubts = Vec::new();
    let concerned = known.iter().filter(|(name, _)| keys.source.as_deref().is_none_or(|source| source == *name));
    let mut failing: Vec<&str> = Vec::new();
    for kind in concerned.flat_map(|(_, types)| *types).filter(|kind| kind.ends_with(FAILED)) {
        if !failing.contains(kind) {
            failing.push(kind);
        }
    }
    if failing.is_empty() {
        let message = "no source says what becomes of messages: this rule is never asked".to_owned();
        let help = "it takes a source of kind \"interakt\"".to_owned();
        doubts.push(Fault { at: At::Table, message, help: Some(help) });
    }
    for (n, text) in keys.globs.iter().enumerate() {
        if !failing.is_empty() && glob::matching(text, &failing).is_empty() {
            let message = format!("key `match`: `{text}` matches no known type that says that a message failed");
            let fault = Fault::at_key(format!("match.{n}"), message);
            doubts.push(fault.help(format!("expected one that matches {}", named(&failing))));
        }
    }
    let mut sources: Vec<&str> = taken(keys, known).into_iter().map(|(source, _)| source).collect();
    sources.dedup();
    if let (None, [first, _, ..], Some(to)) = (&keys.source, sources.as_slice(), to) {
        let list = sources.iter().map(|source| format!("`{source}`")).collect::<Vec<_>>().join(", ");
        let message = format!("this rule takes statuses of several sources ({list}), and sends all by sink `{to}`");
        let help = format!("where these are accounts of their own, write a rule for each, with source = \"{first}\"");
        doubts.push(Fault { at: At::Table, message, help: Some(help) });
    }
    doubts.extend(keys.codes.keys().filter_map(|code| of_code(code)));
    doubts.extend(keys.tries().filter_map(|(code, tries)| of_tries(keys, code, tries, to)));
    doubts
}

/// Whether a code is none of WhatsApp's.
fn of_code(code: &str) -> Option<Fault> {
    if code == ANY_CODE || code.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let message = format!("`codes.{code}`: WhatsApp's codes are digits: no failure has this one");
    Some(Fault::at_key(format!("codes.{code}"), message).help("such as \"131049\", or \"*\" for all others"))
}

/// Whether tries for a code come to an end before their number does.
fn of_tries(keys: &ResendKeys, code: &str, Again { after, times }: Again, to: Option<&str>) -> Option<Fault> {
    let at = format!("codes.{code}");
    if times > keys.max_attempts {
        let most = keys.max_attempts;
        let message = format!("`codes.{code}`: `times` is {times}, and `max_attempts` {most}: it ends after {most}");
        let too = to.map(|to| format!(", and in [sinks.{to}], too")).unwrap_or_default();
        return Some(Fault::at_key(at, message).help(format!("write max_attempts = {times}{too}")));
    }
    if after.0.saturating_mul(times) <= keys.max_age.0 || after.0 > keys.max_age.0 {
        return None;
    }
    let fit = keys.max_age.0.as_secs().checked_div(after.0.as_secs()).unwrap_or_default().max(1);
    let message = format!(
        "`codes.{code}`: {times} tries, each {} after the last, go beyond `max_age` ({})",
        humantime::format_duration(after.0),
        humantime::format_duration(keys.max_age.0)
    );
    Some(Fault::at_key(at, message).help(format!("write times = {fit}, or a shorter `after`")))
}

fn unknown(key: &str, name: &str, known: &[String]) -> Fault {
    let what = if key == "to" { "sink" } else { key };
    let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let expected =
        if list.is_empty() { "none is defined".to_owned() } else { format!("expected one of {}", list.join(", ")) };
    let fault = Fault::at_key(key, format!("key `{key}`: unknown {what} `{name}`, {expected}"));
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    }
}
