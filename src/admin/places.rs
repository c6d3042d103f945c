//! Who may be connected: strangers, and those who have shown the token, each with places of their own.
//!
//! Every connection begins as a stranger's. Where strangers are too many, the one that came first is cut, once it had its
//! time to speak: nobody occupies the listener by keeping connections. One that asks what takes the token, and shows it,
//! moves to a place that no stranger has (without a token in the config, whoever asks for such a thing does).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};

/// Most connections of strangers, and most of those that were let in.
const STRANGERS: usize = 32;
const LET_IN: usize = 32;
/// Most connections at once.
pub const CONNECTIONS: usize = STRANGERS + LET_IN;

/// How long a stranger has its place for certain; who comes meanwhile waits in the kernel.
const HEARING: Duration = Duration::from_millis(100);

/// The places of one listener.
pub(super) struct Places {
    strangers: Mutex<Strangers>,
    inside: Arc<Semaphore>,
}

#[derive(Default)]
struct Strangers {
    next: u64,
    /// In the order they came, each with when that was and what cuts it.
    all: VecDeque<(u64, Instant, AbortHandle)>,
}

/// One connection's place. Dropped, it is free.
pub(super) struct Guest {
    places: Arc<Places>,
    number: u64,
    inside: OnceLock<OwnedSemaphorePermit>,
}

impl Places {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { strangers: Mutex::default(), inside: Arc::new(Semaphore::new(LET_IN)) })
    }

    /// Waits until there is a place for one more, be it that of a stranger who has been heard. Cancel-safe.
    pub async fn room(&self) {
        let first = {
            let strangers = self.strangers();
            strangers.all.front().filter(|_| strangers.all.len() >= STRANGERS).map(|(_, came, _)| *came)
        };
        if let Some(came) = first {
            tokio::time::sleep_until(came + HEARING).await;
        }
    }

    /// A place for a connection whose task `spawn` starts. Where that is one stranger too many, the first of them goes.
    pub fn seat(self: &Arc<Self>, spawn: impl FnOnce(Guest) -> AbortHandle) {
        let number = {
            let mut strangers = self.strangers();
            strangers.next += 1;
            strangers.next
        };
        // One thread runs them all: the task begins after this.
        let task = spawn(Guest { places: Arc::clone(self), number, inside: OnceLock::new() });
        let mut strangers = self.strangers();
        strangers.all.push_back((number, Instant::now(), task));
        let too_many = strangers.all.len() > STRANGERS;
        let first = if too_many { strangers.all.pop_front() } else { None };
        drop(strangers);
        if let Some((_, _, first)) = first {
            first.abort();
        }
    }

    fn forget(&self, number: u64) {
        self.strangers().all.retain(|(other, ..)| *other != number);
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Moves to a place that no stranger has, once there is one; until then it stays where it is.
    pub async fn let_in(&self) {
        if self.inside.get().is_some() {
            return;
        }
        // The places are never closed.
        if let Ok(permit) = Arc::clone(&self.places.inside).acquire_owned().await {
            let _ = self.inside.set(permit);
            self.places.forget(self.number);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.places.forget(self.number);
    }
}
