//! One record by its event's id, out of a journal that may be in use: nothing is locked or written, and a tail that is
//! being written reads as its end.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Record;
use super::disk::{Disk, RealDisk};
use super::format::{self, HeaderState};
use super::segment::{Store, read_core};
use super::walk::{Step, Walker};

/// How far a record's time may lie from what its id says, in microseconds: a clock may have been set in between.
const SLACK: i64 = 3_600_000_000;

/// The record of this event, newest segments first. `about` is when it was accepted (microseconds since 1970), where
/// that is known: sealed segments of other times are not read.
///
/// # Errors
/// Where the folder or a segment cannot be read.
pub fn find(dir: &Path, id: [u8; 16], about: Option<i64>) -> io::Result<Option<Record>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir)? {
        bases.extend(entry?.file_name().to_str().and_then(format::segment_base));
    }
    bases.sort_unstable();
    let store = Store { disk: Arc::new(RealDisk) as Arc<dyn Disk>, dir: dir.to_owned() };
    for base in bases.into_iter().rev() {
        match find_in(&store, base, id, about) {
            // Retention deletes while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(None) => {}
            found => return found,
        }
    }
    Ok(None)
}

fn find_in(store: &Store, base: u64, id: [u8; 16], about: Option<i64>) -> io::Result<Option<Record>> {
    let (file, header) = store.open(base)?;
    let header = match header {
        HeaderState::Good(header) => header,
        HeaderState::Damaged => return Ok(None),
        HeaderState::Newer(version) => {
            return Err(io::Error::other(format!(
                "{} has format {version}, of a later version",
                store.path(base).display()
            )));
        }
    };
    let sealed = read_core(&*file, &header)?;
    let times = sealed.as_ref().and_then(|(summary, _)| summary.times);
    if let (Some(about), Some((oldest, newest))) = (about, times)
        && (about < oldest.saturating_sub(SLACK) || about > newest.saturating_add(SLACK))
    {
        return Ok(None);
    }
    let end = match &sealed {
        Some((summary, _)) => summary.end,
        None => file.size()?,
    };
    let mut walker = Walker::new(&*file, header.salt, (base, format::RECORDS_AT), end).lenient();
    loop {
        match walker.step()? {
            Step::Record(found) => {
                if let Some(fields) = walker.fields(&found).filter(|fields| fields.id == id) {
                    return Ok(Some(fields.to_record(|name| Arc::from(name))));
                }
            }
            Step::Damaged(_) => {}
            Step::Rest(_) | Step::End => return Ok(None),
        }
    }
}
