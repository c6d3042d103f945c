//! Events that are in the local overflow and not with the producer: put there where the producer's queue is full, or
//! left by an earlier life. They are read in order and sent, as there is room; until the last of them is sent, whatever
//! is new goes behind them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::flights::{Copied, Flight, Report};
use super::message;
use super::producing::Shared;
use crate::journal::view::lock;
use crate::journal::{AppendError, Entry, JournalError, News, Progress};

/// Bytes of the overflow that are read at once.
const READ: u64 = 256 << 10;
/// How often cursors are kept at most.
const KEEP: Duration = Duration::from_millis(200);
/// Pause before the overflow is read again where that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Which events those are.
pub struct Behind {
    /// Those of this life, in order, without their payloads.
    aside: VecDeque<Aside>,
    next: u64,
    at_risk: u64,
    is_behind: bool,
    /// The place in the overflow from which on they are read.
    fed: u64,
    /// What an earlier life has left stands before this place.
    left: u64,
    /// How many bytes of that were not read yet, at most.
    left_bytes: u64,
}

/// One of them.
struct Aside {
    n: u64,
    id: [u8; 16],
    size: u64,
    keep: bool,
    is_at_risk: bool,
    report: Option<Arc<Report>>,
}

impl Behind {
    /// Those that an earlier life has left between two places; they take at most so many bytes.
    pub fn left(fed: u64, end: u64, bytes: u64) -> Self {
        let is_behind = fed < end;
        let left_bytes = if is_behind { bytes } else { 0 };
        Self { aside: VecDeque::new(), next: 0, at_risk: 0, is_behind, fed, left: end, left_bytes }
    }

    /// Whether there are any.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Bytes of those that are at risk; of those that were left, at most so many.
    pub fn at_risk(&self) -> u64 {
        self.at_risk + self.left_bytes
    }

    fn index(&self, n: u64) -> Option<usize> {
        self.aside.binary_search_by_key(&n, |aside| aside.n).ok()
    }

    /// Counts one as at risk, where it is to be kept; who is to be told.
    fn risk(&mut self, index: usize) -> Option<Arc<Report>> {
        let aside = self.aside.get_mut(index).filter(|aside| aside.keep)?;
        aside.is_at_risk = true;
        self.at_risk += aside.size;
        aside.report.clone()
    }

    fn take(&mut self, index: usize) -> Option<Aside> {
        let aside = self.aside.remove(index)?;
        self.at_risk -= if aside.is_at_risk { aside.size } else { 0 };
        Some(aside)
    }
}

impl Shared {
    /// Sends one to the overflow alone, within a turn.
    pub fn put_aside(self: &Arc<Self>, shard: u32, flight: Flight) {
        let Flight { record, size, keep, report, .. } = flight;
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.behind.is_behind, true) {
            // What is with the producer already stands before it, in the overflow, too: a restart sends it first.
            state.behind.fed = self.overflow.end();
            drop(state);
            self.copy(0..self.shards);
            self.to_feed.notify_one();
            state = lock(&self.state);
        }
        state.places.ask(shard);
        let n = state.behind.next;
        state.behind.next += 1;
        state.behind.aside.push_back(Aside { n, id: record.id, size, keep, is_at_risk: false, report });
        drop(state);
        let this = Arc::clone(self);
        let on_progress = Box::new(move |progress| this.was_put_aside(shard, n, progress));
        self.overflow.append((*record).clone(), on_progress);
    }

    /// One is flushed in the overflow, or could not be.
    fn was_put_aside(&self, shard: u32, n: u64, progress: Progress) {
        let mut state = lock(&self.state);
        // Where it is not there any more it was read and sent before this was told.
        let index = state.behind.index(n);
        let (report, refusal) = match progress {
            Progress::AtRisk => return,
            Progress::Durable(position) => {
                state.places.answer(shard, index.map(|_| position.offset));
                (index.and_then(|index| state.behind.risk(index)), None)
            }
            Progress::Failed(why) => {
                state.places.answer(shard, None);
                let report = index.and_then(|index| state.behind.take(index)).and_then(|aside| aside.report);
                self.to_feed.notify_one();
                (report, Some(if why == AppendError::Full { AppendError::QueueFull } else { why }))
            }
        };
        drop(state);
        self.moved.notify_one();
        match (report, refusal) {
            (Some(report), Some(why)) => report.last(Progress::Failed(why)),
            (Some(report), None) => report.at_risk(),
            (None, _) => {}
        }
    }

    /// Whether all that was behind is with the producer by now; what is new then goes there again.
    fn has_caught_up(&self) -> bool {
        let _turn = lock(&self.turn);
        let mut state = lock(&self.state);
        let has = state.behind.aside.is_empty() && state.behind.fed >= state.behind.left;
        if has {
            (state.behind.is_behind, state.behind.left_bytes) = (false, 0);
        }
        self.note_empty(&state);
        has
    }

    /// Sends what was read from the overflow, where it is to be sent; whether there was room for it.
    fn hand_on(&self, entry: &Entry) -> bool {
        let (record, at) = (&entry.record, entry.position.offset);
        let shard = message::shard_of(&message::key_of(record), self.shards);
        let turn = lock(&self.turn);
        let mut state = lock(&self.state);
        let is_aside = state.behind.aside.front().is_some_and(|aside| aside.id == record.id);
        let is_left = at < state.behind.left && state.places.is_left(shard, at);
        if !is_aside && !is_left {
            // The copy of an event that is with the producer, or in Kafka.
            state.behind.fed = at + 1;
            return true;
        }
        let size = message::size_of(record) as u64;
        if !state.has_room(size, self.limit) {
            return false;
        }
        let mut flight = Flight { copied: Copied::At(at), ..Flight::of(Arc::clone(record), size, true) };
        let mut untold = None;
        if is_aside && let Some(aside) = state.behind.take(0) {
            (flight.keep, flight.report) = (aside.keep, aside.report);
            untold = flight.report.clone().filter(|_| aside.keep && !aside.is_at_risk);
        }
        if is_left {
            state.behind.left_bytes = state.behind.left_bytes.saturating_sub(size);
        }
        flight.is_at_risk = flight.keep;
        state.behind.fed = at + 1;
        state.places.found(shard, at);
        let n = state.flights.add(shard, flight);
        let producer = turn.as_deref().filter(|_| state.broken.is_none());
        drop(state);
        if let Some(producer) = producer
            && let Err(error) = self.send(producer, shard, n, record)
        {
            lock(&self.state).broken.get_or_insert(error.to_string());
        }
        drop(turn);
        if let Some(report) = untold {
            report.at_risk();
        }
        true
    }

    /// Keeps the overflow's cursors. Blocks.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn save_cursors(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        let end = if state.behind.is_behind { state.behind.fed } else { self.overflow.end() };
        let cursors = state.places.settle(end);
        drop(state);
        self.overflow.save(&cursors)
    }
}

/// Reads on whenever there is something behind, for ever.
pub async fn feed(shared: Arc<Shared>) {
    loop {
        while !lock(&shared.state).behind.is_behind {
            shared.to_feed.notified().await;
        }
        if let Err(error) = catch_up(&shared).await {
            tracing::error!(%error, "the overflow cannot be read; it is tried again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn catch_up(shared: &Arc<Shared>) -> Result<(), JournalError> {
    let from = lock(&shared.state).behind.fed;
    let mut reader = shared.overflow.reader(from).await?;
    while !shared.has_caught_up() {
        let news = tokio::select! {
            news = reader.next(READ) => news?,
            () = shared.to_feed.notified() => continue,
        };
        let News::Chunk(chunk) = news else { continue };
        for entry in &chunk.entries {
            while !shared.hand_on(entry) {
                shared.to_feed.notified().await;
            }
        }
        if let Some(gap) = chunk.gap {
            tracing::error!(lost = gap.lost, "events in the overflow are damaged");
        }
        let read = chunk.next.offset.min(shared.overflow.end());
        let mut state = lock(&shared.state);
        state.behind.fed = state.behind.fed.max(read);
        drop(state);
        shared.moved.notify_one();
    }
    Ok(())
}

/// Keeps the cursors when they have moved, for ever.
pub async fn keep_cursors(shared: Arc<Shared>) {
    loop {
        shared.moved.notified().await;
        tokio::time::sleep(KEEP).await;
        let saved = Arc::clone(&shared);
        match tokio::task::spawn_blocking(move || saved.save_cursors()).await {
            Ok(Ok(())) => {}
            failed => tracing::warn!(?failed, "the overflow's cursors cannot be kept"),
        }
    }
}
