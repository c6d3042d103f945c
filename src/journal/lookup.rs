//! Lookups in a journal that runs: all records of one event or one subject, from the files, newest segment first. It
//! blocks, and is called off the runtime's threads. It never passes the durable end.

use std::io;
use std::sync::Arc;

use super::find::{Place, Wanted};
use super::state::Core;
use super::view::{Segment, file_name, position};
use super::{Entry, Find, JournalError};

/// The newest `most` records that match, oldest first.
pub(super) fn find(core: &Core, what: &Find, most: usize) -> Result<Vec<Entry>, JournalError> {
    let wanted = Wanted { what, subject_of: core.env.subject_of };
    let segments = core.view().segments.clone();
    let mut found: Vec<Vec<Entry>> = Vec::new();
    let mut left = most;
    for segment in segments.iter().rev() {
        if left == 0 {
            break;
        }
        match find_in(core, segment, &wanted, left) {
            Ok(entries) => {
                left -= entries.len();
                found.push(entries);
            }
            // Retention deletes while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(JournalError::Io { what: format!("cannot read {}", file_name(segment)), error });
            }
        }
    }
    Ok(found.into_iter().rev().flatten().collect())
}

fn find_in(core: &Core, segment: &Segment, wanted: &Wanted<'_>, most: usize) -> io::Result<Vec<Entry>> {
    // The open file is read even where its name is gone.
    let file = match &segment.file {
        Some(file) => Arc::clone(file),
        None => core.store.disk.open(&core.store.path(segment.base), false)?,
    };
    let place = Place { file: &*file, salt: segment.salt, base: segment.base, end: segment.end };
    let records = place.scan(wanted, most)?;
    let entry = |(sequence, record)| Entry { position: position(sequence), record: Arc::new(record) };
    Ok(records.into_iter().map(entry).collect())
}
