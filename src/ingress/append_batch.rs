//! Where the requests of a serving thread meet the journal. What they append in one turn of the thread goes out
//! together, and what the journal says of it comes back together: one wake-up of the other side for many requests.
//!
//! A request hands over and is polled no more in that turn; the desk's task was woken by the first of them, so it stands
//! in the thread's queue behind every request that was ready, and waits for nobody who is not.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::dedupe::Outcome;
use crate::journal::{Append, Bell, Journal};

/// A request waits for the journal with a timer, and setting a timer that is due before all others makes the runtime
/// wake itself up, by a system call. While there is work one timer is kept that is due sooner than any request's.
const PILOT: Duration = Duration::from_millis(100);

/// An answer on its way to the request that waits for it.
type Answer = (oneshot::Sender<Outcome>, Outcome);

/// One serving thread's desk. Holds what one turn brings: at most one entry for each request under way.
pub(in crate::ingress) struct Desk {
    out: Mutex<Vec<Append>>,
    back: Mutex<Vec<Answer>>,
    work: Arc<Notify>,
    bell: Bell,
}

impl Default for Desk {
    fn default() -> Self {
        let work = Arc::new(Notify::new());
        let bell = Arc::new({
            let work = Arc::clone(&work);
            move || work.notify_one()
        });
        Self { out: Mutex::default(), back: Mutex::default(), work, bell }
    }
}

impl Desk {
    /// Hands over what the journal is to keep.
    pub fn append(&self, append: Append) {
        let mut out = lock(&self.out);
        out.push(append);
        // Whoever put the first one rang, and nobody has looked since.
        if out.len() == 1 {
            drop(out);
            self.work.notify_one();
        }
    }

    /// Hands over the journal's word; called on the journal's thread, or on our own where it refuses at once. Nobody
    /// comes for it before the bell is rung.
    pub fn answer(&self, tell: oneshot::Sender<Outcome>, outcome: Outcome) {
        lock(&self.back).push((tell, outcome));
    }

    /// Calls for what was handed over; the journal rings it when it has told all there is to tell.
    pub fn bell(&self) -> Bell {
        Arc::clone(&self.bell)
    }

    /// Carries both ways until it is dropped.
    pub async fn run(&self, journal: &dyn Journal) {
        let mut back = Vec::new();
        let mut pilot = pin!(sleep(PILOT));
        let mut lit = false;
        loop {
            tokio::select! {
                biased;
                () = self.work.notified() => {
                    if !std::mem::replace(&mut lit, true) {
                        pilot.as_mut().reset(Instant::now() + PILOT);
                    }
                }
                () = &mut pilot, if lit => lit = false,
            }
            let out = std::mem::take(&mut *lock(&self.out));
            if !out.is_empty() {
                journal.append_all(out);
            }
            std::mem::swap(&mut back, &mut *lock(&self.back));
            for (tell, outcome) in back.drain(..) {
                // A request whose sender has gone waits for nothing.
                let _ = tell.send(outcome);
            }
        }
    }
}

/// A tray is valid between any two statements, whoever panicked.
fn lock<T>(tray: &Mutex<T>) -> MutexGuard<'_, T> {
    tray.lock().unwrap_or_else(PoisonError::into_inner)
}
