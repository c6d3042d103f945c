//! Batch → transaction → report. Each call has a connection to itself and drives it; a call that is dropped drops its
//! connection, and the server rolls back what was not committed. Delivering the batch again is harmless, because
//! the key is unique.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use sink_api::bad_row::{Failure, Search};
use sink_api::rows::{Insert, Unknown};
use sink_api::table::TableFault;
use sink_api::{Batch, BuildError, Event, Fault, Reason, Report, Sink, SinkConfig, SinkContext, Target, code};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::config::PostgresConfig;
use crate::server::{Conn, Lease, Pool, Spec};
use crate::table::{Table, TableError};
use crate::verdict::{self, NO_UNIQUE_INDEX, Trouble};

/// Longest that `setup` may take. The core's own bound on opening a sink comes first where it is shorter.
const SETUP_PATIENCE: Duration = Duration::from_secs(60);
/// Longest that a probe, and looking at the table when the sink is opened, may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(15);
/// Most of a batch's time that is kept back, so that the server's answer to a statement that ran out of it arrives.
const KEPT_BACK: Duration = Duration::from_secs(1);

#[async_trait]
impl SinkConfig for PostgresConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn target(&self, _event: &Event) -> Result<Target, Reason> {
        Ok(Target::of("table", self.table.as_str()))
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        let spec = Spec::new(self, cx).await?;
        Ok(Box::new(PostgresSink::open(spec, self.setup().as_deref()).await?))
    }

    /// Runs no SQL of the config's, and changes nothing.
    async fn inspect(&self, cx: &SinkContext) -> Result<Option<String>, BuildError> {
        match PostgresSink::new(Spec::new(self, cx).await?).rehearse().await {
            Ok(()) => Ok(None),
            Err(Unready::Table(TableFault::Missing(_))) if self.setup.is_some() => {
                Ok(Some("the table does not exist yet; `run` runs `setup` first, which is not tried here".to_owned()))
            }
            Err(unready) => Err(unready.into()),
        }
    }
}

/// The sink.
pub struct PostgresSink {
    pool: Pool,
    unknown: Mutex<Unknown>,
}

/// Why rows could not be put in, found by looking.
enum Unready {
    /// The table will not do.
    Table(TableFault),
    /// Anything else.
    Other(Reason),
}

impl From<TableError> for Unready {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Fault(fault) => Self::Table(fault),
            TableError::Sql(error) => Self::Other(of_sink(&Trouble::Sql(error))),
        }
    }
}

impl From<Reason> for Unready {
    fn from(why: Reason) -> Self {
        Self::Other(why)
    }
}

impl From<Unready> for Reason {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::Table(fault) => Self::new(code::SCHEMA, fault.to_string()),
            Unready::Other(why) => why,
        }
    }
}

/// Whether a person or time can help when the sink cannot be opened.
impl From<Unready> for BuildError {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::Table(fault) => Self::Refused(fault.to_string()),
            Unready::Other(why) if [code::SCHEMA, code::CORRUPT, code::AUTH, code::TLS].contains(&why.code) => {
                Self::Refused(why.detail)
            }
            Unready::Other(why) => Self::Unavailable(why),
        }
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
        let table = Table::read(name, &asked, on_conflict)?;
        let rehearsal = table.rehearsal();
        let limit = format!("SET statement_timeout = {}; {rehearsal}; RESET statement_timeout", millis(PROBE_PATIENCE));
        match lease.conn.run(deadline, async |client| client.batch_execute(&limit).await).await {
            Ok(()) => lease.rest(),
            Err(trouble) if is_not_unique(&trouble) => return Err(Unready::Table(table.not_unique())),
            Err(trouble) => return Err(of_sink(&trouble).into()),
        }
        Ok(())
    }

    /// Puts the rows in, on one connection for as long as it is good.
    async fn write_all(&self, search: &mut Search<'_>) {
        let mut lease = None;
        while let Some(rows) = search.next_rows() {
            let written = self.write(&mut lease, search, &rows).await;
            if let Err(Failure::Sink(why)) = &written
                && [code::CONNECT, code::TIMEOUT].contains(&why.code)
            {
                self.pool.close_idle();
            }
            search.note(rows, written);
        }
        if let Some(lease) = lease {
            lease.rest();
        }
    }

    /// One transaction, on the connection at hand or a new one. A connection that cannot be used again is closed.
    async fn write<'p>(
        &'p self,
        lease: &mut Option<Lease<'p>>,
        search: &Search<'_>,
        rows: &[usize],
    ) -> Result<(), Failure> {
        let mut leased = match lease.take() {
            Some(leased) => leased,
            None => self.pool.take(search.deadline()).await.map_err(Failure::Sink)?,
        };
        match self.transaction(&mut leased.conn, search, rows).await {
            Ok(()) => {
                *lease = Some(leased);
                Ok(())
            }
            Err(Broken { failure, sound }) => {
                *lease = sound.then_some(leased);
                Err(failure)
            }
        }
    }

    async fn transaction(&self, conn: &mut Conn, search: &Search<'_>, rows: &[usize]) -> Result<(), Broken> {
        let (deadline, spec) = (search.deadline(), &self.pool.spec);
        let begin = begin(deadline).map_err(|why| Broken { failure: Failure::Sink(why), sound: true })?;
        let begun = conn.run(deadline, async |client| {
            tokio::try_join!(client.batch_execute(&begin), Table::ask(client, &spec.table))
        });
        let asked = match begun.await {
            Ok(((), asked)) => asked,
            Err(trouble) => return Err(roll_back(conn, deadline, &trouble, verdict::of_trouble(&trouble)).await),
        };
        let table = match Table::read(&spec.table, &asked, spec.on_conflict) {
            Ok(table) => table,
            Err(error) => return Err(undo(conn, deadline, Failure::Sink(Unready::from(error).into())).await),
        };
        let inserts = {
            let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
            search.inserts(rows, &table.positions, &mut unknown)
        };
        for (nth, insert) in inserts.iter().enumerate() {
            if let Err(trouble) = put(conn, deadline, &table, insert, nth == 0).await {
                let (failure, sink_s) = match verdict::of_trouble(&trouble) {
                    Failure::Sink(_) if is_not_unique(&trouble) => {
                        (Failure::Sink(Unready::Table(table.not_unique()).into()), None)
                    }
                    Failure::Sink(why) if why.code == code::SCHEMA => match verdict::value_misread(&trouble) {
                        Some(row) => (Failure::Row(row), Some(why)),
                        None => (Failure::Sink(why), None),
                    },
                    failure => (failure, None),
                };
                let mut broken = roll_back(conn, deadline, &trouble, failure).await;
                if rows.len() == 1 {
                    let guilty = broken.sound && blame(conn, deadline, &table, insert, &mut broken).await;
                    // The sink is blamed, unless the value fails by itself, too.
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
}

#[async_trait]
impl Sink for PostgresSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let mut search = Search::new(batch, self.pool.spec.on_conflict);
        self.write_all(&mut search).await;
        search.into_report()
    }

    async fn probe(&self) -> Result<(), Reason> {
        Ok(self.rehearse().await?)
    }

    /// There is nothing to flush, as every row was committed: connections are just closed.
    async fn close(self: Box<Self>) {}
}

/// On a connection of its own, which may be left in any state.
async fn run_setup(spec: &Spec, setup: &str) -> Result<(), BuildError> {
    let deadline = Instant::now() + SETUP_PATIENCE;
    let mut conn = spec.connect(deadline).await.map_err(Unready::Other)?;
    let limit = format!("SET statement_timeout = {}", millis(SETUP_PATIENCE));
    let ran = conn.run(deadline, async |client| {
        client.batch_execute(&limit).await?;
        client.batch_execute(setup).await
    });
    let Err(trouble) = ran.await else { return Ok(()) };
    let why = of_sink(&trouble);
    // Two sinks may make the same table at once; at the next try it is there.
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

/// Begins a transaction that the batch's deadline bounds, in which a commit is a flush and a time without a zone is
/// UTC.
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
    if left == 0 { Err(Reason::too_late()) } else { Ok(left) }
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
) -> Result<(), Trouble> {
    let sql = table.insert(&insert.columns);
    let lists = table.bind(insert);
    let typed: Vec<(&(dyn ToSql + Sync), Type)> = lists.iter().map(|list| (list as _, Type::TEXT_ARRAY)).collect();
    // For the first INSERT `begin` has set the limit.
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

/// Ends the transaction after a failure, where the server can still be reached.
async fn roll_back(conn: &mut Conn, deadline: Instant, trouble: &Trouble, failure: Failure) -> Broken {
    let lost = match trouble {
        Trouble::Sql(error) => error.as_db_error().is_none(),
        Trouble::Ended | Trouble::Late => true,
    };
    // A server that became read-only is left: another one of the URL may be the writable one now.
    let moved = matches!(&failure, Failure::Sink(why) if why.code == code::CONNECT);
    if lost || moved { Broken { failure, sound: false } } else { undo(conn, deadline, failure).await }
}

async fn undo(conn: &mut Conn, deadline: Instant, failure: Failure) -> Broken {
    let undone = conn.run(deadline, async |client| client.batch_execute("ROLLBACK").await).await;
    Broken { failure, sound: undone.is_ok() }
}

/// Finds the column that one row failed at, where the server did not name the column; whether one was found.
async fn blame(conn: &mut Conn, deadline: Instant, table: &Table, insert: &Insert<'_>, broken: &mut Broken) -> bool {
    let Failure::Row(why) = &mut broken.failure else { return false };
    if why.code != code::BAD_PAYLOAD {
        return false;
    }
    let texts: Vec<Option<Cow<'_, str>>> =
        table.bind(insert).into_iter().map(|list| list.into_iter().next().flatten()).collect();
    if let Some(named) = table.too_long(&insert.columns, &texts) {
        *why = Reason::new(why.code, format!("{}: {named}", why.detail));
        return true;
    }
    let sql = table.reading(&insert.columns);
    let texts: Vec<Text<'_>> = texts.iter().map(|text| Text(text.as_deref())).collect();
    // Without a type: the server takes the type that each is cast to.
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

/// `unnamed portal parameter $2 = '…'` → 1, in whatever language the server says it. Values come after the number.
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
    verdict::of_trouble(trouble).into_reason()
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
