//! Looking things up in the topic of events: where shards begin and end, what stands at a time, what is owed, which
//! events match. By clients that never join a group, on threads that may block, each with a deadline: a broker that
//! does not answer is an error, and what would take too long to read is left out and said to be.
//!
//! # Times
//! Brokers stamp messages when they append them, which is after the event was accepted. Clocks may differ by [`SKEW`]:
//! what was accepted at a time or later was appended no more than that before it. So brokers are asked for the first
//! message of that time less [`SKEW`], and heads are read from there to the first one that was accepted late enough.
//! What lay in a local overflow while brokers were away was appended later than it was accepted, and is still found.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use sink_api::Uuid;
use tokio::sync::Semaphore;

use super::clients::Quiet;
use super::cluster::Cluster;
use super::known::KnownEnds;
use super::message;
use super::reach::Reach;
use super::scan::{Bounds, Next, Scanned, consumer, scan};
use super::sizes::{Sizes, Weighed};
use crate::journal::reader::in_order;
use crate::journal::tally::Counted;
use crate::journal::view::lock;
use crate::journal::{
    Entry, Find, Fingerprint, JournalError, JournalStat, LookedUp, Marks, Owed, Position, SubjectOf, Within,
};

/// Longest that brokers may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The same while it is found out whether they are there again.
const PROBE: Duration = Duration::from_secs(3);
/// Brokers that are away for so long are told of: leaders that move take a moment.
const TOLD: Duration = Duration::from_secs(3);
/// By how much clocks may differ.
const SKEW: i64 = 10_000_000;
/// Longest that a time is looked for, and what is owed is counted.
const READING: Duration = Duration::from_secs(20);
/// Longest that fingerprints are read.
const REMEMBERING: Duration = Duration::from_secs(120);
/// Pause before brokers that are away are asked for them again, and how often at most.
const AGAIN: Duration = Duration::from_secs(2);
const TRIES: usize = 300;
/// Longest that events are looked for.
const FINDING: Duration = Duration::from_secs(60);
/// Most events that are read to count what is owed; how many more there are is told without reading them.
const MOST_COUNTED: u64 = 50_000;
/// Most events of a shard that a search by subject reads before it looks at newer ones of other shards again.
const STRIDE: u64 = 2_000;
/// How far around the time that its id tells an event is looked for first, then, then: microseconds.
const AROUND: [i64; 3] = [SKEW, 3_600_000_000, 24 * 3_600_000_000];
/// Most lookups at the same time; each has a client.
const LOOKUPS: usize = 4;
/// Offsets that stand for the beginning and the end of a partition where a time is asked for.
const OLDEST: i64 = -2;
const NEWEST: i64 = -1;

/// Looks at the topic of events.
pub struct Looking {
    inner: Arc<Inner>,
    turns: Arc<Semaphore>,
}

struct Inner {
    cluster: Cluster,
    known: Arc<KnownEnds>,
    subject_of: SubjectOf,
    reach: Arc<Reach>,
    sizes: Arc<Sizes>,
    /// The client that short questions are asked by; it reads nothing.
    client: Mutex<Option<Arc<BaseConsumer<Quiet>>>>,
    /// The oldest time, and where it was read.
    oldest_time: Mutex<Option<(Marks, Option<i64>)>>,
    /// What the journal was at a glance when it was looked at last.
    last: Mutex<JournalStat>,
}

/// Whoever waits for a lookup. What is dropped waits no longer.
#[derive(Default)]
struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Looking {
    /// Asks nobody yet.
    pub fn new(cluster: Cluster, known: Arc<KnownEnds>, subject_of: SubjectOf, sizes: Arc<Sizes>) -> Self {
        let inner = Inner {
            cluster,
            known,
            subject_of,
            reach: Arc::default(),
            sizes,
            client: Mutex::default(),
            oldest_time: Mutex::default(),
            last: Mutex::default(),
        };
        Self { inner: Arc::new(inner), turns: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// See [`Journal::oldest`](crate::journal::Journal::oldest).
    pub async fn oldest(&self) -> Result<Marks, JournalError> {
        self.ask(|inner| inner.at(OLDEST)).await
    }

    /// See [`Journal::ends`](crate::journal::Journal::ends).
    pub async fn ends(&self) -> Result<Marks, JournalError> {
        self.ask(Inner::ends).await
    }

    /// See [`Journal::seek`](crate::journal::Journal::seek).
    pub async fn seek(&self, time: i64) -> Result<Marks, JournalError> {
        self.look(move |inner, is_gone| inner.seek(time, is_gone)).await
    }

    /// See [`Journal::owed`](crate::journal::Journal::owed).
    pub async fn owed(&self, from: &Marks, to: &Marks) -> Result<Owed, JournalError> {
        let (from, to) = (from.clone(), to.clone());
        self.look(move |inner, is_gone| inner.owed(&from, &to, is_gone)).await
    }

    /// See [`Journal::find`](crate::journal::Journal::find).
    pub async fn find(&self, what: Find, within: Within) -> Result<LookedUp, JournalError> {
        self.look(move |inner, is_gone| inner.find(&what, &within, is_gone)).await
    }

    /// Events and the time of the oldest, with an estimate of what they take; as it was last, where brokers are away.
    pub async fn stat(&self) -> JournalStat {
        let looked = self.look(Inner::stat).await;
        let mut last = lock(&self.inner.last);
        if let Ok(looked) = looked {
            *last = looked;
        }
        *last
    }

    /// See [`Journal::fingerprints`](crate::journal::Journal::fingerprints).
    pub async fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint> {
        let mut error = None;
        for _ in 0..TRIES {
            match self.look(move |inner, is_gone| inner.fingerprints(since, max, is_gone)).await {
                Ok(found) => return found,
                Err(why) => error = Some(why),
            }
            tokio::time::sleep(AGAIN).await;
        }
        tracing::warn!(error = error.map(tracing::field::display), "repeats of earlier events will not be recognised");
        vec![]
    }

    /// That brokers are away, where they are.
    pub fn trouble(&self) -> Option<String> {
        self.inner.reach.away(TOLD, Instant::now())
    }

    /// Brokers were found to be away.
    pub fn missed(&self, why: String) {
        self.inner.reach.missed(why, Instant::now());
    }

    /// Whether it is of use to ask brokers something that waits for an answer.
    pub fn check(&self) -> Result<(), JournalError> {
        self.inner.reach.away(Duration::ZERO, Instant::now()).map_or(Ok(()), |why| Err(is_away(why)))
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|error| failed("a question", &error))?
    }

    /// Reads when it is its turn, for as long as somebody waits.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &AtomicBool) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        // Whoever holds a turn may wait for brokers that are away.
        self.inner.reach.check(Instant::now()).map_err(is_away)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let asker = Asker::default();
        let is_gone = Arc::clone(&asker.0);
        self.ask(move |inner| {
            let _turn = turn;
            work(inner, &is_gone)
        })
        .await
    }
}

impl Inner {
    /// The first offset in each shard that was appended at or after that time (milliseconds), or a place by its name.
    fn at(&self, time: i64) -> Result<Marks, JournalError> {
        let patience = if self.reach.away(Duration::ZERO, Instant::now()).is_some() { PROBE } else { ANSWER };
        let question = self.reach.ask(Instant::now()).map_err(is_away)?;
        let found = self.ask_kept(time, patience);
        // That there is no such topic is an answer.
        let no_topic = [Code::UnknownTopic, Code::UnknownPartition, Code::UnknownTopicOrPartition].map(Some);
        let failure = found.as_ref().err().filter(|error| !no_topic.contains(&error.rdkafka_error_code()));
        self.reach.done(question, failure.map(ToString::to_string), Instant::now());
        let what = || format!("{} cannot be asked for its offsets", self.cluster.events());
        let (mut marks, is_behind) = found.map_err(|error| failed(&what(), &error))?;
        if is_behind {
            let is_named = |end: &Position| marks.iter().any(|mark| mark.shard == end.shard);
            let ends: Vec<_> = self.at(NEWEST)?.iter().filter(|end| !is_named(end)).collect();
            ends.into_iter().for_each(|end| marks.set(end));
        }
        Ok(marks)
    }

    /// [`Self::ask_at`] by the client that is kept, or where it fails by a new one, which is kept from then on. A
    /// client that reads nothing asks for the shards' leaders again only after a quarter of an hour, and where a shard
    /// had none when it asked last, it says so without asking (librdkafka 2.12,
    /// `rd_kafka_topic_partition_list_get_leaders`).
    fn ask_kept(&self, time: i64, patience: Duration) -> Result<(Marks, bool), KafkaError> {
        let until = Instant::now() + patience;
        let kept = lock(&self.client).clone();
        let told = kept.map(|client| self.ask_at(&client, time, patience));
        let left = until.saturating_duration_since(Instant::now());
        match told {
            Some(told) if told.is_ok() || left.is_zero() => told,
            _ => {
                let made = Arc::new(consumer(&self.cluster, "look")?);
                let told = self.ask_at(&made, time, left);
                *lock(&self.client) = told.is_ok().then_some(made);
                told
            }
        }
    }

    /// The first offsets by that client, but for shards in which nothing was appended so late; says whether there are
    /// any.
    fn ask_at(&self, client: &BaseConsumer<Quiet>, time: i64, patience: Duration) -> Result<(Marks, bool), KafkaError> {
        let mut list: TopicPartitionList = self.cluster.shards();
        list.set_all_offsets(Offset::from_raw(time))?;
        let found = client.offsets_for_times(list, patience)?;
        let (mut marks, mut is_behind) = (Marks::default(), false);
        for found in found.elements() {
            found.error()?;
            let shard = found.partition() as u32;
            match found.offset() {
                Offset::Offset(offset) => marks.set(Position { shard, offset: offset as u64 }),
                // Nothing was appended so late.
                _ if time >= 0 => is_behind = true,
                _ => return Err(KafkaError::OffsetFetch(Code::NoOffset)),
            }
        }
        Ok((marks, is_behind))
    }

    fn ends(&self) -> Result<Marks, JournalError> {
        let ends = self.at(NEWEST)?;
        ends.iter().for_each(|end| self.known.reach(end));
        Ok(ends)
    }

    /// The first offset of each shard before which nothing was accepted at that time (microseconds) or later.
    fn before(&self, time: i64) -> Result<Marks, JournalError> {
        match time.saturating_sub(SKEW).div_euclid(1000) {
            ..0 => self.at(OLDEST),
            time => self.at(time),
        }
    }

    fn seek(&self, time: i64, is_gone: &AtomicBool) -> Result<Marks, JournalError> {
        let (from, ends) = (self.before(time)?, self.ends()?);
        let mut found = ends.clone();
        let bounds = Bounds { until: Instant::now() + READING, is_gone };
        let scanned = scan(&self.cluster, (&from, &ends), &bounds, |position, message| {
            if message::head(message).is_ok_and(|head| head.time >= time) {
                found.set(position);
                return ControlFlow::Continue(Next::Enough);
            }
            ControlFlow::Continue(Next::On)
        })?;
        whole(&scanned, "the first event of a time was not found in time")?;
        Ok(found)
    }

    fn owed(&self, from: &Marks, to: &Marks, is_gone: &AtomicBool) -> Result<Owed, JournalError> {
        let (oldest, ends) = (self.at(OLDEST)?, self.ends()?);
        let to = to.earlier(&ends);
        // What is gone was owed, too, and nobody knows what it was.
        let (first, last) = (from.later(&oldest), to.later(&oldest));
        let mut unknown = distance(from, &last).saturating_sub(distance(&first, &last));
        let there = distance(&first, &last);
        let mut counted = Counted::default();
        if there > MOST_COUNTED {
            return Ok(Owed { known: vec![], unknown: unknown + there });
        }
        let bounds = Bounds { until: Instant::now() + READING, is_gone };
        let scanned = scan(&self.cluster, (&first, &last), &bounds, |_, message| {
            if let Ok(head) = message::head(message) {
                *counted.known.entry((head.source.into(), head.kind.into())).or_default() += 1;
            }
            ControlFlow::Continue(Next::On)
        })?;
        unknown += if scanned.is_cut { distance(&scanned.upto, &last) } else { 0 };
        Ok(Owed { known: in_order(counted.known), unknown })
    }

    fn stat(&self, is_gone: &AtomicBool) -> Result<JournalStat, JournalError> {
        let (oldest, ends) = (self.at(OLDEST)?, self.ends()?);
        let events = distance(&oldest, &ends);
        let Weighed { bytes, owed: owed_bytes } = self.sizes.weigh(&oldest, &ends, self.cluster.partitions);
        let known = lock(&self.oldest_time).clone();
        let oldest_time = match known {
            Some((marks, time)) if marks == oldest && time.is_some() => time,
            _ => {
                let mut time = None::<i64>;
                let bounds = Bounds { until: Instant::now() + READING, is_gone };
                scan(&self.cluster, (&oldest, &ends), &bounds, |_, message| {
                    let Ok(head) = message::head(message) else { return ControlFlow::Continue(Next::On) };
                    time = Some(time.map_or(head.time, |time| time.min(head.time)));
                    ControlFlow::Continue(Next::Enough)
                })?;
                *lock(&self.oldest_time) = Some((oldest, time));
                time
            }
        };
        let segments = self.cluster.partitions as usize;
        Ok(JournalStat { events: Some(events), bytes, segments, oldest_time, owed_bytes, free: None })
    }

    fn fingerprints(&self, since: i64, max: usize, is_gone: &AtomicBool) -> Result<Vec<Fingerprint>, JournalError> {
        let (from, ends) = (self.before(since)?, self.ends()?);
        // Of each shard as many as are asked for, as all that is new may stand in one.
        let back = |end: Position| Position { offset: end.offset.saturating_sub(max as u64), ..end };
        let from = from.later(&ends.iter().map(back).collect());
        let mut found = Vec::new();
        let bounds = Bounds { until: Instant::now() + REMEMBERING, is_gone };
        let scanned = scan(&self.cluster, (&from, &ends), &bounds, |_, message| {
            if let Ok(head) = message::head(message)
                && let Some(fingerprint) = head.fingerprint.filter(|_| head.time >= since)
            {
                let (source, id, time) = (head.source.into(), head.id, head.time);
                found.push(Fingerprint { source, fingerprint, id, time });
                if found.len() > max.saturating_mul(2) {
                    newest(&mut found, max);
                }
            }
            ControlFlow::Continue(Next::On)
        })?;
        newest(&mut found, max);
        if scanned.is_cut && !is_gone.load(Ordering::Relaxed) {
            tracing::warn!(error = "reading them takes too long", "repeats of earlier events will not be recognised");
        }
        Ok(found)
    }

    fn find(&self, what: &Find, within: &Within, is_gone: &AtomicBool) -> Result<LookedUp, JournalError> {
        let (oldest, ends) = (self.at(OLDEST)?, self.ends()?);
        let ends = within.before.as_ref().map_or(ends.clone(), |before| before.earlier(&ends)).later(&oldest);
        let bounds = Bounds { until: Instant::now() + FINDING, is_gone };
        let mut search = Search { inner: self, what, within, bounds, found: vec![], bytes: 0, is_cut: false };
        match what {
            Find::Event(id) => match time_of(*id) {
                Some(time) => self.around(time, (&oldest, &ends), &mut search)?,
                None => search.back(&oldest, &ends)?,
            },
            Find::Subject(_) => search.back(&oldest, &ends)?,
        }
        Ok(search.end())
    }

    /// Looks in rings around a time, further and further away, until it is found or all was looked at.
    fn around(&self, time: i64, (oldest, ends): (&Marks, &Marks), search: &mut Search<'_>) -> Result<(), JournalError> {
        let (mut from, mut to) = (Marks::default(), Marks::default());
        for (n, around) in AROUND.into_iter().map(Some).chain([None]).enumerate() {
            let (wider_from, wider_to) = match around {
                Some(around) => {
                    let from = self.at(time.saturating_sub(around).div_euclid(1000).max(0))?;
                    let to = self.at(time.saturating_add(around).div_euclid(1000).max(0))?;
                    (from.later(oldest).earlier(ends), to.later(oldest).earlier(ends))
                }
                None => (oldest.clone(), ends.clone()),
            };
            if n == 0 {
                search.stretch(&wider_from, &wider_to)?;
            } else {
                // What came late is more likely than what came early.
                search.stretch(&to, &wider_to)?;
                search.stretch(&wider_from, &from)?;
            }
            if !search.found.is_empty() || search.is_cut {
                return Ok(());
            }
            (from, to) = (wider_from, wider_to);
        }
        Ok(())
    }
}

/// A search under way.
struct Search<'s> {
    inner: &'s Inner,
    what: &'s Find,
    within: &'s Within,
    bounds: Bounds<'s>,
    found: Vec<Entry>,
    bytes: usize,
    is_cut: bool,
}

impl Search<'_> {
    /// Looks through a stretch of each shard; what matches is kept, as long as there is room for it.
    fn stretch(&mut self, from: &Marks, to: &Marks) -> Result<(), JournalError> {
        let (what, subject_of) = (self.what, self.inner.subject_of);
        let mut found = Vec::new();
        let scanned = scan(&self.inner.cluster, (from, to), &self.bounds, |_, message| {
            let is_it = match what {
                Find::Event(id) => message::head(message).is_ok_and(|head| head.id == *id),
                Find::Subject(subject) => rdkafka::Message::payload(message).and_then(subject_of) == Some(&**subject),
            };
            if is_it && let Ok(entry) = message::entry(message) {
                found.push(entry);
            }
            ControlFlow::Continue(Next::On)
        })?;
        self.is_cut |= scanned.is_cut;
        self.found.append(&mut found);
        self.found.sort_by_key(|entry| (entry.record.time, entry.position.shard, entry.position.offset));
        self.bytes = self.found.iter().map(|entry| entry.record.payload.len()).sum();
        while self.found.len() > self.within.most || (self.bytes > self.within.bytes && self.found.len() > 1) {
            self.bytes -= self.found.remove(0).record.payload.len();
            self.is_cut = true;
        }
        Ok(())
    }

    /// Looks through everything, the newest stretches first.
    fn back(&mut self, oldest: &Marks, ends: &Marks) -> Result<(), JournalError> {
        let mut to = ends.clone();
        while !oldest.reaches(&to) && !self.is_cut {
            if self.found.len() >= self.within.most || self.bytes >= self.within.bytes {
                self.is_cut = true;
                break;
            }
            let stride = |end: Position| Position { offset: end.offset.saturating_sub(STRIDE), ..end };
            let from = to.iter().map(stride).collect::<Marks>().later(oldest);
            self.stretch(&from, &to)?;
            to = from;
        }
        Ok(())
    }

    fn end(self) -> LookedUp {
        LookedUp { entries: self.found, is_cut: self.is_cut }
    }
}

/// Keeps the newest, oldest first.
fn newest(found: &mut Vec<Fingerprint>, max: usize) {
    found.sort_by_key(|one| one.time);
    found.drain(..found.len().saturating_sub(max));
}

/// How many offsets lie between two marks.
fn distance(from: &Marks, to: &Marks) -> u64 {
    to.iter().map(|end| end.offset.saturating_sub(from.at(end.shard).offset)).sum()
}

/// When the event of an id was accepted, microseconds, where the id tells.
fn time_of(id: [u8; 16]) -> Option<i64> {
    let (seconds, nanos) = Uuid::from_bytes(id).get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000))
}

fn whole(scanned: &Scanned, what: &str) -> Result<(), JournalError> {
    match scanned.is_cut {
        true => Err(failed(what, &"it would take too long")),
        false => Ok(()),
    }
}

fn is_away(why: String) -> JournalError {
    JournalError::Kafka { what: "Kafka cannot be asked".into(), error: why }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> JournalError {
    JournalError::Kafka { what: what.to_owned(), error: error.to_string() }
}
