//! What the journal's two threads and its callers share, and the little that is taken from outside so that tests can
//! give their own: disk, clock, salt.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::config::{JournalConfig, WhenFull};
use super::disk::{Disk, RealDisk};
use super::home::Home;
use super::index::Growing;
use super::queue::Queue;
use super::reader::Cache;
use super::retention::Chores;
use super::segment::Store;
use super::view::View;
use super::writer::AHEAD;
use super::{Cursors, SubjectOf};
use crate::metrics::{Histogram, histograms};

/// What the journal takes from its surroundings.
#[derive(Clone)]
pub struct Env {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Microseconds since 1970, UTC.
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Where a new segment's checksums start from; nobody outside may guess it.
    pub salt: Arc<dyn Fn() -> u32 + Send + Sync>,
    /// Pause before the first new try after a failed write, and the longest one; it doubles in between.
    pub pauses: (Duration, Duration),
    /// Bytes of room made ahead of what is written; 1 MiB at most.
    pub ahead: u64,
    /// What events are about, for lookups.
    pub subject_of: SubjectOf,
}

/// The pauses of [`Env::real`].
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Env {
    /// The machine's own.
    pub fn real(subject_of: SubjectOf) -> Self {
        let (clock, salt) = (Arc::new(now), Arc::new(salt));
        Self { disk: Arc::new(RealDisk), clock, salt, pauses: PAUSES, ahead: AHEAD, subject_of }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn salt() -> u32 {
    // The system seeds this for every process, which is enough against bodies made to look like records.
    RandomState::new().build_hasher().finish() as u32
}

/// The bounds, as the config gives them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub segment_size: u64,
    pub retention: Duration,
    pub max_size: u64,
    pub when_full: WhenFull,
    pub min_free: u64,
}

/// Fewest segments `max_size` is cut into, so that retention has something to delete.
const SEGMENTS_IN_MAX_SIZE: u64 = 4;

impl Limits {
    /// A segment takes at most a quarter of `max_size`, whatever the config says.
    pub fn of(config: &JournalConfig) -> Self {
        Self {
            segment_size: config.segment_size.0.min(config.max_size.0 / SEGMENTS_IN_MAX_SIZE),
            retention: config.retention.0,
            max_size: config.max_size.0,
            when_full: config.when_full,
            min_free: config.min_free.0,
        }
    }
}

/// In the place of a number of bytes.
const NOT_KNOWN: u64 = u64::MAX;

/// What commits cost: a batch is one write and one flush.
#[derive(Clone, Debug)]
pub struct Commits {
    /// How long each took to be on disk, seconds.
    pub seconds: Histogram,
    /// How many records each had.
    pub records: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Self { seconds: histograms::commit_seconds(), records: histograms::together() }
    }
}

/// The first sequence that each holder still needs.
#[derive(Default)]
pub(super) struct Holds {
    /// Of holders that keep it from being deleted.
    pub held: HashMap<String, u64>,
    /// Of holders that are away: what is deleted before they are back is noted for them.
    pub away: HashMap<String, u64>,
}

/// What both threads and the callers share.
pub(super) struct Core {
    pub env: Env,
    pub store: Store,
    pub home: Home,
    pub limits: Limits,
    pub queue: Queue,
    pub chores: Chores,
    pub cache: Cache,
    /// What lookups have read of the segment that is being written.
    pub growing: Mutex<Option<Growing>>,
    /// Where cursors are kept, and what was deleted before them.
    pub cursors: Arc<dyn Cursors>,
    /// Bytes on disk beside the segments that count towards `max_size`.
    pub other_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    /// The durable end, for those who wait for it.
    pub mark: watch::Sender<u64>,
    /// What holders still need.
    pub holds: Mutex<Holds>,
    /// Whether retention may delete, which it may not before every holder has said what it needs.
    pub retaining: AtomicBool,
    /// Whether `max_size` holds only owed events, and new ones are refused.
    pub full: AtomicBool,
    /// Bytes that may still be written until retention must look again.
    pub allowance: AtomicI64,
    /// Bytes of segments with owed events, as retention saw them last.
    pub owed_bytes: AtomicU64,
    /// What commits cost.
    pub commits: Commits,
    /// Whether the commit thread waits for the disk.
    on_disk: AtomicBool,
    /// Bytes free on the disk when last looked at; [`NOT_KNOWN`] before that, and where the disk does not say.
    free: AtomicU64,
    view: RwLock<View>,
    /// How often retention has looked.
    #[cfg(test)]
    pub looks: AtomicU64,
}

/// What [`Core::new`] is made of.
pub(super) struct Parts {
    pub env: Env,
    pub store: Store,
    pub home: Home,
    pub limits: Limits,
    pub overflow_max: u64,
    pub other_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    pub view: View,
    pub cursors: Arc<dyn Cursors>,
}

impl Core {
    pub fn new(parts: Parts) -> Self {
        Self {
            queue: Queue::new(parts.overflow_max),
            chores: Chores::default(),
            cache: Cache::default(),
            growing: Mutex::default(),
            mark: watch::Sender::new(parts.view.end),
            holds: Mutex::default(),
            retaining: AtomicBool::new(false),
            full: AtomicBool::new(false),
            allowance: AtomicI64::new(i64::MAX),
            owed_bytes: AtomicU64::new(0),
            commits: Commits::default(),
            on_disk: AtomicBool::new(false),
            free: AtomicU64::new(NOT_KNOWN),
            view: RwLock::new(parts.view),
            #[cfg(test)]
            looks: AtomicU64::new(0),
            env: parts.env,
            store: parts.store,
            home: parts.home,
            limits: parts.limits,
            other_bytes: parts.other_bytes,
            cursors: parts.cursors,
        }
    }

    /// Makes a call of the disk on the commit thread. A disk may hang for as long as it likes: for that long the thread
    /// owes nobody a sign of life.
    pub fn on_disk<T>(&self, call: impl FnOnce() -> T) -> T {
        struct Ended<'c>(&'c AtomicBool);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        self.on_disk.store(true, Ordering::Relaxed);
        let _ended = Ended(&self.on_disk);
        call()
    }

    /// Whether the commit thread waits for the disk.
    pub fn is_on_disk(&self) -> bool {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// Looks how much of the disk is free. Blocks; callers of [`Self::free`] never wait for a disk that hangs.
    pub fn look_at_free(&self) {
        let free = self.store.disk.free_space(&self.store.dir).unwrap_or(NOT_KNOWN);
        self.free.store(free, Ordering::Relaxed);
    }

    /// Bytes that were free on the disk at the last look.
    pub fn free(&self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed)).filter(|free| *free != NOT_KNOWN)
    }

    /// What readers see. The lock is to be held for memory work only.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What readers see, to be changed.
    pub fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}
