//! For tests of the worker: an engine in memory with one shard or more and a real ledger, and a look at what was
//! settled.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sink_api::Event;
use tokio::sync::{oneshot, watch};

use super::PATIENCE;
use crate::event::{encode, subject_of};
use crate::journal::{
    Append, AppendError, Chunk, Entry, Find, Fingerprint, Gap, Journal, JournalError, JournalStat, Lease, LookedUp,
    Marks, News, Of, Owed, Position, Progress, Reader, Record, Renewing, Retention, TypeCount, Within,
};
use crate::ledger::conformance::{self, Engine};
use crate::ledger::held::Change;
use crate::ledger::replays::{Replay, ReplayCounts, UnderWay};
use crate::ledger::{
    Counters, Dead, Fate, Ledger, Orders, Settle, SettleError, Settlement, SinkState, SinkStorage, Storage,
};

/// The events, which readers share with the journal.
struct Log {
    shards: Mutex<Vec<Vec<Entry>>>,
    /// Events appended.
    appended: watch::Sender<u64>,
    /// Events read of each shard.
    read: Mutex<Vec<u64>>,
    furthest: watch::Sender<u64>,
    hole: Mutex<Option<Gap>>,
    /// The shards that the sink has, and what its reader is to learn of them. `None`: that it is over.
    owned: Mutex<BTreeSet<u32>>,
    news: Mutex<VecDeque<Option<News>>>,
}

/// A journal in memory: what was settled can be looked at, and settling can be made to fail.
pub struct Memory {
    log: Arc<Log>,
    is_closed: AtomicBool,
    pub settled: watch::Sender<Vec<Settlement>>,
    pub failing: watch::Sender<bool>,
    pub refused: watch::Sender<u64>,
    /// A real one, told of every step.
    pub ledger: Arc<Ledger>,
    folder: tempfile::TempDir,
    shared: OnceLock<Renewing>,
}

impl Memory {
    pub fn new(shards: u32) -> Arc<Self> {
        Self::with(shards, Ledger::default())
    }

    /// Its dead letters may take so many bytes.
    pub fn bounded(shards: u32, dead_bytes: u64) -> Arc<Self> {
        Self::with(shards, Ledger::bounded(dead_bytes))
    }

    fn with(shards: u32, ledger: Ledger) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        ledger.attach(&folder.path().join("ledger.db")).unwrap();
        let log = Log {
            shards: Mutex::new(vec![vec![]; shards as usize]),
            appended: watch::Sender::new(0),
            read: Mutex::new(vec![0; shards as usize]),
            furthest: watch::Sender::new(0),
            hole: Mutex::default(),
            owned: Mutex::new((0..shards).collect()),
            news: Mutex::default(),
        };
        Arc::new(Self {
            log: Arc::new(log),
            is_closed: AtomicBool::new(false),
            settled: watch::Sender::new(vec![]),
            failing: watch::Sender::new(false),
            refused: watch::Sender::new(0),
            ledger: Arc::new(ledger),
            folder,
            shared: OnceLock::new(),
        })
    }

    /// From now on others may have the shards, but for an hour after each proof that they do not.
    pub fn share(&self) -> &Renewing {
        self.shared.get_or_init(|| Renewing::new(Duration::from_secs(3600)))
    }

    /// The door to it.
    pub fn storage(self: &Arc<Self>) -> Storage {
        let (journal, ledger) = (self.clone(), Arc::clone(&self.ledger));
        Storage { journal, retention: self.clone(), settle: self.clone(), ledger }
    }

    /// The door for the sink.
    pub fn of_sink(self: &Arc<Self>) -> SinkStorage {
        self.storage().of("crm")
    }

    /// The sink begins at the beginning, unless it has begun.
    pub async fn begin(&self) {
        if self.ledger.load("crm").await.unwrap().is_none() {
            let first = self.marks(|_| 0).iter().map(|cursor| Settlement::to("crm", cursor)).collect();
            self.ledger.settle(first).await.unwrap();
        }
    }

    pub fn put(&self, event: &Event) {
        self.add(encode(event, None, false));
    }

    /// Of a key all events go to the same shard.
    fn add(&self, record: Record) -> Position {
        let mut shards = self.log.shards.lock().unwrap();
        let sum = record.key.bytes().map(u32::from).sum::<u32>();
        let shard = sum % shards.len() as u32;
        let entries = &mut shards[shard as usize];
        let position = Position { shard, offset: entries.len() as u64 };
        entries.push(Entry { position, record: Arc::new(record) });
        drop(shards);
        self.log.appended.send_modify(|appended| *appended += 1);
        position
    }

    fn marks(&self, mark: impl Fn(&[Entry]) -> usize) -> Marks {
        let shards = self.log.shards.lock().unwrap();
        (0..).zip(&*shards).map(|(shard, entries)| Position { shard, offset: mark(entries) as u64 }).collect()
    }

    /// What is gone of the first shard.
    pub fn lose(&self, gap: Gap) {
        *self.log.hole.lock().unwrap() = Some(gap);
    }

    /// Takes a shard from the sink; the sender is told once what was read of it is settled.
    pub fn take(&self, shard: u32) -> oneshot::Receiver<()> {
        let (settled, told) = oneshot::channel();
        self.hand_over(shard, News::Taken(vec![shard], settled));
        told
    }

    /// Lets the sink know that it has lost a shard.
    pub fn take_at_once(&self, shard: u32) {
        self.hand_over(shard, News::Lost(vec![shard]));
    }

    fn hand_over(&self, shard: u32, news: News) {
        self.log.owned.lock().unwrap().remove(&shard);
        self.log.news.lock().unwrap().push_back(Some(news));
        self.log.appended.send_modify(|_| {});
    }

    /// Gives a shard to the sink, where its cursor stands.
    pub async fn give(&self, shard: u32) {
        let cursors = self.ledger.load("crm").await.unwrap().unwrap().cursors;
        self.log.owned.lock().unwrap().insert(shard);
        self.log.news.lock().unwrap().push_back(Some(News::Given(cursors.at(shard).into())));
        self.log.appended.send_modify(|_| {});
    }

    /// Ends the sink's reader, which has lost its shards. The next reader has all of them.
    pub fn end_reader(&self) {
        self.log.owned.lock().unwrap().extend(0..self.log.shards.lock().unwrap().len() as u32);
        self.log.news.lock().unwrap().push_back(None);
        self.log.appended.send_modify(|_| {});
    }

    /// The events, and where they stand.
    pub fn entries(&self) -> Vec<Entry> {
        self.log.shards.lock().unwrap().iter().flatten().cloned().collect()
    }

    /// How many events were read.
    pub fn furthest(&self) -> watch::Receiver<u64> {
        self.log.furthest.subscribe()
    }

    pub fn settlements(&self) -> Vec<Settlement> {
        self.settled.borrow().clone()
    }

    pub fn totals(&self) -> Counters {
        let mut sum = Counters::default();
        self.settlements().iter().for_each(|s| sum.add(&s.delta));
        sum
    }

    /// How many events the cursors have passed, all shards together.
    pub fn passed(&self) -> u64 {
        let mut cursors = Marks::default();
        self.settlements().iter().filter_map(|step| step.cursor).for_each(|cursor| cursors.set(cursor));
        cursors.iter().map(|cursor| cursor.offset).sum()
    }

    pub fn dead(&self) -> HashMap<String, String> {
        let mut dead = HashMap::new();
        for step in self.settlements() {
            dead.extend(step.held.into_iter().filter(|held| held.due.is_none()).map(|held| (held.id, held.code)));
            for parked in step.fates {
                if let Fate::Dead(tried) = parked.fate {
                    dead.insert(parked.id, tried.code);
                }
            }
        }
        dead
    }

    pub async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut settled = self.settled.subscribe();
        let wait = async {
            while !holds(self) {
                settled.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}; {:?}", self.settlements());
    }
}

pub fn at(offset: u64) -> Position {
    Position { shard: 0, offset }
}

#[sink_api::async_trait]
impl Journal for Memory {
    fn append_all(&self, records: Vec<Append>) {
        for mut append in records {
            (append.on_progress)(match self.is_closed.load(Ordering::SeqCst) {
                true => Progress::Failed(AppendError::Closed),
                false => Progress::Durable(self.add(append.record)),
            });
            append.notify.iter().for_each(|notify| notify());
        }
    }
    fn at_risk(&self) -> u64 {
        0
    }
    fn refuses(&self) -> (bool, bool) {
        (false, false)
    }
    fn lease(&self, _: &str) -> Lease {
        self.shared.get().map_or_else(Lease::forever, Renewing::lease)
    }
    fn told(&self, at: Position) -> Option<Arc<str>> {
        self.shared.get().map(|_| format!("{}:{}", at.shard, at.offset).into())
    }
    async fn reader(&self, of: Of) -> Result<Box<dyn Reader>, JournalError> {
        use crate::journal::Cursors as _;
        let (from, until) = match of {
            Of::Cursors(name) => (self.ledger.cursors(&name).await.map_err(JournalError::Cursors)?, None),
            Of::Span { from, until } => (from, Some(until)),
        };
        let appended = self.log.appended.subscribe();
        let mut next = self.marks(|_| 0).later(&from);
        if until.is_none() {
            let owned = self.log.owned.lock().unwrap().clone();
            next.keep(|shard| owned.contains(&shard));
        }
        Ok(Box::new(MemoryReader {
            log: Arc::clone(&self.log),
            appended,
            is_given: false,
            is_over: false,
            next,
            until,
            turn: 0,
        }))
    }
    async fn oldest(&self) -> Result<Marks, JournalError> {
        Ok(self.marks(|_| 0))
    }
    async fn ends(&self) -> Result<Marks, JournalError> {
        Ok(self.known_ends())
    }
    fn known_ends(&self) -> Marks {
        self.marks(<[Entry]>::len)
    }
    async fn seek(&self, time: i64) -> Result<Marks, JournalError> {
        Ok(self.marks(|entries| entries.partition_point(|entry| entry.record.time < time)))
    }
    async fn find(&self, what: Find, within: Within) -> Result<LookedUp, JournalError> {
        let is_meant = |entry: &&Entry| match &what {
            Find::Event(id) => entry.record.id == *id,
            Find::Subject(subject) => subject_of(&entry.record.payload) == Some(subject),
        };
        let mut found: Vec<Entry> =
            self.log.shards.lock().unwrap().iter().flatten().filter(is_meant).cloned().collect();
        found.retain(|entry| within.before.as_ref().is_none_or(|before| before.is_past(entry.position)));
        found.sort_by_key(|entry| entry.record.time);
        let entries = found.split_off(found.len().saturating_sub(within.most));
        Ok(LookedUp { entries, is_cut: !found.is_empty() })
    }
    async fn owed(&self, from: &Marks, to: &Marks) -> Result<Owed, JournalError> {
        let mut known: Vec<TypeCount> = Vec::new();
        for Entry { position, record } in self.log.shards.lock().unwrap().iter().flatten() {
            if from.is_past(*position) || !to.is_past(*position) {
                continue;
            }
            match known.iter_mut().find(|count| (&count.source, &count.kind) == (&record.source, &record.kind)) {
                Some(count) => count.events += 1,
                None => {
                    let (source, kind) = (Arc::clone(&record.source), Arc::clone(&record.kind));
                    known.push(TypeCount { source, kind, events: 1 });
                }
            }
        }
        known.sort_by(|a, b| (&a.source, &a.kind).cmp(&(&b.source, &b.kind)));
        Ok(Owed { known, unknown: 0 })
    }
    async fn stat(&self) -> Result<JournalStat, JournalError> {
        let shards = self.log.shards.lock().unwrap();
        let entries = || shards.iter().flatten();
        let oldest_time = entries().map(|entry| entry.record.time).min();
        Ok(JournalStat { events: Some(entries().count() as u64), oldest_time, ..JournalStat::default() })
    }
    async fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint> {
        let shards = self.log.shards.lock().unwrap();
        let of = |record: &Record| {
            let (source, id, time) = (Arc::clone(&record.source), record.id, record.time);
            Some(Fingerprint { source, fingerprint: record.fingerprint?, id, time })
        };
        let mut all: Vec<_> = shards.iter().flatten().filter_map(|entry| of(&entry.record)).collect();
        all.retain(|known| known.time >= since);
        all.sort_by_key(|known| known.time);
        all.split_off(all.len().saturating_sub(max))
    }
    async fn close(&self) -> Result<(), JournalError> {
        self.is_closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Reads the shards in turn.
struct MemoryReader {
    log: Arc<Log>,
    appended: watch::Receiver<u64>,
    is_given: bool,
    is_over: bool,
    next: Marks,
    until: Option<Marks>,
    turn: usize,
}

impl MemoryReader {
    fn chunk(&self, max_bytes: u64) -> Option<Chunk> {
        let shards = self.log.shards.lock().unwrap();
        let in_turn = (0..shards.len()).map(|n| (self.turn + n) % shards.len());
        let in_turn = in_turn.filter(|shard| self.next.iter().any(|next| next.shard as usize == *shard));
        for (shard, from) in in_turn.map(|shard| (shard, self.next.at(shard as u32))) {
            let end = self.until.as_ref().map_or(u64::MAX, |until| until.at(shard as u32).offset);
            let gap = self.log.hole.lock().unwrap().clone();
            let gap = gap.filter(|gap| gap.from.shard as usize == shard && from.offset < gap.to.offset);
            let first = gap.as_ref().map_or(from.offset, |gap| gap.to.offset) as usize;
            let mut bytes = 0;
            let entries = shards[shard].iter().skip(first).take_while(|entry| {
                bytes += entry.record.payload.len() as u64;
                entry.position.offset < end && (bytes <= max_bytes || entry.position.offset == first as u64)
            });
            let entries: Vec<Entry> = entries.cloned().collect();
            if entries.is_empty() && gap.is_none() {
                continue;
            }
            let next = Position { offset: (first + entries.len()) as u64, ..from };
            return Some(Chunk { entries, next, gap });
        }
        None
    }
}

#[sink_api::async_trait]
impl Reader for MemoryReader {
    async fn ready(&mut self) {
        while self.is_given {
            self.appended.borrow_and_update();
            if self.chunk(1).is_some() || (self.until.is_none() && !self.log.news.lock().unwrap().is_empty()) {
                return;
            }
            self.appended.changed().await.unwrap();
        }
    }
    async fn next(&mut self, max_bytes: u64) -> Result<News, JournalError> {
        if !std::mem::replace(&mut self.is_given, true) {
            return Ok(News::Given(self.next.clone()));
        }
        loop {
            self.appended.borrow_and_update();
            if self.until.is_none()
                && let Some(news) = self.log.news.lock().unwrap().pop_front()
            {
                let Some(news) = news else {
                    self.is_over = true;
                    return Err(JournalError::Unfit("the reader is over".into()));
                };
                match &news {
                    News::Given(marks) => self.next = self.next.later(marks),
                    News::Taken(shards, _) | News::Lost(shards) => self.next.keep(|shard| !shards.contains(&shard)),
                    News::Chunk(_) => {}
                }
                return Ok(news);
            }
            if max_bytes > 0
                && let Some(chunk) = self.chunk(max_bytes)
            {
                self.next.set(chunk.next);
                let shard = chunk.next.shard as usize;
                self.turn = shard + 1;
                let mut read = self.log.read.lock().unwrap();
                read[shard] = read[shard].max(chunk.next.offset);
                self.log.furthest.send_replace(read.iter().sum());
                return Ok(News::Chunk(chunk));
            }
            self.appended.changed().await.unwrap();
        }
    }
    fn is_over(&self) -> bool {
        self.is_over
    }
}

#[sink_api::async_trait]
impl Settle for Memory {
    async fn load(&self, sink: &str) -> Result<Option<SinkState>, SettleError> {
        self.ledger.load(sink).await
    }
    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), SettleError> {
        if *self.failing.borrow() {
            self.refused.send_modify(|n| *n += 1);
            return Err(SettleError::Closed);
        }
        self.ledger.settle(steps.clone()).await?;
        self.settled.send_modify(|all| all.extend(steps));
        Ok(())
    }
    async fn change_dead(&self, sink: &str, ids: Vec<String>, change: Change) -> Result<Dead, SettleError> {
        self.ledger.change_dead(sink, ids, change).await
    }
    async fn pause(&self, sink: &str, paused: bool) -> Result<(), SettleError> {
        self.ledger.pause(sink, paused).await
    }
    async fn is_paused(&self, sink: &str) -> Result<bool, SettleError> {
        self.ledger.is_paused(sink).await
    }
    async fn begin_replay(&self, replays: Vec<Replay>) -> Result<i64, SettleError> {
        self.ledger.begin_replay(replays).await
    }
    async fn cancel_replay(&self, id: i64) -> Result<usize, SettleError> {
        self.ledger.cancel_replay(id).await
    }
    async fn replays(&self) -> Result<Vec<UnderWay>, SettleError> {
        Settle::replays(&*self.ledger).await
    }
    async fn replay_counts(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError> {
        self.ledger.replay_counts(id).await
    }
    async fn orders(&self) -> Result<Orders, SettleError> {
        self.ledger.orders().await
    }
}

/// It deletes nothing.
impl Retention for Memory {
    fn hold(&self, _: &str, _: &Marks) {}
    fn passed(&self, _: &str, _: Position) {}
    fn leave(&self, _: &str, _: &Marks) {}
    fn release(&self, _: &str) {}
    fn begin(&self) {}
}

async fn conforms(shards: u32) {
    let all = Mutex::new(Vec::new());
    let engine = || {
        let memory = Memory::new(shards);
        all.lock().unwrap().push(Arc::clone(&memory));
        assert!(memory.folder.path().is_dir());
        Engine { storage: memory.storage(), shards }
    };
    conformance::conforms(engine).await;
}

#[tokio::test]
async fn the_engine_in_memory_conforms_with_one_shard() {
    conforms(1).await;
}

#[tokio::test]
async fn the_engine_in_memory_conforms_with_two_shards() {
    conforms(2).await;
}
