//! The one door to what is stored: who reads events on, settles them or looks at what is held goes through here,
//! whichever engine keeps the journal.

use std::sync::Arc;

use super::parked::{self, Schedule};
use super::{Had, HeldBudget, Ledger, Settle, SettleError, Settlement};
use crate::journal::{Journal, JournalError, Lease, Marks, Of, Owed, Position, Reader, Retention};

/// The journal, and what is kept beside it.
#[derive(Clone)]
pub struct Storage {
    /// Events.
    pub journal: Arc<dyn Journal>,
    /// Who still needs which of them.
    pub retention: Arc<dyn Retention>,
    /// Changes what is kept of the sinks.
    pub settle: Arc<dyn Settle>,
    /// Shows it.
    pub ledger: Arc<Ledger>,
}

impl Storage {
    /// What one sink may do with it.
    pub fn of(&self, sink: &str) -> SinkStorage {
        SinkStorage { sink: sink.into(), storage: self.clone() }
    }

    /// A replay needs what is at or after these marks, until it has passed that or is released.
    pub fn hold_replay(&self, id: i64, sink: &str, from: &Marks) {
        self.retention.hold(&replay_holder(id, sink), from);
    }

    /// A replay needs nothing any more.
    pub fn release_replay(&self, id: i64, sink: &str) {
        self.retention.release(&replay_holder(id, sink));
    }
}

/// By which name a replay holds the journal.
pub(super) fn replay_holder(id: i64, sink: &str) -> String {
    // No sink has such a name.
    format!("{sink}@replay-{id}")
}

/// What a sink's worker and its replays read from and write to.
#[derive(Clone)]
pub struct SinkStorage {
    sink: Arc<str>,
    storage: Storage,
}

impl SinkStorage {
    /// Begins to read behind the sink's durable cursors.
    ///
    /// # Errors
    /// The sink has none, or they cannot be read.
    pub async fn reader(&self) -> Result<Box<dyn Reader>, JournalError> {
        self.storage.journal.reader(Of::Cursors(self.sink.to_string())).await
    }

    /// Whether what was read for the sink may be delivered: asked before each call.
    pub fn lease(&self) -> Lease {
        self.storage.journal.lease(&self.sink)
    }

    /// What a receiver of an event is told of where it stands, if anything.
    pub fn told(&self, position: Position) -> Option<Arc<str>> {
        self.storage.journal.told(position)
    }

    /// Begins to read a span.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn span(&self, from: Marks, until: Marks) -> Result<Box<dyn Reader>, JournalError> {
        self.storage.journal.reader(Of::Span { from, until }).await
    }

    /// How many events of each type stood, or still stand, between two places.
    ///
    /// # Errors
    /// The journal or the ledger cannot be read.
    pub async fn owed(&self, from: &Marks, to: &Marks) -> Result<Owed, JournalError> {
        self.storage.journal.owed(from, to).await
    }

    /// Makes steps of the sink durable, all of them or none.
    ///
    /// # Errors
    /// The ledger cannot be written; then nothing has changed.
    pub async fn settle(&self, steps: Vec<Settlement>) -> Result<(), SettleError> {
        self.storage.settle.settle(steps).await
    }

    /// What the sink has parked: how much, and when each lane's first is due. Lanes are keys where `ordered`, else
    /// deliveries.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn schedule(&self, ordered: bool) -> Result<Schedule, SettleError> {
        self.storage.ledger.schedule(&self.sink, ordered).await
    }

    /// The first of what is parked in each of these lanes, in order; a lane may have more.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn parked(&self, ordered: bool, lanes: Vec<Arc<str>>) -> Result<Vec<parked::Row>, SettleError> {
        self.storage.ledger.parked(&self.sink, ordered, lanes).await
    }

    /// How many deliveries the sink has parked.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn parked_rows(&self) -> Result<u64, SettleError> {
        self.storage.ledger.parked_rows(&self.sink).await
    }

    /// What the sink has of each of these events: their positions and ids.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn had(&self, events: Vec<(Position, [u8; 16])>) -> Result<Vec<Had>, SettleError> {
        self.storage.ledger.had(&self.sink, events).await
    }

    /// How much dead letters may take.
    pub fn held_budget(&self) -> &HeldBudget {
        self.storage.ledger.held_budget()
    }

    /// Whether the sink may add dead letters.
    pub fn has_room(&self) -> bool {
        self.held_budget().has_room(&self.sink)
    }

    /// A replay of the sink needs nothing of the journal any more.
    pub fn release_replay(&self, id: i64) {
        self.storage.release_replay(id, &self.sink);
    }
}

impl Settlement {
    /// By which name what this step passes is held.
    pub(super) fn holder(&self) -> String {
        self.replay.map_or_else(|| self.sink.clone(), |id| replay_holder(id, &self.sink))
    }
}
