//! What readers see: the list of segments, the durable end, and the newest records in memory. The commit thread
//! publishes here after a flush, retention removes what it deletes; one lock guards it, and is held for memory work
//! only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::DiskFile;
use super::footer::Summary;
use super::format::{self, Before, Header};
use super::rescue::kept_open;
use super::{Chunk, Entry, JournalStat, Position};

/// Bytes that the newest records take which are kept in memory for sinks that keep up.
pub(super) const TAIL_BYTES: u64 = 12 << 20;
/// What one of them takes beside its bytes on disk: the record as it lies in memory, and the event that its readers
/// make of it (see [`Made`](super::Made)), texts and headers included.
const KEPT: u64 = 1024;

/// Records of one read for which room is made beforehand.
const GUESS: usize = 512;

/// The local journal's one shard.
pub(super) const SHARD: u32 = 0;

/// A sequence as a position of the one shard.
pub(super) fn position(offset: u64) -> Position {
    Position { shard: SHARD, offset }
}

/// A summary that still grows, or that could not be written into a footer.
pub(super) type Shared = Arc<Mutex<Summary>>;

/// A segment as readers and retention know it.
#[derive(Clone)]
pub(super) struct Segment {
    pub base: u64,
    /// The sequence after its last durable record.
    pub next: u64,
    /// The byte after its last durable record.
    pub end: u64,
    /// Bytes of the whole file.
    pub size: u64,
    pub records: u64,
    /// Oldest and newest time of its records, microseconds.
    pub times: Option<(i64, i64)>,
    pub salt: u32,
    pub before: Before,
    /// Its summary, where that is not in a footer.
    pub summary: Option<Shared>,
    /// Its file, open, where it is one of the newest segments ([`kept_open`]).
    pub file: Option<Arc<dyn DiskFile>>,
    /// Whether nothing is written to it any more but a footer.
    pub ended: bool,
    /// Bytes of its index, where that is there.
    pub index: Option<u64>,
}

impl Segment {
    /// A segment as its summary and header describe it; the caller adds the rest.
    pub fn new(header: &Header, summary: &Summary) -> Self {
        Self {
            base: header.base,
            next: summary.next,
            end: summary.end,
            size: summary.end,
            records: summary.records,
            times: summary.times,
            salt: header.salt,
            before: header.before,
            summary: None,
            file: None,
            ended: false,
            index: None,
        }
    }

    /// Bytes on disk, its index included.
    pub fn bytes(&self) -> u64 {
        self.size + self.index.unwrap_or(0)
    }

    /// Whether a cursor stands behind its first record and before its end.
    pub fn has_within(&self, cursor: u64) -> bool {
        self.base < cursor && cursor < self.next
    }
}

/// Most that a record of that size on disk takes in memory: readers may keep a rendering of it with it.
pub(super) fn in_memory(size: u64) -> u64 {
    size.saturating_mul(2).saturating_add(KEPT)
}

/// The newest records, bounded by the bytes that they take in memory.
#[derive(Default)]
pub(super) struct Tail {
    /// Each with its size on disk.
    entries: VecDeque<(u64, Entry)>,
    bytes: u64,
    /// Every durable record from this sequence on is here.
    from: u64,
}

impl Tail {
    /// Takes in a record of that size on disk; what it pushes out goes to `old`.
    fn push(&mut self, size: u64, entry: Entry, old: &mut Vec<Entry>) {
        self.bytes += in_memory(size);
        self.entries.push_back((size, entry));
        while self.bytes > TAIL_BYTES {
            let Some((size, entry)) = self.entries.pop_front() else { break };
            self.bytes -= in_memory(size);
            self.from = entry.position.offset + 1;
            old.push(entry);
        }
    }

    /// Records from a sequence on, or `None` where memory does not reach back to it.
    fn read(&self, from: u64, max_bytes: u64) -> Option<Chunk> {
        if from < self.from {
            return None;
        }
        let start = self.entries.partition_point(|(_, e)| e.position.offset < from);
        let (mut entries, mut bytes) = (Vec::with_capacity((self.entries.len() - start).min(GUESS)), 0);
        for (size, entry) in self.entries.range(start..) {
            bytes += size;
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Some(Chunk { next: after(&entries, from), entries, gap: None })
    }
}

/// Where to read on after these entries.
pub(super) fn after(entries: &[Entry], from: u64) -> Position {
    position(entries.last().map_or(from, |e| e.position.offset + 1))
}

/// What readers see.
pub(super) struct View {
    /// Segments with durable records, in order of base.
    pub segments: Vec<Segment>,
    /// The sequence after the last durable record.
    pub end: u64,
    tail: Tail,
    /// How many segments' files stay open.
    kept_open: usize,
}

impl View {
    /// What readers see at the start: no record is in memory yet.
    pub fn new(mut segments: Vec<Segment>, end: u64) -> Self {
        let kept_open = kept_open();
        let old = segments.len().saturating_sub(kept_open);
        segments.iter_mut().take(old).for_each(|segment| segment.file = None);
        Self { segments, end, tail: Tail { from: end, ..Tail::default() }, kept_open }
    }

    /// The oldest position that may still hold a record.
    pub fn oldest(&self) -> u64 {
        self.segments.first().map_or(self.end, |s| s.base)
    }

    /// The first position that is still there, where the one asked for is not. 0 stands for the beginning, wherever
    /// that is; and what lies between a segment and its predecessor's end never held anything.
    pub fn gap(&self, from: u64) -> Option<u64> {
        let segment = self.segment_for(from)?;
        (0 < from && from < segment.before.end.min(segment.base)).then_some(segment.base)
    }

    /// The segment to read for a sequence: the one it is in, else the next one.
    pub fn segment_for(&self, from: u64) -> Option<&Segment> {
        self.segments.get(self.segments.partition_point(|s| s.next <= from))
    }

    /// Records from memory, or `None` where it does not reach back far enough.
    pub fn read_tail(&self, from: u64, max_bytes: u64) -> Option<Chunk> {
        self.tail.read(from, max_bytes)
    }

    /// Takes in a batch that is on disk. `segment` is its segment as it stands now. Gives the records that memory lets
    /// go of, which cost time to drop: better done without the lock.
    pub fn publish(&mut self, segment: Segment, records: impl Iterator<Item = (u64, Entry)>) -> Vec<Entry> {
        self.end = segment.next;
        match self.segments.last_mut() {
            Some(last) if last.base == segment.base => *last = segment,
            _ => {
                self.segments.push(segment);
                if let Some(old) = self.segments.iter_mut().nth_back(self.kept_open) {
                    old.file = None;
                }
            }
        }
        let mut old = Vec::new();
        for (size, entry) in records {
            self.tail.push(size, entry, &mut old);
        }
        old
    }

    /// The segment that begins at `base`.
    pub fn segment_mut(&mut self, base: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|s| s.base == base)
    }

    /// Bytes of all segments and their indexes.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// The journal at a glance.
    pub fn stat(&self) -> JournalStat {
        JournalStat {
            events: Some(self.segments.iter().map(|s| s.records).sum()),
            bytes: Some(self.size()),
            segments: self.segments.len(),
            oldest_time: self.segments.first().and_then(|s| s.times).map(|(oldest, _)| oldest),
            owed_bytes: None,
            free: None,
        }
    }
}

/// Takes a lock, even where a holder panicked: everything in this room that is behind a lock is valid between any two
/// statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file name of a segment.
pub(super) fn file_name(segment: &Segment) -> String {
    format::segment_name(segment.base)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::journal::Record;

    fn entry(offset: u64) -> Entry {
        let (source, kind, key) = ("s".into(), "t".into(), "k".into());
        let (payload, made) = (Bytes::new(), Default::default());
        let record = Record { id: [0; 16], time: 0, source, kind, key, fingerprint: None, payload, made };
        Entry { position: Position { shard: SHARD, offset }, record: Arc::new(record) }
    }

    fn offsets(chunk: &Chunk) -> Vec<u64> {
        chunk.entries.iter().map(|e| e.position.offset).collect()
    }

    #[test]
    fn the_tail_gives_what_was_asked_for_or_says_that_it_reaches_not_far_enough() {
        let mut tail = Tail { from: 10, ..Tail::default() };
        [10, 11, 15, 16].into_iter().for_each(|n| tail.push(100, entry(n), &mut Vec::new()));
        assert!(tail.read(9, 1000).is_none());
        assert_eq!(offsets(&tail.read(10, 1000).unwrap()), [10, 11, 15, 16]);
        assert_eq!(offsets(&tail.read(12, 1000).unwrap()), [15, 16]);
        assert_eq!(offsets(&tail.read(10, 250).unwrap()), [10, 11]);
        let one = tail.read(11, 1).unwrap();
        assert_eq!((offsets(&one), one.next.offset), (vec![11], 12));
        let none = tail.read(17, 1000).unwrap();
        assert_eq!((offsets(&none), none.next.offset), (vec![], 17));
    }

    #[test]
    fn the_tail_is_bounded_by_bytes_and_knows_what_it_has_let_go() {
        let mut tail = Tail { from: 1, ..Tail::default() };
        (1..=5).for_each(|n| tail.push(TAIL_BYTES / 6 - KEPT / 2, entry(n), &mut Vec::new()));
        assert!(tail.bytes <= TAIL_BYTES);
        assert!(tail.read(2, 1).is_none());
        assert_eq!(offsets(&tail.read(3, u64::MAX).unwrap()), [3, 4, 5]);
        tail.push(TAIL_BYTES + 1, entry(6), &mut Vec::new());
        assert!(tail.read(6, 1).is_none(), "a record larger than the tail does not stay");
        assert!(tail.read(7, 1).is_some());
    }
}
