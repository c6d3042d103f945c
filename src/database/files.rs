//! A database's files as names on the disk: what may not stand in their place, and what becomes of one whose files are
//! deleted or replaced while it is open. SQLite would go on in files that nobody finds again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{DatabaseError, Schema};
use crate::journal::folder::{self, NO_LINK};

/// What the names of its files end in.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];
/// Pause before the next try where a database could not be written anew.
const PAUSE: Duration = Duration::from_secs(10);

/// Which files stand there: device and inode.
type Stamps = [Option<(u64, u64)>; 3];

/// The path with its folder's links resolved: SQLite, told to follow none, wants it so.
///
/// # Errors
/// The folder is not there, or cannot be read.
pub fn resolved(path: &Path) -> Result<PathBuf, DatabaseError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = fs::canonicalize(folder).map_err(|error| failed(path, error))?;
    Ok(path.file_name().map_or_else(|| real.clone(), |name| real.join(name)))
}

/// Whether something that is no file stands in the place of one of its files.
///
/// # Errors
/// A link does.
pub(super) fn is_obstructed(path: &Path) -> Result<bool, DatabaseError> {
    let mut obstructed = false;
    for path in ENDINGS.map(|ending| named(path, ending)) {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => return Err(folder::link(&path).into()),
            Ok(meta) => obstructed |= !meta.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Ok(obstructed)
}

/// Makes the file where it is missing, readable for this user alone.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(NO_LINK).open(path)?;
    sync_folder(path)
}

/// Renames the file and its companions, to names with the first free number.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, DatabaseError> {
    let aside = |ending: &str, n: u32| PathBuf::from(format!("{}.damaged-{n}{ending}", path.display()));
    let is_free = |n: &u32| ENDINGS.iter().all(|ending| aside(ending, *n).symlink_metadata().is_err());
    let n = (1..u32::MAX).find(is_free).unwrap_or(u32::MAX);
    for ending in ENDINGS {
        match fs::rename(named(path, ending), aside(ending, n)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(path, error)),
            _ => {}
        }
    }
    Ok(aside("", n))
}

/// The files of an open database.
pub struct Files {
    path: PathBuf,
    schema: &'static Schema,
    stamps: Stamps,
    failed: Option<Instant>,
}

impl Files {
    /// The files that stand there now and were just opened.
    pub fn of(path: &Path, schema: &'static Schema) -> Self {
        Self { path: path.to_owned(), schema, stamps: stamps(path), failed: None }
    }

    /// Looks whether the files still stand there. Where they do not, all that the database holds is written to new
    /// files, with which it goes on. Says whether the files are there now.
    pub fn look(&mut self, connection: &mut Connection) -> bool {
        let now = stamps(&self.path);
        if !self.stamps.iter().zip(&now).any(|(was, is)| was.is_some() && was != is) {
            self.stamps = now;
            return true;
        }
        if self.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        let (path, Schema { name, lost, .. }) = (self.path.display(), self.schema);
        match self.write_anew(connection) {
            Ok(anew) => {
                *connection = anew;
                (self.stamps, self.failed) = (stamps(&self.path), None);
                tracing::error!(
                    %path,
                    "{name}'s files were deleted or replaced while it was in use: written anew, with all it held"
                );
            }
            Err(error) => {
                self.failed = Some(Instant::now());
                tracing::error!(
                    %error,
                    "{name}'s files were deleted or replaced while it was in use, and it cannot be written anew: it is \
                     tried again; where it is lost, {lost}"
                );
            }
        }
        self.failed.is_none()
    }

    fn write_anew(&self, connection: &Connection) -> Result<Connection, DatabaseError> {
        let path = &self.path;
        let io = |error| failed(path, error);
        let new = named(path, "-new");
        remove(&new).map_err(io)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(io)?;
        let copied = connection.execute("VACUUM INTO ?1", [new.to_string_lossy()]);
        copied.map_err(|error| DatabaseError::Sqlite { path: new.clone(), error })?;
        File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
        // What is left of the database's own files holds less, and goes. Files that are not its own are kept.
        for (ending, stamp) in ENDINGS.iter().zip(&self.stamps) {
            if stamp.is_some() && stamp_of(&named(path, ending)) == *stamp {
                remove(&named(path, ending)).map_err(io)?;
            }
        }
        if stamps(path) != Stamps::default() {
            let aside = set_aside(path)?;
            let aside = aside.display();
            tracing::warn!(%aside, "another file stood in the place of {} in use: set aside", self.schema.name);
        }
        fs::rename(&new, path).and_then(|()| sync_folder(path)).map_err(io)?;
        super::connect(path, self.schema)
    }
}

fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn stamps(path: &Path) -> Stamps {
    ENDINGS.map(|ending| stamp_of(&named(path, ending)))
}

fn stamp_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn failed(path: &Path, error: io::Error) -> DatabaseError {
    DatabaseError::Io { path: path.to_owned(), error }
}
