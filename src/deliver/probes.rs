//! Asking a sink's worker to try at once: who asks waits for what comes of the next try. Several who ask at the same
//! time share one try.

use std::sync::{Mutex, PoisonError};

use sink_api::Reason;
use tokio::sync::{Notify, oneshot};

/// Most who wait at once.
const MAX_WAITING: usize = 16;

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// A delivery was made.
    Delivered,
    /// A delivery was not taken, or the sink cannot be opened.
    Failed(Reason),
    /// There was nothing to deliver, but the sink is open and its target answers.
    Opens,
}

/// Those who wait.
#[derive(Debug, Default)]
pub struct Probes {
    waiting: Mutex<Vec<oneshot::Sender<Probed>>>,
    asked: Notify,
}

impl Probes {
    /// Asks the worker to try now. What comes of it is sent once; `None` where too many wait already.
    pub fn ask(&self) -> Option<oneshot::Receiver<Probed>> {
        let (reply, answer) = oneshot::channel();
        // Whole between any two statements.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|reply| !reply.is_closed());
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        waiting.push(reply);
        drop(waiting);
        self.asked.notify_one();
        Some(answer)
    }

    /// For the worker: waits until somebody asks. Cancel-safe.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// For the worker: whether somebody waits for what comes of a try.
    pub fn is_waiting(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|reply| !reply.is_closed())
    }

    /// For the worker: tells all who wait what came of a try.
    pub fn tell(&self, probed: &Probed) {
        for reply in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Whoever asked may be gone.
            let _ = reply.send(probed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_hear_of_one_try_and_their_number_is_bounded() {
        let probes = Probes::default();
        assert!(!probes.is_waiting());
        let mut answers: Vec<_> = (0..MAX_WAITING).map(|_| probes.ask().unwrap()).collect();
        assert!(probes.is_waiting() && probes.ask().is_none());
        answers.pop();
        answers.push(probes.ask().expect("one of them has left"));
        probes.asked().await;
        probes.tell(&Probed::Opens);
        assert!(!probes.is_waiting());
        for answer in answers {
            assert_eq!(answer.await, Ok(Probed::Opens));
        }
    }
}
