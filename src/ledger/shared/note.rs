//! The note that stands beside a sink's cursor in a shard, as a text that people can read: which step wrote it, and
//! what was counted up to there. Pure.
//!
//! `1 step=17 by=0a1b2c3d accepted=40 delivered=30 dead=2 filtered=3 dropped=1 parked=4 letters=2`

use crate::journal::kafka::seam::MAX_NOTE;
use crate::ledger::Counters;

/// What a note begins with.
const VERSION: &str = "1";

/// What a sink has counted in one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// How many steps there were, this one included.
    pub step: u64,
    /// A number that the process which wrote it has drawn. Two processes that both believe to own a shard may come to
    /// the same step; this tells theirs apart.
    pub by: u32,
    /// Totals of the shard since the sink began.
    pub counters: Counters,
    /// Deliveries that are parked in the shard.
    pub parked: u64,
    /// Dead letters that are kept in the shard.
    pub letters: u64,
}

/// Why a note cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor's note cannot be read: `{0}`")]
pub struct NoteError(pub String);

/// Most characters of a note that an error shows.
const SHOWN: usize = 120;

impl Note {
    /// The note of the step that comes next, which this process writes.
    #[must_use]
    pub fn next(self, by: u32) -> Self {
        Self { step: self.step.wrapping_add(1), by, ..self }
    }

    /// Reads it. A cursor without a note was set by Kafka's own tools: what was counted before is not known any more.
    ///
    /// # Errors
    /// It is none, or a later build's.
    pub fn read(text: &str) -> Result<Self, NoteError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        Self::parse(text)
            .filter(|note| text.len() <= MAX_NOTE && note.to_string() == text)
            .ok_or_else(|| NoteError(text.chars().take(SHOWN).collect()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        words.next().filter(|version| *version == VERSION)?;
        let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let step = value("step")?.parse().ok()?;
        let by = u32::from_str_radix(value("by")?, 16).ok()?;
        let mut count = |name: &str| value(name)?.parse().ok();
        let counters = Counters {
            accepted: count("accepted")?,
            delivered: count("delivered")?,
            dead: count("dead")?,
            filtered: count("filtered")?,
            dropped: count("dropped")?,
        };
        Some(Self { step, by, counters, parked: count("parked")?, letters: count("letters")? })
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { step, by, counters, parked, letters } = self;
        let Counters { accepted, delivered, dead, filtered, dropped } = counters;
        write!(f, "{VERSION} step={step} by={by:08x} accepted={accepted} delivered={delivered} dead={dead} ")?;
        write!(f, "filtered={filtered} dropped={dropped} parked={parked} letters={letters}")
    }
}

/// The totals of several shards together.
pub fn total(notes: impl IntoIterator<Item = Note>) -> Counters {
    notes.into_iter().fold(Counters::default(), |sum, Note { counters, .. }| Counters {
        accepted: sum.accepted.wrapping_add(counters.accepted),
        delivered: sum.delivered.wrapping_add(counters.delivered),
        dead: sum.dead.wrapping_add(counters.dead),
        filtered: sum.filtered.wrapping_add(counters.filtered),
        dropped: sum.dropped.wrapping_add(counters.dropped),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note() -> impl Strategy<Value = Note> {
        let number = || prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0..100_u64];
        let numbers = (number(), number(), number(), number(), number(), number(), number(), number());
        (any::<u32>(), numbers).prop_map(
            |(by, (step, accepted, delivered, dead, filtered, dropped, parked, letters))| {
                let counters = Counters { accepted, delivered, dead, filtered, dropped };
                Note { step, by, counters, parked, letters }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_and_nothing_else_is(
            note in note(),
            at in any::<prop::sample::Index>(),
            with in any::<char>(),
        ) {
            let text = note.to_string();
            prop_assert!(text.len() < MAX_NOTE);
            prop_assert_eq!(Note::read(&text).unwrap(), note);
            let at = at.index(text.len());
            for other in [format!("{}{with}{}", &text[..at], &text[at..]), text[..at].to_owned(), format!("{text} ")] {
                let read = Note::read(&other);
                prop_assert!(other.is_empty() || read.is_err() || read.unwrap().to_string() == other, "{other}");
            }
        }
    }

    #[test]
    fn a_step_changes_the_note_even_where_nothing_was_counted_and_so_does_another_process() {
        let note = Note::default().next(1);
        assert_ne!(note.next(1).to_string(), note.to_string());
        assert_ne!(Note::default().next(2).to_string(), note.to_string());
    }

    #[test]
    fn a_cursor_that_kafkas_tools_have_set_has_no_note_and_a_later_builds_is_refused() {
        assert_eq!(Note::read("").unwrap(), Note::default());
        let later = Note::default().to_string().replacen('1', "2", 1);
        assert_eq!(Note::read(&later), Err(NoteError(later)));
        assert_eq!(Note::read(&"x".repeat(5000)).unwrap_err().0.len(), SHOWN);
    }
}
