//! Tests of `check` on files of its own.

use serde_json::Value;

use super::*;
use crate::config::tests::SOURCE;

fn check(text: &str, connect: bool, json: bool) -> (Result<(), Failure>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text.replace("DIR", &dir.path().display().to_string())).unwrap();
    let mut out = Vec::new();
    let outcome = run(&file, &CheckArgs { connect, no_tests: false, json }, &mut out);
    assert!(!dir.path().join("data").exists(), "check made the data folder");
    (outcome, String::from_utf8(out).unwrap())
}

fn with_sinks(sinks: &str) -> String {
    format!("{SOURCE}journal.min_free = 0\n{sinks}[[routes]]\nmatch = \"*\"\nto = \"a\"\n")
}

const STDOUT: &str = "[sinks.a]\nkind = \"stdout\"\n";

#[test]
fn a_good_config_is_summed_up_in_a_line() {
    let (outcome, text) = check(&with_sinks(STDOUT), false, false);
    outcome.unwrap();
    assert!(text.ends_with("config.toml: ok: 1 source, 1 sink, 1 route, 0 tests\n"), "{text}");
}

#[test]
fn faults_are_a_failure_of_the_config_as_text_and_as_json() {
    let text = format!("{SOURCE}[sever]\nx = 1\n");
    let (outcome, printed) = check(&text, false, false);
    assert!(matches!(&outcome, Err(Failure::Config(faults)) if faults.0[0].line == 2) && printed.is_empty());
    let (outcome, printed) = check(&text, false, true);
    assert!(matches!(outcome, Err(Failure::ConfigTold)));
    let json: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&json["ok"], &json["faults"][0]["line"]), (&false.into(), &2.into()));
    assert_eq!(json["faults"][0]["help"], "did you mean `server`?");
}

#[test]
fn connect_asks_every_sink_and_names_the_one_that_does_not_answer() {
    let both =
        format!("{STDOUT}[sinks.down]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\nconnect_timeout = \"1s\"\n");
    let (outcome, text) = check(&with_sinks(&both), true, false);
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(lines[0], "  a     stdout  ok");
    assert!(lines[1].starts_with("  down  http    connect: "), "{text}");
    let (_, text) = check(&with_sinks(&both), true, true);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&json["ok"], &json["sinks"][0]["ok"], &json["sinks"][1]["ok"]),
        (&false.into(), &true.into(), &false.into())
    );
}

#[test]
fn connect_says_what_run_would_create_and_creates_nothing() {
    let setup = "CREATE TABLE IF NOT EXISTS t (event_id TEXT UNIQUE)";
    let sinks = format!(
        "[sinks.a]\nkind = \"sqlite\"\ndatabase = \"DIR/new/x.db\"\ntable = \"t\"\nsetup = \"{setup}\"\n\
         [sinks.b]\nkind = \"file\"\npath = \"DIR/new/{{type}}.jsonl\"\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, with_sinks(&sinks).replace("DIR", &dir.path().display().to_string())).unwrap();
    let mut out = Vec::new();
    run(&file, &CheckArgs { connect: true, no_tests: false, json: false }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    let database = dir.path().join("new/x.db");
    assert_eq!(lines[0], format!("  a  sqlite  ok: {} does not exist yet, `run` creates it", database.display()));
    assert_eq!(lines[1], "  b  file    ok");
    let mut out = Vec::new();
    run(&file, &CheckArgs { connect: true, no_tests: false, json: true }, &mut out).unwrap();
    let json: Value = serde_json::from_slice(&out).unwrap();
    assert!(json["sinks"][0]["note"].as_str().unwrap().ends_with("`run` creates it"), "{json}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config.toml"]);
}

#[test]
fn connect_says_that_a_folder_others_may_write_to_would_be_refused() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("config.toml"), dir.path().join("data"));
    std::fs::write(&file, with_sinks(STDOUT)).unwrap();
    std::fs::create_dir_all(data.join("journal")).unwrap();
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let checked = |connect: bool, json: bool| {
        let mut out = Vec::new();
        let outcome = run(&file, &CheckArgs { connect, no_tests: false, json }, &mut out);
        (outcome, String::from_utf8(out).unwrap())
    };
    for (journal, own) in [(0o755, 0o777), (0o770, 0o755)] {
        chmod(&data, own);
        chmod(&data.join("journal"), journal);
        checked(false, false).0.unwrap();
        let (outcome, _) = checked(true, false);
        let Err(Failure::Daemon(error)) = outcome else { panic!("{outcome:?}") };
        assert!(error.is_not_ours() && error.to_string().contains("others may write to it"), "{error}");
        let (outcome, printed) = checked(true, true);
        let json: Value = serde_json::from_str(&printed).unwrap();
        assert!(outcome.is_err() && json["ok"] == false, "{json}");
        assert!(json["folder"].as_str().unwrap().contains("help: look at what lies in it"), "{json}");
        assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o777, own, "nothing was changed");
    }
    // What others may only read is closed at a start, and refused by nobody.
    chmod(&data, 0o755);
    chmod(&data.join("journal"), 0o755);
    let (outcome, printed) = checked(true, true);
    assert!(outcome.is_ok() && !printed.contains("folder"), "{printed}");
    assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o777, 0o755, "nothing was changed");
}

#[test]
fn the_folder_a_probe_is_given_goes_away_with_all_it_holds() {
    let scratch = Scratch::new("archive").unwrap();
    let path = scratch.0.clone();
    std::fs::write(path.join("manifest"), "x").unwrap();
    drop(scratch);
    assert!(!path.exists());
}

#[test]
fn connect_asks_the_brokers_that_keep_the_journal_and_nobody_asks_them_without_it() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let journal = format!("journal.kind = \"kafka\"\njournal.brokers = \"{nobody}\"\n");
    let config = format!("{journal}{SOURCE}[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"a\"\n");
    let (outcome, text) = check(&config, false, false);
    outcome.unwrap();
    assert!(!text.contains("[journal]"), "{text}");
    let (outcome, text) = check(&config, true, false);
    let Err(Failure::Unavailable(why)) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(why, "the journal's Kafka did not answer");
    let row = text.lines().nth(1).unwrap();
    assert!(
        row.starts_with("  [journal]  kafka   Kafka cannot be asked") && row.contains(&nobody.to_string()),
        "{text}"
    );
    assert_eq!(text.lines().nth(2), Some("  a          stdout  ok"));
    let (_, text) = check(&config, true, true);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&json["ok"], &json["journal"]["ok"], &json["sinks"][0]["ok"]),
        (&false.into(), &false.into(), &true.into())
    );
}
