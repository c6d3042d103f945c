//! The journal's one seam to the file system: few operations, each of which a test can make fail, hang or forget.
//!
//! Everything the journal does to files goes through [`Disk`] and [`DiskFile`]. Knows nothing of segments or records.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::JournalError;
use super::folder::NO_LINK;
use super::lock::Lock;

/// What tells a file or folder from any other, whatever their names: device and inode.
pub type Identity = (u64, u64);

/// One open file. All offsets are from the start; there is no cursor.
pub trait DiskFile: Send + Sync {
    /// Reads at most `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of the bytes, or fails with an unknown part of them written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Flushes contents and size (fdatasync). After a failure the unflushed bytes are lost, whatever a later call says.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends the file.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Which file it is.
    fn identity(&self) -> io::Result<Identity>;
    /// Whether it has a name still. One that has none is gone when it is closed.
    fn is_linked(&self) -> io::Result<bool>;
}

/// What is held while a folder is locked; dropping it lets go.
pub type FolderLock = Box<dyn Send + Sync>;

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a file for reading and writing, mode 0600; fails where there is one already.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file, for writing too where asked; not behind a link.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Moves a file inside the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a folder (mode 0700) and what leads to it, and flushes every new entry on the way.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Flushes a folder's entries.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Bytes free for an ordinary user on the folder's file system.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// Which file or folder stands at a path.
    fn identity(&self, path: &Path) -> io::Result<Identity>;
    /// Takes the folder for this process.
    fn lock(&self, dir: &Path) -> Result<FolderLock, JournalError>;
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buf, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn identity(&self) -> io::Result<Identity> {
        let meta = self.metadata()?;
        Ok((meta.dev(), meta.ino()))
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(write).custom_flags(NO_LINK).open(path)?))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
        for new in missing.into_iter().rev() {
            match std::fs::DirBuilder::new().mode(0o700).create(new) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.sync_dir(&parent(new))?,
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        let meta = std::fs::metadata(path)?;
        Ok((meta.dev(), meta.ino()))
    }

    fn lock(&self, dir: &Path) -> Result<FolderLock, JournalError> {
        Ok(Box::new(Lock::take(dir)?))
    }
}

/// Whether an error says that the disk is full (or its quota used up) or failing, or that this process is at a limit of
/// file sizes or open files: what may pass while one waits, unlike a missing permission.
pub fn is_trouble(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::FBIG, Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Fills `buf` from `offset` on; fewer bytes only at the end of the file.
pub(super) fn read_full(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
