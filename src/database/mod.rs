//! SQLite files of the daemon's own in its data folder: how one is opened or made, what becomes of one that is damaged
//! (renamed, never deleted), and of one whose files are taken away while it is in use (`files`).
//!
//! Knows no table: who owns a file says what stands in it ([`Schema`]).

mod files;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::access;
use crate::journal::disk;
use crate::journal::folder::FolderError;
pub use files::{Files, resolved};

/// A file up to this size is checked page by page when it is opened; a larger one by its tables alone.
const CHECK_UP_TO: u64 = 64 << 20;
/// How a file is opened.
const WRITING: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_NOFOLLOW);
/// The same for who only looks.
const READING: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_NOFOLLOW);
/// What our own check says of a file that SQLite opens but that is not whole.
const DAMAGED: &str = "the database is damaged";

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The folder or file cannot be used.
    #[error("{}", access::told(path, error))]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A link stands in the place of one of its files.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// SQLite cannot make or read it.
    #[error("{path}: {error}")]
    Sqlite {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// Written by a later version of hookrelay.
    #[error("{path} has version {found}; this build knows version {known}")]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
}

impl DatabaseError {
    /// Whether the disk is full or failing: what may pass while one waits.
    pub fn is_disk_trouble(&self) -> bool {
        match self {
            Self::Io { error, .. } => disk::is_trouble(error),
            Self::Sqlite { error, path } => is_disk_trouble(error, path),
            Self::Folder(_) | Self::Version { .. } => false,
        }
    }

    /// Whether the disk is full, or this user's share of it.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { error, .. } => is_full(error),
            Self::Sqlite { error, path } => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => true,
                Some(rusqlite::ErrorCode::CannotOpen) => probe(path).is_err_and(|error| is_full(&error)),
                _ => false,
            },
            Self::Folder(_) | Self::Version { .. } => false,
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// What stands in a file, as its owner wants it.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// What people call it: `the ledger`.
    pub name: &'static str,
    /// Version of the tables, in `user_version`.
    pub version: i64,
    /// The tables of that version, as SQL.
    pub tables: &'static str,
    /// Adds what came later than that version, where it is missing.
    pub complete: fn(&Connection) -> Result<(), rusqlite::Error>,
    /// Reads a little of each table; an error where one is not there.
    pub check: fn(&Connection) -> Result<(), rusqlite::Error>,
    /// What it means to lose it, in words.
    pub lost: &'static str,
}

/// Opens the file or makes it. One that cannot be read is renamed and stays where it is; says where that is.
///
/// # Errors
/// No file can be had at that path, or a later version wrote it.
pub fn open(path: &Path, schema: &Schema) -> Result<(Connection, Option<PathBuf>), DatabaseError> {
    match connect(path, schema) {
        Ok(connection) => Ok((connection, None)),
        Err(DatabaseError::Sqlite { error, .. }) if is_damage(&error) => {
            let aside = files::set_aside(path)?;
            tracing::error!(path = %aside.display(), "{} could not be read and was set aside", schema.name);
            Ok((connect(path, schema)?, Some(aside)))
        }
        Err(error) => Err(error),
    }
}

/// Makes an empty file beside a database, readable for this user alone, where it is missing: it says that there is, or
/// was, a database.
///
/// # Errors
/// It cannot be made.
pub fn make_mark(path: &Path) -> Result<(), DatabaseError> {
    files::make(path).map_err(|error| DatabaseError::Io { path: path.to_owned(), error })
}

/// Opens the file, or makes it, with its tables as this build wants them.
fn connect(path: &Path, schema: &Schema) -> Result<Connection, DatabaseError> {
    let io = |error| DatabaseError::Io { path: path.to_owned(), error };
    let sqlite = |error| DatabaseError::Sqlite { path: path.to_owned(), error };
    if files::is_obstructed(path)? {
        return Err(sqlite(damaged()));
    }
    files::make(path).map_err(io)?;
    let size = fs::metadata(path).map_err(io)?.len();
    let mut connection = Connection::open_with_flags(path, WRITING).map_err(sqlite)?;
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
        .map_err(sqlite)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    let Schema { version: known, tables: sql, .. } = schema;
    match found {
        // Empty: new, or left by a start that a full disk cut short.
        0 if tables == 0 => {
            connection.execute_batch(&format!("BEGIN; {sql} PRAGMA user_version = {known}; COMMIT;")).map_err(sqlite)?
        }
        // Tables but no version: not one of ours, or half overwritten.
        0 => return Err(sqlite(damaged())),
        _ if found == *known => check(&connection, schema, size).map_err(sqlite)?,
        _ => return Err(DatabaseError::Version { path: path.to_owned(), found, known: *known }),
    }
    complete(&mut connection, schema).map_err(sqlite)?;
    Ok(connection)
}

/// Opens a file once more that this process has closed: its tables are as they have to be.
///
/// # Errors
/// It cannot be opened.
pub fn reopen(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, WRITING)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 200;")?;
    Ok(connection)
}

/// Opens a file beside its owner's connection, to look.
///
/// # Errors
/// It cannot be opened.
pub fn reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, READING)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000;")?;
    Ok(connection)
}

/// In one transaction, so that a start cut short leaves nothing half done.
fn complete(connection: &mut Connection, schema: &Schema) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    (schema.complete)(&transaction)?;
    transaction.commit()
}

fn check(connection: &Connection, schema: &Schema, size: u64) -> Result<(), rusqlite::Error> {
    (schema.check)(connection)?;
    if size <= CHECK_UP_TO {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(damaged());
        }
    }
    Ok(())
}

fn damaged() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(DAMAGED.into()))
}

/// Whether what stands there is no such file any more.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
        || matches!(error, rusqlite::Error::SqliteFailure(_, Some(text)) if text.starts_with("no such"))
        || matches!(error, rusqlite::Error::SqlInputError { msg, .. } if msg.starts_with("no such"))
}

/// Whether SQLite failed because the disk is full or failing.
pub fn is_disk_trouble(error: &rusqlite::Error, path: &Path) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
    match error.sqlite_error_code() {
        Some(DiskFull | SystemIoFailure) => true,
        // It does not say why it cannot make its companions (-wal, -shm); one of our own will.
        Some(CannotOpen) => probe(path).is_err_and(|error| disk::is_trouble(&error)),
        _ => false,
    }
}

/// Makes a small file beside that one, and takes it away again.
fn probe(path: &Path) -> std::io::Result<()> {
    let probe = PathBuf::from(format!("{}-probe", path.display()));
    let _ = fs::remove_file(&probe);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe);
    let made = made.and_then(|mut file| file.write_all(b"probe"));
    let _ = fs::remove_file(&probe);
    made
}
