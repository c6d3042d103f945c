//! The tasks that carry out replays: each reads the journal's span of one replay for one sink, as far as that is this
//! process's part, and parks the deliveries.

use std::collections::HashMap;

use tokio::sync::watch;
use tracing::info;

use super::endings::{Endings, Task};
use crate::journal::Marks;

/// A replay of one sink: the replay's number and the sink's name.
type Key = (i64, String);

struct Running {
    /// Where it ends in each shard that it reads.
    until: Marks,
    stop: watch::Sender<bool>,
    task: Task,
}

impl Running {
    /// Whether it is at work in all shards of that part.
    fn covers(&self, until: &Marks) -> bool {
        !self.task.is_over() && until.iter().all(|end| self.until.at(end.shard) == end)
    }
}

/// The tasks at work.
#[derive(Default)]
pub(super) struct RunningReplays {
    tasks: HashMap<Key, Running>,
    endings: Endings,
}

impl RunningReplays {
    /// Whether a task is at work on that replay for that sink.
    pub fn is_running(&self, key: &Key) -> bool {
        self.tasks.get(key).is_some_and(|running| !running.task.is_over())
    }

    /// Keeps a task until it has finished, which goes up to there; `stop` ends it before that.
    pub fn start(
        &mut self,
        key: Key,
        until: Marks,
        stop: watch::Sender<bool>,
        feed: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.endings.spawn(feed);
        self.tasks.insert(key, Running { until, stop, task });
    }

    /// Waits until a task has ended since this was waited for last. Cancel-safe.
    pub async fn ended(&self) {
        self.endings.next().await;
    }

    /// Forgets the tasks that have finished.
    pub fn forget_finished(&mut self) {
        self.tasks.retain(|_, running| !running.task.is_over());
    }

    /// Stops the tasks that are at work for nothing, or not on all of a part; `parts` are all there are. Says whether
    /// it stopped any.
    pub async fn halt_others(&mut self, parts: &HashMap<Key, Marks>) -> bool {
        self.forget_finished();
        let is_right = |(key, running): (&Key, &Running)| parts.get(key).is_some_and(|until| running.covers(until));
        let wrong: Vec<Key> = self.tasks.iter().filter(|task| !is_right(*task)).map(|(key, _)| key.clone()).collect();
        for (replay, sink) in wrong.iter().filter(|key| !parts.contains_key(*key)) {
            info!(replay, sink, "a replay stops here: it was ended, or is read to its end, or others have its shards");
        }
        let wrong: Vec<Running> = wrong.iter().filter_map(|key| self.tasks.remove(key)).collect();
        let is_any = !wrong.is_empty();
        stop(wrong).await;
        is_any
    }

    /// Stops all tasks where they stand; started again, each goes on from there.
    pub async fn halt(&mut self) {
        stop(self.tasks.drain().map(|(_, running)| running).collect()).await;
    }
}

async fn stop(tasks: Vec<Running>) {
    for running in &tasks {
        running.stop.send_replace(true);
    }
    for running in tasks {
        // Also after a panic the replay goes on from its cursor.
        running.task.end().await;
    }
}
