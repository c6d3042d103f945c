//! The free space that must be left on a disk, so that the ledger can still write when everything else is full.

use std::path::Path;

/// Bytes that must stay free on the disk a path lies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFloor {
    /// `journal.min_free`, in bytes; 0 switches the check off.
    pub min_free: u64,
}

impl DiskFloor {
    /// Whether the disk under `path` (which must exist) is below the floor. Where the file system does not answer, it
    /// is not: the write itself will show.
    pub fn reached(self, path: &Path) -> bool {
        self.min_free > 0
            && rustix::fs::statvfs(path).is_ok_and(|s| s.f_bavail.saturating_mul(s.f_frsize) < self.min_free)
    }
}
