//! Records by their event's id or subject, out of a journal that may be in use: nothing is locked or written, and a
//! tail that is being written reads as its end.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::{Disk, DiskFile, RealDisk};
use super::format::{self, Fields, HeaderState};
use super::index::{Index, Of, index_name};
use super::segment::{Store, read_core};
use super::walk::{Step, Walker};
use super::{Find, Record, SubjectOf};

/// How far a record's time may lie from what its id says, in microseconds: a clock may have been set in between.
const SLACK: i64 = 3_600_000_000;

/// Most records read before it is looked whether they are enough.
const AT_ONCE: usize = 256;

/// What records are compared with.
pub(super) struct Wanted<'w> {
    pub what: &'w Find,
    pub subject_of: SubjectOf,
    /// Only records before this sequence.
    pub before: u64,
    /// Whether nobody waits for it any more.
    pub is_gone: &'w AtomicBool,
}

impl Wanted<'_> {
    fn is(&self, fields: &Fields<'_>) -> bool {
        match self.what {
            Find::Event(id) => fields.id == *id,
            Find::Subject(subject) => (self.subject_of)(fields.payload) == Some(&**subject),
        }
    }

    /// Sees that somebody waits for it.
    fn goes_on(&self) -> io::Result<()> {
        let gone = || io::Error::other("nobody waits for this lookup any more");
        if self.is_gone.load(Ordering::Relaxed) { Err(gone()) } else { Ok(()) }
    }

    /// Whether the record can stand among records of such times (oldest and newest, microseconds): an id of version 7
    /// says when it was made.
    pub fn can_be_in(&self, times: Option<(i64, i64)>) -> bool {
        let (Find::Event(id), Some((oldest, newest))) = (self.what, times) else { return true };
        let Some(made) = uuid::Uuid::from_bytes(*id).get_timestamp() else { return true };
        let (seconds, nanos) = made.to_unix();
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let made = seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos / 1_000));
        (oldest.saturating_sub(SLACK)..=newest.saturating_add(SLACK)).contains(&made)
    }
}

/// How much may still be found.
pub(super) struct Left {
    /// Records.
    pub most: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
    /// Whether older records were left out.
    pub is_cut: bool,
}

impl Left {
    /// So many records, of whatever size.
    fn records(most: usize) -> Self {
        Self { most, bytes: usize::MAX, is_cut: false }
    }

    /// Whether nothing more may be found: what is found has no holes.
    pub fn is_nothing(&self) -> bool {
        self.is_cut || self.most == 0 || self.bytes == 0
    }

    fn take(&mut self, kept: Kept) -> VecDeque<(u64, Record)> {
        self.most = self.most.saturating_sub(kept.found.len());
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        self.is_cut |= kept.is_cut;
        kept.found
    }
}

/// The newest records found so far, no more than are left to find; but one of any size.
#[derive(Default)]
struct Kept {
    found: VecDeque<(u64, Record)>,
    bytes: usize,
    is_cut: bool,
}

impl Kept {
    fn add(&mut self, sequence: u64, record: Record, left: &Left) {
        self.bytes += record.payload.len();
        self.found.push_back((sequence, record));
        while self.found.len() > left.most || (self.bytes > left.bytes && self.found.len() > 1) {
            self.bytes -= self.found.pop_front().map_or(0, |(_, record)| record.payload.len());
            self.is_cut = true;
        }
    }
}

/// A segment's file, and where its records lie in it.
pub(super) struct Place<'f> {
    pub file: &'f dyn DiskFile,
    pub salt: u32,
    pub base: u64,
    pub end: u64,
}

impl Place<'_> {
    /// The last records that match, with their sequences, of those at these offsets, which are in order. What is
    /// damaged is passed over, as in a scan.
    pub fn read(&self, offsets: &[u64], wanted: &Wanted<'_>, left: &mut Left) -> io::Result<Vec<(u64, Record)>> {
        let mut walker = Walker::new(self.file, self.salt, (self.base, format::RECORDS_AT), self.end).lenient();
        let mut parts = Vec::new();
        // From the end on; each part in its own order, so that neighbours are read together.
        for part in offsets.rchunks(left.most.clamp(1, AT_ONCE)) {
            if left.is_nothing() {
                left.is_cut = true;
                break;
            }
            let mut kept = Kept::default();
            for offset in part {
                wanted.goes_on()?;
                let Some(at) = walker.look_at(*offset)?.filter(|at| at.sequence < wanted.before) else { continue };
                if let Some(fields) = walker.fields(&at).filter(|fields| wanted.is(fields)) {
                    kept.add(at.sequence, fields.to_record(|name| Arc::from(name)), left);
                }
            }
            parts.push(left.take(kept));
        }
        Ok(parts.into_iter().rev().flatten().collect())
    }

    /// The last records that match, with their sequences, by reading all of them.
    pub fn scan(&self, wanted: &Wanted<'_>, left: &mut Left) -> io::Result<Vec<(u64, Record)>> {
        let first = (self.base, format::RECORDS_AT);
        let mut walker = Walker::new(self.file, self.salt, first, self.end).lenient();
        let mut kept = Kept::default();
        loop {
            wanted.goes_on()?;
            match walker.step()? {
                Step::Record(at) if at.sequence < wanted.before => {
                    if let Some(fields) = walker.fields(&at).filter(|fields| wanted.is(fields)) {
                        kept.add(at.sequence, fields.to_record(|name| Arc::from(name)), left);
                    }
                }
                Step::Damaged(_) => {}
                Step::Record(_) | Step::Rest(_) | Step::End => return Ok(left.take(kept).into()),
            }
        }
    }
}

/// The newest `most` records that match, oldest first. Sealed segments of other times than an event's id says are not
/// scanned for it.
///
/// # Errors
/// Where the folder or a segment cannot be read.
pub fn find(dir: &Path, what: &Find, most: usize, subject_of: SubjectOf) -> io::Result<Vec<Record>> {
    let (store, bases) = opened(dir)?;
    let wanted = Wanted { what, subject_of, before: u64::MAX, is_gone: &AtomicBool::new(false) };
    let (mut found, mut left) = (Vec::new(), Left::records(most));
    for base in bases.into_iter().rev() {
        if left.is_nothing() {
            break;
        }
        match find_in(&store, base, &wanted, &mut left) {
            // Retention deletes while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            records => found.push(records?),
        }
    }
    Ok(found.into_iter().rev().flatten().map(|(_, record)| record).collect())
}

/// Hands every record that matches to `visit`, oldest first; a segment's at a time are in memory.
///
/// # Errors
/// Where the folder or a segment cannot be read, and what `visit` says.
pub fn each<E: From<io::Error>>(
    dir: &Path,
    what: &Find,
    subject_of: SubjectOf,
    mut visit: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let (store, bases) = opened(dir)?;
    let wanted = Wanted { what, subject_of, before: u64::MAX, is_gone: &AtomicBool::new(false) };
    for base in bases {
        match find_in(&store, base, &wanted, &mut Left::records(usize::MAX)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            records => records?.into_iter().try_for_each(|(_, record)| visit(record))?,
        }
    }
    Ok(())
}

fn opened(dir: &Path) -> io::Result<(Store, Vec<u64>)> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir)? {
        bases.extend(entry?.file_name().to_str().and_then(format::segment_base));
    }
    bases.sort_unstable();
    Ok((Store { disk: Arc::new(RealDisk) as Arc<dyn Disk>, dir: dir.to_owned() }, bases))
}

fn find_in(store: &Store, base: u64, wanted: &Wanted<'_>, left: &mut Left) -> io::Result<Vec<(u64, Record)>> {
    let (file, header) = store.open(base)?;
    let header = match header {
        HeaderState::Good(header) => header,
        HeaderState::Damaged => return Ok(vec![]),
        HeaderState::Newer(version) => {
            return Err(io::Error::other(format!(
                "{} has format {version}, of a later version",
                store.path(base).display()
            )));
        }
    };
    let sealed = read_core(&*file, &header)?.map(|(summary, _)| summary);
    let place = |end| Place { file: &*file, salt: header.salt, base, end };
    if let Some(summary) = &sealed {
        let of = Of { salt: header.salt, base, next: summary.next, end: summary.end };
        let index = Index::open(&*store.disk, &store.dir.join(index_name(base)), &of);
        if let Some(offsets) = index.and_then(|index| index.candidates(wanted.what)) {
            return place(summary.end).read(&offsets, wanted, left);
        }
    }
    if sealed.as_ref().is_some_and(|summary| !wanted.can_be_in(summary.times)) {
        return Ok(vec![]);
    }
    let end = match &sealed {
        Some(summary) => summary.end,
        None => file.size()?,
    };
    place(end).scan(wanted, left)
}
