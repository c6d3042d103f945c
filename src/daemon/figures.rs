//! What `status` and `replay --list` show of sinks and replays, worked out of the books, the ledger and the journal.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sink_api::Timestamp;
use tokio::task::JoinSet;

use super::books::{BookSet, Books, Heard, SinkBook};
use super::store::Store;
use crate::admin::status::{SinkError, SinkStatus};
use crate::deliver::{self, Book, Condition, LastError, Vitals};
use crate::journal::{Chunk, Marks, News, Of, Record};
use crate::ledger::replays::{Replay, UnderWay};
use crate::ledger::{SettleError, Storage};
use crate::route::Unmatched;

/// How many bytes past a sink's cursor are searched for the oldest event that the sink is owed.
const LOOK_AHEAD: u64 = 1 << 20;

/// Longest that the oldest event with something pending is looked for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the figures are read.
pub(super) struct Figures {
    storage: Storage,
    books: Arc<Books>,
    /// When the oldest event with something pending was accepted, by sink, as it was told last.
    oldest: Mutex<HashMap<String, i64>>,
}

impl Figures {
    pub fn new(store: &Store, books: &Arc<Books>) -> Self {
        Self { storage: store.storage.clone(), books: Arc::clone(books), oldest: Mutex::default() }
    }

    /// The figures of every sink in the config, by name. All are asked for at once: those who keep the journal may not
    /// answer, and each is waited for.
    pub async fn sinks(self: &Arc<Self>) -> BTreeMap<String, SinkStatus> {
        let books = self.books.now();
        let mut asked = JoinSet::new();
        for book in books.sinks.clone() {
            let (this, books) = (Arc::clone(self), Arc::clone(&books));
            asked.spawn(async move { (book.name.clone(), this.sink(&books, &book).await) });
        }
        let mut sinks = BTreeMap::new();
        while let Some(asked) = asked.join_next().await {
            // It cannot fail but by a panic, which was reported.
            sinks.extend(asked);
        }
        sinks
    }

    async fn sink(&self, books: &BookSet, book: &SinkBook) -> SinkStatus {
        let (deliver::Figures { counters, pending, at_most }, heard) =
            self.books.heard_figures(&self.storage, book).await;
        let (name, book) = (&book.name, &book.book);
        let parked = self.parked(name, book.vitals()).await;
        let oldest = match pending {
            0 => None,
            // Who did not answer is not asked for more: what was the oldest is older now.
            _ if heard != Heard::Now => {
                self.oldest_parked(name, parked).await.into_iter().chain(self.oldest_before(name)).min()
            }
            _ => {
                let oldest = tokio::time::timeout(PATIENCE, self.oldest_pending(books, (name, book), parked));
                oldest.await.ok().flatten()
            }
        };
        self.keep_oldest(name, oldest);
        let age = oldest.map_or(0, |time| Timestamp::now().as_microsecond().saturating_sub(time).max(0));
        let vitals = book.vitals();
        let last_error = vitals.last_error().map(|LastError { time, why }| SinkError {
            time: text(time),
            code: why.code.to_owned(),
            detail: why.detail,
        });
        SinkStatus {
            accepted: counters.accepted,
            delivered: counters.delivered,
            dead: counters.dead,
            pending,
            at_most,
            unknown: heard == Heard::Never,
            stale: heard == Heard::Before,
            filtered: counters.filtered,
            dropped: counters.dropped,
            breaker: book.breaker().name().to_owned(),
            // Where the ledger could not be read yet, the sink is shown as not paused.
            paused: vitals.is_paused(),
            state: vitals.condition().name().to_owned(),
            down_since: vitals.down_since().map(text),
            parked,
            retried: vitals.retried(),
            last_delivered: vitals.last_delivered().map(text),
            next_try: vitals.next_try().map(text),
            last_error,
            // Milliseconds are exact enough, and readable.
            oldest_pending_s: (age / 1000) as f64 / 1000.0,
        }
    }

    /// When the oldest event with something pending was accepted, as it was told last.
    fn oldest_before(&self, sink: &str) -> Option<i64> {
        self.oldest.lock().unwrap_or_else(PoisonError::into_inner).get(sink).copied()
    }

    fn keep_oldest(&self, sink: &str, time: Option<i64>) {
        // There are no more of them than the config ever had sinks.
        let mut oldest = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        match time {
            Some(time) => oldest.insert(sink.to_owned(), time),
            None => oldest.remove(sink),
        };
    }

    /// How many deliveries are parked. Where no worker knows, the ledger is asked; one that cannot be read says none.
    async fn parked(&self, sink: &str, vitals: &Vitals) -> u64 {
        if matches!(vitals.condition(), Condition::Running | Condition::Down) {
            return vitals.parked();
        }
        self.storage.ledger.parked_rows(sink).await.unwrap_or_else(|_| vitals.parked())
    }

    /// When the oldest event was accepted of which something is pending. What is parked stands before the cursor, so
    /// the ledger is asked for it.
    async fn oldest_pending(&self, books: &BookSet, (sink, book): (&str, &Book), parked: u64) -> Option<i64> {
        let parked = self.oldest_parked(sink, parked).await;
        // Where several daemons settle, this one knows of its own shards, and the others' are asked for.
        let cursors = match self.storage.journal.is_shared() {
            true => self.storage.settle.glance(sink).await.ok().flatten().map(|state| state.cursors),
            false => book.cursors(),
        };
        let owed = match cursors {
            Some(cursors) => self.oldest_owed(books, sink, &cursors).await,
            None => None,
        };
        parked.into_iter().chain(owed).min()
    }

    /// The same of what is parked. A ledger that cannot be read says nothing: then only the journal is looked at.
    async fn oldest_parked(&self, sink: &str, parked: u64) -> Option<i64> {
        match parked {
            0 => None,
            _ => self.storage.ledger.oldest_parked(sink).await.ok().flatten(),
        }
    }

    /// When the oldest event behind the cursors that is owed to the sink was accepted. Where none of the events of a
    /// shard that were searched is owed, the time of the last of them: what is owed came later.
    async fn oldest_owed(&self, books: &BookSet, sink: &str, cursors: &Marks) -> Option<i64> {
        let wants = |record: &Record| books.rules.wants(sink, &record.source, &record.kind);
        let owed = |chunk: &Chunk| {
            let mut records = chunk.entries.iter().map(|entry| &entry.record);
            records.find(|record| wants(record)).map(|record| record.time)
        };
        // Mostly the very next event is owed, and one is read sooner than many.
        let next = self.look(cursors, 1).await;
        if next.iter().all(|chunk| owed(chunk).is_some()) {
            return next.iter().filter_map(owed).min();
        }
        let owed_or_last = |chunk: &Chunk| owed(chunk).or_else(|| Some(chunk.entries.last()?.record.time));
        self.look(cursors, LOOK_AHEAD).await.iter().filter_map(owed_or_last).min()
    }

    /// What stands next at these marks, a chunk of each shard; nothing of a shard that has no more, or cannot be read.
    async fn look(&self, marks: &Marks, max_bytes: u64) -> Vec<Chunk> {
        let ends = self.storage.journal.known_ends();
        let mut chunks = Vec::new();
        for end in ends.iter().filter(|end| !marks.reaches(&(*end).into())) {
            let span = Of::Span { from: marks.at(end.shard).into(), until: end.into() };
            let Ok(mut reader) = self.storage.journal.reader(span).await else { continue };
            // First the reader says where it begins.
            while let Ok(news) = reader.next(max_bytes).await {
                if let News::Chunk(chunk) = news {
                    chunks.push(chunk);
                    break;
                }
            }
        }
        chunks
    }

    /// Every replay under way, and how far it has come, of 1.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn replays(&self) -> Result<Vec<(Replay, f64)>, SettleError> {
        let mut replays = Vec::new();
        for UnderWay { replay, done } in self.storage.settle.replays().await? {
            let done = match done {
                Some(done) => done,
                None => self.progress([&replay.first, &replay.at, &replay.until]).await,
            };
            replays.push((replay, done));
        }
        Ok(replays)
    }

    /// How far a replay of that span has come, of 1: by the events' times, as positions have gaps where the daemon was
    /// started again.
    async fn progress(&self, [first, at, until]: [&Marks; 3]) -> f64 {
        let now = Timestamp::now().as_microsecond();
        let mut times = [now; 3];
        for (time, from) in times.iter_mut().zip([first, at, until]) {
            let next = self.look(from, 1).await;
            let next = next.iter().filter_map(|chunk| chunk.entries.first()).map(|entry| entry.record.time).min();
            *time = next.unwrap_or(now);
        }
        let [first, at, until] = times;
        (at.saturating_sub(first) as f64 / until.saturating_sub(first).max(1) as f64).clamp(0.0, 1.0)
    }
}

/// A time as `status` shows it: milliseconds are exact enough, and readable.
pub(super) fn text(time: Timestamp) -> String {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time).to_string()
}

/// Says at the end which types of events no route has matched.
pub(super) fn say_unmatched(unmatched: &Unmatched) {
    for (source, kind, events) in unmatched.counts() {
        tracing::info!(source, kind, events, "matched no route since the start");
    }
}
