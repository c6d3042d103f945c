//! What the sources have counted since the start: plain numbers for metrics and status to read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use sink_api::Timestamp;

use super::source::typing::TooLong;
use crate::verify::Refusal;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What was still proved with a source's previous secret, since that secret was in force beside the new one.
#[derive(Debug, Default)]
pub struct PreviousSecret {
    /// How many webhooks.
    pub count: Counter,
    /// When the last one came, in microseconds since 1970; 0 where none did.
    last: AtomicI64,
}

impl PreviousSecret {
    /// One more, at that time.
    pub(in crate::ingress) fn add(&self, time: Timestamp) {
        self.count.add();
        self.last.fetch_max(time.as_microsecond(), Relaxed);
    }

    /// When the last one came.
    pub fn last(&self) -> Option<Timestamp> {
        Some(self.last.load(Relaxed)).filter(|time| *time != 0).and_then(|time| Timestamp::from_microsecond(time).ok())
    }
}

/// What one source has counted.
#[derive(Debug, Default)]
pub struct SourceCounts {
    /// Events the journal took: durable, or kept in memory at risk. Each event once.
    pub accepted: Counter,
    /// Answered with the id of an earlier event.
    pub duplicate: Counter,
    /// 401: no signature.
    pub missing: Counter,
    /// 401: something that is no signature.
    pub malformed: Counter,
    /// 401: a signature by another secret or over another body.
    pub wrong: Counter,
    /// 401: a signature that was made too long ago, or in the future.
    pub stale: Counter,
    /// 413.
    pub too_large: Counter,
    /// 408 while the body came.
    pub too_slow: Counter,
    /// 400: the body broke off or was wrongly framed.
    pub broken: Counter,
    /// Answered 200 before the event was on disk.
    pub at_risk: Counter,
    /// 503.
    pub unavailable: Counter,
    /// Events whose type was too long to be taken.
    pub long_type: Counter,
    /// Events whose subject was too long to be taken.
    pub long_subject: Counter,
}

impl SourceCounts {
    pub(in crate::ingress) fn refused(&self, why: Refusal) {
        match why {
            Refusal::Missing => &self.missing,
            Refusal::Malformed => &self.malformed,
            Refusal::Wrong => &self.wrong,
            Refusal::Stale => &self.stale,
        }
        .add();
    }

    pub(in crate::ingress) fn passed_over(&self, too_long: TooLong) {
        for (bytes, counter) in [(too_long.kind, &self.long_type), (too_long.subject, &self.long_subject)] {
            if bytes.is_some() {
                counter.add();
            }
        }
    }

    /// All 401s.
    pub fn rejected(&self) -> u64 {
        self.missing.get() + self.malformed.get() + self.wrong.get() + self.stale.get()
    }
}
