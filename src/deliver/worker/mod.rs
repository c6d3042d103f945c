//! One sink's worker: the loop that reads, routes, delivers and settles.
//!
//! The worker is put together here of parts that know nothing of each other's insides, nor of the loop: `reading` the
//! journal, `fetching` what is parked, the `backlog` of what waits, `sending` to the sink, and the settler
//! (`deliver/settler.rs`) on the way into the ledger. `outcomes`, with `parking` for fresh deliveries and `retrying`
//! for parked ones, says what becomes of a delivery. `spans` tells traces of it.

mod backlog;
mod fetching;
mod log;
mod outcomes;
mod parking;
mod reading;
mod retrying;
mod sending;
mod spans;
mod under_way;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Outcome, Timestamp};
use tokio::sync::watch;

use self::backlog::Backlog;
use self::fetching::{Fetched, Fetcher};
use self::log::Log;
use self::outcomes::Outcomes;
use self::reading::{Leaving, News, Read, Reader};
use self::sending::Sender;
use super::breaker::Moment;
use super::budget::Share;
use super::flight::Landed;
use super::item::Item;
use super::probes::Probed;
use super::settler::Settler;
use super::spec::Spec;
use super::verdict::Verdict;
use crate::journal::{JournalError, Lease};
use crate::ledger::Settlement;
use crate::ledger::runs::Call;
use crate::route::RuleSet;

/// While events of the daemon's own wait to go from memory, the worker looks so often whether they may.
const ASIDE_LOOK: Duration = Duration::from_millis(100);
/// Longest that calls are waited for whose shards go to another: a reader has 5 s to end them and to settle.
const HAND_OVER: Duration = Duration::from_secs(4);
/// The worker looks again after this time where nothing else wakes it.
const IDLE: Duration = Duration::from_secs(3600);

struct Worker {
    spec: Arc<Spec>,
    reader: Reader,
    fetcher: Fetcher,
    backlog: Backlog,
    sender: Sender,
    settler: Settler,
    /// Its part of the memory.
    memory: Share,
    log: Log,
    /// Whether it was given shards, and so began to open the sink.
    has_begun: bool,
    /// Whether what was read may be delivered.
    lease: Lease,
    /// Whether it was not delivered because of that.
    waits_for_lease: bool,
}

/// Runs a sink from its durable cursors on until `stop` turns true, then finishes or abandons what is under way within
/// `drain`. Where shards are taken away, the same is done, and the sink begins anew with those that are left.
pub async fn run(
    spec: Spec,
    mut rules: watch::Receiver<Arc<RuleSet>>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let spec = Arc::new(spec);
    let _at_work = spec.book.vitals().works();
    loop {
        let mut worker = Worker::new(Arc::clone(&spec), rules.borrow_and_update().clone());
        match worker.work(&mut rules, &mut stop).await {
            None => return worker.finish(drain).await,
            Some(Leaving::Settled(settled)) => {
                worker.finish(drain.min(HAND_OVER)).await;
                // A reader that waits no longer has taken the shards already.
                let _ = settled.send(());
            }
            Some(Leaving::Lost(shards)) => {
                // Another may deliver of them already, and what comes of a call is settled by nobody.
                worker.sender.abandon().await;
                worker.settler.forget(&shards).await;
                worker.finish(drain).await;
            }
        }
    }
}

impl Worker {
    fn new(spec: Arc<Spec>, rules: Arc<RuleSet>) -> Self {
        let (storage, book, memory) = (spec.storage.clone(), Arc::clone(&spec.book), spec.budget.join());
        Self {
            settler: Settler::new(storage.clone(), &spec.name, &book),
            reader: Reader::new(spec.destination(), storage.clone(), memory.holder(), book, rules, spec.limits.linger),
            fetcher: Fetcher::new(spec.destination(), storage, spec.is_ordered()),
            backlog: Backlog::new(spec.is_ordered(), spec.keys.parked_max.0),
            sender: Sender::new(Arc::clone(&spec)),
            log: Log::new(&spec),
            memory,
            has_begun: false,
            lease: spec.storage.lease(),
            waits_for_lease: false,
            spec,
        }
    }

    /// Works until it is to stop, or until shards are taken away.
    async fn work(
        &mut self,
        rules: &mut watch::Receiver<Arc<RuleSet>>,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<Leaving> {
        let book = Arc::clone(&self.spec.book);
        while !*stop.borrow_and_update() {
            self.hurry(Instant::now());
            let wake = self.advance(Instant::now());
            let may_aside = self.sender.may_send_aside();
            // Nobody tells when there is room again.
            let look = !may_aside && self.sender.is_open() && book.aside.is_waiting();
            let wake = if look { wake.min(Instant::now() + ASIDE_LOOK) } else { wake };
            self.fetch(Instant::now());
            self.ask_target();
            self.memory.holds(self.charge());
            self.reader.start(self.settler.has_room() && self.memory.may_read());
            tokio::select! {
                landed = self.sender.landed() => {
                    self.on_landed(landed);
                    // No more than were under way: none is sent before these are through.
                    while let Some(landed) = self.sender.landed_too() {
                        self.on_landed(landed);
                    }
                }
                written = self.settler.written() => self.on_settled(&written),
                read = self.reader.read() => match self.on_read(read) {
                    None => {}
                    // What is parked of them stands before what comes: no event of theirs is read until it is known.
                    Some(News::Given) => tokio::select! {
                        () = self.load_parked() => self.begin(),
                        _ = stop.wait_for(|stop| *stop) => {}
                    },
                    Some(News::Leaving(leaving)) => return Some(leaving),
                },
                fetched = self.fetcher.fetched() => self.on_fetched(fetched),
                () = self.memory.freed() => {}
                () = book.probes.asked() => {}
                () = book.notified() => tokio::select! {
                    () = self.load_parked() => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                },
                () = self.lease.begins(), if self.waits_for_lease => {}
                record = book.aside.next(), if may_aside => self.sender.send_aside(record, self.reader.rules().0),
                () = tokio::time::sleep_until(wake.into()) => {}
                Ok(()) = rules.changed() => {
                    self.reader.follow(rules.borrow_and_update().clone());
                    self.memory.has_read(self.charge());
                }
                changed = stop.changed() => if changed.is_err() { break },
            }
        }
        None
    }

    /// Opens the sink, unless that was begun before.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.sender.open();
        }
    }

    /// What the sink holds of the memory.
    fn charge(&self) -> u64 {
        self.settler.charge().saturating_add(self.backlog.charge())
    }

    /// Where what becomes of deliveries goes.
    fn outcomes(&mut self) -> Outcomes<'_> {
        Outcomes { backlog: &mut self.backlog, settler: &mut self.settler, log: &mut self.log }
    }

    // ── what may start ──

    /// Sends and settles whatever may go now, and says when to look again.
    fn advance(&mut self, now: Instant) -> Instant {
        self.backlog.wake(now);
        self.waits_for_lease = false;
        let at = self.sender.moment(now);
        self.outcomes().park_behind(at);
        self.log.parking(self.backlog.is_full(), self.spec.keys.parked_max.0);
        // Asked first: where what was given up finds no room, nothing more is tried.
        let settle_at = self.settler.due(now);
        self.settler.tell_room();
        if at.is_closed {
            self.dispatch(now);
        } else if self.sender.may_probe(now) && !self.settler.is_full() && self.may_launch() {
            self.probe(now);
        }
        self.log.lease(self.waits_for_lease && self.lease.has_lapsed());
        self.spec.book.set_breaker(self.sender.breaker_state());
        if settle_at.is_some_and(|at| at <= now) {
            self.settler.start(now);
        }
        let retry = if at.is_closed { self.backlog.next_retry() } else { None };
        let fetch = if self.may_fetch() { self.backlog.next_fetch() } else { None };
        self.show(at, now);
        let wakes = self.sender.next_wakes(now).into_iter().chain([retry, fetch, settle_at]);
        wakes.flatten().filter(|at| *at > now).min().unwrap_or(now + IDLE)
    }

    /// Shows what is parked, and when what has failed is tried next.
    fn show(&self, at: Moment, now: Instant) {
        let vitals = self.spec.book.vitals();
        let next = [self.backlog.next_retry(), self.backlog.next_fetch()].into_iter().flatten().min();
        vitals.set_parked(self.backlog.parked());
        vitals.set_next_try(if at.is_closed { next } else { self.sender.probe_at() }, now);
    }

    /// Whether a call may begin now. Asked right before each: since the last one the process may have been frozen.
    fn may_launch(&mut self) -> bool {
        let holds = self.lease.holds();
        self.waits_for_lease |= !holds;
        holds
    }

    /// Sends batches while there are slots and deliveries that may go.
    fn dispatch(&mut self, now: Instant) {
        if !self.sender.is_open() {
            return;
        }
        let (retry, at) = (self.spec.keys.retry, self.sender.moment(now));
        while self.sender.has_slot() && !self.settler.is_full() {
            let most = self.sender.batch_room(now);
            let (fresh, parked) = self.backlog.ready();
            let is_parked = self.sender.is_turn_of_parked((fresh, parked));
            // A sink that is behind waits for nothing: what comes next is there already.
            let may_linger = !is_parked && self.reader.has_caught_up();
            if most == 0 || (may_linger && self.sender.lingers(fresh, most, now)) {
                return;
            }
            if (fresh > 0 || is_parked) && !self.may_launch() {
                return;
            }
            let items = self.backlog.take(is_parked, most, self.spec.limits.max_bytes);
            if items.is_empty() {
                break;
            }
            let items = if is_parked { items } else { self.outcomes().park_suspects(items, &retry, at) };
            self.sender.send(items);
        }
        if self.backlog.ready().0 == 0 {
            self.sender.stop_lingering();
        }
    }

    /// Sees whether the sink is back: opens it, or sends a real delivery, of another event each time.
    fn probe(&mut self, now: Instant) {
        if !self.sender.is_open() {
            self.sender.probe_by_opening();
        } else if let Some(item) = self.backlog.take_probe(self.sender.probes_fresh_first(), now) {
            self.sender.probe(item);
        }
    }

    fn may_fetch(&self) -> bool {
        // What was parked is tried even where others hold all that is common: this may be what waits in its share.
        let has_memory = self.backlog.charge() == 0 || self.memory.may_read();
        !self.fetcher.is_fetching() && self.backlog.has_room_to_fetch() && has_memory && !self.settler.is_full()
    }

    /// Fetches from the ledger what is due.
    fn fetch(&mut self, now: Instant) {
        if !self.may_fetch() {
            return;
        }
        let lanes = self.backlog.take_due(now);
        if !lanes.is_empty() {
            self.fetcher.start(lanes, self.reader.rules());
        }
    }

    /// Tries at once, where somebody wants to know whether the sink takes deliveries. One try is enough: none is begun
    /// beside one that is under way.
    fn hurry(&mut self, now: Instant) {
        let is_trying = !self.sender.is_idle() || self.fetcher.is_fetching();
        if self.spec.book.probes.is_waiting() && !is_trying {
            self.sender.hurry(now);
            self.backlog.hurry(now);
        }
    }

    /// Asks the target itself, where somebody wants to know and there is nothing to deliver.
    fn ask_target(&mut self) {
        let has_nothing = self.backlog.parked() == 0 && self.backlog.ready() == (0, 0) && self.sender.is_idle();
        if has_nothing && self.spec.book.probes.is_waiting() {
            self.sender.ask_target();
        }
    }

    // ── what came back ──

    fn on_landed(&mut self, landed: Landed) {
        match landed {
            Landed::Asked(answer) => {
                self.spec.book.probes.tell(&answer.map_or_else(Probed::Failed, |()| Probed::Opens));
            }
            Landed::Built(built) => {
                let has_failed = built.is_err();
                if let Some(change) = self.sender.opened(built) {
                    self.log.breaker(&change);
                }
                if let Some(error) = self.spec.book.vitals().last_error().filter(|_| has_failed) {
                    self.spec.book.probes.tell(&Probed::Failed(error.why));
                }
            }
            Landed::Batch { items, slots, probe, took } => self.on_batch(items, slots, probe, took),
        }
    }

    fn on_batch(&mut self, items: Vec<Item>, slots: Vec<Option<Outcome>>, probe: bool, took: Duration) {
        let (now, call) = (Instant::now(), Call::new(Timestamp::now().as_microsecond(), took));
        let (verdicts, changes, are_parked) = self.sender.judge(items, slots, probe, now);
        for verdict in &verdicts {
            self.log.attempt(verdict);
            if let Verdict::Failed(item, _, why) = verdict {
                self.log.failed(&item.delivery.id, why);
            }
        }
        if let Some(Verdict::Failed(_, _, why) | Verdict::Dead(_, why)) = verdicts.iter().rfind(|v| v.has_failed()) {
            self.spec.book.vitals().failed(why);
        }
        self.tell_probes(&verdicts);
        changes.iter().for_each(|change| self.log.breaker(change));
        let at = self.sender.moment(now);
        if at.is_closed && verdicts.iter().any(|verdict| matches!(verdict, Verdict::Delivered(_))) {
            self.log.well();
        }
        if are_parked {
            self.outcomes().retried(verdicts, call, at);
        } else {
            self.outcomes().tried(verdicts, call, at);
        }
    }

    /// Tells those who wanted to know at once what came of a batch.
    fn tell_probes(&mut self, verdicts: &[Verdict]) {
        let probes = &self.spec.book.probes;
        let is_delivered = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Delivered(_)));
        match verdicts.iter().find_map(Verdict::why) {
            _ if !probes.is_waiting() => {}
            _ if is_delivered => probes.tell(&Probed::Delivered),
            Some(why) => probes.tell(&Probed::Failed(why.clone())),
            // None of them was tried: the target itself is asked.
            None => self.sender.ask_target(),
        }
    }

    fn on_read(&mut self, read: Result<Read, JournalError>) -> Option<News> {
        let mut outcomes = Outcomes { backlog: &mut self.backlog, settler: &mut self.settler, log: &mut self.log };
        let news = self.reader.take_in(read, &mut outcomes);
        self.memory.has_read(self.charge());
        news
    }

    fn on_fetched(&mut self, fetched: Fetched) {
        let mut outcomes = Outcomes { backlog: &mut self.backlog, settler: &mut self.settler, log: &mut self.log };
        self.fetcher.take_in(fetched, &mut outcomes);
    }

    fn on_settled(&mut self, steps: &[Settlement]) {
        steps.iter().for_each(|step| self.backlog.settled(step));
    }

    /// Learns from the ledger what is parked.
    async fn load_parked(&mut self) {
        // Of what is being written nobody knows whether the ledger has it: it would be counted twice, or not at all.
        if self.settler.is_writing() {
            let steps = self.settler.written().await;
            self.on_settled(&steps);
        }
        let schedule = self.fetcher.schedule().await;
        self.backlog.load(schedule);
    }

    // ── ending ──

    /// Finishes or abandons what is under way, settles, closes the sink.
    async fn finish(mut self, drain: Duration) {
        let until = tokio::time::Instant::now() + drain;
        while !self.sender.is_idle() {
            match tokio::time::timeout_at(until, self.sender.landed()).await {
                Ok(landed) => self.on_landed(landed),
                Err(_) => self.sender.abandon().await,
            }
        }
        self.sender.finish_aside(until).await;
        self.settler.finish().await;
        self.sender.close().await;
    }
}
