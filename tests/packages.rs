//! What is installed: the manual pages and completions, and what the binary says of itself.
//! Where a tool is not installed the test says so and stops.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory as _;
use hookrelay::cli::Cli;

const BINARY: &str = env!("CARGO_BIN_EXE_hookrelay");

/// Straight to the terminal, as the harness swallows what the print macros write, and into the report of `make test`.
fn say(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(report) = std::env::var_os("HOOKRELAY_TEST_REPORT") {
        let mut report = fs::OpenOptions::new().create(true).append(true).open(report).unwrap();
        report.write_all(line.as_bytes()).unwrap();
    }
}

/// Runs a tool; `None`, said aloud, where it is not installed.
fn run(test: &str, command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            say(&format!("skipped: {test}: {} is not installed\n", command.get_program().to_string_lossy()));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command that must succeed prints.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The command line's verbs, `dead list` as `dead-list`, but for those that are hidden.
fn verbs() -> Vec<String> {
    fn collect(command: &clap::Command, above: &str, names: &mut Vec<String>) {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = format!("{above}{}", verb.get_name());
            collect(verb, &format!("{name}-"), names);
            names.push(name);
        }
    }
    let mut names = Vec::new();
    collect(&Cli::command(), "", &mut names);
    assert!(names.iter().any(|name| name == "dead-list"), "{names:?}");
    names
}

/// Every file under a folder, as a path from it.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                found.insert(entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn every_verb_has_a_manual_page_that_groff_takes_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    printed(Command::new(BINARY).arg("man").arg("--dir").arg(folder.path()));
    let mut wanted: BTreeSet<String> = verbs().iter().map(|verb| format!("hookrelay-{verb}.1")).collect();
    wanted.insert("hookrelay.1".into());
    assert_eq!(files(folder.path()), wanted);
    for name in wanted {
        let page = folder.path().join(&name);
        let written = fs::read_to_string(&page).unwrap();
        assert!(written.contains(".SH NAME\n") && written.contains(".SH SYNOPSIS\n"), "{written}");
        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file", "-Tutf8"]).arg(&page).envs([("MANWIDTH", "80"), ("LC_ALL", "C.UTF-8")]);
        let Some(output) = run("every_verb_has_a_manual_page_that_groff_takes_without_a_warning", &mut man) else {
            return;
        };
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {}", said(&output));
    }
}

#[test]
fn completions_offer_every_verb_and_none_that_is_hidden() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(Command::new(BINARY).args(["completions", shell]));
        for verb in verbs() {
            let word = verb.rsplit('-').next().unwrap();
            assert!(script.contains(word), "{shell} does not offer {verb}");
        }
        assert!(!script.contains("jq-worker") && !script.contains("Writes the manual pages"), "{shell}");
        // `zsh` and `fish` are seldom there; where they are, they read what is theirs.
        let mut read = Command::new(shell);
        let path = tempfile::NamedTempFile::new().unwrap();
        fs::write(path.path(), &script).unwrap();
        let Some(output) = run("completions_offer_every_verb_and_none_that_is_hidden", read.arg("-n").arg(path.path()))
        else {
            continue;
        };
        assert!(output.status.success(), "{shell}: {}", said(&output));
    }
}

#[test]
fn the_version_tells_what_the_binary_is_made_of() {
    let short = printed(Command::new(BINARY).arg("--version"));
    assert_eq!(short.lines().count(), 1, "{short}");
    for line in [["--version", "--verbose"], ["--verbose", "-V"]] {
        let long = printed(Command::new(BINARY).args(line));
        assert!(long.starts_with(&short), "{long}");
        let fact = |name: &str| {
            let line =
                long.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {long}"));
            line.trim().to_owned()
        };
        let commit = fact("commit ");
        assert!(commit == "unknown" || commit.len() == 12, "{commit}");
        assert!(fact("built ").contains("by rustc 1."), "{long}");
        assert!(fact("features ").contains("kafka"), "{long}");
        for library in ["librdkafka ", "SQLite "] {
            let version = fact(library);
            assert!(version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'), "{long}");
        }
    }
}
