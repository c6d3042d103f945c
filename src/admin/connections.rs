//! Which connections the admin listener keeps: a number of anonymous ones, and as many that have shown the token.
//!
//! Every connection begins as an anonymous one. Where there are too many of them, the oldest is cut, once it has had
//! its time to speak: nobody occupies the listener by keeping connections open. A connection that asks for what takes
//! the token, and shows the token, gets a reserved slot, which no anonymous connection can take. (Where the config has
//! no token, every connection that asks for such a thing does.) Where all reserved ones are taken, it waits for one
//! with a bounded number of others and for a bounded time; then it is told so. Whoever has shown the token is cut by
//! nobody. A connection whose answer is a stream gives its slot back; the number of streams has a bound of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, timeout};

use super::streams::STREAMS;

/// Most anonymous connections, and most of those that have shown the token.
const ANONYMOUS: usize = 32;
const RESERVED: usize = 32;
/// Most that wait for a reserved slot, and for how long.
pub const QUEUE: usize = 32;
const IN_QUEUE: Duration = Duration::from_secs(10);
/// Most connections at the same time that may be answered, beside those that wait for that.
pub const ANSWERED: usize = ANONYMOUS + RESERVED + STREAMS;

/// How long an anonymous connection is kept for certain; a new one waits in the kernel meanwhile.
const HEARING: Duration = Duration::from_millis(100);

/// The connections of one listener.
pub(super) struct Connections {
    anonymous: Mutex<Anonymous>,
    reserved: Arc<Semaphore>,
    queue: Arc<Semaphore>,
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
    place: Mutex<Place>,
    is_stream: AtomicBool,
    /// Seconds that an answer on it may take beyond the life of a connection.
    more: AtomicU64,
}

/// Where a connection is counted; what it holds is given back when it is let go of.
#[derive(Default)]
enum Place {
    /// Among the anonymous ones, or, as a stream, elsewhere.
    #[default]
    Other,
    /// It waits for a reserved slot, or waited in vain, and ends.
    Queued(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    /// It has one.
    Reserved(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl Connections {
    pub fn new() -> Arc<Self> {
        let [reserved, queue] = [RESERVED, QUEUE].map(|most| Arc::new(Semaphore::new(most)));
        Arc::new(Self { anonymous: Mutex::default(), reserved, queue })
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
        let (place, is_stream, more) = (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        let task = spawn(Slot { connections: Arc::clone(self), number, place, is_stream, more });
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
    /// Moves the connection, which has shown the token, to a reserved slot, once one is free. False where none becomes
    /// free in time, or too many wait already: then it is to end with its answer.
    pub async fn reserve(&self) -> bool {
        if matches!(*self.place(), Place::Reserved(_)) {
            return true;
        }
        let Ok(queued) = Arc::clone(&self.connections.queue).try_acquire_owned() else { return false };
        *self.place() = Place::Queued(queued);
        self.connections.forget(self.number);
        // The semaphore is never closed.
        match timeout(IN_QUEUE, Arc::clone(&self.connections.reserved).acquire_owned()).await {
            Ok(Ok(permit)) => {
                *self.place() = Place::Reserved(permit);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// The answer on this connection goes on, for as long as the client wants.
    pub fn streams(&self) {
        self.is_stream.store(true, Ordering::Relaxed);
        *self.place() = Place::Other;
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

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// So many connections, of which each has asked for a reserved slot in its turn.
    async fn crowd(connections: &Arc<Connections>, count: usize) -> Vec<Slot> {
        let mut slots = Vec::new();
        for _ in 0..count {
            connections.admit(|slot| {
                slots.push(slot);
                tokio::spawn(pending::<()>()).abort_handle()
            });
            slots[slots.len() - 1].reserve().await;
        }
        slots
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_answer_goes_on_gives_its_slot_back() {
        let connections = Connections::new();
        let mut slots = crowd(&connections, RESERVED + 1).await;
        let last = slots.pop().unwrap();
        assert!(!last.reserve().await, "all are taken");
        slots[0].streams();
        assert!(slots[0].is_stream() && !last.is_stream() && last.reserve().await);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_shown_the_token_waits_for_a_slot_and_is_not_cut_and_of_too_many_the_last_is_told_at_once() {
        let connections = Connections::new();
        let taken = crowd(&connections, RESERVED).await;
        let mut tasks = Vec::new();
        for _ in 0..QUEUE {
            connections.admit(|slot| {
                let task = tokio::spawn(async move { slot.reserve().await });
                let cut = task.abort_handle();
                tasks.push(task);
                cut
            });
            // It asks before the next one comes.
            tokio::task::yield_now().await;
        }
        let mut last = None;
        connections.admit(|slot| {
            last = Some(slot);
            tokio::spawn(pending::<()>()).abort_handle()
        });
        let began = Instant::now();
        assert!(!last.unwrap().reserve().await && began.elapsed().is_zero(), "too many wait");
        assert!(tasks.iter().all(|task| !task.is_finished()), "nobody was cut");
        drop(taken);
        for task in tasks {
            assert!(task.await.unwrap(), "all have their turn");
        }
        let _taken = crowd(&connections, RESERVED).await;
        assert!(crowd(&connections, 1).await.len() == 1 && began.elapsed() >= IN_QUEUE, "none waits without an end");
    }
}
