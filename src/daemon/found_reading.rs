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
/// The narrowest and the widest first window, microseconds.
const FIRST_WINDOW: (i64, i64) = (10_000, 3_600_000_000);
/// By how much a window is wider than the one after it.
const WIDER: i64 = 4;

/// How far a look has come.
pub(super) struct Reached {
    /// Everything before was read.
    pub at: Marks,
    /// Whether that is the end of the span.
    pub is_end: bool,
}

/// Reads a span in order until the deadline; `see` gets every event.
///
/// # Errors
/// The journal cannot be read.
pub(super) async fn span(
    journal: &dyn Journal,
    from: Marks,
    until: &Marks,
    deadline: Instant,
    mut see: impl FnMut(Entry) + Send,
) -> Result<Reached, Refusal> {
    let mut at = from.clone();
    let mut reader = journal.reader(Of::Span { from, until: until.clone() }).await.map_err(unable)?;
    while !at.reaches(until) {
        if Instant::now() > deadline {
            return Ok(Reached { at, is_end: false });
        }
        if let News::Chunk(chunk) = reader.next(READ_BYTES).await.map_err(unable)? {
            at.set(chunk.next);
            chunk.entries.into_iter().for_each(&mut see);
        }
    }
    Ok(Reached { at, is_end: true })
}

/// Reads from the newest event back, window by window, each some time wide.
pub(super) struct Backwards<'j> {
    journal: &'j dyn Journal,
    /// Nothing before is looked at.
    oldest: Marks,
    /// Everything at or after is done.
    until: Marks,
    /// About when what stands before `until` was accepted, microseconds.
    time: i64,
    width: i64,
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
        now: i64,
        wanted: usize,
    ) -> Result<Self, Refusal> {
        let ends = journal.ends().await.map_err(unable)?;
        let there = journal.oldest().await.map_err(unable)?;
        let until = until.map_or_else(|| ends.clone(), |until| until.earlier(&ends));
        let oldest = oldest.map_or_else(|| there.clone(), |oldest| oldest.later(&there));
        let stat = journal.stat().await.map_err(unable)?;
        // As if events came evenly; where they do not, windows grow soon enough.
        let age = stat.oldest_time.map_or(0, |oldest| now.saturating_sub(oldest));
        let events = i64::try_from(stat.events).unwrap_or(i64::MAX).max(1);
        let width = (age / events).saturating_mul(i64::try_from(wanted).unwrap_or(i64::MAX));
        let width = width.clamp(FIRST_WINDOW.0, FIRST_WINDOW.1);
        Ok(Self { journal, oldest, until, time: now, width })
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
    /// more. A window that takes longer than until the deadline is none, and the next is narrower.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn window(
        &mut self,
        deadline: Instant,
        takes: impl Fn(&Record) -> bool + Send + Sync,
    ) -> Result<Vec<Entry>, Refusal> {
        let begin = self.time.saturating_sub(self.width);
        let from = self.journal.seek(begin).await.map_err(unable)?.later(&self.oldest);
        if from.reaches(&self.until) {
            self.go_back(begin);
            return Ok(vec![]);
        }
        let (mut kept, mut bytes, mut is_cut) = (VecDeque::new(), 0, false);
        let read = span(self.journal, from.clone(), &self.until, deadline, |entry| {
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
            self.width = (self.width / WIDER / WIDER).max(1);
            return Ok(vec![]);
        }
        if is_cut {
            kept.front().into_iter().for_each(|first| self.until.set(first.position));
        } else {
            self.until = from;
            self.go_back(begin);
        }
        Ok(kept.into_iter().rev().collect())
    }

    fn go_back(&mut self, to: i64) {
        self.time = to;
        self.width = self.width.saturating_mul(WIDER);
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

/// The marks that no event comes after.
pub(super) fn never(ends: &Marks) -> Marks {
    let shards = ends.iter().map(|position| Position { offset: u64::MAX, ..position });
    shards.chain([Position { shard: 0, offset: u64::MAX }]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let marks: Marks = [Position { shard: 0, offset: 7 }, Position { shard: 2, offset: 9 }].into_iter().collect();
        assert_eq!(read(&written(&marks)), Ok(marks));
        for bad in ["", "7", "a-b", "0-7,"] {
            assert!(matches!(read(bad), Err(Refusal::Question(_))), "{bad}");
        }
    }
}
