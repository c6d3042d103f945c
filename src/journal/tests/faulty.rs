//! A disk that keeps a log of what is done to it and does what a test tells it: fail, write half, hang, be full.
//! The files are real ones, in the test's folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::journal::JournalError;
use crate::journal::disk::{Disk, DiskFile, FolderLock, Identity, RealDisk};

/// One operation; files by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create(String),
    /// Not in the log.
    Read(String, u64, usize),
    Write(String, u64, usize),
    Sync(String),
    SyncDir,
    Unlink(String),
    Rename(String),
    Truncate(String, u64),
}

impl Op {
    fn is_of_index(&self) -> bool {
        match self {
            Self::Create(name) | Self::Sync(name) | Self::Unlink(name) | Self::Rename(name) => name.contains(".index"),
            Self::Read(name, ..) | Self::Write(name, ..) | Self::Truncate(name, _) => name.contains(".index"),
            Self::SyncDir => false,
        }
    }
}

/// What happens instead of the operation.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// It fails with this errno.
    Fail(i32),
    /// A write writes half of its bytes, then fails with this errno.
    Half(i32),
    /// It waits until `release`, then goes on.
    Hang,
}

pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

struct Rule {
    matches: Box<dyn Fn(&Op) -> bool + Send>,
    times: usize,
    act: Act,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    log: Vec<Op>,
    hanging: usize,
    released: bool,
}

pub struct FaultyDisk {
    state: Mutex<State>,
    changed: Condvar,
    pub free: AtomicU64,
    /// Whether rules and log are also about the files of indexes: these come when they come, in the background.
    pub indexes: AtomicBool,
    /// How often the folder can still not be listed.
    pub unlistable: AtomicUsize,
}

const LONG: Duration = Duration::from_secs(60);

impl FaultyDisk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            free: AtomicU64::new(u64::MAX),
            indexes: AtomicBool::new(false),
            unlistable: AtomicUsize::new(0),
        })
    }

    /// The next `times` operations that match do `act`.
    pub fn on(&self, times: usize, act: Act, matches: impl Fn(&Op) -> bool + Send + 'static) {
        let mut state = self.state.lock().unwrap();
        state.released = false;
        state.rules.push(Rule { matches: Box::new(matches), times, act });
    }

    /// The operations since the last call.
    pub fn log(&self) -> Vec<Op> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// Waits until an operation hangs.
    pub fn until_hanging(&self) {
        let state = self.state.lock().unwrap();
        let (_state, late) = self.changed.wait_timeout_while(state, LONG, |s| s.hanging == 0).unwrap();
        assert!(!late.timed_out(), "nothing hangs");
    }

    /// Lets go whatever hangs, and what would.
    pub fn release(&self) {
        self.state.lock().unwrap().released = true;
        self.changed.notify_all();
    }

    fn before(&self, op: Op) -> Option<Act> {
        if op.is_of_index() && !self.indexes.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state.lock().unwrap();
        if !matches!(op, Op::Read(..)) {
            state.log.push(op.clone());
        }
        let rule = state.rules.iter_mut().find(|rule| rule.times > 0 && (rule.matches)(&op))?;
        rule.times -= 1;
        let act = rule.act;
        if matches!(act, Act::Hang) {
            state.hanging += 1;
            self.changed.notify_all();
            let mut state = self.changed.wait_timeout_while(state, LONG, |s| !s.released).unwrap().0;
            state.hanging -= 1;
            return None;
        }
        Some(act)
    }

    fn act(&self, op: Op) -> io::Result<()> {
        match self.before(op) {
            Some(Act::Fail(errno) | Act::Half(errno)) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    fn wrap(self: &Arc<Self>, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { disk: Arc::clone(self), name: name(path), file })
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

struct FaultyFile {
    disk: Arc<FaultyDisk>,
    name: String,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.act(Op::Read(self.name.clone(), offset, buf.len()))?;
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.disk.before(Op::Write(self.name.clone(), offset, bytes.len())) {
            None | Some(Act::Hang) => self.file.write_at(bytes, offset),
            Some(Act::Fail(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Act::Half(errno)) => {
                self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.act(Op::Sync(self.name.clone()))?;
        self.file.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.act(Op::Truncate(self.name.clone(), len))?;
        self.file.truncate(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn identity(&self) -> io::Result<Identity> {
        self.file.identity()
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.file.is_linked()
    }
}

/// The disk as the journal gets it.
pub struct Handle(pub Arc<FaultyDisk>);

impl Disk for Handle {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.act(Op::Create(name(path)))?;
        Ok(self.0.wrap(path, RealDisk.create(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.0.wrap(path, RealDisk.open(path, write)?))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.0.act(Op::Unlink(name(path)))?;
        RealDisk.unlink(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.act(Op::Rename(name(from)))?;
        RealDisk.rename(from, to)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.act(Op::SyncDir)?;
        RealDisk.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let fails = |left: usize| left.checked_sub(1);
        if self.0.unlistable.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
            return Err(io::Error::other("it cannot be listed"));
        }
        RealDisk.list(dir)
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.0.free.load(Ordering::Relaxed))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        RealDisk.identity(path)
    }

    fn lock(&self, dir: &Path) -> Result<FolderLock, JournalError> {
        RealDisk.lock(dir)
    }
}

/// The segments in a folder, oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "segment"));
    paths.sort();
    paths
}
