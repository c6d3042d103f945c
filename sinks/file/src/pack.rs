//! Compresses rotated files in the background: one task at most, one file at a time, safe against a crash at any point.
//!
//! A file is compressed to `<name>.zst~`, flushed, announced in the manifest, renamed to `<name>.zst`, its folder
//! flushed, and only then is the original deleted. Whatever is left of a broken attempt is removed when the sink is
//! opened; a file that could not be compressed is tried again after the next rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::manifest::{Entry, Manifest, State};
use crate::open::{remove, sync_folder};

/// zstd's own default: about three quarters of the best ratio at a small part of its cost.
const LEVEL: i32 = 3;
/// Bytes compressed between two looks at whether to stop.
const PIECE: usize = 256 << 10;

/// What the writer and the background share.
pub(crate) struct Packer {
    /// Name of the sink, for the log.
    pub(crate) sink: String,
    /// Where relative paths begin.
    pub(crate) base: PathBuf,
    manifest: Mutex<Manifest>,
    due: AtomicBool,
    stop: AtomicBool,
}

impl Packer {
    pub(crate) fn new(sink: String, base: PathBuf, manifest: Manifest) -> Arc<Self> {
        let (due, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { sink, base, manifest: Mutex::new(manifest), due, stop })
    }

    /// The manifest. Held for as short as can be.
    pub(crate) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to compress.
    pub(crate) fn set_due(&self) {
        self.due.store(true, Ordering::Release);
    }

    /// Whether [`Self::run`] has something to do.
    pub(crate) fn is_due(&self) -> bool {
        self.due.load(Ordering::Acquire)
    }

    /// Ends [`Self::run`] soon; the file that is being compressed stays uncompressed.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Compresses every rotated file.
    pub(crate) fn run(&self) {
        while self.due.swap(false, Ordering::AcqRel) {
            let rotated: Vec<(String, Entry)> = self
                .manifest()
                .entries()
                .filter(|(_, e)| e.state == State::Rotated)
                .map(|(p, e)| (p.to_owned(), e))
                .collect();
            for (path, entry) in rotated {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                if let Err(error) = self.pack(&path, entry) {
                    tracing::warn!(sink = self.sink, %error, "a rotated file could not be compressed, will try again");
                }
            }
        }
    }

    fn pack(&self, path: &str, entry: Entry) -> io::Result<()> {
        let original = self.base.join(path);
        let packed = format!("{path}.zst");
        let (temporary, target) = (self.base.join(temporary(path)), self.base.join(&packed));
        match self.compress(&original, &temporary) {
            Ok(true) => {}
            Ok(false) => return remove(&temporary),
            // Deleted behind our back: retention forgets it.
            Err(e) if e.kind() == ErrorKind::NotFound => return remove(&temporary),
            Err(e) => return remove(&temporary).and(Err(e)),
        }
        // From here on no deletion by retention comes in between.
        let mut manifest = self.manifest();
        if manifest.get(path).is_none_or(|e| e.state != State::Rotated) {
            return remove(&temporary);
        }
        manifest.record(&[(packed, Some(Entry { state: State::Packed, ..entry }))])?;
        std::fs::rename(&temporary, &target)?;
        if let Some(folder) = target.parent() {
            sync_folder(folder)?;
        }
        remove(&original)?;
        manifest.record(&[(path.to_owned(), None)])
    }

    /// `false` where it was stopped half-way.
    fn compress(&self, from: &Path, to: &Path) -> io::Result<bool> {
        let mut original = File::open(from)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
        let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
        encoder.include_checksum(true)?;
        let mut piece = vec![0; PIECE];
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Ok(false);
            }
            let n = original.read(&mut piece)?;
            if n == 0 {
                break;
            }
            encoder.write_all(piece.get(..n).unwrap_or_default())?;
        }
        let file = encoder.finish()?;
        // The packed file is as old as its lines: retention goes by this.
        file.set_modified(original.metadata()?.modified()?)?;
        file.sync_all()?;
        Ok(true)
    }
}

/// Name under which a file is being compressed. No rendered value has a `~`.
pub(crate) fn temporary(path: &str) -> String {
    format!("{path}.zst~")
}
