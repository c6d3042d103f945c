//! The thread that owns the outbox's connection. It starts, and opens the file or makes it, when somebody asks for
//! something first. What is asked for while it is busy shares the next transaction and its flush; who asked is answered
//! when that is on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Clock;
use super::error::OutboxError;
use super::store::{self, SCHEMA};
use super::tally::{Beside, Tally};
use crate::database::{self, Files};

/// Requests that may wait; each caller has one under way.
const QUEUE: usize = 256;
/// Most requests in one transaction.
const BATCH: usize = 64;
/// What the name of the empty file ends in that says that there is an outbox, or was one that is missing.
const MARK: &str = "known";
/// Statements that are kept ready.
const STATEMENTS: usize = 64;

/// What a request works with.
pub struct Step<'c> {
    /// In the transaction.
    pub connection: &'c Connection,
    /// When this life began; microseconds. What was under way before is lost.
    pub opened: i64,
    /// How many waited to be sent again before the transaction, and by the requests before this one in it.
    pub waiting: i64,
    /// What it adds beside the file.
    pub tally: Tally,
}

/// A request, and who is to be answered.
trait Ask: Send {
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), rusqlite::Error>;
    fn answer(self: Box<Self>, outcome: Result<(), OutboxError>);
}

/// The one kind of it.
struct Asked<W, T> {
    work: Option<W>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, OutboxError>>,
}

impl<W, T> Ask for Asked<W, T>
where
    W: FnOnce(&mut Step<'_>) -> Result<T, rusqlite::Error> + Send,
    T: Send,
{
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), rusqlite::Error> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(step)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), OutboxError>) {
        let Self { done, reply, .. } = *self;
        // What ran without an error has an answer. An asker that is gone waits for none.
        drop(reply.send(outcome.and_then(|()| done.ok_or(OutboxError::Closed))));
    }
}

enum Request {
    Ask(Box<dyn Ask>),
    Look(oneshot::Sender<bool>),
}

#[derive(Default)]
enum Life {
    #[default]
    Unused,
    Running(mpsc::Sender<Request>, JoinHandle<()>),
    Closed,
}

/// The way to the thread.
pub struct Thread {
    path: PathBuf,
    beside: Arc<Beside>,
    clock: Arc<Clock>,
    opened: i64,
    life: Mutex<Life>,
}

impl Thread {
    /// Of the file at that path. Opens nothing.
    pub fn new(path: PathBuf, beside: Arc<Beside>, clock: Arc<Clock>) -> Self {
        let opened = clock().as_microsecond();
        Self { path, beside, clock, opened, life: Mutex::default() }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is, or may be, anything to read.
    pub fn has_file(&self) -> bool {
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        matches!(&*self.lock(), Life::Running(..)) || is_there(&self.path) || is_there(&mark(&self.path))
    }

    /// Has the thread do that in a transaction. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be read or written; then nothing has changed.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Step<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let (reply, answer) = oneshot::channel();
        let asked = Box::new(Asked { work: Some(work), done: None, reply });
        let sender = self.sender()?;
        sender.send(Request::Ask(asked)).await.map_err(|_| OutboxError::Closed)?;
        answer.await.map_err(|_| OutboxError::Closed)?
    }

    /// Sees that the file is still there, and writes it anew where it is not. Says whether it is there now; true where
    /// it is not in use.
    pub async fn look_after(&self) -> bool {
        let sender = match &*self.lock() {
            Life::Running(sender, _) => sender.clone(),
            Life::Unused | Life::Closed => return true,
        };
        let (reply, answer) = oneshot::channel();
        if sender.send(Request::Look(reply)).await.is_err() {
            return true;
        }
        answer.await.unwrap_or(true)
    }

    /// Ends the thread once it has done what it was asked for. Blocks until then.
    pub fn close(&self) {
        let life = std::mem::replace(&mut *self.lock(), Life::Closed);
        if let Life::Running(sender, thread) = life {
            drop(sender);
            // A panic in the thread was reported on stderr; there is nothing left to save here.
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> Result<mpsc::Sender<Request>, OutboxError> {
        let mut life = self.lock();
        match &*life {
            Life::Running(sender, _) => return Ok(sender.clone()),
            Life::Closed => return Err(OutboxError::Closed),
            Life::Unused => {}
        }
        let (sender, inbox) = mpsc::channel(QUEUE);
        let (path, beside, clock) = (self.path.clone(), Arc::clone(&self.beside), Arc::clone(&self.clock));
        let opened = self.opened;
        let thread = std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || serve(&path, inbox, &beside, (&*clock, opened)))
            .map_err(|error| OutboxError::Thread(Arc::new(error)))?;
        *life = Life::Running(sender.clone(), thread);
        Ok(sender)
    }
}

/// The file while it is open.
struct Open {
    connection: Connection,
    files: Files,
}

/// The name of the mark beside that file.
fn mark(path: &Path) -> PathBuf {
    path.with_extension(MARK)
}

impl Open {
    fn new(path: &Path, beside: &Beside, clock: &Clock) -> Result<Self, OutboxError> {
        let failed = |error| OutboxError::File(Arc::new(error));
        let path = &database::resolved(path).map_err(failed)?;
        let sqlite = |error| OutboxError::of(path, error);
        let (connection, aside) = database::open(path, &SCHEMA).map_err(failed)?;
        if !store::is_begun(&connection).map_err(sqlite)? {
            let is_lost = aside.is_some() || mark(path).symlink_metadata().is_ok();
            store::begin(&connection, is_lost.then(|| clock().as_microsecond())).map_err(sqlite)?;
            if is_lost {
                tracing::error!(
                    path = %path.display(),
                    "what the outbox knew is lost: messages that waited are not sent again, and what came before now \
                     and is yet to be sent, for the first time or again, is refused as too old"
                );
            }
        }
        database::make_mark(&mark(path)).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        beside.begin(waiting(&connection).map_err(sqlite)?);
        let files = Files::of(path, &SCHEMA);
        Ok(Self { connection, files })
    }
}

fn waiting(connection: &Connection) -> Result<BTreeMap<String, u64>, rusqlite::Error> {
    let sql = "SELECT rule, count(*) FROM resends WHERE state = 0 GROUP BY rule";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
    connection.prepare(sql)?.query_map([], row)?.collect()
}

/// Serves until every sender is gone, in the life that began when `opened` says.
fn serve(path: &Path, mut inbox: mpsc::Receiver<Request>, beside: &Beside, (clock, opened): (&Clock, i64)) {
    let mut open: Option<Open> = None;
    let mut requests = Vec::with_capacity(BATCH);
    while inbox.blocking_recv_many(&mut requests, BATCH) > 0 {
        let mut asks = Vec::with_capacity(requests.len());
        for request in requests.drain(..) {
            match request {
                Request::Ask(ask) => asks.push(ask),
                Request::Look(reply) => {
                    let there = open.as_mut().is_none_or(|open| open.files.look(&mut open.connection));
                    // An asker that is gone waits for no answer.
                    let _ = reply.send(there);
                }
            }
        }
        if asks.is_empty() {
            continue;
        }
        let now = match open.take().map_or_else(|| Open::new(path, beside, clock), Ok) {
            Ok(open) => open,
            Err(error) => {
                asks.into_iter().for_each(|ask| ask.answer(Err(error.clone())));
                continue;
            }
        };
        // One that is damaged is closed: the next to ask finds it set aside, and a new one.
        open = run(&now.connection, asks, path, beside, opened).is_ok().then_some(now);
    }
}

/// Runs requests in one transaction. One that fails is taken back by itself; where the transaction fails, all do.
///
/// # Errors
/// The file is damaged.
fn run(connection: &Connection, asks: Vec<Box<dyn Ask>>, path: &Path, beside: &Beside, opened: i64) -> Result<(), ()> {
    let mut waits = i64::try_from(beside.waiting()).unwrap_or(i64::MAX);
    let (mut done, mut failed) = (Vec::with_capacity(asks.len()), Vec::new());
    let mut broken = connection.execute_batch("BEGIN").map_err(|error| OutboxError::of(path, error)).err();
    for mut ask in asks {
        if let Some(error) = &broken {
            failed.push((ask, error.clone()));
            continue;
        }
        let mut step = Step { connection, opened, waiting: waits, tally: Tally::default() };
        match alone(&mut step, &mut *ask) {
            Ok(()) => {
                waits = waits.saturating_add(step.tally.more_waiting());
                done.push((ask, step.tally));
            }
            Err(error) => {
                let error = OutboxError::of(path, error);
                // Where SQLite has taken all of it back, what ran before is undone with it.
                broken = (connection.is_autocommit() || error.is_damage()).then(|| error.clone());
                failed.push((ask, error));
            }
        }
    }
    let written = match broken {
        Some(error) => Err(error),
        None => connection.execute_batch("COMMIT").map_err(|error| OutboxError::of(path, error)),
    };
    let damaged = [&written].into_iter().filter_map(|written| written.as_ref().err()).any(OutboxError::is_damage);
    if written.is_err() && !connection.is_autocommit() {
        // Where even that fails, the connection is closed, or begins anew with what is on disk.
        let _ = connection.execute_batch("ROLLBACK");
    }
    for (ask, tally) in done {
        if written.is_ok() {
            beside.take(tally);
        }
        ask.answer(written.clone());
    }
    failed.into_iter().for_each(|(ask, error)| ask.answer(Err(error)));
    if damaged { Err(()) } else { Ok(()) }
}

fn alone(step: &mut Step<'_>, ask: &mut dyn Ask) -> Result<(), rusqlite::Error> {
    let connection = step.connection;
    connection.execute_batch("SAVEPOINT one")?;
    let ran = ask.run(step);
    if ran.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK TO one")?;
    }
    if !connection.is_autocommit() {
        connection.execute_batch("RELEASE one")?;
    }
    ran
}
