//! What is installed: what the binary says of itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_hookrelay");

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command that must succeed prints.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
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
