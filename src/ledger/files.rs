//! The ledger's files as names on the disk: how they are made, and what may not stand in their place.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::LedgerError;
use crate::journal::folder::{self, NO_LINK};

/// What the names of its files end in.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// The path with its folder's links resolved: SQLite, told to follow none, wants it so.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, LedgerError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = fs::canonicalize(folder).map_err(|error| failed(path, error))?;
    Ok(path.file_name().map_or_else(|| real.clone(), |name| real.join(name)))
}

/// Whether something that is no file stands in the place of one of its files.
///
/// # Errors
/// A link does.
pub(super) fn is_obstructed(path: &Path) -> Result<bool, LedgerError> {
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

/// Makes the file where it is missing, for us alone.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(NO_LINK).open(path)?;
    sync_folder(path)
}

/// Renames the file and its companions; the first free number.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, LedgerError> {
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

fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn failed(path: &Path, error: io::Error) -> LedgerError {
    LedgerError::Io { path: path.to_owned(), error }
}
