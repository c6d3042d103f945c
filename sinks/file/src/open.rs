//! How a file is opened, and what a crash (or somebody else) left at its end. Knows one file at a time, and neither
//! batches nor the manifest.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::verdict::FileError;

/// Bytes looked at at once when the last line feed is looked for.
const LOOK: u64 = 64 << 10;
/// Most foreign tails of one file that are kept; more are the sign of something else.
const MAX_TAILS: usize = 1000;

/// A file open for appending, and locked against other writers of this kind.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// The file.
    pub(crate) file: File,
    /// Device and inode: whether the path still means this file.
    pub(crate) id: (u64, u64),
    /// Where the file must be cut before the next write, because cutting it back failed.
    pub(crate) cut_to: Option<u64>,
    /// The file's length as we left it; unknown until we have written.
    pub(crate) len: Option<u64>,
}

impl OpenFile {
    fn new(file: File) -> Result<Self, FileError> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(FileError::Busy),
            // A file system without locks: the config's claims still keep our own sinks apart.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let meta = file.metadata().map_err(FileError::Open)?;
        Ok(Self { file, id: (meta.dev(), meta.ino()), cut_to: None, len: None })
    }

    /// Cuts the file back to `len`; where that fails, remembers to do it before the next write.
    pub(crate) fn cut_back(&mut self, len: u64) {
        self.cut_to = self.file.set_len(len).is_err().then_some(len);
        self.len = self.cut_to.is_none().then_some(len);
    }

    /// Whether somebody else has written to the file since we did.
    pub(crate) fn is_meddled_with(&self, len: u64) -> bool {
        self.len.is_some_and(|left| left != len)
    }
}

/// Opens a file that is there; `None` where it is not.
pub(crate) fn existing(path: &Path) -> Result<Option<OpenFile>, FileError> {
    match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => OpenFile::new(file).map(Some),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FileError::Open(e)),
    }
}

/// Makes a file (0600) that is not there, with the folders it needs (0700), its name safe on disk.
pub(crate) fn create(root: &Path, path: &Path) -> Result<OpenFile, FileError> {
    make_folders(root).map_err(FileError::io("making the sink's folder"))?;
    let folder = path.parent().unwrap_or(root);
    make_folders(folder).map_err(FileError::Open)?;
    let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path);
    let file = OpenFile::new(file.map_err(FileError::Open)?)?;
    sync_folder(folder).map_err(FileError::io("flushing the folder"))?;
    Ok(file)
}

/// Flushes a folder's names.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(or_here(folder))?.sync_all()
}

/// `path`, or the nearest folder above it where `path` has still to be made. Where something else stands at the path,
/// that is given.
pub(crate) fn nearest_folder(path: &Path) -> &Path {
    let is_missing = |p: &&Path| p.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound);
    path.ancestors().map(or_here).find(|p| !is_missing(p)).unwrap_or(Path::new("."))
}

fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn make_folders(folder: &Path) -> io::Result<()> {
    if or_here(folder).is_dir() {
        return Ok(());
    }
    let mut missing: Vec<&Path> = Vec::new();
    for part in folder.ancestors() {
        match or_here(part).metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => missing.push(part),
            _ => break,
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    missing.iter().rev().filter_map(|made| made.parent()).try_for_each(sync_folder)
}

/// Cuts an unterminated last line. Says how many bytes that was.
pub(crate) fn cut_torn_line(file: &File) -> io::Result<u64> {
    let (end, len) = last_line_end(file)?;
    if end < len {
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(len - end)
}

/// Moves an unterminated last line to `<path>.foreign-tail-<n>`: it is safely there before it is cut here.
pub(crate) fn move_tail_aside(file: &File, path: &Path) -> io::Result<Option<PathBuf>> {
    let (end, len) = last_line_end(file)?;
    if end == len {
        return Ok(None);
    }
    let (aside, tail) = new_tail(path)?;
    let mut buffer = vec![0; usize::try_from(LOOK.min(len - end)).unwrap_or(usize::MAX)];
    let mut at = end;
    while at < len {
        let part = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..part) else { break };
        file.read_exact_at(part, at)?;
        tail.write_all_at(part, at - end)?;
        at += part.len() as u64;
    }
    tail.sync_all()?;
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    file.set_len(end)?;
    file.sync_all()?;
    Ok(Some(aside))
}

fn new_tail(path: &Path) -> io::Result<(PathBuf, File)> {
    for n in 1..=MAX_TAILS {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".foreign-tail-{n}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name) {
            Ok(file) => return Ok((name.into(), file)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Where the last whole line ends, and the file.
fn last_line_end(file: &File) -> io::Result<(u64, u64)> {
    let len = file.metadata()?.len();
    let mut buffer = [0; LOOK as usize];
    let mut end = len;
    // The last byte alone first: unless a line was torn, it is a line feed.
    let mut look = 1;
    while end > 0 {
        let begin = end.saturating_sub(look);
        let Some(part) = buffer.get_mut(..usize::try_from(end - begin).unwrap_or(0)) else { break };
        file.read_exact_at(part, begin)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok((begin + at as u64 + 1, len));
        }
        (end, look) = (begin, LOOK);
    }
    Ok((0, len))
}

/// Deletes a file; one that is not there is as good as deleted.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
