//! What is wrong with the keys of `[sources.*]` by themselves, beyond what their types say; the rest is found where a
//! table is made a plan. Pure: no network, no files.

use std::collections::HashMap;

use http::HeaderName;
use sink_api::fault::nearest;
use sink_api::{Fault, Period, Secret};
use toml::de::DeTable;

use super::config::{SourceConfig, Window};
use super::failure_budget::{BudgetKey, LONGEST, MOST_FAILURES};
use super::kinds::{COMMON, SOURCE_KINDS, SourceKind};
use super::proof::missing_secret;

/// Longest that a sender may be kept waiting for the journal.
const LONGEST_WAIT: Period = Period::HOUR;

/// Keys that belong to other kinds, and what is wrong with those of every kind. Shows no secret.
pub(super) fn faults_of_keys(name: &str, source: &SourceConfig) -> Vec<Fault> {
    let mut faults = strangers(source);
    common(name, source, &mut faults);
    watching(source, &mut faults);
    faults
}

/// The fault of a missing secret in a table that cannot be read for other reasons, so that all faults are told at once.
pub fn lacks_secret(table: &DeTable<'_>) -> Option<Fault> {
    let kind = table.get("kind")?.get_ref().as_str()?;
    let takes = SOURCE_KINDS.iter().any(|info| info.name == kind && info.keys.contains(&"secret"));
    (takes && !table.contains_key("secret")).then(missing_secret)
}

/// Keys that belong to other kinds.
fn strangers(source: &SourceConfig) -> Vec<Fault> {
    let kind = source.kind;
    let stranger = |key: &&str| !kind.takes(key);
    given(source).into_iter().filter(stranger).map(|key| stranger_fault(kind, key)).collect()
}

fn stranger_fault(kind: SourceKind, key: &str) -> Fault {
    let own = kind.info().map(|info| info.keys).unwrap_or_default();
    let list = own.iter().chain(COMMON).map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let fault = Fault::at_key(key, format!("key `{key}` does not belong to kind `{}`, expected {list}", kind.name()));
    let takers: Vec<_> = SOURCE_KINDS.iter().filter(|info| info.keys.contains(&key)).map(|info| info.name).collect();
    match (kind, key, nearest(key, own.iter().copied())) {
        (SourceKind::None, "secret" | "previous_secret", _) => {
            fault.help("kind = \"none\" believes everybody; kind = \"token\" or \"hmac\" takes a secret")
        }
        (.., Some(near)) => fault.help(format!("did you mean `{near}`?")),
        _ if takers.contains(&"hmac") => fault.help("kind = \"hmac\" takes it, with all of the scheme spelled out"),
        _ => fault.help(format!("it belongs to kind {}", takers.join(", "))),
    }
}

/// The keys that are written, of those that do not belong to every source.
fn given(source: &SourceConfig) -> Vec<&'static str> {
    let keys = [
        ("secret", source.secret.is_some()),
        ("previous_secret", source.previous_secret.is_some()),
        ("verify_token", source.verify_token.is_some()),
        ("header", source.header.is_some()),
        ("query", source.query.is_some()),
        ("algorithm", source.algorithm.is_some()),
        ("encoding", source.encoding.is_some()),
        ("prefix", source.prefix.is_some()),
        ("pairs", source.pairs.is_some()),
        ("signed", source.signed.is_some()),
        ("time", source.time.is_some()),
        ("tolerance", source.tolerance.is_some()),
        ("type", source.kind_of_event.is_some()),
        ("subject", source.subject.is_some()),
        ("id", source.id.is_some()),
    ];
    keys.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect()
}

/// What is wrong with keys that every kind has.
fn common(name: &str, source: &SourceConfig, faults: &mut Vec<Fault>) {
    let mut demand = |good: bool, key: &str, message: String| {
        if !good {
            faults.push(Fault::at_key(key, message));
        }
    };
    let path = &source.path;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\' | '`' | '{' | '}');
    demand(
        path.starts_with('/') && path.chars().all(plain),
        "path",
        format!("path `{path}` must start with `/` and hold no query, fragment, blanks or characters outside ASCII"),
    );
    demand(
        !source.secret.as_ref().is_some_and(is_blank),
        "secret",
        format!("secret is empty; without it anybody could send to source `{name}`"),
    );
    let previous = source.previous_secret.as_ref();
    demand(!previous.is_some_and(is_blank), "previous_secret", "previous_secret is empty; leave it out instead".into());
    for (key, window) in [("dedupe", source.dedupe), ("tolerance", source.tolerance)] {
        let Some(Window::For(period)) = window else { continue };
        demand(period > Period::ZERO, key, format!("{key} must be more than 0; \"off\" switches it off"));
        demand(period <= Period::YEAR, key, format!("{key} is out of bounds, expected at most \"{}\"", Period::YEAR));
    }
    let deadline = source.ack_deadline.fault("ack_deadline", Period::LEAST..=LONGEST_WAIT);
    demand(deadline.is_none(), "ack_deadline", deadline.map(|fault| fault.message).unwrap_or_default());
    let status = source.status.unwrap_or(200);
    demand((200..=299).contains(&status), "status", format!("status {status} is no success, expected 200 to 299"));
    demand(
        source.kind != SourceKind::Interakt || !(201..=299).contains(&status),
        "status",
        "status must be 200: Interakt takes any other for a failure, and five failures switch the feed off".into(),
    );
    for header in source.keep_headers.iter().flatten() {
        let good = HeaderName::from_bytes(header.as_bytes()).is_ok();
        demand(good, "keep_headers", format!("keep_headers: `{header}` is not a header name"));
    }
}

/// What is wrong with the keys by which a feed is watched.
fn watching(source: &SourceConfig, faults: &mut Vec<Fault>) {
    let second = Period::secs(1);
    if let Some(budget) = source.failure_budget.and_then(BudgetKey::budget) {
        if !(1..=MOST_FAILURES).contains(&budget.failures) {
            let message = format!("`failure_budget.failures` is {}, expected 1 to {MOST_FAILURES}", budget.failures);
            faults.push(Fault::at_key("failure_budget.failures", message));
        }
        faults.extend(budget.within.fault("failure_budget.within", second..=LONGEST));
    }
    if let Some(within) = source.answer_within {
        faults.extend(within.fault("answer_within", Period::LEAST..=LONGEST_WAIT));
        if source.budget().is_none() {
            let fault = Fault::at_key("answer_within", "answer_within has no use without a `failure_budget`");
            faults.push(fault.help("add failure_budget = { failures = 5, within = \"10m\" }, as your provider has it"));
        }
    }
    if let Some(silence) = source.silence() {
        faults.extend(silence.after.fault("silence.after", second..=Period::YEAR));
        if let Some(longest) = silence.longest().filter(|longest| silence.after > *longest) {
            let message = format!(
                "`silence.after` is {}, and the hours and days that are watched are {longest} at a stretch: nothing \
                 could ever be told",
                silence.after
            );
            faults.push(Fault::at_key("silence.after", message).help("make `after` shorter, or `hours` longer"));
        }
    }
}

fn is_blank(secret: &Secret) -> bool {
    secret.expose().trim().is_empty()
}

/// Sources that have the path of an earlier one, each with its fault.
pub fn check_paths(sources: &[(String, SourceConfig)]) -> Vec<(String, Fault)> {
    let mut faults = Vec::new();
    let mut first: HashMap<&str, &str> = HashMap::new();
    for (name, source) in sources {
        match first.get(source.path.as_str()) {
            Some(first) => {
                let message = format!("path `{}` is source `{first}`'s already", source.path);
                faults.push((name.clone(), Fault::at_key("path", message)));
            }
            None => _ = first.insert(&source.path, name),
        }
    }
    faults
}
