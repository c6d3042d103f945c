//! The list of the files that are this sink's. A file is listed before its first byte is written, so that after a crash
//! a torn line in it is known for ours, and so that no other file is ever deleted. Knows names and times, opens none of
//! the files.
//!
//! Format, in `<state folder>/manifest`, UTF-8, one record a line, later records win:
//! ```text
//! hookrelay file sink manifest 1
//! open 2026-01-13T23:05:00Z data/events/a.jsonl          begun then, being written
//! rotated 2026-01-13T23:05:00Z data/events/a.20260114T000000Z-1.jsonl
//! packed 2026-01-13T23:05:00Z data/events/a.20260114T000000Z-1.jsonl.zst
//! gone 2026-01-13T23:05:00Z data/events/a.jsonl          not ours any more (renamed or deleted)
//! ```
//! Paths are as the template renders them (relative ones start at the config file's folder) and hold no control
//! characters. A record is appended and flushed before what it announces is done. A last line without a line feed,
//! wherever in a character it breaks off, was never acted on and is dropped. A line that is not understood is moved to
//! `manifest.damaged` beside it, and a file that the line may have spoken of counts as foreign. The manifest of another
//! version is left as it is, and the sink does not open. The manifest is rewritten (temporary name, rename) when it is
//! opened, and when most of its records are history.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sink_api::Timestamp;

/// Files of ours are never opened through a link, which could lead anywhere.
pub(crate) const NO_LINK: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

const HEADER: &str = "hookrelay file sink manifest 1";
/// What the header of any version begins with.
const ANY_HEADER: &str = "hookrelay file sink manifest ";
/// Records of history that are not worth a rewrite.
const SLACK: usize = 4096;

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// The system's word.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Of another version of this format.
    #[error("is of another version, `{header}`")]
    Version {
        /// Its first line.
        header: String,
    },
}

/// What a file is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Lines are appended to it.
    Open,
    /// Put aside, not compressed.
    Rotated,
    /// Put aside and compressed.
    Packed,
}

/// A file of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) state: State,
    /// When its first line was written.
    pub(crate) begun: Timestamp,
}

/// One record: the file, and what it is from now on (`None`: not ours).
pub(crate) type Change = (String, Option<Entry>);

/// The manifest, open.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    log: File,
    records: usize,
    entries: BTreeMap<String, Entry>,
    damaged: usize,
    /// An append failed: what is on disk behind the last good record is unknown.
    torn: bool,
}

impl Manifest {
    /// Reads, or begins, the manifest in this folder.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub(crate) fn open(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join("manifest");
        let bytes = match read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let Parsed { entries, damaged } = parse(&bytes)?;
        if !damaged.is_empty() {
            set_aside(&folder.join("manifest.damaged"), &damaged)?;
        }
        let log = rewrite(&path, &entries)?;
        Ok(Self { path, log, records: entries.len(), entries, damaged: damaged.len(), torn: false })
    }

    /// Lines that were not understood when it was opened, and were moved to `manifest.damaged`.
    pub(crate) fn damaged(&self) -> usize {
        self.damaged
    }

    /// What that file is to us.
    pub(crate) fn get(&self, path: &str) -> Option<Entry> {
        self.entries.get(path).copied()
    }

    /// All our files.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), *entry))
    }

    /// As if an append had failed.
    #[cfg(test)]
    pub(crate) fn tear(&mut self) {
        self.torn = true;
    }

    /// Takes these changes to disk, then to heart.
    ///
    /// # Errors
    /// Nothing is changed in memory then; on disk any number of the records may stand.
    pub(crate) fn record(&mut self, changes: &[Change]) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if self.torn || self.records > 2 * self.entries.len() + SLACK {
            self.log = rewrite(&self.path, &self.entries)?;
            self.records = self.entries.len();
            self.torn = false;
        }
        let mut text = String::new();
        for (path, entry) in changes {
            push_record(&mut text, path, *entry);
        }
        self.torn = true;
        self.log.write_all(text.as_bytes())?;
        self.log.sync_data()?;
        self.torn = false;
        self.records += changes.len();
        for (path, entry) in changes {
            match entry {
                Some(entry) => self.entries.insert(path.clone(), *entry),
                None => self.entries.remove(path),
            };
        }
        Ok(())
    }
}

fn push_record(text: &mut String, path: &str, entry: Option<Entry>) {
    let (word, begun) = match entry {
        Some(Entry { state: State::Open, begun }) => ("open", begun),
        Some(Entry { state: State::Rotated, begun }) => ("rotated", begun),
        Some(Entry { state: State::Packed, begun }) => ("packed", begun),
        None => ("gone", Timestamp::UNIX_EPOCH),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{word} {begun} {path}");
}

/// What a manifest says, and the lines of it that are not understood.
struct Parsed<'b> {
    entries: BTreeMap<String, Entry>,
    damaged: Vec<&'b [u8]>,
}

fn parse(bytes: &[u8]) -> Result<Parsed<'_>, ManifestError> {
    let mut parsed = Parsed { entries: BTreeMap::new(), damaged: Vec::new() };
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok(parsed) };
    for (i, line) in bytes.get(..end).unwrap_or_default().split(|byte| *byte == b'\n').enumerate() {
        let text = std::str::from_utf8(line).ok();
        match text.and_then(parse_record) {
            Some((path, Some(entry))) => _ = parsed.entries.insert(path, entry),
            Some((path, None)) => _ = parsed.entries.remove(&path),
            None if i == 0 && text == Some(HEADER) => {}
            None => match text.filter(|text| i == 0 && text.starts_with(ANY_HEADER)) {
                Some(header) => return Err(ManifestError::Version { header: header.to_owned() }),
                None => {
                    // It may have said that the file is not ours any more: better to leave one too many alone.
                    parsed.entries.retain(|path, _| !line.ends_with(path.as_bytes()));
                    parsed.damaged.push(line);
                }
            },
        }
    }
    Ok(parsed)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    OpenOptions::new().read(true).custom_flags(NO_LINK).open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds these lines to a file for people, durably.
fn set_aside(path: &Path, lines: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(NO_LINK).open(path)?;
    file.write_all(&[&lines.join(&b'\n'), &b"\n"[..]].concat())?;
    file.sync_all()
}

fn parse_record(record: &str) -> Option<Change> {
    let mut parts = record.splitn(3, ' ');
    let (word, begun) = (parts.next()?, parts.next()?.parse().ok()?);
    let path = parts.next().filter(|path| !path.is_empty())?;
    let state = match word {
        "open" => State::Open,
        "rotated" => State::Rotated,
        "packed" => State::Packed,
        "gone" => return Some((path.to_owned(), None)),
        _ => return None,
    };
    Some((path.to_owned(), Some(Entry { state, begun })))
}

/// Writes the manifest anew, durably, and returns it open for appending.
fn rewrite(path: &Path, entries: &BTreeMap<String, Entry>) -> io::Result<File> {
    let mut text = format!("{HEADER}\n");
    for (file, entry) in entries {
        push_record(&mut text, file, Some(*entry));
    }
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(NO_LINK);
    let mut file = options.open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: State) -> Entry {
        Entry { state, begun: "2026-01-13T23:05:00Z".parse().unwrap() }
    }

    #[test]
    fn what_was_recorded_is_read_back_and_a_torn_record_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path()).unwrap();
        let (a, b) = (entry(State::Open), entry(State::Packed));
        manifest.record(&[("a b".into(), Some(a)), ("b".into(), Some(b)), ("c".into(), Some(a))]).unwrap();
        manifest.record(&[("c".into(), None)]).unwrap();
        drop(manifest);
        let path = dir.path().join("manifest");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}open 2026-01-13T2")).unwrap();
        let manifest = Manifest::open(dir.path()).unwrap();
        assert_eq!(manifest.entries().collect::<Vec<_>>(), [("a b", a), ("b", b)]);
        let golden = "hookrelay file sink manifest 1\nopen 2026-01-13T23:05:00Z a b\npacked 2026-01-13T23:05:00Z b\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), golden);
    }

    const RECORDS: &str = "open 2026-01-13T23:05:00Z a/\u{e9}.jsonl\nopen 2026-01-13T23:05:00Z b\n";

    fn written(dir: &Path, bytes: &[u8]) -> Result<Manifest, ManifestError> {
        fs::write(dir.join("manifest"), bytes).unwrap();
        Manifest::open(dir)
    }

    #[test]
    fn a_manifest_cut_anywhere_opens_with_its_whole_records() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{HEADER}\n{RECORDS}");
        for cut in 0..=text.len() {
            let whole = text.as_bytes()[..cut].iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
            let manifest = written(dir.path(), &text.as_bytes()[..cut]).unwrap();
            assert_eq!((manifest.entries().count(), manifest.damaged()), (whole, 0), "cut at {cut}");
        }
        assert!(!dir.path().join("manifest.damaged").exists());
    }

    #[test]
    fn a_damaged_line_is_set_aside_and_the_others_stand() {
        for damage in [&b"open x y\n"[..], b"", b"\n", b"open 2026-01-13T23:05:00Z \xff\xfe\n", b"\xc3\n"] {
            let dir = tempfile::tempdir().unwrap();
            let bytes = [HEADER.as_bytes(), b"\n", damage, RECORDS.as_bytes()].concat();
            let manifest = written(dir.path(), &bytes).unwrap();
            let names: Vec<&str> = manifest.entries().map(|(path, _)| path).collect();
            assert_eq!(names, ["a/\u{e9}.jsonl", "b"]);
            assert_eq!(manifest.damaged(), usize::from(!damage.is_empty()));
            assert_eq!(fs::read(dir.path().join("manifest.damaged")).unwrap_or_default(), damage);
            drop(manifest);
            assert_eq!(Manifest::open(dir.path()).unwrap().damaged(), 0, "told once");
        }
    }

    #[test]
    fn a_damaged_header_loses_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = written(dir.path(), format!("iookrelay\n{RECORDS}").as_bytes()).unwrap();
        assert_eq!((manifest.entries().count(), manifest.damaged()), (2, 1));
    }

    #[test]
    fn a_file_that_a_damaged_line_may_have_spoken_of_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = format!("{HEADER}\n{RECORDS}gome 2026-01-13T23:05:00Z b\n");
        let manifest = written(dir.path(), bytes.as_bytes()).unwrap();
        assert_eq!((manifest.get("b"), manifest.entries().count(), manifest.damaged()), (None, 1, 1));
    }

    #[test]
    fn the_manifest_of_another_version_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let text = "hookrelay file sink manifest 2\nopen x y\n";
        let error = written(dir.path(), text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("manifest 2"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("manifest")).unwrap(), text);
    }

    #[test]
    fn after_a_failed_append_the_next_one_writes_it_all_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path()).unwrap();
        let a = entry(State::Open);
        manifest.record(&[("a".into(), Some(a))]).unwrap();
        manifest.log = File::open(&manifest.path).unwrap(); // not for writing
        manifest.record(&[("b".into(), Some(a))]).unwrap_err();
        assert_eq!(manifest.get("b"), None);
        manifest.record(&[("c".into(), Some(a))]).unwrap();
        let read = Manifest::open(dir.path()).unwrap();
        assert_eq!(read.entries().collect::<Vec<_>>(), [("a", a), ("c", a)]);
    }

    #[test]
    fn a_link_in_the_place_of_one_of_its_files_is_not_followed() {
        for name in ["manifest", "manifest.new", "manifest.damaged"] {
            let dir = tempfile::tempdir().unwrap();
            let victim = dir.path().join("victim");
            fs::write(&victim, "precious").unwrap();
            if name == "manifest.damaged" {
                fs::write(dir.path().join("manifest"), "not understood\n").unwrap();
            }
            std::os::unix::fs::symlink(&victim, dir.path().join(name)).unwrap();
            Manifest::open(dir.path()).unwrap_err();
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        }
    }

    #[test]
    fn history_does_not_pile_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path()).unwrap();
        let changes: Vec<Change> = (0..SLACK + 3).map(|_| ("a".to_owned(), Some(entry(State::Open)))).collect();
        manifest.record(&changes).unwrap();
        manifest.record(&changes[..1]).unwrap();
        manifest.record(&changes[..1]).unwrap();
        assert!(fs::read_to_string(dir.path().join("manifest")).unwrap().lines().count() < 5);
    }
}
