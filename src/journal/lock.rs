//! The exclusive lock on a folder: the folder itself, held by flock, which nobody can take away but with the folder;
//! and `LOCK` inside it, held too, with the holder's pid written in for the loser to name. (Builds before this one hold
//! `LOCK` alone.) The system lets go of both when the process ends, however it ends.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::folder::{self, FolderError, NO_LINK};

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    dir: PathBuf,
    folder: File,
    file: File,
}

/// What [`Lock::keep`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All is as it was.
    Whole,
    /// `LOCK` was not there any more, or another one: it was made anew.
    File,
    /// The folder was not there any more, or another one: it was made where it was missing, and taken.
    Folder,
}

impl Lock {
    /// Takes a folder, without waiting. It must be ours alone ([`folder::check`]).
    ///
    /// # Errors
    /// [`JournalError::Locked`] where another process (or another journal of this one) holds it;
    /// [`JournalError::Folder`] where it is not ours alone, or `LOCK` is a link; [`JournalError::Io`] where it cannot
    /// be opened.
    pub fn take(dir: &Path) -> Result<Self, JournalError> {
        folder::check(dir)?;
        let path = dir.join("LOCK");
        let folder = File::open(dir).map_err(|error| failed(dir, error))?;
        match folder.try_lock() {
            // Some file systems lock no folders (NFS: only what is open for writing). Then `LOCK` has to do.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = pid_in(&path).or_else(|| holder(&folder)).unwrap_or(0);
                return Err(JournalError::Locked { path: dir.display().to_string(), pid });
            }
        }
        let file = take_file(&path)?;
        Ok(Self { dir: dir.to_owned(), folder, file })
    }

    /// Looks whether what is locked is still what stands at its path, and takes what stands there now.
    ///
    /// # Errors
    /// As [`Self::take`]; also where the folder cannot be made. Then what was held is held on, and it may be tried
    /// again.
    pub fn keep(&mut self) -> Result<Kept, JournalError> {
        let is_same = |there: io::Result<Metadata>, held: &File| {
            let there = there.map(|meta| (meta.dev(), meta.ino())).ok();
            there.is_some() && there == held.metadata().map(|meta| (meta.dev(), meta.ino())).ok()
        };
        if !is_same(fs::metadata(&self.dir), &self.folder) {
            folder::make(&self.dir)?;
            *self = Self::take(&self.dir)?;
            return Ok(Kept::Folder);
        }
        let path = self.dir.join("LOCK");
        if is_same(fs::symlink_metadata(&path), &self.file) {
            return Ok(Kept::Whole);
        }
        self.file = take_file(&path)?;
        Ok(Kept::File)
    }
}

/// Takes the file, made where it is missing.
fn take_file(path: &Path) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_LINK);
    let mut file = match options.open(path) {
        Err(error) if folder::is_link(&error) => return Err(folder::link(path).into()),
        opened => opened.map_err(|error| failed(path, error))?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = pid_in(path).unwrap_or(0);
            return Err(JournalError::Locked { path: path.display().to_string(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed(path, error)),
    }
    // The pid is a courtesy to the loser: a disk too full to take it must not keep the daemon from starting.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The pid a lock file names.
fn pid_in(path: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The pid the system names as the holder of a locked folder.
fn holder(folder: &File) -> Option<u32> {
    let meta = folder.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    // `1: FLOCK  ADVISORY  WRITE 4711 fd:01:123456 0 EOF`
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, of) = (words.next()?, words.nth(2)?, words.next()?);
        (kind == "FLOCK" && of == file).then(|| pid.parse().ok())?
    })
}

fn failed(path: &Path, error: io::Error) -> JournalError {
    FolderError::Io { path: path.to_owned(), error }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loser_is_told_the_holders_pid_and_wins_once_it_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let Err(JournalError::Locked { path, pid }) = Lock::take(dir.path()) else { panic!("locked twice") };
        assert_eq!(pid, std::process::id());
        assert_eq!(path, dir.path().display().to_string());
        drop(held);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn with_lock_removed_the_folder_is_held_and_lock_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Lock::take(dir.path()).unwrap();
        assert_eq!(held.keep().unwrap(), Kept::Whole);
        for remake in [false, true] {
            fs::remove_file(dir.path().join("LOCK")).unwrap();
            if remake {
                fs::write(dir.path().join("LOCK"), "").unwrap();
            }
            assert!(matches!(Lock::take(dir.path()), Err(JournalError::Locked { .. })));
            assert_eq!(held.keep().unwrap(), Kept::File);
            let file = File::open(dir.path().join("LOCK")).unwrap();
            assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)), "an older build would win");
            assert_eq!(held.keep().unwrap(), Kept::Whole);
        }
    }

    #[test]
    fn a_build_that_holds_lock_alone_keeps_this_one_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("LOCK"), "4711\n").unwrap();
        let old = OpenOptions::new().read(true).write(true).open(dir.path().join("LOCK")).unwrap();
        old.try_lock().unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(JournalError::Locked { pid: 4711, .. })));
    }

    #[test]
    fn another_folder_at_the_path_is_taken_unless_somebody_holds_it() {
        let home = tempfile::tempdir().unwrap();
        let (dir, elsewhere) = (home.path().join("data"), home.path().join("elsewhere"));
        folder::make(&dir).unwrap();
        let mut held = Lock::take(&dir).unwrap();
        fs::rename(&dir, &elsewhere).unwrap();
        folder::make(&dir).unwrap();
        let other = Lock::take(&dir).unwrap();
        assert!(matches!(held.keep(), Err(JournalError::Locked { .. })));
        assert!(matches!(Lock::take(&elsewhere), Err(JournalError::Locked { .. })), "what was held is held on");
        drop(other);
        assert_eq!(held.keep().unwrap(), Kept::Folder);
        assert!(matches!(Lock::take(&dir), Err(JournalError::Locked { .. })));
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(held.keep().unwrap(), Kept::Folder);
        assert!(dir.join("LOCK").exists());
    }

    #[test]
    fn a_link_in_the_place_of_lock_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let (dir, victim) = (home.path().join("data"), home.path().join("victim"));
        folder::make(&dir).unwrap();
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.join("LOCK")).unwrap();
        let error = Lock::take(&dir).unwrap_err();
        assert!(matches!(&error, JournalError::Folder(_)), "{error}");
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
