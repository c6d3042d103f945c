//! One segment's file: its header and footer, read and written. Knows the layout of a file, not the journal's state.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_full};
use super::footer::{Summary, TRAILER, Trailer};
use super::format::{self, Header, HeaderState, RECORDS_AT};

/// The journal's folder and the disk it is on.
#[derive(Clone)]
pub(super) struct Store {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
}

impl Store {
    /// The path of the segment that begins at `base`.
    pub fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format::segment_name(base))
    }

    /// Creates a segment: header written and flushed, its name flushed too. Nothing is left of a failed one, if that
    /// can be had.
    pub fn create(&self, header: &Header) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(header.base);
        let file = self.disk.create(&path)?;
        let made = file
            .write_at(&header.encode(), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = made {
            let _ = self.disk.unlink(&path);
            return Err(error);
        }
        Ok(file)
    }

    /// Removes a segment. Its name may come back after a power loss until the folder is flushed.
    pub fn remove(&self, base: u64) -> io::Result<()> {
        self.disk.unlink(&self.path(base))
    }

    /// Opens a segment for reading, with its header.
    pub fn open(&self, base: u64) -> io::Result<(Arc<dyn DiskFile>, HeaderState)> {
        let file = self.disk.open(&self.path(base), false)?;
        let header = read_header(&*file)?;
        Ok((file, header))
    }
}

/// Reads a segment's header.
pub(super) fn read_header(file: &dyn DiskFile) -> io::Result<HeaderState> {
    let mut bytes = vec![0; RECORDS_AT as usize];
    let got = read_full(file, &mut bytes, 0)?;
    Ok(Header::decode(bytes.get(..got).unwrap_or_default()))
}

/// Reads what a sealed segment's footer says, fingerprints left out; `None` where there is no whole footer.
pub(super) fn read_core(file: &dyn DiskFile, header: &Header) -> io::Result<Option<(Summary, Trailer)>> {
    let size = file.size()?;
    let Some(trailer) = read_trailer(file, size)?.filter(|t| t.base == header.base && t.salt == header.salt) else {
        return Ok(None);
    };
    let core = read_part(file, trailer.records_end + trailer.prints, trailer.core)?;
    if crc32c::crc32c_append(header.salt, &core) != trailer.core_crc {
        return Ok(None);
    }
    let summary = Summary::decode_core(&core).filter(|s| s.base == header.base && s.end == trailer.records_end);
    Ok(summary.map(|summary| (summary, trailer)))
}

/// Adds the fingerprints to a summary that [`read_core`] gave; whether they are whole.
pub(super) fn read_fingerprints(file: &dyn DiskFile, summary: &mut Summary, trailer: &Trailer) -> io::Result<bool> {
    let prints = read_part(file, trailer.records_end, trailer.prints)?;
    let whole = crc32c::crc32c_append(trailer.salt, &prints) == trailer.prints_crc;
    Ok(whole && summary.add_fingerprints(&prints).is_some())
}

/// Why a footer is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    /// It could not be written: the disk is full, perhaps. It may be tried again.
    #[error("cannot write it: {0}")]
    Write(io::Error),
    /// It could not be flushed. Nobody knows what a second flush of the same file would say.
    #[error("cannot flush it: {0}")]
    Flush(io::Error),
}

impl From<SealError> for io::Error {
    fn from(error: SealError) -> Self {
        let (SealError::Write(error) | SealError::Flush(error)) = error;
        error
    }
}

/// Cuts the file behind its last record, at `end`, and puts its footer there, flushed. Gives the file's new size. Where
/// that fails, the file is cut at `end` again, as far as that can be had: half a footer would look like damage.
///
/// # Errors
/// The footer cannot be written, or not be flushed.
pub(super) fn seal(file: &dyn DiskFile, end: u64, footer: &[u8]) -> Result<u64, SealError> {
    let written = file.size().and_then(|size| if size == end { Ok(()) } else { file.truncate(end) });
    let written = written.and_then(|()| file.write_at(footer, end)).map_err(SealError::Write);
    let sealed = written.and_then(|()| file.sync_data().map_err(SealError::Flush));
    if sealed.is_err() {
        let _ = file.truncate(end);
    }
    sealed.map(|()| end + footer.len() as u64)
}

fn read_trailer(file: &dyn DiskFile, size: u64) -> io::Result<Option<Trailer>> {
    let Some(at) = size.checked_sub(TRAILER as u64).filter(|at| *at >= RECORDS_AT) else { return Ok(None) };
    Ok(Trailer::decode(&read_part(file, at, TRAILER as u64)?, size))
}

fn read_part(file: &dyn DiskFile, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let got = read_full(file, &mut bytes, at)?;
    bytes.truncate(got);
    Ok(bytes)
}
