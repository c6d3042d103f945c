//! Upper bounds of every time span and size that a config can hold, by the schema, so that none is forgotten; and of
//! the work that a config makes.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::config::schema::schema;

/// Every key of a table of the schema whose description speaks of `what`, dotted.
fn keys_of(table: &Value, what: &str, before: &str, out: &mut Vec<String>) {
    let of = table.get("anyOf").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![table.clone()]);
    for shape in of {
        if shape["description"].as_str().is_some_and(|said| said.contains(what)) && shape["type"] == "string" {
            out.push(before.to_owned());
        }
        for (key, value) in shape["properties"].as_object().into_iter().flatten() {
            let path = if before.is_empty() { key.clone() } else { format!("{before}.{key}") };
            keys_of(value, what, &path, out);
        }
    }
    out.sort();
    out.dedup();
}

/// The table of each kind of source or sink.
fn kinds_of<'s>(schema: &'s Value, what: &str) -> Vec<(&'s str, &'s Value)> {
    let all = schema["properties"][what]["additionalProperties"]["allOf"].as_array().unwrap();
    all.iter().map(|one| (one["if"]["properties"]["kind"]["const"].as_str().unwrap(), &one["then"])).collect()
}

/// All such keys, as the header of their table with its kind, and the key.
fn all_keys(what: &str) -> Vec<(String, String)> {
    let schema = schema(KINDS);
    let mut all = Vec::new();
    for table in ["server", "journal", "delivery", "dead_letters", "admin"] {
        let mut keys = Vec::new();
        keys_of(&schema["properties"][table], what, "", &mut keys);
        all.extend(keys.into_iter().map(|key| (format!("[{table}]\n"), key)));
    }
    for room in ["sources", "sinks"] {
        for (kind, table) in kinds_of(&schema, room) {
            let mut keys = Vec::new();
            keys_of(table, what, "", &mut keys);
            all.extend(keys.into_iter().map(|key| (format!("[{room}.x]\nkind = \"{kind}\"\n"), key)));
        }
    }
    all
}

#[test]
fn no_time_span_may_be_longer_than_a_clock_can_bear() {
    let keys = all_keys("a time span");
    for known in
        ["header_timeout", "ack_deadline", "retry.initial", "breaker.probe", "rotate.every", "tolerance", "max_age"]
    {
        assert!(keys.iter().any(|(_, key)| key == known), "{known} is not among {keys:?}");
    }
    for (header, key) in keys {
        for span in ["9223372036854775807s", "18446744073709551615s", "101years"] {
            let text = format!("{SOURCE}{header}{key} = \"{span}\"\n");
            let message = faults(&text, &FakeEnv::default());
            let leaf = key.rsplit('.').next().unwrap();
            let found = message.lines().find(|line| line.contains(&format!("{leaf}`")) && line.contains("at most"));
            assert!(found.is_some(), "{header}{key} = {span}:\n{message}");
        }
    }
}

#[test]
fn no_size_may_be_larger_than_sums_of_it_can_bear() {
    let keys = all_keys("a size");
    for known in ["max_body", "max_size", "parked_max", "batch.max_bytes", "rotate.size", "max_response", "max_line"] {
        assert!(keys.iter().any(|(_, key)| key == known), "{known} is not among {keys:?}");
    }
    for (header, key) in keys {
        for size in ["9223372036854775807", "\"8EiB\"", "\"2EiB\""] {
            let message = faults(&format!("{SOURCE}{header}{key} = {size}\n"), &FakeEnv::default());
            let leaf = key.rsplit('.').next().unwrap();
            assert!(
                message.lines().any(|line| line.contains(&format!("{leaf}`"))),
                "{header}{key} = {size}:\n{message}"
            );
        }
    }
}

#[test]
fn where_a_sink_s_table_is_meant_a_list_and_a_date_are_faults() {
    let schema = schema(KINDS);
    let mut seen = 0;
    for room in ["sources", "sinks"] {
        for (kind, table) in kinds_of(&schema, room) {
            for (key, value) in table["properties"].as_object().unwrap() {
                let shapes =
                    value.get("anyOf").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![value.clone()]);
                if !shapes.iter().any(|shape| shape["type"] == "object") {
                    continue;
                }
                seen += 1;
                let takes_lists = shapes.iter().any(|shape| shape["type"] == "array");
                for bad in if takes_lists { &["[[3]]", "2026-01-01"][..] } else { &["[3]", "[]", "2026-01-01"] } {
                    let text = format!("{SOURCE}[{room}.x]\nkind = \"{kind}\"\n{key} = {bad}\n");
                    let message = faults(&text, &FakeEnv::default());
                    let found =
                        message.lines().any(|line| line.contains(&format!("`{key}`")) && line.contains("invalid type"));
                    assert!(found, "{text}\n{message}");
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// So many keys that nobody knows, as much as a config may hold.
fn many(n: usize) -> String {
    (0..n).map(|n| format!("k{n} = 1\n")).collect()
}

#[test]
fn of_very_many_faults_the_first_are_told_and_the_rest_is_counted() {
    for (text, more) in [
        (format!("{}{SOURCE}", many(1_000)), "and at least 800 more faults: mend these first"),
        (format!("{SOURCE}{}", many(1_000).replace("k", "[k").replace(" = 1", "]")), "and at least 800 more faults"),
        ((0..300).map(|n| format!("[sources.s{n}]\nkind = \"x\"\n")).collect(), "more faults: mend these first"),
        (format!("{SOURCE}{}", "x = 1\n".repeat(300)), "more faults: mend these first"),
    ] {
        let faults = read(&text, &FakeEnv::default()).unwrap_err();
        assert!(faults.0.len() <= 201, "{}", faults.0.len());
        assert!(faults.0.last().unwrap().message.contains(more), "{}", faults.0.last().unwrap());
    }
    // Of one table the survey says the same.
    let faults = read(&format!("{SOURCE}[server]\n{}", many(1_000)), &FakeEnv::default()).unwrap_err();
    assert!(faults.0.len() <= 101 && faults.to_string().contains("there are more faults in this table"), "{faults}");
}

#[test]
fn an_env_file_with_very_many_bad_lines_is_told_of_up_to_the_bound() {
    struct Bad;
    impl Env for Bad {
        fn get(&self, _: &str) -> Option<String> {
            None
        }
        fn read_file(&self, _: &Path) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }
        fn problems(&self) -> Vec<crate::config::Problem> {
            let one = |line| crate::config::Problem {
                file: ".env".into(),
                line,
                message: "not an assignment".into(),
                help: None,
            };
            (1..=1_000).map(one).collect()
        }
    }
    let faults = load(SOURCE, Path::new("/etc/relay/config.toml"), &Bad, KINDS).unwrap_err();
    assert_eq!(faults.0.len(), 201);
}
