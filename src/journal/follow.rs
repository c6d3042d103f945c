//! Reading the local journal on: from memory as long as that reaches back far enough, else from what another late
//! reader has just read, else from the segments, with what is known of holes on the way.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::reader::{self, Read};
use super::state::Core;
use super::tally::{Counted, Tally};
use super::view::position;
use super::{Chunk, Gap, JournalError, Marks, News, Reader};

/// Bytes that are read from disk at once, at least.
const READ_AHEAD: u64 = 1 << 20;

/// A reader of the one shard.
pub(super) struct LocalReader {
    core: Arc<Core>,
    end: watch::Receiver<u64>,
    /// Whether it was said where it begins.
    is_given: bool,
    /// Whether it read from disk last.
    is_late: bool,
    next: u64,
    until: Option<u64>,
}

impl LocalReader {
    /// Reads from `next` on, up to `until` where that is given.
    pub fn new(core: &Arc<Core>, next: u64, until: Option<u64>) -> Self {
        Self { core: Arc::clone(core), end: core.mark.subscribe(), is_given: false, is_late: false, next, until }
    }

    /// Ends a chunk where the span ends.
    fn cut(&self, mut chunk: Chunk) -> Chunk {
        if let Some(until) = self.until {
            chunk.entries.truncate(chunk.entries.partition_point(|entry| entry.position.offset < until));
            // Where nothing is left in between, the span is at its end.
            let is_last = chunk.entries.is_empty() && chunk.gap.is_none();
            if is_last || chunk.next.offset > until {
                chunk.next.offset = until;
            }
        }
        chunk
    }
}

#[async_trait]
impl Reader for LocalReader {
    async fn ready(&mut self) {
        let next = self.next;
        if !self.is_given {
            return;
        }
        if self.until.is_some_and(|until| until <= next) || self.end.wait_for(|end| *end > next).await.is_err() {
            std::future::pending().await
        }
    }

    async fn next(&mut self, max_bytes: u64) -> Result<News, JournalError> {
        if !std::mem::replace(&mut self.is_given, true) {
            return Ok(News::Given(Marks::from(position(self.next))));
        }
        if max_bytes == 0 {
            return std::future::pending().await;
        }
        self.ready().await;
        let (chunk, is_late) = read(&self.core, self.next, max_bytes).await?;
        if std::mem::replace(&mut self.is_late, is_late) && !is_late {
            self.core.cache.recent.clear();
        }
        let chunk = self.cut(chunk);
        self.next = chunk.next.offset;
        Ok(News::Chunk(chunk))
    }
}

/// Durable records from a sequence on, at most about `max_bytes` of them (at least one, where there is one), and
/// whether memory did not reach back to them. Then more is read at once, for the readers that come after.
pub(super) async fn read(core: &Arc<Core>, from: u64, max_bytes: u64) -> Result<(Chunk, bool), JournalError> {
    if let Some(chunk) = core.view().read_tail(from, max_bytes) {
        return Ok((chunk, false));
    }
    // Of what was deleted meanwhile the reader is told that it is gone.
    let is_there = core.view().oldest() <= from;
    if is_there && let Some(chunk) = core.cache.recent.read(from, max_bytes) {
        return Ok((chunk, true));
    }
    let read = blocking(core, move |core| {
        let ahead = reader::read(core, from, max_bytes.max(READ_AHEAD))?;
        if ahead.gone.is_some() || ahead.lost.is_some() {
            return Ok((reader::read(core, from, max_bytes)?, false));
        }
        core.cache.recent.keep(from, ahead.next, &ahead.entries);
        Ok((ahead, true))
    });
    let (read, is_kept) = read.await?;
    if is_kept && let Some(chunk) = core.cache.recent.read(from, max_bytes) {
        return Ok((chunk, true));
    }
    let gap = gap(core, &read).await?;
    Ok((Chunk { entries: read.entries, next: position(read.next), gap }, true))
}

/// What a read has passed over.
async fn gap(core: &Core, read: &Read) -> Result<Option<Gap>, JournalError> {
    let mut counted = Counted::default();
    if let Some((from, to)) = read.gone {
        for stretch in core.cursors.deleted(position(from), position(to)).await.map_err(JournalError::Cursors)? {
            match Tally::decode(stretch.from.offset, &stretch.tally) {
                Some(tally) => tally.count(from, to, &mut counted),
                None => counted.unknown += stretch.to.offset.min(to).saturating_sub(stretch.from.offset.max(from)),
            }
        }
    }
    let damaged = read.lost.map(|(from, to, _)| (from, to));
    let stretches = || read.gone.into_iter().chain(damaged);
    let Some((from, to)) = stretches().map(|s| s.0).min().zip(stretches().map(|s| s.1).max()) else {
        return Ok(None);
    };
    let lost = counted.unknown + read.lost.map_or(0, |(_, _, lost)| lost);
    let deleted = reader::in_order(counted.known);
    Ok(Some(Gap { from: position(from), to: position(to), deleted, unknown: 0, lost }))
}

/// Runs what blocks beside the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(&Core) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let core = Arc::clone(core);
    let lost = |error| JournalError::Io { what: "a read was cut short".into(), error: io::Error::other(error) };
    tokio::task::spawn_blocking(move || work(&core)).await.map_err(lost)?
}
