//! Says exactly what is damaged in a journal, from its files alone; and mends what can be mended.
//!
//! [`verify`] locks and changes nothing: a running daemon's journal can be looked at, and its moving tail reads as an
//! unfinished write. [`repair`] wants the journal to itself; what it takes out is kept in `quarantine/`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::JournalError;
use super::aside;
use super::disk::{Disk, DiskFile, RealDisk, read_full};
use super::footer::{Damage, FOOTER_MAGIC, Summary, TRAILER};
use super::format::{self, Before, Header, HeaderState, RECORDS_AT};
use super::index::{Index, Of, index_name};
use super::lock::Lock;
use super::recovery::{self, Recovered, scan, written_end};
use super::segment::{self, Store};

/// What is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// An unfinished write at the end of the newest segment. Never acknowledged; the next start cuts it off.
    Torn,
    /// A segment whose creation was cut short; it never held a record. The next start removes it.
    Unfinished,
    /// A segment that was given up for a later one. The next start moves it aside.
    GivenUp,
    /// Damage that was found before: counted and kept aside then.
    Known,
    /// An index that is not whole, of another version or another segment's. It is no part of the journal: the daemon
    /// makes it anew.
    Index,
    /// A footer that is not whole. It says nothing that the records do not; `repair` writes it anew.
    Footer,
    /// A segment that its successor names, and that is not there.
    Gone,
    /// Records that had been flushed, and cannot be read.
    Rot,
    /// A whole segment that cannot be read: its header is damaged, or not its own.
    Header,
}

impl Sort {
    /// Whether acknowledged events are lost, or the file is not what it was, and nobody has been told of it yet.
    pub fn is_rot(self) -> bool {
        matches!(self, Self::Footer | Self::Gone | Self::Rot | Self::Header)
    }

    /// For people and scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Unfinished => "unfinished",
            Self::GivenUp => "given_up",
            Self::Known => "known",
            Self::Index => "index",
            Self::Footer => "footer",
            Self::Gone => "gone",
            Self::Rot => "rot",
            Self::Header => "header",
        }
    }
}

/// One stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The segment's file name.
    pub file: String,
    /// What it is.
    pub sort: Sort,
    /// First byte, and the byte after the last.
    pub bytes: (u64, u64),
    /// Position of the first record that stood there.
    pub first: u64,
    /// How many records stood there; 0 where that is not known.
    pub lost: u64,
}

/// What was looked at, and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalCheck {
    /// Segments.
    pub segments: u64,
    /// Good records.
    pub records: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// In order.
    pub findings: Vec<Finding>,
}

impl JournalCheck {
    /// Whether nothing is wrong that nobody was told of.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|finding| finding.sort.is_rot())
    }
}

/// A segment as it lies there.
struct Lying {
    base: u64,
    file: Arc<dyn DiskFile>,
    size: u64,
    /// `None`: damaged.
    header: Option<Header>,
}

fn store(dir: &Path) -> Store {
    Store { disk: Arc::new(RealDisk) as Arc<dyn Disk>, dir: dir.to_owned() }
}

fn failed(what: &str, path: &Path, error: io::Error) -> JournalError {
    JournalError::Io { what: format!("{what} {}", path.display()), error }
}

/// The segments, in order.
fn gather(store: &Store, write: bool) -> Result<Vec<Lying>, JournalError> {
    let names = store.disk.list(&store.dir).map_err(|error| failed("cannot list", &store.dir, error))?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| format::segment_base(name)).collect();
    bases.sort_unstable();
    let mut all = Vec::new();
    for base in bases {
        let path = store.path(base);
        let file = match store.disk.open(&path, write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // retention deletes while we look
            opened => opened.map_err(|error| failed("cannot open", &path, error))?,
        };
        let size = file.size().map_err(|error| failed("cannot read", &path, error))?;
        let header = match segment::read_header(&*file) {
            Ok(HeaderState::Good(header)) => Some(header).filter(|header| header.base == base),
            Ok(HeaderState::Newer(version)) => {
                let why = format!("format version {version} is newer than this build's, {}", format::VERSION);
                return Err(JournalError::Format { path: path.display().to_string(), why });
            }
            Ok(HeaderState::Damaged) | Err(_) => None,
        };
        all.push(Lying { base, file, size, header });
    }
    Ok(all)
}

/// Looks at every byte of a journal's segments. `progress` hears how many bytes are done, of how many.
///
/// # Errors
/// The folder cannot be read, or a later version wrote a segment.
pub fn verify(dir: &Path, mut progress: impl FnMut(u64, u64)) -> Result<JournalCheck, JournalError> {
    let store = store(dir);
    let lying = gather(&store, false)?;
    let total = lying.iter().map(|one| one.size).sum();
    let mut verified = JournalCheck { segments: lying.len() as u64, bytes: total, ..JournalCheck::default() };
    let mut done = 0;
    for (at, one) in lying.iter().enumerate() {
        progress(done, total);
        let next = lying.get(at + 1..).unwrap_or_default().iter().find_map(|next| next.header.as_ref());
        let is_last = at + 1 == lying.len();
        let (records, findings) =
            look(one, next, is_last).map_err(|error| failed("cannot read", &store.path(one.base), error))?;
        verified.records += records;
        verified.findings.extend(missing(&store, &lying, at));
        verified.findings.extend(findings);
        verified.findings.extend(damaged_index(&store, one));
        done += one.size;
    }
    progress(total, total);
    Ok(verified)
}

/// What a segment's predecessor held, where that is not there although an older one is: retention takes the oldest
/// first. Known is what lies in `quarantine/`, whole or as a note.
fn missing(store: &Store, lying: &[Lying], at: usize) -> Option<Finding> {
    let before = lying.get(at)?.header.as_ref()?.before;
    let older = lying.get(..at).unwrap_or_default();
    if before.base == 0
        || older.iter().all(|one| one.base > before.base)
        || older.iter().any(|one| one.base == before.base)
    {
        return None;
    }
    let file = format::segment_name(before.base);
    let sort = if aside::knows(&*store.disk, &store.dir, &file) { Sort::Known } else { Sort::Gone };
    let lost = before.end.saturating_sub(before.base);
    Some(Finding { file, sort, bytes: (0, before.bytes), first: before.base, lost })
}

fn look(one: &Lying, next: Option<&Header>, is_last: bool) -> io::Result<(u64, Vec<Finding>)> {
    let file = format::segment_name(one.base);
    let finding = |sort, bytes, first, lost| Finding { file: file.clone(), sort, bytes, first, lost };
    let Some(header) = &one.header else {
        let sort = if is_last && one.size <= RECORDS_AT { Sort::Unfinished } else { Sort::Header };
        let after = next.map(|next| next.before).filter(|before| before.base == one.base);
        let lost = after.map_or(0, |after| after.end.saturating_sub(one.base));
        return Ok((0, vec![finding(sort, (0, one.size), one.base, lost)]));
    };
    if next.is_some_and(|next| one.base > next.before.base) {
        return Ok((0, vec![finding(Sort::GivenUp, (0, one.size), one.base, 0)]));
    }
    let stated = next.map(|next| next.before).filter(|before| before.base == one.base);
    let judged = judge(one, header, stated)?;
    let mut findings = Vec::new();
    for (sort, damage) in &judged.damage {
        findings.push(finding(*sort, (damage.from, damage.to), damage.first, damage.lost));
    }
    if !judged.footer_is_whole && judged.was_sealed {
        findings.push(finding(Sort::Footer, (judged.summary.end, one.size), judged.summary.next, 0));
    }
    Ok((judged.summary.records, findings))
}

/// The index of a sealed segment, where there is one that is not whole.
fn damaged_index(store: &Store, one: &Lying) -> Option<Finding> {
    let file = index_name(one.base);
    let size = store.disk.open(&store.dir.join(&file), false).and_then(|file| file.size());
    let size = match size {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        size => size.unwrap_or(0),
    };
    let header = one.header.as_ref()?;
    let (summary, _) = segment::read_core(&*one.file, header).ok()??;
    let of = Of { salt: header.salt, base: one.base, next: summary.next, end: summary.end };
    let index = Index::open(&*store.disk, &store.dir.join(&file), &of);
    let finding = Finding { file, sort: Sort::Index, bytes: (0, size), first: one.base, lost: 0 };
    (!index.is_some_and(|index| index.is_whole())).then_some(finding)
}

/// A segment's records, and what is wrong among them.
struct Judged {
    /// As its footer should say it, damage included.
    summary: Summary,
    damage: Vec<(Sort, Damage)>,
    /// Whether there is, or must have been, a footer.
    was_sealed: bool,
    footer_is_whole: bool,
}

fn judge(one: &Lying, header: &Header, stated: Option<Before>) -> io::Result<Judged> {
    let agrees = |s: &Summary| stated.is_none_or(|after| (after.end, after.bytes) == (s.next, s.end));
    let core = segment::read_core(&*one.file, header)?.filter(|(summary, _)| agrees(summary));
    let footer_is_whole = match &core {
        Some((summary, trailer)) => segment::read_fingerprints(&*one.file, &mut summary.clone(), trailer)?,
        None => false,
    };
    // Where it must end: its footer says so, or its successor.
    let end = core.as_ref().map(|(summary, _)| (summary.next, summary.end));
    let end = end.or(stated.map(|after| (after.end, after.bytes)));
    let known: Vec<Damage> = core.iter().flat_map(|(summary, _)| summary.damage.clone()).collect();
    let is_known = |damage: &Damage| known.iter().any(|known| known.from <= damage.from && damage.to <= known.to);
    let found = scan(&*one.file, header, end.map_or(one.size, |(_, bytes)| bytes))?;
    let mut summary = found.summary;
    let mut all = Vec::new();
    if let Some((next, bytes)) = end {
        if (summary.next, summary.end) != (next, bytes) {
            let from = found.rest.unwrap_or(summary.end);
            let lost = next.saturating_sub(summary.next);
            summary.damage.push(Damage { from, to: bytes, first: summary.next, lost });
            (summary.next, summary.end) = (next, bytes);
        }
        for damage in &summary.damage {
            all.push((if is_known(damage) { Sort::Known } else { Sort::Rot }, *damage));
        }
    } else {
        for damage in &summary.damage {
            all.push((if damage.first >= found.last_batch { Sort::Torn } else { Sort::Rot }, *damage));
        }
        let rest = found.rest.map(|from| (from, written_end(&*one.file, from, one.size)));
        if let Some((from, to)) = rest.filter(|(from, to)| from < to) {
            all.push((Sort::Torn, Damage { from, to, first: summary.next, lost: 0 }));
        }
    }
    // Without a mark of one there never was a footer: housekeeping, or the next start, is yet to write it.
    let was_sealed = core.is_some() || (stated.is_some() && has_mark(one, end.map_or(one.size, |(_, bytes)| bytes))?);
    Ok(Judged { summary, damage: all, was_sealed, footer_is_whole })
}

/// Whether a footer begins behind the records, or one ends at the end of the file.
fn has_mark(one: &Lying, end: u64) -> io::Result<bool> {
    let mut first = [0; FOOTER_MAGIC.len()];
    let mut last = [0; TRAILER];
    read_full(&*one.file, &mut first, end)?;
    read_full(&*one.file, &mut last, one.size.saturating_sub(TRAILER as u64).max(end))?;
    Ok(first == FOOTER_MAGIC || last.windows(FOOTER_MAGIC.len()).any(|part| part == FOOTER_MAGIC))
}

/// Mends a journal: removes damaged indexes, copies what is damaged to `quarantine/`, writes footers that say so, and
/// does what a start would do
/// (cuts unfinished writes, moves aside what cannot be used). No good record is touched.
///
/// # Errors
/// [`JournalError::Locked`] where a daemon has it; where a segment cannot be read or written.
pub fn repair(dir: &Path, now: i64) -> Result<(Vec<Finding>, Recovered), JournalError> {
    let _lock = Lock::take(dir)?;
    let store = store(dir);
    let lying = gather(&store, true)?;
    let mut mended = Vec::new();
    for (at, one) in lying.iter().enumerate() {
        let next = lying.get(at + 1..).unwrap_or_default().iter().find_map(|next| next.header.as_ref());
        if let Some(gone) = missing(&store, &lying, at).filter(|gone| gone.sort == Sort::Gone) {
            aside::note(&*store.disk, dir, &gone.file).map_err(|error| failed("cannot note in", dir, error))?;
            mended.push(gone);
        }
        if let Some(index) = damaged_index(&store, one) {
            let path = store.dir.join(&index.file);
            store.disk.unlink(&path).map_err(|error| failed("cannot remove", &path, error))?;
            mended.push(index);
        }
        let Some(header) = &one.header else { continue }; // a start moves it aside
        let stated = next.map(|next| next.before).filter(|before| before.base == one.base);
        if next.is_some_and(|next| one.base > next.before.base) {
            continue;
        }
        let path = store.path(one.base);
        let unreadable = |error| failed("cannot mend", &path, error);
        let judged = judge(one, header, stated).map_err(unreadable)?;
        let is_hurt = judged.damage.iter().any(|(sort, _)| *sort == Sort::Rot) || !judged.footer_is_whole;
        // What has no footer and no successor is the newest: a start knows best where it ends.
        if !judged.was_sealed || !is_hurt {
            continue;
        }
        let file = format::segment_name(one.base);
        for (sort, damage) in judged.damage.iter().filter(|(sort, _)| *sort == Sort::Rot) {
            let bytes = (damage.from, damage.to);
            aside::copy(&*store.disk, dir, &file, &*one.file, bytes).map_err(unreadable)?;
            let (first, lost) = (damage.first, damage.lost);
            mended.push(Finding { file: file.clone(), sort: *sort, bytes, first, lost });
        }
        if !judged.footer_is_whole {
            let (bytes, first) = ((judged.summary.end, one.size), judged.summary.next);
            mended.push(Finding { file, sort: Sort::Footer, bytes, first, lost: 0 });
        }
        let footer = judged.summary.encode(header.salt);
        segment::seal(&*one.file, judged.summary.end, &footer).map_err(|error| unreadable(error.into()))?;
    }
    let opened = recovery::open(&store, now)?;
    Ok((mended, opened.recovered))
}

/// One segment's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStat {
    /// Its file name.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// First position, and the one after the last.
    pub positions: (u64, u64),
    /// Good records.
    pub records: u64,
    /// Oldest and newest time, microseconds.
    pub times: Option<(i64, i64)>,
    /// Whether it has its footer.
    pub sealed: bool,
    /// Bytes of its index, where that is there.
    pub index: Option<u64>,
    /// Events by source and type.
    pub counts: Vec<(String, String, u64)>,
}

/// What every segment holds, from its footer where it has one. Segments that cannot be read are left out; [`verify`]
/// has them.
///
/// # Errors
/// As [`verify`].
pub fn stat(dir: &Path) -> Result<Vec<SegmentStat>, JournalError> {
    let store = store(dir);
    let mut all = Vec::new();
    for one in gather(&store, false)? {
        let Some(header) = &one.header else { continue };
        let unreadable = |error| failed("cannot read", &store.path(one.base), error);
        let core = segment::read_core(&*one.file, header).map_err(unreadable)?;
        let sealed = core.is_some();
        let summary = match core {
            Some((summary, _)) => summary,
            None => scan(&*one.file, header, one.size).map_err(unreadable)?.summary,
        };
        let index = store.disk.open(&store.dir.join(index_name(one.base)), false).and_then(|file| file.size()).ok();
        let mut counts: Vec<_> =
            summary.counts().map(|(source, kind, n)| (source.to_string(), kind.to_string(), n)).collect();
        counts.sort_unstable();
        all.push(SegmentStat {
            file: format::segment_name(one.base),
            bytes: one.size,
            positions: (summary.base, summary.next),
            records: summary.records,
            times: summary.times,
            sealed,
            index,
            counts,
        });
    }
    Ok(all)
}
