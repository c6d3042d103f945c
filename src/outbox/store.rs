//! The outbox's file: its tables, and the small types in which ids stand in them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};
use sink_api::{CallId, Uuid};

use super::facts::{CallState, Verdict};
use super::planned::State;
use crate::database::Schema;

/// What stands in the file.
pub static SCHEMA: Schema = Schema {
    name: "the outbox",
    version: 1,
    tables: TABLES,
    complete: |_| Ok(()),
    check,
    lost: "messages that wait to be sent again are not sent",
};

/// The row of `horizons` that says that a file is not new.
const BEGUN: &str = "begun";

/// Times are microseconds since 1970, UTC; `since` and `until` are seconds. States and statuses are places in the lists
/// of their words. `first`: the id of the first message, by what the call carried. `root`: the same, by what rules had
/// sent again: what of these is delivered makes the others needless.
///
/// `calls`: one row a call, in the order in which they began first. `made`: how often it began. `lost`: an
/// earlier answer was lost. `lost_at`: when the last one was given up. `request`: only until the message is delivered.
/// `resends`: one row a message that failed and is, or was, to be sent again. `request`: only while it waits. `why`: it
/// was given up for that.
/// `not_again`: one row a message that failed and is not sent again, as a rule has it.
/// `heard`: roots of which a message was delivered or read, in stretches of time, of which the oldest goes first;
/// `stretches`: how many rows each has. `horizons`: what began before then may have been forgotten early.
const TABLES: &str = "
CREATE TABLE calls (
  n        INTEGER PRIMARY KEY,
  id       BLOB NOT NULL UNIQUE,
  sink     TEXT NOT NULL,
  delivery TEXT NOT NULL,
  state    INTEGER NOT NULL,
  begun    INTEGER NOT NULL,
  lost_at  INTEGER,
  lost     INTEGER NOT NULL,
  made     INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  since    INTEGER NOT NULL,
  first    TEXT NOT NULL,
  message  TEXT,
  status   INTEGER,
  phone    TEXT,
  request  BLOB
) STRICT;
CREATE INDEX calls_begun ON calls (begun);
CREATE INDEX calls_message ON calls (message) WHERE message IS NOT NULL;
CREATE INDEX calls_phone ON calls (phone) WHERE phone IS NOT NULL;
CREATE INDEX calls_first ON calls (first) WHERE first <> '';
CREATE INDEX calls_request ON calls (n) WHERE request IS NOT NULL;
CREATE TABLE resends (
  n        INTEGER PRIMARY KEY,
  id       BLOB NOT NULL UNIQUE,
  call     BLOB NOT NULL UNIQUE,
  state    INTEGER NOT NULL,
  rule     TEXT NOT NULL,
  sink     TEXT NOT NULL,
  failed   TEXT NOT NULL UNIQUE,
  root     TEXT NOT NULL,
  first    TEXT NOT NULL,
  attempt  INTEGER NOT NULL,
  since    INTEGER NOT NULL,
  until    INTEGER NOT NULL,
  due      INTEGER NOT NULL,
  planned  INTEGER NOT NULL,
  code     TEXT NOT NULL,
  phone    TEXT,
  request  TEXT,
  missing  TEXT,
  template TEXT,
  message  TEXT,
  why      TEXT
) STRICT;
CREATE INDEX resends_due ON resends (due, id) WHERE state = 0;
CREATE INDEX resends_due_of ON resends (sink, due, id) WHERE state = 0;
CREATE INDEX resends_rule ON resends (rule, sink) WHERE state = 0;
CREATE INDEX resends_root ON resends (root);
CREATE INDEX resends_message ON resends (message) WHERE message IS NOT NULL;
CREATE INDEX resends_until ON resends (until);
CREATE TABLE not_again (
  n       INTEGER PRIMARY KEY,
  failed  TEXT NOT NULL UNIQUE,
  root    TEXT NOT NULL,
  rule    TEXT NOT NULL,
  verdict INTEGER NOT NULL,
  code    TEXT NOT NULL,
  why     TEXT NOT NULL,
  at      INTEGER NOT NULL
) STRICT;
CREATE INDEX not_again_root ON not_again (root);
CREATE INDEX not_again_at ON not_again (at);
CREATE TABLE heard (
  stretch INTEGER NOT NULL,
  root    BLOB NOT NULL,
  PRIMARY KEY (stretch, root)
) STRICT, WITHOUT ROWID;
CREATE TABLE stretches (
  stretch INTEGER PRIMARY KEY,
  roots   INTEGER NOT NULL
) STRICT;
CREATE TABLE horizons (
  of   TEXT PRIMARY KEY,
  time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

fn check(connection: &Connection) -> Result<(), rusqlite::Error> {
    for read in ["made FROM calls", "why FROM resends", "why FROM not_again", "1 FROM stretches", "1 FROM horizons"] {
        connection.query_row(&format!("SELECT {read} LIMIT 1"), [], |_| Ok(())).optional()?;
    }
    Ok(())
}

/// Sixteen bytes: an id of ours, or what stands for a message's id, which may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// What stands for a message: its id where that is a UUID, else a digest of it.
    pub fn of_message(id: &str) -> Self {
        match Uuid::try_parse(id) {
            Ok(uuid) => Self(uuid.into_bytes()),
            Err(_) => Self(CallId::of("message", id).0.to_be_bytes()),
        }
    }
}

impl From<CallId> for Key {
    fn from(call: CallId) -> Self {
        Self(call.0.to_be_bytes())
    }
}

impl From<Key> for CallId {
    fn from(key: Key) -> Self {
        Self(u128::from_be_bytes(key.0))
    }
}

impl From<Uuid> for Key {
    fn from(id: Uuid) -> Self {
        Self(id.into_bytes())
    }
}

impl From<Key> for Uuid {
    fn from(key: Key) -> Self {
        Self::from_bytes(key.0)
    }
}

impl ToSql for Key {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

impl FromSql for Key {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(Self)
    }
}

/// Of what is remembered, what may have been forgotten before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Horizon {
    /// Calls of events that were accepted before then.
    Calls,
    /// Deliveries of messages that were sent before then, and what was planned for those that failed.
    Messages,
}

impl Horizon {
    fn word(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Messages => "messages",
        }
    }

    /// Microseconds; none where nothing was forgotten early.
    pub fn read(self, connection: &Connection) -> Result<Option<i64>, rusqlite::Error> {
        let sql = "SELECT time FROM horizons WHERE of = ?1";
        connection.prepare_cached(sql)?.query_row([self.word()], |row| row.get(0)).optional()
    }

    /// Moves it to there, unless it is beyond.
    pub fn move_to(self, connection: &Connection, time: i64) -> Result<(), rusqlite::Error> {
        let sql = "INSERT INTO horizons (of, time) VALUES (?1, ?2) ON CONFLICT (of) DO UPDATE SET time = max(time, ?2)";
        connection.prepare_cached(sql)?.execute(params![self.word(), time]).map(drop)
    }
}

/// Whether a file is one that was made before and not just now.
pub fn is_begun(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM horizons WHERE of = ?1)";
    connection.query_row(sql, [BEGUN], |row| row.get(0))
}

/// Notes that a file was just made. `lost`: what an earlier one knew up to then is not known any more.
pub fn begin(connection: &Connection, lost: Option<i64>) -> Result<(), rusqlite::Error> {
    let all = connection.unchecked_transaction()?;
    if let Some(time) = lost {
        // What is older may have been sent already.
        Horizon::Calls.move_to(&all, time)?;
        Horizon::Messages.move_to(&all, time)?;
    }
    all.execute("INSERT INTO horizons (of, time) VALUES (?1, 0)", [BEGUN])?;
    all.commit()
}

/// A value that stands in the file as its place in the list of its kind.
macro_rules! by_place {
    ($kind:ty) => {
        impl ToSql for $kind {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
                let place = Self::ALL.iter().position(|one| one == self).unwrap_or_default();
                Ok(ToSqlOutput::Owned(Value::Integer(i64::try_from(place).unwrap_or_default())))
            }
        }
        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let place = i64::column_result(value)?;
                let found = usize::try_from(place).ok().and_then(|place| Self::ALL.get(place).copied());
                found.ok_or(FromSqlError::OutOfRange(place))
            }
        }
    };
}
by_place!(State);
by_place!(CallState);
by_place!(Verdict);
