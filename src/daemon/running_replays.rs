//! The tasks that carry out replays: each reads the journal's span of one replay for one sink, and parks the
//! deliveries.

use std::collections::HashMap;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A replay of one sink: the replay's number and the sink's name.
type Key = (i64, String);

/// The tasks at work.
#[derive(Default)]
pub(super) struct RunningReplays(HashMap<Key, (watch::Sender<bool>, JoinHandle<()>)>);

impl RunningReplays {
    /// Whether a task is at work on that replay for that sink.
    pub fn is_running(&self, key: &Key) -> bool {
        self.0.get(key).is_some_and(|(_, task)| !task.is_finished())
    }

    /// Keeps a task until it has finished; `stop` ends it before that.
    pub fn insert(&mut self, key: Key, stop: watch::Sender<bool>, task: JoinHandle<()>) {
        self.0.insert(key, (stop, task));
    }

    /// Forgets the tasks that have finished.
    pub fn forget_finished(&mut self) {
        self.0.retain(|_, (_, task)| !task.is_finished());
    }

    /// Stops all tasks where they stand; started again, each goes on from there.
    pub async fn halt(&mut self) {
        for (stop, _) in self.0.values() {
            stop.send_replace(true);
        }
        for (_, (_, task)) in self.0.drain() {
            // A panic was reported on stderr; the replay goes on from its cursor.
            let _ = task.await;
        }
    }
}
