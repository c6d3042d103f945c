//! Whether more is sent than there is room for: told in the log at once and then every ten seconds, and to `/readyz`
//! and `status` for some time after. Knows nothing of what was short.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::ingress::counts::Counter;
use crate::ingress::throttle::Throttle;

/// How long after its last sign pressure lasts.
const LASTS: Duration = Duration::from_secs(10);

/// The sign, and its counts since the start.
#[derive(Debug)]
pub struct Pressure {
    base: Instant,
    /// When a sender last had to wait or to go: milliseconds after `base`, plus one; 0: never.
    last: AtomicU64,
    line: Throttle,
    /// Connections closed so that others got their permits.
    pub connections_cut: Counter,
}

impl Default for Pressure {
    fn default() -> Self {
        let base = Instant::now();
        Self { base, last: AtomicU64::new(0), line: Throttle::default(), connections_cut: Counter::default() }
    }
}

impl Pressure {
    /// A sender has to wait for room, or is closed for another's sake.
    pub fn note(&self) {
        self.last.store(self.millis() + 1, Relaxed);
        if let Some(count) = self.line.hit() {
            let cut = self.connections_cut.get();
            tracing::warn!(
                count,
                connections_cut = cut,
                "more is sent than [server] has room for (max_connections, max_inflight_bytes): the slowest and those \
                 that have been idle longest go first"
            );
        }
    }

    /// Whether that happened in the last ten seconds.
    pub fn is_on(&self) -> bool {
        let lasts = u64::try_from(LASTS.as_millis()).unwrap_or(u64::MAX);
        match self.last.load(Relaxed) {
            0 => false,
            last => self.millis() <= last + lasts,
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
