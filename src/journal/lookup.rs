//! Lookups in a journal that runs: all records of one event or one subject, from the files, newest segment first. It
//! blocks, and is called off the runtime's threads. It never passes the durable end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::disk::DiskFile;
use super::find::{Left, Place, Wanted};
use super::index::Growing;
use super::indexing;
use super::state::Core;
use super::view::{SHARD, Segment, file_name, lock, position};
use super::{Entry, Find, JournalError, LookedUp, Within};

/// The records that match. Ends early once whoever asked `is_gone`.
pub(super) fn find(core: &Core, what: &Find, within: &Within, is_gone: &AtomicBool) -> Result<LookedUp, JournalError> {
    let before = within.before.as_ref().map_or(u64::MAX, |before| before.at(SHARD).offset);
    let wanted = Wanted { what, subject_of: core.env.subject_of, before, is_gone };
    let segments = core.view().segments.clone();
    let mut found: Vec<Vec<Entry>> = Vec::new();
    let mut left = Left { most: within.most, bytes: within.bytes, is_cut: false };
    for segment in segments.iter().rev().filter(|segment| segment.base < before) {
        if left.is_nothing() {
            left.is_cut = true;
            break;
        }
        match find_in(core, segment, &wanted, &mut left) {
            Ok(entries) => found.push(entries),
            // Retention deletes while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(JournalError::Io { what: format!("cannot read {}", file_name(segment)), error });
            }
        }
    }
    Ok(LookedUp { entries: found.into_iter().rev().flatten().collect(), is_cut: left.is_cut })
}

fn find_in(core: &Core, segment: &Segment, wanted: &Wanted<'_>, left: &mut Left) -> io::Result<Vec<Entry>> {
    // The open file is read even where its name is gone.
    let file = match &segment.file {
        Some(file) => Arc::clone(file),
        None => core.store.disk.open(&core.store.path(segment.base), false)?,
    };
    let place = Place { file: &*file, salt: segment.salt, base: segment.base, end: segment.end };
    let records = match candidates(core, segment, &*file, wanted.what) {
        Some(offsets) => place.read(&offsets, wanted, left)?,
        None if !wanted.can_be_in(segment.times) => vec![],
        None => place.scan(wanted, left)?,
    };
    let entry = |(sequence, record)| Entry { position: position(sequence), record: Arc::new(record) };
    Ok(records.into_iter().map(entry).collect())
}

/// Where in the segment that may stand which is looked for; `None` where nothing short of reading all of it says so.
fn candidates(core: &Core, segment: &Segment, file: &dyn DiskFile, what: &Find) -> Option<Vec<u64>> {
    if segment.index.is_none() {
        return of_growing(core, segment, file, what);
    }
    let candidates = indexing::open(core, segment).and_then(|index| index.candidates(what));
    if candidates.is_none() {
        // It is not there any more, or damaged.
        indexing::set(core, segment.base, None);
        core.chores.kick();
    }
    candidates
}

/// The segment that is being written is read by the first lookup that comes to it; those after it read on from there.
fn of_growing(core: &Core, segment: &Segment, file: &dyn DiskFile, what: &Find) -> Option<Vec<u64>> {
    let growing = &mut *lock(&core.growing);
    let is_newest = core.view().segments.last().is_some_and(|newest| newest.base <= segment.base);
    let known = match growing {
        Some(known) if known.base == segment.base => known,
        _ if is_newest => growing.insert(Growing::new(segment.base)),
        _ => return None,
    };
    let grown = known.grow(file, segment.salt, segment.end, core.env.subject_of, || true);
    // The records behind the segment's end, as this lookup knows it, are passed over by whoever reads them.
    grown.ok().map(|()| known.candidates(what))
}
