//! Every record of a span of time, in order, out of a journal that may be in use: nothing is locked or written, and a
//! tail that is being written reads as its end. Segments that lie outside the span are not read.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Record;
use super::disk::{Disk, RealDisk};
use super::format::{self, HeaderState};
use super::segment::{Store, read_core};
use super::walk::{Step, Walker};

/// What a scan has come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes of segments behind it, and of all.
    pub bytes: (u64, u64),
    /// Stretches of damage it passed over.
    pub damaged: u64,
}

/// Hands every record accepted in `since..until` (microseconds) to `each`, with how far it is.
///
/// # Errors
/// Where the folder or a segment cannot be read, and what `each` says.
pub fn scan<E: From<io::Error>>(
    dir: &Path,
    (since, until): (i64, i64),
    mut each: impl FnMut(Record, Scanned) -> Result<(), E>,
) -> Result<Scanned, E> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(base) = entry.file_name().to_str().and_then(format::segment_base) {
            bases.push((base, entry.metadata().map_or(0, |meta| meta.len())));
        }
    }
    bases.sort_unstable();
    let store = Store { disk: Arc::new(RealDisk) as Arc<dyn Disk>, dir: dir.to_owned() };
    let mut scanned = Scanned { bytes: (0, bases.iter().map(|(_, size)| size).sum()), damaged: 0 };
    for (base, size) in bases {
        match scan_one(&store, base, (since, until), &mut scanned, &mut each) {
            Ok(()) => {}
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {} // retention deletes while we look
            Err(Fault::Io(error)) => return Err(error.into()),
            Err(Fault::Each(error)) => return Err(error),
        }
        scanned.bytes.0 += size;
    }
    Ok(scanned)
}

enum Fault<E> {
    Io(io::Error),
    Each(E),
}

impl<E> From<io::Error> for Fault<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn scan_one<E>(
    store: &Store,
    base: u64,
    (since, until): (i64, i64),
    scanned: &mut Scanned,
    each: &mut impl FnMut(Record, Scanned) -> Result<(), E>,
) -> Result<(), Fault<E>> {
    let (file, header) = store.open(base)?;
    let header = match header {
        HeaderState::Good(header) => header,
        HeaderState::Damaged => {
            scanned.damaged += 1;
            return Ok(());
        }
        HeaderState::Newer(version) => {
            let path = store.path(base);
            return Err(io::Error::other(format!("{} has format {version}, of a later version", path.display())).into());
        }
    };
    let sealed = read_core(&*file, &header)?;
    let times = sealed.as_ref().and_then(|(summary, _)| summary.times);
    if times.is_some_and(|(oldest, newest)| newest < since || oldest >= until) {
        return Ok(());
    }
    let end = match &sealed {
        Some((summary, _)) => summary.end,
        None => file.size()?,
    };
    let mut walker = Walker::new(&*file, header.salt, (base, format::RECORDS_AT), end).lenient();
    loop {
        match walker.step()? {
            Step::Record(found) => {
                let fields = walker.fields(&found).filter(|fields| (since..until).contains(&fields.time));
                if let Some(fields) = fields {
                    let record = fields.to_record(|name| Arc::from(name));
                    each(record, *scanned).map_err(Fault::Each)?;
                }
            }
            Step::Damaged(_) => scanned.damaged += 1,
            Step::Rest(_) | Step::End => return Ok(()),
        }
    }
}
