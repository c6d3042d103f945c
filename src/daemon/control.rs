//! What the admin listener asks of the daemon, answered from its rooms: the journal's and the front's figures, each
//! sink's book, the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sink_api::Timestamp;

use super::books::{BookSet, Books, SinkBook};
use super::dead_letters;
use super::refusals::unable;
use super::requests::{Order, Orders};
use super::store::Store;
use crate::admin::dead::{DeadAct, DeadAsk, DeadDone, DeadPage};
use crate::admin::orders::{
    ReloadDone, ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayView, SinkAct, SinkAsk, SinkDone,
};
use crate::admin::status::{FRONT_PRESSED, JournalStatus, Reason, SinkStatus, SourceStatus, TooLongStatus};
use crate::admin::{Panel, Readiness, Refusal, Status};
use crate::deliver::Figures;
use crate::ingress::{Ingress, Pressed, SourceCounts};
use crate::journal::local::LocalJournal;
use crate::journal::{Journal, Position};
use crate::ledger::Ledger;
use crate::ledger::replays::Replay;

/// How far past a sink's cursor is looked for the oldest event it is owed.
const LOOK_AHEAD: u64 = 1 << 20;

/// The daemon's rooms, as far as they can be asked.
pub(super) struct Desk {
    journal: Arc<LocalJournal>,
    ledger: Arc<Ledger>,
    front: Arc<Ingress>,
    books: Arc<Books>,
    orders: Orders,
    stopping: AtomicBool,
}

#[async_trait]
impl Panel for Desk {
    fn readiness(&self) -> Readiness {
        let at_risk = self.journal.at_risk();
        let refuses = self.front.refuses(self.journal.refuses());
        let ready = !self.stopping.load(Ordering::Acquire) && !refuses;
        Readiness { ready, at_risk, is_pressed: self.front.is_pressed() }
    }

    async fn status(&self) -> Status {
        let Readiness { ready, at_risk, is_pressed } = self.readiness();
        let stat = self.journal.stat();
        let oldest_time = stat.oldest_time.and_then(|time| Timestamp::from_microsecond(time).ok());
        let source = |(name, counts): (String, Arc<SourceCounts>)| {
            let (accepted, duplicate) = (counts.accepted.get(), counts.duplicate.get());
            let too_long = TooLongStatus { kind: counts.long_type.get(), subject: counts.long_subject.get() };
            (name, SourceStatus { accepted, duplicate, rejected: counts.rejected(), too_long })
        };
        let mut status = Status {
            ready,
            reasons: if is_pressed { vec![pressed(&self.front)] } else { vec![] },
            journal: JournalStatus {
                events: stat.events,
                bytes: stat.bytes,
                oldest_time: oldest_time.map(|time| time.to_string()),
                at_risk,
            },
            sources: self.front.source_counts().into_iter().map(source).collect(),
            sinks: Default::default(),
        };
        let books = self.books.now();
        for book in &books.sinks {
            status.sinks.insert(book.name.clone(), self.figures(&books, book).await);
        }
        status
    }

    async fn dead(&self, ask: DeadAsk) -> Result<DeadPage, Refusal> {
        dead_letters::list(&self.ledger, ask).await
    }

    async fn change_dead(&self, ask: DeadAsk, act: DeadAct) -> Result<DeadDone, Refusal> {
        let books = self.books.now();
        let sinks: Vec<String> = books.sinks.iter().map(|book| book.name.clone()).collect();
        let done = dead_letters::change(&self.ledger, ask, act, &sinks).await;
        // Their workers look for what is due.
        books.sinks.iter().for_each(|book| book.book.notify());
        done
    }

    async fn sink(&self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal> {
        self.orders.give(|reply| Order::Sink(ask, act, reply)).await
    }

    async fn replays(&self) -> Result<Vec<ReplayView>, Refusal> {
        let replays = self.ledger.replays().await.map_err(unable)?;
        let mut views = Vec::with_capacity(replays.len());
        for Replay { id, sink, span, fed, .. } in replays {
            let done = super::replay_requests::share(&*self.journal, span).await;
            views.push(ReplayView { id, sink, done, deliveries: fed });
        }
        Ok(views)
    }

    async fn replay(&self, ask: ReplayAsk) -> Result<ReplayBegun, Refusal> {
        self.orders.give(|reply| Order::Replay(ask, reply)).await
    }

    async fn cancel_replay(&self, ask: ReplayCancel) -> Result<ReplayCancelled, Refusal> {
        self.orders.give(|reply| Order::CancelReplay(ask, reply)).await
    }

    async fn reload(&self) -> Result<ReloadDone, Refusal> {
        self.orders.give(Order::Reload).await
    }
}

impl Desk {
    pub fn new(store: &Store, front: &Arc<Ingress>, books: &Arc<Books>, orders: Orders) -> Self {
        Self {
            journal: Arc::clone(&store.journal),
            ledger: Arc::clone(&store.ledger),
            front: Arc::clone(front),
            books: Arc::clone(books),
            orders,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on a POST may be refused.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    async fn figures(&self, books: &BookSet, book: &SinkBook) -> SinkStatus {
        let (name, Figures { counters, pending }) = (&book.name, self.books.figures(&self.journal, book).await);
        let book = &book.book;
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
            // Unknown where the ledger cannot say.
            paused: self.ledger.is_paused(name).await.unwrap_or_default(),
            // Milliseconds are exact enough, and readable.
            oldest_pending_s: (age / 1000) as f64 / 1000.0,
        }
    }

    /// When the oldest event was accepted of which something is pending: what is parked stands before the cursor.
    async fn oldest_pending(&self, books: &BookSet, sink: &str, cursor: Option<Position>) -> Option<i64> {
        // Unknown where the ledger cannot say.
        let parked = self.ledger.oldest_parked(sink).await.ok().flatten();
        let owed = match cursor {
            Some(cursor) => self.oldest_owed(books, sink, cursor).await,
            None => None,
        };
        parked.into_iter().chain(owed).min()
    }

    /// When the oldest event behind the cursor that is owed to the sink was accepted; the last one looked at, where none
    /// of those is.
    async fn oldest_owed(&self, books: &BookSet, sink: &str, cursor: Position) -> Option<i64> {
        let chunk = self.journal.read(cursor, LOOK_AHEAD).await.ok()?;
        let mut records = chunk.entries.iter().map(|entry| &entry.record);
        let owed = records.find(|record| books.rules.wants(sink, &record.source, &record.kind));
        owed.or_else(|| chunk.entries.last().map(|entry| &entry.record)).map(|record| record.time)
    }
}

fn pressed(front: &Ingress) -> Reason {
    let Pressed { connections_cut, requests_cut, waiting } = front.pressed();
    let text = format!(
        "more is sent than [server] has room for (max_connections, max_inflight_bytes): {waiting} requests wait; since the \
         start {connections_cut} connections and {requests_cut} slow requests had to go"
    );
    Reason { code: FRONT_PRESSED.to_owned(), subject: String::new(), text }
}
