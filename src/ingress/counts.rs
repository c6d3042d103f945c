//! What the sources have counted: plain numbers for metrics and status to read.
//!
//! Counters begin at 0 when the daemon starts. What earlier lives of the daemon have counted stands beside them, as
//! soon as the ledger has told it ([`SourceCounts::continues`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use sink_api::Timestamp;

use super::source::typing::TooLong;

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

/// The latest of some times, or none.
#[derive(Debug, Default)]
pub struct Latest(AtomicI64);

impl Latest {
    /// Something happened, at that time.
    pub(in crate::ingress) fn note(&self, time: Timestamp) {
        self.0.fetch_max(time.as_microsecond(), Relaxed);
    }

    /// When it happened last.
    pub fn get(&self) -> Option<Timestamp> {
        time(self.0.load(Relaxed))
    }
}

/// A time in microseconds since 1970; 0 is none.
fn time(micros: i64) -> Option<Timestamp> {
    Some(micros).filter(|micros| *micros != 0).and_then(|micros| Timestamp::from_microsecond(micros).ok())
}

/// What was still proved with a source's previous secret, since that secret was in force beside the new one.
#[derive(Debug, Default)]
pub struct PreviousSecret {
    /// How many webhooks.
    pub count: Counter,
    last: Latest,
}

impl PreviousSecret {
    /// One more, at that time.
    pub(in crate::ingress) fn add(&self, time: Timestamp) {
        self.count.add();
        self.last.note(time);
    }

    /// When the last one came.
    pub fn last(&self) -> Option<Timestamp> {
        self.last.get()
    }
}

/// Defines [`Reason`] with the word of each.
macro_rules! reasons {
    ($($(#[$about:meta])* $name:ident $word:literal,)*) => {
        /// Why a request was not answered with success. The words are those of `status`, of metrics and of the log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$about])* $name,)*
        }

        impl Reason {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// 401: no signature.
    Missing "missing",
    /// 401: something that is no signature; where no source is known, 400: what came is not HTTP.
    Malformed "malformed",
    /// 401: a signature by another secret or over another body. 403: a question with another token.
    Wrong "wrong",
    /// 401: a signature that was made too long ago, or in the future.
    TooOld "too_old",
    /// 405.
    Method "method",
    /// 413; 431.
    TooLarge "too_large",
    /// 408.
    TooSlow "too_slow",
    /// The body broke off, or was wrongly framed; a head without one `Host`.
    Broken "broken",
    /// 503.
    Unavailable "unavailable",
    /// 404: no source has this path.
    UnknownPath "unknown_path",
}

/// The reasons that a source can have; the others are those of requests elsewhere.
pub const SOURCE_REASONS: &[Reason] = &[
    Reason::Missing,
    Reason::Malformed,
    Reason::Wrong,
    Reason::TooOld,
    Reason::Method,
    Reason::TooLarge,
    Reason::TooSlow,
    Reason::Broken,
    Reason::Unavailable,
];

/// The reasons that a request to no source can have.
pub const ELSEWHERE_REASONS: &[Reason] =
    &[Reason::UnknownPath, Reason::Method, Reason::TooLarge, Reason::TooSlow, Reason::Malformed, Reason::Broken];

/// How many were refused, by reason.
#[derive(Debug, Default)]
pub struct ByReason([Counter; Reason::ALL.len()]);

impl ByReason {
    /// One more.
    pub(in crate::ingress) fn add(&self, reason: Reason) {
        self.0.iter().zip(Reason::ALL).filter(|(_, own)| **own == reason).for_each(|(counter, _)| counter.add());
    }

    /// How many so far for that reason.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0.iter().zip(Reason::ALL).filter(|(_, own)| **own == reason).map(|(counter, _)| counter.get()).sum()
    }
}

/// What a source has counted over all lives of the daemon, by what was counted: the words of [`SourceCounts::totals`],
/// with a time in microseconds for [`LAST_ACCEPTED`].
pub type Totals = Vec<(&'static str, i64)>;

/// The one entry of [`Totals`] that is a time.
pub const LAST_ACCEPTED: &str = "last_accepted";

/// What one source has counted since the daemon started, and what it had counted before.
#[derive(Debug, Default)]
pub struct SourceCounts {
    /// Events the journal took: durable, or kept in memory at risk. Each event once.
    pub accepted: Counter,
    /// When the last of them came.
    pub last_accepted: Latest,
    /// Answered with the id of an earlier event.
    pub duplicate: Counter,
    /// Not answered with success.
    pub refused: ByReason,
    /// Answered with success, but later than `answer_within`.
    pub late: Counter,
    /// Answered 200 before the event was on disk.
    pub at_risk: Counter,
    /// Events whose type was too long to be taken.
    pub long_type: Counter,
    /// Events whose subject was too long to be taken.
    pub long_subject: Counter,
    before: OnceLock<Vec<(String, i64)>>,
}

impl SourceCounts {
    pub(in crate::ingress) fn passed_over(&self, too_long: TooLong) {
        for (bytes, counter) in [(too_long.kind, &self.long_type), (too_long.subject, &self.long_subject)] {
            if bytes.is_some() {
                counter.add();
            }
        }
    }

    /// Goes on from what earlier lives have counted, in the words of [`Self::totals`]. What it is told first counts.
    pub fn continues(&self, before: Vec<(String, i64)>) {
        let _ = self.before.set(before);
    }

    /// Whether it was told what earlier lives have counted.
    pub fn has_before(&self) -> bool {
        self.before.get().is_some()
    }

    fn before(&self, what: &str) -> i64 {
        let before = self.before.get().map(Vec::as_slice).unwrap_or_default();
        before.iter().find(|(own, _)| own == what).map_or(0, |(_, count)| *count)
    }

    /// Everything it has counted, this life and those before together.
    pub fn totals(&self) -> Totals {
        let own = [
            ("accepted", &self.accepted),
            ("duplicate", &self.duplicate),
            ("late", &self.late),
            ("at_risk", &self.at_risk),
            ("long_type", &self.long_type),
            ("long_subject", &self.long_subject),
        ];
        let own = own.map(|(what, counter)| (what, counter.get()));
        let refused = SOURCE_REASONS.iter().map(|reason| (reason.word(), self.refused.get(*reason)));
        let sum = |(what, count): (&'static str, u64)| (what, self.before(what).saturating_add_unsigned(count));
        let last = self.last_accepted.get().map_or(0, Timestamp::as_microsecond).max(self.before(LAST_ACCEPTED));
        own.into_iter().chain(refused).map(sum).chain([(LAST_ACCEPTED, last)]).collect()
    }

    /// When the last event was accepted, in this life or one before.
    pub fn last_ever_accepted(&self) -> Option<Timestamp> {
        self.last_accepted.get().max(time(self.before(LAST_ACCEPTED)))
    }
}

/// The entry of that name, as a count.
pub fn count_of(totals: &Totals, what: &str) -> u64 {
    totals.iter().find(|(own, _)| *own == what).map_or(0, |(_, count)| count.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_is_in_the_totals_and_not_in_the_counters() {
        let counts = SourceCounts::default();
        counts.accepted.add();
        counts.refused.add(Reason::Wrong);
        counts.last_accepted.note(Timestamp::from_microsecond(5).unwrap());
        let before = [("accepted", 40), ("wrong", 7), ("too_old", 1), ("a_word_of_later", 9), (LAST_ACCEPTED, 3)];
        counts.continues(before.map(|(what, count)| (what.to_owned(), count)).into());
        counts.continues(vec![("accepted".into(), 1000)]);
        let totals = counts.totals();
        let of = |what| count_of(&totals, what);
        assert_eq!(["accepted", "wrong", "too_old", "missing", LAST_ACCEPTED].map(of), [41, 8, 1, 0, 5]);
        assert_eq!((counts.accepted.get(), counts.refused.get(Reason::Wrong)), (1, 1));
        assert_eq!(counts.last_ever_accepted(), Timestamp::from_microsecond(5).ok());
    }

    #[test]
    fn every_reason_is_one_of_a_source_or_of_requests_elsewhere() {
        for reason in Reason::ALL {
            assert!(SOURCE_REASONS.contains(reason) || ELSEWHERE_REASONS.contains(reason), "{reason:?}");
        }
    }
}
