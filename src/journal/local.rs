//! The journal on this machine's disk: a log of segments in one folder, written by one thread.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::home::Home;
use super::queue::Closing;
use super::recovery::{self, Recovered};
use super::retention;
use super::segment::Store;
use super::state::{Core, Env, Limits, Parts};
use super::tally::{Counted, Tally};
use super::view::{SHARD, View, lock};
use super::writer::Writer;
use super::{
    Append, Chunk, Cursors, Fingerprint, Gap, Journal, JournalConfig, JournalError, Position, Settlement, SinkState,
    TypeCount, reader,
};

/// Longest wait for a thread when the journal is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The journal in a folder. One a folder; the lock sees to it.
///
/// Call [`Self::begin_retention`] once every sink holds what it needs, and [`Journal::close`] at the end: dropping it
/// lets go of what is still queued, as a crash would.
pub struct LocalJournal {
    core: Arc<Core>,
    cursors: Arc<dyn Cursors>,
    running: Mutex<Option<Running>>,
}

/// The threads; the lock on the folder ([`Home`]) must outlive them.
struct Running {
    /// Gives the number of records it could not write.
    writer: JoinHandle<usize>,
    janitor: JoinHandle<()>,
}

/// A journal at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStat {
    /// Events in it.
    pub events: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Segments.
    pub segments: usize,
    /// Time of the oldest event, microseconds.
    pub oldest_time: Option<i64>,
}

impl LocalJournal {
    /// Opens (or begins) the journal in `dir`, which is made where it is missing. Blocks: the newest segment is read.
    /// `extra_size` gives the bytes that count towards `max_size` beside the segments: the ledger's.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where another process has it, [`JournalError::Format`] where a later version wrote it,
    /// [`JournalError::Folder`] where the folder is not ours alone, [`JournalError::Io`] where it or a file in it cannot be
    /// opened. Damage is no error: it is reported.
    pub fn open(
        dir: &Path,
        config: &JournalConfig,
        cursors: Arc<dyn Cursors>,
        extra_size: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<(Self, Recovered), JournalError> {
        Self::open_with(Env::real(), dir, config, cursors, extra_size)
    }

    /// [`Self::open`] with another disk, clock or salt.
    ///
    /// # Errors
    /// The same.
    pub fn open_with(
        env: Env,
        dir: &Path,
        config: &JournalConfig,
        cursors: Arc<dyn Cursors>,
        extra_size: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<(Self, Recovered), JournalError> {
        let store = Store { disk: Arc::clone(&env.disk), dir: dir.to_owned() };
        let home = Home::take(&store)?;
        let opened = recovery::open(&store, (env.clock)())?;
        let (limits, overflow_max) = (Limits::of(config), config.overflow_max.0);
        let view = View::new(opened.segments, opened.last.end);
        let parts = Parts { env, store, home, limits, overflow_max, extra_size, view, cursors: Arc::clone(&cursors) };
        let core = Arc::new(Core::new(parts));
        let writer = Writer::new(Arc::clone(&core), opened.last, opened.next);
        let running = Running {
            writer: spawn("journal-commit", move || writer.run())?,
            janitor: {
                let core = Arc::clone(&core);
                spawn("journal-keep", move || retention::run(&core))?
            },
        };
        Ok((Self { core, cursors, running: Mutex::new(Some(running)) }, opened.recovered))
    }

    /// Lets retention delete from now on. Before this call nothing is deleted, as no sink may have said yet
    /// ([`Journal::hold`]) what it still needs.
    pub fn begin_retention(&self) {
        self.core.retaining.store(true, Ordering::Release);
        self.core.chores.kick();
    }

    /// Fingerprints of events accepted since a time (microseconds), at most `max` of them: the newest, oldest first.
    /// Reads footers only, and blocks; what cannot be read is left out.
    pub fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint> {
        reader::fingerprints(&self.core, since, max)
    }

    /// The sink is away: it holds nothing any more, but what goes before it is back is noted for it. Its cursor is given.
    pub fn leave(&self, sink: &str, cursor: Position) {
        let mut holds = lock(&self.core.holds);
        holds.held.remove(sink);
        holds.away.insert(sink.to_owned(), cursor.offset);
    }

    /// Whether a record appended now would be refused: one that is to be given back where it cannot be written, and any.
    pub fn refuses(&self) -> (bool, bool) {
        let (trouble, full) = self.core.queue.refusing();
        (trouble || full || self.core.full.load(Ordering::Relaxed), full)
    }

    /// Figures for `status`.
    pub fn stat(&self) -> JournalStat {
        let view = self.core.view();
        JournalStat {
            events: view.segments.iter().map(|s| s.records).sum(),
            bytes: view.size(),
            segments: view.segments.len(),
            oldest_time: view.segments.first().and_then(|s| s.times).map(|(oldest, _)| oldest),
        }
    }

    /// Ends the threads as they are, nothing flushed, nothing sealed: what a crash leaves behind.
    #[cfg(test)]
    pub(super) fn crash(&self) {
        let running = lock(&self.running).take();
        let _ = stop(&self.core, running, Closing::Abandon);
    }

    #[cfg(test)]
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        self.core.queue.close(Closing::Abandon);
        self.core.chores.stop(false);
        if let Some(running) = lock(&self.running).take() {
            // Not waited for here; the lock goes when the threads have ended.
            leave(&self.core, running);
        }
    }
}

#[async_trait]
impl Journal for LocalJournal {
    fn append_all(&self, records: Vec<Append>) {
        self.core.queue.push(records);
    }

    async fn read(&self, from: Position, max_bytes: u64) -> Result<Chunk, JournalError> {
        let from = from.offset;
        {
            let view = self.core.view();
            if let Some(chunk) = view.read_tail(from, max_bytes) {
                return Ok(chunk);
            }
        }
        let read = self.blocking(move |core| reader::read(core, from, max_bytes)).await?;
        let gap = self.gap(&read).await?;
        Ok(Chunk { entries: read.entries, next: position(read.next), gap })
    }

    async fn wait(&self, from: Position) {
        let mut mark = self.core.mark.subscribe();
        if mark.wait_for(|end| *end > from.offset).await.is_err() {
            std::future::pending().await
        }
    }

    fn end(&self) -> Position {
        position(self.core.view().end)
    }

    fn oldest(&self) -> Position {
        position(self.core.view().oldest())
    }

    async fn seek(&self, time: i64) -> Result<Position, JournalError> {
        self.blocking(move |core| reader::seek(core, time)).await.map(position)
    }

    async fn counts(&self, from: Position) -> Result<Vec<TypeCount>, JournalError> {
        let counts = self.blocking(move |core| reader::counts(core, from.offset, u64::MAX)).await?;
        Ok(reader::in_order(counts))
    }

    async fn owed(&self, from: Position, to: Position) -> Result<Vec<TypeCount>, JournalError> {
        loop {
            // What is noted of a segment and not deleted yet still stands; and what is deleted meanwhile is looked for
            // again.
            let oldest = self.oldest();
            let mut counted = Counted::default();
            for stretch in self.cursors.deleted(from, to.min(oldest)).await? {
                if let Some(tally) = Tally::decode(stretch.from.offset, &stretch.tally) {
                    tally.count(from.offset, to.min(oldest).offset, &mut counted);
                }
            }
            let first = from.max(oldest).offset;
            let there = self.blocking(move |core| reader::counts(core, first, to.offset)).await?;
            if self.oldest() == oldest {
                there.into_iter().for_each(|(name, events)| *counted.known.entry(name).or_default() += events);
                return Ok(reader::in_order(counted.known));
            }
        }
    }

    async fn load(&self, sink: &str) -> Result<Option<SinkState>, JournalError> {
        self.cursors.load(sink).await
    }

    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), JournalError> {
        // A replay's hold is moved by who reads for it.
        let own = steps.iter().filter(|step| step.reader.is_none());
        let moved: Vec<_> = own.filter_map(|step| Some((step.sink.clone(), step.cursor?))).collect();
        self.cursors.settle(steps).await?;
        // Only now: a segment must not go before the cursor that released it is flushed.
        let mut holds = lock(&self.core.holds);
        for (sink, cursor) in moved {
            if let Some(held) = holds.held.get_mut(&sink) {
                *held = cursor.offset;
            }
        }
        Ok(())
    }

    fn hold(&self, sink: &str, cursor: Position) {
        let mut holds = lock(&self.core.holds);
        holds.away.remove(sink);
        holds.held.insert(sink.to_owned(), cursor.offset);
    }

    fn release(&self, sink: &str) {
        lock(&self.core.holds).held.remove(sink);
    }

    fn at_risk(&self) -> u64 {
        self.core.queue.at_risk()
    }

    async fn close(&self) -> Result<(), JournalError> {
        self.core.queue.close(Closing::Flush);
        let running = lock(&self.running).take();
        let core = Arc::clone(&self.core);
        let cut_short =
            |error| JournalError::Io { what: "closing the journal failed".into(), error: io::Error::other(error) };
        tokio::task::spawn_blocking(move || stop(&core, running, Closing::Flush)).await.map_err(cut_short)?
    }
}

impl LocalJournal {
    /// What a read has passed over.
    async fn gap(&self, read: &reader::Read) -> Result<Option<Gap>, JournalError> {
        let mut counted = Counted::default();
        if let Some((from, to)) = read.gone {
            for stretch in self.cursors.deleted(position(from), position(to)).await? {
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
        Ok(Some(Gap { from: position(from), to: position(to), deleted, lost }))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let core = Arc::clone(&self.core);
        let lost = |error| JournalError::Io { what: "a read was cut short".into(), error: io::Error::other(error) };
        tokio::task::spawn_blocking(move || work(&core)).await.map_err(lost)?
    }
}

/// Ends both threads, the writer first, so that the last footer is still written; then lets go of the lock. A thread
/// that hangs in the disk keeps the lock: its next write must not meet another process.
fn stop(core: &Arc<Core>, running: Option<Running>, how: Closing) -> Result<(), JournalError> {
    let Some(running) = running else { return Ok(()) };
    core.queue.close(how);
    let ended = ends(&running.writer);
    core.chores.stop(how == Closing::Flush);
    let unwritten = if ended && ends(&running.janitor) {
        let (written, kept) = (running.writer.join(), running.janitor.join());
        if written.is_err() || kept.is_err() {
            tracing::error!("a thread of the journal panicked");
        }
        core.home.release();
        written.ok()
    } else {
        tracing::error!("the disk does not answer; the journal is left as it is");
        leave(core, running);
        None
    };
    match (unwritten, core.queue.waiting()) {
        _ if how == Closing::Abandon => Ok(()),
        (Some(0), _) | (None, 0) => Ok(()),
        (Some(events), _) => Err(JournalError::Lost(format!("{events} accepted events"))),
        (None, bytes) => Err(JournalError::Lost(format!("{bytes} bytes of accepted events"))),
    }
}

/// Lets go of the lock when the threads have ended, whenever that is.
fn leave(core: &Arc<Core>, running: Running) {
    let core = Arc::clone(core);
    let _ = spawn("journal-end", move || {
        let _ = (running.writer.join(), running.janitor.join());
        core.home.release();
    });
}

/// Waits for a thread to end, but not for ever.
fn ends<T>(thread: &JoinHandle<T>) -> bool {
    let until = Instant::now() + CLOSE_LIMIT;
    while !thread.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.is_finished()
}

fn position(offset: u64) -> Position {
    Position { shard: SHARD, offset }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, JournalError> {
    let failed = |error| JournalError::Io { what: format!("cannot start the thread {name}"), error };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}
