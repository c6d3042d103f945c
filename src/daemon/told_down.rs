//! Which sinks people were told to be down, kept in the data folder: an alarm that was raised before a restart is ended
//! after it, when the sink takes its next delivery. Best effort: where the file cannot be read or written, the alarm is
//! raised and ended by what this life of the daemon sees.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::journal::folder::NO_LINK;
use crate::news::Kind;

/// The file, and the one that takes its place once it is written.
const FILE: &str = "told-down.json";
const NEW: &str = "told-down.json.new";
/// Most bytes of it that are read.
const MAX_FILE: u64 = 1 << 20;

/// The names of these sinks.
pub(super) struct ToldDown {
    dir: PathBuf,
    sinks: Mutex<BTreeSet<String>>,
}

impl ToldDown {
    /// What an earlier life of the daemon has left in the data folder.
    pub fn read(dir: &Path) -> Self {
        let opened = OpenOptions::new().read(true).custom_flags(NO_LINK).open(dir.join(FILE));
        let sinks = opened.ok().and_then(|file| serde_json::from_reader(file.take(MAX_FILE)).ok()).unwrap_or_default();
        Self { dir: dir.to_owned(), sinks: Mutex::new(sinks) }
    }

    /// Whether that sink is among them.
    pub fn has(&self, sink: &str) -> bool {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).contains(sink)
    }

    /// Takes note of what was told of a sink; says whether that changes anything.
    pub fn note(&self, kind: Kind, sink: &str) -> bool {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            Kind::SinkDown => sinks.insert(sink.to_owned()),
            Kind::SinkUp => sinks.remove(sink),
            _ => false,
        }
    }

    /// Writes the file. Blocks.
    ///
    /// # Errors
    /// It cannot be written; then what was there before still is.
    pub fn keep(&self) -> io::Result<()> {
        let text = {
            let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
            serde_json::to_vec(&*sinks)?
        };
        let new = self.dir.join(NEW);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(NO_LINK).open(&new)?;
        out.write_all(&text)?;
        out.sync_all()?;
        fs::rename(&new, self.dir.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_to_the_next_life_and_a_broken_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let told = ToldDown::read(folder.path());
        assert!(told.note(Kind::SinkDown, "a") && told.note(Kind::SinkDown, "b") && !told.note(Kind::SinkDown, "b"));
        assert!(!told.note(Kind::EventDeadLettered, "c") && !told.note(Kind::SinkUp, "c"));
        told.keep().unwrap();
        let next = ToldDown::read(folder.path());
        assert!(next.has("a") && next.has("b") && !next.has("c") && next.note(Kind::SinkUp, "a"));
        next.keep().unwrap();
        assert!(!ToldDown::read(folder.path()).has("a"));
        fs::write(folder.path().join(FILE), "[\"b\"").unwrap();
        assert!(!ToldDown::read(folder.path()).has("b"));
    }
}
