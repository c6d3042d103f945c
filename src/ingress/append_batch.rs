//! What the requests of a serving thread append to the journal, batched. What they append in one turn of the thread's
//! runtime goes to the journal together, and what the journal says of it comes back together: one wake-up of the other
//! side for many requests.
//!
//! A request that has handed over its event is not polled again in that turn. The batch's task was woken by the first
//! of them, so it stands in the runtime's queue behind every request that was ready, and waits for no request that is
//! not.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::dedupe::Outcome;
use crate::journal::{Append, Journal, NotifyBatch};

/// A request waits for the journal with a timer, and setting a timer that is due before all others makes the runtime
/// wake itself up, by a system call. While there is work one timer is kept that is due sooner than any request's.
const EARLIEST_TIMER: Duration = Duration::from_millis(100);

/// An outcome on its way to the request that waits for it.
type Answer = (oneshot::Sender<Outcome>, Outcome);

/// The batch of one serving thread. Holds what one turn brings: at most one entry for each request under way.
pub(super) struct AppendBatch {
    appends: Mutex<Vec<Append>>,
    answers: Mutex<Vec<Answer>>,
    work: Arc<Notify>,
    notify: NotifyBatch,
}

impl Default for AppendBatch {
    fn default() -> Self {
        let work = Arc::new(Notify::new());
        let notify = Arc::new({
            let work = Arc::clone(&work);
            move || work.notify_one()
        });
        Self { appends: Mutex::default(), answers: Mutex::default(), work, notify }
    }
}

impl AppendBatch {
    /// Adds what the journal is to keep.
    pub fn append(&self, append: Append) {
        let mut appends = lock(&self.appends);
        appends.push(append);
        // The first one wakes the task; until that has looked, the others need not.
        if appends.len() == 1 {
            drop(appends);
            self.work.notify_one();
        }
    }

    /// Adds what became of an event; called on the journal's thread, or on this one where the journal refuses at once.
    /// The request hears of it when [`Self::notify`] has been called.
    pub fn answer(&self, request: oneshot::Sender<Outcome>, outcome: Outcome) {
        lock(&self.answers).push((request, outcome));
    }

    /// What the journal calls when it has told all there is to tell.
    pub fn notify(&self) -> NotifyBatch {
        Arc::clone(&self.notify)
    }

    /// Carries both ways until it is dropped.
    pub async fn run(&self, journal: &dyn Journal) {
        let mut answers = Vec::new();
        let mut timer = pin!(sleep(EARLIEST_TIMER));
        let mut is_set = false;
        loop {
            tokio::select! {
                biased;
                () = self.work.notified() => {
                    if !std::mem::replace(&mut is_set, true) {
                        timer.as_mut().reset(Instant::now() + EARLIEST_TIMER);
                    }
                }
                () = &mut timer, if is_set => is_set = false,
            }
            let appends = std::mem::take(&mut *lock(&self.appends));
            if !appends.is_empty() {
                journal.append_all(appends);
            }
            std::mem::swap(&mut answers, &mut *lock(&self.answers));
            for (request, outcome) in answers.drain(..) {
                // A request whose sender has gone waits for nothing.
                let _ = request.send(outcome);
            }
        }
    }
}

/// Both lists are valid between any two statements, whoever panicked.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
