//! The note that stands beside a sink's cursor in a shard, as a text that people can read: which step wrote it, and
//! what was counted up to there, and how far replays have come. Any daemon can read it, whoever has the shard. Pure.
//!
//! `1 step=17 by=0a1b2c3d accepted=40 delivered=30 dead=2 filtered=3 dropped=1 parked=4 letters=2`, and for each replay
//! ` replay=9:1200:40:40:31:2:0:1`: its number, the place where it goes on, what it came to, and what became of that
//! (accepted, delivered, dead, filtered, dropped).

use crate::journal::kafka::seam::MAX_NOTE;
use crate::ledger::Counters;

/// What a note begins with.
const VERSION: &str = "1";

/// Of so many replays a note tells, which leaves a margin to [`MAX_NOTE`] whatever the numbers are. It tells of all
/// that are under way, as no more than half as many may be.
pub const MOST_REPLAYS: usize = 12;

/// How far a replay has come in one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Come {
    /// The replay's number.
    pub replay: i64,
    /// Where it goes on.
    pub at: u64,
    /// Deliveries that it came to.
    pub fed: u64,
    /// What became of it so far.
    pub counts: Counters,
}

/// What a sink has counted in one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Replays of the shard, at most `MOST_REPLAYS`.
    pub replays: Vec<Come>,
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
        let (parked, letters) = (count("parked")?, count("letters")?);
        let replays = words.map(Come::parse).collect::<Option<Vec<_>>>()?;
        Some(Self { step, by, counters, parked, letters, replays })
    }
}

impl Come {
    fn parse(text: &str) -> Option<Self> {
        let (replay, numbers) = text.strip_prefix("replay=")?.split_once(':')?;
        let numbers = numbers.split(':').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        let [at, fed, accepted, delivered, dead, filtered, dropped] = numbers.try_into().ok()?;
        let counts = Counters { accepted, delivered, dead, filtered, dropped };
        Some(Self { replay: replay.parse().ok()?, at, fed, counts })
    }
}

impl std::fmt::Display for Come {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { replay, at, fed, counts } = self;
        let Counters { accepted, delivered, dead, filtered, dropped } = counts;
        write!(f, "replay={replay}:{at}:{fed}:{accepted}:{delivered}:{dead}:{filtered}:{dropped}")
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { step, by, counters, parked, letters, replays } = self;
        let Counters { accepted, delivered, dead, filtered, dropped } = counters;
        write!(f, "{VERSION} step={step} by={by:08x} accepted={accepted} delivered={delivered} dead={dead} ")?;
        write!(f, "filtered={filtered} dropped={dropped} parked={parked} letters={letters}")?;
        replays.iter().try_for_each(|come| write!(f, " {come}"))
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
        let counters = |[accepted, delivered, dead, filtered, dropped]: [u64; 5]| Counters {
            accepted,
            delivered,
            dead,
            filtered,
            dropped,
        };
        let come = (any::<i64>(), number(), number(), any::<[u64; 5]>())
            .prop_map(move |(replay, at, fed, counts)| Come { replay, at, fed, counts: counters(counts) });
        let replays = prop::collection::vec(come, 0..=MOST_REPLAYS);
        (any::<u32>(), numbers, replays).prop_map(
            move |(by, (step, accepted, delivered, dead, filtered, dropped, parked, letters), replays)| {
                let counters = counters([accepted, delivered, dead, filtered, dropped]);
                Note { step, by, counters, parked, letters, replays }
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
            prop_assert_eq!(Note::read(&text).unwrap(), note.clone());
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
        assert_ne!(note.clone().next(1).to_string(), note.to_string());
        assert_ne!(Note::default().next(2).to_string(), note.to_string());
    }

    #[test]
    fn a_note_has_room_for_the_replays_whatever_the_numbers_are() {
        let most =
            Counters { accepted: u64::MAX, delivered: u64::MAX, dead: u64::MAX, filtered: u64::MAX, dropped: u64::MAX };
        let come = Come { replay: i64::MIN, at: u64::MAX, fed: u64::MAX, counts: most };
        let note = Note {
            step: u64::MAX,
            by: u32::MAX,
            counters: most,
            parked: u64::MAX,
            letters: u64::MAX,
            replays: vec![come; MOST_REPLAYS],
        };
        assert!(note.to_string().len() < MAX_NOTE * 2 / 3);
    }

    #[test]
    fn a_cursor_that_kafkas_tools_have_set_has_no_note_and_a_later_builds_is_refused() {
        assert_eq!(Note::read("").unwrap(), Note::default());
        let later = Note::default().to_string().replacen('1', "2", 1);
        assert_eq!(Note::read(&later), Err(NoteError(later)));
        assert_eq!(Note::read(&"x".repeat(5000)).unwrap_err().0.len(), SHOWN);
    }
}
