//! Makes a JSON Schema of `config.toml`, for editors, by asking the code that reads each table. That code is given
//! small tables, and its faults are the answer: for an unknown key it names the keys it knows, for a value of a wrong
//! type or an unknown word it names what it takes, for an empty table it names the keys it needs. So the schema knows
//! every sink and cannot fall behind.
//!
//! Pure. Bounds, and keys that exclude each other, are in no type and so not in the schema; `check` finds them.

use serde_json::{Map, Value, json};
use sink_api::{At, Fault, Settings, SinkKind};
use toml::de::DeTable;

use crate::deliver::config::{DeliveryConfig, DeliveryKeys};
use crate::ingress::source::kinds::{COMMON, KindInfo, SOURCE_KINDS};
use crate::ingress::{ServerConfig, SourceConfig};
use crate::journal::JournalConfig;
use crate::outbox::ResendKeys;
use crate::route::RouteConfig;
use crate::route::cases::Case;

/// A key, value and word that no reader knows.
const PROBE: &str = "zz-probe";
/// How deep tables in tables are followed.
const MAX_DEPTH: usize = 6;
/// The schema's name of each type, and a value of it.
const TYPES: &[(&str, &str)] = &[
    ("string", "'zz-probe'"),
    ("integer", "1"),
    ("number", "0.5"),
    ("boolean", "true"),
    ("array", "[]"),
    ("object", "{}"),
];

/// A reader of tables; gives its faults.
type Ask<'a> = &'a dyn Fn(Settings<'_>) -> Vec<Fault>;

/// The schema of a config with these kinds of sinks.
pub fn schema(kinds: &[SinkKind]) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hookrelay's config.toml",
        "type": "object",
        "additionalProperties": false,
        "required": ["sources"],
        "properties": {
            "data_dir": { "type": "string" },
            "env_file": { "type": "string" },
            "timezone": { "type": "string" },
            "server": table(&ask::<ServerConfig>),
            "log": table(&ask::<crate::telemetry::config::LogConfig>),
            "tracing": table(&ask::<crate::traces::TracingConfig>),
            "journal": table(&ask::<JournalConfig>),
            "admin": table(&ask::<crate::admin::AdminKeys>),
            "delivery": table(&ask::<DeliveryConfig>),
            "dead_letters": table(&ask::<crate::ledger::DeadLetterKeys>),
            "sources": named(SOURCE_KINDS.iter().map(|info| (info.name, source(info))).collect()),
            "sinks": named(kinds.iter().map(|kind| (kind.name, sink(kind))).collect()),
            "resend": { "type": "object", "additionalProperties": table(&ask::<ResendKeys>) },
            "routes": { "type": "array", "items": table(&ask::<RouteConfig>) },
            "tests": { "type": "array", "items": table(&ask::<Case>) },
        },
    })
}

fn ask<T: serde::de::DeserializeOwned>(settings: Settings<'_>) -> Vec<Fault> {
    settings.read::<T>().err().unwrap_or_default()
}

/// The schema of one table.
fn table(ask: Ask<'_>) -> Value {
    shape(ask, &[], "")
}

/// The schema of tables that have names and are of one of these kinds each.
fn named(kinds: Vec<(&str, Value)>) -> Value {
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let choice =
        |(name, then): (&str, Value)| json!({ "if": { "properties": { "kind": { "const": name } } }, "then": then });
    json!({
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["kind"],
            "properties": { "kind": { "enum": names } },
            "allOf": kinds.iter().cloned().map(choice).collect::<Vec<_>>(),
        },
    })
}

/// The schema of a source of one kind: of all sources' keys those that belong to this kind.
fn source(info: &KindInfo) -> Value {
    let mut table = table(&ask::<SourceConfig>);
    if let Some(Value::Object(keys)) = table.get_mut("properties") {
        keys.retain(|key, _| info.keys.contains(&key.as_str()) || COMMON.contains(&key.as_str()));
    }
    let takes = |key: &&str| info.keys.contains(key);
    let needed = ["secret", "verify_token", "header"].into_iter().filter(takes);
    // Where a token may be in a header or in the query, neither key is required.
    let needed = needed.filter(|key| *key != "header" || !takes(&"query"));
    describe(&mut table, info.name, info.about, needed)
}

/// The schema of a sink of one kind: the kind's keys and the core's.
fn sink(kind: &SinkKind) -> Value {
    let mut own = table(&|settings| (kind.read)(settings).err().unwrap_or_default());
    let core = table(&ask::<DeliveryKeys>);
    if let (Some(Value::Object(own)), Some(Value::Object(core))) = (own.get_mut("properties"), core.get("properties")) {
        own.extend(core.clone());
        if let (Some(rate), Some(Value::Object(own))) = (kind.defaults.rate, own.get_mut("rate")) {
            own.insert("default".into(), rate.into());
        }
    }
    describe(&mut own, kind.name, kind.about, std::iter::empty())
}

fn describe<'a>(table: &mut Value, kind: &str, about: &str, needed: impl Iterator<Item = &'a str>) -> Value {
    let mut table = std::mem::take(table);
    if let Some(Value::Object(keys)) = table.get_mut("properties") {
        keys.insert("kind".into(), json!({ "const": kind }));
    }
    if let Some(table) = table.as_object_mut() {
        table.insert("description".into(), about.into());
        if let Value::Array(required) = table.entry("required").or_insert_with(|| json!([])) {
            required.extend(needed.map(Value::from));
        }
    }
    table
}

/// The schema of what may stand at a path. `expected` is what the reader's message says that it expects there.
fn shape(ask: Ask<'_>, path: &[String], expected: &str) -> Value {
    if path.is_empty() {
        return object(ask, path);
    }
    let mut takes = Vec::new();
    for (name, value) in TYPES {
        let (faults, _) = probe(ask, path, value);
        let is_wrong = |fault: &String| fault.contains("invalid type") || fault.starts_with("wanted ");
        if !faults.iter().any(is_wrong) {
            takes.push((*name, faults));
        }
    }
    if takes.len() == TYPES.len() {
        return json!({});
    }
    if takes.iter().any(|(name, _)| *name == "number") {
        takes.retain(|(name, _)| *name != "integer");
    }
    let one = |(name, faults): &(&str, Vec<String>)| match *name {
        "string" => text(faults, expected),
        number @ ("integer" | "number") => json!({ "type": number, "minimum": 0 }),
        "array" if path.len() < MAX_DEPTH => json!({ "type": "array", "items": shape(ask, &under(path, "[]"), "") }),
        "object" if path.len() < MAX_DEPTH => object(ask, path),
        other => json!({ "type": other }),
    };
    let mut all: Vec<Value> = takes.iter().map(one).collect();
    // A reader that serde derived also takes a table's values as a list, in their order. Nobody writes that: where a
    // list is taken, a list of such tables is meant.
    if let Some(object) = all.iter().find(|one| one.get("properties").is_some()).cloned() {
        all.retain(|one| one.get("items").is_none_or(|items| *items == object));
    }
    if all.len() == 1 { all.pop().unwrap_or_default() } else { json!({ "anyOf": all }) }
}

/// The schema of a string: a choice of words, or any string, described by what the reader expects.
fn text(faults: &[String], expected: &str) -> Value {
    let words = faults.iter().find(|fault| fault.contains("unknown value") || fault.contains("unknown variant"));
    if let Some((_, words)) = words.and_then(|fault| fault.split_once("expected ")) {
        return json!({ "enum": quoted(words) });
    }
    let found = faults.iter().find_map(|fault| Some(fault.split_once("expected ")?.1));
    match found.or((!expected.is_empty()).then_some(expected)) {
        Some(expected) => json!({ "type": "string", "description": expected }),
        None => json!({ "type": "string" }),
    }
}

/// The schema of a table: with its keys if the reader names them, else with any keys.
fn object(ask: Ask<'_>, path: &[String]) -> Value {
    let (faults, unknown) = probe(ask, &under(path, PROBE), "1");
    let Some(keys) = unknown else {
        let rest = shape(ask, &under(path, PROBE), "");
        // The reader found no fault with a value of any type: anything may stand here.
        return if faults.is_empty() && rest == json!({}) {
            json!({ "type": "object" })
        } else {
            json!({ "type": "object", "additionalProperties": rest })
        };
    };
    let mut properties = Map::new();
    for key in keys {
        let value = shape(ask, &under(path, &key), "");
        properties.insert(key, value);
    }
    let (faults, _) = probe(ask, path, "{}");
    let missing = faults.iter().filter_map(|fault| quoted(fault.strip_prefix("missing key ")?).into_iter().next());
    let required: Vec<String> = missing.filter(|key| properties.contains_key(key)).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn under(path: &[String], step: &str) -> Vec<String> {
    path.iter().cloned().chain([step.to_owned()]).collect()
}

/// The words between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A reader's faults with a value at a path, and, if it does not know the path's last key, the keys that it knows.
fn probe(ask: Ask<'_>, path: &[String], value: &str) -> (Vec<String>, Option<Vec<String>>) {
    let (mut text, mut at) = (value.to_owned(), 0);
    for (n, step) in path.iter().enumerate().rev() {
        let before = match (n, step.as_str()) {
            (_, "[]") => "[".to_owned(),
            (0, key) => format!("{key} = "),
            (_, key) => format!("{{ {key} = "),
        };
        at += before.len();
        let after = match (n, step.as_str()) {
            (_, "[]") => "]",
            (0, _) => "",
            _ => " }",
        };
        text = format!("{before}{text}{after}");
    }
    let whole = path.is_empty();
    let Ok(table) = DeTable::parse(if whole { "" } else { &text }) else { return (vec![], None) };
    let faults = ask(Settings::new(table));
    let unknown = faults.iter().find_map(|fault| {
        let rest = fault.message.strip_prefix("unknown key `zz-probe`")?;
        Some(rest.split_once("expected ").map(|(_, keys)| quoted(keys)).unwrap_or_default())
    });
    let is_here = |fault: &&Fault| match &fault.at {
        At::Span(span) => span.start >= at && span.end <= at + value.len(),
        _ => false,
    };
    let here = faults.iter().filter(|fault| whole || is_here(fault)).map(|fault| fault.message.clone()).collect();
    (here, unknown)
}
