//! The sinks' books: what each is owed, and what it shows of itself. Replaced at a reload; a sink that stays keeps its own.

use std::sync::{Arc, PoisonError, RwLock};

use crate::deliver::{Appended, Book};
use crate::route::RuleSet;

/// Most tables of counts a sink's book is the sum of; older ones are added up.
const MAX_TABLES: usize = 8;

/// One sink's book.
#[derive(Clone)]
pub(super) struct SinkBook {
    pub name: String,
    pub book: Arc<Book>,
    /// What was appended for it, by the rules of each time, and its place there.
    tables: Vec<(Arc<Appended>, usize)>,
}

impl SinkBook {
    /// What was appended for it since its book began.
    pub fn appended(&self) -> u64 {
        self.tables.iter().map(|(table, at)| table.owed().get(*at).copied().unwrap_or_default()).sum()
    }
}

/// The books under one set of rules, in the order of the config.
pub(super) struct BookSet {
    pub rules: Arc<RuleSet>,
    pub sinks: Vec<SinkBook>,
    pub appended: Arc<Appended>,
}

impl BookSet {
    fn new(rules: &Arc<RuleSet>, names: Vec<String>, before: &[SinkBook]) -> Self {
        let appended = Arc::new(Appended::new(Arc::clone(rules), names.clone()));
        let sink = |(at, name): (usize, String)| {
            let old = before.iter().find(|old| old.name == name);
            let mut tables = old.map(|old| old.tables.clone()).unwrap_or_default();
            let book = old.map(|old| Arc::clone(&old.book)).unwrap_or_default();
            if tables.len() >= MAX_TABLES {
                let (table, at) = tables.remove(0);
                book.add_owed(table.owed().get(at).copied().unwrap_or_default());
            }
            tables.push((Arc::clone(&appended), at));
            SinkBook { name, book, tables }
        };
        Self { rules: Arc::clone(rules), sinks: names.into_iter().enumerate().map(sink).collect(), appended }
    }

    /// The book of that sink.
    pub fn of(&self, sink: &str) -> Option<&SinkBook> {
        self.sinks.iter().find(|book| book.name == sink)
    }
}

/// The books in use.
pub(super) struct Books(RwLock<Arc<BookSet>>);

impl Books {
    pub fn new(rules: &Arc<RuleSet>, names: Vec<String>) -> Self {
        Self(RwLock::new(Arc::new(BookSet::new(rules, names, &[]))))
    }

    /// Those in use now.
    pub fn now(&self) -> Arc<BookSet> {
        // Replaced whole.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on events are counted by these rules, for these sinks.
    pub fn follow(&self, rules: &Arc<RuleSet>, names: Vec<String>) -> Arc<BookSet> {
        let next = Arc::new(BookSet::new(rules, names, &self.now().sinks));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        next
    }
}
