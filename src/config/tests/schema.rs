//! The JSON Schema against the configs that the loader judges: what it takes the schema takes, a key that nobody knows
//! neither does.

use jsonschema::Validator;
use serde_json::Value;

use super::example::{EXAMPLE, readme_sources, uncommented, with_bogus_keys};
use super::*;
use crate::config::schema::schema;
use crate::ingress::source::kinds::SOURCE_KINDS;

fn validator() -> Validator {
    let schema = schema(KINDS);
    assert!(jsonschema::meta::is_valid(&schema), "{schema:#}");
    jsonschema::validator_for(&schema).unwrap()
}

fn json(text: &str) -> Value {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn faults_of(validator: &Validator, text: &str) -> String {
    let json = json(text);
    let all = validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path()));
    all.collect::<Vec<_>>().join("\n")
}

#[test]
fn whatever_the_examples_show_is_right_by_the_schema_too() {
    let validator = validator();
    let sinks = KINDS.iter().map(|kind| format!("{SOURCE}{}", kind.example));
    let all = [EXAMPLE.to_owned(), uncommented(), format!("{SOURCE}{}", readme_sources())];
    for text in all.into_iter().chain(sinks) {
        assert_eq!(faults_of(&validator, &text), "", "{text}");
    }
}

#[test]
fn a_key_that_nobody_knows_is_wrong_in_every_table_of_the_examples() {
    let validator = validator();
    let sinks = KINDS.iter().map(|kind| format!("{SOURCE}{}", kind.example));
    let all = [EXAMPLE.to_owned(), format!("{SOURCE}{}", readme_sources())];
    let mut count = 0;
    for text in all.into_iter().chain(sinks) {
        // What names librdkafka knows, only librdkafka does.
        for (line, text) in
            with_bogus_keys(&text).into_iter().filter(|(_, text)| !text.contains("properties = { bogus"))
        {
            assert_ne!(faults_of(&validator, &text), "", "taken with a bogus key on line {line}:\n{text}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn faults_of_shape_are_the_schemas_faults_too() {
    let validator = validator();
    for bad in [
        "sinks = { a = { path = \"x\" } }",
        "sinks = { a = { kind = \"files\", path = \"x\" } }",
        "sinks = { a = { kind = \"file\" } }",
        "sinks = { a = { kind = \"file\", path = \"x\", sync = \"sometimes\" } }",
        "sinks = { a = { kind = \"file\", path = \"x\", url = \"y\" } }",
        "sinks = { a = { kind = \"stdout\", batch = { max_events = \"1\" } } }",
        "sinks = { a = { kind = \"stdout\", ordering = \"keys\" } }",
        "sinks = { a = { kind = \"http\", url = \"x\", basic = { user = \"u\" } } }",
        "sinks = { a = { kind = \"http\", url = \"x\", headers = { x = 1 } } }",
        "server.listen = 4000",
        "server.max_connections = \"many\"",
        "routes = [{ match = \"*\" }]",
        "routes = { match = \"*\", to = \"a\" }",
        "sources.b = { kind = \"github\", path = \"/b\" }",
        "sources.b = { kind = \"github\", path = \"/b\", secret = \"s\", prefix = \"x\" }",
        "sources.b = { kind = \"hmac\", path = \"/b\", secret = \"s\" }",
        "sources.b = { kind = \"hmac\", path = \"/b\", secret = \"s\", header = \"x\", algorithm = \"md5\" }",
        "sources.b = { kind = \"none\", path = \"/b\", type = { hedder = \"x\" } }",
        "sources.b = { kind = \"none\", path = \"/b\", secret = \"s\" }",
        "sever = {}",
    ] {
        assert_ne!(faults_of(&validator, &format!("{SOURCE}{bad}")), "", "{bad}");
    }
    assert_ne!(faults_of(&validator, "server = {}"), "", "no source");
}

#[test]
fn every_kind_and_every_key_of_the_core_is_there() {
    let schema = schema(KINDS);
    assert_eq!(schema["properties"]["tracing"]["properties"]["sample"]["type"], "number");
    let kinds = |what: &str| &schema["properties"][what]["additionalProperties"]["allOf"];
    let of = |what: &str, name: &str| {
        let all = kinds(what).as_array().unwrap();
        let one = all.iter().find(|one| one["if"]["properties"]["kind"]["const"] == name);
        one.unwrap_or_else(|| panic!("{name} is not in {what}"))["then"]["properties"].clone()
    };
    for kind in KINDS {
        let keys = of("sinks", kind.name);
        for key in crate::deliver::config::DeliveryKeys::NAMES {
            assert!(keys.get(key).is_some(), "{} lacks {key}", kind.name);
        }
    }
    for info in SOURCE_KINDS {
        let keys = of("sources", info.name);
        let own = info.keys.iter().chain(crate::ingress::source::kinds::COMMON);
        for key in own {
            assert!(keys.get(key).is_some(), "{} lacks {key}", info.name);
        }
    }
    let text = schema.to_string();
    assert!(!text.contains("zz-probe"), "{text}");
}
