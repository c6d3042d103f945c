//! Which connections the admin listener keeps: a number of anonymous ones, and as many that have shown the token.
//!
//! Every connection begins as an anonymous one. Where there are too many of them, the oldest is cut, once it has had
//! its time to speak: nobody occupies the listener by keeping connections open. A connection that asks for what takes
//! the token, and shows the token, gets a reserved slot, which no anonymous connection can take. (Where the config has
//! no token, every connection that asks for such a thing does.) A connection whose answer is a stream gives its slot
//! back; the number of streams has a bound of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};

use super::streams::STREAMS;

/// Most anonymous connections, and most of those that have shown the token.
const ANONYMOUS: usize = 32;
const RESERVED: usize = 32;
/// Most connections at the same time.
pub const CONNECTIONS: usize = ANONYMOUS + RESERVED + STREAMS;

/// How long an anonymous connection is kept for certain; a new one waits in the kernel meanwhile.
const HEARING: Duration = Duration::from_millis(100);

/// The connections of one listener.
pub(super) struct Connections {
    anonymous: Mutex<Anonymous>,
    reserved: Arc<Semaphore>,
}

#[derive(Default)]
struct Anonymous {
    next: u64,
    /// In the order in which they came: the connection's number, when it came, and what cuts it.
    all: VecDeque<(u64, Instant, AbortHandle)>,
}

/// One connection's slot, which is free again when this is dropped.
pub(super) struct Slot {
    connections: Arc<Connections>,
    number: u64,
    reserved: Mutex<Option<OwnedSemaphorePermit>>,
    is_stream: AtomicBool,
    /// Seconds that an answer on it may take beyond the life of a connection.
    more: AtomicU64,
}

impl Connections {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { anonymous: Mutex::default(), reserved: Arc::new(Semaphore::new(RESERVED)) })
    }

    /// Waits until there is a slot for one more connection, which may be the slot of an anonymous one that has been
    /// heard. Cancel-safe.
    pub async fn wait_for_slot(&self) {
        let oldest = {
            let anonymous = self.anonymous();
            anonymous.all.front().filter(|_| anonymous.all.len() >= ANONYMOUS).map(|(_, came, _)| *came)
        };
        if let Some(came) = oldest {
            tokio::time::sleep_until(came + HEARING).await;
        }
    }

    /// Takes a connection in; `spawn` starts its task. Where that makes one anonymous connection too many, the oldest
    /// of them is cut.
    pub fn admit(self: &Arc<Self>, spawn: impl FnOnce(Slot) -> AbortHandle) {
        let number = {
            let mut anonymous = self.anonymous();
            anonymous.next += 1;
            anonymous.next
        };
        // One thread runs all of these tasks: this one begins after this function has returned.
        let (reserved, is_stream, more) = (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        let task = spawn(Slot { connections: Arc::clone(self), number, reserved, is_stream, more });
        let mut anonymous = self.anonymous();
        anonymous.all.push_back((number, Instant::now(), task));
        let too_many = anonymous.all.len() > ANONYMOUS;
        let oldest = if too_many { anonymous.all.pop_front() } else { None };
        drop(anonymous);
        if let Some((_, _, oldest)) = oldest {
            oldest.abort();
        }
    }

    fn forget(&self, number: u64) {
        self.anonymous().all.retain(|(other, ..)| *other != number);
    }

    fn anonymous(&self) -> MutexGuard<'_, Anonymous> {
        self.anonymous.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Moves the connection, which has shown the token, to a reserved slot, once one is free; until then it may be cut
    /// as an anonymous one.
    pub async fn reserve(&self) {
        if self.reserved().is_some() {
            return;
        }
        // The semaphore is never closed.
        if let Ok(permit) = Arc::clone(&self.connections.reserved).acquire_owned().await {
            *self.reserved() = Some(permit);
            self.connections.forget(self.number);
        }
    }

    /// The answer on this connection goes on, for as long as the client wants.
    pub fn streams(&self) {
        self.is_stream.store(true, Ordering::Relaxed);
        *self.reserved() = None;
    }

    /// The answer on this connection waits for something by design, and may take so long. The connection ends with it.
    pub fn waits(&self, patience: Duration) {
        self.more.store(patience.as_secs(), Ordering::Relaxed);
    }

    /// How long the connection may live beyond its time.
    pub fn more(&self) -> Duration {
        Duration::from_secs(self.more.load(Ordering::Relaxed))
    }

    /// Whether the answer on this connection goes on.
    pub fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed)
    }

    fn reserved(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.forget(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_connection_whose_answer_goes_on_gives_its_slot_back() {
        let connections = Connections::new();
        let mut slots = Vec::new();
        for _ in 0..=RESERVED {
            connections.admit(|slot| {
                slots.push(slot);
                tokio::spawn(pending::<()>()).abort_handle()
            });
            if slots.len() <= RESERVED {
                slots[slots.len() - 1].reserve().await;
            }
        }
        let last = &slots[RESERVED];
        let reserve = async |slot: &Slot| tokio::time::timeout(Duration::from_millis(10), slot.reserve()).await.is_ok();
        assert!(!reserve(last).await, "all are taken");
        slots[0].streams();
        assert!(slots[0].is_stream() && !last.is_stream() && reserve(last).await);
    }
}
