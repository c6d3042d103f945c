//! The open files: lines written and flushed, a failed write cut back, full files put aside. All of it blocks; one
//! batch at a time.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;
use sink_api::line::Format;
use sink_api::{Batch, Delivery, DiskFloor, Escape, Outcome, Report, Timestamp, Yielder, line};

use crate::config::{Compress, FileConfig, PATH, Sync};
use crate::env::Env;
use crate::manifest::{Change, Entry, State};
use crate::open::{OpenFile, create, cut_torn_line, existing, move_tail_aside, nearest_folder, sync_folder};
use crate::pack::Packer;
use crate::steps::{Group, steps};
use crate::verdict::FileError;

/// Longest file name: what file systems take (255), less room for `.<timestamp>-<n>`, `.zst~` and `.foreign-tail-<n>`.
const MAX_NAME: usize = 255 - 40;
/// Files of one name put aside within one second.
const MAX_SAME_SECOND: usize = 10_000;
/// What a line adds to its payload, about.
const LINE_OVERHEAD: usize = 320;
/// Lines are rendered and written in pieces of about so many bytes, however large the batch: sinks at work at the same
/// time take no more memory than that. Where files are put aside by size the lines of a file are one piece, as their
/// size must be known before.
const PIECE: usize = 128 << 10;
/// Largest buffer kept from one batch for the next.
const MAX_SPARE: usize = 2 * PIECE;

/// The files of one sink.
pub(crate) struct Store {
    pub(crate) config: Arc<FileConfig>,
    pub(crate) env: Env,
    /// The constant folder.
    pub(crate) root: PathBuf,
    pub(crate) packer: Arc<Packer>,
    pub(crate) open: LruCache<String, OpenFile>,
    /// When retention last had a look.
    pub(crate) swept: Option<Timestamp>,
    /// Whether a file was put aside since.
    pub(crate) rotated: bool,
    floor: DiskFloor,
    /// The buffer of an earlier batch's lines, kept because fresh memory costs a page fault every four lines.
    spare: Vec<u8>,
    /// Keeps a second instance away from the manifest.
    lock: File,
}

/// One group on its way.
struct Job<'b> {
    path: &'b str,
    /// Places in the batch that are not rendered yet.
    left: &'b [usize],
    /// Lines that are rendered and not written.
    lines: Vec<u8>,
    /// In the batch's order: places whose line was rendered, and places rejected for what they are.
    verdicts: Vec<(usize, Option<Outcome>)>,
    /// Keys with a line that was rejected.
    stopped: HashSet<&'b str>,
    /// Where the file ended before, once something was written.
    start: Option<u64>,
    result: Result<(), FileError>,
}

/// What stands between a job and its file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// Nothing.
    Yes,
    /// The file is somebody else's so far: the manifest must list it as ours, too.
    Adopt,
    /// The manifest must list the file, then it is made.
    Create,
}

impl Store {
    pub(crate) fn new(config: FileConfig, env: Env, floor: DiskFloor, packer: Arc<Packer>, lock: File) -> Self {
        // Without the last slash, with which the system would insist on a folder.
        let root = packer.base.join(config.root()).components().collect();
        let open = LruCache::new(NonZeroUsize::new(config.max_open).unwrap_or(NonZeroUsize::MIN));
        Self {
            config: Arc::new(config),
            env,
            root,
            packer,
            open,
            swept: None,
            rotated: false,
            floor,
            spare: Vec::new(),
            lock,
        }
    }

    /// Writes a batch and says what became of each line.
    pub(crate) fn write(&mut self, batch: &Batch) -> Report {
        if self.floor_reached() {
            self.sweep(&HashSet::new());
            return Report::all(batch, &FileError::Floor.outcome());
        }
        let mut report = Report::open(batch);
        let mut busy = HashSet::new();
        let config = Arc::clone(&self.config);
        for step in steps(batch, |delivery| path_of(&config, delivery)) {
            for groups in step.chunks(self.open.cap().get()) {
                self.write_files(batch, groups, &mut report);
                busy.extend(groups.iter().map(|g| g.path.as_ref().to_owned()));
            }
        }
        self.sweep(&busy);
        report
    }

    /// Closes every file, so that another instance can open them at once.
    pub(crate) fn let_go(&mut self) {
        self.open.clear();
        // Where it fails, the lock goes with the file.
        let _ = self.lock.unlock();
    }

    /// Whether less than `min_free` is left.
    pub(crate) fn floor_reached(&self) -> bool {
        self.floor.reached(nearest_folder(&self.root))
    }

    /// A rendered path as a real one.
    pub(crate) fn full(&self, path: &str) -> PathBuf {
        self.packer.base.join(path)
    }

    /// At most `max_open` files: all written, then all flushed, so that the disk can take them together.
    fn write_files(&mut self, batch: &Batch, groups: &[Group<'_>], report: &mut Report) {
        let piece = self.config.rotate.as_ref().and_then(|rotate| rotate.size).map_or(PIECE, |_| usize::MAX);
        let format = self.config.format;
        let mut jobs: Vec<Job<'_>> =
            groups.iter().map(|group| Job::new(group, std::mem::take(&mut self.spare))).collect();
        jobs.iter_mut().for_each(|job| job.render(piece, format, batch, report));
        self.make_ready(&mut jobs);
        for job in jobs.iter_mut().filter(|job| job.goes_on()) {
            job.result = self.append_all(job, piece, format, batch, report);
        }
        if self.config.sync == Sync::Always {
            for job in jobs.iter_mut().filter(|job| job.goes_on()) {
                job.result = self.flush(job.path, job.start.unwrap_or_default());
            }
        }
        for job in jobs {
            let lines = job.settle(batch, report);
            if (self.spare.capacity()..=MAX_SPARE).contains(&lines.capacity()) {
                self.spare = lines;
            }
        }
    }

    /// Opens or makes every job's file; new names go to the manifest first, all in one flush.
    fn make_ready(&mut self, jobs: &mut [Job<'_>]) {
        let mut waiting: Vec<(usize, Ready)> = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        let begun = self.env.now();
        for (n, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.goes_on()) {
            match self.ready(job.path, job.lines.len() as u64) {
                Ok(Ready::Yes) => {}
                Ok(ready) => {
                    changes.push((job.path.to_owned(), Some(Entry { state: State::Open, begun })));
                    waiting.push((n, ready));
                }
                Err(error) => job.result = Err(error),
            }
        }
        let failed = self.packer.manifest().record(&changes).err();
        for (n, ready) in waiting {
            let Some(job) = jobs.get_mut(n) else { continue };
            job.result = match &failed {
                Some(error) => Err(FileError::io("writing the manifest")(same_error(error))),
                None if ready == Ready::Create => self.create(job.path),
                None => Ok(()),
            };
        }
    }

    /// Looks at the file behind a path, which is about to grow, and opens it or puts it aside as need be.
    fn ready(&mut self, path: &str, grow: u64) -> Result<Ready, FileError> {
        if file_name(path).len() > MAX_NAME {
            return Err(FileError::LongName(MAX_NAME));
        }
        let entry = self.packer.manifest().get(path);
        if entry.is_some_and(|e| e.state != State::Open) {
            return Err(FileError::Rotated);
        }
        let full = self.full(path);
        // The path may have come to mean another file, or none: moved or deleted behind our back.
        let mut len = 0;
        let now_there = match full.metadata() {
            Ok(meta) => {
                len = meta.len();
                Some((meta.dev(), meta.ino()))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => {
                self.open.pop(path);
                return Err(FileError::Open(e));
            }
        };
        if self.open.get(path).map(|f| f.id) != now_there {
            self.open.pop(path);
        }
        if let Some(open) = self.open.peek(path).filter(|open| open.is_meddled_with(len)) {
            self.keep_foreign_tail(&open.file, &full)?;
        }
        if self.open.peek(path).is_none() {
            let Some(file) = existing(&full)? else { return Ok(Ready::Create) };
            match entry {
                Some(_) => {
                    cut_torn_line(&file.file).map_err(FileError::io("cutting a torn line"))?;
                }
                None => self.keep_foreign_tail(&file.file, &full)?,
            }
            self.open.push(path.to_owned(), file);
        }
        match entry {
            None => Ok(Ready::Adopt),
            Some(entry) if self.is_full(path, entry, grow)? => {
                self.put_aside(path, entry)?;
                Ok(Ready::Create)
            }
            Some(_) => Ok(Ready::Yes),
        }
    }

    fn keep_foreign_tail(&self, file: &File, full: &Path) -> Result<(), FileError> {
        let aside = move_tail_aside(file, full).map_err(FileError::io("moving a foreign tail aside"))?;
        if let Some(aside) = aside {
            let (sink, tail) = (&self.packer.sink, aside.display());
            tracing::warn!(sink, %tail, "moved an unfinished last line of somebody else aside");
        }
        Ok(())
    }

    fn create(&mut self, path: &str) -> Result<(), FileError> {
        match create(&self.root, &self.full(path)) {
            Ok(file) => {
                self.open.push(path.to_owned(), file);
                Ok(())
            }
            Err(error) => {
                // Best effort: a name that is listed and not there is harmless and forgotten in time.
                let _ = self.packer.manifest().record(&[(path.to_owned(), None)]);
                Err(error)
            }
        }
    }

    /// Whether the file is to be put aside before it grows.
    fn is_full(&self, path: &str, entry: Entry, grow: u64) -> Result<bool, FileError> {
        let (Some(rotate), Some(open)) = (&self.config.rotate, self.open.peek(path)) else { return Ok(false) };
        let len = open.file.metadata().map_err(FileError::io("reading the file's size"))?.len();
        let len = open.cut_to.map_or(len, |cut| cut.min(len));
        let too_large = rotate.size.is_some_and(|max| len.saturating_add(grow) > max.0);
        let span_over = rotate.every.is_some_and(|every| {
            let seconds = i64::try_from(every.0.as_secs()).unwrap_or(i64::MAX).max(1);
            let span = |t: Timestamp| t.as_second().div_euclid(seconds);
            span(entry.begun) != span(self.env.now())
        });
        Ok(len > 0 && (too_large || span_over))
    }

    /// Gives the file its rotated name. The manifest lists the new name before the file has it, and the old one until
    /// the file has lost it.
    fn put_aside(&mut self, path: &str, entry: Entry) -> Result<(), FileError> {
        if let Some((cut, open)) = self.open.get(path).and_then(|open| open.cut_to.map(|cut| (cut, open))) {
            open.file.set_len(cut).map_err(FileError::io("cutting the file back"))?;
        }
        let aside = self.unused_name(path)?;
        let record =
            |changes: &[Change]| self.packer.manifest().record(changes).map_err(FileError::io("writing the manifest"));
        record(&[(aside.clone(), Some(Entry { state: State::Rotated, ..entry }))])?;
        let full = self.full(path);
        if let Err(error) = fs::rename(&full, self.full(&aside)) {
            // Best effort, as in `create`.
            let _ = record(&[(aside, None)]);
            return Err(FileError::io("renaming the file")(error));
        }
        let synced = sync_folder(full.parent().unwrap_or(&self.root)).map_err(FileError::io("flushing the folder"));
        self.open.pop(path);
        synced?;
        self.packer.manifest().record(&[(path.to_owned(), None)]).map_err(FileError::io("writing the manifest"))?;
        self.rotated = true;
        if self.config.rotate.as_ref().is_some_and(|r| r.compress == Compress::Zstd) {
            self.packer.set_due();
        }
        Ok(())
    }

    /// `<stem>.<UTC timestamp>-<n>.<ext>`, with an `n` that is not in use.
    fn unused_name(&self, path: &str) -> Result<String, FileError> {
        let stamp = self.env.now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let name = file_name(path);
        let folder = path.strip_suffix(name).unwrap_or_default();
        let (stem, ext) = match name.rfind('.') {
            Some(dot) if dot > 0 => name.split_at(dot),
            _ => (name, ""),
        };
        (1..=MAX_SAME_SECOND)
            .map(|n| format!("{folder}{stem}.{stamp}-{n}{ext}"))
            .find(|aside| {
                let used = |p: &str| self.full(p).symlink_metadata().is_ok() || self.packer.manifest().get(p).is_some();
                !used(aside) && !used(&format!("{aside}.zst"))
            })
            .ok_or_else(|| FileError::io("naming the rotated file")(ErrorKind::AlreadyExists.into()))
    }

    /// Appends what is rendered of a job, then the rest, piece by piece. All of it is there, or none.
    fn append_all<'b>(
        &mut self,
        job: &mut Job<'b>,
        piece: usize,
        format: Format,
        batch: &'b Batch,
        report: &Report,
    ) -> Result<(), FileError> {
        while !job.lines.is_empty() {
            match self.append(job.path, &job.lines) {
                Ok(start) => job.start = job.start.or(Some(start)),
                Err(error) => {
                    let written = job.start.zip(self.open.get_mut(job.path));
                    written.into_iter().for_each(|(start, open)| open.cut_back(start));
                    return Err(error);
                }
            }
            if job.left.is_empty() {
                break;
            }
            job.render(piece, format, batch, report);
        }
        Ok(())
    }

    fn append(&mut self, path: &str, lines: &[u8]) -> Result<u64, FileError> {
        let gone = || FileError::io("writing")(ErrorKind::NotFound.into());
        let open = self.open.get_mut(path).ok_or_else(gone)?;
        if let Some(cut) = open.cut_to {
            open.file.set_len(cut).map_err(FileError::io("cutting the file back"))?;
            open.cut_to = None;
        }
        let start = open.file.metadata().map_err(FileError::io("reading the file's size"))?.len();
        match self.env.disk.append(&open.file, lines) {
            Ok(()) => {
                open.len = Some(start + lines.len() as u64);
                Ok(start)
            }
            Err(error) => {
                open.cut_back(start);
                Err(FileError::io("writing")(error))
            }
        }
    }

    fn flush(&mut self, path: &str, start: u64) -> Result<(), FileError> {
        let Some(open) = self.open.get_mut(path) else { return Ok(()) };
        self.env.disk.flush(&open.file).map_err(|error| {
            open.cut_back(start);
            FileError::io("flushing")(error)
        })
    }
}

impl<'b> Job<'b> {
    /// Nothing is rendered; `lines` is a buffer to render into.
    fn new(group: &'b Group<'_>, mut lines: Vec<u8>) -> Self {
        lines.clear();
        let verdicts = Vec::with_capacity(group.at.len());
        Self {
            path: &group.path,
            left: &group.at,
            lines,
            verdicts,
            stopped: HashSet::new(),
            start: None,
            result: Ok(()),
        }
    }

    /// Renders the next lines, about so many bytes, in the place of those before.
    fn render(&mut self, piece: usize, format: Format, batch: &'b Batch, report: &Report) {
        let size = |i: &usize| batch.deliveries.get(*i).map_or(0, |d| d.bytes().len() + LINE_OVERHEAD);
        self.lines.clear();
        self.lines.reserve_exact(self.left.iter().map(size).sum::<usize>().min(piece.saturating_add(piece / 4)));
        let mut yielder = Yielder::default();
        while let Some((&i, left)) = self.left.split_first().filter(|_| self.lines.len() < piece) {
            self.left = left;
            yielder.step();
            let Some(delivery) = batch.deliveries.get(i) else { continue };
            if !report.may_attempt(batch, i) || (batch.ordered && self.stopped.contains(&*delivery.key)) {
                continue;
            }
            let rejected = line::push(&mut self.lines, format, delivery).err();
            if rejected.is_some() {
                self.stopped.insert(&delivery.key);
            }
            self.verdicts.push((i, rejected));
        }
    }

    fn goes_on(&self) -> bool {
        self.result.is_ok() && (self.start.is_some() || !self.lines.is_empty())
    }

    /// Says what became of its lines, and gives back the buffer they are in.
    fn settle(self, batch: &Batch, report: &mut Report) -> Vec<u8> {
        let outcome = self.result.map_or_else(|error| error.outcome(), |()| Outcome::Delivered);
        // Where it failed before all was rendered, the rest shares its fate.
        let rest = self.left.iter().map(|i| (*i, None));
        for (i, rejected) in self.verdicts.into_iter().chain(rest) {
            let outcome = rejected.unwrap_or_else(|| outcome.clone());
            // A line that is written must be reported; anything else of a key that has stopped was not attempted.
            if outcome == Outcome::Delivered || report.may_attempt(batch, i) {
                report.set(batch, i, outcome);
            }
        }
        self.lines
    }
}

/// The file a delivery goes to: the target it was given, unless that lies outside the folder (the template was changed
/// meanwhile); then the one that today's template gives.
fn path_of<'d>(config: &FileConfig, delivery: &'d Delivery) -> Cow<'d, str> {
    match delivery.target.get(PATH) {
        Some(path) if is_inside(config.root(), path) => Cow::Borrowed(path),
        _ => Cow::Owned(config.path.render_lenient(&delivery.event, Escape::Path)),
    }
}

fn is_inside(root: &str, path: &str) -> bool {
    let below = path.strip_prefix(root);
    below.is_some_and(|b| !b.split('/').any(|part| matches!(part, "" | "." | "..")) && !b.contains(char::is_control))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// One failure that is the fate of several files.
fn same_error(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
