//! The example config and the example of every kind are loaded, and no table of theirs takes a key it does not know.

use super::*;
use crate::ingress::source::kinds::SOURCE_KINDS;

pub(super) const EXAMPLE: &str = include_str!("../../../config.example.toml");

fn env() -> FakeEnv {
    let names = ["INTERAKT_WEBHOOK_SECRET", "OLD_SECRET", "CRM_SECRET", "CRM_TOKEN", "CRM_PASSWORD"];
    let more = ["GITHUB_SECRET", "WORKFLOW_TOKEN", "HOOKRELAY_ADMIN_TOKEN", "INTERAKT_API_KEY"];
    let all = names.into_iter().chain(more);
    let mut set: Vec<_> = all.map(|name| (name, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).collect();
    set.push(("DATABASE_URL", "postgres://hookrelay:secret@localhost/hookrelay"));
    FakeEnv::of(&set).with_file("/etc/hookrelay/env", "")
}

/// Headers of tables, inline tables and their lines: a bogus key goes behind each.
pub(super) fn with_bogus_keys(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let (mut at, mut in_text) = (0, false);
    for (content, line) in text.split_inclusive('\n').zip(1..) {
        let code = content.split(" #").next().unwrap_or_default();
        if !in_text && content.starts_with('[') {
            let end = at + content.len();
            out.push((line + 1, format!("{}bogus_key = 1\n{}", &text[..end], &text[end..])));
        }
        // A payload that a test expects may hold anything.
        let is_free = content.starts_with('#') || code.contains("payload = {");
        if let (false, false, Some(brace)) = (in_text, is_free, code.find("= {")) {
            let end = at + brace + 3;
            out.push((line, format!("{} bogus_key = 1, {}", &text[..end], &text[end..])));
        }
        in_text ^= content.matches("\"\"\"").count() % 2 == 1;
        at += content.len();
    }
    out
}

fn demand_faults(text: &str, least: usize) {
    let all = with_bogus_keys(text);
    assert!(all.len() >= least, "{} tables found", all.len());
    for (line, text) in all {
        let message = match read(&text, &env()) {
            Ok(_) => panic!("taken with a bogus key on line {line}:\n{text}"),
            Err(faults) => faults.to_string(),
        };
        // A table that is a set of names (headers) takes any name, but not any value.
        let is_named = message.contains("bogus_key") || message.contains("invalid type: integer");
        assert!(message.contains(&format!("config.toml:{line}:")) && is_named, "line {line}: {message}");
    }
}

#[test]
fn the_example_config_loads_without_a_warning() {
    let config = read(EXAMPLE, &env()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings, []);
    let sinks = ["archive", "statuses", "messages", "api_logs"];
    assert_eq!(config.sinks.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), sinks);
    assert_eq!(config.rules.route_names().count(), 4);
    for kind in ["message_api_clicked", "message_campaign_sent"] {
        assert!(sinks.iter().all(|sink| config.rules.wants(sink, "interakt", kind)), "{kind}");
    }
    assert!(!config.rules.wants("statuses", "interakt", "message_received"));
}

/// The example with everything that is shown commented out.
pub(super) fn uncommented() -> String {
    // A comment that is a table header or an assignment is code; prose has neither.
    let is_code = |line: &str| {
        let word = line.split([' ', '=', '.']).next().unwrap_or_default();
        let is_key = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        line.starts_with('[') || (is_key && line.contains(" = "))
    };
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(code) if is_code(code) => format!("{code}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn what_the_example_shows_commented_out_is_right_too() {
    let text = uncommented();
    let config = read(&text, &env()).unwrap_or_else(|faults| panic!("{faults}"));
    let tables = EXAMPLE.lines().filter(|line| line.trim_start_matches("# ").starts_with("[sinks."));
    // Where messages are sent, the daemon's own sink that hears of them stands among them.
    assert_eq!(config.sinks.iter().filter(|sink| sink.name != "outbox").count(), tables.count());
    assert!(format!("{:?}", config.sources[0]).contains("previous: true"));
}

const README: &str = include_str!("../../../README.md");

/// The README's table of every kind of source.
pub(super) fn readme_sources() -> &'static str {
    let text = README.split("```toml\n").find(|part| part.contains("[sources.custom]")).unwrap();
    text.split("```").next().unwrap()
}

#[test]
fn the_readmes_sources_are_right_and_there_is_one_of_every_kind() {
    let (readme, text) = (README, readme_sources());
    let names = ["META_APP_SECRET", "META_VERIFY_TOKEN", "GITHUB_SECRET", "STRIPE_SECRET", "SLACK_SIGNING_SECRET"];
    let more = ["SHOPIFY_SECRET", "WORKFLOW_TOKEN", "CUSTOM_SECRET"];
    let env: Vec<_> = names.into_iter().chain(more).map(|name| (name, "a-secret-of-mine")).collect();
    let config = read(&format!("{SOURCE}{text}"), &FakeEnv::of(&env)).unwrap_or_else(|faults| panic!("{faults}"));
    for info in SOURCE_KINDS {
        assert!(config.sources.iter().any(|source| source.kind == info.kind), "{}", info.name);
        assert!(readme.contains(&format!("| `{}` |", info.name)), "{} is not in the table", info.name);
    }
    assert!(!format!("{config:?}").contains("a-secret-of-mine"));
}

#[test]
fn no_table_of_the_example_takes_an_unknown_key() {
    demand_faults(EXAMPLE, 10);
    let message = faults(&format!("bogus_key = 1\n{EXAMPLE}"), &env());
    assert!(message.contains("config.toml:1:1: error: unknown key `bogus_key`"), "{message}");
}

#[test]
fn the_example_of_every_kind_loads_and_takes_no_unknown_key() {
    for kind in KINDS {
        let name = kind.example.split("[sinks.").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
        let text = format!("{SOURCE}{}\n[[routes]]\nmatch = \"*\"\nto = \"{name}\"\n", kind.example);
        let config = read(&text, &env()).unwrap_or_else(|faults| panic!("{}: {faults}", kind.name));
        assert_eq!((config.sinks[0].kind.name, config.warnings.len()), (kind.name, 0));
        demand_faults(&text, 2);
    }
}

#[test]
fn kinds_have_names_of_their_own_and_say_what_they_are() {
    for (n, kind) in KINDS.iter().enumerate() {
        assert!(!kind.name.is_empty() && !kind.about.is_empty());
        assert!(KINDS.iter().skip(n + 1).all(|other| other.name != kind.name), "{} twice", kind.name);
    }
}
