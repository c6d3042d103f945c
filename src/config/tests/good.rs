//! What a good config comes to: defaults, paths, `${…}`, warnings.

use std::path::Path;

use sink_api::{Defaults, SinkKind};

use super::*;
use crate::deliver::Rate;
use crate::deliver::config::{Ordering, StartAt};
use crate::ingress::source::signer::Signer;
use crate::verify::Hmac;

const ARCHIVE: &str = "[sinks.archive]\nkind = \"file\"\npath = \"data/{type}.jsonl\"\n";
const ROUTE: &str = "[[routes]]\nmatch = \"*\"\nto = \"archive\"\n";

fn good(text: &str, env: &FakeEnv) -> Config {
    read(text, env).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Whether the first source, which believes an HMAC over the body, has this secret.
fn has_secret(config: &Config, secret: &str) -> bool {
    let signed = Signer::new(&config.sources[0]).sign(&http::HeaderMap::new(), "t", "i", 0, b"{}");
    let expected = Hmac::new(secret.as_bytes(), None).unwrap().sign(b"{}");
    signed.headers.values().any(|value| *value == *expected)
}

/// Files with variables, and those of the process, as they really are.
#[test]
fn env_file_brings_variables_and_what_the_process_itself_has_is_known_as_fixed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let text = SOURCE.replace("a-long-secret", "${HOOKRELAY_NAMED}").replace("/webhooks", "/${CARGO_PKG_NAME}");
    std::fs::write(&file, format!("env_file = \"${{HOOKRELAY_BESIDE}}/env\"\n{text}")).unwrap();
    std::fs::write(folder.path().join(".env"), "HOOKRELAY_BESIDE=sub\nCARGO_PKG_NAME=other\n").unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/env"), "HOOKRELAY_NAMED=hush-hush\n").unwrap();
    let config = crate::config::read(&file, KINDS).unwrap_or_else(|faults| panic!("{faults}"));
    let name = std::env::var("CARGO_PKG_NAME");
    let expected = name.iter().map(|_| ("sources.interakt.path".to_owned(), "CARGO_PKG_NAME".to_owned()));
    let fixed = config.fixed.iter().map(|fixed| (fixed.key.clone(), fixed.variable.clone()));
    assert!(fixed.eq(expected));
    let warnings: String = config.warnings.iter().map(|warning| format!("{warning}\n")).collect();
    assert_eq!(warnings.contains("CARGO_PKG_NAME has another value in"), name.is_ok(), "{warnings}");
    assert!(!format!("{config:?}").contains("hush-hush"));
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let config = good(&format!("{SOURCE}{ARCHIVE}{ROUTE}"), &FakeEnv::default());
    assert_eq!(config.base_dir, Path::new("/etc/relay"));
    assert_eq!(config.data_dir, Path::new("/etc/relay/data"));
    assert_eq!(config.journal.dir.as_deref(), Some(Path::new("/etc/relay/data/journal")));
    assert_eq!(config.server.listen, ["127.0.0.1:4000"]);
    assert_eq!(config.server.max_body.0, 1 << 20);
    assert_eq!(config.journal.max_size.0, 10 << 30);
    assert_eq!(config.sources[0].dedupe_window, std::time::Duration::from_secs(600));
    let sink = &config.sinks[0];
    assert_eq!((sink.name.as_str(), sink.kind.name), ("archive", "file"));
    assert_eq!((sink.keys.enabled, sink.keys.start, sink.keys.ordering), (true, StartAt::Now, Ordering::Key));
    assert_eq!(sink.limits, sink.kind.defaults);
    assert_eq!(config.rules.route_names().collect::<Vec<_>>(), ["route1"]);
    assert_eq!(config.warnings, []);
}

#[test]
fn paths_start_at_the_file_and_absolute_ones_stay() {
    let text = format!("data_dir = \"../state\"\njournal.dir = \"/mnt/journal\"\n{SOURCE}{ARCHIVE}{ROUTE}");
    let config = good(&text, &FakeEnv::default());
    assert_eq!(config.data_dir, Path::new("/etc/relay/../state"));
    assert_eq!(config.journal.dir.as_deref(), Some(Path::new("/mnt/journal")));
    let config = load(&text, Path::new("relay.toml"), &FakeEnv::default(), KINDS).unwrap();
    assert!(config.base_dir.is_absolute() && config.data_dir.is_absolute());
    assert_eq!(config.file, Path::new("relay.toml"));
}

#[test]
fn the_keys_of_the_core_are_taken_out_of_a_sinks_table() {
    let core = "enabled = false\nstart = \"beginning\"\nconcurrency = 3\nordering = \"none\"\nkey = \"{type}\"\n\
                batch = { max_events = 7, linger = \"1s\" }\ntimeout = \"3s\"\n\
                [sinks.archive.retry]\ninitial = \"1s\"\nmax = \"2s\"\nattempts = 4\n";
    let config = good(&format!("{SOURCE}{ARCHIVE}{core}{ROUTE}"), &FakeEnv::default());
    let sink = &config.sinks[0];
    assert_eq!((sink.keys.enabled, sink.keys.start, sink.keys.ordering), (false, StartAt::Beginning, Ordering::None));
    assert_eq!((sink.limits.concurrency, sink.limits.max_events), (3, 7));
    assert_eq!(sink.limits.max_bytes, sink.kind.defaults.max_bytes);
    assert_eq!(sink.keys.retry.attempts.map(std::num::NonZeroU32::get), Some(4));
}

#[test]
fn a_kinds_rate_holds_where_the_table_has_none() {
    let slow = SinkKind { defaults: Defaults { rate: Some("300/min"), ..KINDS[0].defaults }, ..stdout() };
    for (line, rate) in [("", "300/min"), ("rate = \"5/s\"\n", "5/s"), ("rate = \"off\"\n", "off")] {
        let text = format!("{SOURCE}[sinks.a]\nkind = \"stdout\"\n{line}");
        for (kind, rate) in [(slow, rate), (stdout(), if line.is_empty() { "off" } else { rate })] {
            let config = load(&text, Path::new("/etc/relay/config.toml"), &FakeEnv::default(), &[kind]).unwrap();
            let sink = &config.sinks[0];
            assert_eq!(sink.keys.rate(&sink.limits), Rate::parse(rate), "{line}");
        }
    }
    let rates = KINDS.iter().filter_map(|kind| kind.defaults.rate);
    assert!(rates.into_iter().all(|rate| Rate::parse(rate).is_some()), "a kind's default is a rate");
}

/// A kind without a rate of its own.
fn stdout() -> SinkKind {
    *KINDS.iter().find(|kind| kind.name == "stdout").unwrap()
}

#[test]
fn placeholders_are_filled_in_inside_strings_only() {
    let text = "data_dir = \"${DIR:-state}/x\"\n[sources.a]\nkind = \"${KIND}\"\npath = \"/$${a}/${EMPTY:-d}\"\n\
                secret = \"${SECRET}\"\ndedupe = \"off\"\n";
    let env = FakeEnv::of(&[("KIND", "interakt"), ("SECRET", "\"\n[server]\nlisten = 3"), ("EMPTY", "")]);
    let source = text.replace("$${a}", "a");
    let config = good(&source, &env);
    assert_eq!(config.data_dir, Path::new("/etc/relay/state/x"));
    assert_eq!(&*config.sources[0].path, "/a/d");
    assert!(has_secret(&config, "\"\n[server]\nlisten = 3"));
    assert!(!config.sources[0].dedupes());
    let text = format!("{SOURCE}[sinks.s]\nkind = \"sqlite\"\ndatabase = \"x.db\"\ntable = \"a$${{b}}$$\"\n");
    assert!(format!("{:?}", good(&text, &env).sinks[0].config).contains("a${b}$$"));
}

#[test]
fn a_secret_file_lies_in_the_credentials_directory_or_beside_the_config() {
    let text = SOURCE.replace("a-long-secret", "${file:interakt.key}");
    let has = |env: FakeEnv, secret: &str| has_secret(&good(&text, &env), secret);
    let beside = || FakeEnv::default().with_file("/etc/relay/interakt.key", "\u{feff}beside\r\n\n");
    assert!(has(beside(), "beside") && !has(beside(), "interakt.key"));
    let trimmed = good(&format!("data_dir = \"${{file:interakt.key}}\"\n{SOURCE}"), &beside());
    assert_eq!(trimmed.data_dir, Path::new("/etc/relay/beside"));
    let mut env = beside().with_file("/run/cred/interakt.key", "credential");
    env.variables.insert("CREDENTIALS_DIRECTORY".into(), "/run/cred".into());
    assert!(has(env, "credential"));
    let absolute = text.replace("interakt.key", "/keys/a");
    let config = good(&absolute, &FakeEnv::default().with_file("/keys/a", "absolute\n"));
    assert!(has_secret(&config, "absolute"));
}

#[test]
fn what_does_nothing_is_a_warning_at_its_place() {
    let text = format!(
        "{SOURCE}[admin]\nlisten = \"unix:data/admin.sock\"\n[dead_letters]\nmax_size = \"1GiB\"\n{ARCHIVE}\
         rate = \"300/min\"\nparked_max = \"1MiB\"\n[sinks.idle]\nkind = \"stdout\"\nkeep_answer = true\n{ROUTE}"
    );
    let config = good(&text, &FakeEnv::default());
    let warnings: Vec<String> =
        config.warnings.iter().map(|w| w.to_string().lines().next().unwrap().to_owned()).collect();
    let expected = [
        "11:1: warning: [sinks.idle] no route names this sink: it is given nothing",
        "11:1: warning: [sinks.idle] `keep_answer` keeps nothing here: a target of kind `stdout` says nothing",
    ];
    let expected: Vec<String> = expected.iter().map(|w| format!("/etc/relay/config.toml:{w}")).collect();
    assert_eq!(warnings.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_config_without_sinks_or_routes_is_taken_with_a_warning() {
    assert!(good(SOURCE, &FakeEnv::default()).warnings[0].message.starts_with("no sink is defined"));
    let config = good(&format!("{SOURCE}{ARCHIVE}"), &FakeEnv::default());
    assert!(config.warnings[0].message.starts_with("no route is defined"));
}

#[test]
fn a_changed_secret_changes_the_sinks_digest_and_layout_does_not() {
    let text = format!("{SOURCE}{ARCHIVE}keep = \"${{KEEP}}\"\n{ROUTE}");
    let digest = |text: &str, keep: &str| good(text, &FakeEnv::of(&[("KEEP", keep)])).sinks[0].digest;
    assert_eq!(digest(&text, "1d"), digest(&text.replace("keep =", "# c\nkeep    ="), "1d"));
    assert_ne!(digest(&text, "1d"), digest(&text, "2d"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let text = format!("\u{feff}{SOURCE}{ARCHIVE}{ROUTE}").replace('\n', "\r\n");
    assert_eq!(good(&text, &FakeEnv::default()).sinks.len(), 1);
}

#[test]
fn a_config_file_is_read_with_the_dot_env_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    assert!(super::super::read(&file, KINDS).unwrap_err().to_string().contains("cannot be read"));
    std::fs::write(&file, SOURCE.replace("a-long-secret", "${HOOKRELAY_TEST_BESIDE}")).unwrap();
    std::fs::write(dir.path().join(".env"), "HOOKRELAY_TEST_BESIDE='p@$$ #1'\n").unwrap();
    let config = super::super::read(&file, KINDS).unwrap();
    assert!(has_secret(&config, "p@$$ #1"));
    std::fs::write(dir.path().join(".env"), "# c\nnot an assignment\nHOOKRELAY_TEST_BESIDE=x\n").unwrap();
    let message = super::super::read(&file, KINDS).unwrap_err().to_string();
    assert!(message.contains(".env:2:1: error: not an assignment"), "{message}");
}

#[test]
fn bytes_that_are_not_text_are_told_at_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, b"# \xc3\xa9\n# \xc3\xa9 caf\xe9\n").unwrap();
    let message = super::super::read(&file, KINDS).unwrap_err().to_string();
    assert!(message.contains("config.toml:2:8: error: is not UTF-8"), "{message}");
}
