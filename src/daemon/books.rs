//! The sinks' books: what each sink is owed, and what became of it. A reload replaces the set of books; a sink that
//! stays in the config keeps its own book.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::deliver::{Book, Counting, Figures, OwedSnapshot, owed};
use crate::ingress::Tally;
use crate::journal::{Journal, Marks, Owed};
use crate::ledger::Storage;
use crate::route::RuleSet;

/// Longest that others are asked for what they have settled and appended.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of when a sink's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Now,
    /// Those who keep the journal do not answer: they are of when they did last.
    Before,
    /// They have not answered since the start: nothing is known.
    Never,
}

/// One sink's book.
#[derive(Clone)]
pub(super) struct SinkBook {
    pub name: String,
    pub book: Arc<Book>,
}

/// The books under one set of rules, in the order of the config.
pub(super) struct BookSet {
    pub rules: Arc<RuleSet>,
    pub sinks: Vec<SinkBook>,
}

impl BookSet {
    /// The book of that sink.
    pub fn of(&self, sink: &str) -> Option<&SinkBook> {
        self.sinks.iter().find(|book| book.name == sink)
    }
}

/// The books in use.
pub(super) struct Books {
    now: RwLock<Arc<BookSet>>,
    counting: Arc<Counting>,
    /// The figures of sinks over all daemons as they were heard last.
    heard: Mutex<HashMap<String, Figures>>,
}

impl Books {
    /// New books, which count what is appended from that position on.
    pub fn new(rules: &Arc<RuleSet>, names: Vec<String>, from: &Marks) -> Self {
        let counting = Counting::new(rules, names.clone(), from);
        let sinks: Vec<SinkBook> = names.into_iter().map(|name| SinkBook { name, book: Arc::default() }).collect();
        for (at, sink) in sinks.iter().enumerate() {
            sink.book.counted_by(from, &counting.latest(), at, from);
        }
        let now = RwLock::new(Arc::new(BookSet { rules: Arc::clone(rules), sinks }));
        Self { now, counting, heard: Mutex::default() }
    }

    /// The books in use now.
    pub fn now(&self) -> Arc<BookSet> {
        // The set is replaced whole, so that a panic elsewhere leaves a good one behind.
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who counts the next event of that source and type, and whether any route wants it.
    pub fn tally(&self, source: &str, kind: &str) -> (Arc<dyn Tally>, bool) {
        self.counting.tally(source, kind)
    }

    /// From the journal's end on, events are counted by these rules, for these sinks. Gives that position, and the
    /// books to [`Self::replace`] the ones in use with, once the new books among them have begun.
    pub fn switch(&self, rules: &Arc<RuleSet>, names: Vec<String>, journal: &dyn Journal) -> (BookSet, Marks) {
        let before = self.now();
        rules.count_on(&before.rules);
        let sink = |name: String| SinkBook {
            book: before.of(&name).map(|old| Arc::clone(&old.book)).unwrap_or_default(),
            name,
        };
        let sinks: Vec<SinkBook> = names.iter().cloned().map(sink).collect();
        let tell = |from: &Marks, table: &Arc<_>, counted_to: &Marks| {
            for (column, sink) in sinks.iter().enumerate() {
                sink.book.counted_by(from, table, column, counted_to);
            }
        };
        let from = self.counting.switch((rules, names), tell, || journal.known_ends());
        (BookSet { rules: Arc::clone(rules), sinks }, from)
    }

    /// From now on these books are in use.
    pub fn replace(&self, next: BookSet) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// The figures of a sink as far as they are known.
    pub async fn figures(&self, storage: &Storage, sink: &SinkBook) -> Figures {
        self.heard_figures(storage, sink).await.0
    }

    /// The figures of a sink, and of when they are.
    pub async fn heard_figures(&self, storage: &Storage, sink: &SinkBook) -> (Figures, Heard) {
        if !storage.journal.is_shared() {
            return (self.own_figures(storage, sink).await, Heard::Now);
        }
        let shared = tokio::time::timeout(PATIENCE, self.shared_figures(storage, &sink.name)).await.ok().flatten();
        // There are no more of them than the config ever had sinks.
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = shared {
            heard.insert(sink.name.clone(), now);
            return (now, Heard::Now);
        }
        // What they said last stands: this daemon's book alone is a part of it.
        match heard.get(&sink.name) {
            Some(before) => (*before, Heard::Before),
            None => (sink.book.figures(None), Heard::Never),
        }
    }

    async fn own_figures(&self, storage: &Storage, sink: &SinkBook) -> Figures {
        let look = || -> (Marks, OwedSnapshot) { (self.counting.reached(), sink.book.snapshot()) };
        let (reached, first) = look();
        // The ledger may not be open yet, or not be readable: then the book goes by what the ledger said last.
        let state = storage.settle.load(&sink.name).await.ok().flatten();
        // The order of these reads matters: all that is counted is in the sum, and nothing stands behind it that a
        // worker could have booked.
        let second = sink.book.snapshot();
        let is_still = || self.counting.reached() == reached && storage.journal.known_ends() == reached;
        if let Some(state) = state.as_ref().filter(|state| state.cursors == reached && is_still()) {
            sink.book.reconcile([first, second], state);
        }
        sink.book.figures(state)
    }

    /// The figures of a sink over all daemons; nothing where it cannot be said now.
    async fn shared_figures(&self, storage: &Storage, sink: &str) -> Option<Figures> {
        // Asked first: it says at once that the brokers are away. What is appended after it is counted the next time.
        let ends = storage.journal.ends().await.ok()?;
        let state = storage.settle.glance(sink).await.ok()??;
        let Owed { known, unknown } = storage.journal.owed(&state.cursors, &ends).await.ok()?;
        let rules = Arc::clone(&self.now().rules);
        Some(Figures::behind(&state, owed(&rules, sink, &known), unknown, rules.most_owed(sink)))
    }
}
