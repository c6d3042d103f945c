//! Settling where the journal is on Kafka: what a step comes to is made durable there, then the copy follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sink_api::Uuid;
use tokio::sync::watch;
use tracing::{error, info};

use super::control;
use super::copy::{Follow, What};
use super::derive::{Base, Derived, Draft};
use super::keeper::ShardCopy;
use super::note::{self, Note};
use super::rows::Progress;
use super::spans;
use crate::journal::Marks;
use crate::journal::kafka::seam::{CommitError, Hears, Row, Stand, Step, Told, marks};
use crate::ledger::held::Change;
use crate::ledger::replays::{Replay, ReplayCounts, UnderWay};
use crate::ledger::{Counters, Dead, Fate, Orders, Settle, SettleError, Settlement, SinkState};

/// How soon the copy tries again to follow.
const PAUSE: Duration = Duration::from_millis(250);
/// How long letters are waited for whose shard is restored, and not this daemon's yet: or, on its way to another, not
/// forgotten yet.
const ARRIVING: Duration = Duration::from_secs(5);

/// Whose turn it is to settle, by sink. One for each sink of the config and no more.
type Turns = HashMap<String, Arc<tokio::sync::Mutex<()>>>;

/// How often shards of sinks were taken or given away, at one time.
type Changes = BTreeMap<(String, u32), u64>;

/// The engine on Kafka's [`Settle`]. Steps of one sink are taken one call at a time, as each is derived from the one
/// before. What was asked for before a shard was given away is void, also where the shard is taken anew by the time
/// that its turn comes. A call that was begun goes on to its end, also where its caller does not wait for that: else
/// Kafka might have a step, and the copy might not.
#[derive(Clone)]
pub struct KafkaSettle {
    pub(super) copy: Arc<ShardCopy>,
    pub(super) committer: Arc<dyn Hears>,
    turns: Arc<Mutex<Turns>>,
    /// What this process's notes are told by.
    by: u32,
    /// What was heard of what all daemons know when [`Settle::changed`] returned last.
    pub(super) heard: Arc<tokio::sync::Mutex<Option<watch::Receiver<Told>>>>,
}

impl From<CommitError> for SettleError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Fenced(shards) => Self::Fenced(shards),
            CommitError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl KafkaSettle {
    /// Settles in Kafka, and keeps that copy.
    pub fn new(copy: Arc<ShardCopy>, committer: Arc<dyn Hears>) -> Self {
        let [.., a, b, c, d] = *Uuid::now_v7().as_bytes();
        let by = u32::from_be_bytes([a, b, c, d]);
        Self { copy, committer, turns: Arc::default(), by, heard: Arc::default() }
    }

    async fn turn(&self, sink: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(sink.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// How often the shards of these steps were taken or given away so far.
    fn changes(&self, sink: &str, shards: impl IntoIterator<Item = u32>) -> Changes {
        shards.into_iter().map(|shard| ((sink.to_owned(), shard), self.copy.changes(sink, shard))).collect()
    }

    /// The shards that were taken or given away since then.
    fn changed(&self, since: &Changes) -> Vec<u32> {
        let has_changed = |((sink, shard), before): (&(String, u32), &u64)| {
            (self.copy.changes(sink, *shard) != *before).then_some(*shard)
        };
        since.iter().filter_map(has_changed).collect()
    }

    async fn settle_all(&self, steps: Vec<Settlement>, since: Changes) -> Result<(), SettleError> {
        let mut sinks: BTreeMap<String, Vec<Settlement>> = BTreeMap::new();
        for step in steps {
            sinks.entry(step.sink.clone()).or_default().push(step);
        }
        // A transaction is one sink's. First cursors may be given again, so that they need not be all or nothing.
        if sinks.len() > 1 && !sinks.values().flatten().all(begins) {
            return Err(SettleError::NotOnKafka("settling several sinks at once"));
        }
        for (sink, steps) in sinks {
            self.settle_sink(&sink, steps, &since).await?;
        }
        Ok(())
    }

    async fn settle_sink(&self, sink: &str, steps: Vec<Settlement>, since: &Changes) -> Result<(), SettleError> {
        let _turn = self.turn(sink).await;
        let mut shards: BTreeMap<u32, Vec<Settlement>> = BTreeMap::new();
        for step in steps {
            shards.entry(step.shard).or_default().push(step);
        }
        let wanted = shards.iter().map(|(shard, steps)| (*shard, steps.iter().flat_map(named).collect())).collect();
        let mut bases = self.copy.bases(sink, wanted).await?;
        let mut made = Vec::with_capacity(shards.len());
        let (mut lost, mut is_begun) = (Vec::new(), false);
        for (shard, steps) in &shards {
            let Some((before, base)) = bases.remove(shard) else {
                lost.push(*shard);
                continue;
            };
            let begun = self.begun(*shard, &base, steps).await?;
            if !follows(&base, &begun, steps) {
                is_begun = true;
                lost.push(*shard);
                continue;
            }
            made.push(self.derive(*shard, before, base, begun, |draft| {
                steps.iter().for_each(|step| draft.settle(step));
                What::Settle(steps.clone())
            }));
        }
        if made.is_empty() && !is_begun {
            return self.begin(sink, shards.into_values().flatten().collect(), lost).await;
        }
        if !lost.is_empty() {
            return Err(SettleError::Fenced(lost));
        }
        self.commit(sink, made, since).await.map(drop)
    }

    /// Gives a sink its first cursors. None of these shards is this daemon's.
    async fn begin(&self, sink: &str, steps: Vec<Settlement>, lost: Vec<u32>) -> Result<(), SettleError> {
        if !steps.iter().all(|step| step.cursor.is_some() && step.held.is_empty() && step.fates.is_empty()) {
            return Err(SettleError::Fenced(lost));
        }
        // Of two daemons that begin together one is the first, and the other is content with that.
        if !steps.iter().all(begins) && !self.committer.stands(sink).await?.is_empty() {
            return Err(SettleError::Fenced(lost));
        }
        let stand = |step: &Settlement| {
            let note = Note { counters: step.delta, ..Note::default() }.next(self.by);
            Some(Stand { cursor: step.cursor?, note: note.to_string() })
        };
        // Known first: as long as its cursor is not, nothing is deleted.
        let (key, rows) = (control::key(sink), self.committer.control().await?);
        if !rows.iter().any(|row| row.key == key && row.value.is_some()) {
            self.committer.set_control(Row { key, value: Some(control::with_paused(None, false)) }).await?;
        }
        Ok(self.committer.begin(sink, steps.iter().filter_map(stand).collect()).await?)
    }

    fn derive(
        &self,
        shard: u32,
        before: String,
        base: Base,
        begun: Begun,
        make: impl FnOnce(&mut Draft) -> What,
    ) -> (Step, Follow) {
        let mut draft = Draft::new(base);
        let Begun { replays, under_way } = begun;
        let mut rows = Vec::with_capacity(replays.len());
        for (replay, progress) in replays {
            rows.push((replay, progress.write()));
            draft.begin_replay(replay, progress, |id| !under_way.contains(&id));
        }
        let what = make(&mut draft);
        let Derived { step, progress } = draft.finish(self.by);
        let after = step.stand.note.clone();
        (step, Follow { shard, before, after, begun: rows, progress, what })
    }

    /// Makes steps durable in Kafka, then lets the copy follow. The copy tries until it can: an error would have the
    /// caller settle again what Kafka has, and to give the shard back and take it anew would need the same disk.
    async fn commit(&self, sink: &str, made: Vec<(Step, Follow)>, since: &Changes) -> Result<Dead, SettleError> {
        let changed = self.changed(since);
        if !changed.is_empty() {
            return Err(SettleError::Fenced(changed));
        }
        let (steps, follows): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        self.committer.commit(sink, steps).await?;
        let follows = Arc::new(follows);
        let mut is_failing = false;
        loop {
            match self.copy.follow(sink, Arc::clone(&follows)).await {
                Ok(changed) => {
                    if is_failing {
                        info!(sink, "the ledger can be written again");
                    }
                    return Ok(changed);
                }
                // The process ends: the next one makes its copy anew.
                Err(SettleError::Closed) => return Ok(Dead::default()),
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        error!(sink, %error, "the ledger cannot follow what Kafka has; the sink waits");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn change_letters(&self, sink: &str, ids: Vec<String>, change: Change) -> Result<Dead, SettleError> {
        let _turn = self.turn(sink).await;
        let shards = self.copy.letters(sink, ids).await?;
        let since = self.changes(sink, shards.keys().copied());
        let mut made = Vec::with_capacity(shards.len());
        for (shard, (before, base)) in self.copy.bases(sink, shards.clone()).await? {
            let ids = shards.get(&shard).cloned().unwrap_or_default();
            made.push(self.derive(shard, before, base, Begun::default(), |draft| {
                draft.change(&ids, change);
                What::Change(ids, change)
            }));
        }
        if made.is_empty() { Ok(Dead::default()) } else { self.commit(sink, made, &since).await }
    }
}

/// The replays that begin in a shard with a step.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// Their numbers, and how they stand.
    pub replays: Vec<(i64, Progress)>,
    /// All replays that are under way anywhere, where some begin.
    pub under_way: BTreeSet<i64>,
}

/// Whether these steps of a shard go on where it stands: those of who had the shard before it was another's do not. The
/// same holds for each replay.
fn follows(base: &Base, begun: &Begun, steps: &[Settlement]) -> bool {
    let stands = |replay: Option<i64>| match replay {
        None => Some(base.cursor.offset),
        Some(id) => {
            let begun = begun.replays.iter().find(|(begun, _)| *begun == id).map(|(_, progress)| progress);
            begun.or(base.replays.get(&id).map(|known| &known.progress)).map(|progress| progress.at)
        }
    };
    let mut seen = BTreeSet::new();
    let mut firsts = steps.iter().filter(|step| seen.insert(step.replay));
    firsts.all(|step| step.passed.from.is_none_or(|from| stands(step.replay).is_none_or(|at| at == from)))
}

/// Whether it is the first cursor of a sink: of what stands before it nothing is said.
fn begins(step: &Settlement) -> bool {
    let is_bare = step.held.is_empty() && step.fates.is_empty() && step.noted.is_empty();
    let is_silent = step.passed.runs().is_empty() && step.passed.from.unwrap_or_default() == 0;
    step.cursor.is_some() && step.replay.is_none() && step.delta == Counters::default() && is_bare && is_silent
}

/// A sink's state by where it stands in all shards; `None` where it never began.
fn state(stands: &[Stand]) -> Result<Option<SinkState>, SettleError> {
    if stands.is_empty() {
        return Ok(None);
    }
    let notes: Vec<Note> = stands.iter().map(|stand| Note::read(&stand.note)).collect::<Result<_, _>>()?;
    Ok(Some(SinkState { cursors: marks(stands), counters: note::total(notes) }))
}

/// The deliveries that a step names.
fn named(step: &Settlement) -> impl Iterator<Item = String> {
    let by = step.fates.iter().flat_map(|parked| match &parked.fate {
        Fate::Replaced(by) => by.as_slice(),
        _ => &[],
    });
    let held = step.held.iter().chain(by).map(|held| held.id.clone());
    held.chain(step.fates.iter().map(|parked| parked.id.clone()))
}

#[async_trait]
impl Settle for KafkaSettle {
    async fn load(&self, sink: &str) -> Result<Option<SinkState>, SettleError> {
        // Whoever looks at what is held has asked for this before.
        self.copy.begin().await?;
        state(&self.committer.stands(sink).await?)
    }

    async fn glance(&self, sink: &str) -> Result<Option<SinkState>, SettleError> {
        state(&self.committer.glance(sink).await?)
    }

    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), SettleError> {
        let this = self.clone();
        let since = steps.iter().flat_map(|step| self.changes(&step.sink, [step.shard])).collect();
        tokio::spawn(async move { this.settle_all(steps, since).await }).await?
    }

    async fn change_dead(&self, sink: &str, ids: Vec<String>, change: Change) -> Result<Dead, SettleError> {
        let (this, sink) = (self.clone(), sink.to_owned());
        let changing = async move {
            let until = Instant::now() + ARRIVING;
            loop {
                match this.change_letters(&sink, ids.clone(), change).await {
                    Err(SettleError::Fenced(_)) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                    done => return done,
                }
            }
        };
        tokio::spawn(changing).await?
    }

    async fn pause(&self, sink: &str, paused: bool) -> Result<(), SettleError> {
        if self.committer.stands(sink).await?.is_empty() {
            return Err(SettleError::NoCursor(sink.to_owned()));
        }
        let (key, rows) = (control::key(sink), self.committer.control().await?);
        let before = rows.iter().find(|row| row.key == key).and_then(|row| row.value.as_ref());
        let value = Some(control::with_paused(before, paused));
        Ok(self.committer.set_control(Row { key, value }).await?)
    }

    async fn is_paused(&self, sink: &str) -> Result<bool, SettleError> {
        let rows = self.committer.control().await?;
        let row = rows.iter().find(|row| row.key == control::key(sink));
        Ok(control::is_paused(row.and_then(|row| row.value.as_ref())))
    }

    async fn begin_replay(&self, replays: Vec<Replay>) -> Result<i64, SettleError> {
        self.ask_replay(replays).await
    }

    async fn cancel_replay(&self, id: i64) -> Result<usize, SettleError> {
        let sinks = self.under_way().await?.iter().filter(|under_way| under_way.replay.id == id).count();
        let (key, rows) = (spans::replay_key(id), self.committer.control().await?);
        if rows.iter().any(|row| row.key == key) {
            self.committer.set_control(Row { key, value: None }).await?;
        }
        Ok(sinks)
    }

    async fn replays(&self) -> Result<Vec<UnderWay>, SettleError> {
        self.under_way().await
    }

    async fn replay_counts(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError> {
        self.counts_of(id).await
    }

    async fn skip(&self, sink: &str, to: &Marks) -> Result<(), SettleError> {
        self.ask_skip(sink, to).await
    }

    async fn orders(&self) -> Result<Orders, SettleError> {
        self.left_to_do().await
    }

    async fn changed(&self) {
        self.hear().await;
    }
}
