//! What was read from disk last, for readers that are late together: records that one has read, and what it made of
//! them, are there for those that come by soon after. Pure memory work, behind a lock; bounded by bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use super::view::{after, in_memory, lock};
use super::{Chunk, Entry};

/// Bytes that these records may take, with what readers make of them: a few reads.
const RECENT_BYTES: u64 = 8 << 20;
/// What a record takes on disk beside payload and key, about.
const HEAD: u64 = 80;

/// A stretch of the journal, without holes.
struct Stretch {
    /// It begins here, and ends before `next`.
    from: u64,
    next: u64,
    entries: Vec<Entry>,
    /// What it takes in memory.
    bytes: u64,
}

/// The stretches that were read last, oldest first.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<Stretch>>);

impl Recent {
    /// Records from a sequence on, at most about `max_bytes` of them and at least one, where they were read lately.
    pub fn read(&self, from: u64, max_bytes: u64) -> Option<Chunk> {
        let stretches = self.stretches();
        let known = stretches.iter().rfind(|stretch| (stretch.from..stretch.next).contains(&from))?;
        let start = known.entries.partition_point(|entry| entry.position.offset < from);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in known.entries.get(start..)? {
            bytes += size(entry);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        // What it has no record for is looked for on disk.
        (!entries.is_empty()).then(|| Chunk { next: after(&entries, from), entries, gap: None })
    }

    /// Takes in what was read from a sequence on, up to another, with no hole between.
    pub fn keep(&self, from: u64, next: u64, entries: &[Entry]) {
        let bytes = entries.iter().map(|entry| in_memory(size(entry))).sum();
        let mut stretches = self.stretches();
        stretches.push_back(Stretch { from, next, entries: entries.to_vec(), bytes });
        let mut all: u64 = stretches.iter().map(|stretch| stretch.bytes).sum();
        while all > RECENT_BYTES {
            let Some(oldest) = stretches.pop_front() else { break };
            all = all.saturating_sub(oldest.bytes);
        }
    }

    /// Lets go of all: whoever was late has caught up.
    pub fn clear(&self) {
        self.stretches().clear();
    }

    fn stretches(&self) -> MutexGuard<'_, VecDeque<Stretch>> {
        lock(&self.0)
    }
}

/// About how many bytes it takes on disk.
fn size(entry: &Entry) -> u64 {
    (entry.record.payload.len() + entry.record.key.len()) as u64 + HEAD
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::Record;
    use crate::journal::view::position;

    fn entry(offset: u64, payload: usize) -> Entry {
        let (source, kind, key) = ("s".into(), "t".into(), "".into());
        let (payload, made) = (vec![0; payload].into(), Default::default());
        let record = Record { id: [0; 16], time: 0, source, kind, key, fingerprint: None, payload, made };
        Entry { position: position(offset), record: Arc::new(record) }
    }

    fn read(recent: &Recent, from: u64, max_bytes: u64) -> Option<(Vec<u64>, u64)> {
        let chunk = recent.read(from, max_bytes)?;
        Some((chunk.entries.iter().map(|entry| entry.position.offset).collect(), chunk.next.offset))
    }

    #[test]
    fn who_comes_by_soon_after_gets_what_another_has_read() {
        let recent = Recent::default();
        recent.keep(10, 15, &[entry(11, 20), entry(12, 20), entry(14, 20)]);
        assert_eq!(read(&recent, 10, 1000), Some((vec![11, 12, 14], 15)));
        assert_eq!(read(&recent, 12, 150), Some((vec![12], 13)));
        assert_eq!(read(&recent, 13, 1), Some((vec![14], 15)), "one at least");
        assert_eq!([9, 15].map(|from| read(&recent, from, 1000)), [None, None]);
        recent.clear();
        assert_eq!(read(&recent, 12, 1000), None);
    }

    #[test]
    fn what_was_read_longest_ago_is_let_go_of() {
        let recent = Recent::default();
        let third = RECENT_BYTES as usize / 6 - 1000;
        (0..4).for_each(|n| recent.keep(n, n + 1, &[entry(n, third)]));
        assert_eq!([0, 1, 3].map(|from| read(&recent, from, 1).is_some()), [false, true, true]);
        recent.keep(9, 10, &[entry(9, RECENT_BYTES as usize)]);
        assert_eq!([3, 9].map(|from| read(&recent, from, 1).is_some()), [false, false]);
    }
}
