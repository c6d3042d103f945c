//! What each sink is owed of the events that this life of the daemon has appended, counted by source and type, whatever
//! is delivered: an event costs one look-up and one addition. What the workers settle is the other side of the books.
//!
//! An event is counted when it is on disk, by the rules in force at its position: a reload says from which position on
//! its rules count ([`Counting::switch`]), and an event that was under way at that moment falls on one side or the
//! other.
//!
//! Types with the same share for every sink share a counter. [`MAX_TYPES`] types are remembered, the shares of others
//! are worked out each time; there are as many counters as the rules can tell types apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use crate::ingress::Tally;
use crate::ingress::counts::Counter;
use crate::journal::{Marks, Position};
use crate::route::RuleSet;

/// Most (source, type) pairs remembered.
const MAX_TYPES: usize = 4_096;

/// Deliveries owed to each sink by one event, in the order of the sinks.
type Share = Vec<u32>;

#[derive(Debug, Default)]
struct Known {
    types: HashMap<Box<str>, HashMap<Box<str>, Arc<Kind>>>,
    len: usize,
    shares: HashMap<Share, Arc<Counter>>,
}

/// The counts under one set of rules.
#[derive(Debug)]
pub struct Appended {
    /// The rules that events are counted by.
    pub rules: Arc<RuleSet>,
    sinks: Vec<String>,
    counting: Weak<Counting>,
    /// Tells this table from others.
    number: u64,
    known: RwLock<Known>,
}

impl Appended {
    /// Nothing appended yet.
    fn new(rules: &Arc<RuleSet>, sinks: Vec<String>, counting: &Weak<Counting>, number: u64) -> Arc<Self> {
        let (rules, counting) = (Arc::clone(rules), Weak::clone(counting));
        Arc::new(Self { rules, sinks, counting, number, known: RwLock::default() })
    }

    fn kind(&self, source: &str, kind: &str) -> Arc<Kind> {
        // The maps are whole at any moment, so a panic elsewhere under the lock spoils nothing.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = known.types.get(source).and_then(|kinds| kinds.get(kind)) {
            return Arc::clone(kind);
        }
        drop(known);
        let share: Share = self.sinks.iter().map(|sink| self.rules.owed(sink, source, kind)).collect();
        let wanted = share.iter().any(|owed| *owed > 0);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let counter = Arc::clone(known.shares.entry(share).or_default());
        let (counting, table) = (Weak::clone(&self.counting), self.number);
        let new = Arc::new(Kind { source: source.into(), kind: kind.into(), counter, wanted, counting, table });
        if known.len < MAX_TYPES {
            let kinds = known.types.entry(source.into()).or_default();
            let is_new = kinds.insert(kind.into(), Arc::clone(&new)).is_none();
            known.len += usize::from(is_new);
        }
        new
    }

    /// What the sink of that column is owed of all events so far.
    pub fn owed(&self, column: usize) -> u64 {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let owed =
            |(share, counter): (&Share, &Arc<Counter>)| counter.get() * share.get(column).copied().map_or(0, u64::from);
        known.shares.iter().map(owed).sum()
    }
}

/// One source and type under one set of rules.
#[derive(Debug)]
struct Kind {
    source: Box<str>,
    kind: Box<str>,
    counter: Arc<Counter>,
    /// Whether any route wants such events.
    wanted: bool,
    counting: Weak<Counting>,
    /// The number of the table it belongs to.
    table: u64,
}

/// Which rules count, and how far that has come.
#[derive(Debug)]
pub struct Counting {
    /// The table for events that are appended from now on.
    latest: RwLock<Arc<Appended>>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// From which marks on each table counts. Never empty; a table that can get no more events is let go.
    tables: Vec<(Marks, Arc<Appended>)>,
    /// Every event before these marks is counted.
    to: Marks,
}

impl Counting {
    /// Counts by these rules for these sinks, from these marks on.
    pub fn new(rules: &Arc<RuleSet>, sinks: Vec<String>, from: &Marks) -> Arc<Self> {
        Arc::new_cyclic(|counting| {
            let table = Appended::new(rules, sinks, counting, 0);
            let now = Now { tables: vec![(from.clone(), Arc::clone(&table))], to: from.clone() };
            Self { latest: RwLock::new(table), now: Mutex::new(now) }
        })
    }

    /// The counts under the rules in force.
    pub fn latest(&self) -> Arc<Appended> {
        // Replaced whole.
        Arc::clone(&self.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who counts an event of a source and type that is appended now, and whether any route wants it.
    pub fn tally(&self, source: &str, kind: &str) -> (Arc<dyn Tally>, bool) {
        let kind = self.latest.read().unwrap_or_else(PoisonError::into_inner).kind(source, kind);
        let wanted = kind.wanted;
        (kind, wanted)
    }

    /// Counts events from `ends` on by these rules for these sinks, and gives those marks. While nothing is counted,
    /// `ends` is asked for, which must be past every event that was told durable, and `tell` is told where the new
    /// table begins, the table, and the marks before which everything is counted.
    pub fn switch(
        self: &Arc<Self>,
        (rules, sinks): (&Arc<RuleSet>, Vec<String>),
        tell: impl FnOnce(&Marks, &Arc<Appended>, &Marks),
        ends: impl FnOnce() -> Marks,
    ) -> Marks {
        let table = Appended::new(rules, sinks, &Arc::downgrade(self), self.latest().number + 1);
        let mut now = self.now();
        let from = ends();
        now.tables.push((from.clone(), Arc::clone(&table)));
        tell(&from, &table, &now.to);
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = table;
        from
    }

    /// The marks before which every event is counted, and from which on none is.
    pub fn reached(&self) -> Marks {
        self.now().to.clone()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Whole between any two statements.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally for Kind {
    fn durable(&self, at: Position) {
        let Some(counting) = self.counting.upgrade() else { return };
        let mut now = counting.now();
        let Now { tables, to } = &mut *now;
        match tables.iter().rev().find(|(from, _)| !from.is_past(at)).or_else(|| tables.first()) {
            Some((_, table)) if table.number != self.table => table.kind(&self.source, &self.kind).counter.add(),
            _ => self.counter.add(),
        }
        to.set(at.behind());
        while tables.get(1).is_some_and(|(from, _)| to.reaches(from)) {
            tables.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{JqEval, RouteConfig};

    fn rules(toml: &str) -> Arc<RuleSet> {
        let routes: HashMap<String, Vec<RouteConfig>> = toml::from_str(toml).unwrap();
        Arc::new(RuleSet::compile(&routes["routes"], &["a", "b"], &["s"], Arc::new(JqEval)).unwrap())
    }

    fn sinks() -> Vec<String> {
        vec!["a".into(), "b".into()]
    }

    fn at(offset: u64) -> Position {
        Position { shard: 0, offset }
    }

    #[test]
    fn each_sink_is_owed_by_its_routes_whatever_the_number_of_types() {
        let rules = rules(
            "[[routes]]\nmatch = \"x*\"\nto = [\"a\", \"b\"]\n[[routes]]\nname = \"two\"\nmatch = \"xy\"\nto = \"a\"\n",
        );
        let counting = Counting::new(&rules, sinks(), &at(0).into());
        let appended = counting.latest();
        let mut offset = 0;
        let mut add = |kind: &str| {
            let (tally, wanted) = counting.tally("s", kind);
            tally.durable(at(offset));
            offset += 1;
            wanted
        };
        assert!(add("x") && add("xy") && add("xy") && !add("z"));
        let owed = || [0, 1].map(|sink| appended.owed(sink));
        assert_eq!(owed(), [5, 3]);
        for n in 0..2 * MAX_TYPES {
            assert!(add(&format!("x{n}")));
        }
        let more = 2 * MAX_TYPES as u64;
        assert_eq!(owed(), [5 + more, 3 + more]);
        assert!(appended.known.read().unwrap().len <= MAX_TYPES);
        assert_eq!(counting.reached(), at(4 + more).into());
    }

    /// An event that is told durable late stands before the switch; one that is told after a second switch may stand
    /// between the two.
    #[test]
    fn an_event_under_way_at_a_switch_is_counted_by_the_rules_of_the_position_it_gets() {
        let to = |sink: &str| rules(&format!("[[routes]]\nmatch = \"*\"\nto = \"{sink}\"\n"));
        let counting = Counting::new(&to("a"), sinks(), &at(0).into());
        let first = counting.latest();
        let under_way: Vec<_> = (0..4).map(|_| counting.tally("s", "t").0).collect();
        under_way[0].durable(at(5));
        assert_eq!(counting.switch((&to("b"), sinks()), |_, _, _| {}, || at(7).into()), at(7).into());
        let second = counting.latest();
        under_way[1].durable(at(6));
        assert_eq!(counting.switch((&to("a"), sinks()), |_, _, _| {}, || at(9).into()), at(9).into());
        let third = counting.latest();
        under_way[2].durable(at(8));
        under_way[3].durable(at(9));
        let owed = |table: &Appended| [0, 1].map(|sink| table.owed(sink));
        assert_eq!([&first, &second, &third].map(|table| owed(table)), [[2, 0], [0, 1], [1, 0]]);
    }

    #[test]
    fn a_table_is_let_go_when_no_shard_can_bring_it_an_event_any_more() {
        let to = |sink: &str| rules(&format!("[[routes]]\nmatch = \"*\"\nto = \"{sink}\"\n"));
        let place = |shard, offset| Position { shard, offset };
        let marks = |offsets: [u64; 2]| -> Marks { (0..).zip(offsets).map(|(shard, n)| place(shard, n)).collect() };
        let counting = Counting::new(&to("a"), sinks(), &marks([0, 0]));
        let first = counting.latest();
        let under_way: Vec<_> = (0..4).map(|_| counting.tally("s", "t").0).collect();
        counting.switch((&to("b"), sinks()), |_, _, _| {}, || marks([5, 5]));
        let second = counting.latest();
        under_way[0].durable(place(1, 9));
        under_way[1].durable(place(0, 3));
        under_way[2].durable(place(0, 4));
        under_way[3].durable(place(0, 5));
        let owed = |table: &Appended| [0, 1].map(|sink| table.owed(sink));
        assert_eq!([&first, &second].map(|table| owed(table)), [[2, 0], [0, 2]]);
        assert_eq!((counting.reached(), counting.now().tables.len()), (marks([6, 10]), 1));
    }
}
