//! The journal: every accepted event, in order, on disk.
//!
//! Knows bytes and positions; knows neither HTTP nor sinks nor rules nor the ledger (it asks [`Cursors`] to keep what
//! must be kept, and does not look into payloads). The rest of the daemon sees the trait [`Journal`]; [`LocalJournal`]
//! is its one implementation. What follows specifies that one: format version 1, and what is done with it.
//!
//! # Constraints
//! - One process has a journal: it holds the folder and `LOCK` in it (flock, its pid inside) for as long as it writes.
//! - One thread writes. Records are told durable after an fdatasync that covers them, and readers get none before.
//! - A failed write or flush is never repeated on the same file: afterwards nobody knows what is on disk.
//! - Sequences only rise. None is given twice, not over a crash, not if the folder is emptied or taken from a backup:
//!   at each start they go on above the microseconds since 1970, and at least 65,536 above any ever seen in a file.
//! - Nothing damaged keeps the journal from opening; nothing damaged is destroyed (`quarantine/` keeps it).
//!
//! # Files
//! ```text
//! LOCK                             the lock, beside one on the folder itself
//! 01790000000000000000.segment     a segment; the name is its base sequence, 20 digits
//! quarantine/                      damaged bytes (NAME.FROM-TO) and whole files (NAME.N); only people read it
//! ```
//! All integers are little-endian, all checksums CRC-32C. A segment is a header, records back to back, and, once it is
//! sealed, a footer. It takes records until it has grown to `segment_size`; a record larger than that has one alone.
//!
//! ## Header: 1,024 bytes, two copies of 64 bytes at 0 and 512, zeros between
//! ```text
//!  0  magic            8   "hookrel" 1a
//!  8  version          u16 1
//! 10  header length    u16 64, the checksum included
//! 12  salt             u32 secret start value of every other checksum in this file
//! 16  base             u64 sequence of the first record
//! 24  created          i64 microseconds since 1970
//! 32  predecessor      u64 base of the segment before, 0 where there was none
//! 40  predecessor end  u64 the sequence after its last durable record (without one: where the journal began)
//! 48  predecessor size u64 the byte after that record
//! 56  reserved         u32 0
//! 60  checksum         u32 of the bytes 0..60, salt not used
//! ```
//! Either copy will do. The salt keeps a body that is made to look like a record, and blocks of deleted files that a
//! power loss brings back, from being taken for records.
//!
//! ## Record
//! ```text
//!  0  length           u32 bytes after the first 16; a record has at most 128 MiB in all
//!  4  checksum         u32 of everything after it, begun with the salt
//!  8  sequence         u64 that of the record before, plus one: dense within a segment
//! 16  kind             u8  1: an event. Records of other kinds are passed over
//! 17  flags            u8  bit 0: there is a fingerprint; others 0
//! 18  place            u16 how many records of the same batch (one write, one flush) stand before it
//! 20  head length      u32 bytes from 16 to the payload
//! 24  time             i64 accepted at, microseconds since 1970
//! 32  id               16  the event's UUID
//! 48  source length    u16
//! 50  type length      u16
//! 52  key length       u32
//! 56  fingerprint      16  where flagged
//!     source, type, key    UTF-8
//!     (a later build may add to the head here; readers go by the head length)
//!     payload              to the end of the record
//! ```
//!
//! ## Footer, from the byte after the last record to the end of the file
//! ```text
//! fingerprints  "hookfoot", count u32, each: fingerprint 16, id 16, time i64, source u32 (its place in the core)
//! core          base u64, next sequence u64, end of the records u64, records u64, oldest time i64, newest time i64,
//!               sources: count u32, each: name (length u16, UTF-8), types: count u32, each: name, events u64
//!               index: count u32, each: sequence u64, offset u64: a record about every 64 KiB
//!               damage: count u32, each: from u64, to u64, first sequence u64, records lost u64
//! trailer       64 bytes: footer offset u64, fingerprints' length u64, core's length u64, base u64, checksum of the
//!               fingerprints u32, of the core u32 (both begun with the salt), salt u32, version u16, trailer
//!               length u16, "hookfoot", reserved u32, checksum u32 of the 60 bytes before it
//! ```
//! A footer says nothing that a scan would not: where it is missing or not whole, the segment is scanned.
//!
//! ## Versions
//! Magic, version, header length and checksum stay where they are for ever. A build refuses a whole header with a
//! version above its own and touches nothing. New head fields, flags and kinds of record that old readers may pass over
//! need no new version; everything else does, and old versions stay readable. `tests/fixtures/journal/` keeps one
//! journal of each.
//!
//! # Writing
//! Appends queue up in memory (at most `overflow_max`). The commit thread takes what is there (at most 1 MiB or 4,096
//! records, at least one), writes it with one write, flushes it with one fdatasync, publishes it (segment list, newest
//! records in memory, durable end), tells the callers, wakes the readers. What is appended meanwhile is the next batch.
//! Under load batches begin some hundred microseconds apart, so that each is worth its flush.
//!
//! A batch that makes the file longer also writes zeros behind itself, up to 1 MiB (not beyond `segment_size`, not while
//! the journal fails or closes; where the disk has no room for them, none). The batches after it change neither the
//! file's size nor its extents: an fdatasync then writes the records and nothing of the file system's own, which takes
//! it half the time. The zeros of the segment being written count towards `max_size`; ending it cuts them off.
//!
//! A new segment is created exclusively, its header written and flushed, then the folder flushed, before the first
//! batch goes in. The full one gets its footer from the housekeeping thread.
//!
//! When a write or flush fails, the segment is poisoned: it ends before the failed batch, gets no footer and is never
//! flushed again. The batch's sequences are burned; records to be given back are told `Failed`, others `AtRisk`, once.
//! After a pause (50 ms, doubling to 1 s) the same records, in the same order, with new sequences, go to a new segment,
//! whose header says where the poisoned one durably ends. So what a failed batch may have left there, now or after a
//! later write-back, is never read. Too little free space (`min_free`) or a full journal (`max_size`, `refuse`) is a
//! failure too, but one that poisons nothing.
//!
//! # When files are taken away
//! The newest 256 segments are kept open (fewer where the limit of open files is low). Before a segment is begun, and once a second, device and inode of what stands
//! at the folder's path are compared with those of the folder that is locked; once a second those of the segments, too;
//! and behind each flush the file's link count is looked at. Where the folder is gone or another one, the next one is made
//! and locked, and writing goes on there in a new segment; where none can be had that is a failed write. A batch whose
//! file has no name after its flush is written again to another segment, before anybody is told. Segments that are not at
//! their place are written there again from the open files: complete under another name (`NAME.new`), flushed, renamed.
//! Until then they are read from the open files. Lost is what the process had not put back when it was killed, and what
//! lies in older segments; the latter is named.
//!
//! # Reading
//! From memory (the newest 32 MiB) or, for those further behind, from the files: the index finds the place, every
//! checksum is verified. Where a record is bad the reader looks on for the next place that holds a good one with a
//! sequence that can stand there, reports the stretch between once, keeps its bytes aside, and goes on.
//!
//! # Recovery
//! From the newest segment to the oldest:
//! 1. What is no file (a link, a folder) is moved to `quarantine/`. A file without a whole header is removed if it is the newest and no longer than a header (its creation was cut
//!    short; it never held a record), else moved to `quarantine/`.
//! 2. The newest segment, unless sealed, is scanned. Behind its last good record there can only be a write that was not
//!    flushed, and zeros to the end of the file: room made ahead, which are cut off without a word. What stands before
//!    them is kept aside, then cut off. (So records that rot turns into zeros to the last byte, at the very end, are not
//!    missed. No record holds zeros only.) If it holds no record at all it is removed, and the one before is the newest:
//!    what a failed batch left in there may then be kept, as nothing replaced it.
//! 3. A batch is begun only after the one before was flushed. So a hole among records of the last batch is a torn
//!    write, and a hole before it is rot: acknowledged records were lost. Both are reported, the bytes kept aside, and
//!    the good records after it are delivered.
//! 4. Any other segment must reach exactly to where its successor's header says. A whole footer that agrees is
//!    believed; else the segment is scanned up to there, what is missing is rot, what stands behind is ignored.
//! 5. A segment that lies between its successor and the one its successor names was given up for it: moved aside.
//! 6. Scanned segments are flushed, cut and sealed. Writing goes on in a new segment; never behind a cut.
//!
//! # Retention
//! The housekeeping thread looks every second, and when a share of `max_size` was used up; not before
//! [`LocalJournal::begin_retention`]. Oldest first, a sealed segment goes when the durable cursors of all sinks that hold
//! are past it and it is older than `retention`, or is in the way of `max_size`; and if only owed ones are in the way,
//! `when_full` decides. The newest segment never goes, so that a start always knows where sequences and predecessors
//! stand; it is ended early where it is old. Deleting is an unlink and a flush of the folder. `quarantine/` is not
//! counted.
//!
//! Before an owed segment goes, source and type of each of its records are kept beside the cursors, flushed
//! ([`Cursors::keep_deleted`]; `tally.rs` has the bytes). A reader that comes to the hole is told what stood there from
//! its own position on ([`Gap`]), so that it can book it in the transaction that moves its cursor over the hole: exact,
//! whenever the process ends in between. What it still got from memory is not in its hole. The same is kept of a segment
//! that nobody holds, where a sink that is away ([`LocalJournal::leave`]) has not had it. Two limits: what was
//! delivered but not settled before a kill is booked as dropped, if it was deleted; records that were damaged before,
//! or of more than 4,096 types in a segment, are counted without a type. Where the tally cannot be kept, deletion waits.

mod aside;
pub mod config;
pub mod disk;
mod find;
pub mod folder;
mod footer;
mod format;
mod home;
pub mod local;
pub mod lock;
mod queue;
mod reader;
mod recovery;
mod rescue;
mod retention;
mod scan;
mod segment;
mod settlement;
mod state;
mod tally;
#[cfg(test)]
mod tests;
pub mod verify;
mod view;
mod walk;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use config::{JournalConfig, WhenFull};
pub use find::find;
pub use local::{JournalStat, LocalJournal};
pub use recovery::{DamageReport, Recovered};
pub use rescue::kept_open;
pub use scan::{Scanned, scan};
pub use settlement::{Fate, Held, Settlement, Spent, Try, Turn};
pub use state::Env;

/// A place in the journal. Opaque outside `journal/`: only the order of two positions of one shard means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which log (the local journal has one: 0).
    pub shard: u32,
    /// Place in it. Never given twice, even where the first holder was never written.
    pub offset: u64,
}

impl Position {
    /// Where one reads on behind the record that stands here.
    #[must_use]
    pub fn behind(self) -> Self {
        Self { offset: self.offset.saturating_add(1), ..self }
    }
}

/// One event as the journal keeps it: a head by which a reader can skip, and a payload it does not look into.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The event's UUID.
    pub id: [u8; 16],
    /// When it was accepted: microseconds since 1970, UTC.
    pub time: i64,
    /// Name of its source.
    pub source: Arc<str>,
    /// Its type.
    pub kind: Arc<str>,
    /// Its ordering key.
    pub key: Arc<str>,
    /// What dedupe knows it by; kept in footers, so that a start reads no bodies.
    pub fingerprint: Option<[u8; 16]>,
    /// The rest of the event, encoded.
    pub payload: Bytes,
}

/// Names the record without its payload.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("kind", &self.kind).field("bytes", &self.payload.len()).finish_non_exhaustive()
    }
}

/// A record and where it stands.
#[derive(Clone)]
pub struct Entry {
    /// Where.
    pub position: Position,
    /// What.
    pub record: Arc<Record>,
}

/// What one read gave.
pub struct Chunk {
    /// Records in order; empty where there is nothing durable at or after the position asked for.
    pub entries: Vec<Entry>,
    /// Where to read on.
    pub next: Position,
    /// Set where something that stood between the position asked for and `next` is gone.
    pub gap: Option<Gap>,
}

/// Records a reader asked for and will never get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// They stood at or after this position.
    pub from: Position,
    /// They stood before this one.
    pub to: Position,
    /// Those deleted although somebody was owed them (`max_size`), counted from the very position that was asked for.
    pub deleted: Vec<TypeCount>,
    /// How many others are known to be gone, of unknown types: damaged ones.
    pub lost: u64,
}

/// A stretch of the journal that was deleted although sinks were owed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Its first position.
    pub from: Position,
    /// The position after it.
    pub to: Position,
    /// What stood there, in the journal's own words; others ask [`Self::counts`].
    pub tally: Vec<u8>,
}

impl Deleted {
    /// What stood in it from one position to another, as far as that is known.
    pub fn counts(&self, from: Position, to: Position) -> Vec<TypeCount> {
        let mut counted = tally::Counted::default();
        if let Some(tally) = tally::Tally::decode(self.from.offset, &self.tally) {
            tally.count(from.offset, to.offset, &mut counted);
        }
        reader::in_order(counted.known)
    }
}

/// What became of an append, reported on the journal's own thread: keep it short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// On disk, flushed. Final.
    Durable(Position),
    /// A write failed or the journal is known to be failing; the record stays queued in memory and will be written as
    /// soon as that works. Reported at most once; `Durable` follows, unless the process ends first.
    AtRisk,
    /// It will not be written. Final.
    Failed(AppendError),
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A write failed for certain, and the record was not to be kept in memory.
    #[error("the journal cannot write: {0}")]
    Unwritable(String),
    /// `overflow_max` bytes are waiting already.
    #[error("the commit queue is full")]
    QueueFull,
    /// `max_size` is reached and holds only owed events (`when_full = "refuse"`).
    #[error("the journal is full of events still owed to sinks")]
    Full,
    /// Larger than any record may be.
    #[error("a record of {0} bytes is too large")]
    TooLarge(usize),
    /// The journal is closing.
    #[error("the journal is closing")]
    Closed,
}

/// What to do with a record when a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Keep it in the commit queue until it is written.
    Keep,
    /// Give it back as failed.
    GiveBack,
}

/// Called with the progress of one append; the last call is `Durable` or `Failed`.
pub type OnProgress = Box<dyn FnMut(Progress) + Send>;

/// Called once after the progress of several records was reported in a row, for all of them that carry it: to wake
/// whoever waits for them. Called on the journal's own thread, too.
pub type NotifyBatch = Arc<dyn Fn() + Send + Sync>;

/// A record on its way to the disk.
pub struct Append {
    /// What is to be kept.
    pub record: Record,
    /// What to do with it when a write fails.
    pub on_failure: OnFailure,
    /// Learns what becomes of it.
    pub on_progress: OnProgress,
    /// Called after `on_progress`, where there is one.
    pub notify: Option<NotifyBatch>,
}

/// How many events of one source and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeCount {
    /// Source.
    pub source: Arc<str>,
    /// Type.
    pub kind: Arc<str>,
    /// How many.
    pub events: u64,
}

/// What dedupe needs to know of an earlier event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Source.
    pub source: Arc<str>,
    /// First 16 bytes of the digest.
    pub fingerprint: [u8; 16],
    /// The event's id.
    pub id: [u8; 16],
    /// When it was accepted, microseconds.
    pub time: i64,
}

/// Running totals of one sink. The transaction that moves its cursor carries the deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Deliveries owed by the events behind the cursor.
    pub accepted: u64,
    /// Of these: delivered.
    pub delivered: u64,
    /// Dead letters.
    pub dead: u64,
    /// Filtered by a condition or an empty transform.
    pub filtered: u64,
    /// Dropped, by retention or by hand.
    pub dropped: u64,
}

/// Where a sink stands, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkState {
    /// The first position it has not settled.
    pub cursor: Position,
    /// Its totals.
    pub counters: Counters,
}

/// A failure of the journal or of where its cursors are kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The cursors' store failed.
    #[error("ledger: {0}")]
    Cursors(String),
    /// Another process holds the journal.
    #[error("{path} is in use by {}", holder(*pid))]
    Locked {
        /// The folder, or the lock file.
        path: String,
        /// Its holder; 0 where unknown.
        pid: u32,
    },
    /// Closed although not all could be written: events that had been accepted are lost.
    #[error("{0} could not be written when the journal closed and are lost")]
    Lost(String),
    /// A folder that cannot be made, or is not ours alone.
    #[error(transparent)]
    Folder(#[from] folder::FolderError),
    /// Not a journal this build can read.
    #[error("{path}: {why}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

fn holder(pid: u32) -> String {
    if pid == 0 { "another process".into() } else { format!("process {pid}") }
}

/// Where cursors and totals are kept for the local journal. Implemented by the ledger.
#[async_trait]
pub trait Cursors: Send + Sync {
    /// The state of one sink, `None` where it never had one.
    async fn load(&self, sink: &str) -> Result<Option<SinkState>, JournalError>;
    /// Makes these steps durable (flushed), all of them or none.
    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), JournalError>;
    /// Keeps, flushed, what stood in a stretch that is about to be deleted, for as long as any sink's cursor is not past
    /// it. Blocks; called from the journal's own thread.
    fn keep_deleted(&self, deleted: Deleted) -> Result<(), JournalError>;
    /// What was kept of stretches that reach into the one from `from` to `to`.
    async fn deleted(&self, from: Position, to: Position) -> Result<Vec<Deleted>, JournalError>;
}

/// The journal as the rest of the daemon sees it.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Queues records, in order; each one's `on_progress` learns what becomes of it. Never blocks on I/O.
    fn append_all(&self, records: Vec<Append>);
    /// Queues one record.
    fn append(&self, record: Record, on_failure: OnFailure, on_progress: OnProgress) {
        self.append_all(vec![Append { record, on_failure, on_progress, notify: None }]);
    }
    /// Durable records from a position on, at most about `max_bytes` of them (at least one, where there is one).
    async fn read(&self, from: Position, max_bytes: u64) -> Result<Chunk, JournalError>;
    /// Waits until something durable stands at or after the position. Cancel-safe.
    async fn wait(&self, from: Position);
    /// The position the next record will not come before.
    fn end(&self) -> Position;
    /// The oldest position still there.
    fn oldest(&self) -> Position;
    /// The first position whose event was accepted at or after that time (microseconds); the end where there is none.
    async fn seek(&self, time: i64) -> Result<Position, JournalError>;
    /// How many events of each source and type stand from a position to the end. Reads footers and heads, no payloads.
    async fn counts(&self, from: Position) -> Result<Vec<TypeCount>, JournalError>;
    /// How many events of each source and type stood, or still stand, from one position up to another. Those that were
    /// deleted although they were owed count: their sinks have yet to hear of it.
    async fn owed(&self, from: Position, to: Position) -> Result<Vec<TypeCount>, JournalError>;
    /// A sink's durable state.
    async fn load(&self, sink: &str) -> Result<Option<SinkState>, JournalError>;
    /// Makes these steps durable, all of them or none, and lets retention have what no sink needs any more.
    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), JournalError>;
    /// From now on the sink holds what is at or after its cursor.
    fn hold(&self, sink: &str, cursor: Position);
    /// The sink holds nothing any more.
    fn release(&self, sink: &str);
    /// Bytes waiting in memory since a write failed; 0 where all is well.
    fn at_risk(&self) -> u64;
    /// Takes no more records, flushes what is queued, lets go of the lock.
    ///
    /// # Errors
    /// [`JournalError::Lost`] where queued records could not be written in the time there is; it is closed all the same.
    async fn close(&self) -> Result<(), JournalError>;
}
