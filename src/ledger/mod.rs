//! The ledger: what is derived from the journal and must outlive a restart. SQLite: each sink's cursor and totals,
//! held deliveries (dead letters and parked ones), what became of the others, and what the journal deleted before sinks
//! had it; beside them what ingress has counted.
//!
//! One thread owns the connection; settlements that arrive together share one transaction and one flush
//! (`synchronous = FULL`), so that what [`Settle::settle`] returned is on disk. Off the journal's commit path.
//!
//! Where several daemons share a journal on Kafka, it is a copy of what Kafka has of this daemon's shards (`shared`).
//!
//! Others reach it through `storage`: what changes goes through [`Settle`], what is only shown through [`Ledger`].
//! Knows the journal's seam and its plain data; knows neither sinks nor HTTP.

mod away;
mod budget;
mod coder;
mod config;
mod counted;
mod cursors;
pub mod engine;
pub mod fates;
mod had;
pub mod held;
pub mod nodes;
mod notes;
pub mod parked;
pub mod replays;
pub mod runs;
mod schema;
mod settle;
mod settlement;
pub mod shared;
mod steps;
mod storage;
mod thread;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sink_api::{Timestamp, Uuid};
use tokio::sync::oneshot;

use crate::database::{self, DatabaseError};
use crate::journal::{Cursors, CursorsError, Deleted, Marks, Position, TypeCount};
pub use budget::{Dead, HeldBudget};
pub use config::DeadLetterKeys;
pub use counted::{CountOf, Counted};
use fates::SinkFates;
pub use had::Had;
use held::{By, Change, Filter, Held, Letter, Page};
pub use notes::Noted;
use parked::Schedule;
use replays::{Replay, ReplayCounts, UnderWay};
pub use settle::{LocalSettle, Orders, Settle, SettleError};
pub use settlement::{Counters, Fate, HeldDelivery, ParkedFate, Settlement, SinkState, Spent, Try};
pub use storage::{SinkStorage, Storage};
use thread::Request;

/// Requests that may wait for the ledger's thread; each caller has one under way.
const QUEUE: usize = 256;

/// What was found when the ledger was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// There was no ledger, or an unreadable one: this one holds nothing yet.
    pub fresh: bool,
    /// Where an unreadable ledger was set aside.
    pub set_aside: Option<PathBuf>,
}

/// The ledger. [`Ledger::default`] is not open yet: until [`Ledger::attach`] it answers as a closed one does.
#[derive(Default)]
pub struct Ledger {
    requests: std::sync::Mutex<Option<tokio::sync::mpsc::Sender<Request>>>,
    thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
    path: std::sync::OnceLock<PathBuf>,
    budget: Arc<HeldBudget>,
}

impl Ledger {
    /// A ledger that is not open yet. Its dead letters may take so many bytes.
    pub fn bounded(dead_bytes: u64) -> Self {
        Self { budget: Arc::new(HeldBudget::new(dead_bytes)), ..Self::default() }
    }

    /// How much room dead letters take, and may take.
    pub fn held_budget(&self) -> &HeldBudget {
        &self.budget
    }

    /// Opens the ledger, or makes it. A file that cannot be read is renamed and stays where it is: it is never deleted.
    ///
    /// # Errors
    /// Where no ledger can be had at that path, or a later version wrote it.
    pub fn open(path: &Path) -> Result<(Self, Opened), DatabaseError> {
        let ledger = Self::default();
        let opened = ledger.attach(path)?;
        Ok((ledger, opened))
    }

    /// Opens a ledger that is in use already and could not be opened before. Blocks.
    ///
    /// # Errors
    /// As [`Ledger::open`]; then nothing has changed, and it may be called again.
    pub fn attach(&self, path: &Path) -> Result<Opened, DatabaseError> {
        let path = &database::resolved(path)?;
        let (connection, opened) = schema::open(path)?;
        let files = database::Files::of(path, &schema::SCHEMA);
        let (requests, inbox) = tokio::sync::mpsc::channel(QUEUE);
        let budget = Arc::clone(&self.budget);
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || thread::serve(connection, files, inbox, &budget))
            .map_err(|error| DatabaseError::Io { path: path.to_owned(), error })?;
        *self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(requests);
        *self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(thread);
        // A ledger that is attached again after a failure has the same path.
        let _ = self.path.set(path.to_owned());
        Ok(opened)
    }

    /// The deliveries that match of those that are held, and whether there may be more behind them.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn held(&self, filter: Filter, page: Page) -> Result<(Vec<Letter>, bool), SettleError> {
        self.look(move |connection| held::look(connection, &filter, &page)).await
    }

    /// How many of the deliveries that match there are of each key, the most first; at most [`held::MAX_KEYS`] keys.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn held_by(&self, filter: Filter, by: By) -> Result<Vec<(String, u64)>, SettleError> {
        self.look(move |connection| held::count(connection, &filter, by)).await
    }

    /// For each sink and id whether the delivery is held, and then how, and the code of the last failure.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn held_states(&self, of: Vec<(String, String)>) -> Result<Vec<Option<(Held, String)>>, SettleError> {
        self.look(move |connection| held::states(connection, &of)).await
    }

    /// The ids of what is held that end like this; at most [`held::MAX_CANDIDATES`] and one more.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn held_ids(&self, held: Held, end: String) -> Result<Vec<String>, SettleError> {
        self.look(move |connection| held::ids(connection, held, &end)).await
    }

    /// What a sink has parked: how much, and when each lane's first is due. Lanes are keys where `ordered`, else
    /// deliveries.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn schedule(&self, sink: &str, ordered: bool) -> Result<Schedule, SettleError> {
        let sink = sink.to_owned();
        self.look(move |connection| parked::schedule(connection, &sink, ordered)).await
    }

    /// The first of what is parked in each of these lanes, in order; a lane may have more.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn parked(
        &self,
        sink: &str,
        ordered: bool,
        lanes: Vec<Arc<str>>,
    ) -> Result<Vec<parked::Row>, SettleError> {
        let sink = sink.to_owned();
        self.look(move |connection| parked::first(connection, &sink, ordered, &lanes)).await
    }

    /// How many deliveries a sink has parked.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn parked_rows(&self, sink: &str) -> Result<u64, SettleError> {
        let sink = sink.to_owned();
        let sql = "SELECT count(*) FROM held WHERE sink = ?1 AND due IS NOT NULL";
        self.look(move |connection| connection.query_row(sql, [sink], |row| row.get(0)).map(i64::cast_unsigned)).await
    }

    /// When the oldest event was accepted of which a sink has a delivery parked, microseconds.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn oldest_parked(&self, sink: &str) -> Result<Option<i64>, SettleError> {
        let sink = sink.to_owned();
        let sql = "SELECT min(accepted) FROM held WHERE sink = ?1 AND due IS NOT NULL";
        self.look(move |connection| connection.query_row(sql, [sink], |row| row.get(0))).await
    }

    /// What became of an event's deliveries, at every sink that ever began. The event stands, or stood, at that
    /// position.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn fates(&self, at: Position, event: [u8; 16]) -> Result<Vec<SinkFates>, SettleError> {
        self.look(move |connection| fates::of(connection, at, Uuid::from_bytes(event))).await
    }

    /// What ingress has counted, as it was kept last. Read on the ledger's own thread: while the daemon starts, it
    /// takes none of those that others still need.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn counted(&self) -> Result<Vec<Counted>, SettleError> {
        self.ask(|reply| Request::Counted { reply }).await
    }

    /// Keeps what ingress has counted. Durable when this returns.
    ///
    /// # Errors
    /// It is not open, or cannot be written; then nothing has changed.
    pub async fn keep_counted(&self, counted: Vec<Counted>) -> Result<(), SettleError> {
        self.ask(|reply| Request::KeepCounted { counted, reply }).await
    }

    /// The same, for a ledger that was closed: what was counted since then. Blocks.
    ///
    /// # Errors
    /// It was never open, or cannot be written.
    pub fn keep_counted_last(&self, counted: &[Counted]) -> Result<(), SettleError> {
        let path = self.path.get().ok_or(SettleError::Closed)?;
        Ok(counted::keep(&mut database::reopen(path)?, counted, Timestamp::now().as_microsecond())?)
    }

    /// Replays under way.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn replays(&self) -> Result<Vec<Replay>, SettleError> {
        self.look(replays::list).await
    }

    /// What became of a replay so far, sink by sink; nothing of one that is long over.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn replay_counts(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError> {
        self.look(move |connection| replays::counts(connection, id)).await
    }

    /// What a sink has of each of these events: their positions and ids.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn had(&self, sink: &str, events: Vec<(Position, [u8; 16])>) -> Result<Vec<Had>, SettleError> {
        let sink = sink.to_owned();
        let events: Vec<_> = events.into_iter().map(|(at, id)| (at, Uuid::from_bytes(id))).collect();
        let fates = self.look(move |connection| fates::of_sink(connection, &sink, &events)).await?;
        Ok(fates.into_iter().map(Had::of).collect())
    }

    /// Whether a sink is held.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn is_paused(&self, sink: &str) -> Result<bool, SettleError> {
        let sink = sink.to_owned();
        let sql = "SELECT count(*) FROM sinks WHERE name = ?1 AND paused <> 0";
        self.look(move |connection| connection.query_row(sql, [sink], |row| row.get(0)).map(|n: i64| n > 0)).await
    }

    /// The sinks that are held.
    async fn paused(&self) -> Result<BTreeSet<String>, SettleError> {
        let sql = "SELECT name FROM sinks WHERE paused <> 0";
        self.look(move |connection| connection.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect()).await
    }

    /// Notes which sinks are in the config; gives those that were and are not any more, and their cursors. From now on
    /// what the journal deletes is counted for these, and their cursors move over it. Durable when this returns.
    ///
    /// # Errors
    /// It is not open, or cannot be written; then nothing has changed.
    pub async fn present(&self, sinks: BTreeSet<String>) -> Result<Vec<(String, Marks)>, SettleError> {
        self.ask(|reply| Request::Present { sinks, reply }).await
    }

    /// What the journal deleted while that sink was not in the config, and nobody has booked yet.
    ///
    /// # Errors
    /// It is not open, or cannot be read.
    pub async fn missed(&self, sink: &str) -> Result<Vec<TypeCount>, SettleError> {
        let sink = sink.to_owned();
        self.ask(|reply| Request::Missed { sink, reply }).await
    }

    /// Of that, so many deliveries were owed to the sink: they count as dropped, and what was missed is booked. Durable
    /// when this returns.
    ///
    /// # Errors
    /// It is not open, or cannot be written; then nothing has changed.
    pub async fn book_missed(&self, sink: &str, dropped: u64) -> Result<(), SettleError> {
        let sink = sink.to_owned();
        self.ask(|reply| Request::Book { sink, dropped, reply }).await
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&rusqlite::Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, SettleError> {
        let path = self.path.get().cloned().ok_or(SettleError::Closed)?;
        Ok(tokio::task::spawn_blocking(move || look(&database::reader(&path)?)).await??)
    }

    async fn ask<T>(&self, make: impl FnOnce(thread::Reply<T>) -> Request) -> Result<T, SettleError> {
        let (reply, answer) = oneshot::channel();
        self.sender()?.send(make(reply)).await.map_err(|_| SettleError::Closed)?;
        Ok(answer.await.map_err(|_| SettleError::Closed)??)
    }

    /// Does this on the ledger's thread, in one transaction: all of it or nothing.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&rusqlite::Connection) -> Result<T, SettleError> + Send + 'static,
    ) -> Result<T, SettleError> {
        let in_one = move |connection: &mut rusqlite::Connection| {
            let transaction = connection.transaction()?;
            let written = write(&transaction)?;
            transaction.commit()?;
            Ok(written)
        };
        self.work(in_one).await
    }

    /// Does this on the ledger's thread.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut rusqlite::Connection) -> Result<T, SettleError> + Send + 'static,
    ) -> Result<T, SettleError> {
        let (reply, answer) = oneshot::channel();
        let work: thread::Work = Box::new(move |connection| {
            let done = work(connection);
            // An asker that is gone waits for no answer.
            Box::new(move || drop(reply.send(done)))
        });
        self.sender()?.send(Request::Work(work)).await.map_err(|_| SettleError::Closed)?;
        answer.await.map_err(|_| SettleError::Closed)?
    }

    fn sender(&self) -> Result<tokio::sync::mpsc::Sender<Request>, SettleError> {
        let requests = self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        requests.ok_or(SettleError::Closed)
    }

    /// Sees that the ledger's files are still there, and writes them anew where they are not. Says whether they are
    /// there now.
    ///
    /// # Errors
    /// It is not open.
    pub async fn look_after(&self) -> Result<bool, SettleError> {
        self.ask(|reply| Request::Look { reply }).await
    }

    /// Lets go of a part of what is noted of events before these marks, the oldest still in the journal; says whether
    /// there is more to let go of. Settlements come in between two parts.
    ///
    /// # Errors
    /// It is not open, or cannot be written; then nothing has changed.
    pub async fn trim(&self, oldest: Marks) -> Result<bool, SettleError> {
        self.ask(|reply| Request::Trim { oldest, reply }).await
    }

    /// Closes the ledger once it has done what it was asked for before. Blocks until then.
    pub fn close(&self) {
        self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic in the thread was reported on stderr; there is nothing left to save here.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Settle for Ledger {
    async fn load(&self, sink: &str) -> Result<Option<SinkState>, SettleError> {
        let sink = sink.to_owned();
        self.ask(|reply| Request::Load { sink, reply }).await
    }

    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), SettleError> {
        self.ask(|reply| Request::Settle { steps, reply }).await
    }

    async fn change_dead(&self, sink: &str, ids: Vec<String>, change: Change) -> Result<Dead, SettleError> {
        let sink = sink.to_owned();
        self.ask(|reply| Request::Change { sink, ids, change, reply }).await
    }

    async fn pause(&self, sink: &str, paused: bool) -> Result<(), SettleError> {
        let sink = sink.to_owned();
        self.ask(|reply| Request::Pause { sink, paused, reply }).await
    }

    async fn is_paused(&self, sink: &str) -> Result<bool, SettleError> {
        Self::is_paused(self, sink).await
    }

    async fn begin_replay(&self, replays: Vec<Replay>) -> Result<i64, SettleError> {
        self.ask(|reply| Request::Replay { replays, reply }).await
    }

    async fn cancel_replay(&self, id: i64) -> Result<usize, SettleError> {
        self.ask(|reply| Request::Cancel { id, reply }).await
    }

    async fn replays(&self) -> Result<Vec<UnderWay>, SettleError> {
        let replays = Self::replays(self).await?;
        Ok(replays.into_iter().map(|replay| UnderWay { replay, done: None }).collect())
    }

    async fn replay_counts(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError> {
        Self::replay_counts(self, id).await
    }

    async fn orders(&self) -> Result<Orders, SettleError> {
        let (paused, replays) = (self.paused().await?, Self::replays(self).await?);
        Ok(Orders { paused, replays, skips: vec![] })
    }
}

#[async_trait]
impl Cursors for Ledger {
    async fn cursors(&self, name: &str) -> Result<Marks, CursorsError> {
        let state = self.load(name).await?;
        Ok(state.ok_or_else(|| SettleError::NoCursor(name.to_owned()))?.cursors)
    }

    fn keep_deleted(&self, deleted: Deleted) -> Result<(), CursorsError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.sender()?.blocking_send(Request::Keep { deleted, reply });
        asked.map_err(|_| SettleError::Closed)?;
        Ok(answer.blocking_recv().map_err(|_| SettleError::Closed)?.map_err(SettleError::from)?)
    }

    async fn deleted(&self, from: Position, to: Position) -> Result<Vec<Deleted>, CursorsError> {
        Ok(self.ask(|reply| Request::Deleted { from, to, reply }).await?)
    }
}

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod fates_tests;
#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod kafka_tests;
#[cfg(test)]
mod notes_tests;
#[cfg(test)]
mod shards_tests;
#[cfg(test)]
mod tests;
