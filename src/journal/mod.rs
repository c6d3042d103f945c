//! The journal: every accepted event, in order, on disk.
//!
//! Knows bytes and positions; knows neither HTTP nor sinks nor rules nor the ledger (it asks [`Cursors`] to keep what
//! must be kept, and does not look into payloads). The rest of the daemon sees the seam: [`Journal`], [`Reader`] and
//! [`Retention`], over [`Position`]s that have an order within their shard alone. There are two engines:
//! [`LocalJournal`], on this machine's disk, with one shard, and [`kafka`], in a Kafka cluster. What follows specifies
//! the first: format version 1, and what is done with it.
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
//! 01790000000000000000.index       that segment's index, which may be missing; `.index.new` while it is written
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
//! ## Index, a file of its own beside a sealed segment
//! ```text
//! header     magic 8 "hookidx" 1a, version u16 1, header length u16 64, the segment's salt u32, base u64, next
//!            sequence u64, end of its records u64, pairs u32, checksum of the directory u32 (begun with the salt),
//!            zeros, at 60 the checksum u32 of the 60 bytes before it (salt not used)
//! directory  of each block the hash of its first pair, u32
//! blocks     each: checksum u32 of what follows in it (begun with the salt), 511 pairs (the last one the rest), all in
//!            order: hash u32, offset of a record u32
//! ```
//! Each event has a pair for its id (the hash is CRC-32C of `e` and the 16 bytes) and one for its subject (of `s` and
//! the text), which a function of the daemon reads from the payload. Several keys may have one hash: whoever looks
//! something up compares the record itself. A file that is not whole, of another version, or whose salt, base, next or
//! end are not the segment's, is no index.
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
//! A batch that makes the file longer also writes zeros behind itself, up to 1 MiB (not beyond `segment_size`, not
//! while the journal fails or closes; where the disk has no room for them, none). The batches after it change neither
//! the file's size nor its extents: an fdatasync then writes the records and nothing of the file system's own, which
//! takes it half the time. The zeros of the segment being written count towards `max_size`; ending it cuts them off.
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
//! The newest 256 segments are kept open (fewer where the limit of open files is low). Before a segment is begun, and
//! once a second, device and inode of what stands at the folder's path are compared with those of the folder that is
//! locked; once a second those of the segments, too; and behind each flush the file's link count is looked at. Where
//! the folder is gone or another one, the next one is made and locked, and writing goes on there in a new segment;
//! where none can be had that is a failed write. A batch whose file has no name after its flush is written again to
//! another segment, before anybody is told. Segments that are not at their place are written there again from the open
//! files: complete under another name (`NAME.new`), flushed, renamed. Until then they are read from the open files.
//! Lost is what the process had not put back when it was killed, and what lies in older segments; the latter is named.
//!
//! # Reading
//! From memory (the newest 12 MiB, what readers make of them included) or, for those further behind, from the files:
//! the index finds the place, every checksum is verified. What was read last (8 MiB) serves others that are late, too.
//! Where a record is bad the reader looks on for the next place that holds a good one with a
//! sequence that can stand there, reports the stretch between once, keeps its bytes aside, and goes on.
//!
//! # Looking up
//! All records of one event or subject, newest segments first: two small reads of a segment's index say where they can
//! stand. The segment being written has none: the first lookup reads all of it (at most `segment_size`) and keeps its
//! pairs in memory (8 bytes each, at most 64 MiB), later ones read on from there; the commit thread has no part in it.
//! Other segments without an index are read whole by each lookup, until they have one (for an event, where its id, of
//! version 7, says that it can be there). The housekeeping thread makes it when a segment is sealed, and where one is
//! missing or was met damaged: one at a time, the newest first, with rests of nineteen times what it took, whole and
//! flushed under another name. A start opens the indexes that are there, removes those that belong to no segment, and
//! reads no record for them. Where the disk is full, there is none. An index goes with its segment, and counts towards
//! `max_size`: 16 bytes an event. Nothing else depends on it.
//!
//! # Recovery
//! From the newest segment to the oldest:
//! 1. What is no file (a link, a folder) is moved to `quarantine/`. A file without a whole header is removed if it is
//!    the newest and no longer than a header (its creation was cut short; it never held a record), else moved to
//!    `quarantine/`.
//! 2. The newest segment, unless sealed, is scanned. Behind its last good record there can only be a write that was not
//!    flushed, and zeros to the end of the file: room made ahead, which are cut off without a word. What stands before
//!    them is kept aside, then cut off. (So records that rot turns into zeros to the last byte, at the very end, are
//!    not missed. No record holds zeros only.) If it holds no record at all it is removed, and the one before is the
//!    newest: what a failed batch left in there may then be kept, as nothing replaced it.
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
//! [`Retention::begin`]. Oldest first, a sealed segment goes when the durable cursors of all sinks that hold
//! are past it and it is older than `retention`, or is in the way of `max_size`; and if only owed ones are in the way,
//! `when_full` decides. The newest segment never goes, so that a start always knows where sequences and predecessors
//! stand; it is ended early where it is old. Deleting is an unlink and a flush of the folder. `quarantine/` is not
//! counted.
//!
//! Before an owed segment goes, source and type of each of its records are kept beside the cursors, flushed
//! ([`Cursors::keep_deleted`]; `tally.rs` has the bytes). A reader that comes to the hole is told what stood there from
//! its own position on ([`Gap`]), so that it can book it in the transaction that moves its cursor over the hole: exact,
//! whenever the process ends in between. What it still got from memory is not in its hole. The same is kept of a
//! segment that nobody holds, where a sink that is away ([`Retention::leave`]) has not had it. Two limits: what was
//! delivered but not settled before a kill is booked as dropped, if it was deleted; records that were damaged before,
//! or of more than 4,096 types in a segment, are counted without a type. Where the tally cannot be kept, deletion
//! waits.

mod append;
mod aside;
pub mod config;
pub mod disk;
mod error;
mod find;
pub mod folder;
mod follow;
mod footer;
mod format;
mod home;
mod index;
mod indexing;
pub mod kafka;
mod lease;
pub mod local;
pub mod lock;
mod lookup;
mod position;
mod queue;
mod reader;
mod recent;
mod record;
mod recovery;
mod rescue;
mod retention;
mod scan;
mod seam;
mod segment;
mod state;
mod tally;
#[cfg(test)]
mod tests;
pub mod verify;
mod view;
mod walk;
mod writer;

pub use append::{Append, AppendError, NotifyBatch, OnFailure, OnProgress, Progress};
pub use config::{JournalConfig, Kind, WhenFull};
pub use error::{CursorsError, JournalError};
pub use find::{each as find_each, find};
pub use lease::{Lease, Moment, Renewing};
pub use local::LocalJournal;
pub use position::{Marks, Position};
pub use record::{Chunk, Deleted, Entry, Fingerprint, Gap, JournalStat, Made, News, Owed, Record, TypeCount};
pub use recovery::{DamageReport, Recovered};
pub use rescue::kept_open;
pub use scan::{Scanned, scan};
pub use seam::{Cursors, Find, Journal, LookedUp, Of, Pulse, Reader, Reads, Retention, SubjectOf, Within};
pub use state::{Commits, Env};
