//! What becomes of fresh deliveries that were tried. After a few quick tries a delivery is parked in the ledger: so the
//! cursor moves on and pins no segment of the journal, however long the delivery takes. Of a key that has something
//! parked everything later is parked behind it.

use std::time::{Duration, Instant};

use sink_api::{Reason, Yielder};

use super::outcomes::Outcomes;
use crate::deliver::backoff;
use crate::deliver::breaker::Moment;
use crate::deliver::config::RetryKeys;
use crate::deliver::item::Item;
use crate::deliver::rows;
use crate::deliver::told::Of;
use crate::deliver::verdict::Verdict;
use crate::deliver::window::{Arrival, End, Skipped};
use crate::ledger::Spent;
use crate::ledger::held::size_of;
use crate::ledger::runs::{Call, suffix};

/// A delivery is parked after so many tries…
const QUICK_TRIES: u32 = 3;
/// … or where the next try is further away.
const QUICK_WAIT: Duration = Duration::from_secs(5);

impl Outcomes<'_> {
    /// Takes in a batch of fresh deliveries that came back from that call.
    pub fn tried(&mut self, verdicts: Vec<Verdict>, call: Call, at: Moment) {
        let (mut again, mut done) = (Vec::new(), Vec::with_capacity(verdicts.len()));
        let mut yielder = Yielder::default();
        for verdict in verdicts {
            yielder.step();
            match verdict {
                Verdict::Again(item, due, _) => again.push((item, due)),
                Verdict::PutOff(mut item, due, _) if !is_put_off_for_long(&item, due, at) || self.backlog.is_full() => {
                    item.waits_for_its_sink(due.saturating_duration_since(at.now));
                    again.push((item, Some(due)));
                }
                Verdict::PutOff(item, due, why) => {
                    self.keep(&item, due, why, rows::spent(&item, Duration::ZERO, at), at);
                    done.push(item);
                }
                Verdict::Skipped(item, why) => {
                    let suffix = suffix(&item.delivery.id).into();
                    self.settler
                        .ended(item.position, End::Skipped(Skipped { suffix, call, attempts: item.attempts, why }));
                    done.push(item);
                }
                Verdict::Failed(item, due, _) if !self.may_park(&item, due, at) => again.push((item, Some(due))),
                Verdict::Failed(item, due, why) => {
                    self.park(&item, due, why, at);
                    done.push(item);
                }
                Verdict::Delivered(item) => {
                    self.settler.ended(item.position, End::Delivered(arrival(&item, call)));
                    done.push(item);
                }
                Verdict::Dead(item, why) => {
                    self.log.dead(Of::event(&item.delivery.event), &item.delivery.id, [why.code, &why.detail]);
                    let letter = rows::item(&item, why, None, Spent::default());
                    self.settler.ended(item.position, End::Held(Box::new(letter)));
                    done.push(item);
                }
            }
        }
        self.backlog.put_back(again, &done);
    }

    /// Whether a failed delivery leaves the window now. While the breaker is open none does, as the sink is at fault.
    fn may_park(&self, item: &Item, due: Instant, at: Moment) -> bool {
        let long = item.failures >= QUICK_TRIES || due.saturating_duration_since(at.now) > QUICK_WAIT;
        long && at.is_closed && !self.backlog.is_full()
    }

    /// Parks a delivery: its row goes into the ledger with the cursor that passes the event.
    fn park(&mut self, item: &Item, due: Instant, why: Reason, at: Moment) {
        let wait = due.saturating_duration_since(at.now);
        self.keep(item, due, why, rows::spent(item, wait, at), at);
    }

    /// The same, where that much counts against its bounds.
    fn keep(&mut self, item: &Item, due: Instant, why: Reason, spent: Spent, at: Moment) {
        let wall = rows::wall_after(due.saturating_duration_since(at.now));
        let row = rows::item(item, why, Some(wall), spent);
        let lane = self.backlog.lane_of(&item.delivery);
        self.backlog.park(&lane, due, size_of(&row));
        self.settler.ended(item.position, End::Held(Box::new(row)));
    }

    /// Parks those of a batch that have failed again and again although the sink is well: the sink has taken something
    /// since, or the breaker would be open. If they were tried, a few of them would open it each time it has closed.
    pub fn park_suspects(&mut self, items: Vec<Item>, retry: &RetryKeys, at: Moment) -> Vec<Item> {
        if !items.iter().any(|item| item.failures >= QUICK_TRIES) {
            return items;
        }
        let is_parked = |item: &Item| item.failures >= QUICK_TRIES && !self.backlog.is_full();
        let (suspects, rest): (Vec<Item>, Vec<Item>) = items.into_iter().partition(is_parked);
        for item in &suspects {
            let due = at.now + backoff::wait(retry, item.failures, None, rand::random::<f64>());
            self.park(item, due, Reason::new("", "failed again while others were delivered"), at);
        }
        // Later deliveries of the same keys go back, to be parked behind them.
        let (behind, rest): (Vec<Item>, Vec<Item>) =
            rest.into_iter().partition(|item| self.backlog.stands_behind_parked(item));
        self.backlog.put_back(behind.into_iter().map(|item| (item, None)).collect(), &suspects);
        rest
    }

    /// Parks what stands behind parked deliveries of its key, as long as there is room.
    pub fn park_behind(&mut self, at: Moment) {
        while let Some(items) = self.backlog.take_behind_parked() {
            for item in items {
                let why = item.last_failure.as_deref().cloned().unwrap_or_else(|| Reason::new("", ""));
                self.park(&item, at.now, why, at);
            }
        }
    }
}

/// Whether what the sink has put off until then is better kept in the ledger meanwhile: no segment of the journal is
/// pinned by it. What is put off again and again goes there, too.
pub(super) fn is_put_off_for_long(item: &Item, due: Instant, at: Moment) -> bool {
    due.saturating_duration_since(at.now) > QUICK_WAIT || item.put_offs >= QUICK_TRIES
}

/// How a delivery arrived that this call brought there.
fn arrival(item: &Item, call: Call) -> Arrival {
    let suffix = suffix(&item.delivery.id).into();
    Arrival { suffix, call, attempts: item.attempts.saturating_add(1), after: item.last_failure.clone() }
}
