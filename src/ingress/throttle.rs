//! Log lines that must not become a flood: at most one in ten seconds, or another time, with how many stand behind it.

use std::time::Duration;

use sink_api::LogLimit;

const EVERY: Duration = Duration::from_secs(10);

/// One kind of line of one source.
#[derive(Debug)]
pub struct Throttle(LogLimit);

impl Default for Throttle {
    fn default() -> Self {
        Self::every(EVERY)
    }
}

impl Throttle {
    /// At most one line in so long.
    pub fn every(time: Duration) -> Self {
        Self(LogLimit::new(1, time))
    }

    /// Counts one. Gives how many there were since the last line, where another may be logged now.
    pub fn hit(&self) -> Option<u64> {
        self.0.admit().map(|left_out| left_out + 1)
    }
}
