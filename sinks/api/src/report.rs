//! What a sink answers: one outcome per delivery. A slot left unset means Retry, never Delivered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::Batch;

/// Reason codes that more than one sink uses. A code is a metric label: short, fixed, lower case.
pub mod code {
    /// The target could not be reached (refused, reset, no route).
    pub const CONNECT: &str = "connect";
    /// Its name could not be resolved.
    pub const DNS: &str = "dns";
    /// TLS could not be agreed on.
    pub const TLS: &str = "tls";
    /// The target refused our credentials or rights.
    pub const AUTH: &str = "auth";
    /// The disk the sink writes to is full, or below `min_free`.
    pub const DISK_FULL: &str = "disk_full";
    /// Reading or writing failed.
    pub const IO: &str = "io";
    /// No answer in time.
    pub const TIMEOUT: &str = "timeout";
    /// The payload is not what this sink can take.
    pub const BAD_PAYLOAD: &str = "bad_payload";
    /// Somebody else holds what is needed: a lock, memory, every connection.
    pub const BUSY: &str = "busy";
    /// The table is missing, lacks a column, or has no unique `event_id`.
    pub const SCHEMA: &str = "schema";
    /// The database is damaged.
    pub const CORRUPT: &str = "corrupt";
    /// A rule of the table refused the row.
    pub const CONSTRAINT: &str = "constraint";
    /// The target, or the sink itself, misbehaved.
    pub const INTERNAL: &str = "internal";
    /// The sink left the slot unset.
    pub const NO_VERDICT: &str = "no_verdict";
    /// A rule failed while it was evaluated for this event.
    pub const RULE_ERROR: &str = "rule_error";

    /// Codes that speak of the sink as a whole: one such failure opens its breaker at once.
    pub const SINK_DOWN: &[&str] = &[CONNECT, DNS, TLS, AUTH, DISK_FULL];
}

/// Longest `detail` kept, in bytes.
pub const MAX_DETAIL: usize = 500;

/// Longest [`Answer`] kept, in bytes.
pub const MAX_ANSWER: usize = 512;

/// What a target said when it did not take a delivery: the beginning of it, as text. It may hold a body's values, so
/// that it is shown nowhere but in `dead show`, and only where the sink's table says `keep_answer = true`; its `Debug`
/// shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer(Box<str>);

impl Answer {
    /// What the target said, cut at [`MAX_ANSWER`] bytes; `None` where it said nothing. What is no UTF-8 is replaced,
    /// and control characters are escaped (`\n`, `\u{1b}`).
    pub fn of(said: &[u8]) -> Option<Self> {
        // More than this is never kept, as nothing becomes shorter.
        let begun = said.get(..MAX_ANSWER).unwrap_or(said);
        let mut text = String::new();
        for c in String::from_utf8_lossy(begun).chars() {
            let escaped = if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            if text.len() + escaped.len() > MAX_ANSWER {
                break;
            }
            text.push_str(&escaped);
        }
        (!text.trim().is_empty()).then(|| Self(text.into()))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} bytes)", self.0.len())
    }
}

/// Why a delivery was not made. `detail` never holds row values, bodies, or URLs with user-info or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Metric label, see [`code`].
    pub code: &'static str,
    /// One line for people.
    pub detail: String,
    /// What the target said, where it said anything; the core drops it unless the sink's table wants it kept.
    pub answer: Option<Answer>,
    /// Whether the sink refused it by itself and asked its target nothing: such a reject says nothing of the target,
    /// and leaves the breaker alone.
    pub is_local: bool,
}

impl Reason {
    /// A reason; the detail is cut at [`MAX_DETAIL`] bytes and kept to one line.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        // It goes to terminals, too: what would steer one is taken out.
        if detail.contains(char::is_control) {
            let words = detail.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
            detail = words.collect::<Vec<_>>().join(" ");
        }
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        Self { code, detail, answer: None, is_local: false }
    }

    /// The same, with what the target said beside it: see [`Answer::of`].
    #[must_use]
    pub fn answered(self, said: &[u8]) -> Self {
        Self { answer: Answer::of(said), ..self }
    }

    /// The same, of a delivery that the sink refuses without having asked its target.
    #[must_use]
    pub fn local(self) -> Self {
        Self { is_local: true, ..self }
    }

    /// The batch's deadline has passed before anything was tried.
    pub fn too_late() -> Self {
        Self::new(code::TIMEOUT, "the batch's deadline has passed")
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, safely.
    Delivered,
    /// It is not, and may be later.
    Retry {
        /// The target's own wish how long to wait (`Retry-After`); the core clamps it.
        after: Option<Duration>,
        /// Why.
        why: Reason,
    },
    /// It never will be: a dead letter.
    Reject {
        /// Why.
        why: Reason,
    },
    /// The sink puts it off without having tried: this is no attempt, and says nothing of the target.
    Later {
        /// How long.
        after: Duration,
        /// Why.
        why: Reason,
    },
    /// It is not needed any more: nothing was tried and nothing will be. It counts as filtered.
    Skipped {
        /// Why.
        why: Reason,
    },
}

impl Outcome {
    /// Retry without a wish.
    pub fn retry(code: &'static str, detail: impl Into<String>) -> Self {
        Self::retry_for(Reason::new(code, detail))
    }

    /// Retry without a wish, for a reason that is known already.
    pub fn retry_for(why: Reason) -> Self {
        Self::Retry { after: None, why }
    }

    /// Reject.
    pub fn reject(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Reject { why: Reason::new(code, detail) }
    }

    /// Whether what comes behind it in its key waits for it. Delivered or skipped, it is out of the way.
    pub fn holds_its_key(&self) -> bool {
        !matches!(self, Self::Delivered | Self::Skipped { .. })
    }

    /// Why it is not there; `None` where it is.
    pub fn why(&mut self) -> Option<&mut Reason> {
        match self {
            Self::Delivered => None,
            Self::Retry { why, .. } | Self::Reject { why } | Self::Later { why, .. } | Self::Skipped { why } => {
                Some(why)
            }
        }
    }

    /// The same, with what the target said beside the reason; see [`Answer::of`].
    #[must_use]
    pub fn answered(mut self, said: &[u8]) -> Self {
        if let Some(why) = self.why() {
            why.answer = Answer::of(said);
        }
        self
    }
}

/// One slot per delivery of a batch.
#[derive(Debug)]
#[must_use]
pub struct Report {
    slots: Vec<Option<Outcome>>,
    ordered: bool,
    /// Keys with a delivery in this batch that was attempted and not delivered.
    stopped: HashSet<Arc<str>>,
}

impl Report {
    /// All slots unset.
    pub fn open(batch: &Batch) -> Self {
        Self { slots: vec![None; batch.len()], ordered: batch.ordered, stopped: HashSet::new() }
    }

    /// The same outcome for every delivery.
    pub fn all(batch: &Batch, outcome: &Outcome) -> Self {
        Self { slots: vec![Some(outcome.clone()); batch.len()], ordered: batch.ordered, stopped: HashSet::new() }
    }

    /// Whether delivery `i` may be attempted: false where order is owed and an earlier delivery of its key, in this
    /// batch, was not delivered. Such a slot is left unset; the core hands it out again behind the earlier one.
    pub fn may_attempt(&self, batch: &Batch, i: usize) -> bool {
        !self.ordered || batch.deliveries.get(i).is_none_or(|d| !self.stopped.contains(&d.key))
    }

    /// Sets the outcome of delivery `i`; an `i` outside the batch is ignored.
    pub fn set(&mut self, batch: &Batch, i: usize, outcome: Outcome) {
        let (Some(slot), Some(delivery)) = (self.slots.get_mut(i), batch.deliveries.get(i)) else {
            return;
        };
        if self.ordered && outcome.holds_its_key() {
            self.stopped.insert(delivery.key.clone());
        }
        *slot = Some(outcome);
    }

    /// The outcome of delivery `i`, if set.
    pub fn get(&self, i: usize) -> Option<&Outcome> {
        self.slots.get(i).and_then(Option::as_ref)
    }

    /// The slots, one per delivery, in the batch's order.
    pub fn into_slots(self) -> Vec<Option<Outcome>> {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_bounded_text_that_steers_no_terminal_and_shows_in_no_log() {
        let text = |said: &[u8]| Answer::of(said).map(|answer| answer.text().to_owned());
        assert_eq!(text(b"no such \xff\x1b[31muser\n").as_deref(), Some("no such \u{fffd}\\u{1b}[31muser\\n"));
        assert_eq!((text(b""), text(b"  ")), (None, None));
        for said in ["\n".repeat(2000), "é".repeat(2000), "x".repeat(2000)] {
            let kept = text(said.as_bytes()).unwrap();
            assert!((MAX_ANSWER - 6..=MAX_ANSWER).contains(&kept.len()), "{}", kept.len());
        }
        let why = Reason::new("http_4xx", "400").answered(b"secret");
        assert!(!format!("{why:?} {why}").contains("secret"), "{why:?}");
        assert!(Outcome::Delivered.answered(b"x") == Outcome::Delivered);
    }
}
