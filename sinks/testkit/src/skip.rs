//! Tests that need a real server say by name that they were left out, and why.

use std::io::Write as _;

/// Writes `SKIPPED <test>: <reason>` to standard error, past the harness that swallows what passing tests print, and to
/// the end of the file that `HOOKRELAY_TEST_REPORT` names.
pub fn skip(test: &str, reason: &str) {
    note(&format!("SKIPPED {test}: {reason}"));
}

/// Writes a line to the same two places.
pub fn note(line: &str) {
    let line = format!("{line}\n");
    // A report that cannot be written keeps no test from being left out.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("HOOKRELAY_TEST_REPORT") {
        let report = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = report.and_then(|mut report| report.write_all(line.as_bytes()));
    }
}
