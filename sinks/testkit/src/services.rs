//! The real servers that `tests/services/up` starts: where they are, and the tests that are left out without them.

#[cfg(any(feature = "kafka", feature = "postgres"))]
use std::process::{Command, Stdio};

#[cfg(any(feature = "kafka", feature = "postgres"))]
use crate::must::Must as _;
use crate::skip::skip;

/// What `tests/services/up` exported under this name. Where it did not, this test is left out by name: `None`, and
/// `<service>_MISSING` says why, `service` being how the names of that server's variables begin.
pub fn exported(test: &str, variable: &str, service: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let missing = std::env::var(format!("{service}_MISSING"));
        let unset = || format!("{variable} is not set: eval \"$(tests/services/up)\"");
        skip(test, &missing.unwrap_or_else(|_| unset()));
    }
    value
}

/// Runs one of the scripts in `tests/services`; what it printed.
#[cfg(any(feature = "kafka", feature = "postgres"))]
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().must("a script of tests/services");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).must("what the script printed").trim().to_owned()
}
