//! Clause `pipeline`: what fails in the middle of a key that is under way takes back all of its key behind it. Only for
//! sinks that have several deliveries of a key under way at once, because their target keeps their order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sink_api::{Batch, Delivery, Outcome};

use crate::kit::{Failure, Kit, PATIENCE, Tried};
use crate::make::batch;
use crate::subject::{Has, Repeats, Subject};

/// Deliveries of one key in a batch.
const DELIVERIES: usize = 120;
/// Where those stand that are refused: behind the first, in the middle side by side, and last.
const REFUSED: [usize; 4] = [1, 60, 61, 119];
/// A dropped call is dropped at its first, second, … this many-th wake-up.
const DROPS: usize = 8;
/// Batches of the key before its target goes away.
const BATCHES_BEFORE: usize = 3;
/// Calls that may come back with nothing delivered while the target is there. (A pool may hold dead connections.)
const IN_VAIN: usize = 20;
/// Between two calls, where one came back with something owed. (The core would wait longer.)
const PAUSE: Duration = Duration::from_millis(20);

/// Clause `pipeline`.
///
/// # Errors
/// [`Failure`].
pub async fn pipeline(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("pipeline", subject).await?;
    refused_in_the_middle(&kit).await?;
    dropped_in_the_middle(&kit).await?;
    away_in_the_middle(&kit).await?;
    kit.close().await
}

/// Two calls at once, each with a key of its own: the fault of one is not the other's.
async fn refused_in_the_middle(kit: &Kit<'_>) -> Result<(), Failure> {
    let (mut bad, good) = (kit.line("pipeline-bad")?, kit.line("pipeline-good")?);
    let mut refused = Vec::new();
    if let Has::Yes(builder) = kit.subject.poison() {
        for (n, i) in REFUSED.iter().enumerate() {
            let poison = builder.clone().key("pipeline-bad").delivery_id(&format!("pipeline-refused-{n}"));
            let poison = Arc::new(kit.fixed(poison)?);
            refused.push(poison.id.clone());
            if let Some(slot) = bad.get_mut(*i) {
                *slot = poison;
            }
        }
    }
    let is_there = AtomicBool::new(true);
    let (rejected, none) = tokio::join!(kit.insist(&bad, &is_there), kit.insist(&good, &is_there));
    let (rejected, none) = (rejected?, none?);
    if rejected != refused || !none.is_empty() {
        return Err(kit.fail(format!("to be refused: {refused:?}; rejected: {rejected:?}, and of others: {none:?}")));
    }
    bad.retain(|delivery| !refused.contains(&delivery.id));
    kit.in_order(&bad).await?;
    kit.in_order(&good).await
}

async fn dropped_in_the_middle(kit: &Kit<'_>) -> Result<(), Failure> {
    for polls in 1..=DROPS {
        let owed = kit.line("pipeline-dropped")?;
        kit.drop_after(&Batch { deliveries: owed.clone(), ..batch([]) }, polls).await?;
        kit.all_arrive(&owed, &AtomicBool::new(true)).await?;
        kit.in_order(&owed).await.map_err(|f| kit.fail(format!("dropped at poll {polls}, then: {}", f.what)))?;
    }
    Ok(())
}

async fn away_in_the_middle(kit: &Kit<'_>) -> Result<(), Failure> {
    let (mut owed, is_there, is_over) = (Vec::new(), AtomicBool::new(true), AtomicBool::new(false));
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let load = async {
        let mut batches = 0;
        while !is_over.load(Ordering::Relaxed) {
            let next = kit.line("pipeline-away")?;
            owed.extend(next.iter().cloned());
            if batches == BATCHES_BEFORE {
                begun.take().map(|begun| begun.send(()));
            }
            kit.all_arrive(&next, &is_there).await?;
            batches += 1;
            // A sink that never waits would not let the target go away.
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let harm = async {
        // Fails where the load did, which says why.
        let _ = has_begun.await;
        is_there.store(false, Ordering::Relaxed);
        let _ = kit.subject.take_down().await;
        kit.subject.bring_up().await;
        is_there.store(true, Ordering::Relaxed);
        is_over.store(true, Ordering::Relaxed);
    };
    let (loaded, ()) = tokio::join!(load, harm);
    loaded?;
    kit.in_order(&owed).await
}

impl Kit<'_> {
    /// Deliveries of one key.
    fn line(&self, key: &str) -> Result<Vec<Arc<Delivery>>, Failure> {
        (0..DELIVERIES).map(|_| self.one(key).map(Arc::new)).collect()
    }

    async fn all_arrive(&self, owed: &[Arc<Delivery>], is_there: &AtomicBool) -> Result<(), Failure> {
        match self.insist(owed, is_there).await?.as_slice() {
            [] => Ok(()),
            rejected => Err(self.fail(format!("innocent deliveries were rejected: {rejected:?}"))),
        }
    }

    /// Delivers as the core does: what is rejected goes, what has not arrived is handed out again, in order. Says what
    /// was rejected.
    async fn insist(&self, owed: &[Arc<Delivery>], is_there: &AtomicBool) -> Result<Vec<String>, Failure> {
        let (mut left, mut rejected, end) = (owed.to_vec(), Vec::new(), Instant::now() + 2 * PATIENCE);
        let mut in_vain = 0;
        while !left.is_empty() {
            if Instant::now() > end || in_vain > IN_VAIN {
                return Err(self.fail(format!("{} of {} are still not delivered", left.len(), owed.len())));
            }
            let slots = self.deliver(&Batch { deliveries: left.clone(), ..batch([]) }).await?;
            let (before, mut stopped) = (left.len(), None);
            let mut still = Vec::new();
            for (delivery, slot) in left.into_iter().zip(slots) {
                // One statement may fail as a whole, and is a Retry for all that stands in it.
                if let (Some(first), Some(Outcome::Delivered | Outcome::Reject { .. })) = (&stopped, &slot) {
                    return Err(self.fail(format!("behind {first:?} a delivery of its key got {slot:?}")));
                }
                match &slot {
                    Some(Outcome::Delivered | Outcome::Skipped { .. }) => continue,
                    Some(Outcome::Reject { .. }) => rejected.push(delivery.id.clone()),
                    _ => still.push(delivery),
                }
                stopped = stopped.or(slot);
            }
            let has_moved = still.len() < before;
            in_vain = if has_moved || !is_there.load(Ordering::Relaxed) { 0 } else { in_vain + 1 };
            left = still;
            if matches!(stopped, Some(Outcome::Retry { .. } | Outcome::Later { .. })) {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(rejected)
    }

    /// All of these, of one key, are there, and appear first in the order in which they were owed.
    async fn in_order(&self, owed: &[Arc<Delivery>]) -> Result<(), Failure> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let seen = self.subject.delivered().await;
        for (at, id) in seen.iter().enumerate() {
            places.entry(id).or_insert(at);
        }
        let mut last = None;
        for (n, delivery) in owed.iter().enumerate() {
            let Some(at) = places.get(delivery.id.as_str()) else {
                return Err(self.fail(format!("delivery {n} of {} is not there", owed.len())));
            };
            if last.is_some_and(|last| last > at) {
                return Err(self.fail(format!("delivery {n} of {} arrived before the one before it", owed.len())));
            }
            last = Some(at);
        }
        let known: HashSet<&str> = owed.iter().map(|delivery| delivery.id.as_str()).collect();
        let count = seen.iter().filter(|id| known.contains(id.as_str())).count();
        if self.subject.repeats() == Repeats::Never && count > owed.len() {
            return Err(self.fail(format!("{} deliveries are there {count} times", owed.len())));
        }
        Ok(())
    }
}
