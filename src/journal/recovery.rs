//! Opening a journal: finds out, from the files alone, what is durable and where to go on. Runs before any thread
//! does. Changes no record: it cuts torn tails, writes missing footers, and moves aside what it cannot use.

use std::io;
use std::path::Path;

use super::JournalError;
use super::aside;
use super::disk::{DiskFile, read_full};
use super::folder;
use super::footer::{Damage, Summary};
use super::format::{self, Before, Header, HeaderState, RECORDS_AT};
use super::segment::{self, Store};
use super::view::Segment;
use super::walk::{Step, Walker};

/// How far the first new sequence lies above every one that may ever have been used, burned ones included.
const SEQUENCE_GAP: u64 = 1 << 16;

/// Bytes looked at at once for what is not zero.
const LOOK: usize = 64 << 10;

/// A stretch of a segment that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageReport {
    /// The segment's file name.
    pub file: String,
    /// First byte.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
    /// How many records stood there.
    pub lost: u64,
    /// Where a copy of the bytes is, relative to the journal's folder; `None` where none could be made.
    pub copy: Option<String>,
}

/// What opening a journal found. Plain data, for the log and for the rule about a lost ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments in use.
    pub segments: usize,
    /// Records found by scanning segments without a footer.
    pub scanned: u64,
    /// Bytes cut off the end of the newest segment: a write that was never flushed.
    pub cut_bytes: u64,
    /// Holes in the last batch of the newest segment: a write torn by a power loss, never acknowledged.
    pub torn: Vec<DamageReport>,
    /// Damage to records that had been flushed: acknowledged events may be among them.
    pub rot: Vec<DamageReport>,
    /// Whole files moved to `quarantine/`, by their new names.
    pub set_aside: Vec<String>,
    /// Whether the journal holds any record.
    pub had_records: bool,
}

/// A journal as it was found.
pub(super) struct Opened {
    pub segments: Vec<Segment>,
    /// What the next segment names as its predecessor.
    pub last: Before,
    /// The next sequence to give.
    pub next: u64,
    pub recovered: Recovered,
}

struct Candidate {
    header: Header,
    file: std::sync::Arc<dyn DiskFile>,
    size: u64,
}

/// Opens what lies in the store's folder.
pub(super) fn open(store: &Store, now: i64) -> Result<Opened, JournalError> {
    let mut work = Work { store, recovered: Recovered::default(), seen: 0 };
    let mut segments: Vec<Segment> = Vec::new();
    for candidate in work.gather()?.into_iter().rev() {
        let after = segments.last().map(|s| s.before);
        let base = candidate.header.base;
        if after.is_some_and(|after| base > after.base) {
            work.set_aside(&format::segment_name(base), "its batch was written again in a later segment");
            continue;
        }
        let stated = after.filter(|after| after.base == base);
        segments.extend(work.recover(&candidate, stated)?);
    }
    segments.reverse();
    let next = u64::try_from(now).unwrap_or(0).max(work.seen + SEQUENCE_GAP);
    let last = segments.last().map_or(Before { base: 0, end: next, bytes: 0 }, |s| Before {
        base: s.base,
        end: s.next,
        bytes: s.end,
    });
    let mut recovered = work.recovered;
    recovered.segments = segments.len();
    recovered.had_records = segments.iter().any(|s| s.records > 0);
    Ok(Opened { segments, last, next, recovered })
}

struct Work<'s> {
    store: &'s Store,
    recovered: Recovered,
    /// The highest sequence met in any way.
    seen: u64,
}

/// What a scan found.
pub(super) struct Scan {
    pub summary: Summary,
    /// Where the good records end, if not at the limit.
    pub rest: Option<u64>,
    /// The first sequence of the last batch.
    pub last_batch: u64,
}

impl Work<'_> {
    /// The segments with a good header, in order; others are moved aside, or removed where they never held anything.
    fn gather(&mut self) -> Result<Vec<Candidate>, JournalError> {
        let dir = &self.store.dir;
        let names = self.store.disk.list(dir).map_err(|error| io_error("cannot list", dir, error))?;
        let mut bases: Vec<u64> = names.iter().filter_map(|name| format::segment_base(name)).collect();
        bases.sort_unstable();
        let newest = bases.last().copied();
        let mut found = Vec::new();
        for base in bases {
            self.seen = self.seen.max(base);
            let path = self.store.path(base);
            let name = format::segment_name(base);
            let file = match self.store.disk.open(&path, true) {
                Err(error) if folder::is_link(&error) || error.kind() == io::ErrorKind::IsADirectory => {
                    self.set_aside(&name, "it is no file of its own");
                    continue;
                }
                opened => opened.map_err(|error| io_error("cannot open", &path, error))?,
            };
            let size = file.size().map_err(|error| io_error("cannot read", &path, error))?;
            let state = segment::read_header(&*file);
            match state {
                Ok(HeaderState::Good(header)) if header.base == base => found.push(Candidate { header, file, size }),
                Ok(HeaderState::Newer(version)) => {
                    let why = format!("format version {version} is newer than this build's, {}", format::VERSION);
                    return Err(JournalError::Format { path: path.display().to_string(), why });
                }
                Ok(HeaderState::Damaged) if size <= RECORDS_AT && Some(base) == newest => {
                    // Headers are flushed before the first record is written, so there never was one. (With a successor
                    // there may have been: something else cut the file.)
                    tracing::warn!(file = name, "removed a segment whose creation was cut short");
                    self.unlink(base);
                }
                Ok(HeaderState::Good(_)) => self.set_aside(&name, "its name is not its own"),
                Ok(HeaderState::Damaged) => self.set_aside(&name, "both copies of its header are damaged"),
                Err(error) => self.set_aside(&name, &format!("its header cannot be read: {error}")),
            }
        }
        Ok(found)
    }

    /// One segment: from its footer, or scanned up to where its successor says that it ends. `None` where it is the
    /// newest and holds nothing.
    fn recover(&mut self, found: &Candidate, stated: Option<Before>) -> Result<Option<Segment>, JournalError> {
        let ended = |segment| Segment { size: found.size, file: Some(found.file.clone()), ended: true, ..segment };
        let agrees = |s: &Summary| stated.is_none_or(|after| (after.end, after.bytes) == (s.next, s.end));
        let core = segment::read_core(&*found.file, &found.header).unwrap_or_default();
        if let Some((summary, _)) = core.filter(|(summary, _)| agrees(summary)) {
            self.seen = self.seen.max(summary.next);
            return Ok(Some(ended(Segment::new(&found.header, &summary))));
        }
        let path = self.store.path(found.header.base);
        let limit = stated.map_or(found.size, |after| after.bytes);
        let scan = scan(&*found.file, &found.header, limit).map_err(|error| io_error("cannot read", &path, error))?;
        self.seen = self.seen.max(scan.summary.next);
        self.recovered.scanned += scan.summary.records;
        let summary = match stated {
            Some(after) => self.judge_inner(found, scan, after),
            None => self.judge_newest(found, scan),
        };
        if summary.next == summary.base {
            self.unlink(summary.base);
            return Ok(None);
        }
        let mut segment = ended(Segment::new(&found.header, &summary));
        // What was found may stand in the page cache only: flushed, before a successor's header calls it durable.
        let footer = summary.encode(found.header.salt);
        let sealed = found.file.sync_data().and_then(|()| Ok(segment::seal(&*found.file, summary.end, &footer)?));
        match sealed {
            Ok(size) => segment.size = size,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no footer could be written; the segment stays in use");
                segment.summary = Some(std::sync::Arc::new(std::sync::Mutex::new(summary)));
            }
        }
        Ok(Some(segment))
    }

    /// A segment whose end is known: what is missing before it is rot, what stands behind it counts for nothing.
    fn judge_inner(&mut self, found: &Candidate, scan: Scan, after: Before) -> Summary {
        let mut summary = scan.summary;
        if summary.next != after.end || summary.end != after.bytes {
            let from = scan.rest.unwrap_or(summary.end);
            let lost = after.end.saturating_sub(summary.next);
            summary.damage.push(Damage { from, to: after.bytes, first: summary.next, lost });
            (summary.next, summary.end) = (after.end, after.bytes);
        }
        for damage in summary.damage.clone() {
            let report = self.keep_aside(found, damage);
            report_rot(&report);
            self.recovered.rot.push(report);
        }
        summary
    }

    /// The newest segment: cut behind its last good record. Holes in its last batch are what a power loss leaves of a
    /// write that was not flushed; earlier batches had been flushed, or the last one would not have been begun.
    fn judge_newest(&mut self, found: &Candidate, scan: Scan) -> Summary {
        let summary = scan.summary;
        for damage in summary.damage.clone() {
            let report = self.keep_aside(found, damage);
            if damage.first >= scan.last_batch {
                tracing::warn!(
                    file = report.file,
                    from = report.from,
                    to = report.to,
                    records = report.lost,
                    copy = report.copy,
                    "the last write was torn, some of it in the middle; none of it was acknowledged"
                );
                self.recovered.torn.push(report);
            } else {
                report_rot(&report);
                self.recovered.rot.push(report);
            }
        }
        let rest = scan.rest.map(|from| (from, written_end(&*found.file, from, found.size)));
        // Zeros to the end are room that was made ahead.
        if let Some((from, to)) = rest.filter(|(from, to)| from < to) {
            let lost = 0;
            // Rot of the very last records looks the same, so that the bytes are kept.
            let copy = self.keep_aside(found, Damage { from, to, first: summary.next, lost }).copy;
            let file = format::segment_name(found.header.base);
            tracing::warn!(file, from, to, copy, "cut an unfinished write off the newest segment");
            self.recovered.cut_bytes += to - from;
        }
        summary
    }

    fn keep_aside(&self, found: &Candidate, damage: Damage) -> DamageReport {
        let file = format::segment_name(found.header.base);
        let Damage { from, to, lost, .. } = damage;
        let copy = aside::copy(&*self.store.disk, &self.store.dir, &file, &*found.file, (from, to))
            .inspect_err(|error| tracing::warn!(file, from, to, %error, "damaged bytes could not be kept aside"))
            .ok();
        DamageReport { file, from, to, lost, copy }
    }

    fn set_aside(&mut self, name: &str, why: &str) {
        match aside::shift(&*self.store.disk, &self.store.dir, name) {
            Ok(to) => {
                tracing::error!(file = name, to, why, "moved a segment aside");
                self.recovered.set_aside.push(to);
            }
            Err(error) => {
                tracing::error!(file = name, why, %error, "a segment that should be moved aside stays unused")
            }
        }
    }

    fn unlink(&self, base: u64) {
        let done = self.store.remove(base).and_then(|()| self.store.disk.sync_dir(&self.store.dir));
        if let Err(error) = done {
            tracing::warn!(file = format::segment_name(base), %error, "an empty segment could not be removed");
        }
    }
}

/// Reads a segment from its first record to `limit`, over damage.
pub(super) fn scan(file: &dyn DiskFile, header: &Header, limit: u64) -> io::Result<Scan> {
    let mut summary = Summary::new(header.base);
    let mut walker = Walker::new(file, header.salt, (header.base, RECORDS_AT), limit).lenient();
    let (mut rest, mut last_batch) = (None, header.base);
    loop {
        match walker.step()? {
            Step::Record(found) => {
                last_batch = found.sequence.saturating_sub(u64::from(found.place));
                match walker.fields(&found) {
                    Some(fields) => summary.add(found.sequence, found.offset, found.length, &fields),
                    None => summary.pass(found.sequence, found.offset, found.length),
                }
            }
            Step::Damaged(damage) => summary.damage.push(damage),
            Step::Rest(from) => rest = Some(from),
            Step::End => {
                if walker.unreadable > 0 {
                    let file = format::segment_name(header.base);
                    tracing::error!(file, blocks = walker.unreadable, "blocks of a segment cannot be read");
                }
                return Ok(Scan { summary, rest, last_batch });
            }
        }
    }
}

/// The byte after the last one that is not zero; `from` where there is none. What cannot be read counts as not zero.
pub(super) fn written_end(file: &dyn DiskFile, from: u64, to: u64) -> u64 {
    let mut block = vec![0; LOOK];
    let (mut at, mut end) = (from, from);
    while at < to {
        let Ok(got @ 1..) = read_full(file, &mut block, at) else { return to };
        let last = block.get(..got).unwrap_or_default().iter().rposition(|byte| *byte != 0);
        end = last.map_or(end, |last| at + last as u64 + 1);
        at += got as u64;
    }
    end
}

fn report_rot(report: &DamageReport) {
    let DamageReport { file, from, to, lost, copy } = report;
    tracing::error!(file, from, to, lost, copy, "damaged records; those after them are still delivered");
}

fn io_error(what: &str, path: &Path, error: io::Error) -> JournalError {
    JournalError::Io { what: format!("{what} {}", path.display()), error }
}
