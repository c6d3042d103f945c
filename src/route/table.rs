//! Remembers, for each source and type, which routes match, per sink. In steady state routing an event costs two
//! look-ups and no glob.
//!
//! At most [`MAX_TYPES`] pairs are remembered; the routes of further ones are worked out each time. Nothing is
//! forgotten, as a rule set lives only until the next reload.

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::{HashMap, HashMapExt as _};

use super::rules::Route;

/// Most (source, type) pairs remembered.
pub(super) const MAX_TYPES: usize = 4_096;

/// One route on the way of an event to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// The route's index in the rule set.
    pub route: usize,
    /// Whether the route names the sink. If not, only its condition matters, which may end the search.
    pub named: bool,
}

/// What globs and sources say about one source and type: for each sink that may get something, the routes to ask, in
/// file order.
#[derive(Debug, Default)]
pub(super) struct Row {
    stops: HashMap<Box<str>, Vec<Stop>>,
    /// Whether a route of the file is among them.
    is_matched: bool,
}

impl Row {
    /// Makes a row from the matching routes, in file order, up to and including the first final one without a
    /// condition.
    pub fn of<'r>(matching: impl Iterator<Item = (usize, &'r Route)>) -> Self {
        let mut stops: HashMap<Box<str>, Vec<Stop>> = HashMap::new();
        // Routes with a condition that may end the search, for sinks yet to come.
        let mut gates: Vec<usize> = Vec::new();
        let mut is_matched = false;
        for (index, route) in matching {
            // A route that stands in no file is ended by none.
            if route.implicit.is_some() {
                let own = route.to.iter().map(|sink| (Box::from(sink.as_str()), Stop { route: index, named: true }));
                own.for_each(|(sink, stop): (Box<str>, _)| stops.entry(sink).or_default().push(stop));
                continue;
            }
            is_matched = true;
            for sink in &route.to {
                let own = stops.entry(sink.as_str().into()).or_default();
                let passed = own.last().map_or(0, |last| gates.partition_point(|gate| *gate <= last.route));
                let between = gates.iter().skip(passed).map(|gate| Stop { route: *gate, named: false });
                own.extend(between.chain([Stop { route: index, named: true }]));
            }
            if route.is_final {
                gates.push(index);
            }
        }
        Self { stops, is_matched }
    }

    /// The routes to ask for this sink.
    pub fn stops(&self, sink: &str) -> &[Stop] {
        self.stops.get(sink).map_or(&[], Vec::as_slice)
    }

    /// How many of these routes name the sink.
    pub fn owed(&self, sink: &str) -> u32 {
        let named = self.stops(sink).iter().filter(|stop| stop.named).count();
        u32::try_from(named).unwrap_or(u32::MAX)
    }

    /// Whether a route of the file gives any sink anything.
    pub fn is_matched(&self) -> bool {
        self.is_matched
    }
}

/// Rows by source and type.
#[derive(Debug, Default)]
pub(super) struct Table(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    rows: HashMap<Box<str>, HashMap<Box<str>, Arc<Row>>>,
    len: usize,
}

impl Table {
    /// The row, worked out if it is not remembered. If two threads work out the same row at once, the first one stays.
    pub fn get_or(&self, source: &str, kind: &str, work_out: impl FnOnce() -> Row) -> Arc<Row> {
        // The rows are whole at any moment, so a panic elsewhere under the lock spoils nothing.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = known.rows.get(source).and_then(|kinds| kinds.get(kind)) {
            return row.clone();
        }
        let full = known.len >= MAX_TYPES;
        drop(known);
        let row = Arc::new(work_out());
        if !full {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let kinds = known.rows.entry(source.into()).or_default();
            if let Some(first) = kinds.get(kind) {
                return first.clone();
            }
            if known.len < MAX_TYPES {
                known.len += 1;
                known.rows.entry(source.into()).or_default().insert(kind.into(), row.clone());
            }
        }
        row
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).rows.values().map(HashMap::len).sum()
    }
}
