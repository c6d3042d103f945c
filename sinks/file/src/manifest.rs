//! Which files are this sink's: written before the first byte of a new file is, so that after a crash a torn line is
//! known for ours, and so that nothing else is ever deleted. Knows names and times, opens none of the files.
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
//! characters. A record is appended and flushed before what it announces is done; a last line without a line feed was
//! never acted on and is dropped. The file is rewritten (temporary name, rename) when it is opened and when most of it
//! is history.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sink_api::Timestamp;

const HEADER: &str = "hookrelay file sink manifest 1";
/// Records of history that are not worth a rewrite.
const SLACK: usize = 4096;

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// The system's word.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not of this format.
    #[error("line {line} is not understood")]
    Damaged {
        /// From 1.
        line: usize,
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
        let entries = match fs::read_to_string(&path) {
            Ok(text) => parse(&text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e.into()),
        };
        let log = rewrite(&path, &entries)?;
        Ok(Self { path, log, records: entries.len(), entries, torn: false })
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

fn parse(text: &str) -> Result<BTreeMap<String, Entry>, ManifestError> {
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let mut entries = BTreeMap::new();
    for (i, record) in whole.split('\n').enumerate() {
        if i == 0 {
            // An empty file: made, and the machine stopped before the header was written.
            if record != HEADER && !text.is_empty() {
                return Err(ManifestError::Damaged { line: 1 });
            }
            continue;
        }
        let (path, entry) = parse_record(record).ok_or(ManifestError::Damaged { line: i + 1 })?;
        match entry {
            Some(entry) => entries.insert(path, entry),
            None => entries.remove(&path),
        };
    }
    Ok(entries)
}

fn parse_record(record: &str) -> Option<Change> {
    let mut parts = record.splitn(3, ' ');
    let (word, begun, path) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
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
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
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

    #[test]
    fn damage_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        for (text, at) in [("something else\n", 1), ("hookrelay file sink manifest 1\nopen x y\n", 2)] {
            fs::write(&path, text).unwrap();
            let error = Manifest::open(dir.path()).unwrap_err();
            assert!(matches!(error, ManifestError::Damaged { line } if line == at), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "left as it was");
        }
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
