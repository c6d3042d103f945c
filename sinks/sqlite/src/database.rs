//! Opening the database file, and noticing that it is no longer the one that was opened. Touches the file, its `-wal`
//! and `-shm`, and missing folders above it; puts no rows in.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use sink_api::table::OnConflict;
use sink_api::{BuildError, DiskFloor, Reason, SinkContext, code};

use crate::config::SqliteConfig;
use crate::schema::{SchemaError, Table};
use crate::verdict::{self, Stage};

/// Held while a database is created and opened. Closing any descriptor of a file drops every lock that the process
/// holds on the file; so the descriptor that creates it must be closed before another sink's connection can have locked
/// it.
static OPENING: Mutex<()> = Mutex::new(());

/// What is opened, and how.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The sink's name.
    pub sink: String,
    /// The database file, absolute: SQLite gives meaning to some relative names.
    pub path: PathBuf,
    /// The table's name.
    pub table: String,
    /// What happens to a row whose key is there already.
    pub on_conflict: OnConflict,
    setup: Option<String>,
    busy_timeout: Duration,
    floor: DiskFloor,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Needs a person.
    #[error("{text}")]
    Refused {
        /// For the reason of the deliveries that wait meanwhile.
        code: &'static str,
        /// What to do; may have several lines.
        text: String,
    },
    /// May pass by itself.
    #[error("{0}")]
    Unavailable(Reason),
}

impl From<OpenError> for BuildError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused { text, .. } => Self::Refused(text),
            OpenError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<OpenError> for Reason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused { code, text } => Self::new(code, text),
            OpenError::Unavailable(why) => why,
        }
    }
}

impl Spec {
    /// From the sink's table and its surroundings.
    ///
    /// # Errors
    /// Where the current folder, on which a relative path rests, is unknown.
    pub fn new(config: &SqliteConfig, cx: &SinkContext) -> Result<Self, BuildError> {
        let path = cx.resolve(&config.database);
        let path = std::path::absolute(&path).map_err(|e| BuildError::Refused(format!("{}: {e}", path.display())))?;
        Ok(Self {
            sink: cx.name.clone(),
            path,
            table: config.table.clone(),
            on_conflict: config.on_conflict,
            setup: config.setup(),
            busy_timeout: config.busy_timeout.0,
            floor: cx.floor,
        })
    }

    /// Whether the disk is below its floor.
    pub fn is_full(&self) -> bool {
        self.floor.reached(self.folder())
    }

    /// How long to wait for a lock when there is so much time left.
    pub fn patience(&self, left: Duration) -> Duration {
        self.busy_timeout.min(left)
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn refused(&self, code: &'static str, what: impl std::fmt::Display) -> OpenError {
        OpenError::Refused { code, text: format!("{}: {what}", self.path.display()) }
    }

    fn judge(&self, error: &rusqlite::Error) -> OpenError {
        let why = verdict::of(error, Stage::Statement).into_reason();
        match why.code {
            code::BUSY | code::INTERNAL | code::DISK_FULL | code::IO | code::TIMEOUT => OpenError::Unavailable(why),
            code => self.refused(code, why.detail),
        }
    }

    fn judge_io(&self, error: &io::Error) -> OpenError {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                OpenError::Unavailable(Reason::new(code::DISK_FULL, error.to_string()))
            }
            ErrorKind::PermissionDenied => self.refused(code::AUTH, error),
            ErrorKind::ReadOnlyFilesystem => {
                self.refused(code::AUTH, format!("{error}; a service of systemd needs ReadWritePaths= for its folder"))
            }
            _ => self.refused(code::CONNECT, error),
        }
    }

    fn judge_schema(&self, error: SchemaError) -> OpenError {
        match error {
            SchemaError::Unfit(fault) => self.refused(code::SCHEMA, fault),
            SchemaError::Sqlite(error) => self.judge(&error),
        }
    }

    fn run_setup(&self, conn: &Connection) -> Result<(), OpenError> {
        let Some(setup) = &self.setup else { return Ok(()) };
        conn.execute_batch(setup).map_err(|error| self.judge_setup(&error))
    }

    fn judge_setup(&self, error: &rusqlite::Error) -> OpenError {
        match self.judge(error) {
            OpenError::Refused { .. } => {
                self.refused(code::SCHEMA, format!("`setup` fails: {}", verdict::message(error)))
            }
            passing => passing,
        }
    }

    fn check_closed(&self, conn: &Connection) -> Result<(), OpenError> {
        let open = || self.refused(code::SCHEMA, "`setup` leaves a transaction open; add COMMIT");
        if conn.is_autocommit() { Ok(()) } else { Err(open()) }
    }
}

/// A file on its disk, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

fn file_id(path: &Path) -> Option<FileId> {
    // Not by opening it: see OPENING.
    std::fs::metadata(path).ok().map(|meta| FileId { device: meta.dev(), inode: meta.ino() })
}

/// The database, open.
#[derive(Debug)]
pub struct Database {
    /// The connection.
    pub conn: Connection,
    /// The table, as last read.
    pub table: Table,
    file: Option<FileId>,
    wal: Option<FileId>,
}

impl Database {
    /// Opens the database, creating it and the folders above it where missing, runs `setup` and reads the table.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(spec: &Spec, patience: Duration) -> Result<Self, OpenError> {
        let (conn, file) = connect(spec, patience)?;
        spec.run_setup(&conn)?;
        spec.check_closed(&conn)?;
        // After `setup`, which may have said otherwise: what is reported delivered has been flushed.
        conn.pragma_update(None, "synchronous", "FULL").map_err(|e| spec.judge(&e))?;
        let table = Table::read(&conn, &spec.table, spec.on_conflict).map_err(|e| spec.judge_schema(e))?;
        let database = Self { conn, table, file, wal: file_id(&spec.beside("-wal")) };
        if database.is_in_place(spec) {
            Ok(database)
        } else {
            Err(OpenError::Unavailable(Reason::new(code::IO, "the database file was replaced while it was opened")))
        }
    }

    /// Whether the files at the path are still the ones that were opened.
    pub fn is_in_place(&self, spec: &Spec) -> bool {
        self.file.is_some() && self.file == file_id(&spec.path) && self.wal == file_id(&spec.beside("-wal"))
    }

    /// Lets go of a database that is no longer in place. What its log still holds goes into the file, wherever the file
    /// is now; a log left at the old path is removed, so that it is not taken for the next database's.
    pub fn abandon(self, spec: &Spec) {
        let left_behind = self.file != file_id(&spec.path) && self.wal == file_id(&spec.beside("-wal"));
        if left_behind && self.wal.is_some() {
            // May be busy: then another connection of the old file has the log open, and carries it over when it
            // closes.
            let _ = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            let _ = std::fs::remove_file(spec.beside("-wal"));
            // Unlinked, not left to be cut short by the next connection while another one still has it mapped.
            let _ = std::fs::remove_file(spec.beside("-shm"));
        }
    }
}

fn connect(spec: &Spec, patience: Duration) -> Result<(Connection, Option<FileId>), OpenError> {
    let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    create_folders(spec.folder()).and_then(|()| create(&spec.path)).map_err(|e| spec.judge_io(&e))?;
    let file = file_id(&spec.path);
    let conn = attach(spec, patience)?;
    // In WAL mode readers do not stop the sink, nor it them. Where the file system cannot do it, SQLite stays with its
    // rollback journal, which is as durable.
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(|e| spec.judge(&e))?;
    Ok((conn, file))
}

fn attach(spec: &Spec, patience: Duration) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&spec.path, flags).map_err(|e| spec.judge(&e))?;
    conn.busy_timeout(patience).map_err(|e| spec.judge(&e))?;
    Ok(conn)
}

/// An empty file is a database without tables. SQLite gives `-wal` and `-shm` the same rights.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => path.parent().map_or(Ok(()), sync),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn create_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => path.parent().map_or(Ok(()), sync)?,
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether rows could be put in now, and what is worth knowing beside a yes. Creates no database and changes none.
///
/// # Errors
/// Says why not.
pub fn probe(spec: &Spec) -> Result<Option<String>, OpenError> {
    if spec.is_full() {
        return Err(OpenError::Unavailable(Reason::new(code::DISK_FULL, "free space is below min_free")));
    }
    if spec.path.exists() { probe_present(spec).map(|()| None) } else { probe_missing(spec).map(Some) }
}

fn probe_present(spec: &Spec) -> Result<(), OpenError> {
    let opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut conn = attach(spec, spec.busy_timeout)?;
    drop(opening);
    let judge = |error: rusqlite::Error| spec.judge(&error);
    let begun = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(judge)?;
    match (Table::read(&begun, &spec.table, spec.on_conflict), &spec.setup) {
        // What is missing may be just what `setup` would add: tried, and taken back.
        (Err(SchemaError::Unfit(_)), Some(setup)) => match begun.execute_batch(setup) {
            Ok(()) => drop(Table::read(&begun, &spec.table, spec.on_conflict).map_err(|e| spec.judge_schema(e))?),
            // It has a transaction of its own, which could not be taken back: `run` will see.
            Err(error) if verdict::message(&error).contains("within a transaction") => {}
            Err(error) => return Err(spec.judge_setup(&error)),
        },
        (read, _) => drop(read.map_err(|e| spec.judge_schema(e))?),
    }
    begun.rollback().map_err(judge)
}

/// What `run` would do, tried in memory.
fn probe_missing(spec: &Spec) -> Result<String, OpenError> {
    if spec.setup.is_none() {
        return Err(spec.refused(code::SCHEMA, "there is no such database, and no `setup` to make the table with"));
    }
    let there = spec.folder().ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(there, access).map_err(|e| spec.judge_io(&e.into()))?;
    let trial = Connection::open_in_memory().map_err(|e| spec.judge(&e))?;
    spec.run_setup(&trial)?;
    spec.check_closed(&trial)?;
    Table::read(&trial, &spec.table, spec.on_conflict).map_err(|e| spec.judge_schema(e))?;
    Ok(format!("{} does not exist yet, `run` creates it", spec.path.display()))
}
