//! Tasks of which the main loop wants to know that one has ended, however it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Tells that tasks have ended.
#[derive(Default)]
pub(super) struct Endings(Arc<Notify>);

/// A task.
pub(super) struct Task {
    handle: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
}

/// Goes with the task: also where it panics, or is given up.
struct AtEnd(Arc<AtomicBool>, Arc<Notify>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        // In this order: whoever is told finds that it is over.
        self.0.store(true, Ordering::Release);
        self.1.notify_one();
    }
}

impl Endings {
    /// Starts a task.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Task {
        let is_over = Arc::new(AtomicBool::new(false));
        let at_end = AtEnd(Arc::clone(&is_over), Arc::clone(&self.0));
        let handle = tokio::spawn(async move {
            let _at_end = at_end;
            work.await;
        });
        Task { handle, is_over }
    }

    /// Waits until a task has ended since this was waited for last. Cancel-safe.
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

impl Task {
    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits for its end.
    pub async fn end(self) {
        // A panic was reported on stderr.
        let _ = self.handle.await;
    }

    /// Gives it up.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_told_when_the_task_is_over_also_where_it_is_given_up() {
        let endings = Endings::default();
        let done = endings.spawn(async {});
        endings.next().await;
        assert!(done.is_over());
        let waits = endings.spawn(std::future::pending());
        tokio::task::yield_now().await;
        assert!(!waits.is_over());
        waits.abort();
        endings.next().await;
        assert!(waits.is_over());
        waits.end().await;
    }
}
