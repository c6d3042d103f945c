//! Reads the journal for whoever looks for something in it: spans forward, and from the newest event back. Holds
//! nothing of the journal; what retention deletes meanwhile is not found.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::refusals::unable;
use crate::admin::Refusal;
use crate::journal::{Entry, Journal, Marks, News, Of, Position, Record};

/// Most bytes read at once.
pub(super) const READ_BYTES: u64 = 256 << 10;
/// Most events of one window that are looked at more closely; of more, the newest.
const WINDOW_EVENTS: usize = 2_000;
/// Most bytes of their payloads.
const WINDOW_BYTES: usize = 8 << 20;
/// The narrowest window, events: it is read to its end, however long that takes, so that every look goes on.
const FEWEST: u64 = 64;
/// The widest window, events.
const MOST: u64 = 1 << 20;
/// By how much a window is wider than the one after it, and by how much narrower where one took too long.
const WIDER: u64 = 4;
const NARROWER: u64 = 16;
/// A window may take so much of the time that is left, as a divisor.
const SHARE: u32 = 4;

/// How far a look has come.
pub(super) struct Reached {
    /// Everything before was read.
    pub at: Marks,
    /// Whether that is the end of the span.
    pub is_end: bool,
}

/// Reads a span in order until the deadline, where there is one; `see` gets every event.
///
/// # Errors
/// The journal cannot be read.
pub(super) async fn span(
    journal: &dyn Journal,
    from: Marks,
    until: &Marks,
    deadline: Option<Instant>,
    mut see: impl FnMut(Entry) + Send,
) -> Result<Reached, Refusal> {
    let mut at = from.clone();
    let mut reader = journal.reader(Of::Span { from, until: until.clone() }).await.map_err(unable)?;
    while !at.reaches(until) {
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Ok(Reached { at, is_end: false });
        }
        if let News::Chunk(chunk) = reader.next(READ_BYTES).await.map_err(unable)? {
            at.set(chunk.next);
            chunk.entries.into_iter().for_each(&mut see);
        }
    }
    Ok(Reached { at, is_end: true })
}

/// Reads from the newest event back, window by window, each so many events wide in every shard. By number and not by
/// time, so that where a look goes on is known from where it ended, whatever the events' clocks said.
pub(super) struct Backwards<'j> {
    journal: &'j dyn Journal,
    /// Nothing before is looked at.
    oldest: Marks,
    /// Everything at or after is done.
    until: Marks,
    width: u64,
    /// Whether no window took too long so far.
    grows: bool,
}

impl<'j> Backwards<'j> {
    /// From these marks back to those; `wanted` is about how many events will do.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn new(
        journal: &'j dyn Journal,
        oldest: Option<Marks>,
        until: Option<Marks>,
        wanted: usize,
    ) -> Result<Self, Refusal> {
        let ends = journal.ends().await.map_err(unable)?;
        let there = journal.oldest().await.map_err(unable)?;
        let until = until.map_or_else(|| ends.clone(), |until| until.earlier(&ends));
        let oldest = oldest.map_or_else(|| there.clone(), |oldest| oldest.later(&there));
        let width = u64::try_from(wanted).unwrap_or(MOST).clamp(FEWEST, MOST);
        Ok(Self { journal, oldest, until, width, grows: true })
    }

    /// Whether all was read.
    pub fn is_done(&self) -> bool {
        self.oldest.reaches(&self.until)
    }

    /// Where another look goes on, as text; none where all was read.
    pub fn cursor(&self) -> Option<String> {
        (!self.is_done()).then(|| written(&self.until))
    }

    /// Everything at or after this event is done.
    pub fn set_until(&mut self, position: Position) {
        self.until.set(position);
    }

    /// The events of the next window that `takes` takes, newest first. Nothing may be among them although there is
    /// more. What takes longer than its share of the time is tried again narrower; a window is read in any case, past
    /// the deadline the narrowest.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn window(
        &mut self,
        deadline: Instant,
        takes: impl Fn(&Record) -> bool + Send + Sync,
    ) -> Result<Vec<Entry>, Refusal> {
        loop {
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                self.width = FEWEST;
            }
            let end = (self.width > FEWEST).then(|| now + left / SHARE);
            let before = |at: Position| Position { offset: at.offset.saturating_sub(self.width), ..at };
            let from = self.until.iter().map(before).collect::<Marks>().later(&self.oldest);
            let (mut kept, mut bytes, mut is_cut) = (VecDeque::new(), 0, false);
            let read = span(self.journal, from.clone(), &self.until, end, |entry| {
                if !takes(&entry.record) {
                    return;
                }
                bytes += entry.record.payload.len();
                kept.push_back(entry);
                while kept.len() > WINDOW_EVENTS || (bytes > WINDOW_BYTES && kept.len() > 1) {
                    bytes -= kept.pop_front().map_or(0, |entry: Entry| entry.record.payload.len());
                    is_cut = true;
                }
            });
            if !read.await?.is_end {
                (self.width, self.grows) = ((self.width / NARROWER).max(FEWEST), false);
                continue;
            }
            if is_cut {
                kept.front().into_iter().for_each(|first| self.until.set(first.position));
            } else {
                self.until = from;
                if self.grows {
                    self.width = self.width.saturating_mul(WIDER).min(MOST);
                }
            }
            return Ok(kept.into_iter().rev().collect());
        }
    }
}

/// Marks as text that [`read`] reads.
pub(super) fn written(marks: &Marks) -> String {
    let all = marks.iter().map(|Position { shard, offset }| format!("{shard}-{offset}"));
    all.collect::<Vec<_>>().join(",")
}

/// Reads a cursor.
///
/// # Errors
/// It is none of ours.
pub(super) fn read(cursor: &str) -> Result<Marks, Refusal> {
    let position = |part: &str| {
        let (shard, offset) = part.split_once('-')?;
        Some(Position { shard: shard.parse().ok()?, offset: offset.parse().ok()? })
    };
    let marks: Option<Marks> = cursor.split(',').map(position).collect();
    marks.ok_or_else(|| Refusal::Question(format!("`after` is `{cursor}`, expected the `next` of another answer")))
}

/// When a look that began now has to end.
pub(super) fn deadline(within: Duration) -> Instant {
    Instant::now() + within
}

/// Whether a look has to end.
pub(super) fn is_over(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

/// The marks that no event comes after.
pub(super) fn never(ends: &Marks) -> Marks {
    let shards = ends.iter().map(|position| Position { offset: u64::MAX, ..position });
    shards.chain([Position { shard: 0, offset: u64::MAX }]).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event;
    use crate::journal::{JournalConfig, LocalJournal, OnFailure};
    use crate::ledger::Ledger;

    #[tokio::test]
    async fn every_look_goes_on_however_little_time_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (config, cursors) = (JournalConfig::default(), Arc::new(Ledger::default()));
        let opened = LocalJournal::open(dir.path(), &config, event::subject_of, cursors, Box::new(|| 0));
        let (journal, _) = opened.unwrap();
        let first = journal.known_ends().at(0).offset;
        let body = |n: u32| bytes::Bytes::from(format!("{{\"n\":{n}}}"));
        for n in 0..1000 {
            // One clock for all of them, and it is wrong.
            let record = Record { time: 1_000_000, ..event::encode(&event::own(body(n)), None, false) };
            journal.append(record, OnFailure::Keep, Box::new(|_| {}));
        }
        let all = async {
            while journal.known_ends().at(0).offset < first + 1000 {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
        let (mut found, mut cursor) = (Vec::new(), None);
        for look in 0.. {
            assert!(look < 1000, "it does not end");
            let until = cursor.as_deref().map(|cursor| read(cursor).unwrap());
            let mut back = Backwards::new(&journal, None, until, 500).await.unwrap();
            found.extend(back.window(Instant::now(), |_| true).await.unwrap());
            cursor = back.cursor();
            if cursor.is_none() {
                break;
            }
        }
        let places: Vec<u64> = found.iter().map(|entry| entry.position.offset - first).collect();
        assert!(places.iter().copied().eq((0..1000).rev()), "{places:?}");
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let marks: Marks = [Position { shard: 0, offset: 7 }, Position { shard: 2, offset: 9 }].into_iter().collect();
        assert_eq!(read(&written(&marks)), Ok(marks));
        for bad in ["", "7", "a-b", "0-7,"] {
            assert!(matches!(read(bad), Err(Refusal::Question(_))), "{bad}");
        }
    }
}
