//! Begins a replay, and ends it. A replay is under way over restarts and reloads, until it has read its span of the
//! journal. Where several daemons share that, each carries out its part, whichever was asked.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::refusals::{rate, sinks_not_started, type_pattern, unable};
use super::replay_plan::{sinks_of, span_of};
use super::world::World;
use crate::admin::Refusal;
use crate::admin::replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled};
use crate::deliver::{Feed, Rate, feed};
use crate::journal::Marks;
use crate::ledger::SettleError;
use crate::ledger::replays::Replay;
use crate::route::Destination;

impl World {
    /// Begins a replay; durable when this returns.
    ///
    /// # Errors
    /// What is asked makes no sense, or the ledger cannot be written.
    pub async fn replay(&mut self, ask: ReplayAsk) -> Result<ReplayBegun, Refusal> {
        if !self.sinks.has_started() {
            return Err(sinks_not_started());
        }
        let sinks = sinks_of(&self.config, &ask)?;
        let [from, until] = span_of(&self.config, &*self.store.storage.journal, &ask).await?;
        type_pattern(ask.kind.as_deref())?;
        rate(ask.rate.as_deref())?;
        let replay = |sink: &String| Replay {
            id: 0,
            sink: sink.clone(),
            first: from.clone(),
            at: from.clone(),
            until: until.clone(),
            kind: ask.kind.clone(),
            subject: ask.subject.clone(),
            rate: ask.rate.clone(),
            only_missing: ask.only_missing,
            deliveries: 0,
        };
        if from.reaches(&until) {
            return Ok(ReplayBegun { id: 0, sinks: vec![], events: 0 });
        }
        // Held before the replay is written down: what it will read must not be deleted in between.
        for sink in &sinks {
            self.store.storage.hold_replay(0, sink, &from);
        }
        let id = self.store.storage.settle.begin_replay(sinks.iter().map(replay).collect()).await;
        let resumed = self.resume_replays().await;
        for sink in &sinks {
            self.store.storage.release_replay(0, sink);
        }
        let id = id.map_err(unable)?;
        resumed?;
        info!(replay = id, ?sinks, %from, %until, "a replay begins");
        let counted = self.store.storage.journal.owed(&from, &until).await.unwrap_or_default();
        let events = counted.known.iter().map(|count| count.events).sum::<u64>() + counted.unknown;
        Ok(ReplayBegun { id, sinks, events })
    }

    /// Sees that this process is at work on its part of every replay whose sink is in the config, and on nothing else.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn resume_replays(&mut self) -> Result<(), Refusal> {
        let mut parts = self.parts().await?;
        let keys = |parts: &[Replay]| -> HashMap<(i64, String), Marks> {
            parts.iter().map(|part| ((part.id, part.sink.clone()), part.until.clone())).collect()
        };
        if self.replays.halt_others(&keys(&parts)).await {
            // They came further meanwhile.
            parts = self.parts().await?;
        }
        let books = self.books.now();
        for part in parts {
            let key = (part.id, part.sink.clone());
            self.store.storage.hold_replay(part.id, &part.sink, &part.at);
            if self.replays.is_running(&key) {
                continue;
            }
            let sink = self.config.sinks.iter().find(|sink| sink.name == part.sink);
            let Some((sink, book)) = sink.zip(books.of(&part.sink)) else { continue };
            let storage = self.store.storage.of(&part.sink);
            let to = Destination { name: part.sink, config: Arc::clone(&sink.config), key: sink.keys.key.clone() };
            let shards = |marks: &Marks| marks.iter().count() as f64;
            let feeding = Feed {
                id: part.id,
                to,
                kind: type_pattern(part.kind.as_deref())?,
                subject: part.subject,
                only_missing: part.only_missing,
                rate: part.rate.as_deref().and_then(Rate::parse),
                part: shards(&part.until) / shards(&part.first).max(1.0),
                until: part.until.clone(),
                book: Arc::clone(&book.book),
                storage,
                budget: Arc::clone(&self.store.budget),
                news: self.news.clone(),
            };
            let (stop, stopped) = watch::channel(false);
            self.replays.start(key, part.until, stop, feed(feeding, part.at, self.sinks.rules(), stopped));
        }
        Ok(())
    }

    async fn parts(&self) -> Result<Vec<Replay>, Refusal> {
        Ok(self.store.storage.settle.orders().await.map_err(unable)?.replays)
    }

    /// Ends a replay where it stands; the deliveries that it has come to are made all the same.
    ///
    /// # Errors
    /// There is no replay of that number, or the ledger cannot be written.
    pub async fn cancel_replay(&mut self, ask: ReplayCancel) -> Result<ReplayCancelled, Refusal> {
        self.replays.halt().await;
        let settle = &self.store.storage.settle;
        let ended = async {
            let replays = settle.replays().await?;
            let sinks = settle.cancel_replay(ask.id).await?;
            for replay in replays.iter().map(|under_way| &under_way.replay).filter(|replay| replay.id == ask.id) {
                self.store.storage.release_replay(replay.id, &replay.sink);
            }
            Ok(sinks)
        };
        let sinks: Result<usize, SettleError> = ended.await;
        self.resume_replays().await?;
        let sinks = sinks.map_err(unable)?;
        if sinks == 0 {
            return Err(Refusal::Question(format!("no replay {} is under way", ask.id)));
        }
        Ok(ReplayCancelled { id: ask.id, sinks })
    }
}
