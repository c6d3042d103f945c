//! What a member has for its reader: news of shards, and events that were read ahead, in order and fair between shards.
//! Bounded in bytes and messages: the member pauses where the feed is full. A reader comes and goes while the member
//! stays; a new one begins where the shards are settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};

use super::group::GroupError;
use crate::journal::{Chunk, Entry, Gap, JournalError, Marks, News, Position, Reader};

/// Most bytes of events that wait for the reader.
const MAX_BYTES: u64 = 8 << 20;
/// Most events that wait for the reader.
const MAX_EVENTS: usize = 8192;
/// What an event takes beside its payload, about.
const OVERHEAD: u64 = 256;
/// Most events of one chunk.
const MAX_CHUNK: usize = 4096;

/// What waits of a shard.
enum Item {
    Entry(Entry),
    /// Nothing that stood there will come.
    Gone(Gap),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// The offset behind what was queued last.
    next: u64,
}

#[derive(Default)]
struct Inner {
    /// The reader's number; 0 where there is none.
    reader: u64,
    readers: u64,
    /// Since when there is none.
    alone: Option<Instant>,
    /// Whether the reader is to begin where the shards are settled.
    is_fresh: bool,
    /// Shards that the reader knows it has.
    told: BTreeSet<u32>,
    /// Shards it is to be told of.
    given: Marks,
    /// Shards that were taken or lost.
    changes: VecDeque<News>,
    shards: BTreeMap<u32, Queue>,
    /// The shard that gave the last chunk.
    turn: u32,
    /// Items that wait.
    events: usize,
    /// Their bytes.
    bytes: u64,
    over: Option<GroupError>,
}

/// What is on its way from a member to its reader.
#[derive(Default)]
pub(super) struct Feed {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Feed {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ── readers ──

    /// A new reader, in the place of the one before, which gets nothing more; `None` where the member has ended.
    pub fn reader(self: &Arc<Self>) -> Option<Box<dyn Reader>> {
        let mut inner = self.inner();
        if inner.over.is_some() {
            return None;
        }
        inner.readers += 1;
        let (readers, turn) = (inner.readers, inner.turn);
        // What is dropped here has senders in it: what they would have told is told by that.
        *inner = Inner { reader: readers, readers, turn, is_fresh: true, ..Inner::default() };
        Some(Box::new(FeedReader { feed: Arc::clone(self), number: readers, is_over: false }))
    }

    /// How long there has been no reader.
    pub fn alone(&self) -> Duration {
        self.inner().alone.map_or(Duration::ZERO, |since| since.elapsed())
    }

    // ── the member ──

    /// Whether there is a reader that is to begin where the shards are settled. Nothing is queued until
    /// [`Self::begin`].
    pub fn is_fresh(&self) -> bool {
        self.inner().is_fresh
    }

    /// The new reader begins at these marks.
    pub fn begin(&self, marks: &Marks) {
        self.inner().is_fresh = false;
        self.give(marks);
    }

    /// More shards, each from its mark. A reader that has not begun gets them when it does.
    pub fn give(&self, marks: &Marks) {
        let mut inner = self.inner();
        if inner.is_fresh {
            return;
        }
        for mark in marks.iter() {
            inner.forget(mark.shard);
            inner.shards.insert(mark.shard, Queue { items: VecDeque::new(), next: mark.offset });
            inner.given.set(mark);
        }
        drop(inner);
        self.wake.notify_waiters();
    }

    /// An event that was read, or `None` where it cannot be read. What was queued already, or is of a shard that is not
    /// given, is passed over.
    pub fn push(&self, at: Position, entry: Option<Entry>) {
        let mut inner = self.inner();
        let Some(queue) = inner.shards.get_mut(&at.shard) else { return };
        if at.offset < queue.next {
            return;
        }
        let (from, next) = (Position { offset: queue.next, ..at }, at.behind());
        // The events are written without transactions: where an offset is missing, what stood there was deleted.
        let has_hole = from.offset < at.offset;
        if has_hole {
            queue.items.push_back(Item::Gone(deleted(from, at)));
        }
        let bytes = entry.as_ref().map_or(0, size);
        queue.items.push_back(entry.map_or_else(|| Item::Gone(unreadable(at, next)), Item::Entry));
        queue.next = next.offset;
        inner.events += 1 + usize::from(has_hole);
        inner.bytes += bytes;
        drop(inner);
        self.wake.notify_waiters();
    }

    /// Everything before this position is gone.
    pub fn pass(&self, to: Position) {
        let mut inner = self.inner();
        let Some(queue) = inner.shards.get_mut(&to.shard).filter(|queue| queue.next < to.offset) else { return };
        let from = Position { offset: queue.next, ..to };
        queue.items.push_back(Item::Gone(deleted(from, to)));
        queue.next = to.offset;
        inner.events += 1;
        drop(inner);
        self.wake.notify_waiters();
    }

    /// These shards are to be given away: who is to say when that may be. `None`: nobody has read of them.
    pub fn taken(&self, shards: &[u32]) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.inner();
        let known = inner.withdraw(shards);
        if known.is_empty() || inner.reader == 0 {
            return None;
        }
        let (told, wait) = oneshot::channel();
        inner.changes.push_back(News::Taken(known, told));
        drop(inner);
        self.wake.notify_waiters();
        Some(wait)
    }

    /// These shards are another's by now.
    pub fn lost(&self, shards: &[u32]) {
        let mut inner = self.inner();
        let known = inner.withdraw(shards);
        if !known.is_empty() {
            inner.changes.push_back(News::Lost(known));
            drop(inner);
            self.wake.notify_waiters();
        }
    }

    /// Whether no more is to be read ahead.
    pub fn is_full(&self) -> bool {
        let inner = self.inner();
        inner.bytes >= MAX_BYTES || inner.events >= MAX_EVENTS
    }

    /// Bytes of what waits.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.inner().bytes
    }

    /// Whether more may be read ahead again.
    pub fn has_room(&self) -> bool {
        let inner = self.inner();
        inner.bytes <= MAX_BYTES / 2 && inner.events <= MAX_EVENTS / 2
    }

    /// The member has ended. The reader loses what it has, and is told why.
    pub fn end(&self, why: GroupError) {
        let mut inner = self.inner();
        let all: Vec<u32> = inner.shards.keys().chain(&inner.told).copied().collect();
        let known = inner.withdraw(&all);
        if !known.is_empty() {
            inner.changes.push_back(News::Lost(known));
        }
        inner.over.get_or_insert(why);
        drop(inner);
        self.wake.notify_waiters();
    }

    // ── the reader ──

    fn pop(&self, number: u64, max_bytes: u64) -> Option<Result<News, GroupError>> {
        let mut inner = self.inner();
        if inner.reader != number {
            return None;
        }
        if let Some(change) = inner.changes.pop_front() {
            return Some(Ok(change));
        }
        if inner.given.iter().next().is_some() {
            let given = std::mem::take(&mut inner.given);
            inner.told.extend(given.iter().map(|mark| mark.shard));
            return Some(Ok(News::Given(given)));
        }
        if let Some(why) = &inner.over {
            return Some(Err(why.clone()));
        }
        if max_bytes == 0 {
            return None;
        }
        inner.chunk(max_bytes).map(|chunk| Ok(News::Chunk(chunk)))
    }

    fn is_ready(&self, number: u64) -> bool {
        let inner = self.inner();
        let has_news = !inner.changes.is_empty() || inner.given.iter().next().is_some() || inner.over.is_some();
        inner.reader == number && (has_news || inner.events > 0)
    }

    fn leave(&self, number: u64) {
        let mut inner = self.inner();
        if inner.reader == number {
            inner.reader = 0;
            inner.alone = Some(Instant::now());
            inner.changes.clear();
        }
    }
}

impl Inner {
    /// The next part of the shard whose turn it is.
    fn chunk(&mut self, max_bytes: u64) -> Option<Chunk> {
        let has_items = |(shard, queue): (&u32, &Queue)| (!queue.items.is_empty()).then_some(*shard);
        let later = self.shards.range(self.turn.saturating_add(1)..).find_map(has_items);
        let shard = later.or_else(|| self.shards.iter().find_map(has_items))?;
        self.turn = shard;
        let items = &mut self.shards.get_mut(&shard)?.items;
        if let Item::Gone(_) = items.front()? {
            let Some(Item::Gone(gap)) = items.pop_front() else { return None };
            self.events = self.events.saturating_sub(1);
            return Some(Chunk { entries: vec![], next: gap.to, gap: Some(gap) });
        }
        let (mut entries, mut left, mut bytes) = (vec![], max_bytes, 0);
        while let Some(Item::Entry(entry)) = items.front() {
            let (payload, size) = (entry.record.payload.len() as u64, size(entry));
            if !entries.is_empty() && (payload > left || entries.len() >= MAX_CHUNK) {
                break;
            }
            (left, bytes) = (left.saturating_sub(payload), bytes + size);
            if let Some(Item::Entry(entry)) = items.pop_front() {
                entries.push(entry);
            }
        }
        self.events = self.events.saturating_sub(entries.len());
        self.bytes = self.bytes.saturating_sub(bytes);
        let next = entries.last()?.position.behind();
        Some(Chunk { entries, next, gap: None })
    }

    /// Nothing more of these shards is read; gives those that the reader knows it has.
    fn withdraw(&mut self, shards: &[u32]) -> Vec<u32> {
        shards.iter().for_each(|shard| self.forget(*shard));
        self.given.keep(|shard| !shards.contains(&shard));
        shards.iter().copied().filter(|shard| self.told.remove(shard)).collect()
    }

    fn forget(&mut self, shard: u32) {
        for item in self.shards.remove(&shard).into_iter().flat_map(|queue| queue.items) {
            if let Item::Entry(entry) = item {
                self.bytes = self.bytes.saturating_sub(size(&entry));
            }
        }
        self.events = self.shards.values().map(|queue| queue.items.len()).sum();
    }
}

fn size(entry: &Entry) -> u64 {
    entry.record.payload.len() as u64 + OVERHEAD
}

/// What stood there was deleted by Kafka before this sink had it. Nobody has read it, so nobody knows of which types it
/// was; but each offset was an event, as no transaction writes events, so it is known how many there were.
fn deleted(from: Position, to: Position) -> Gap {
    Gap { from, to, deleted: vec![], unknown: to.offset.saturating_sub(from.offset), lost: 0 }
}

/// The event that stands there cannot be read.
fn unreadable(from: Position, to: Position) -> Gap {
    Gap { from, to, deleted: vec![], unknown: 0, lost: 1 }
}

/// The reader of a sink.
struct FeedReader {
    feed: Arc<Feed>,
    number: u64,
    is_over: bool,
}

impl FeedReader {
    /// Waits until something can be had. Nothing is taken but by what is given back at once, so it may be given up.
    async fn wait<T>(&self, mut take: impl FnMut(&Feed) -> Option<T>) -> T {
        loop {
            let mut woken = pin!(self.feed.wake.notified());
            woken.as_mut().enable();
            if let Some(taken) = take(&self.feed) {
                return taken;
            }
            woken.await;
        }
    }
}

#[async_trait]
impl Reader for FeedReader {
    async fn ready(&mut self) {
        self.wait(|feed| feed.is_ready(self.number).then_some(())).await;
    }

    async fn next(&mut self, max_bytes: u64) -> Result<News, JournalError> {
        let next = self.wait(|feed| feed.pop(self.number, max_bytes)).await;
        // Why comes last: behind what was lost.
        self.is_over |= next.is_err();
        Ok(next?)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.feed.leave(self.number);
    }
}
