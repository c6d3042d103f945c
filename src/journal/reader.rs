//! Reading segments from disk: for sinks that memory does not reach back to, for seeking by time, for counts, and for
//! the fingerprints at the start. It blocks, and is called off the runtime's threads. It never passes the durable end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use super::disk::DiskFile;
use super::footer::{Damage, Summary, Trailer};
use super::format::Header;
use super::recent::Recent;
use super::segment::{read_core, read_fingerprints};
use super::state::Core;
use super::tally::Tally;
use super::view::{SHARD, Segment, after, file_name, lock};
use super::walk::{Found, Step, Walker};
use super::{Entry, Fingerprint, JournalError, Position, TypeCount, aside};

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

/// Open files, least recently used first, and what readers have in common.
#[derive(Default)]
pub(super) struct Cache {
    /// What was read last.
    pub recent: Recent,
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
        // The open file is read even where its name is gone.
        let file = match &segment.file {
            Some(file) => Arc::clone(file),
            None => core.store.disk.open(&core.store.path(base), false)?,
        };
        let header = Header { base, created: 0, salt: segment.salt, before: segment.before };
        let footer = if segment.summary.is_none() { read_core(&*file, &header)? } else { None };
        let file = Arc::new(Open { file, core: footer });
        let mut open = lock(&self.open);
        open.push_back((base, Arc::clone(&file)));
        if open.len() > OPEN_FILES {
            open.pop_front();
        }
        Ok(file)
    }
}

/// What a read from disk found.
#[derive(Default)]
pub(super) struct Read {
    pub entries: Vec<Entry>,
    /// Where to read on.
    pub next: u64,
    /// The stretch whose segments are not there any more.
    pub gone: Option<(u64, u64)>,
    /// The stretch in which damaged records lie, and how many.
    pub lost: Option<(u64, u64, u64)>,
}

impl Read {
    /// Passes over what is gone, up to `to`.
    fn skip(&mut self, to: u64) {
        let from = self.gone.map_or(self.next, |(from, _)| from);
        self.gone = Some((from, to));
        self.next = to;
    }

    /// Takes note of damaged records, as far as they were asked for and are passed by now.
    fn note(&mut self, damage: &Damage, asked: u64) {
        let (from, to) = (damage.first.max(asked), damage.first + damage.lost);
        if from < to && from < self.next {
            let (first, _, lost) = self.lost.unwrap_or((from, to, 0));
            self.lost = Some((first, to, lost + to - from));
        }
    }
}

/// Records from a sequence on, from disk.
pub(super) fn read(core: &Core, from: u64, max_bytes: u64) -> Result<Read, JournalError> {
    let mut read = Read { next: from, ..Read::default() };
    loop {
        let segment = {
            let view = core.view();
            if let Some(first) = view.gap(read.next) {
                read.skip(first);
            }
            view.segment_for(read.next).cloned()
        };
        let Some(segment) = segment else { return Ok(read) };
        let asked = read.next;
        match read_segment(core, &segment, asked, max_bytes) {
            Ok((entries, damage)) => {
                read.next = if entries.is_empty() { segment.next } else { after(&entries, asked).offset };
                damage.iter().for_each(|damage| read.note(damage, asked));
                if !entries.is_empty() {
                    return Ok(Read { entries, ..read });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if core.view().segment_for(asked).is_some_and(|now| now.base == segment.base) {
                    let damage = Damage { from: 0, to: 0, first: segment.base, lost: segment.next - segment.base };
                    report(core, &segment, None, damage);
                    read.skip(segment.next);
                    read.note(&damage, asked);
                }
            }
            Err(error) => return Err(failed(&segment, error)),
        }
    }
}

/// Source and type of each record of a segment. Where `whole` is set they are counts in no order, which the footer has.
/// Records that cannot be read count without a type.
pub(super) fn tally(core: &Core, segment: &Segment, whole: bool) -> Tally {
    let mut tally = Tally::new(segment.base);
    if whole && let Ok(Some(summary)) = counted(core, segment) {
        summary.counts().for_each(|(source, kind, n)| tally.add_some(source, kind, n));
        tally.pad(segment.next);
        return tally;
    }
    let walked = walk(core, segment, segment.base, |walker, found| {
        if let Some(fields) = walker.fields(found) {
            tally.add(found.sequence, fields.source, fields.kind);
        }
        true
    });
    if let Err(error) = walked {
        tracing::error!(file = file_name(segment), %error, "a segment that is to be dropped cannot be read to its end");
    }
    tally.pad(segment.next);
    tally
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
        .map(drop)
        .or_else(|error| passed_over(segment, error))?;
        if let Some(first) = first {
            return Ok(first);
        }
    }
    Ok(end)
}

/// Events by source and type.
pub(super) type Counts = HashMap<(Arc<str>, Arc<str>), u64>;

/// Events by source and type from a sequence on, up to another.
pub(super) fn counts(core: &Core, from: u64, to: u64) -> Result<Counts, JournalError> {
    let there = |s: &&Segment| s.next > from && s.base < to;
    let segments: Vec<Segment> = core.view().segments.iter().filter(there).cloned().collect();
    let mut counts = Counts::new();
    for segment in &segments {
        count(core, segment, (from, to), &mut counts).or_else(|error| passed_over(segment, error))?;
    }
    Ok(counts)
}

/// Adds what stands in a part of a segment.
fn count(core: &Core, segment: &Segment, (from, to): (u64, u64), counts: &mut Counts) -> io::Result<()> {
    let whole = if from <= segment.base { counted(core, segment)? } else { None };
    let Some(whole) = whole else {
        add(counts, &scan(core, segment, from, to)?);
        return Ok(());
    };
    add(counts, &whole);
    if to < whole.next {
        // The segment goes on behind what was asked for, and may have grown since the list was looked at: so much is
        // taken off again.
        let grown = Segment { next: whole.next, end: whole.end, ..segment.clone() };
        for (source, kind, n) in scan(core, &grown, to, u64::MAX)?.counts() {
            if let Some(events) = counts.get_mut(&(Arc::clone(source), Arc::clone(kind))) {
                *events = events.saturating_sub(n);
            }
        }
    }
    Ok(())
}

fn add(counts: &mut Counts, part: &Summary) {
    for (source, kind, n) in part.counts() {
        *counts.entry((Arc::clone(source), Arc::clone(kind))).or_default() += n;
    }
}

/// Counts in order of source and type.
pub(super) fn in_order(counts: Counts) -> Vec<TypeCount> {
    let counts = counts.into_iter().filter(|(_, events)| *events > 0);
    let mut counts: Vec<_> = counts.map(|((source, kind), events)| TypeCount { source, kind, events }).collect();
    counts.sort_unstable_by(|a, b| (&a.source, &a.kind).cmp(&(&b.source, &b.kind)));
    counts
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

fn read_segment(core: &Core, segment: &Segment, from: u64, max_bytes: u64) -> io::Result<(Vec<Entry>, Vec<Damage>)> {
    let (mut entries, mut bytes, mut names) = (Vec::new(), 0, Names::default());
    let damage = walk(core, segment, from, |walker, found| {
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
    Ok((entries, damage))
}

/// Goes through a segment's records from a sequence on, until `visit` has enough. Gives the damage it met.
fn walk(
    core: &Core,
    segment: &Segment,
    from: u64,
    mut visit: impl FnMut(&Walker<'_>, &Found) -> bool,
) -> io::Result<Vec<Damage>> {
    let open = core.cache.get(core, segment)?;
    let start = match (&segment.summary, &open.core) {
        (Some(summary), _) => lock(summary).nearest(from),
        (None, Some((summary, _))) => summary.nearest(from),
        (None, None) => Summary::new(segment.base).nearest(from),
    };
    let mut walker = Walker::new(&*open.file, segment.salt, start, segment.end);
    let (mut next, mut met) = (start.0, Vec::new());
    loop {
        match walker.step()? {
            Step::Record(found) => {
                next = found.sequence + 1;
                if found.sequence >= from && !visit(&walker, &found) {
                    return Ok(met);
                }
            }
            Step::Damaged(damage) => {
                report(core, segment, Some(&*open.file), damage);
                met.push(damage);
            }
            Step::Rest(at) => {
                let lost = segment.next.saturating_sub(next);
                let damage = Damage { from: at, to: segment.end, first: next, lost };
                report(core, segment, Some(&*open.file), damage);
                met.push(damage);
                return Ok(met);
            }
            Step::End => return Ok(met),
        }
    }
}

/// What memory or the footer says of a segment, fingerprints left out.
fn counted(core: &Core, segment: &Segment) -> io::Result<Option<Summary>> {
    if let Some(summary) = &segment.summary {
        return Ok(Some(lock(summary).clone()));
    }
    Ok(core.cache.get(core, segment)?.core.as_ref().map(|(summary, _)| summary.clone()))
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
    scan(core, segment, segment.base, u64::MAX)
}

fn scan(core: &Core, segment: &Segment, from: u64, to: u64) -> io::Result<Summary> {
    let mut summary = Summary::new(segment.base);
    walk(core, segment, from, |walker, found| {
        if found.sequence >= to {
            return false;
        }
        if let Some(fields) = walker.fields(found) {
            summary.add(found.sequence, found.offset, found.length, &fields);
        }
        true
    })?;
    Ok(summary)
}

/// Reports damage that a reader met, once for each place, and keeps its bytes aside.
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

/// Sources and types repeat, so the records of a chunk share their texts.
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
