//! The commit thread: takes what is queued, writes it with one write and one flush, publishes it, tells the callers.
//! While one batch is being flushed the next one gathers. A failed write or flush costs the segment, never a retry.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::disk::DiskFile;
use super::footer::Summary;
use super::format::{self, Before, Fields, Header, RECORDS_AT};
use super::queue::{Closing, Item, Notifications, Trouble};
use super::retention::Seal;
use super::state::Core;
use super::view::{SHARD, Segment, Shared, lock};
use super::{Entry, Position, Progress};

/// Most bytes of a batch, unless one record alone is larger.
pub(super) const BATCH_BYTES: u64 = 1 << 20;
/// Most records of a batch.
const BATCH_RECORDS: usize = 4096;
/// Free space is looked at when this many bytes were written since, or this much time has passed.
const CHECK_SPACE: (u64, Duration) = (1 << 20, Duration::from_millis(100));
/// How long a journal that cannot write goes on trying when it is closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Under load a flush for every few records takes the processor from those that bring the next ones. So a batch begins
/// no sooner after the one before than this for each of that one's records, and the second at most. Where records come
/// further apart than the first, nothing waits.
const PACE_EACH: Duration = Duration::from_micros(25);
const PACE_MOST: Duration = Duration::from_micros(200);
/// Most lost events that are named.
const NAMED: usize = 100;
/// Bytes of room made ahead: rarely enough that the flush which pays for it does not show, and little beside a segment.
pub(super) const AHEAD: u64 = 1 << 20;
static ZEROS: [u8; AHEAD as usize] = [0; AHEAD as usize];
/// Room ends where a block of the file system does.
const BLOCK: u64 = 4096;

/// The segment being written.
struct Active {
    file: Arc<dyn DiskFile>,
    header: Header,
    /// The byte after its last durable record.
    end: u64,
    /// The file's length: behind `end` it holds zeros.
    size: u64,
    /// As much of it as retention knows of.
    counted: u64,
    /// Whether room is made ahead; no longer where that failed.
    ahead: bool,
    summary: Shared,
    /// How often the folder had been found gone when the segment was begun: see [`super::home::Home`].
    moves: u64,
}

impl Active {
    fn is_empty(&self) -> bool {
        self.end == RECORDS_AT
    }

    /// Writes a batch, and where it reaches beyond the file's end also zeros behind it, up to `ahead` bytes and no
    /// further than `limit`: the next batches then change neither the file's size nor its extents, and their flushes
    /// have nothing to write but themselves.
    fn write(&mut self, batch: &[u8], ahead: u64, limit: u64) -> io::Result<()> {
        self.file.write_at(batch, self.end)?;
        let end = self.end + batch.len() as u64;
        if end <= self.size {
            return Ok(());
        }
        self.size = end;
        let room = limit.min((end + ahead) / BLOCK * BLOCK).saturating_sub(end);
        let zeros = usize::try_from(room).ok().and_then(|room| ZEROS.get(..room)).unwrap_or_default();
        if self.ahead && !zeros.is_empty() {
            // The disk is full: the batch itself may still be flushed, and what the flush says counts.
            self.ahead = self.file.write_at(zeros, end).is_ok();
            self.size += if self.ahead { room } else { 0 };
        }
        Ok(())
    }
}

/// The commit thread's own state.
pub(super) struct Writer {
    core: Arc<Core>,
    active: Option<Active>,
    /// The predecessor of the next segment.
    last: Before,
    /// The next sequence to give.
    next: u64,
    /// What is to be written, oldest first.
    pending: VecDeque<Item>,
    buf: Vec<u8>,
    failing: bool,
    pause: Duration,
    space_checked: Instant,
    written_since: u64,
    /// Files that a failed batch may still stand in, and where their durable part ends.
    poisoned: Vec<(Arc<dyn DiskFile>, u64)>,
    closing_since: Option<Instant>,
}

/// Whatever ends the thread, nobody is left waiting for it.
struct OnExit(Arc<Core>);

impl Drop for OnExit {
    fn drop(&mut self) {
        self.0.queue.close(Closing::Abandon);
    }
}

impl Writer {
    /// Goes on after `last`, with sequence `next`.
    pub fn new(core: Arc<Core>, last: Before, next: u64) -> Self {
        Self {
            pause: core.env.pauses.0,
            core,
            active: None,
            last,
            next,
            pending: VecDeque::new(),
            buf: Vec::new(),
            failing: false,
            space_checked: Instant::now(),
            written_since: u64::MAX,
            poisoned: Vec::new(),
            closing_since: None,
        }
    }

    /// Runs until the journal is closed. Gives the number of records that could not be written by then.
    pub fn run(mut self) -> usize {
        let _on_exit = OnExit(Arc::clone(&self.core));
        let mut next_begin = Instant::now();
        loop {
            let pause = self.failing.then_some(self.pause);
            let taken = self.core.queue.take(&mut self.pending, pause, next_begin);
            next_begin = Instant::now() + pace(self.pending.len());
            match taken.closing {
                Some(Closing::Abandon) => return 0,
                Some(Closing::Flush) if self.pending.is_empty() && !taken.reserved => {
                    self.finish();
                    return 0;
                }
                Some(Closing::Flush) => drop(self.closing_since.get_or_insert_with(Instant::now)),
                None => {}
            }
            if taken.roll {
                self.retire();
            }
            match self.commit() {
                Ok(()) => self.well(),
                Err(trouble) => {
                    self.failed(&trouble);
                    if self.closing_since.is_some_and(|since| since.elapsed() > CLOSE_PATIENCE) {
                        return self.give_up();
                    }
                }
            }
        }
    }

    /// Writes one batch. With nothing to write, finds out whether something could be written.
    fn commit(&mut self) -> Result<(), Trouble> {
        self.room()?;
        let (count, bytes) = self.batch();
        if count > 0 || self.failing {
            self.segment_for(bytes).map_err(|error| unwritable("cannot begin a segment", &error))?;
        }
        if count == 0 {
            return Ok(());
        }
        if !self.write_out(count)? {
            // What stands in the deleted file is put back (`rescue`); this batch goes to another one.
            self.core.chores.kick();
            self.segment_for(bytes).map_err(|error| unwritable("cannot begin a segment", &error))?;
            if !self.write_out(count)? {
                return Err(Trouble::Unwritable("segments are deleted while they are written".into()));
            }
        }
        self.publish(count, bytes);
        self.pause = self.core.env.pauses.0;
        Ok(())
    }

    /// Whether there is room, on the disk and within `max_size`. Both keep something back for a bad hour; the last one
    /// is when the journal closes: what is not written then is lost.
    fn room(&mut self) -> Result<(), Trouble> {
        if self.closing_since.is_some() {
            return Ok(());
        }
        if self.core.full.load(Ordering::Relaxed) {
            return Err(Trouble::Full);
        }
        let due = self.written_since >= CHECK_SPACE.0 || self.space_checked.elapsed() >= CHECK_SPACE.1;
        if (due || self.failing) && self.core.limits.min_free > 0 {
            self.written_since = 0;
            self.space_checked = Instant::now();
            // Where the file system does not say, the write itself will tell.
            let store = &self.core.store;
            let free = self.core.on_disk(|| store.disk.free_space(&store.dir)).unwrap_or(u64::MAX);
            if free < self.core.limits.min_free {
                self.written_since = u64::MAX;
                return Err(Trouble::Unwritable(format!("only {free} bytes are free on the disk")));
            }
        }
        Ok(())
    }

    /// How many of the pending records make the next batch, and their bytes: at least one, where there is one.
    fn batch(&self) -> (usize, u64) {
        let most = BATCH_BYTES.min(self.core.limits.segment_size.saturating_sub(RECORDS_AT));
        let (mut count, mut bytes) = (0, 0);
        for item in self.pending.iter().take(BATCH_RECORDS) {
            if count > 0 && bytes + item.size > most {
                break;
            }
            count += 1;
            bytes += item.size;
        }
        (count, bytes)
    }

    /// Makes sure that there is a segment with room for so many bytes, or an empty one.
    fn segment_for(&mut self, bytes: u64) -> io::Result<()> {
        let moves = self.core.home.moves();
        let full = |active: &Active| !active.is_empty() && active.end + bytes > self.core.limits.segment_size;
        if self.active.as_ref().is_some_and(|active| full(active) || active.moves != moves) {
            self.retire();
        }
        if self.active.take_if(|active| active.moves != moves).is_none() && self.active.is_some() {
            return Ok(());
        }
        self.core.on_disk(|| self.core.home.look(&self.core.store)).map_err(io::Error::other)?;
        let moves = self.core.home.moves();
        let (created, salt) = ((self.core.env.clock)(), (self.core.env.salt)());
        let header = Header { base: self.next, created, salt, before: self.last };
        // A name that could not be made good is not tried again.
        let file = self.core.on_disk(|| self.core.store.create(&header));
        let file = file.inspect_err(|_| self.next += 1)?;
        let summary = Arc::new(Mutex::new(Summary::new(header.base)));
        let end = RECORDS_AT;
        self.active = Some(Active { file, header, end, size: end, counted: end, ahead: true, summary, moves });
        Ok(())
    }

    /// Writes a batch and flushes it. `false` where its file has no name any more: what it holds goes when it is
    /// closed.
    fn write_out(&mut self, count: usize) -> Result<bool, Trouble> {
        let began = Instant::now();
        let written = self.write(count);
        if matches!(written, Ok(true)) {
            self.core.commits.seconds.observe(began.elapsed().as_secs_f64());
            self.core.commits.records.observe(count as f64);
        } else {
            self.poison(count);
        }
        written.map_err(|error| unwritable("cannot write to the segment", &error))
    }

    fn write(&mut self, count: usize) -> io::Result<bool> {
        let active = self.active.as_mut().ok_or_else(|| io::Error::other("no segment"))?;
        self.buf.clear();
        for (place, item) in self.pending.iter().take(count).enumerate() {
            let sequence = self.next + place as u64;
            format::encode_record(&mut self.buf, active.header.salt, sequence, place as u16, &item.record);
        }
        // No room is made when space is short, or the end near.
        let ahead = if self.failing || self.closing_since.is_some() { 0 } else { self.core.env.ahead };
        let limit = self.core.limits.segment_size;
        self.core.on_disk(|| {
            active.write(&self.buf, ahead, limit)?;
            active.file.sync_data()?;
            active.file.is_linked()
        })
    }

    /// After a failed write or flush nobody knows what of the batch is on disk, now or later: the segment ends before
    /// it, and its sequences are burned.
    fn poison(&mut self, count: usize) {
        self.next += count as u64;
        let Some(active) = self.active.take() else { return };
        if active.is_empty() {
            let _ = self.core.on_disk(|| self.core.store.remove(active.header.base));
        } else {
            self.last = before(&active);
            self.ended(active.header.base);
            self.poisoned.push((active.file, active.end));
        }
    }

    /// Nothing is written to that segment any more.
    fn ended(&self, base: u64) {
        if let Some(segment) = self.core.view_mut().segment_mut(base) {
            segment.ended = true;
        }
    }

    /// The batch is on disk: readers may have it, then callers learn of it.
    fn publish(&mut self, count: usize, bytes: u64) {
        let Some(active) = self.active.as_mut() else { return };
        let first = self.next;
        let batch = || self.pending.iter().take(count).zip(first..);
        let mut segment = {
            let mut summary = lock(&active.summary);
            let mut offset = active.end;
            for (item, sequence) in batch() {
                summary.add(sequence, offset, item.size, &Fields::of(&item.record));
                offset += item.size;
            }
            Segment::new(&active.header, &summary)
        };
        segment.summary = Some(Arc::clone(&active.summary));
        segment.file = Some(Arc::clone(&active.file));
        segment.size = active.size;
        let grown = active.size - std::mem::replace(&mut active.counted, active.size);
        active.end = segment.end;
        self.next = segment.next;
        let entries =
            batch().map(|(item, n)| (item.size, Entry { position: position(n), record: Arc::clone(&item.record) }));
        // These are dropped at the end, when nobody waits for that.
        let _old = self.core.view_mut().publish(segment, entries);
        let at_risk = batch().filter(|(item, _)| item.at_risk).map(|(item, _)| item.size).sum();
        self.core.queue.settled(bytes, at_risk);
        let mut notifications = Notifications::default();
        for (mut item, sequence) in self.pending.drain(..count).zip(first..) {
            item.report(Progress::Durable(position(sequence)));
            notifications.note(&item);
        }
        notifications.send();
        self.core.mark.send_replace(self.next);
        self.written_since = self.written_since.saturating_add(grown);
        let grown = i64::try_from(grown).unwrap_or(i64::MAX);
        if self.core.allowance.fetch_sub(grown, Ordering::Relaxed) < grown {
            self.core.chores.kick();
        }
        if !self.poisoned.is_empty() {
            self.core.chores.cut(std::mem::take(&mut self.poisoned));
        }
        if self.buf.capacity() as u64 > 4 * BATCH_BYTES {
            self.buf = Vec::new();
        }
    }

    /// Ends the segment; its footer is written off this thread.
    fn retire(&mut self) {
        let Some(active) = self.active.take_if(|active| !active.is_empty()) else { return };
        self.last = before(&active);
        self.ended(active.header.base);
        let Active { file, header, end, summary, .. } = active;
        self.core.chores.seal(Seal { base: header.base, salt: header.salt, file, end, summary });
    }

    fn failed(&mut self, trouble: &Trouble) {
        if self.failing {
            self.pause = (self.pause * 2).min(self.core.env.pauses.1);
        } else {
            self.failing = true;
            tracing::error!(reason = %trouble.error(), "the journal cannot write; trying again");
        }
        self.core.queue.failing(trouble, &mut self.pending);
    }

    fn well(&mut self) {
        if std::mem::take(&mut self.failing) {
            self.core.queue.well();
            tracing::info!("the journal can write again");
        }
    }

    fn finish(&mut self) {
        self.retire();
        if let Some(empty) = self.active.take() {
            let _ = self.core.on_disk(|| self.core.store.remove(empty.header.base));
        }
    }

    fn give_up(&mut self) -> usize {
        let lost = self.pending.len();
        let named = self.pending.iter().take(NAMED).map(|item| uuid::Uuid::from_bytes(item.record.id).to_string());
        let (ids, bytes) = (named.collect::<Vec<_>>().join(" "), self.core.queue.waiting());
        tracing::error!(events = lost, bytes, ids, "the journal closes; events it kept in memory are lost");
        self.finish();
        lost
    }
}

/// How far apart the beginnings of two batches are at least, after one of so many records.
fn pace(records: usize) -> Duration {
    u32::try_from(records).map_or(PACE_MOST, |records| (PACE_EACH * records).min(PACE_MOST))
}

fn before(active: &Active) -> Before {
    Before { base: active.header.base, end: lock(&active.summary).next, bytes: active.end }
}

fn position(offset: u64) -> Position {
    Position { shard: SHARD, offset }
}

fn unwritable(what: &str, error: &io::Error) -> Trouble {
    Trouble::Unwritable(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_record_holds_up_nobody_and_no_batch_does_for_long() {
        assert_eq!([0, 1, 8].map(pace), [0, 25, 200].map(Duration::from_micros));
        assert_eq!([16, BATCH_RECORDS, usize::MAX].map(pace), [PACE_MOST; 3]);
    }
}
