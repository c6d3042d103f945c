//! Pauses a sink, resumes it, or moves its cursor on. A paused sink has no worker; its cursor stays where it is, and
//! the journal keeps what lies behind it.

use std::sync::Arc;

use tracing::{info, warn};

use super::error::DaemonError;
use super::own_events;
use super::refusals::{known_sink, optional_time, sinks_not_started, unable};
use super::world::World;
use crate::admin::Refusal;
use crate::admin::sink::{SinkAct, SinkAsk, SinkDone};
use crate::ledger::runs::Passed;
use crate::ledger::{Counters, Settlement};
use crate::outbox::FOLLOWER;

impl World {
    /// Does to the sink what is asked; durable when this returns.
    ///
    /// # Errors
    /// There is no such sink, the time makes no sense, or the ledger cannot be written.
    pub async fn sink(&mut self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal> {
        let name = ask.sink.as_str();
        known_sink(name, self.config.sinks.iter().map(|sink| &sink.name))?;
        if !self.sinks.has_started() {
            return Err(sinks_not_started());
        }
        match act {
            SinkAct::Pause => {
                self.store.storage.settle.pause(name, true).await.map_err(unable)?;
                self.sinks.halt([name].into_iter()).await;
                if let Some(book) = self.books.now().of(name) {
                    book.book.vitals().set_paused(true);
                }
                info!(sink = name, "paused: its cursor stays, and what it is owed is kept");
            }
            SinkAct::Resume => {
                self.store.storage.settle.pause(name, false).await.map_err(unable)?;
                self.launch(name).await.map_err(unable)?;
                info!(sink = name, "resumed");
            }
            SinkAct::Skip => return self.skip(name, ask.to.as_deref()).await,
        }
        let remark = remark(name, act);
        if let Some(remark) = &remark {
            warn!(sink = name, "{remark}");
        }
        Ok(SinkDone { paused: act == SinkAct::Pause, remark, ..SinkDone::default() })
    }

    /// Moves the sink's cursor on, to a time or to the journal's end. What was parked or given up stays.
    async fn skip(&mut self, name: &str, to: Option<&str>) -> Result<SinkDone, Refusal> {
        let time = optional_time("to", to, &self.config.timezone)?;
        let was_running = self.sinks.is_running(name);
        self.sinks.halt([name].into_iter()).await;
        let dropped = self.move_on(name, time).await;
        if was_running {
            self.launch(name).await.map_err(unable)?;
        }
        let dropped = dropped.map_err(unable)?;
        warn!(sink = name, dropped, "skipped by hand: what it was owed up to there counts as dropped");
        if dropped > 0 {
            self.news.tell(own_events::dropped(name, dropped, "skip", "the sink was moved on by hand"));
        }
        let ledger = &self.store.storage.ledger;
        let parked = ledger.parked_rows(name).await.map_err(unable)?;
        let paused = self.store.storage.settle.is_paused(name).await.map_err(unable)?;
        Ok(SinkDone { paused, dropped, parked, remark: remark(name, SinkAct::Skip) })
    }

    async fn move_on(&self, name: &str, time: Option<i64>) -> Result<u64, DaemonError> {
        let storage = &self.store.storage;
        let target = match time {
            Some(time) => storage.journal.seek(time).await?,
            None => storage.journal.ends().await?,
        };
        let Some(state) = storage.settle.load(name).await? else { return Ok(0) };
        if state.cursors.reaches(&target) {
            return Ok(0);
        }
        // A shard in which the sink is further on already stays where it is.
        let target = state.cursors.later(&target);
        let Some(book) = self.books.now().of(name).map(|book| Arc::clone(&book.book)) else { return Ok(0) };
        // What the sink was owed is what was counted for it, by the rules that were in force when it was counted.
        let (counted, mut steps, mut all) = (book.counted(), Vec::new(), 0);
        for cursor in target.iter() {
            let span = [&state.cursors, &cursor.into()];
            let dropped = counted.between(name, span, &self.config.rules, &storage.of(name)).await?;
            let delta = Counters { accepted: dropped, dropped, ..Counters::default() };
            let passed = Passed::skipped(state.cursors.at(cursor.shard), cursor, dropped);
            steps.push(Settlement { delta, passed, ..Settlement::to(name, cursor) });
            all += dropped;
        }
        storage.settle.settle(steps).await?;
        Ok(all)
    }
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
