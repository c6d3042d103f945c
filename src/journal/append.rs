//! Records on their way into the journal, and what their senders are told of it.

use std::sync::Arc;

use super::{Position, Record};

/// What became of an append, reported on the journal's own thread: keep it short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// On disk, flushed. Final.
    Durable(Position),
    /// A write failed or the journal is known to be failing; the record stays queued and will be written as soon as
    /// that works. It is queued in memory alone, or, where the engine has a local overflow, also flushed there when
    /// this is reported. Reported at most once; `Durable` follows, unless the process (or the overflow's disk) ends
    /// first.
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
