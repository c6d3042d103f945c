//! The sink and what is under way to it: opening and closing the sink, slots, rate, lingering, the breaker and its
//! probes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{BuildError, Outcome, Reason, Timestamp};
use tracing::{error, warn};

use super::spans::Spans;
use crate::deliver::aside::Asides;
use crate::deliver::breaker::{Breaker, BreakerState, Change, Moment};
use crate::deliver::flight::{Flights, Landed, Shared};
use crate::deliver::item::{FirstTry, Item};
use crate::deliver::rate_limit::RateLimiter;
use crate::deliver::spec::Spec;
use crate::deliver::verdict::{self, Returned, Verdict};
use crate::journal::Record;
use crate::route::RuleSet;

/// Of a sink's slots, parked deliveries get one in so many (one at least), so that they cannot starve fresh events.
const SHARE: usize = 4;
/// Closing a sink takes no longer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends for one sink.
pub(super) struct Sender {
    spec: Arc<Spec>,
    /// None before the sink was opened.
    sink: Option<Shared>,
    is_opening: bool,
    breaker: Breaker,
    rate_limiter: RateLimiter,
    flights: Flights,
    /// Batches of parked deliveries among the flights.
    parked_flights: usize,
    /// Whether the last batch was of parked deliveries.
    last_was_parked: bool,
    linger_until: Option<Instant>,
    asides: Asides,
    spans: Spans,
}

impl Sender {
    pub fn new(spec: Arc<Spec>) -> Self {
        let rate = spec.keys.rate(&spec.limits);
        Self {
            sink: None,
            is_opening: false,
            breaker: Breaker::new(spec.keys.breaker),
            rate_limiter: RateLimiter::new(rate, Instant::now()),
            flights: Flights::default(),
            parked_flights: 0,
            last_was_parked: false,
            linger_until: None,
            asides: Asides::default(),
            spans: Spans::default(),
            spec,
        }
    }

    /// What the breaker says now.
    pub fn moment(&self, now: Instant) -> Moment {
        self.breaker.at(now)
    }

    /// The breaker's state, for people.
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    // ── opening and closing ──

    /// Starts to open the sink, unless that is under way.
    pub fn open(&mut self) {
        if !std::mem::replace(&mut self.is_opening, true) {
            self.flights.build(Arc::clone(&self.spec.config), self.spec.context.clone());
        }
    }

    /// Whether the sink is open.
    pub fn is_open(&self) -> bool {
        self.sink.is_some()
    }

    /// Takes in the sink, or why it could not be opened.
    pub fn opened(&mut self, built: Result<Shared, BuildError>) -> Option<Change> {
        self.is_opening = false;
        let why = match built {
            Ok(sink) => {
                self.sink = Some(sink);
                self.spec.book.vitals().opened();
                return self.breaker.built(Instant::now());
            }
            Err(BuildError::Unavailable(why)) => why,
            Err(BuildError::Refused(text)) => {
                if self.breaker.is_closed() {
                    error!(sink = %self.spec.name, "the sink cannot be opened: {text}");
                }
                Reason::new("refused", text)
            }
        };
        self.spec.book.vitals().failed(&why);
        self.breaker.trip(why, None, Instant::now())
    }

    /// Closes the sink.
    pub async fn close(self) {
        if let Some(sink) = self.sink.and_then(|shared| Arc::try_unwrap(shared).ok())
            && tokio::time::timeout(CLOSE_TIMEOUT, sink.close()).await.is_err()
        {
            warn!(sink = %self.spec.name, "the sink did not close in time");
        }
    }

    // ── what may go ──

    /// Whether a slot is free for another batch.
    pub fn has_slot(&self) -> bool {
        self.flights.len() < self.spec.limits.concurrency
    }

    /// Most deliveries that a batch may have now.
    pub fn batch_room(&self, now: Instant) -> usize {
        self.spec.limits.max_events.min(self.rate_limiter.available(now))
    }

    /// Whether the next batch is one of parked deliveries: in turns with fresh ones, and within their share of slots.
    /// So many lanes of both are ready.
    pub fn is_turn_of_parked(&self, (fresh, parked): (usize, usize)) -> bool {
        let share = (self.spec.limits.concurrency / SHARE).max(1);
        parked > 0 && self.parked_flights < share && (fresh == 0 || !self.last_was_parked)
    }

    /// Whether a batch of `ready` deliveries waits for more, where `most` could go.
    pub fn lingers(&mut self, ready: usize, most: usize, now: Instant) -> bool {
        if (1..most).contains(&ready) {
            let until = *self.linger_until.get_or_insert(now + self.spec.limits.linger);
            if now < until {
                return true;
            }
        }
        self.linger_until = None;
        false
    }

    /// Nothing is there to linger for.
    pub fn stop_lingering(&mut self) {
        self.linger_until = None;
    }

    /// Whether the breaker wants a probe that may go now.
    pub fn may_probe(&self, now: Instant) -> bool {
        let is_due = self.breaker.probe_at().is_some_and(|at| at <= now);
        is_due && self.flights.is_empty() && self.rate_limiter.available(now) > 0
    }

    /// When a probe may start.
    pub fn probe_at(&self) -> Option<Instant> {
        self.breaker.probe_at()
    }

    /// Whether the next probe is a fresh delivery where there is one; a parked one otherwise.
    pub fn probes_fresh_first(&self) -> bool {
        self.last_was_parked
    }

    /// When to look again: for a probe, after lingering, when the rate lets the next delivery go.
    pub fn next_wakes(&self, now: Instant) -> [Option<Instant>; 3] {
        [self.breaker.probe_at(), self.linger_until, self.rate_limiter.next_at(now)]
    }

    /// Lets a probe go now, where one would have to wait.
    pub fn hurry(&mut self, now: Instant) {
        self.breaker.hurry(now);
    }

    // ── under way ──

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Opens the sink to see whether it is back.
    pub fn probe_by_opening(&mut self) {
        self.breaker.probing();
        self.open();
    }

    /// Sends one delivery to see whether the sink is back.
    pub fn probe(&mut self, item: Item) {
        self.breaker.probing();
        self.launch(vec![item], true);
    }

    /// Asks the target whether it could take deliveries; nothing, where the sink was not opened.
    pub fn ask_target(&mut self) {
        if let Some(sink) = &self.sink {
            self.flights.ask(sink, self.spec.keys.timeout.0);
        }
    }

    /// Sends a batch; nothing, where it is empty.
    pub fn send(&mut self, items: Vec<Item>) {
        self.launch(items, false);
    }

    fn launch(&mut self, mut items: Vec<Item>, probe: bool) {
        let Some(sink) = self.sink.as_ref().filter(|_| !items.is_empty()) else { return };
        let now = Instant::now();
        self.rate_limiter.consume(items.len(), now);
        let (wall, open_before) = (Timestamp::now().as_microsecond(), self.breaker.time_open(now));
        let first = FirstTry { at: now, wall, open_before };
        for item in &mut items {
            item.first.get_or_insert(first);
            if item.delivery.position.is_none()
                && let Some(told) = self.spec.storage.told(item.position)
            {
                Arc::make_mut(&mut item.delivery).position = Some(told);
            }
        }
        Spans::begin(&self.spec, &mut items);
        self.last_was_parked = are_parked(&items);
        self.parked_flights += usize::from(self.last_was_parked);
        self.spec.book.vitals().left(items.len());
        self.flights.launch(sink, items, self.spec.keys.timeout.0, self.spec.is_ordered(), probe);
    }

    /// Whether an event that the journal could not take may be sent now: the sink is open, and few are under way.
    pub fn may_send_aside(&mut self) -> bool {
        self.sink.is_some() && self.asides.has_room()
    }

    /// Sends an event that the journal could not take, once; nothing where the sink was not opened.
    pub fn send_aside(&mut self, record: Arc<Record>, rules: Arc<RuleSet>) {
        if let Some(sink) = &self.sink {
            self.asides.send(sink, self.spec.destination(), rules, record, self.spec.keys.timeout.0);
        }
    }

    /// Waits until then for what was sent aside.
    pub async fn finish_aside(&mut self, until: tokio::time::Instant) {
        self.asides.finish(until).await;
    }

    /// Waits for what comes back next, for ever where nothing is under way. Cancel-safe.
    pub async fn landed(&mut self) -> Landed {
        let landed = self.flights.landed().await;
        self.note_landing(&landed);
        landed
    }

    /// What has come back already, where something has: many small batches come back at a time.
    pub fn landed_too(&mut self) -> Option<Landed> {
        let landed = self.flights.landed_too()?;
        self.note_landing(&landed);
        Some(landed)
    }

    fn note_landing(&self, landed: &Landed) {
        if let Landed::Batch { items, took, .. } = landed {
            self.spec.book.vitals().landed(items.len(), *took);
        }
    }

    /// Judges a batch that came back: a verdict for each item, what happened to the breaker, and whether the batch was
    /// one of parked deliveries.
    pub fn judge(
        &mut self,
        items: Vec<Item>,
        slots: Vec<Option<Outcome>>,
        probe: bool,
        now: Instant,
    ) -> (Vec<Verdict>, Vec<Change>, bool) {
        let are_parked = are_parked(&items);
        self.parked_flights = self.parked_flights.saturating_sub(usize::from(are_parked));
        let batch = Returned { keys: &self.spec.keys, ordered: self.spec.is_ordered(), probe, now };
        let (vitals, mut delivered) = (self.spec.book.vitals(), 0);
        let (verdicts, changes) =
            verdict::judge(&batch, items, slots, &mut self.breaker, &mut |outcome| match outcome {
                Outcome::Delivered => delivered += 1,
                other => vitals.attempted(other),
            });
        vitals.delivered(delivered);
        self.rate_limiter.give_back(verdicts.iter().filter(|verdict| verdict.is_untried()).count());
        self.spans.judged(&self.spec, &verdicts);
        (verdicts, changes, are_parked)
    }

    /// Lets go of everything under way: an abandoned batch is no attempt.
    pub async fn abandon(&mut self) {
        self.flights.abandon().await;
        self.spec.book.vitals().abandoned();
    }
}

/// A batch is of fresh deliveries or of parked ones, never of both.
fn are_parked(items: &[Item]) -> bool {
    items.first().is_some_and(|item| item.parked.is_some())
}
