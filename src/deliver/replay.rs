//! Replay: a span of the journal is routed once more, by the rules in force, for one sink. What its events come to is
//! parked as due at once. So the sink's worker delivers it in its own time and within the share of slots that parked
//! deliveries have, and a sick sink or a restart needs no care of its own. The replay's cursor moves with the rows that
//! the replay parks, in one transaction.
//!
//! Between replayed events and live ones of the same key no order is promised.

use std::sync::Arc;
use std::time::Duration;

use globset::GlobMatcher;
use sink_api::Timestamp;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::accounting::{self, Accounted, Origin};
use super::asking::Questions;
use super::book::Book;
use super::budget::{Budget, Share};
use super::rate_limit::Rate;
use super::source::Source;
use super::told::{self, Of};
use crate::event;
use crate::journal::{Chunk, Entry, JournalError, Marks};
use crate::ledger::runs::{Ended, Passed, Run, suffix, tick};
use crate::ledger::{Had, SettleError, Settlement, SinkStorage};
use crate::news::News;
use crate::route::jq::Said;
use crate::route::{Destination, RuleSet};

/// Where the sink has so many parked deliveries, the replay waits.
const MAX_WAITING: u64 = 1000;
/// Most bytes read at once; less under a rate, so that deliveries are spread evenly.
const READ_BYTES: u64 = 256 << 10;
const READ_BYTES_SLOWLY: u64 = 16 << 10;
/// Rows of what was read take so many times its bytes, where events are small ones.
const CHARGE: u64 = 4;
/// How soon the replay looks again where it had to wait; ten times as long where it could not read or write.
const PAUSE: Duration = Duration::from_millis(100);
/// No feed has less than this of a replay's rate.
const LEAST_PART: f64 = 0.001;
/// A replay that is stopped waits no longer than this for a write under way.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What is replayed, and for whom.
pub struct Feed {
    /// The replay's number.
    pub id: i64,
    /// The sink.
    pub to: Destination,
    /// Which event types; all where unset.
    pub kind: Option<GlobMatcher>,
    /// Which subject; all where unset.
    pub subject: Option<String>,
    /// Only what the sink has not.
    pub only_missing: bool,
    /// Most deliveries in a span of time, over all who feed the replay.
    pub rate: Option<Rate>,
    /// How much of the rate is this feed's, of 1.
    pub part: f64,
    /// Where the replay ends in each shard that is read here.
    pub until: Marks,
    /// The sink's book.
    pub book: Arc<Book>,
    /// What it reads from and writes to.
    pub storage: SinkStorage,
    /// The memory that it shares with all sinks.
    pub budget: Arc<Budget>,
    /// Where it tells what people want to hear of.
    pub news: News,
}

/// Parks what the journal holds from `at` on, until the end of the span or `stop`, or until a shard is another's.
pub async fn feed(feed: Feed, mut at: Marks, rules: watch::Receiver<Arc<RuleSet>>, mut stop: watch::Receiver<bool>) {
    let mut memory = feed.budget.join();
    let mut source = Source::of_span(feed.storage.clone(), at.clone(), feed.until.clone());
    while !at.reaches(&feed.until) {
        // What was not settled is routed again.
        let step = tokio::select! {
            made = feed.make(&mut source, &mut memory, &at, &rules) => made,
            () = stopped(&mut stop) => return,
        };
        let (accepted, cursor) = (step.delta.accepted, step.cursor);
        feed.book.step_begins(accepted);
        let settled = feed.settle(step, &mut stop).await;
        feed.book.steps_end(1, if settled { 0 } else { accepted });
        memory.has_read(0);
        if !settled {
            return;
        }
        cursor.into_iter().for_each(|cursor| at.set(cursor));
        if accepted > 0 {
            feed.book.notify();
        }
        if let Some(rate) = feed.rate.filter(|_| !at.reaches(&feed.until)) {
            let time = rate.time_for(accepted).div_f64(feed.part.clamp(LEAST_PART, 1.0));
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }
    feed.storage.release_replay(feed.id);
    info!(sink = %feed.to.name, replay = feed.id, "the replay is complete: what it came to is delivered or on its way");
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Where the sender is gone the replay is stopped, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Feed {
    /// Reads the next stretch, and makes the step that parks what it comes to.
    async fn make(
        &self,
        source: &mut Source,
        memory: &mut Share,
        at: &Marks,
        rules: &watch::Receiver<Arc<RuleSet>>,
    ) -> Settlement {
        let bytes = if self.rate.is_some() { READ_BYTES_SLOWLY } else { READ_BYTES };
        loop {
            self.wait_for_room().await;
            // Asked anew each time round: what was kept free for the last read is given back by that.
            while memory.holder().reads(bytes * CHARGE).is_none() {
                memory.freed().await;
            }
            // Where the span begins is known.
            match source.read(bytes).await {
                Ok(None) => {}
                Ok(Some(_)) => continue,
                Err(error) => {
                    self.say_unreadable(&error);
                    tokio::time::sleep(PAUSE * 10).await;
                    continue;
                }
            }
            let rules = Arc::clone(&rules.borrow());
            if let Some(step) = self.step(source, at, &rules).await {
                return step;
            }
        }
    }

    fn say_unreadable(&self, error: &JournalError) {
        error!(sink = %self.to.name, %error, "a replay cannot read the journal; trying again");
    }

    async fn wait_for_room(&self) {
        loop {
            match self.storage.parked_rows().await {
                Ok(rows) if rows < MAX_WAITING && self.storage.has_room() => return,
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Writes a step until it is durable, and says whether it is: a replay that is stopped gives up, and so does one of
    /// whose shards this one is another's by now. A write under way is waited for a while even then, or nobody would
    /// know whether it was done.
    async fn settle(&self, step: Settlement, stop: &mut watch::Receiver<bool>) -> bool {
        loop {
            let mut settling = std::pin::pin!(self.storage.settle(vec![step.clone()]));
            let settled = tokio::select! {
                settled = &mut settling => Some(settled),
                () = stopped(stop) => None,
            };
            let settled = match settled {
                None => tokio::time::timeout(LAST_WRITE, settling).await.ok(),
                settled => settled,
            };
            match settled {
                Some(Ok(())) => return true,
                Some(Err(SettleError::Fenced(shards))) => {
                    debug!(sink = %self.to.name, replay = self.id, ?shards, "these shards are not this daemon's");
                    // Whoever starts it again is not to do so over and over.
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE * 10) => {}
                        () = stopped(stop) => {}
                    }
                    return false;
                }
                Some(Err(error)) if !*stop.borrow() => {
                    warn!(sink = %self.to.name, %error, "a replay cannot write the ledger; trying again");
                    tokio::time::sleep(PAUSE * 10).await;
                }
                Some(Err(_)) | None => return false,
            }
        }
    }

    /// The step that parks what the stretch that was read comes to, or as much of it as jq was asked about.
    async fn step(&self, source: &mut Source, at: &Marks, rules: &Arc<RuleSet>) -> Option<Settlement> {
        let chunk = source.chunk()?;
        let is_wanted = |entry: &&Entry| {
            let record = &entry.record;
            self.kind.as_ref().is_none_or(|kind| kind.is_match(&*record.kind))
                && rules.wants(&self.to.name, &record.source, &record.kind)
        };
        let wanted: Vec<Entry> = chunk.entries.iter().filter(is_wanted).cloned().collect();
        let had = self.had(&wanted).await.ok()?;
        let (answered, said) = Questions::new(&self.to.name, rules).ask(&wanted).await;
        // Up to the first that was not asked about.
        let rest = wanted.get(answered).map(|first| first.position);
        let end = rest.and_then(|first| chunk.entries.iter().position(|entry| entry.position == first));
        let Chunk { next, gap, .. } = source.take(end.unwrap_or(usize::MAX))?;
        if let Some(gap) = gap {
            warn!(sink = %self.to.name, from = gap.from.offset, to = gap.to.offset, "a part of the span is gone");
        }
        let passed = Passed::from(at.at(next.shard).offset);
        let mut step = Settlement { replay: Some(self.id), passed, ..Settlement::to(&self.to.name, next) };
        for (index, entry) in wanted.iter().take(answered).enumerate() {
            self.account(entry, rules, said.get(index).and_then(Option::as_ref), had.get(index), &mut step);
        }
        Some(step)
    }

    /// What the sink has of these events, where only what it has not is replayed; nothing elsewhere.
    async fn had(&self, events: &[Entry]) -> Result<Vec<Had>, SettleError> {
        if !self.only_missing {
            return Ok(vec![]);
        }
        let events = events.iter().map(|entry| (entry.position, entry.record.id)).collect();
        let had = self.storage.had(events).await;
        if let Err(error) = &had {
            warn!(sink = %self.to.name, %error, "a replay cannot read the ledger; trying again");
            tokio::time::sleep(PAUSE * 10).await;
        }
        had
    }

    /// Adds to the step what one event comes to, but for what the sink has of it.
    fn account(&self, entry: &Entry, rules: &RuleSet, said: Option<&Said>, had: Option<&Had>, step: &mut Settlement) {
        let Entry { position, record } = entry;
        let Ok(event) = event::decode_shared(record, &mut event::Texts::default()) else {
            warn!(sink = %self.to.name, "an event of a later version is left out of the replay");
            return;
        };
        if self.subject.as_ref().is_some_and(|subject| **subject != *event.subject) {
            return;
        }
        let origin = Origin { position: *position, record, subject: &event.subject, key: &event.key };
        let mut routed = accounting::route(rules, said, &self.to, &event, &mut ());
        if let Some(had) = had {
            routed.deliveries.retain(|delivery| !had.has(&delivery.id));
            routed.failed.retain(|failed| !had.has(&failed.id));
            // Of what the sink has nothing is counted anew.
            if !had.may_lack() {
                routed.filtered.clear();
            }
        }
        let accounted = Accounted::of(routed, origin);
        for letter in &accounted.letters {
            self.book.vitals().gave_up(&letter.code);
            let told = told::given_up(&self.to.name, Of::event(&event), &letter.id, [&letter.code, &letter.detail]);
            told.into_iter().for_each(|item| self.news.tell(item));
        }
        let tick = tick(Timestamp::now().as_microsecond());
        let filtered = accounted.filtered.iter().map(|route| Ended::Filtered { route: Arc::clone(route), tick });
        let mut ended: Vec<Ended> = filtered.collect();
        let (counts, rows) = accounted.into_rows(*position);
        ended.extend(rows.iter().map(|row| Ended::Held { suffix: suffix(&row.id).into() }));
        if !ended.is_empty() {
            step.passed.add(Run { first: position.offset, events: 1, ended });
        }
        step.delta.add(&counts);
        step.held.extend(rows);
    }
}
