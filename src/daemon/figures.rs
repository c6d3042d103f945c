//! What `status` and `replay --list` show of sinks and replays, worked out of the books, the ledger and the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use sink_api::Timestamp;

use super::books::{BookSet, Books, SinkBook};
use super::store::Store;
use crate::admin::status::SinkStatus;
use crate::deliver;
use crate::journal::local::LocalJournal;
use crate::journal::{Journal, JournalError, Position};
use crate::ledger::Ledger;
use crate::ledger::replays::Replay;

/// How many bytes past a sink's cursor are searched for the oldest event that the sink is owed.
const LOOK_AHEAD: u64 = 1 << 20;

/// Where the figures are read.
pub(super) struct Figures {
    journal: Arc<LocalJournal>,
    ledger: Arc<Ledger>,
    books: Arc<Books>,
}

impl Figures {
    pub fn new(store: &Store, books: &Arc<Books>) -> Self {
        Self { journal: Arc::clone(&store.journal), ledger: Arc::clone(&store.ledger), books: Arc::clone(books) }
    }

    /// The figures of every sink in the config, by name.
    pub async fn sinks(&self) -> BTreeMap<String, SinkStatus> {
        let books = self.books.now();
        let mut sinks = BTreeMap::new();
        for book in &books.sinks {
            sinks.insert(book.name.clone(), self.sink(&books, book).await);
        }
        sinks
    }

    async fn sink(&self, books: &BookSet, book: &SinkBook) -> SinkStatus {
        let deliver::Figures { counters, pending } = self.books.figures(&self.journal, book).await;
        let (name, book) = (&book.name, &book.book);
        let oldest = if pending > 0 { self.oldest_pending(books, name, book.cursor()).await } else { None };
        let age = oldest.map_or(0, |time| Timestamp::now().as_microsecond().saturating_sub(time).max(0));
        SinkStatus {
            accepted: counters.accepted,
            delivered: counters.delivered,
            dead: counters.dead,
            pending,
            filtered: counters.filtered,
            dropped: counters.dropped,
            breaker: book.breaker().name().to_owned(),
            // A ledger that cannot be read says nothing: then the sink is shown as not paused.
            paused: self.ledger.is_paused(name).await.unwrap_or_default(),
            // Milliseconds are exact enough, and readable.
            oldest_pending_s: (age / 1000) as f64 / 1000.0,
        }
    }

    /// When the oldest event was accepted of which something is pending. What is parked stands before the cursor, so
    /// the ledger is asked for it.
    async fn oldest_pending(&self, books: &BookSet, sink: &str, cursor: Option<Position>) -> Option<i64> {
        // A ledger that cannot be read says nothing: then only the journal is looked at.
        let parked = self.ledger.oldest_parked(sink).await.ok().flatten();
        let owed = match cursor {
            Some(cursor) => self.oldest_owed(books, sink, cursor).await,
            None => None,
        };
        parked.into_iter().chain(owed).min()
    }

    /// When the oldest event behind the cursor that is owed to the sink was accepted. Where none of the events that
    /// were searched is owed, the time of the last of them: what is owed came later.
    async fn oldest_owed(&self, books: &BookSet, sink: &str, cursor: Position) -> Option<i64> {
        let chunk = self.journal.read(cursor, LOOK_AHEAD).await.ok()?;
        let mut records = chunk.entries.iter().map(|entry| &entry.record);
        let owed = records.find(|record| books.rules.wants(sink, &record.source, &record.kind));
        owed.or_else(|| chunk.entries.last().map(|entry| &entry.record)).map(|record| record.time)
    }

    /// Every replay under way, and how far it has come, of 1.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn replays(&self) -> Result<Vec<(Replay, f64)>, JournalError> {
        let mut replays = Vec::new();
        for replay in self.ledger.replays().await? {
            let done = self.progress(replay.span).await;
            replays.push((replay, done));
        }
        Ok(replays)
    }

    /// How far a replay of that span has come, of 1: by the events' times, as positions have gaps where the daemon was
    /// started again.
    async fn progress(&self, [first, at, until]: [Position; 3]) -> f64 {
        let now = Timestamp::now().as_microsecond();
        let mut times = [now; 3];
        for (time, from) in times.iter_mut().zip([first, at, until]) {
            let chunk = self.journal.read(from, 1).await.ok();
            *time = chunk.and_then(|chunk| chunk.entries.first().map(|entry| entry.record.time)).unwrap_or(now);
        }
        let [first, at, until] = times;
        (at.saturating_sub(first) as f64 / until.saturating_sub(first).max(1) as f64).clamp(0.0, 1.0)
    }
}
