//! Keeps an index beside every sealed segment: makes missing ones, one at a time and with rests, and removes those
//! whose segments are gone. Runs on the housekeeping thread. Nothing here is a fault of the journal: without its index
//! a segment is scanned.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use super::index::{BuildError, Growing, Index, Of, UNFINISHED, build, index_base, index_name};
use super::state::Core;
use super::view::{Segment, file_name};

/// After an index was made, this many times as long as that took nothing is done: so the making takes a twentieth of a
/// processor at most, after an upgrade and under full load, when segments are sealed faster than that.
const RESTS: u32 = 19;
/// How long it waits after a failure before it tries again.
const PAUSE: Duration = Duration::from_secs(10);

/// What is known of the indexes.
#[derive(Default)]
pub(super) struct Indexes {
    /// How often the folder had been found gone when it was last looked through; `None` before the first time.
    looked: Option<u64>,
    /// Segments that can have none.
    never: BTreeSet<u64>,
    /// What was read for an index whose making was broken off.
    begun: Option<Growing>,
    /// Before then none is made.
    rest: Option<Instant>,
    /// Whether a failure was told.
    failing: bool,
}

impl Indexes {
    /// How long it wants to rest; `None` where it has nothing to do.
    pub fn rest(&self) -> Option<Duration> {
        self.rest.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Makes one index, the newest that is missing, where it has rested enough.
    pub fn look(&mut self, core: &Core) {
        let moves = core.home.moves();
        if self.looked != Some(moves) {
            if let Err(error) = take_stock(core) {
                // Which are there is not known: none is made before it is.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the journal's folder cannot be read for indexes; trying again");
                }
                self.rest = Some(Instant::now() + PAUSE);
                return;
            }
            (self.looked, self.rest, self.failing) = (Some(moves), None, false);
        }
        if self.rest().is_some_and(|left| !left.is_zero()) {
            return;
        }
        let missing: Vec<Segment> = {
            let view = core.view();
            self.never.retain(|base| view.segments.iter().any(|segment| segment.base == *base));
            let is_missing = |segment: &&Segment| {
                segment.ended
                    && segment.summary.is_none()
                    && segment.index.is_none()
                    && !self.never.contains(&segment.base)
            };
            view.segments.iter().rev().filter(is_missing).take(2).cloned().collect()
        };
        self.rest = None;
        let Some(segment) = missing.first() else { return };
        let began = Instant::now();
        let begun = self.begun.take().filter(|growing| growing.base == segment.base);
        let mut growing = begun.unwrap_or_else(|| Growing::new(segment.base));
        match make(core, segment, &mut growing) {
            Ok(size) => {
                self.failing = false;
                set(core, segment.base, Some(size));
                self.rest = Some(Instant::now() + began.elapsed() * RESTS);
            }
            Err(BuildError::Ended) => self.begun = Some(growing),
            Err(error @ BuildError::TooMany) => {
                tracing::info!(file = file_name(segment), %error, "a segment gets no index: lookups read all of it");
                self.never.insert(segment.base);
            }
            Err(BuildError::Io(error)) => {
                let file = file_name(segment);
                if error.kind() != io::ErrorKind::NotFound && !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(file, %error, "an index could not be made: lookups read all of the segment");
                }
                self.rest = Some(Instant::now() + PAUSE);
            }
        }
    }
}

/// Notes which segments have their index, and removes what belongs to none.
fn take_stock(core: &Core) -> io::Result<()> {
    let (store, segments) = (&core.store, core.view().segments.clone());
    let names = store.disk.list(&store.dir)?;
    let mut bases = BTreeSet::new();
    for name in &names {
        let Some(base) = index_base(name) else { continue };
        let is_of_none = segments.iter().all(|segment| segment.base != base);
        if is_of_none || name.ends_with(UNFINISHED) {
            // Where that fails it lies there a while longer.
            let _ = store.disk.unlink(&store.dir.join(name));
        } else {
            bases.insert(base);
        }
    }
    for segment in &segments {
        let index = bases.contains(&segment.base).then(|| open(core, segment)).flatten();
        set(core, segment.base, index.map(|index| index.size));
    }
    Ok(())
}

/// The index of a segment, where it is there and the segment's own.
pub(super) fn open(core: &Core, segment: &Segment) -> Option<Index> {
    Index::open(&*core.store.disk, &core.store.dir.join(index_name(segment.base)), &of(segment))
}

/// Notes the size of a segment's index; `None`: it is to be made.
pub(super) fn set(core: &Core, base: u64, size: Option<u64>) {
    if let Some(segment) = core.view_mut().segment_mut(base) {
        segment.index = size;
    }
}

fn of(segment: &Segment) -> Of {
    Of { salt: segment.salt, base: segment.base, next: segment.next, end: segment.end }
}

/// Writes a segment's index, whole and flushed before it has its name, and reads for it from where `growing` has come.
/// Gives its size.
fn make(core: &Core, segment: &Segment, growing: &mut Growing) -> Result<u64, BuildError> {
    let store = &core.store;
    let file = match &segment.file {
        Some(file) => std::sync::Arc::clone(file),
        None => store.disk.open(&store.path(segment.base), false)?,
    };
    let bytes = build(growing, &*file, &of(segment), core.env.subject_of, || !core.chores.are_wanted())?;
    let size = bytes.len() as u64;
    let free = store.disk.free_space(&store.dir).unwrap_or(u64::MAX);
    if free < size.saturating_add(core.limits.min_free) {
        let what = format!("only {free} bytes are free on the disk");
        return Err(io::Error::new(io::ErrorKind::StorageFull, what).into());
    }
    let path = store.dir.join(index_name(segment.base));
    let new = store.dir.join(format!("{}{UNFINISHED}", index_name(segment.base)));
    // Of an earlier try.
    let _ = store.disk.unlink(&new);
    let file = store.disk.create(&new)?;
    let named = file.write_at(&bytes, 0).and_then(|()| file.sync_data()).and_then(|()| store.disk.rename(&new, &path));
    // The folder is not flushed: an index whose name a power loss takes is made again.
    named.inspect_err(|_| drop(store.disk.unlink(&new)))?;
    Ok(size)
}

/// Removes the index of a segment that is gone.
pub(super) fn remove(core: &Core, base: u64) {
    // There may be none; and one that stays is removed at the next start.
    let _ = core.store.disk.unlink(&core.store.dir.join(index_name(base)));
}
