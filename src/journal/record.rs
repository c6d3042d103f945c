//! What the journal keeps and gives back, as plain data.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Marks, Position, reader, tally};

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
    /// What the first reader made of it, for the others.
    pub made: Made,
}

/// What a reader made of a record, such as the event decoded, kept beside it for the readers that come after. The
/// journal does not look into it. It is no part of the record: records are equal whatever was made of them, and of a
/// copy nothing is made yet.
#[derive(Default)]
pub struct Made(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Made {
    /// What was made, where that is a `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.get()?).downcast().ok()
    }

    /// Keeps this for other readers, unless something is kept already.
    pub fn keep<T: Any + Send + Sync>(&self, made: &Arc<T>) {
        // Whoever was first has made the same.
        let _ = self.0.set(Arc::clone(made) as Arc<dyn Any + Send + Sync>);
    }
}

impl Clone for Made {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Made {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Made {}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made")
    }
}

/// Names the record without its payload.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// A part of one shard.
pub struct Chunk {
    /// Records in order; empty where there is nothing durable at or after the position that was read from.
    pub entries: Vec<Entry>,
    /// Where the part ends: everything before it in this shard has been given.
    pub next: Position,
    /// Set where records that stood between the position read from and `next` are gone.
    pub gap: Option<Gap>,
}

impl Chunk {
    /// Splits off the first `entries`; the rest, where any is left, is a chunk of its own.
    pub fn split(mut self, entries: usize) -> (Self, Option<Self>) {
        let Some(first) = self.entries.get(entries).map(|entry| entry.position) else { return (self, None) };
        let rest = Self { entries: self.entries.split_off(entries), next: self.next, gap: None };
        self.next = first;
        (self, Some(rest))
    }
}

/// Records of one shard that a reader asked for and will never get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// They stood at or after this position.
    pub from: Position,
    /// They stood before this one.
    pub to: Position,
    /// Those deleted although somebody was owed them (`max_size`), counted from the very position that was asked for.
    pub deleted: Vec<TypeCount>,
    /// How many more were deleted although somebody was owed them, whose types nobody knows: an engine that deletes
    /// without having read them. What they came to has a bound alone.
    pub unknown: u64,
    /// How many others are known to be gone, of unknown types: damaged ones.
    pub lost: u64,
}

/// A stretch of one shard that was deleted although readers had yet to come by.
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

/// What stood, or still stands, between two places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Events of known source and type.
    pub known: Vec<TypeCount>,
    /// How many more there may be, of which neither is known without reading them.
    pub unknown: u64,
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

/// A journal at a glance. What is not known is left out: where others keep it, they may not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStat {
    /// Events in it.
    pub events: Option<u64>,
    /// Bytes of its segments; an estimate where others keep them.
    pub bytes: Option<u64>,
    /// Segments.
    pub segments: usize,
    /// Time of the oldest event, microseconds.
    pub oldest_time: Option<i64>,
    /// Bytes of segments with events that somebody still needs, as retention saw them last.
    pub owed_bytes: Option<u64>,
    /// Bytes free on its disk, a second ago at most unless the disk hangs; where it has one, and that says.
    pub free: Option<u64>,
}

/// What a reader gives.
pub enum News {
    /// From now on these shards are this reader's, each from its mark on.
    Given(Marks),
    /// A part of one of its shards, behind what was given of that shard before.
    Chunk(Chunk),
    /// These shards go to another reader. What was given of them is to be settled first, as far as it has ended; then
    /// the sender is told. (The local journal has one reader for each name: it takes nothing away.)
    Taken(Vec<u32>, oneshot::Sender<()>),
    /// These shards are another reader's already: what was given of them is not this reader's to settle any more.
    Lost(Vec<u32>),
}
