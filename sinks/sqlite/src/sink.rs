//! Batch → transaction → report. One connection, used by one call at a time, on the runtime's blocking pool. A call
//! that is dropped leaves its transaction to finish or fail there; delivering the batch again is harmless, because
//! the key is unique.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Transaction, TransactionBehavior, params_from_iter};
use sink_api::bad_row::{Failure, Search};
use sink_api::rows::{Insert, Unknown};
use sink_api::{Batch, BuildError, Event, Fault, Outcome, Reason, Report, Sink, SinkConfig, SinkContext, Target, code};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::config::SqliteConfig;
use crate::database::{self, Database, OpenError, Spec};
use crate::schema::{SchemaError, Table};
use crate::verdict::{self, Stage};

/// SQLite's virtual instructions between two looks at the clock: well under a millisecond.
const INSTRUCTIONS_PER_LOOK: i32 = 10_000;

#[async_trait]
impl SinkConfig for SqliteConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn target(&self, _event: &Event) -> Result<Target, Reason> {
        Ok(Target::of("table", self.table.as_str()))
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(SqliteSink::open(Spec::new(self, cx)?).await?))
    }

    async fn inspect(&self, cx: &SinkContext) -> Result<Option<String>, BuildError> {
        Ok(probe(Arc::new(Spec::new(self, cx)?)).await?)
    }
}

/// Whether rows could be put in now, and what is worth knowing beside a yes.
async fn probe(spec: Arc<Spec>) -> Result<Option<String>, OpenError> {
    spawn_blocking(move || database::probe(&spec)).await.unwrap_or_else(|error| Err(broken_off(&error)))
}

/// Work on the blocking pool that did not come to its end.
fn broken_off(error: &tokio::task::JoinError) -> OpenError {
    OpenError::Unavailable(Reason::new(code::INTERNAL, error.to_string()))
}

/// The sink.
pub struct SqliteSink {
    spec: Arc<Spec>,
    writer: Arc<Mutex<Writer>>,
}

impl SqliteSink {
    /// Opens the database.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(spec: Spec) -> Result<Self, OpenError> {
        let spec = Arc::new(spec);
        let for_opening = Arc::clone(&spec);
        let opened = spawn_blocking(move || Database::open(&for_opening, for_opening.patience(Duration::MAX)));
        let database = opened.await.map_err(|error| broken_off(&error))??;
        let unknown = Unknown::new(&spec.sink, &spec.table);
        let writer = Writer { spec: Arc::clone(&spec), database: Some(database), unknown };
        Ok(Self { spec, writer: Arc::new(Mutex::new(writer)) })
    }
}

#[async_trait]
impl Sink for SqliteSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let owed = batch.clone();
        let done = spawn_blocking(move || writer.deliver(&owed)).await;
        done.unwrap_or_else(|e| Report::all(batch, &Outcome::retry(code::INTERNAL, e.to_string())))
    }

    async fn probe(&self) -> Result<(), Reason> {
        Ok(probe(Arc::clone(&self.spec)).await.map(drop)?)
    }

    async fn close(self: Box<Self>) {
        let mut writer = self.writer.lock_owned().await;
        // Closing carries the log over into the file; all of it was flushed when it was written.
        let _ = spawn_blocking(move || writer.let_go()).await;
    }
}

/// What one call at a time works with.
struct Writer {
    spec: Arc<Spec>,
    /// `None` after a failure that a fresh connection may mend.
    database: Option<Database>,
    unknown: Unknown,
}

impl Writer {
    fn deliver(&mut self, batch: &Batch) -> Report {
        let mut search = Search::new(batch, self.spec.on_conflict);
        if !search.is_over() {
            match self.make_ready(batch) {
                Ok(()) => self.write_all(&mut search),
                Err(why) => search.give_up(why),
            }
        }
        search.into_report()
    }

    fn write_all(&mut self, search: &mut Search<'_>) {
        while let Some(rows) = search.next_rows() {
            let written = self.write(search, &rows);
            if let Err(Failure::Sink(why)) = &written {
                self.recover(why);
            }
            search.note(rows, written);
        }
    }

    /// Opens the database where none is open, or where the one that is open is no longer in place.
    fn make_ready(&mut self, batch: &Batch) -> Result<(), Reason> {
        let left = left(batch.deadline)?;
        if self.spec.is_full() {
            return Err(Reason::new(code::DISK_FULL, "free space is below min_free"));
        }
        if self.database.as_ref().is_some_and(|database| !database.is_in_place(&self.spec)) {
            tracing::warn!(sink = self.spec.sink, "the database file is gone or was replaced: opening it anew");
            self.let_go();
        }
        if self.database.is_none() {
            self.database = Some(Database::open(&self.spec, self.spec.patience(left))?);
        }
        Ok(())
    }

    fn let_go(&mut self) {
        if let Some(database) = self.database.take()
            && !database.is_in_place(&self.spec)
        {
            database.abandon(&self.spec);
        }
    }

    /// One transaction, within the deadline.
    fn write(&mut self, search: &Search<'_>, rows: &[usize]) -> Result<(), Failure> {
        let deadline = search.deadline();
        let lost = || Failure::Sink(Reason::new(code::IO, "the database file was replaced while it was written to"));
        let Some(Database { conn, table, .. }) = self.database.as_mut() else { return Err(lost()) };
        let failed = |error: rusqlite::Error| verdict::of(&error, Stage::Statement);
        conn.busy_timeout(self.spec.patience(left(deadline).map_err(Failure::Sink)?)).map_err(failed)?;
        conn.progress_handler(INSTRUCTIONS_PER_LOOK, Some(move || Instant::now() >= deadline)).map_err(failed)?;
        let begun = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        if !table.is_current(&begun).map_err(failed)? {
            *table = Table::read(&begun, &self.spec.table, self.spec.on_conflict).map_err(|error| match error {
                SchemaError::Unfit(fault) => Failure::Sink(Reason::new(code::SCHEMA, fault.to_string())),
                SchemaError::Sqlite(error) => failed(error),
            })?;
        }
        for insert in search.inserts(rows, &table.positions, &mut self.unknown) {
            put(&begun, table, &insert)?;
        }
        begun.commit().map_err(failed)?;
        // Looked at again: rows that went into a file which has left the path are not where the config wants them.
        let in_place = self.database.as_ref().is_some_and(|database| database.is_in_place(&self.spec));
        if in_place { Ok(()) } else { Err(lost()) }
    }

    /// After a failure: keeps the connection where a fresh one would not help. (A missing table is made by `setup`.)
    fn recover(&mut self, why: &Reason) {
        if ![code::BUSY, code::DISK_FULL, code::TIMEOUT].contains(&why.code) {
            self.let_go();
        }
    }
}

/// Time until the deadline.
fn left(deadline: Instant) -> Result<Duration, Reason> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Reason::too_late()) } else { Ok(left) }
}

/// One INSERT for all rows, or as few as SQLite's limit on variables allows.
fn put(begun: &Transaction<'_>, table: &Table, insert: &Insert<'_>) -> Result<(), Failure> {
    let failed = |error: rusqlite::Error| verdict::of(&error, Stage::Statement);
    let most = begun.limit(Limit::SQLITE_LIMIT_VARIABLE_NUMBER).map_err(failed)?;
    let most = usize::try_from(most).unwrap_or(1) / (insert.columns.len() + 1);
    for rows in insert.rows.chunks(most.max(1)) {
        let sql = table.insert(&insert.columns, rows.len());
        let mut statement = begun.prepare_cached(&sql).map_err(failed)?;
        let values = rows.iter().flat_map(|(id, values)| {
            let id = ToSqlOutput::Borrowed(ValueRef::Text(id.as_bytes()));
            std::iter::once(id).chain(insert.columns.iter().zip(values).map(|(at, value)| table.bind(*at, value)))
        });
        statement.execute(params_from_iter(values)).map_err(|error| verdict::of(&error, Stage::Row))?;
    }
    Ok(())
}
