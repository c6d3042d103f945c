//! Pauses a sink, resumes it, or moves its cursor on. A paused sink has no worker; its cursor stays where it is, and
//! the journal keeps what lies behind it. What is asked of one daemon holds for all that share the journal: this one
//! has followed when it answers, and the others do soon (`following`).

use std::time::Duration;

use tracing::{info, warn};

use super::own_events;
use super::refusals::{known_sink, optional_time, sinks_not_started, unable};
use super::requests::Reply;
use super::skipping::is_past;
use super::world::World;
use crate::admin::Refusal;
use crate::admin::sink::{SinkAct, SinkAsk, SinkDone};
use crate::journal::Marks;
use crate::ledger::Storage;
use crate::news::News;
use crate::outbox::FOLLOWER;

/// How long a skip waits for the other daemons to move the sink on in their shards.
const OTHERS: Duration = Duration::from_secs(12);

impl World {
    /// Does to the sink what is asked, and answers once that is durable: or that there is no such sink, that the time
    /// makes no sense, or that the ledger cannot be written.
    pub async fn sink(&mut self, ask: SinkAsk, act: SinkAct, reply: Reply<SinkDone>) {
        let done = match (self.asked(&ask), act) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), SinkAct::Pause) => self.pause(&ask.sink).await,
            (Ok(()), SinkAct::Resume) => self.resume(&ask.sink).await,
            (Ok(()), SinkAct::Skip) => match self.skip(&ask.sink, ask.to.as_deref()).await {
                Ok(Some(skip)) => {
                    // Others may take their time: this loop has more to do.
                    tokio::spawn(async move { reply.send(skip.done().await) });
                    return;
                }
                Ok(None) => self.skipped_nothing(&ask.sink).await,
                Err(refusal) => Err(refusal),
            },
        };
        // Whoever asked may have gone.
        let _ = reply.send(done);
    }

    fn asked(&self, ask: &SinkAsk) -> Result<(), Refusal> {
        known_sink(&ask.sink, self.config.sinks.iter().map(|sink| &sink.name))?;
        if self.sinks.has_started() { Ok(()) } else { Err(sinks_not_started()) }
    }

    async fn pause(&mut self, name: &str) -> Result<SinkDone, Refusal> {
        self.store.storage.settle.pause(name, true).await.map_err(unable)?;
        self.hold(name).await;
        info!(sink = name, "paused: its cursor stays, and what it is owed is kept");
        Ok(said(name, SinkAct::Pause, SinkDone { paused: true, ..SinkDone::default() }))
    }

    async fn resume(&mut self, name: &str) -> Result<SinkDone, Refusal> {
        self.store.storage.settle.pause(name, false).await.map_err(unable)?;
        self.launch(name).await.map_err(unable)?;
        info!(sink = name, "resumed");
        Ok(said(name, SinkAct::Resume, SinkDone::default()))
    }

    /// Moves the sink's cursor on, to a time or to the journal's end. What was parked or given up stays. Nothing where
    /// the sink is there already.
    async fn skip(&mut self, name: &str, to: Option<&str>) -> Result<Option<Skipped>, Refusal> {
        let time = optional_time("to", to, &self.config.timezone)?;
        let storage = self.store.storage.clone();
        let target = match time {
            Some(time) => storage.journal.seek(time).await,
            None => storage.journal.ends().await,
        };
        let target = target.map_err(unable)?;
        let state = storage.settle.load(name).await.map_err(unable)?;
        let Some(state) = state.filter(|state| !state.cursors.reaches(&target)) else { return Ok(None) };
        // A shard in which the sink is further on already stays where it is.
        let to = state.cursors.later(&target);
        storage.settle.skip(name, &to).await.map_err(unable)?;
        // One that is under way may be for less.
        self.skipping.finish(name).await;
        self.begin_skip(name, &to).await;
        let (name, before, news) = (name.to_owned(), state.counters.dropped, self.news.clone());
        Ok(Some(Skipped { name, to, before, storage, news }))
    }

    async fn skipped_nothing(&self, name: &str) -> Result<SinkDone, Refusal> {
        let Storage { settle, ledger, .. } = &self.store.storage;
        let (paused, parked) = (settle.is_paused(name).await, ledger.parked_rows(name).await);
        let done = SinkDone { paused: paused.map_err(unable)?, parked: parked.map_err(unable)?, ..SinkDone::default() };
        Ok(said(name, SinkAct::Skip, done))
    }
}

/// A sink that is being moved on.
struct Skipped {
    name: String,
    to: Marks,
    /// What had been dropped of it before.
    before: u64,
    storage: Storage,
    news: News,
}

impl Skipped {
    /// Waits until it is moved on in all shards, but not for ever, and says what came of it.
    async fn done(self) -> Result<SinkDone, Refusal> {
        let Self { name, to, before, storage, news } = self;
        let is_whole = match tokio::time::timeout(OTHERS, is_past(&*storage.settle, &name, &to)).await {
            Ok(past) => past.map(|()| true).map_err(unable)?,
            Err(_) => false,
        };
        let state = storage.settle.load(&name).await.map_err(unable)?;
        let dropped = state.map_or(0, |state| state.counters.dropped.saturating_sub(before));
        if dropped > 0 {
            news.tell(own_events::dropped(&name, dropped, "skip", "the sink was moved on by hand"));
        }
        let parked = storage.ledger.parked_rows(&name).await.map_err(unable)?;
        let paused = storage.settle.is_paused(&name).await.map_err(unable)?;
        let done = SinkDone { paused, dropped, parked, remark: None };
        if is_whole {
            return Ok(said(&name, SinkAct::Skip, done));
        }
        let remark =
            "some shards are not moved on yet, as nobody has them now: whoever gets them moves the sink on there";
        warn!(sink = name, "{remark}");
        Ok(SinkDone { remark: Some(remark.to_owned()), ..done })
    }
}

/// The same with what follows from it, which is logged, too.
fn said(sink: &str, act: SinkAct, done: SinkDone) -> SinkDone {
    let remark = remark(sink, act);
    if let Some(remark) = &remark {
        warn!(sink, "{remark}");
    }
    SinkDone { remark, ..done }
}

/// What follows where the sink is the one by which the daemon hears of statuses.
fn remark(sink: &str, act: SinkAct) -> Option<String> {
    let what = match act {
        _ if sink != FOLLOWER => return None,
        SinkAct::Pause => {
            "no status is heard while it is paused: what fails is not planned to be sent again, and what is due waits \
             (`behind`), until `sink resume outbox`"
        }
        SinkAct::Skip => "what the skipped statuses say is never heard: what failed there is not sent again",
        SinkAct::Resume => return None,
    };
    Some(what.to_owned())
}
