//! Keeping damage aside: the folder `quarantine/` beside the segments, where bytes that could not be read as records
//! stay for a human to look at. Nothing is ever read from it again, and nothing in it is ever deleted by the daemon.

use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile, read_full};

/// Name of the folder inside the journal's.
const FOLDER: &str = "quarantine";
/// Most bytes copied from one damaged stretch.
const MAX_COPY: u64 = 256 << 20;
/// Most files kept; past it damage is still reported, but no longer copied.
const MAX_FILES: usize = 1000;
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// Copies the bytes `from..to` of a segment to `quarantine/<name>.<from>-<to>`, flushed, and gives that name. A copy
/// that is there already is left as it is.
pub(super) fn copy(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    file: &dyn DiskFile,
    (from, to): (u64, u64),
) -> io::Result<String> {
    let folder = folder(disk, dir)?;
    let copy = format!("{name}.{from}-{to}");
    let target = match disk.create(&folder.join(&copy)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(format!("{FOLDER}/{copy}")),
        made => made?,
    };
    let mut buf = vec![0; CHUNK];
    let end = to.min(from.saturating_add(MAX_COPY));
    let mut at = from;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = buf.get_mut(..want).unwrap_or_default();
        match read_full(file, chunk, at) {
            Ok(0) => break,
            Ok(n) => target.write_at(chunk.get(..n).unwrap_or_default(), at - from)?,
            // Bytes that cannot be read stay a hole in the copy.
            Err(_) => {}
        }
        at += want as u64;
    }
    target.sync_data()?;
    disk.sync_dir(&folder)?;
    Ok(format!("{FOLDER}/{copy}"))
}

/// Moves a whole file into the folder, and gives its new name.
pub(super) fn shift(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<String> {
    let folder = folder(disk, dir)?;
    let taken = disk.list(&folder)?;
    let free = (0..=MAX_FILES).map(|n| format!("{name}.{n}")).find(|free| !taken.contains(free));
    let free = free.ok_or_else(|| io::Error::other("no free name in quarantine"))?;
    disk.rename(&dir.join(name), &folder.join(&free))?;
    disk.sync_dir(&folder)?;
    disk.sync_dir(dir)?;
    Ok(format!("{FOLDER}/{free}"))
}

/// Whether something of that file is kept: all of it, or a note that it is gone.
pub(super) fn knows(disk: &dyn Disk, dir: &Path, name: &str) -> bool {
    let kept = disk.list(&dir.join(FOLDER)).unwrap_or_default();
    // Copied stretches have two numbers behind the name, whole files one.
    let whole = |kept: &String| {
        kept.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| !rest.contains('-'))
    };
    kept.iter().any(whole)
}

/// Notes that a whole file is gone, and nobody knows where to.
pub(super) fn note(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<()> {
    let folder = folder(disk, dir)?;
    disk.create(&folder.join(format!("{name}.gone")))?;
    disk.sync_dir(&folder)
}

fn folder(disk: &dyn Disk, dir: &Path) -> io::Result<std::path::PathBuf> {
    let folder = dir.join(FOLDER);
    disk.create_dir(&folder)?;
    if disk.list(&folder)?.len() >= MAX_FILES {
        return Err(io::Error::other(format!("{FOLDER} holds {MAX_FILES} files already")));
    }
    Ok(folder)
}
