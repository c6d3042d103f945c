//! How many events of a source were answered with success and are not on disk: those of which the journal has told that
//! it cannot write them, and those that it had not told anything of when the sender could be kept waiting no longer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::dedupe::Outcome;

/// Those that have heard by now are sorted out when there are so many more than were left the last time.
const SORT_OUT: usize = 64;

/// One source's.
#[derive(Debug, Default)]
pub struct AtRisk {
    told: AtomicU64,
    untold: Mutex<Untold>,
}

/// What the journal has yet to tell. The events wait in its queue, which bounds how many there are.
#[derive(Debug, Default)]
struct Untold {
    outcomes: Vec<Receiver<Outcome>>,
    sort_out_at: usize,
}

impl Untold {
    fn sort_out(&mut self) {
        self.outcomes.retain_mut(|outcome| matches!(outcome.try_recv(), Err(TryRecvError::Empty)));
        self.sort_out_at = self.outcomes.len() + SORT_OUT;
    }
}

impl AtRisk {
    /// The journal has told of an event that it cannot write it.
    pub(super) fn told(&self) {
        self.told.fetch_add(1, Relaxed);
    }

    /// Of such an event it has told its last.
    pub(super) fn over(&self) {
        self.told.fetch_sub(1, Relaxed);
    }

    /// An event was answered with success before this outcome came.
    pub(super) fn answered(&self, outcome: Receiver<Outcome>) {
        let mut untold = self.untold();
        untold.outcomes.push(outcome);
        if untold.outcomes.len() >= untold.sort_out_at.max(SORT_OUT) {
            untold.sort_out();
        }
    }

    /// How many there are now.
    pub fn now(&self) -> u64 {
        let mut untold = self.untold();
        untold.sort_out();
        self.told.load(Relaxed) + untold.outcomes.len() as u64
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn an_event_is_at_risk_until_the_journal_has_told_of_it_whoever_asks() {
        let at_risk = AtRisk::default();
        let mut senders = Vec::new();
        for _ in 0..3 * SORT_OUT {
            let (sender, outcome) = oneshot::channel();
            at_risk.answered(outcome);
            senders.push(sender);
        }
        at_risk.told();
        assert_eq!(at_risk.now(), 3 * SORT_OUT as u64 + 1);
        at_risk.over();
        for sender in senders.drain(..) {
            sender.send(Outcome::Durable).unwrap();
        }
        for _ in 0..3 * SORT_OUT {
            let (sender, outcome) = oneshot::channel();
            drop(sender);
            at_risk.answered(outcome);
        }
        assert!(at_risk.untold().outcomes.len() <= 2 * SORT_OUT, "what is over takes no memory");
        assert_eq!(at_risk.now(), 0);
    }
}
