//! What a worker says in the log and tells as news, and what it counts of that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::Reason;
use tracing::{debug, info, warn};

use crate::deliver::book::Book;
use crate::deliver::breaker::Change;
use crate::deliver::item::Item;
use crate::deliver::spec::Spec;
use crate::deliver::told::{self, Of};
use crate::deliver::verdict::Verdict;
use crate::news::{Kind, News};

/// There is at most one line about dead letters in this time; the next one says how many others there were.
const DEAD_INTERVAL: Duration = Duration::from_secs(1);
/// The same for failed deliveries, each of which is tried many times.
const FAILED_INTERVAL: Duration = Duration::from_secs(60);

/// One sink's lines.
pub(super) struct Log {
    sink: String,
    book: Arc<Book>,
    news: News,
    dead: Limiter,
    failed: Limiter,
    is_parking_full: bool,
    is_held_back: bool,
}

impl Log {
    pub fn new(spec: &Spec) -> Self {
        let (sink, book, news) = (spec.name.clone(), Arc::clone(&spec.book), spec.news.clone());
        let (dead, failed) = (Limiter::default(), Limiter::default());
        Self { sink, book, news, dead, failed, is_parking_full: false, is_held_back: false }
    }

    /// Says when there is no room to park in, and when there is again.
    pub fn parking(&mut self, is_full: bool, parked_max: u64) {
        let sink = &self.sink;
        match (std::mem::replace(&mut self.is_parking_full, is_full), is_full) {
            (false, true) => warn!(%sink, parked_max,
                "parked_max is reached: what this sink does not take keeps its cursor from moving on"),
            (true, false) => info!(%sink, "there is room to park again"),
            _ => {}
        }
    }

    /// Says when nothing is delivered although it could be, as the shards may be another's by now, and when it goes on.
    pub fn lease(&mut self, is_held_back: bool) {
        let sink = &self.sink;
        match (std::mem::replace(&mut self.is_held_back, is_held_back), is_held_back) {
            (false, true) => {
                warn!(%sink, "nothing could be settled for a while: deliveries wait until it is sure again \
                that no other daemon makes them")
            }
            (true, false) => info!(%sink, "deliveries go on"),
            _ => {}
        }
    }

    /// Says that the breaker has opened or closed.
    pub fn breaker(&self, change: &Change) {
        let sink = &self.sink;
        match change {
            Change::Opened(why) => {
                warn!(%sink, reason = why.code, detail = %why.detail,
                    "the sink does not take deliveries; holding them back and probing");
                self.book.set_told_down(true);
                self.news.tell(told::down(sink, why, self.book.figures(None).pending));
            }
            Change::Closed => {
                info!(%sink, "the sink takes deliveries again");
                self.well();
            }
        }
    }

    /// The sink takes deliveries: tells so where it was told to be down, by this worker or by one before it.
    pub fn well(&self) {
        if self.book.is_told_down() {
            self.book.set_told_down(false);
            self.news.tell(told::up(&self.sink, self.book.figures(None).pending));
        }
    }

    /// Says that a delivery of an event was given up.
    pub fn dead(&mut self, of: Of<'_>, id: &str, why: [&str; 2]) {
        let [reason, detail] = why;
        self.book.vitals().gave_up(reason);
        if self.news.wants(Kind::EventDeadLettered) {
            told::given_up(&self.sink, of, id, why).into_iter().for_each(|item| self.news.tell(item));
        }
        let Some(others) = self.dead.allow(DEAD_INTERVAL) else { return };
        warn!(sink = %self.sink, id, reason, %detail, others, "given up: kept as a dead letter");
    }

    /// Tells that so many deliveries of what the journal has deleted are dropped.
    pub fn dropped(&self, deliveries: u64) {
        told::dropped(&self.sink, deliveries).into_iter().for_each(|item| self.news.tell(item));
    }

    /// Says in detail what an attempt came to.
    pub fn attempt(&self, verdict: &Verdict) {
        let (item, outcome, why) = match verdict {
            Verdict::Delivered(item) => (item, "delivered", None),
            Verdict::Failed(item, _, why) => (item, "retry", Some(why)),
            Verdict::Dead(item, why) => (item, "reject", Some(why)),
            // It does not count, as the breaker is open by now.
            Verdict::Again(item, _, Some(why)) => (item, "retry", Some(why)),
            // Nothing was tried.
            Verdict::Again(_, _, None) => return,
            Verdict::PutOff(item, _, why) => return self.untried(item, why, "the sink puts a delivery off"),
            Verdict::Skipped(item, why) => return self.untried(item, why, "a delivery is not needed any more"),
        };
        let (reason, detail) = (why.map(|why| why.code), why.map(|why| why.detail.as_str()));
        debug!(sink = %self.sink, id = item.delivery.id, outcome, reason, detail, "a delivery was tried");
    }

    fn untried(&self, item: &Item, why: &Reason, what: &str) {
        debug!(sink = %self.sink, id = item.delivery.id, reason = why.code, detail = %why.detail, "{what}");
    }

    /// Says that a delivery failed, which nothing else says where the breaker stays closed over a few failures.
    pub fn failed(&mut self, id: &str, why: &Reason) {
        let Some(others) = self.failed.allow(FAILED_INTERVAL) else { return };
        warn!(sink = %self.sink, id, reason = why.code, detail = %why.detail, others,
            "a delivery failed; it is tried again");
    }
}

/// Lets one line in an interval through.
#[derive(Debug, Default)]
struct Limiter {
    last: Option<Instant>,
    left_out: u64,
}

impl Limiter {
    /// Whether a line may be written now: how many were left out since the last one, else `None`.
    fn allow(&mut self, interval: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.left_out))
    }
}
