//! For test servers: a test whose server cannot be had, or whose client talks nonsense, fails with what was tried.

use std::fmt::Debug;

/// The value, or a failed test.
pub(crate) trait Must<T> {
    /// The value; else the test fails and says what was tried.
    fn must(self, what: &str) -> T;
}

impl<T, E: Debug> Must<T> for Result<T, E> {
    #[track_caller]
    fn must(self, what: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => fail(&format!("{what}: {error:?}")),
        }
    }
}

impl<T> Must<T> for Option<T> {
    #[track_caller]
    fn must(self, what: &str) -> T {
        match self {
            Some(value) => value,
            None => fail(&format!("{what}: there is none")),
        }
    }
}

/// Fails the test.
#[expect(clippy::panic, reason = "this is how a test fails")]
#[track_caller]
pub(crate) fn fail(what: &str) -> ! {
    panic!("{what}")
}
