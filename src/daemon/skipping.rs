//! The tasks that move sinks on, past what they were owed: each reads nothing but which shards are this process's, and
//! settles the sink behind them. No worker of the sink runs meanwhile, as it would settle where it is itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::endings::{Endings, Task};
use super::error::DaemonError;
use crate::deliver::Book;
use crate::journal::{Marks, News};
use crate::ledger::runs::Passed;
use crate::ledger::{Counters, Settle, SettleError, Settlement, Storage};
use crate::route::RuleSet;

/// How long one task tries; where something is left then, another one does.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether the sink has been moved on in all shards.
const LOOK: Duration = Duration::from_millis(250);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The tasks at work, by sink.
#[derive(Default)]
pub(super) struct Skipping {
    tasks: HashMap<String, Task>,
    endings: Endings,
}

/// What a task does.
pub(super) struct Skip {
    /// The sink.
    pub name: String,
    /// Where it is to stand at least.
    pub to: Marks,
    /// Whether a worker is to run as soon as that is so in this process's shards; else the task goes on until it is so
    /// in all, as nobody else may have them.
    pub has_worker: bool,
    /// The sink's book.
    pub book: Arc<Book>,
    /// The rules in force.
    pub rules: Arc<RuleSet>,
    /// What it reads from and writes to.
    pub storage: Storage,
}

impl Skipping {
    /// Whether a sink is being moved on.
    pub fn is_running(&self, sink: &str) -> bool {
        self.tasks.get(sink).is_some_and(|task| !task.is_over())
    }

    /// Waits for the task of that sink, which has a bound.
    pub async fn finish(&mut self, sink: &str) {
        if let Some(task) = self.tasks.remove(sink) {
            task.end().await;
        }
    }

    /// Moves a sink on.
    pub fn start(&mut self, skip: Skip) {
        let name = skip.name.clone();
        let task = self.endings.spawn(async move {
            match tokio::time::timeout(PATIENCE, skip.run()).await {
                // Others have the rest, or nobody has.
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(error)) => {
                    warn!(sink = skip.name, %error, "the sink cannot be moved on");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        self.tasks.retain(|_, task| !task.is_over());
        self.tasks.insert(name, task);
    }

    /// Waits until a task has ended since this was waited for last. Cancel-safe.
    pub async fn ended(&self) {
        self.endings.next().await;
    }
}

/// What is left to do is done in the next life.
impl Drop for Skipping {
    fn drop(&mut self) {
        self.tasks.values().for_each(Task::abort);
    }
}

impl Skip {
    async fn run(&self) -> Result<(), DaemonError> {
        let mut reader = self.storage.of(&self.name).reader().await?;
        let past = || Box::pin(is_past(&*self.storage.settle, &self.name, &self.to));
        let mut all = past();
        loop {
            tokio::select! {
                past = &mut all => return Ok(past?),
                news = reader.next(0) => match news? {
                    News::Given(cursors) => {
                        self.pass(&cursors).await?;
                        if self.has_worker {
                            return Ok(());
                        }
                        all = past();
                    }
                    // Nothing was read of them.
                    News::Taken(_, settled) => drop(settled.send(())),
                    News::Lost(_) | News::Chunk(_) => {}
                },
            }
        }
    }

    /// Settles the sink behind what it was owed in these shards, where it stands before it.
    async fn pass(&self, cursors: &Marks) -> Result<(), DaemonError> {
        let Self { name, to, book, rules, storage, .. } = self;
        // What the sink was owed is what was counted for it, by the rules that were in force when it was counted.
        let (counted, mut steps, mut all) = (book.counted(), Vec::new(), 0);
        for cursor in cursors.iter().filter(|cursor| to.is_past(*cursor)) {
            let to = to.at(cursor.shard);
            let span = [&cursor.into(), &to.into()];
            let dropped = counted.between(name, span, rules, &storage.of(name)).await?;
            let delta = Counters { accepted: dropped, dropped, ..Counters::default() };
            let passed = Passed::skipped(cursor, to, dropped);
            steps.push(Settlement { delta, passed, ..Settlement::to(name, to) });
            all += dropped;
        }
        if steps.is_empty() {
            return Ok(());
        }
        storage.settle.settle(steps).await?;
        warn!(sink = name, dropped = all, "skipped by hand: what it was owed up to there counts as dropped");
        Ok(())
    }
}

/// Waits until the sink stands at these marks, or behind them, in all shards.
///
/// # Errors
/// The ledger cannot be read.
pub(super) async fn is_past(settle: &dyn Settle, sink: &str, to: &Marks) -> Result<(), SettleError> {
    while !settle.load(sink).await?.is_some_and(|state| state.cursors.reaches(to)) {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
