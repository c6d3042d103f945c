//! What the rest of the daemon asks of a journal, whichever engine keeps it, and what the local engine asks of the
//! ledger.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Append, CursorsError, Deleted, Entry, Fingerprint, JournalError, JournalStat, Lease, Marks, News, OnFailure,
    OnProgress, Owed, Position, Record,
};

/// What a reader is to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// Everything behind the durable cursors of that name, for as long as it is asked.
    Cursors(String),
    /// A span, from one mark to another in each shard. The last chunk of a shard ends at the second mark; once all is
    /// given the reader waits for ever.
    Span {
        /// Where it begins.
        from: Marks,
        /// Where it ends.
        until: Marks,
    },
}

/// Who will read behind cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// The cursors' name.
    pub name: String,
    /// Longest that one call with what was read may take.
    pub timeout: Duration,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find {
    /// The event of this id.
    Event([u8; 16]),
    /// Events about this: a message's id.
    Subject(Arc<str>),
}

/// How much a lookup gives at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// Events.
    pub most: usize,
    /// Bytes of their payloads; one event is given whatever its size.
    pub bytes: usize,
    /// Only events that stand before these marks; all where unset.
    pub before: Option<Marks>,
}

impl Within {
    /// Most bytes of payloads where nobody says.
    pub const BYTES: usize = 16 << 20;

    /// The newest `most` events.
    pub fn newest(most: usize) -> Self {
        Self { most, bytes: Self::BYTES, before: None }
    }
}

/// What a lookup has come by.
#[derive(Clone, Default)]
pub struct LookedUp {
    /// The events, oldest first.
    pub entries: Vec<Entry>,
    /// Whether there are older ones that were not looked at: a bound was reached.
    pub is_cut: bool,
}

/// Reads the subject from a record's payload, which the journal itself does not look into; `None` where it has none
/// that can be read. Pure: the same bytes have the same subject for ever, or the indexes are wrong.
pub type SubjectOf = fn(&[u8]) -> Option<&str>;

/// The journal as the rest of the daemon sees it.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Queues records, in order; each one's `on_progress` learns what becomes of it. Never blocks on I/O.
    fn append_all(&self, records: Vec<Append>);
    /// Queues one record.
    fn append(&self, record: Record, on_failure: OnFailure, on_progress: OnProgress) {
        self.append_all(vec![Append { record, on_failure, on_progress, notify: None }]);
    }
    /// Bytes waiting in memory, or in a local overflow, since a write failed; 0 where all is well.
    fn at_risk(&self) -> u64;
    /// Whether a record appended now would be refused: first of all a record that is to be given back where it cannot
    /// be written, then any record.
    fn refuses(&self) -> (bool, bool);
    /// Sees that all is there that these readers need, and whoever appends. Asked again for readers that are added.
    async fn prepare(&self, _readers: &[Reads]) -> Result<(), JournalError> {
        Ok(())
    }
    /// Waits until another process has taken this one's place, and says so; for ever where that cannot be. Cancel-safe.
    async fn replaced(&self) -> JournalError {
        std::future::pending().await
    }
    /// Whether other processes append to it and settle, too: then what this one has counted is not all there is.
    fn is_shared(&self) -> bool {
        false
    }
    /// Whether what the reader of that name gave may be delivered: asked before each call, also with what was kept of
    /// it (parked). While it holds, no other process has, or gets, a shard that the reader has; and a call that is
    /// begun while it holds is over, by the timeout that [`Self::prepare`] was told, before another gets one.
    fn lease(&self, _name: &str) -> Lease {
        Lease::forever()
    }
    /// What a receiver of an event may be told of where it stands, where processes share the journal: a call that comes
    /// late, of one that has lost the shard, is known by it. Nothing where there is nobody else.
    fn told(&self, _position: Position) -> Option<Arc<str>> {
        None
    }
    /// The ends as they were before this process appended anything; `None` where they were the known ones when the
    /// journal was opened, or are not known yet.
    fn began(&self) -> Option<Marks> {
        None
    }
    /// What keeps it from being asked or written, a part of a sentence; nothing where all is well, or where it is told
    /// by [`Self::at_risk`] and [`Self::refuses`] alone. Answers at once.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Begins to read.
    async fn reader(&self, of: Of) -> Result<Box<dyn Reader>, JournalError>;
    /// The oldest position still there in each shard.
    async fn oldest(&self) -> Result<Marks, JournalError>;
    /// The position in each shard that the next record will not come before.
    async fn ends(&self) -> Result<Marks, JournalError>;
    /// The ends as far as this process knows them without asking anybody: past every event that it was told durable,
    /// and past every one that a reader of its own has given.
    fn known_ends(&self) -> Marks;
    /// The first position in each shard whose event was accepted at or after that time (microseconds); the end where
    /// there is none.
    async fn seek(&self, time: i64) -> Result<Marks, JournalError>;
    /// The durable events that match: the newest, where there are more than are asked for. What is damaged is passed
    /// over. May take long, and waits for other lookups; never blocks the caller's runtime. Given up, it ends soon.
    async fn find(&self, what: Find, within: Within) -> Result<LookedUp, JournalError>;
    /// How many events of each source and type stood, or still stand, from one mark up to another in each shard. Those
    /// that were deleted although they were owed count: their readers have yet to hear of it.
    async fn owed(&self, from: &Marks, to: &Marks) -> Result<Owed, JournalError>;
    /// Figures for `status`.
    async fn stat(&self) -> Result<JournalStat, JournalError>;
    /// Fingerprints of events accepted since a time (microseconds), at most `max` of them: the newest, oldest first.
    /// What cannot be read is left out. May block; where [`Self::is_shared`], it waits until others answer instead,
    /// which may take for ever. Given up, it ends soon.
    async fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint>;
    /// The journal will be closed soon: what closing would take long for is begun now, while records still come.
    /// Returns at once; where an engine has nothing to begin, nothing happens.
    fn closes_soon(&self) {}
    /// Ends who reads for sinks, which have stopped for good; records still come. Waits for what that takes, but not
    /// for ever. [`Self::close`] does so, too.
    async fn end_readers(&self) {}
    /// Takes no more records, flushes what is queued, lets go of the lock.
    ///
    /// # Errors
    /// [`JournalError::Lost`] where queued records could not be written in the time there is; it is closed all the
    /// same.
    async fn close(&self) -> Result<(), JournalError>;
}

/// Reads a journal in order, shard by shard.
#[async_trait]
pub trait Reader: Send {
    /// Waits until [`Self::next`] gives something without waiting. Cancel-safe.
    async fn ready(&mut self);
    /// What comes next: durable records only, at most about `max_bytes` of them (at least one; none where that is 0:
    /// then only shards that are given, taken or lost). Waits until there is something. Cancel-safe: what a call that
    /// was given up would have given comes with the next one.
    async fn next(&mut self, max_bytes: u64) -> Result<News, JournalError>;
    /// Whether the last error was its end: whoever reads on needs another. By then it has told that its shards are
    /// lost.
    fn is_over(&self) -> bool {
        false
    }
}

/// Who still needs what of a journal that deletes by itself. What a holder has not passed stays, but for `max_size`.
pub trait Retention: Send + Sync {
    /// From now on the holder needs what is at or after these marks.
    fn hold(&self, holder: &str, from: &Marks);
    /// The holder, where it is one, has passed what stands before this position, durably.
    fn passed(&self, holder: &str, to: Position);
    /// The holder is away: it needs nothing any more, but what goes before it is back is noted for it from its cursors
    /// on.
    fn leave(&self, holder: &str, cursors: &Marks);
    /// The holder needs nothing any more.
    fn release(&self, holder: &str);
    /// Lets retention delete from now on. Before this call nothing is deleted, as no holder may have said yet what it
    /// still needs.
    fn begin(&self);
}

/// Whether what writes a journal goes on.
pub trait Pulse: Send + Sync {
    /// Asks it for a sign of life. Returns at once.
    fn ask(&self);
    /// Whether there was one since the last question, or it waits for the disk, which may take as long as it takes.
    fn has_answered(&self) -> bool;
}

/// What is kept for the local journal beside it. Implemented by the ledger.
#[async_trait]
pub trait Cursors: Send + Sync {
    /// Where the reader of that name goes on, durably; an error where it never began.
    async fn cursors(&self, name: &str) -> Result<Marks, CursorsError>;
    /// Keeps, flushed, what stood in a stretch that is about to be deleted, for as long as any cursor is not past it.
    /// Blocks; called from the journal's own thread.
    fn keep_deleted(&self, deleted: Deleted) -> Result<(), CursorsError>;
    /// What was kept of stretches that reach into the one from `from` to `to`.
    async fn deleted(&self, from: Position, to: Position) -> Result<Vec<Deleted>, CursorsError>;
}
