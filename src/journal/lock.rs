//! The exclusive lock on a folder: `LOCK` inside it, held by flock, with the holder's pid written in for the loser to
//! name. The system lets go of it when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::JournalError;

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `<dir>/LOCK`, without waiting.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where another process (or another journal of this one) holds it;
    /// [`JournalError::Io`] where the file cannot be opened or written.
    pub fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("LOCK");
        let io = |error| JournalError::Io { what: format!("cannot lock {}", path.display()), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let pid = text.trim().parse().unwrap_or(0);
                return Err(JournalError::Locked { path: path.display().to_string(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        // The pid is a courtesy to the loser: a disk too full to take it must not keep the daemon from starting.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
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
        assert!(path.ends_with("LOCK"));
        drop(held);
        Lock::take(dir.path()).unwrap();
    }
}
