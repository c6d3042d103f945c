//! Reading segments from disk: for sinks that memory does not reach back to, for seeking by time, for counts, and for
//! the fingerprints at the start. Blocking; called off the runtime's threads. Never passes the durable end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use super::disk::DiskFile;
use super::footer::{Damage, Summary, Trailer};
use super::format::{Header, HeaderState};
use super::segment::{read_core, read_fingerprints};
use super::state::Core;
use super::view::{SHARD, Segment, after, file_name, lock};
use super::walk::{Found, Step, Walker};
use super::{Chunk, Entry, Fingerprint, JournalError, Position, TypeCount, aside};

/// Most files kept open for readers.
const OPEN_FILES: usize = 16;
/// Most damaged places remembered as reported.
const REPORTED: usize = 10_000;
/// Most names shared between the records of one chunk.
const NAMES: usize = 64;

/// A segment's file, open, with what its footer says (fingerprints left out).
struct Open {
    file: Arc<dyn DiskFile>,
    core: Option<(Summary, Trailer)>,
}

/// Open files, least recently used first.
#[derive(Default)]
pub(super) struct Cache {
    open: Mutex<VecDeque<(u64, Arc<Open>)>>,
    reported: Mutex<BTreeSet<(u64, u64)>>,
}

impl Cache {
    /// Lets go of a segment's file.
    pub fn forget(&self, base: u64) {
        lock(&self.open).retain(|(b, _)| *b != base);
    }

    fn get(&self, core: &Core, segment: &Segment) -> io::Result<Arc<Open>> {
        let base = segment.base;
        let mut open = lock(&self.open);
        if let Some(at) = open.iter().position(|(b, _)| *b == base)
            && let Some(found) = open.remove(at)
        {
            let file = Arc::clone(&found.1);
            // A footer may have been written since it was opened.
            if file.core.is_some() || segment.summary.is_some() {
                open.push_back(found);
                return Ok(file);
            }
        }
        drop(open);
        let (file, header) = core.store.open(base)?;
        let footer = match (&segment.summary, header) {
            (None, HeaderState::Good(header)) => read_core(&*file, &header)?,
            (None, _) => read_core(&*file, &Header { base, created: 0, salt: segment.salt, before: segment.before })?,
            (Some(_), _) => None,
        };
        let file = Arc::new(Open { file, core: footer });
        let mut open = lock(&self.open);
        open.push_back((base, Arc::clone(&file)));
        if open.len() > OPEN_FILES {
            open.pop_front();
        }
        Ok(file)
    }
}

/// Records from a sequence on, from disk.
pub(super) fn read(core: &Core, from: u64, max_bytes: u64) -> Result<Chunk, JournalError> {
    let (mut from, mut gap) = (from, None);
    loop {
        let segment = {
            let view = core.view();
            if let Some(first) = view.gap(from) {
                (from, gap) = (first, Some(first));
            }
            view.segment_for(from).cloned()
        };
        let at = |offset| Position { shard: SHARD, offset };
        let Some(segment) = segment else {
            return Ok(Chunk { entries: Vec::new(), next: at(from), gap: gap.map(at) });
        };
        match read_segment(core, &segment, from, max_bytes) {
            Ok(entries) if !entries.is_empty() => {
                return Ok(Chunk { next: after(&entries, from), entries, gap: gap.map(at) });
            }
            Ok(_) => from = segment.next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if core.view().segment_for(from).is_some_and(|now| now.base == segment.base) {
                    report(core, &segment, None, Damage { from: 0, to: 0, first: segment.base, lost: segment.records });
                    from = segment.next;
                    gap = Some(from);
                }
            }
            Err(error) => return Err(failed(&segment, error)),
        }
    }
}

/// The first position at or after a time; the end where there is none.
pub(super) fn seek(core: &Core, time: i64) -> Result<u64, JournalError> {
    let (segments, end) = {
        let view = core.view();
        (view.segments.clone(), view.end)
    };
    for segment in segments.iter().filter(|s| s.times.is_some_and(|(_, newest)| newest >= time)) {
        let mut first = None;
        walk(core, segment, segment.base, |walker, found| {
            if walker.fields(found).is_some_and(|fields| fields.time >= time) {
                first = Some(found.sequence);
            }
            first.is_none()
        })
        .or_else(|error| passed_over(segment, error))?;
        if let Some(first) = first {
            return Ok(first);
        }
    }
    Ok(end)
}

/// Events by source and type from a sequence on.
pub(super) fn counts(core: &Core, from: u64) -> Result<Vec<TypeCount>, JournalError> {
    let segments: Vec<Segment> = core.view().segments.iter().filter(|s| s.next > from).cloned().collect();
    let mut counts: HashMap<(Arc<str>, Arc<str>), u64> = HashMap::new();
    for segment in &segments {
        let mut add = |summary: &Summary| {
            for (source, kind, n) in summary.counts() {
                *counts.entry((Arc::clone(source), Arc::clone(kind))).or_default() += n;
            }
        };
        let part = counted(core, segment, from).or_else(|error| passed_over(segment, error).map(|()| None))?;
        if let Some(part) = part {
            add(&part);
        }
    }
    let mut counts: Vec<_> =
        counts.into_iter().map(|((source, kind), events)| TypeCount { source, kind, events }).collect();
    counts.sort_unstable_by(|a, b| (&a.source, &a.kind).cmp(&(&b.source, &b.kind)));
    Ok(counts)
}

/// The newest fingerprints since a time, at most `max` of them, oldest first.
pub(super) fn fingerprints(core: &Core, since: i64, max: usize) -> Vec<Fingerprint> {
    let segments = core.view().segments.clone();
    let mut newest = Vec::new();
    for segment in segments.iter().rev() {
        if newest.len() >= max || segment.times.is_some_and(|(_, newest)| newest < since) {
            break;
        }
        let summary = all_of(core, segment).unwrap_or_else(|error| {
            tracing::warn!(file = file_name(segment), %error, "a segment's fingerprints could not be read");
            Summary::new(segment.base)
        });
        newest.extend(summary.fingerprints().rev().filter(|f| f.time >= since).take(max - newest.len()));
    }
    newest.reverse();
    newest
}

fn read_segment(core: &Core, segment: &Segment, from: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
    let (mut entries, mut bytes, mut names) = (Vec::new(), 0, Names::default());
    walk(core, segment, from, |walker, found| {
        bytes += found.length;
        if bytes > max_bytes && !entries.is_empty() {
            return false;
        }
        if let Some(fields) = walker.fields(found) {
            let position = Position { shard: SHARD, offset: found.sequence };
            entries.push(Entry { position, record: Arc::new(fields.to_record(|name| names.get(name))) });
        }
        true
    })?;
    Ok(entries)
}

/// Goes through a segment's records from a sequence on, until `visit` has enough.
fn walk(
    core: &Core,
    segment: &Segment,
    from: u64,
    mut visit: impl FnMut(&Walker<'_>, &Found) -> bool,
) -> io::Result<()> {
    let open = core.cache.get(core, segment)?;
    let start = match (&segment.summary, &open.core) {
        (Some(summary), _) => lock(summary).nearest(from),
        (None, Some((summary, _))) => summary.nearest(from),
        (None, None) => Summary::new(segment.base).nearest(from),
    };
    let mut walker = Walker::new(&*open.file, segment.salt, start, segment.end);
    let mut next = start.0;
    loop {
        match walker.step()? {
            Step::Record(found) => {
                next = found.sequence + 1;
                if found.sequence >= from && !visit(&walker, &found) {
                    return Ok(());
                }
            }
            Step::Damaged(damage) => report(core, segment, Some(&*open.file), damage),
            Step::Rest(at) => {
                let lost = segment.next.saturating_sub(next);
                report(core, segment, Some(&*open.file), Damage { from: at, to: segment.end, first: next, lost });
                return Ok(());
            }
            Step::End => return Ok(()),
        }
    }
}

/// What is known of the part of a segment from a sequence on.
fn counted(core: &Core, segment: &Segment, from: u64) -> io::Result<Option<Summary>> {
    if from <= segment.base {
        if let Some(summary) = &segment.summary {
            return Ok(Some(lock(summary).clone()));
        }
        if let Some((summary, _)) = &core.cache.get(core, segment)?.core {
            return Ok(Some(summary.clone()));
        }
    }
    scan(core, segment, from).map(Some)
}

/// All that is known of a segment, fingerprints included.
fn all_of(core: &Core, segment: &Segment) -> io::Result<Summary> {
    if let Some(summary) = &segment.summary {
        return Ok(lock(summary).clone());
    }
    let open = core.cache.get(core, segment)?;
    if let Some((summary, trailer)) = &open.core {
        let mut summary = summary.clone();
        if read_fingerprints(&*open.file, &mut summary, trailer)? {
            return Ok(summary);
        }
    }
    scan(core, segment, segment.base)
}

fn scan(core: &Core, segment: &Segment, from: u64) -> io::Result<Summary> {
    let mut summary = Summary::new(segment.base);
    walk(core, segment, from, |walker, found| {
        if let Some(fields) = walker.fields(found) {
            summary.add(found.sequence, found.offset, found.length, &fields);
        }
        true
    })?;
    Ok(summary)
}

/// Reports damage met by a reader, once a place, and keeps its bytes aside.
fn report(core: &Core, segment: &Segment, file: Option<&dyn DiskFile>, damage: Damage) {
    let mut reported = lock(&core.cache.reported);
    if reported.len() >= REPORTED || !reported.insert((segment.base, damage.from)) {
        return;
    }
    drop(reported);
    let (name, Damage { from, to, lost, .. }) = (file_name(segment), damage);
    let copy = file.map(|file| aside::copy(&*core.store.disk, &core.store.dir, &name, file, (from, to)));
    let copy = copy.and_then(Result::ok);
    tracing::error!(file = name, from, to, lost, copy, "damaged records; those after them are still delivered");
}

/// A segment that was deleted meanwhile has nothing to say.
fn passed_over(segment: &Segment, error: io::Error) -> Result<(), JournalError> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(failed(segment, error)) }
}

fn failed(segment: &Segment, error: io::Error) -> JournalError {
    JournalError::Io { what: format!("cannot read {}", file_name(segment)), error }
}

/// Sources and types repeat: one text for all records of a chunk.
#[derive(Default)]
struct Names(Vec<Arc<str>>);

impl Names {
    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| &***known == name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        if self.0.len() < NAMES {
            self.0.push(Arc::clone(&new));
        }
        new
    }
}
