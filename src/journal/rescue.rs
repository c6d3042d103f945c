//! Segments whose files were deleted, or have gone with their folder, while the journal runs: as long as a file is open
//! its bytes can be read, so the newest segments are kept open, and what is not at its place any more is written there
//! again. Runs on the housekeeping thread, about once a second, and when the commit thread finds its file deleted.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use super::aside;
use super::disk::{DiskFile, read_full};
use super::segment;
use super::state::Core;
use super::view::{Segment, file_name, lock};

/// Most segments whose files are kept open, and the share of the limit of open files that they may take.
const KEPT_OPEN: usize = 256;
const SHARE: usize = 8;
/// How long it waits after a failure before it tries again.
const PAUSE: Duration = Duration::from_secs(10);
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// Of how many of the newest segments the files are kept open: 256, or an eighth of the limit of open files in force.
pub fn kept_open() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(KEPT_OPEN, |limit| KEPT_OPEN.min(limit / SHARE)).max(1)
}

/// What was seen and said before.
#[derive(Default)]
pub(super) struct Rescue {
    /// As often as the folder had been found gone then.
    moves: u64,
    /// Whether no folder can be had.
    homeless: bool,
    failed: Option<Instant>,
}

impl Rescue {
    /// Looks at the folder and at the segments kept open, and puts back what is missing.
    pub fn look(&mut self, core: &Core) {
        let home = core.home.look(&core.store);
        let moves = core.home.moves();
        let moved = std::mem::replace(&mut self.moves, moves) != moves;
        if moved {
            // The commit thread leaves the segment it writes; the next one begins in the next folder.
            core.queue.roll();
            self.failed = None;
        }
        if let Err(error) = home {
            if !std::mem::replace(&mut self.homeless, true) {
                tracing::error!(%error, "the journal's folder cannot be used: nothing more is written until it can");
            }
            return;
        }
        self.homeless = false;
        if self.failed.is_none_or(|at| at.elapsed() >= PAUSE) {
            self.failed = None;
            self.put_back(core, moved);
        }
    }

    fn put_back(&mut self, core: &Core, moved: bool) {
        let segments: Vec<Segment> = {
            let view = core.view();
            view.segments.iter().filter(|segment| moved || segment.file.is_some()).cloned().collect()
        };
        let (mut files, mut events, mut bytes) = (0, 0, 0);
        // The newest first: they are what sinks are yet to have.
        for segment in segments.iter().rev() {
            if core.chores.is_cut_short() || is_at_its_place(core, segment) {
                continue;
            }
            let (name, records, from, to) = (file_name(segment), segment.records, segment.base, segment.next);
            let Some(file) = &segment.file else {
                tracing::error!(
                    file = name,
                    records,
                    from,
                    to,
                    "a segment is gone with its folder, and no open file holds it: what sinks are owed of it is lost"
                );
                continue;
            };
            if !segment.ended {
                core.queue.roll();
                continue;
            }
            match restore(core, segment, file) {
                Ok(None) => {}
                Ok(Some(size)) => (files, events, bytes) = (files + 1, events + segment.records, bytes + size),
                Err(error) => {
                    tracing::error!(
                        file = name,
                        records,
                        from,
                        to,
                        %error,
                        "a deleted segment cannot be written again: it is read from the file still open, is lost when \
                         the daemon ends, and is tried again until then"
                    );
                    self.failed = Some(Instant::now());
                }
            }
        }
        if files > 0 {
            let folder = core.store.dir.display();
            tracing::error!(
                %folder,
                files,
                events,
                bytes,
                "segments were deleted while they were in use: written again from the files still open, nothing of \
                 them is lost"
            );
        }
    }
}

fn is_at_its_place(core: &Core, segment: &Segment) -> bool {
    let there = core.store.disk.identity(&core.store.path(segment.base)).ok();
    let own = segment.file.as_ref().map(|file| file.identity().ok());
    there.is_some() && own.is_none_or(|own| own == there)
}

/// Writes a segment to its place again, whole before it gets its name. Gives the size of the file; `None` where the
/// file that was there before has come back.
fn restore(core: &Core, segment: &Segment, file: &Arc<dyn DiskFile>) -> io::Result<Option<u64>> {
    let (store, name, path) = (&core.store, file_name(segment), core.store.path(segment.base));
    let footer = segment.summary.as_ref().map(|summary| lock(summary).encode(segment.salt));
    let size = if footer.is_some() { segment.end } else { file.size()? };
    if let Ok(there) = store.disk.open(&path, true) {
        if is_same(&**file, &*there, segment.end)? {
            let size = there.size()?;
            take(core, segment, there, size, false);
            return Ok(None);
        }
        aside::shift(&*store.disk, &store.dir, &name)?;
    }
    let free = store.disk.free_space(&store.dir).unwrap_or(u64::MAX);
    if free < size.saturating_add(core.limits.min_free) {
        return Err(io::Error::new(io::ErrorKind::StorageFull, format!("only {free} bytes are free on the disk")));
    }
    let new = store.dir.join(format!("{name}.new"));
    // Of an earlier try.
    let _ = store.disk.unlink(&new);
    let copy = store.disk.create(&new)?;
    let written = copied(&**file, &*copy, size).and_then(|()| match &footer {
        Some(footer) => Ok(segment::seal(&*copy, size, footer)?),
        None => copy.sync_data().map(|()| size),
    });
    let named = written.and_then(|size| store.disk.rename(&new, &path).map(|()| size));
    let size = named.inspect_err(|_| drop(store.disk.unlink(&new)))?;
    store.disk.sync_dir(&store.dir)?;
    take(core, segment, copy, size, true);
    Ok(Some(size))
}

/// From now on the segment is read from that file.
fn take(core: &Core, segment: &Segment, file: Arc<dyn DiskFile>, size: u64, has_footer: bool) {
    core.cache.forget(segment.base);
    if let Some(segment) = core.view_mut().segment_mut(segment.base) {
        (segment.file, segment.size, segment.index) = (Some(file), size, None);
        segment.summary.take_if(|_| has_footer);
    }
}

fn copied(from: &dyn DiskFile, to: &dyn DiskFile, size: u64) -> io::Result<()> {
    chunks(size, |at, buf| {
        if read_full(from, buf, at)? < buf.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(buf, at).map(|()| true)
    })
    .map(drop)
}

fn is_same(one: &dyn DiskFile, other: &dyn DiskFile, size: u64) -> io::Result<bool> {
    let mut there = vec![0; CHUNK];
    chunks(size, |at, buf| {
        let there = there.get_mut(..buf.len()).unwrap_or_default();
        Ok(read_full(one, buf, at)? == buf.len() && read_full(other, there, at)? == buf.len() && buf == there)
    })
}

/// Goes through so many bytes, as long as `each` says so; whether it did to the end.
fn chunks(size: u64, mut each: impl FnMut(u64, &mut [u8]) -> io::Result<bool>) -> io::Result<bool> {
    let mut buf = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(CHUNK).min(CHUNK);
        if !each(at, buf.get_mut(..want).unwrap_or_default())? {
            return Ok(false);
        }
        at += want as u64;
    }
    Ok(true)
}
