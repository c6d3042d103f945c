//! The ledger's file: its tables, how it is opened, and what happens to one that cannot be read.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{LedgerError, Opened, away, counted, cursors, files, held, notes, replays, steps};
use crate::journal::disk;

/// Version of the tables, in `user_version`.
const VERSION: i64 = 1;
/// A ledger up to this size is checked page by page when it is opened; a larger one by its tables alone.
const CHECK_UP_TO: u64 = 64 << 20;

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

/// Opens the file or makes it.
pub fn open(path: &Path) -> Result<(Connection, Opened), LedgerError> {
    match connect(path) {
        Ok(connection) => {
            // A ledger without a cursor knows no more than none at all: an emptied file, or a first start cut short.
            let sinks = connection.query_row("SELECT count(*) FROM sinks", [], |row| row.get::<_, i64>(0));
            let sinks = sinks.map_err(|error| LedgerError::Sqlite { path: path.to_owned(), error })?;
            Ok((connection, Opened { fresh: sinks == 0, set_aside: None }))
        }
        Err(LedgerError::Sqlite { error, .. }) if is_damage(&error) => {
            let aside = files::set_aside(path)?;
            tracing::error!(path = %aside.display(), "the ledger could not be read and was set aside");
            let connection = connect(path)?;
            Ok((connection, Opened { fresh: true, set_aside: Some(aside) }))
        }
        Err(error) => Err(error),
    }
}

/// Whether what stands there is no ledger any more.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
        || matches!(error, rusqlite::Error::SqliteFailure(_, Some(text))
            if text == DAMAGED || text.starts_with("no such"))
}

/// Whether SQLite failed because the disk is full or failing.
pub fn is_disk_trouble(error: &rusqlite::Error, path: &Path) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
    match error.sqlite_error_code() {
        Some(DiskFull | SystemIoFailure) => true,
        // It does not say why it cannot make its companions (-wal, -shm); one of our own will.
        Some(CannotOpen) => {
            let probe = PathBuf::from(format!("{}-probe", path.display()));
            let _ = fs::remove_file(&probe);
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe);
            let made = made.and_then(|mut file| file.write_all(b"probe"));
            let _ = fs::remove_file(&probe);
            made.is_err_and(|error| disk::is_trouble(&error))
        }
        _ => false,
    }
}

/// How it is opened.
const WRITING: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// Opens a ledger once more that this process has closed: its tables are as they have to be.
pub(super) fn reopen(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, WRITING)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 200;")?;
    Ok(connection)
}

/// What our own check says of a file that SQLite opens but that is not whole.
const DAMAGED: &str = "the ledger is damaged";

/// Opens the file, or makes it, with its tables as this build wants them.
pub(super) fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let io = |error| LedgerError::Io { path: path.to_owned(), error };
    let sqlite = |error| LedgerError::Sqlite { path: path.to_owned(), error };
    if files::is_obstructed(path)? {
        return Err(sqlite(damaged()));
    }
    files::make(path).map_err(io)?;
    let size = fs::metadata(path).map_err(io)?.len();
    let mut connection = Connection::open_with_flags(path, WRITING).map_err(sqlite)?;
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
        .map_err(sqlite)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    match version {
        // Empty: new, or left by a start that a full disk cut short.
        0 if tables == 0 => connection
            .execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"))
            .map_err(sqlite)?,
        VERSION => check(&connection, size).map_err(sqlite)?,
        // Tables but no version: not one of ours, or half overwritten.
        0 => return Err(sqlite(damaged())),
        found => return Err(LedgerError::Version { path: path.to_owned(), found, known: VERSION }),
    }
    complete(&mut connection).map_err(sqlite)?;
    Ok(connection)
}

/// What came later than version 1; in one transaction, so that a start cut short leaves nothing half done.
fn complete(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(DELETED)?;
    for (table, name, declared) in ADDED {
        let is_there = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2";
        if transaction.query_row(is_there, [table, name], |row| row.get::<_, i64>(0))? == 0 {
            transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {declared}"))?;
            if name == "dead_bytes" {
                held::measure(&transaction)?;
            }
        }
    }
    transaction.execute_batch(GIVEN_UP)?;
    transaction.execute_batch(IN_LINE)?;
    transaction.execute_batch(OLDEST)?;
    transaction.execute_batch(cursors::TABLE)?;
    replays::complete(&transaction)?;
    transaction.execute_batch(away::TABLE)?;
    transaction.execute_batch(counted::TABLE)?;
    transaction.execute_batch(steps::TABLE)?;
    transaction.execute_batch(notes::TABLE)?;
    transaction.commit()
}

fn damaged() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(DAMAGED.into()))
}

fn check(connection: &Connection, size: u64) -> Result<(), rusqlite::Error> {
    connection.query_row("SELECT count(*), sum(place) FROM sinks", [], |_| Ok(()))?;
    connection.query_row("SELECT count(*) FROM held", [], |_| Ok(()))?;
    if size <= CHECK_UP_TO {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(damaged());
        }
    }
    Ok(())
}
