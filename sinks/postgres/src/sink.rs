//! Batch → transaction → report. Each call has a connection to itself and drives it; a call that is dropped drops it, and
//! what was not committed is rolled back by the server. Delivering the batch again is harmless, because `event_id` is
//! unique.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use sink_api::rows::{self, Insert, Members, Row, Unknown};
use sink_api::{Batch, BuildError, Outcome, Reason, Report, Sink, code};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::server::{Conn, Lease, Pool, Spec, Trouble};
use crate::table::{Table, TableError};
use crate::verdict::{self, CORRUPT, Failure, NO_UNIQUE_INDEX, SCHEMA};

/// Longest that `setup` may take. The core's own bound on opening a sink comes first where it is shorter.
const SETUP_PATIENCE: Duration = Duration::from_secs(60);
/// Longest that a probe, and looking at the table when the sink is opened, may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(15);
/// Most of a batch's time that is kept back, so that the server's answer to a statement that ran out of it arrives.
const KEPT_BACK: Duration = Duration::from_secs(1);

/// The sink.
pub struct PostgresSink {
    pool: Pool,
    unknown: Mutex<Unknown>,
}

/// Why rows could not be put in, found by looking.
enum Unready {
    /// There is no such table; the text holds the SQL that helps, on a line of its own.
    Missing(String),
    /// The table is not what the sink needs; the same.
    Unfit(String),
    /// Anything else.
    Why(Reason),
}

impl From<TableError> for Unready {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Missing(text) => Self::Missing(text),
            TableError::Unfit(text) => Self::Unfit(text),
            TableError::Sql(error) => Self::Why(of_sink(&Trouble::Sql(error))),
        }
    }
}

impl From<Reason> for Unready {
    fn from(why: Reason) -> Self {
        Self::Why(why)
    }
}

impl From<Unready> for Reason {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::Missing(text) | Unready::Unfit(text) => Self::new(SCHEMA, text),
            Unready::Why(why) => why,
        }
    }
}

/// Whom to ask when the sink cannot be opened.
impl From<Unready> for BuildError {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::Missing(text) | Unready::Unfit(text) => Self::Refused(text),
            Unready::Why(why) if [SCHEMA, CORRUPT, code::AUTH, code::TLS].contains(&why.code) => {
                Self::Refused(why.detail)
            }
            Unready::Why(why) => Self::Unavailable(why),
        }
    }
}

/// Whether rows could be put in, now or after `setup`; runs no SQL of the config's and changes nothing.
///
/// # Errors
/// [`BuildError`].
pub async fn inspect(spec: Spec, setup: Option<&str>) -> Result<Option<String>, BuildError> {
    match PostgresSink::new(spec).rehearse().await {
        Ok(()) => Ok(None),
        Err(Unready::Missing(_)) if setup.is_some() => {
            Ok(Some("the table does not exist yet; `run` runs `setup` first, which is not tried here".to_owned()))
        }
        Err(unready) => Err(unready.into()),
    }
}

/// A transaction that failed, and how the connection came out of it.
struct Broken {
    failure: Failure,
    /// Whether the connection is good for another transaction.
    sound: bool,
}

impl PostgresSink {
    /// Connects, runs `setup`, and looks whether the table will do.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn open(spec: Spec, setup: Option<&str>) -> Result<Self, BuildError> {
        if let Some(setup) = setup {
            run_setup(&spec, setup).await?;
        }
        let sink = Self::new(spec);
        sink.rehearse().await?;
        Ok(sink)
    }

    fn new(spec: Spec) -> Self {
        let unknown = Mutex::new(Unknown::new(&spec.sink, &spec.table));
        Self { pool: Pool::new(spec), unknown }
    }

    /// Whether rows could be put in.
    async fn rehearse(&self) -> Result<(), Unready> {
        let deadline = Instant::now() + PROBE_PATIENCE;
        let mut lease = self.pool.take(deadline).await?;
        let (name, on_conflict) = (self.pool.spec.table.as_str(), self.pool.spec.on_conflict);
        let asked = lease.conn.run(deadline, |client| Table::ask(client, name)).await.map_err(|e| of_sink(&e))?;
        let table = Table::read(name, &asked)?;
        let rehearsal = table.rehearsal(on_conflict);
        let limit = format!("SET statement_timeout = {}; {rehearsal}; RESET statement_timeout", millis(PROBE_PATIENCE));
        match lease.conn.run(deadline, async |client| client.batch_execute(&limit).await).await {
            Ok(()) => lease.rest(),
            Err(trouble) if is_not_unique(&trouble) => return Err(Unready::Unfit(table.not_unique())),
            Err(trouble) => return Err(of_sink(&trouble).into()),
        }
        Ok(())
    }

    /// Puts the rows in, all at once if it can be; where one of them is at fault, in halves until that one stands alone.
    async fn settle(&self, batch: &Batch, read: &[Result<Members, &str>], good: Vec<usize>, report: &mut Report) {
        let mut lease = None;
        // A stack, the earliest deliveries on top: at most one part more than `good` can be halved.
        let mut owed = vec![good];
        while let Some(mut part) = owed.pop() {
            part.retain(|&i| report.may_attempt(batch, i));
            if part.is_empty() {
                continue;
            }
            match self.write(&mut lease, batch, read, &part).await {
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
                    if [code::CONNECT, code::TIMEOUT].contains(&why.code) {
                        self.pool.forget();
                    }
                }
            }
        }
        if let Some(lease) = lease {
            lease.rest();
        }
    }

    /// One transaction, on the connection at hand or a new one; a connection that is no good any more is let go.
    async fn write<'p>(
        &'p self,
        lease: &mut Option<Lease<'p>>,
        batch: &Batch,
        read: &[Result<Members, &str>],
        part: &[usize],
    ) -> Result<(), Failure> {
        let mut held = match lease.take() {
            Some(held) => held,
            None => self.pool.take(batch.deadline).await.map_err(Failure::Sink)?,
        };
        match self.transaction(&mut held.conn, batch, read, part).await {
            Ok(()) => {
                *lease = Some(held);
                Ok(())
            }
            Err(Broken { failure, sound }) => {
                *lease = sound.then_some(held);
                Err(failure)
            }
        }
    }

    async fn transaction(
        &self,
        conn: &mut Conn,
        batch: &Batch,
        read: &[Result<Members, &str>],
        part: &[usize],
    ) -> Result<(), Broken> {
        let (deadline, spec) = (batch.deadline, &self.pool.spec);
        let begin = begin(deadline).map_err(|why| Broken { failure: Failure::Sink(why), sound: true })?;
        let begun = conn.run(deadline, async |client| {
            tokio::try_join!(client.batch_execute(&begin), Table::ask(client, &spec.table))
        });
        let asked = match begun.await {
            Ok(((), asked)) => asked,
            Err(trouble) => return Err(roll_back(conn, deadline, &trouble, verdict::of_trouble(&trouble)).await),
        };
        let table = match Table::read(&spec.table, &asked) {
            Ok(table) => table,
            Err(error) => return Err(undo(conn, deadline, Failure::Sink(Unready::from(error).into())).await),
        };
        let inserts = self.inserts(batch, read, part, &table);
        for (nth, insert) in inserts.iter().enumerate() {
            if let Err(trouble) = put(conn, deadline, &table, insert, nth == 0, spec.on_conflict).await {
                let (failure, sink_s) = match verdict::of_trouble(&trouble) {
                    Failure::Sink(_) if is_not_unique(&trouble) => {
                        (Failure::Sink(Reason::new(SCHEMA, table.not_unique())), None)
                    }
                    Failure::Sink(why) if why.code == SCHEMA => match verdict::value_misread(&trouble) {
                        Some(row) => (Failure::Row(row), Some(why)),
                        None => (Failure::Sink(why), None),
                    },
                    failure => (failure, None),
                };
                let mut broken = roll_back(conn, deadline, &trouble, failure).await;
                if part.len() == 1 {
                    let guilty = broken.sound && blame(conn, deadline, &table, insert, &mut broken).await;
                    // Only a value that fails by itself clears the sink.
                    if let Some(why) = sink_s.filter(|_| !guilty) {
                        broken.failure = Failure::Sink(why);
                    }
                }
                return Err(broken);
            }
        }
        match conn.run(deadline, async |client| client.batch_execute("COMMIT").await).await {
            Ok(()) => Ok(()),
            Err(trouble) => Err(roll_back(conn, deadline, &trouble, verdict::of_trouble(&trouble)).await),
        }
    }

    fn inserts<'r>(
        &self,
        batch: &'r Batch,
        read: &'r [Result<Members, &str>],
        part: &[usize],
        table: &Table,
    ) -> Vec<Insert<'r>> {
        let rows = part.iter().filter_map(|&i| {
            let (delivery, Ok(members)) = (batch.deliveries.get(i)?, read.get(i)?) else { return None };
            Some(Row { id: &delivery.id, key: &delivery.key, members })
        });
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        rows::inserts(rows, &table.positions, batch.ordered, &mut unknown)
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let read: Vec<Result<Members, &str>> = batch.deliveries.iter().map(|d| rows::read(d.bytes())).collect();
        let mut report = Report::open(batch);
        let (good, bad) = rows::sort_out(batch, &read);
        self.settle(batch, &read, good, &mut report).await;
        for (i, why) in bad {
            if report.may_attempt(batch, i) {
                report.set(batch, i, Outcome::reject(code::BAD_PAYLOAD, why));
            }
        }
        report
    }

    async fn probe(&self) -> Result<(), Reason> {
        Ok(self.rehearse().await?)
    }

    /// Nothing is kept that was not committed: connections are just closed.
    async fn close(self: Box<Self>) {}
}

/// On a connection of its own, which may be left in any state.
async fn run_setup(spec: &Spec, setup: &str) -> Result<(), BuildError> {
    let deadline = Instant::now() + SETUP_PATIENCE;
    let mut conn = spec.connect(deadline).await.map_err(Unready::Why)?;
    let limit = format!("SET statement_timeout = {}", millis(SETUP_PATIENCE));
    let ran = conn.run(deadline, async |client| {
        client.batch_execute(&limit).await?;
        client.batch_execute(setup).await
    });
    let Err(trouble) = ran.await else { return Ok(()) };
    let (Failure::Row(why) | Failure::Sink(why)) = verdict::of_trouble(&trouble);
    // Two that make the same table at once: the second time it is there.
    let clash = state(&trouble).is_some_and(|state| ["23505", "42P07", "42710", "XX000"].contains(&state));
    match &trouble {
        Trouble::Sql(error) if !clash && error.as_db_error().is_some() && why.code != code::CONNECT => {
            // The statements are the config's own: what the server says of them may be shown.
            let said = error.as_db_error().map(|db| db.message().to_owned()).unwrap_or_default();
            Err(BuildError::Refused(format!(
                "`setup` fails: {said} (SQLSTATE {})",
                state(&trouble).unwrap_or_default()
            )))
        }
        _ => Err(BuildError::Unavailable(Reason::new(why.code, format!("`setup` fails: {}", why.detail)))),
    }
}

/// Begins a transaction that the batch's deadline bounds, in which a commit is a flush and a time without a zone is UTC.
fn begin(deadline: Instant) -> Result<String, Reason> {
    let patience = patience(deadline)?;
    Ok(format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {patience}; SET LOCAL TimeZone = 'UTC'; \
         SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
    ))
}

/// Milliseconds a statement may take: what is left, less what its answer needs to arrive.
fn patience(deadline: Instant) -> Result<u128, Reason> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = millis(left.saturating_sub(KEPT_BACK.min(left / 10)));
    if left == 0 { Err(Reason::new(code::TIMEOUT, "the batch's deadline has passed")) } else { Ok(left) }
}

fn millis(time: Duration) -> u128 {
    time.as_millis()
}

/// One INSERT; one round trip.
async fn put(
    conn: &mut Conn,
    deadline: Instant,
    table: &Table,
    insert: &Insert<'_>,
    first: bool,
    on_conflict: crate::config::OnConflict,
) -> Result<(), Trouble> {
    let sql = table.insert(&insert.columns, on_conflict);
    let lists = table.bind(insert);
    let typed: Vec<(&(dyn ToSql + Sync), Type)> = lists.iter().map(|list| (list as _, Type::TEXT_ARRAY)).collect();
    // `begin` has set it for the first.
    let limit = patience(deadline).map_err(|_| Trouble::Late)?;
    let limit = format!("SET LOCAL statement_timeout = {limit}");
    conn.run(deadline, async |client| {
        if first {
            client.execute_typed(&sql, &typed).await
        } else {
            tokio::try_join!(client.batch_execute(&limit), client.execute_typed(&sql, &typed)).map(|((), rows)| rows)
        }
    })
    .await
    .map(drop)
}

/// After a failure: back to no transaction, where there is still somebody to talk to.
async fn roll_back(conn: &mut Conn, deadline: Instant, trouble: &Trouble, failure: Failure) -> Broken {
    let lost = match trouble {
        Trouble::Sql(error) => error.as_db_error().is_none(),
        Trouble::Ended | Trouble::Late => true,
    };
    // A server that became read-only is to be left: another one of the URL may be the writable one now.
    let moved = matches!(&failure, Failure::Sink(why) if why.code == code::CONNECT);
    if lost || moved { Broken { failure, sound: false } } else { undo(conn, deadline, failure).await }
}

async fn undo(conn: &mut Conn, deadline: Instant, failure: Failure) -> Broken {
    let undone = conn.run(deadline, async |client| client.batch_execute("ROLLBACK").await).await;
    Broken { failure, sound: undone.is_ok() }
}

/// Finds the column that one row failed at, where the server did not name it; whether one was found.
async fn blame(conn: &mut Conn, deadline: Instant, table: &Table, insert: &Insert<'_>, broken: &mut Broken) -> bool {
    let Failure::Row(why) = &mut broken.failure else { return false };
    if why.code != code::BAD_PAYLOAD {
        return false;
    }
    let texts: Vec<Option<std::borrow::Cow<'_, str>>> =
        table.bind(insert).into_iter().map(|list| list.into_iter().next().flatten()).collect();
    if let Some(named) = table.too_long(&insert.columns, &texts) {
        *why = Reason::new(why.code, format!("{}: {named}", why.detail));
        return true;
    }
    let sql = table.reading(&insert.columns);
    let texts: Vec<Text<'_>> = texts.iter().map(|text| Text(text.as_deref())).collect();
    // Of no type: the server takes the one it is cast to.
    let typed: Vec<(&(dyn ToSql + Sync), Type)> = texts.iter().map(|text| (text as _, Type::UNKNOWN)).collect();
    match conn.run(deadline, async |client| client.execute_typed(&sql, &typed).await).await {
        Err(Trouble::Sql(error)) if error.as_db_error().is_some() => {
            let context = error.as_db_error().and_then(|db| db.where_());
            if let Some(named) = context.and_then(parameter).and_then(|nth| table.named(&insert.columns, nth)) {
                *why = Reason::new(why.code, format!("{}: {named}", why.detail));
                return true;
            }
        }
        Ok(_) => {}
        Err(_) => broken.sound = false,
    }
    false
}

/// `unnamed portal parameter $2 = '…'` → 1, in whatever language it is said. Values come after the number.
fn parameter(context: &str) -> Option<usize> {
    let (_, rest) = context.split_once('$')?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// A text for a parameter whose type the server chooses.
#[derive(Debug)]
struct Text<'t>(Option<&'t str>);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn state(trouble: &Trouble) -> Option<&str> {
    match trouble {
        Trouble::Sql(error) => error.code().map(|state| state.code()),
        Trouble::Ended | Trouble::Late => None,
    }
}

fn is_not_unique(trouble: &Trouble) -> bool {
    state(trouble) == Some(NO_UNIQUE_INDEX)
}

fn of_sink(trouble: &Trouble) -> Reason {
    let (Failure::Row(why) | Failure::Sink(why)) = verdict::of_trouble(trouble);
    why
}

fn retry(why: &Reason) -> Outcome {
    Outcome::Retry { after: None, why: why.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_found_in_any_language_and_before_any_value() {
        assert_eq!(parameter("unnamed portal parameter $2 = '$7'"), Some(1));
        assert_eq!(parameter("Parameter $12 von unbenanntem Portal"), Some(11));
        assert_eq!(parameter("SQL function"), None);
        assert_eq!(parameter("$0"), None);
    }
}
