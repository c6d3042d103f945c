//! What all daemons are to do, as each sees it: sinks that are held, sinks that are moved on, replays. Somebody asks
//! for it by a row of the control topic, written once. Each daemon does its part for the shards that are its own, in
//! steps that say so in the shard's note; so any daemon knows from the notes how far all have come, and a shard that
//! changes hands goes on where it was. Whoever sees that all is done takes the row away, which may happen more than
//! once.
//!
//! What is left to do here is known without a question to brokers; whether all have done theirs is asked by whoever has
//! nothing left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, info};

use super::control;
use super::derive::Base;
use super::note::{Come, MOST_REPLAYS, Note};
use super::settle::{Begun, KafkaSettle};
use super::spans;
use crate::journal::kafka::seam::{Row, Stand};
use crate::journal::{Marks, Position};
use crate::ledger::replays::{Replay, ReplayCounts, UnderWay};
use crate::ledger::{Counters, Orders, SettleError, Settlement};

/// Most replays at the same time. So a shard's note can tell of all of them, and of some that are over.
const MOST_UNDER_WAY: usize = MOST_REPLAYS / 2;
/// While there is something to do, it is looked so often what is left of it: shards come and go meanwhile.
const LOOK: Duration = Duration::from_secs(1);

type Rows = Arc<BTreeMap<String, Bytes>>;

/// How far a replay has come in a sink's shards, by their notes.
struct Shards(BTreeMap<u32, Come>);

impl Shards {
    fn read(stands: &[Stand], id: i64) -> Result<Self, SettleError> {
        let mut come = BTreeMap::new();
        for stand in stands {
            let note = Note::read(&stand.note)?;
            come.extend(note.replays.into_iter().find(|come| come.replay == id).map(|c| (stand.cursor.shard, c)));
        }
        Ok(Self(come))
    }

    /// The replay as it stands now.
    fn now(&self, replay: &Replay) -> Replay {
        let mut now = replay.clone();
        for (shard, come) in &self.0 {
            let mut at = replay.at.at(*shard);
            at.offset = come.at;
            now.at.set(at);
            now.deliveries += come.fed;
        }
        now
    }

    fn counts(&self) -> Counters {
        self.0.values().fold(Counters::default(), |mut sum, come| {
            let Counters { accepted, delivered, dead, filtered, dropped } = come.counts;
            sum.accepted = sum.accepted.wrapping_add(accepted);
            sum.delivered = sum.delivered.wrapping_add(delivered);
            sum.dead = sum.dead.wrapping_add(dead);
            sum.filtered = sum.filtered.wrapping_add(filtered);
            sum.dropped = sum.dropped.wrapping_add(dropped);
            sum
        })
    }
}

/// How much of a replay's span is behind it, of 1. An offset is an event.
fn done(replay: &Replay) -> f64 {
    let span = |from: &Marks, to: &Marks| {
        let of_shard = |until: Position| {
            let [from, to] = [from, to].map(|marks| marks.at(until.shard).offset.min(until.offset));
            to.saturating_sub(from)
        };
        replay.until.iter().map(of_shard).fold(0, u64::saturating_add)
    };
    span(&replay.first, &replay.at) as f64 / span(&replay.first, &replay.until).max(1) as f64
}

impl KafkaSettle {
    /// Waits for what may be news, but while there is something to do no longer than [`LOOK`] and the look itself.
    pub(super) async fn hear(&self) {
        let mut heard = self.heard.lock().await;
        let told = heard.get_or_insert_with(|| self.committer.told());
        let is_something = {
            let told = told.borrow();
            let is_order = |key: &String| spans::replay_of(key).is_some() || spans::skip_of(key).is_some();
            !told.is_whole || told.rows.keys().any(is_order)
        };
        let changed = async {
            if told.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(LOOK), if is_something => {
                if let Err(error) = self.tidy().await {
                    // The rows stay, and are looked at again.
                    debug!(%error, "it is not known whether all daemons have done what they were asked for");
                }
            }
        }
    }

    /// Takes the rows away of which nothing is left to do anywhere.
    pub(super) async fn tidy(&self) -> Result<(), SettleError> {
        for (key, value) in self.rows().await?.iter() {
            let is_over = if let Some(sink) = spans::skip_of(key) {
                let to = spans::read_skip(value);
                !self.is_behind(sink, &to) && self.committer.glance(sink).await?.iter().all(|s| !to.is_past(s.cursor))
            } else if let Some(id) = spans::replay_of(key) {
                self.is_over(&spans::read_replay(id, value)).await?
            } else {
                false
            };
            if is_over {
                self.committer.set_control(Row { key: key.clone(), value: None }).await?;
                info!(key, "all daemons have done what they were asked for");
            }
        }
        Ok(())
    }

    /// What all daemons know, as far as it was heard of.
    async fn rows(&self) -> Result<Rows, SettleError> {
        let told = self.committer.told().borrow().clone();
        if told.is_whole {
            return Ok(told.rows);
        }
        self.asked_rows().await
    }

    /// The same with all that was written before this was asked.
    async fn asked_rows(&self) -> Result<Rows, SettleError> {
        let rows = self.committer.control().await?;
        Ok(Arc::new(rows.into_iter().filter_map(|row| Some((row.key, row.value?))).collect()))
    }

    /// What is left to do here.
    pub(super) async fn left_to_do(&self) -> Result<Orders, SettleError> {
        let (rows, mut orders) = (self.rows().await?, Orders::default());
        for (key, value) in rows.iter() {
            if let Some(sink) = control::sink_of(key) {
                orders.paused.extend(control::is_paused(Some(value)).then(|| sink.to_owned()));
            } else if let Some(sink) = spans::skip_of(key) {
                let to = spans::read_skip(value);
                // Nobody may have the shards, as those of a sink that is held: whoever has none tries to get them.
                let is_left = self.is_behind(sink, &to) || self.committer.here(sink).is_empty();
                orders.skips.extend(is_left.then(|| (sink.to_owned(), to)));
            } else if let Some(id) = spans::replay_of(key) {
                for replay in spans::read_replay(id, value) {
                    orders.replays.extend(self.share(&replay).await?);
                }
            }
        }
        orders.replays.sort_by(|a, b| (a.id, &a.sink).cmp(&(b.id, &b.sink)));
        Ok(orders)
    }

    // ── replays ──

    /// Begins a replay: whoever has its shards hears of it.
    pub(super) async fn ask_replay(&self, replays: Vec<Replay>) -> Result<i64, SettleError> {
        let rows = self.asked_rows().await?;
        let is_replay = |(key, value): &(&String, &Bytes)| {
            spans::replay_of(key).is_some_and(|id| !spans::read_replay(id, value).is_empty())
        };
        let under_way = rows.iter().filter(is_replay).count();
        if under_way >= MOST_UNDER_WAY {
            return Err(SettleError::TooManyReplays(under_way));
        }
        let id = self.committer.number().await?.cast_signed();
        if !replays.is_empty() {
            let value = Some(spans::write_replay(&replays));
            self.committer.set_control(Row { key: spans::replay_key(id), value }).await?;
        }
        Ok(id)
    }

    /// The replays that begin in a shard with these steps, and which are under way at all.
    pub(super) async fn begun(&self, shard: u32, base: &Base, steps: &[Settlement]) -> Result<Begun, SettleError> {
        let unknown = |step: &Settlement| step.replay.filter(|id| !base.replays.contains_key(id));
        let unknown: BTreeSet<(i64, &str)> =
            steps.iter().filter_map(|step| Some((unknown(step)?, step.sink.as_str()))).collect();
        if unknown.is_empty() {
            return Ok(Begun::default());
        }
        let rows = self.rows().await?;
        let mut begun =
            Begun { replays: vec![], under_way: rows.keys().filter_map(|key| spans::replay_of(key)).collect() };
        for (id, sink) in unknown {
            let row = rows.get(&spans::replay_key(id)).map(|value| spans::read_replay(id, value)).unwrap_or_default();
            // Of one that was ended meanwhile nothing is noted any more.
            let replay = row.iter().find(|replay| replay.sink == sink);
            begun.replays.extend(replay.map(|replay| (id, spans::progress(replay, shard))));
        }
        Ok(begun)
    }

    /// What is left of a replay here.
    async fn share(&self, replay: &Replay) -> Result<Option<Replay>, SettleError> {
        let here = self.committer.here(&replay.sink);
        if here.is_empty() {
            return Ok(None);
        }
        let come = self.copy.progress(&replay.sink).await?;
        let mut share = Replay { until: Marks::default(), ..replay.clone() };
        for until in here.iter().map(|stand| replay.until.at(stand.cursor.shard)) {
            let come = come.iter().find(|(id, shard, _)| (*id, *shard) == (replay.id, until.shard));
            let mut at = replay.first.at(until.shard);
            if let Some((.., progress)) = come {
                at.offset = progress.at;
                share.deliveries += progress.fed;
            }
            if at.offset < until.offset {
                share.at.set(at);
                share.until.set(until);
            }
        }
        let is_something = share.until.iter().next().is_some();
        Ok(is_something.then_some(share))
    }

    /// Whether nothing is left of a replay anywhere.
    async fn is_over(&self, shares: &[Replay]) -> Result<bool, SettleError> {
        for replay in shares {
            if self.share(replay).await?.is_some() {
                return Ok(false);
            }
            let now = self.shards(&replay.sink, replay.id).await?.now(replay);
            if !now.at.reaches(&now.until) {
                return Ok(false);
            }
        }
        // One that this build cannot read is another's.
        Ok(!shares.is_empty())
    }

    async fn shards(&self, sink: &str, id: i64) -> Result<Shards, SettleError> {
        Shards::read(&self.committer.glance(sink).await?, id)
    }

    /// All replays under way, over all daemons.
    pub(super) async fn under_way(&self) -> Result<Vec<UnderWay>, SettleError> {
        let (rows, mut all) = (self.asked_rows().await?, Vec::new());
        for (key, value) in rows.iter() {
            let Some(id) = spans::replay_of(key) else { continue };
            for replay in spans::read_replay(id, value) {
                let replay = self.shards(&replay.sink, id).await?.now(&replay);
                if !replay.at.reaches(&replay.until) {
                    let done = Some(done(&replay));
                    all.push(UnderWay { replay, done });
                }
            }
        }
        all.sort_by(|a, b| (a.replay.id, &a.replay.sink).cmp(&(b.replay.id, &b.replay.sink)));
        Ok(all)
    }

    /// What became of a replay so far, over all daemons.
    pub(super) async fn counts_of(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError> {
        let rows = self.asked_rows().await?;
        let row = rows.get(&spans::replay_key(id)).map(|value| spans::read_replay(id, value)).unwrap_or_default();
        let mut all = Vec::new();
        for sink in rows.keys().filter_map(|key| control::sink_of(key)) {
            let shards = self.shards(sink, id).await?;
            if !shards.0.is_empty() || row.iter().any(|replay| replay.sink == sink) {
                all.push(ReplayCounts { sink: sink.to_owned(), counts: shards.counts() });
            }
        }
        Ok(all)
    }

    // ── moving on ──

    /// Has a sink moved on by whoever has its shards.
    pub(super) async fn ask_skip(&self, sink: &str, to: &Marks) -> Result<(), SettleError> {
        let (key, rows) = (spans::skip_key(sink), self.asked_rows().await?);
        let before = rows.get(&key).map(|value| spans::read_skip(value)).unwrap_or_default();
        let value = Some(spans::write_skip(&before.later(to)));
        Ok(self.committer.set_control(Row { key, value }).await?)
    }

    /// Whether a shard of the sink stands before these marks that is this daemon's.
    fn is_behind(&self, sink: &str, to: &Marks) -> bool {
        self.committer.here(sink).iter().any(|stand| to.is_past(stand.cursor))
    }
}
