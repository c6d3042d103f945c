//! Batch → transaction → report. One connection, used by one call at a time, on the runtime's blocking pool. A call
//! that is dropped leaves its transaction to finish or fail there; delivering the batch again is harmless, because
//! `event_id` is unique.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Transaction, TransactionBehavior, params_from_iter};
use sink_api::rows::{self, Insert, Members, Row, Unknown};
use sink_api::{Batch, Outcome, Reason, Report, Sink, code};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::config::OnConflict;
use crate::database::{self, Database, OpenError, Spec};
use crate::schema::{SchemaError, Table};
use crate::verdict::{self, BUSY, Failure, INTERNAL, SCHEMA, Stage};

/// SQLite's virtual instructions between two looks at the clock: well under a millisecond.
const INSTRUCTIONS_PER_LOOK: i32 = 10_000;

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
        let database = opened.await.map_err(|e| OpenError::Time(Reason::new(INTERNAL, e.to_string())))??;
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
        done.unwrap_or_else(|e| Report::all(batch, &Outcome::retry(INTERNAL, e.to_string())))
    }

    async fn probe(&self) -> Result<(), Reason> {
        let spec = Arc::clone(&self.spec);
        let probed = spawn_blocking(move || database::probe(&spec)).await;
        Ok(probed.map_err(|e| Reason::new(INTERNAL, e.to_string()))?.map(drop)?)
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
        let read: Vec<Result<Members, &str>> = batch.deliveries.iter().map(|d| rows::read(d.bytes())).collect();
        let mut report = Report::open(batch);
        let (good, bad) = rows::sort_out(batch, &read);
        if !good.is_empty() {
            match self.ready(batch.deadline) {
                Ok(()) => self.settle(batch, &read, good, &mut report),
                Err(why) => good.into_iter().for_each(|i| report.set(batch, i, retry(&why))),
            }
        }
        for (i, why) in bad {
            if report.may_attempt(batch, i) {
                report.set(batch, i, Outcome::reject(code::BAD_PAYLOAD, why));
            }
        }
        report
    }

    /// Sees to it that there is a database, and that it is in place.
    fn ready(&mut self, deadline: Instant) -> Result<(), Reason> {
        let left = left(deadline)?;
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

    /// Puts the rows in, all at once if it can be; where one of them is at fault, in halves until that one stands alone.
    fn settle(&mut self, batch: &Batch, read: &[Result<Members, &str>], good: Vec<usize>, report: &mut Report) {
        // A stack, the earliest deliveries on top: at most one part more than `good` can be halved.
        let mut owed = vec![good];
        while let Some(mut part) = owed.pop() {
            part.retain(|&i| report.may_attempt(batch, i));
            if part.is_empty() {
                continue;
            }
            match self.write(batch, read, &part) {
                Ok(()) => part.into_iter().for_each(|i| report.set(batch, i, Outcome::Delivered)),
                Err(Failure::Row(why)) if part.len() == 1 => {
                    part.into_iter().for_each(|i| report.set(batch, i, Outcome::Reject { why: why.clone() }));
                }
                Err(Failure::Row(_)) => {
                    let later = part.split_off(part.len() / 2);
                    owed.extend([later, part]);
                }
                Err(Failure::Sink(why)) => {
                    part.extend(owed.drain(..).rev().flatten().filter(|&i| report.may_attempt(batch, i)));
                    part.into_iter().for_each(|i| report.set(batch, i, retry(&why)));
                    self.recover(&why);
                }
            }
        }
    }

    /// One transaction, within the deadline.
    fn write(&mut self, batch: &Batch, read: &[Result<Members, &str>], part: &[usize]) -> Result<(), Failure> {
        let lost = || Failure::Sink(Reason::new(code::IO, "the database file was replaced while it was written to"));
        let Some(Database { conn, table, .. }) = self.database.as_mut() else { return Err(lost()) };
        let failed = |error: rusqlite::Error| verdict::of(&error, Stage::Statement);
        conn.busy_timeout(self.spec.patience(left(batch.deadline).map_err(Failure::Sink)?)).map_err(failed)?;
        let deadline = batch.deadline;
        conn.progress_handler(INSTRUCTIONS_PER_LOOK, Some(move || Instant::now() >= deadline)).map_err(failed)?;
        let begun = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        if !table.is_current(&begun).map_err(failed)? {
            *table = Table::read(&begun, &self.spec.table).map_err(|error| match error {
                SchemaError::Unfit(text) => Failure::Sink(Reason::new(SCHEMA, text)),
                SchemaError::Sqlite(error) => failed(error),
            })?;
        }
        let rows = part.iter().filter_map(|&i| {
            let (delivery, Ok(members)) = (batch.deliveries.get(i)?, read.get(i)?) else { return None };
            Some(Row { id: &delivery.id, key: &delivery.key, members })
        });
        for insert in rows::inserts(rows, &table.positions, batch.ordered, &mut self.unknown) {
            put(&begun, table, &insert, self.spec.on_conflict)?;
        }
        begun.commit().map_err(failed)?;
        // Asked again: rows that went into a file no longer at the path are not where the config wants them.
        let in_place = self.database.as_ref().is_some_and(|database| database.is_in_place(&self.spec));
        if in_place { Ok(()) } else { Err(lost()) }
    }

    /// After a failure: keeps the connection where a fresh one would not help. (A missing table is made by `setup`.)
    fn recover(&mut self, why: &Reason) {
        if ![BUSY, code::DISK_FULL, code::TIMEOUT].contains(&why.code) {
            self.let_go();
        }
    }
}

/// Time until the deadline.
fn left(deadline: Instant) -> Result<Duration, Reason> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Reason::new(code::TIMEOUT, "the batch's deadline has passed")) } else { Ok(left) }
}

/// One INSERT for all rows, or as few as SQLite's limit on variables allows.
fn put(begun: &Transaction<'_>, table: &Table, insert: &Insert<'_>, on_conflict: OnConflict) -> Result<(), Failure> {
    let failed = |error: rusqlite::Error| verdict::of(&error, Stage::Statement);
    let most = begun.limit(Limit::SQLITE_LIMIT_VARIABLE_NUMBER).map_err(failed)?;
    let most = usize::try_from(most).unwrap_or(1) / (insert.columns.len() + 1);
    for rows in insert.rows.chunks(most.max(1)) {
        let sql = table.insert(&insert.columns, rows.len(), on_conflict);
        let mut statement = begun.prepare_cached(&sql).map_err(failed)?;
        let values = rows.iter().flat_map(|(id, values)| {
            let id = ToSqlOutput::Borrowed(ValueRef::Text(id.as_bytes()));
            std::iter::once(id).chain(insert.columns.iter().zip(values).map(|(at, value)| table.bind(*at, value)))
        });
        statement.execute(params_from_iter(values)).map_err(|error| verdict::of(&error, Stage::Row))?;
    }
    Ok(())
}

fn retry(why: &Reason) -> Outcome {
    Outcome::Retry { after: None, why: why.clone() }
}
