//! Payloads → rows of a table, where the database may refuse one of them: all rows are written at once where that
//! works; where one is at fault they are written in halves, until that one stands alone.
//!
//! [`Search`] decides which rows are tried together and what becomes of each delivery. How rows are written, and whose
//! fault a failure was, is the sink's business.

use std::collections::HashMap;
use std::time::Instant;

use crate::delivery::Batch;
use crate::ladder;
use crate::report::{Outcome, Reason, Report, code};
use crate::rows::{self, Insert, Members, Row, Unknown, Why};
use crate::table::OnConflict;

/// Whose fault a failure was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// One of the rows'.
    Row(Reason),
    /// The sink's as a whole.
    Sink(Reason),
}

impl Failure {
    /// Why, whoever is to blame.
    pub fn into_reason(self) -> Reason {
        match self {
            Self::Row(why) | Self::Sink(why) => why,
        }
    }
}

/// A batch on its way into a table.
#[derive(Debug)]
pub struct Search<'b> {
    batch: &'b Batch,
    on_conflict: OnConflict,
    payloads: Vec<Result<Members, Why>>,
    report: Report,
    /// Rows not tried yet: a stack of parts, the earliest deliveries on top. At most one part more than they can be
    /// halved.
    parts: Vec<Vec<usize>>,
    /// Deliveries whose payload cannot be a row, with why.
    unreadable: Vec<(usize, Why)>,
}

impl<'b> Search<'b> {
    /// Reads the payloads; no row has been tried yet.
    pub fn new(batch: &'b Batch, on_conflict: OnConflict) -> Self {
        let read = |payload: &[u8]| match on_conflict {
            OnConflict::Nothing | OnConflict::Update => rows::read(payload).map_err(Why::Borrowed),
            OnConflict::Ladder => ladder::read(payload),
        };
        let payloads: Vec<_> = batch.deliveries.iter().map(|delivery| read(delivery.bytes())).collect();
        let (readable, unreadable) = rows::sort_out(batch, &payloads);
        Self { batch, on_conflict, payloads, report: Report::open(batch), parts: vec![readable], unreadable }
    }

    /// When the core gives up waiting.
    pub fn deadline(&self) -> Instant {
        self.batch.deadline
    }

    /// Whether no row is left to be tried.
    pub fn is_over(&self) -> bool {
        self.parts.iter().all(Vec::is_empty)
    }

    /// The rows to be written next, in one transaction: places in the batch. `None` when all have been tried.
    pub fn next_rows(&mut self) -> Option<Vec<usize>> {
        while let Some(mut rows) = self.parts.pop() {
            rows.retain(|&i| self.report.may_attempt(self.batch, i));
            if !rows.is_empty() {
                return Some(rows);
            }
        }
        None
    }

    /// The INSERTs that write these rows into a table with these columns, in order; see [`rows::inserts`]. With
    /// [`OnConflict::Ladder`] rows of one message are one already.
    pub fn inserts(&self, rows: &[usize], columns: &HashMap<String, usize>, unknown: &mut Unknown) -> Vec<Insert<'_>> {
        if self.on_conflict == OnConflict::Ladder {
            let rows = rows.iter().filter_map(|&i| self.payloads.get(i)?.as_ref().ok());
            return ladder::inserts(rows, columns, unknown);
        }
        let rows = rows.iter().filter_map(|&i| {
            let (delivery, Ok(members)) = (self.batch.deliveries.get(i)?, self.payloads.get(i)?) else { return None };
            Some(Row { id: &delivery.id, key: &delivery.key, members })
        });
        rows::inserts(rows, columns, self.batch.ordered, unknown)
    }

    /// Notes what became of these rows. After a failure of the sink no row is left to be tried.
    pub fn note(&mut self, mut rows: Vec<usize>, written: Result<(), Failure>) {
        match written {
            Ok(()) => self.set(rows, &Outcome::Delivered),
            Err(Failure::Row(why)) if rows.len() == 1 => self.set(rows, &Outcome::Reject { why }),
            Err(Failure::Row(_)) => {
                let later = rows.split_off(rows.len() / 2);
                self.parts.extend([later, rows]);
            }
            Err(Failure::Sink(why)) => {
                self.parts.push(rows);
                self.give_up(why);
            }
        }
    }

    /// Leaves the rows that have not been written for another time.
    pub fn give_up(&mut self, why: Reason) {
        let left = std::mem::take(&mut self.parts).into_iter().rev().flatten();
        let left = left.filter(|&i| self.report.may_attempt(self.batch, i)).collect();
        self.set(left, &Outcome::retry_for(why));
    }

    /// What became of each delivery.
    pub fn into_report(mut self) -> Report {
        for (i, why) in std::mem::take(&mut self.unreadable) {
            if self.report.may_attempt(self.batch, i) {
                self.report.set(self.batch, i, Outcome::reject(code::BAD_PAYLOAD, why));
            }
        }
        self.report
    }

    fn set(&mut self, rows: Vec<usize>, outcome: &Outcome) {
        for i in rows {
            self.report.set(self.batch, i, outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::cloudevents::tests::delivery;

    /// Deliveries with these keys and payloads; their ids are their places.
    fn batch(all: &[(&str, &'static [u8])], ordered: bool) -> Batch {
        let deliveries = all.iter().enumerate().map(|(i, &(key, payload))| {
            let mut one = delivery(payload, "t");
            (one.id, one.key) = (i.to_string(), key.into());
            Arc::new(one)
        });
        Batch { deliveries: deliveries.collect(), deadline: Instant::now() + Duration::from_secs(60), ordered }
    }

    /// Runs a search in which writing is this, and says which rows were tried together and what became of each.
    fn run(batch: &Batch, mut write: impl FnMut(&[usize]) -> Result<(), Failure>) -> (Vec<Vec<usize>>, Vec<String>) {
        let (mut search, mut tried) = (Search::new(batch, OnConflict::Nothing), Vec::new());
        while let Some(rows) = search.next_rows() {
            tried.push(rows.clone());
            let written = write(&rows);
            search.note(rows, written);
        }
        assert!(search.is_over());
        let shown = search.into_report().into_slots().into_iter().map(|slot| match slot {
            Some(Outcome::Delivered) => "delivered".to_owned(),
            Some(Outcome::Retry { why, .. }) => format!("retry {}", why.code),
            Some(Outcome::Reject { why }) => format!("reject {}", why.code),
            Some(other) => format!("{other:?}"),
            None => "unset".to_owned(),
        });
        (tried, shown.collect())
    }

    fn refuse(bad: usize) -> impl FnMut(&[usize]) -> Result<(), Failure> {
        move |rows| if rows.contains(&bad) { Err(Failure::Row(Reason::new("constraint", "x"))) } else { Ok(()) }
    }

    #[test]
    fn the_row_at_fault_is_found_in_halves_and_the_others_are_written() {
        let batch = batch(&[("a", b"{}"), ("b", b"{}"), ("c", b"{}"), ("d", b"{}")], true);
        let (tried, slots) = run(&batch, refuse(2));
        assert_eq!(tried, [vec![0, 1, 2, 3], vec![0, 1], vec![2, 3], vec![2], vec![3]]);
        assert_eq!(slots, ["delivered", "delivered", "reject constraint", "delivered"]);
    }

    #[test]
    fn what_follows_a_refused_row_in_its_key_is_not_tried_where_order_is_owed() {
        let all: &[(&str, &'static [u8])] = &[("a", b"{}"), ("a", b"{}"), ("b", b"no JSON"), ("b", b"{}")];
        let (tried, slots) = run(&batch(all, true), refuse(0));
        assert_eq!(tried, [vec![0, 1], vec![0]]);
        assert_eq!(slots, ["reject constraint", "unset", "reject bad_payload", "unset"]);
        let (_, slots) = run(&batch(all, false), refuse(0));
        assert_eq!(slots, ["reject constraint", "delivered", "reject bad_payload", "delivered"]);
    }

    #[test]
    fn a_failure_of_the_sink_ends_the_search() {
        let batch = batch(&[("a", b"{}"), ("b", b"{}"), ("c", b"{}"), ("d", b"{}")], true);
        let mut calls = 0;
        let (tried, slots) = run(&batch, |_| {
            calls += 1;
            match calls {
                1 => Err(Failure::Row(Reason::new("constraint", "x"))),
                2 => Ok(()),
                _ => Err(Failure::Sink(Reason::new("connect", "x"))),
            }
        });
        assert_eq!(tried, [vec![0, 1, 2, 3], vec![0, 1], vec![2, 3]]);
        assert_eq!(slots, ["delivered", "delivered", "retry connect", "retry connect"]);
    }
}
