//! The ledger's file: its tables, and how it is opened.

use std::path::Path;

use rusqlite::Connection;

use super::{Opened, away, counted, cursors, held, notes, replays, shared, steps};
use crate::database::{self, DatabaseError, Schema};

/// Version of the tables, in `user_version`.
const VERSION: i64 = 1;

/// Times are microseconds since 1970, UTC. Positions are (shard, place).
/// `held`: dead where `due` is null, else parked until then.
const TABLES: &str = "
CREATE TABLE sinks (
  name      TEXT PRIMARY KEY,
  shard     INTEGER NOT NULL,
  place     INTEGER NOT NULL,
  accepted  INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  dead      INTEGER NOT NULL DEFAULT 0,
  filtered  INTEGER NOT NULL DEFAULT 0,
  dropped   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE held (
  sink       TEXT NOT NULL,
  id         TEXT NOT NULL,
  due        INTEGER,
  shard      INTEGER NOT NULL,
  place      INTEGER NOT NULL,
  type       TEXT NOT NULL,
  subject    TEXT NOT NULL,
  key        TEXT NOT NULL,
  code       TEXT NOT NULL,
  detail     TEXT NOT NULL,
  attempts   INTEGER NOT NULL,
  accepted   INTEGER NOT NULL,
  first_try  INTEGER NOT NULL,
  last_try   INTEGER NOT NULL,
  event_id   BLOB NOT NULL,
  source     TEXT NOT NULL,
  event_key  TEXT NOT NULL,
  event      BLOB NOT NULL,
  payload    BLOB,
  target     TEXT NOT NULL,
  PRIMARY KEY (sink, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_due ON held (sink, due);
";

/// What stood in stretches of the journal that were deleted although sinks were owed it. Came later than version 1; a
/// build that does not know it leaves it alone.
const DELETED: &str = "
CREATE TABLE IF NOT EXISTS deleted (
  shard INTEGER NOT NULL,
  first INTEGER NOT NULL,
  next  INTEGER NOT NULL,
  tally BLOB NOT NULL,
  PRIMARY KEY (shard, first)
) STRICT;
";

/// Came later than version 1, too: what is to become of a row with a `due` time. `how`: nothing for a delivery that is
/// tried again as it stands; `by_rules` or `as_was` for a dead letter that somebody wants delivered. `nth` attempts
/// and `spent` microseconds count against its bounds; `uncounted` calls beside these do not.
/// `answer`: what the target said to the last try, where the sink's table wants it kept.
/// `replay`: which one brought the row, where one did.
/// `dead_bytes`: room the sink's dead letters take. `paused`: it is held by hand. `away`: it is not in the config.
const ADDED: [(&str, &str, &str); 9] = [
    ("held", "how", "TEXT"),
    ("held", "nth", "INTEGER NOT NULL DEFAULT 0"),
    ("held", "spent", "INTEGER NOT NULL DEFAULT 0"),
    ("held", "uncounted", "INTEGER NOT NULL DEFAULT 0"),
    ("held", "answer", "TEXT"),
    ("held", "replay", "INTEGER"),
    ("sinks", "dead_bytes", "INTEGER NOT NULL DEFAULT 0"),
    ("sinks", "paused", "INTEGER NOT NULL DEFAULT 0"),
    ("sinks", "away", "INTEGER NOT NULL DEFAULT 0"),
];
/// Finds dead letters that are too old.
const GIVEN_UP: &str = "CREATE INDEX IF NOT EXISTS held_given_up ON held (last_try) WHERE due IS NULL;";
/// Finds parked deliveries of a key, in order.
const IN_LINE: &str =
    "CREATE INDEX IF NOT EXISTS held_in_line ON held (sink, key, shard, place) WHERE due IS NOT NULL;";
/// Finds the oldest of what is parked, for `status`.
const OLDEST: &str = "CREATE INDEX IF NOT EXISTS held_oldest ON held (sink, accepted) WHERE due IS NOT NULL;";

/// What stands in the file.
pub static SCHEMA: Schema = Schema {
    name: "the ledger",
    version: VERSION,
    tables: TABLES,
    complete,
    check,
    lost: "sinks start over from the oldest event",
};

/// Opens the file or makes it.
pub fn open(path: &Path) -> Result<(Connection, Opened), DatabaseError> {
    let (connection, set_aside) = database::open(path, &SCHEMA)?;
    // A ledger without a cursor knows no more than none at all: an emptied file, or a first start cut short.
    let sinks = connection.query_row("SELECT count(*) FROM sinks", [], |row| row.get::<_, i64>(0));
    let sinks = sinks.map_err(|error| DatabaseError::Sqlite { path: path.to_owned(), error })?;
    Ok((connection, Opened { fresh: sinks == 0, set_aside }))
}

/// What came later than version 1.
fn complete(transaction: &Connection) -> Result<(), rusqlite::Error> {
    transaction.execute_batch(DELETED)?;
    for (table, name, declared) in ADDED {
        let is_there = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2";
        if transaction.query_row(is_there, [table, name], |row| row.get::<_, i64>(0))? == 0 {
            transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {declared}"))?;
            if name == "dead_bytes" {
                held::measure(transaction)?;
            }
        }
    }
    transaction.execute_batch(GIVEN_UP)?;
    transaction.execute_batch(IN_LINE)?;
    transaction.execute_batch(OLDEST)?;
    transaction.execute_batch(cursors::TABLE)?;
    replays::complete(transaction)?;
    transaction.execute_batch(away::TABLE)?;
    transaction.execute_batch(counted::TABLE)?;
    transaction.execute_batch(steps::TABLE)?;
    transaction.execute_batch(notes::TABLE)?;
    transaction.execute_batch(shared::TABLES)
}

fn check(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.query_row("SELECT count(*), sum(place) FROM sinks", [], |_| Ok(()))?;
    connection.query_row("SELECT count(*) FROM held", [], |_| Ok(()))
}
