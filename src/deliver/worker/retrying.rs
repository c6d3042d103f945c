//! What becomes of parked deliveries that were fetched to be tried again. Their fates go into the ledger with the next
//! settlement, and no more of their lanes is fetched before that is durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::Reason;

use super::outcomes::Outcomes;
use super::parking::is_put_off_for_long;
use crate::deliver::breaker::Moment;
use crate::deliver::item::Item;
use crate::deliver::rows;
use crate::deliver::told::Of;
use crate::deliver::verdict::Verdict;
use crate::ledger::held::size_of;
use crate::ledger::parked::Row;
use crate::ledger::runs::Call;
use crate::ledger::{Counters, Fate, HeldDelivery, ParkedFate, Spent};

/// A row of the ledger that meets its fate.
pub(super) struct ParkedRow<'r> {
    pub lane: &'r Arc<str>,
    /// The delivery's id.
    pub id: &'r str,
    /// The shard of its event.
    pub shard: u32,
    /// Bytes it takes in the ledger.
    pub size: u64,
}

impl<'r> ParkedRow<'r> {
    /// This row of that lane.
    pub fn of(lane: &'r Arc<str>, row: &'r Row) -> Self {
        Self { lane, id: &row.held.id, shard: row.held.position.shard, size: row.size }
    }
}

impl Outcomes<'_> {
    /// Takes in a batch of parked deliveries that came back from that call.
    pub fn retried(&mut self, verdicts: Vec<Verdict>, call: Call, at: Moment) {
        let (mut again, mut done, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for verdict in verdicts {
            match verdict {
                Verdict::Again(item, due, _) => again.push((item, due)),
                Verdict::PutOff(mut item, due, _) if !is_put_off_for_long(&item, due, at) => {
                    item.waits_for_its_sink(due.saturating_duration_since(at.now));
                    again.push((item, Some(due)));
                }
                Verdict::PutOff(item, due, why) => {
                    self.waits_on(&item, due, why, rows::spent(&item, Duration::ZERO, at), at);
                    waiting.push(item.clone());
                    done.push(item);
                }
                Verdict::Failed(item, due, why) => {
                    let spent = rows::spent(&item, due.saturating_duration_since(at.now), at);
                    self.waits_on(&item, due, why, spent, at);
                    waiting.push(item.clone());
                    done.push(item);
                }
                Verdict::Skipped(item, why) => {
                    let fate = Fate::Skipped(rows::last_try(&item, why, Spent::default()));
                    self.item_over(&item, fate, &Counters { filtered: 1, ..Counters::default() });
                    done.push(item);
                }
                Verdict::Delivered(item) => {
                    let fate = Fate::Delivered(call, item.attempts.saturating_add(1));
                    self.item_over(&item, fate, &Counters { delivered: 1, ..Counters::default() });
                    done.push(item);
                }
                Verdict::Dead(item, why) => {
                    self.log.dead(Of::event(&item.delivery.event), &item.delivery.id, [why.code, &why.detail]);
                    let fate = Fate::Dead(rows::last_try(&item, why, Spent::default()));
                    self.item_over(&item, fate, &Counters { dead: 1, ..Counters::default() });
                    done.push(item);
                }
            }
        }
        self.backlog.put_back_parked(again, &done, &waiting);
    }

    /// The row stays in the ledger, due again at that time.
    fn waits_on(&mut self, item: &Item, due: Instant, why: Reason, spent: Spent, at: Moment) {
        let tried = rows::last_try(item, why, spent);
        let lane = self.backlog.lane_of(&item.delivery);
        self.backlog.waits_on(&lane, due);
        let fate = Fate::Again(rows::wall_after(due.saturating_duration_since(at.now)), tried);
        let parked = ParkedFate { id: item.delivery.id.clone(), lane, fate };
        self.settler.decided(item.position.shard, parked, &Counters::default());
    }

    fn item_over(&mut self, item: &Item, fate: Fate, counts: &Counters) {
        let lane = self.backlog.lane_of(&item.delivery);
        let size = item.parked.map_or(0, |history| history.size);
        let row = ParkedRow { lane: &lane, id: &item.delivery.id, shard: item.position.shard, size };
        self.over(&row, fate, counts);
    }

    /// A row is over, with that fate and counts.
    pub fn over(&mut self, row: &ParkedRow<'_>, fate: Fate, counts: &Counters) {
        self.backlog.over(row.lane, row.size);
        let parked = ParkedFate { id: row.id.to_owned(), lane: Arc::clone(row.lane), fate };
        self.settler.decided(row.shard, parked, counts);
    }

    /// A row was routed anew, and that route left nothing of it.
    pub fn filtered(&mut self, row: &ParkedRow<'_>, route: Arc<str>, counts: &Counters) {
        self.over(row, Fate::Filtered(route), counts);
    }

    /// A row was routed anew: these rows take its place, each parked in its own lane as if it were new.
    pub fn replaced(&mut self, row: &ParkedRow<'_>, by: Vec<HeldDelivery>, counts: &Counters) {
        for held in by.iter().filter(|held| held.due.is_some()) {
            let lane = self.backlog.lane_of_row(held).into();
            self.backlog.park(&lane, Instant::now(), size_of(held));
        }
        self.over(row, Fate::Replaced(by), counts);
    }
}
