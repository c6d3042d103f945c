//! Tables of a config that several tests use.

/// A file sink that appends to `out/NAME.jsonl`.
pub fn file(name: &str) -> String {
    format!("[sinks.{name}]\nkind = \"file\"\npath = \"out/{name}.jsonl\"\n")
}

/// A route; `to` is the list of its sinks, in quotes.
pub fn route(name: &str, glob: &str, to: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\nmatch = \"{glob}\"\nto = [{to}]\n")
}

/// Waits and probes of an HTTP sink that are short enough for a test.
pub const IMPATIENT: &str = "retry = { initial = \"20ms\", max = \"100ms\" }\n\
                             breaker = { probe = \"20ms\", probe_max = \"100ms\" }\n";

/// A file sink `archive`, an HTTP sink `crm` with these further keys, and a route to both for everything.
pub fn archive_and_crm(url: &str, keys: &str) -> String {
    format!(
        r#"
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[sinks.crm]
kind = "http"
url = "{url}"
{keys}
[[routes]]
match = "*"
to = ["archive", "crm"]
"#
    )
}
