//! Whose name it is (`node`). A daemon has its place in every group by its name, so two must not have one. Where two
//! do, the younger has the shards as soon as it asks for them, and the elder ends when it hears of it: with its next
//! heartbeat, or, where it cannot hear, when its lease is over; and what it has begun by then ends later still. So the
//! younger delivers nothing for one session (`timeout` + 10 s), after which nothing of the elder's is under way.
//!
//! That would cost each restart as much. So each process that begins under a name leaves its mark, in the control topic
//! (the row `name/NODE`) and in a file of its own folder, which is locked while a process uses it. Where both have the
//! same mark, the last one that had the name was of this folder, and has ended: nobody is waited for.
//!
//! A daemon asks whose the name is before it joins a group again, having lost its place (`losing.rs`), or for a sink
//! that begins anew: else an elder that was cut off for longer than its session would take its name back.
//!
//! A folder that is copied while its daemon runs has that daemon's mark: of its copy this cannot tell.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::warn;
use uuid::Uuid;

use super::cluster::Cluster;
use super::control;
use super::group::GroupError;
use super::seam::Row;
use crate::journal::folder::{self, NO_LINK};

/// The file with this folder's mark, and what it is called until it is whole.
const FILE: &str = "name";
const NEW: &str = "name.new";
/// Longest mark that is read.
const MAX: u64 = 64;
/// For so long after the name was taken nobody is asked whether it still is: the sinks begin one after the other.
const FRESH: Duration = Duration::from_secs(10);

/// The name, as far as this process has it.
#[derive(Default)]
pub(super) struct Naming {
    folder: Option<PathBuf>,
    taken: Mutex<Option<Taken>>,
}

/// When the name was taken, and by which mark.
struct Taken {
    mark: String,
    has_elder: bool,
    at: Instant,
}

impl Naming {
    /// Marks are kept in this folder, which nobody else uses meanwhile.
    pub fn of(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), taken: Mutex::default() }
    }

    /// Takes the name, once; says whether somebody had it who may be at work still. `None`: somebody has taken it
    /// since. Blocks.
    pub fn take(&self, cluster: &Cluster) -> Result<Option<bool>, GroupError> {
        let Some(folder) = &self.folder else { return Ok(Some(false)) };
        // Held for as long as it takes: the others wait for the same.
        let mut taken = self.taken();
        let Some(Taken { mark, has_elder, at }) = &*taken else {
            let (mark, has_elder) = claim(cluster, folder)?;
            *taken = Some(Taken { mark, has_elder, at: Instant::now() });
            return Ok(Some(has_elder));
        };
        let is_ours = at.elapsed() < FRESH || last(cluster)?.is_none_or(|last| last == mark.as_bytes());
        Ok(is_ours.then_some(*has_elder))
    }

    /// Whether nobody has taken the name since this process has. Blocks.
    pub fn is_ours(&self, cluster: &Cluster) -> Result<bool, GroupError> {
        let Some(mark) = self.taken().as_ref().map(|taken| taken.mark.clone()) else { return Ok(true) };
        // A row that somebody has deleted is nobody's.
        Ok(last(cluster)?.is_none_or(|last| last == mark.as_bytes()))
    }

    fn taken(&self) -> MutexGuard<'_, Option<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(cluster: &Cluster) -> String {
    format!("name/{}", cluster.node)
}

/// The mark of who took the name last.
fn last(cluster: &Cluster) -> Result<Option<Bytes>, GroupError> {
    let key = key(cluster);
    Ok(control::all(cluster)?.into_iter().find(|row| row.key == key).and_then(|row| row.value))
}

fn claim(cluster: &Cluster, folder: &Path) -> Result<(String, bool), GroupError> {
    let mark = Uuid::now_v7().to_string();
    let has_elder = last(cluster)?.is_some_and(|last| read(folder).is_none_or(|own| last != own.as_bytes()));
    if let Err(error) = folder::replace(folder, [NEW, FILE], mark.as_bytes()) {
        warn!(%error, "the mark of this daemon's name cannot be kept: the next start waits for a session");
    }
    control::set(cluster, &Row { key: key(cluster), value: Some(mark.clone().into()) })?;
    Ok((mark, has_elder))
}

fn read(folder: &Path) -> Option<String> {
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(folder.join(FILE)).ok()?;
    let mut mark = String::new();
    file.take(MAX).read_to_string(&mut mark).ok()?;
    Some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_one_mark() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        for mark in ["one", "two"] {
            crate::journal::folder::replace(folder.path(), [NEW, FILE], mark.as_bytes()).unwrap();
            assert_eq!(read(folder.path()).as_deref(), Some(mark));
        }
    }
}
