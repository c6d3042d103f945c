//! Every rule of the house, seen to fail on bad input and to pass on good.

use super::*;

fn one(faults: Vec<String>) -> String {
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().unwrap()
}

#[test]
fn a_file_without_its_purpose_is_found() {
    assert!(one(opens_with_its_purpose(&File::of("src/a.rs", "use std::io;\n"))).starts_with("src/a.rs:1:"));
    one(opens_with_its_purpose(&File::of("src/a.rs", "//!\nuse std::io;\n")));
    assert!(opens_with_its_purpose(&File::of("src/a.rs", "//! A room.\n")).is_empty());
}

#[test]
fn a_file_that_is_too_long_is_found() {
    let long = |path: &str, lines: usize| is_short_enough(&File::of(path, &"x\n".repeat(lines)));
    assert!(one(long("src/journal/mod.rs", 501)).contains("501 lines"));
    assert!(one(long("sinks/file/src/sink.rs", 501)).contains("501 lines"));
    assert!(one(long("src/main.rs", 61)).contains("at most 60"));
    assert!(one(long("src/daemon.rs", 201)).contains("at most 200"));
    assert!(one(long("src/ARCHITECTURE.md", 201)).contains("at most 200"));
    let fine = [
        ("src/journal/mod.rs", 500),
        ("src/main.rs", 60),
        ("src/ARCHITECTURE.md", 200),
        ("tests/it/crash.rs", 900),
        ("README.md", 900),
    ];
    for (path, lines) in fine {
        assert!(long(path, lines).is_empty(), "{path}");
    }
}

#[test]
fn a_line_that_is_too_long_is_found() {
    let text = format!("//! A room.\n// {}\n// {}é\n", "x".repeat(118), "x".repeat(116));
    let fault = one(lines_are_short(&File::of("tests/it/a.rs", &text)));
    assert_eq!(fault, "tests/it/a.rs:2: 121 characters, at most 120");
    assert!(lines_are_short(&File::of("src/a.rs", &"é".repeat(120))).is_empty(), "characters count, not bytes");
}

#[test]
fn an_import_from_above_is_found_in_every_way_of_writing_it() {
    let at = |path: &str, text: &str| imports_point_one_way(&File::of(path, text));
    let upward = |text: &str| one(at("src/journal/mod.rs", text));
    assert!(upward("//! x\n\nuse crate::deliver::Worker;\n").starts_with("src/journal/mod.rs:3: `journal` imports"));
    assert!(upward("use crate::{telemetry::init, config::{Config, Fault}};\n").contains("`config`"));
    assert!(upward("use crate::{\n    telemetry,\n    daemon,\n};\n").contains("`daemon`"));
    assert!(upward("fn f() -> crate::commands::Code { todo() }\n").contains("`commands`"));
    assert!(upward("use super::super::deliver;\n").contains("crate::"));
    assert!(one(at("src/daemon.rs", "use hookrelay::cli::Cli;\n")).contains("`cli`"));
    assert!(one(at("src/config/mod.rs", "use crate::registry;\n")).contains("`registry`"));
    assert!(upward("use crate::event::Event;").contains("`event`"), "the journal knows bytes and positions only");
    for fine in ["use crate::journal::Record;", "// see crate::deliver", "use crate::{telemetry};", "use crate::zebra;"]
    {
        assert!(at("src/journal/mod.rs", fine).is_empty(), "{fine}");
    }
    let unit_tests = "use crate::telemetry;\n#[cfg(test)]\nmod tests {\n    use crate::daemon;\n}\n";
    assert!(at("src/journal/mod.rs", unit_tests).is_empty());
    assert!(at("src/journal/tests/good.rs", "use crate::daemon;").is_empty());
    assert!(at("src/lib.rs", "pub use crate::daemon;").is_empty());
    assert!(at("sinks/file/src/lib.rs", "use crate::config::FileConfig;").is_empty());
}

#[test]
fn an_import_of_a_sibling_is_found_unless_the_list_allows_it() {
    let at = |path: &str, text: &str| imports_point_one_way(&File::of(path, text));
    for (path, text) in [
        ("src/ingress/mod.rs", "use crate::deliver::Book;"),
        ("src/admin/mod.rs", "use crate::ingress::Counter;"),
        ("src/ledger/mod.rs", "use crate::{journal, route};"),
        ("src/event/codec.rs", "use crate::verify::Hmac;"),
        ("src/shutdown.rs", "use crate::telemetry;"),
    ] {
        assert!(one(at(path, text)).contains("stands in the same tier"), "{path}: {text}");
    }
    for (from, to) in SIBLINGS {
        assert_eq!(tier(from), tier(to), "{from} and {to} are no siblings");
        assert_eq!(at(&format!("src/{from}.rs"), &format!("use crate::{to};")), [""; 0]);
    }
    assert_eq!(at("src/ingress/mod.rs", "use crate::ingress::Counter;"), [""; 0], "its own");
}

#[test]
fn a_room_that_stands_in_no_tier_is_found() {
    assert!(one(imports_point_one_way(&File::of("src/attic/mod.rs", ""))).contains("`attic`"));
    assert!(one(imports_point_one_way(&File::of("src/attic.rs", ""))).contains("`attic`"));
}

#[test]
fn a_sink_named_outside_the_registry_is_found() {
    let sinks = ["api", "testkit", "file", "http-two"].map(str::to_owned);
    let at = |path: &str, text: &str| sinks_are_named_once(&File::of(path, text), &sinks);
    one(at("src/daemon.rs", "use sink_file::FileSink;"));
    one(at("src/deliver/mod.rs", "let kind = sink_http_two::KIND;"));
    one(at("sinks/file/src/sink.rs", "use sink_http_two::sign;"));
    one(at("sinks/file/src/sink.rs", "use hookrelay::journal;"));
    one(at("sinks/file/src/sink.rs", "use sink_testkit::make;"));
    one(at("src/deliver/mod.rs", "use sink_testkit as kit;"));
    for (path, fine) in [
        ("src/registry.rs", "pub const KINDS: &[SinkKind] = &[sink_file::KIND, sink_http_two::KIND];"),
        ("src/daemon.rs", "use sink_api::Sink; let sink_files = 1; // not sink_file"),
        ("sinks/file/src/sink.rs", "use sink_api::Sink; use sink_file::config;"),
        ("sinks/file/src/sink.rs", "#[cfg(test)]\nmod tests {\n    use sink_testkit::make;\n}\n"),
        ("src/deliver/tests.rs", "use sink_testkit::make;"),
        ("sinks/file/src/sink.rs", "let daemon = \"hookrelay\"; my_sink_http_two::x();"),
        ("sinks/testkit/src/lib.rs", "use sink_file::KIND;"),
        ("sinks/file/tests/it.rs", "use sink_testkit::make;"),
    ] {
        assert!(at(path, fine).is_empty(), "{path}: {fine}");
    }
}

#[test]
fn a_queue_without_a_bound_is_found() {
    one(queues_are_bounded(&File::of("src/a.rs", "let (tx, rx) = mpsc::unbounded_channel();")));
    one(queues_are_bounded(&File::of("sinks/file/src/a.rs", "let (tx, rx) = flume::unbounded();")));
    assert!(
        queues_are_bounded(&File::of("src/a.rs", "let (tx, rx) = mpsc::channel(16); // not unbounded()")).is_empty()
    );
}

#[test]
fn a_sink_that_sleeps_is_found() {
    one(sinks_do_not_sleep(&File::of("sinks/http/src/sink.rs", "tokio::time::sleep(pause).await;")));
    for path in ["src/deliver/worker.rs", "sinks/testkit/src/scripted.rs", "sinks/http/tests/it/main.rs"] {
        assert!(sinks_do_not_sleep(&File::of(path, "sleep(pause)")).is_empty(), "{path}");
    }
}

#[test]
fn unfinished_business_is_found() {
    let mark = concat!("// TO", "DO: later");
    assert!(one(nothing_is_left_undone(&File::of("README.md", &format!("a\n{mark}\n")))).starts_with("README.md:2:"));
    assert!(nothing_is_left_undone(&File::of("README.md", "all done\n")).is_empty());
}

const REGISTRY: &str = "pub const KINDS: &[SinkKind] = &[\n    sink_file::KIND,\n];\n";
const CARGO: &str =
    "sink-api = { path = \"sinks/api\" }\nsink-file = { path = \"sinks/file\" }\nsink-file.workspace = true\n";
const README: &str = "| sink | what |\n| --- | --- |\n| [`file`](sinks/file/README.md) | lines in files |\n";
const SINK_README: &str =
    "# file\n## What\n## Config\n```toml\n## not a heading\n```\n## Verdicts\n## Ordering and duplicates\n## Limits\n";

#[test]
fn a_sink_that_is_missing_somewhere_is_found() {
    let good = || SinkFolder { name: "file", readme: Some(SINK_README), example: Some("[sinks.a]\nkind = \"file\"\n") };
    assert_eq!(sink_is_listed(&good(), REGISTRY, CARGO, README), Vec::<String>::new());

    assert!(one(sink_is_listed(&good(), "// sink_file::KIND,", CARGO, README)).contains("0 times in src/registry.rs"));
    let once = CARGO.replace("sink-file.workspace = true\n", "");
    assert!(one(sink_is_listed(&good(), REGISTRY, &once, README)).contains("1 lines in Cargo.toml"));
    assert!(one(sink_is_listed(&good(), REGISTRY, CARGO, "| file |")).contains("no row"));

    let swapped = SINK_README.replace("## Config", "## Configuration");
    let folder = SinkFolder { readme: Some(&swapped), ..good() };
    assert!(one(sink_is_listed(&folder, REGISTRY, CARGO, README)).contains("\"Configuration\""));
    let folder = SinkFolder { readme: None, ..good() };
    assert!(one(sink_is_listed(&folder, REGISTRY, CARGO, README)).contains("README.md"));
    let folder = SinkFolder { example: Some("kind = \"http\""), ..good() };
    assert!(one(sink_is_listed(&folder, REGISTRY, CARGO, README)).contains("example.toml"));
}
