//! Reads a segment record by record, and over damage: where a record is bad, it looks on for the next good one.
//! Knows one file and its salt; does not know which segment it is or what its damage means.

use std::io;

use super::disk::{DiskFile, read_full};
use super::footer::Damage;
use super::format::{Fields, MIN_RECORD, SHAPE, Shape, is_whole, shape};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// Most bytes checksummed while looking for a good record behind one bad place. Only bytes made to look like records
/// come near it; what lies behind is then given up as damaged.
const SEARCH_BUDGET: u64 = 1 << 30;
/// A block of an unreadable stretch that is passed over.
const BLOCK: usize = 4096;

/// A good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub sequence: u64,
    /// Its place in the batch it was written with.
    pub place: u16,
    pub offset: u64,
    pub length: u64,
}

/// What comes next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A good record.
    Record(Found),
    /// A stretch without one; a good record follows.
    Damaged(Damage),
    /// From here to the limit there is no good record.
    Rest(u64),
    /// The limit.
    End,
}

/// Goes through the records of one file.
pub(super) struct Walker<'f> {
    file: &'f dyn DiskFile,
    salt: u32,
    limit: u64,
    at: u64,
    expected: u64,
    lenient: bool,
    window: Vec<u8>,
    window_at: u64,
    /// The unreadable blocks met, in lenient mode.
    pub unreadable: u64,
}

impl<'f> Walker<'f> {
    /// From the record `sequence` at `offset` up to the byte `limit`.
    pub fn new(file: &'f dyn DiskFile, salt: u32, (sequence, offset): (u64, u64), limit: u64) -> Self {
        let (window, lenient) = (Vec::new(), false);
        Self { file, salt, limit, at: offset, expected: sequence, lenient, window, window_at: 0, unreadable: 0 }
    }

    /// Takes blocks that cannot be read as damage, where the default is to fail. For recovery, which must get on.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// The next record or stretch of damage.
    pub fn step(&mut self) -> io::Result<Step> {
        if self.at >= self.limit {
            return Ok(Step::End);
        }
        let mut any = u64::MAX;
        let found = match self.try_at(self.at, &mut any)? {
            Some(found) if found.sequence == self.expected => found,
            _ => return self.resync(),
        };
        self.at = found.offset + found.length;
        self.expected = found.sequence + 1;
        Ok(Step::Record(found))
    }

    /// The good record that stands at a place, where one does; its fields can be had until the next call.
    pub fn look_at(&mut self, offset: u64) -> io::Result<Option<Found>> {
        if offset >= self.limit {
            return Ok(None);
        }
        let mut budget = u64::MAX;
        self.try_at(offset, &mut budget)
    }

    /// The fields of the record the last step found; `None` for a kind of record this build does not know.
    pub fn fields(&self, found: &Found) -> Option<Fields<'_>> {
        self.bytes(found.offset).get(..found.length as usize).and_then(Fields::decode)
    }

    /// Looks for the next good record from here on, and stands before it.
    fn resync(&mut self) -> io::Result<Step> {
        let (start, mut budget) = (self.at, SEARCH_BUDGET);
        let mut at = start;
        while let Some(candidate) = self.candidate(at)? {
            if let Some(found) = self.try_at(candidate, &mut budget)? {
                let damage =
                    Damage { from: start, to: candidate, first: self.expected, lost: found.sequence - self.expected };
                self.at = candidate;
                self.expected = found.sequence;
                return Ok(Step::Damaged(damage));
            }
            at = candidate + 1;
        }
        self.at = self.limit;
        Ok(Step::Rest(start))
    }

    /// The first place from `at` on where a record of this segment could begin.
    fn candidate(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        while at + MIN_RECORD <= self.limit {
            self.fill(at, SHAPE)?;
            let bytes = self.bytes(at);
            let found = (0..bytes.len()).position(|i| {
                let rest = bytes.get(i..).unwrap_or_default();
                // A record shorter than a whole shape can only stand at the very end.
                shape(rest).is_some_and(|shape| self.plausible(at + i as u64, shape))
            });
            if let Some(i) = found {
                return Ok(Some(at + i as u64));
            }
            let seen = bytes.len() as u64;
            if seen == 0 || at + seen >= self.limit {
                break;
            }
            // The last places of the window were seen without all of their shape: look at them again.
            at += seen.saturating_sub(SHAPE as u64 - 1).max(1);
        }
        Ok(None)
    }

    /// Sequences inside a segment are dense, so a place tells which ones can stand there.
    fn plausible(&self, at: u64, shape: Shape) -> bool {
        let most = self.expected + (self.limit - self.at.min(self.limit)) / MIN_RECORD;
        at + shape.total <= self.limit && (self.expected..=most).contains(&shape.sequence)
    }

    fn try_at(&mut self, at: u64, budget: &mut u64) -> io::Result<Option<Found>> {
        self.fill(at, SHAPE)?;
        let Some(claimed) = shape(self.bytes(at)).filter(|shape| self.plausible(at, *shape)) else { return Ok(None) };
        let Some(left) = budget.checked_sub(claimed.total) else { return Ok(None) };
        *budget = left;
        self.fill(at, claimed.total as usize)?;
        let whole = self.bytes(at).get(..claimed.total as usize).is_some_and(|record| is_whole(record, self.salt));
        let Shape { total: length, sequence, place } = claimed;
        Ok(whole.then_some(Found { sequence, place, offset: at, length }))
    }

    /// The bytes in memory from an offset on; at least what was filled there, short only at the end of the file.
    fn bytes(&self, at: u64) -> &[u8] {
        let start = at.checked_sub(self.window_at).unwrap_or(u64::MAX);
        usize::try_from(start).ok().and_then(|start| self.window.get(start..)).unwrap_or_default()
    }

    fn fill(&mut self, at: u64, want: usize) -> io::Result<()> {
        let room = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        if self.bytes(at).len() >= want.min(room) {
            return Ok(());
        }
        let size = want.max(CHUNK).min(room);
        self.window.resize(size, 0);
        self.window_at = at;
        let got = match read_full(self.file, &mut self.window, at) {
            Err(_) if self.lenient => self.read_blocks(at),
            done => done?,
        };
        self.window.truncate(got);
        Ok(())
    }

    /// Reads what can be read; blocks that cannot are zeros, which are never a record.
    fn read_blocks(&mut self, at: u64) -> usize {
        let mut offset = at;
        for block in self.window.chunks_mut(BLOCK) {
            if read_full(self.file, block, offset).is_err() {
                block.fill(0);
                self.unreadable += 1;
            }
            offset += block.len() as u64;
        }
        self.window.len()
    }
}
