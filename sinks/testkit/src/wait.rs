//! Waiting for a condition: often looked at, never for ever.

use std::time::{Duration, Instant};

/// Longest any condition is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until it holds; a test for which it never does fails.
pub async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        pause(what, end).await;
    }
}

/// [`wait_until`] for a condition that must be waited for itself.
pub async fn wait_until_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        pause(what, end).await;
    }
}

async fn pause(what: &str, end: Instant) {
    assert!(Instant::now() < end, "never: {what}");
    tokio::time::sleep(PAUSE).await;
}
