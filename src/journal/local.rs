//! The journal on this machine's disk: a log of segments in one folder, written by one thread.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::follow::{LocalReader, blocking};
use super::home::Home;
use super::queue::Closing;
use super::recovery::{self, Recovered};
use super::segment::Store;
use super::state::{Core, Env, Limits, Parts};
use super::tally::{Counted, Tally};
use super::view::{SHARD, View, lock, position};
use super::writer::Writer;
use super::{
    Append, Commits, Cursors, Find, Fingerprint, Journal, JournalConfig, JournalError, JournalStat, LookedUp, Marks,
    Of, Owed, Position, Pulse, Reader, Retention, SubjectOf, Within, lookup, reader, retention,
};

/// Longest wait for a thread when the journal is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// Most lookups at the same time: one may read the whole journal.
const LOOKUPS: usize = 2;

/// The journal in a folder. A lock sees to it that a folder has one journal at a time.
///
/// Call [`Retention::begin`] once every holder has said what it needs, and [`Journal::close`] at the end: a journal
/// that is dropped lets go of what is still queued, as a crash would.
pub struct LocalJournal {
    core: Arc<Core>,
    running: Mutex<Option<Running>>,
    /// Turns of lookups.
    lookups: Arc<Semaphore>,
}

/// Whoever waits for a lookup. What is dropped waits no longer.
#[derive(Default)]
struct Asker {
    is_gone: Arc<AtomicBool>,
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}

/// The threads; the lock on the folder ([`Home`]) must outlive them.
struct Running {
    /// Gives the number of records it could not write.
    writer: JoinHandle<usize>,
    janitor: JoinHandle<()>,
}

impl LocalJournal {
    /// Opens (or begins) the journal in `dir`, which is made where it is missing. Blocks: the newest segment is read.
    /// `subject_of` says what events are about, `other_bytes` gives the bytes that count towards `max_size` beside the
    /// segments: the ledger's.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where another process has it, [`JournalError::Format`] where a later version wrote it,
    /// [`JournalError::Folder`] where the folder is not ours alone, [`JournalError::Io`] where it or a file in it
    /// cannot be opened. Damage is no error: it is reported.
    pub fn open(
        dir: &Path,
        config: &JournalConfig,
        subject_of: SubjectOf,
        cursors: Arc<dyn Cursors>,
        other_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<(Self, Recovered), JournalError> {
        Self::open_with(Env::real(subject_of), dir, config, cursors, other_bytes)
    }

    /// [`Self::open`] with another disk, clock or salt.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        env: Env,
        dir: &Path,
        config: &JournalConfig,
        cursors: Arc<dyn Cursors>,
        other_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<(Self, Recovered), JournalError> {
        let store = Store { disk: Arc::clone(&env.disk), dir: dir.to_owned() };
        let home = Home::take(&store)?;
        let opened = recovery::open(&store, (env.clock)())?;
        let (limits, overflow_max) = (Limits::of(config), config.overflow_max.0);
        let view = View::new(opened.segments, opened.last.end);
        let parts = Parts { env, store, home, limits, overflow_max, other_bytes, view, cursors };
        let core = Arc::new(Core::new(parts));
        core.look_at_free();
        let writer = Writer::new(Arc::clone(&core), opened.last, opened.next);
        let running = Running {
            writer: spawn("journal-commit", move || writer.run())?,
            janitor: {
                let core = Arc::clone(&core);
                spawn("journal-keep", move || retention::run(&core))?
            },
        };
        let lookups = Arc::new(Semaphore::new(LOOKUPS));
        Ok((Self { core, running: Mutex::new(Some(running)), lookups }, opened.recovered))
    }

    /// What commits cost since it was opened.
    pub fn commits(&self) -> Commits {
        self.core.commits.clone()
    }

    /// Ends the threads as a crash would: nothing is flushed, nothing sealed.
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
            // Nobody waits for the threads here; the lock is let go when they have ended.
            leave(&self.core, running);
        }
    }
}

#[async_trait]
impl Journal for LocalJournal {
    fn append_all(&self, records: Vec<Append>) {
        self.core.queue.push(records);
    }

    fn at_risk(&self) -> u64 {
        self.core.queue.at_risk()
    }

    fn refuses(&self) -> (bool, bool) {
        let (trouble, full) = self.core.queue.refusing();
        (trouble || full || self.core.full.load(Ordering::Relaxed), full)
    }

    async fn reader(&self, of: Of) -> Result<Box<dyn Reader>, JournalError> {
        let (from, until) = match of {
            Of::Cursors(name) => (self.core.cursors.cursors(&name).await.map_err(JournalError::Cursors)?, None),
            Of::Span { from, until } => (from, Some(until.at(SHARD).offset)),
        };
        Ok(Box::new(LocalReader::new(&self.core, from.at(SHARD).offset, until)))
    }

    async fn oldest(&self) -> Result<Marks, JournalError> {
        Ok(Marks::from(self.oldest_position()))
    }

    async fn ends(&self) -> Result<Marks, JournalError> {
        Ok(self.known_ends())
    }

    fn known_ends(&self) -> Marks {
        Marks::from(position(self.core.view().end))
    }

    async fn seek(&self, time: i64) -> Result<Marks, JournalError> {
        let found = blocking(&self.core, move |core| reader::seek(core, time)).await?;
        Ok(Marks::from(position(found)))
    }

    async fn find(&self, what: Find, within: Within) -> Result<LookedUp, JournalError> {
        // Held until the thread is done with it, which may be after whoever asked has gone.
        let turn = Arc::clone(&self.lookups).acquire_owned().await;
        let asker = Asker::default();
        let is_gone = Arc::clone(&asker.is_gone);
        blocking(&self.core, move |core| {
            let _turn = turn;
            lookup::find(core, &what, &within, &is_gone)
        })
        .await
    }

    async fn owed(&self, from: &Marks, to: &Marks) -> Result<Owed, JournalError> {
        let (from, to) = (from.at(SHARD).offset, to.at(SHARD).offset);
        loop {
            // What is noted of a segment and not deleted yet still stands; and what is deleted meanwhile is looked for
            // again.
            let oldest = self.oldest_position().offset;
            let gone = to.min(oldest);
            let mut counted = Counted::default();
            let deleted = self.core.cursors.deleted(position(from), position(gone)).await;
            for stretch in deleted.map_err(JournalError::Cursors)? {
                if let Some(tally) = Tally::decode(stretch.from.offset, &stretch.tally) {
                    tally.count(from, gone, &mut counted);
                }
            }
            let first = from.max(oldest);
            let there = blocking(&self.core, move |core| reader::counts(core, first, to)).await?;
            if self.oldest_position().offset == oldest {
                there.into_iter().for_each(|(name, events)| *counted.known.entry(name).or_default() += events);
                return Ok(Owed { known: reader::in_order(counted.known), unknown: 0 });
            }
        }
    }

    async fn stat(&self) -> Result<JournalStat, JournalError> {
        let (owed_bytes, free) = (Some(self.core.owed_bytes.load(Ordering::Relaxed)), self.core.free());
        Ok(JournalStat { owed_bytes, free, ..self.core.view().stat() })
    }

    async fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint> {
        reader::fingerprints(&self.core, since, max)
    }

    fn closes_soon(&self) {
        // The footer of a segment tells of every record in it. Of the next segment there will be little to tell.
        self.core.queue.roll();
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

impl Retention for LocalJournal {
    fn hold(&self, holder: &str, from: &Marks) {
        let mut holds = lock(&self.core.holds);
        holds.away.remove(holder);
        holds.held.insert(holder.to_owned(), from.at(SHARD).offset);
    }

    fn passed(&self, holder: &str, to: Position) {
        if to.shard == SHARD
            && let Some(held) = lock(&self.core.holds).held.get_mut(holder)
        {
            *held = to.offset;
        }
    }

    fn leave(&self, holder: &str, cursors: &Marks) {
        let mut holds = lock(&self.core.holds);
        holds.held.remove(holder);
        holds.away.insert(holder.to_owned(), cursors.at(SHARD).offset);
    }

    fn release(&self, holder: &str) {
        lock(&self.core.holds).held.remove(holder);
    }

    fn begin(&self) {
        self.core.retaining.store(true, Ordering::Release);
        self.core.chores.kick();
    }
}

impl Pulse for LocalJournal {
    fn ask(&self) {
        self.core.queue.ask();
    }

    fn has_answered(&self) -> bool {
        self.core.queue.has_answered() || self.core.is_on_disk()
    }
}

impl LocalJournal {
    fn oldest_position(&self) -> Position {
        position(self.core.view().oldest())
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

/// Lets go of the lock when the threads have ended, without waiting for them.
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

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, JournalError> {
    let failed = |error| JournalError::Io { what: format!("cannot start the thread {name}"), error };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}
