//! The journal's folder while it is in use: whether what stands at its path is still the folder that was taken, and the
//! next one where it is not. This knows no segments.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::JournalError;
use super::disk::{FolderLock, Identity};
use super::segment::Store;
use super::view::lock;

/// The folder.
pub(super) struct Home {
    state: Mutex<State>,
    /// How often the folder was found gone: a segment that was begun before the last time lies elsewhere.
    moves: AtomicU64,
}

struct State {
    /// Of the folder that is locked.
    identity: Identity,
    lock: Option<FolderLock>,
    /// Of the folder before it, which nobody else may have until the commit thread has left it.
    left: Option<FolderLock>,
    /// Whether something else stands at the path, or nothing.
    away: bool,
}

impl Home {
    /// Takes the folder, which is made where it is missing.
    pub fn take(store: &Store) -> Result<Self, JournalError> {
        let (lock, identity) = taken(store)?;
        let state = State { identity, lock: Some(lock), left: None, away: false };
        Ok(Self { state: Mutex::new(state), moves: AtomicU64::new(0) })
    }

    /// How often the folder was found gone.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Looks whether the folder is still there; where it is not, makes and takes the next one.
    ///
    /// # Errors
    /// There is none that could be had; then [`Self::moves`] has risen all the same.
    pub fn look(&self, store: &Store) -> Result<(), JournalError> {
        let state = &mut *lock(&self.state);
        let there = match store.disk.identity(&store.dir) {
            Ok(there) => Some(there),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Err(error) => return Err(failed("cannot look at", store, error)),
        };
        if there == Some(state.identity) {
            state.away = false;
            return Ok(());
        }
        let folder = store.dir.display();
        if !std::mem::replace(&mut state.away, true) {
            self.moves.fetch_add(1, Ordering::Release);
            let now = if there.is_some() { "another one is in its place" } else { "nothing is in its place" };
            tracing::error!(%folder, now, "the journal's folder was taken away while it was in use");
        }
        // What stands there may be the folder itself, which has come back.
        state.left = None;
        let (lock, identity) = taken(store)?;
        (state.left, state.identity, state.away) = (state.lock.replace(lock), identity, false);
        tracing::warn!(%folder, "the journal goes on in a new folder");
        Ok(())
    }

    /// Lets go of the folder.
    pub fn release(&self) {
        let state = &mut *lock(&self.state);
        (state.lock, state.left) = (None, None);
    }
}

fn taken(store: &Store) -> Result<(FolderLock, Identity), JournalError> {
    store.disk.create_dir(&store.dir).map_err(|error| failed("cannot create", store, error))?;
    let lock = store.disk.lock(&store.dir)?;
    let identity = store.disk.identity(&store.dir).map_err(|error| failed("cannot look at", store, error))?;
    Ok((lock, identity))
}

fn failed(what: &str, store: &Store, error: io::Error) -> JournalError {
    JournalError::Io { what: format!("{what} {}", store.dir.display()), error }
}
