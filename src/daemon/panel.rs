//! What the admin listener asks of the daemon, answered from its rooms: the journal's and the front's figures, each
//! sink's book, the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sink_api::Timestamp;

use super::dead;
use super::store::Store;
use crate::admin::dead::{DeadAct, DeadAsk, DeadDone, DeadPage};
use crate::admin::status::{JournalStatus, SinkStatus, SourceStatus};
use crate::admin::{Panel, Readiness, Refusal, Status};
use crate::config::Config;
use crate::deliver::{Appended, Book, Figures};
use crate::ingress::Ingress;
use crate::journal::local::LocalJournal;
use crate::journal::{Journal, Position};
use crate::ledger::Ledger;
use crate::route::RuleSet;

/// How far past a sink's cursor is looked for the oldest event it is owed.
const LOOK_AHEAD: u64 = 1 << 20;

/// The daemon's rooms, as far as they can be asked.
pub(super) struct Desk {
    journal: Arc<LocalJournal>,
    ledger: Arc<Ledger>,
    front: Arc<Ingress>,
    rules: Arc<RuleSet>,
    books: Arc<Books>,
    stopping: AtomicBool,
    /// `overflow_max`: beyond, POSTs are refused.
    overflow_max: u64,
}

/// The sinks' books, in the order of the config, and what was appended for them.
pub(super) struct Books {
    pub sinks: Vec<(String, Arc<Book>)>,
    pub appended: Appended,
}

impl Books {
    pub fn new(rules: &Arc<RuleSet>, names: impl Iterator<Item = String>) -> Self {
        let sinks: Vec<_> = names.map(|name| (name, Arc::new(Book::default()))).collect();
        let names = sinks.iter().map(|(name, _)| name.clone()).collect();
        Self { sinks, appended: Appended::new(Arc::clone(rules), names) }
    }
}

#[async_trait]
impl Panel for Desk {
    fn readiness(&self) -> Readiness {
        let at_risk = self.journal.at_risk();
        Readiness { ready: !self.stopping.load(Ordering::Acquire) && at_risk < self.overflow_max, at_risk }
    }

    async fn status(&self) -> Status {
        let Readiness { ready, at_risk } = self.readiness();
        let stat = self.journal.stat();
        let oldest_time = stat.oldest_time.and_then(|time| Timestamp::from_microsecond(time).ok());
        let source = |(name, counts): (&str, &crate::ingress::counts::SourceCounts)| {
            let (accepted, duplicate) = (counts.accepted.get(), counts.duplicate.get());
            (name.to_owned(), SourceStatus { accepted, duplicate, rejected: counts.rejected() })
        };
        let mut status = Status {
            ready,
            journal: JournalStatus {
                events: stat.events,
                bytes: stat.bytes,
                oldest_time: oldest_time.map(|time| time.to_string()),
                at_risk,
            },
            sources: self.front.source_counts().map(source).collect(),
            sinks: Default::default(),
        };
        for (at, (name, book)) in self.books.sinks.iter().enumerate() {
            status.sinks.insert(name.clone(), self.sink(at, name, book).await);
        }
        status
    }

    async fn dead(&self, ask: DeadAsk) -> Result<DeadPage, Refusal> {
        dead::list(&self.ledger, ask).await
    }

    async fn change_dead(&self, ask: DeadAsk, act: DeadAct) -> Result<DeadDone, Refusal> {
        let sinks: Vec<String> = self.books.sinks.iter().map(|(name, _)| name.clone()).collect();
        let done = dead::change(&self.ledger, ask, act, &sinks).await;
        // Their workers look for what is due.
        self.books.sinks.iter().for_each(|(_, book)| book.nudge());
        done
    }
}

impl Desk {
    pub fn new(config: &Config, store: &Store, front: &Arc<Ingress>, books: &Arc<Books>) -> Self {
        Self {
            journal: Arc::clone(&store.journal),
            ledger: Arc::clone(&store.ledger),
            front: Arc::clone(front),
            rules: Arc::clone(&config.rules),
            books: Arc::clone(books),
            stopping: AtomicBool::new(false),
            overflow_max: config.journal.overflow_max.0,
        }
    }

    /// From now on a POST may be refused.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    async fn sink(&self, at: usize, name: &str, book: &Book) -> SinkStatus {
        // The ledger may not be open yet, or not be readable: then what it said last counts.
        let state = self.journal.load(name).await.ok().flatten();
        // After the ledger: what is settled by then has been appended.
        let appended = self.books.appended.owed().get(at).copied().unwrap_or_default();
        let Figures { counters, pending } = book.figures(state, appended);
        let oldest = match book.cursor().filter(|_| pending > 0) {
            Some(cursor) => self.oldest_owed(name, cursor).await,
            None => None,
        };
        let age = oldest.map_or(0, |time| Timestamp::now().as_microsecond().saturating_sub(time).max(0));
        SinkStatus {
            accepted: counters.accepted,
            delivered: counters.delivered,
            dead: counters.dead,
            pending,
            filtered: counters.filtered,
            dropped: counters.dropped,
            breaker: book.breaking().name().to_owned(),
            // Milliseconds are exact enough, and readable.
            oldest_pending_s: (age / 1000) as f64 / 1000.0,
        }
    }

    /// When the oldest event behind the cursor that is owed to the sink was accepted; the last one looked at, where none
    /// of those is.
    async fn oldest_owed(&self, sink: &str, cursor: Position) -> Option<i64> {
        let chunk = self.journal.read(cursor, LOOK_AHEAD).await.ok()?;
        let mut records = chunk.entries.iter().map(|entry| &entry.record);
        let owed = records.find(|record| self.rules.wants(sink, &record.source, &record.kind));
        owed.or_else(|| chunk.entries.last().map(|entry| &entry.record)).map(|record| record.time)
    }
}
