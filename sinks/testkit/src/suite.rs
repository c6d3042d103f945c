//! The clauses of the contract that every sink keeps, each a function over a [`Subject`], and [`run_all`].
//!
//! A clause opens the sink, does its worst, and compares what was reported with what arrived. Whatever clause is
//! running, every report is read for one slot per delivery and for text that should not be shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sink_api::{Batch, Delivery, Outcome};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use crate::kit::Failure;
use crate::kit::{Kit, PATIENCE, Tried};
use crate::make::{batch, unordered};
use crate::pipeline::pipeline;
use crate::subject::{Has, Repeats, Subject};
use crate::untried::untried;

/// Tries a sink has for its first success after its target came back (a pool may hold dead connections).
const TRIES_AFTER_DOWN: usize = 3;
/// A dropped call is dropped at its first, second, … this many-th wake-up.
const DROPS: usize = 8;
/// Calls at once.
const CALLS: usize = 6;

/// All broken clauses. Its `Debug` is for people: one a line.
#[derive(Clone, PartialEq, Eq)]
pub struct Failures(pub Vec<Failure>);

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|failure| write!(f, "\n  {failure:?}"))
    }
}

/// What was tried and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Clauses that hold.
    pub kept: Vec<&'static str>,
    /// Clauses the subject excused itself from, and why.
    pub excused: Vec<(&'static str, &'static str)>,
}

/// Runs every clause and reports all that are broken.
///
/// | clause | says |
/// | --- | --- |
/// | `report` | one slot each; what is reported delivered is there, once, and the sink's probe agrees |
/// | `dropped` | a call dropped at any point loses nothing: the same batch again is delivered whole |
/// | `down` | while the target is down all is Retry and the probe fails; once it is back the same batch is delivered |
/// | `poison` | a delivery that cannot be taken is rejected, and it alone |
/// | `order` | deliveries of a key arrive in the batch's order; after one that was not delivered none is attempted |
/// | `untried` | what the sink puts off stops its key, too; what it skips stops nothing; neither is at the target |
/// | `pipeline` | what fails in the middle of a key that is under way takes back all of its key behind it |
/// | `concurrent` | calls at the same time all arrive |
/// | `close` | what was delivered outlives `close`, and the sink can be opened again |
/// | `quiet` | neither the config's `Debug` nor a reason shows a secret or a body; reasons are short, with a label |
///
/// # Errors
/// [`Failures`].
pub async fn run_all(subject: &dyn Subject) -> Result<Summary, Failures> {
    let mut tried = vec![
        ("report", report(subject).await),
        ("dropped", dropped(subject).await),
        ("down", down(subject).await),
        ("poison", poison(subject).await),
        ("order", order(subject).await),
        ("order after a failure", order_after_failure(subject).await),
        ("concurrent", concurrent(subject).await),
        ("close", close(subject).await),
        ("quiet", quiet(subject)),
    ];
    // Most sinks try whatever they are given: that is no excuse.
    if subject.put_off().is_some() || subject.unneeded().is_some() {
        tried.push(("untried", untried(subject).await));
    }
    if subject.pipelines() {
        tried.push(("pipeline", pipeline(subject).await));
    }
    let (mut summary, mut failures) = (Summary::default(), Vec::new());
    for (name, result) in tried {
        match result {
            Ok(None) => summary.kept.push(name),
            Ok(Some(why)) => summary.excused.push((name, why)),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(summary) } else { Err(Failures(failures)) }
}

/// Clause `report`.
///
/// # Errors
/// [`Failure`].
pub async fn report(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("report", subject).await?;
    kit.probe_is(true).await?;
    let one = batch(kit.some(1)?);
    kit.all_delivered(&one).await?;
    let many = batch(kit.some(50)?);
    kit.all_delivered(&many).await?;
    let same_key = (0..5).map(|_| kit.one("report-same")).collect::<Result<Vec<_>, _>>()?;
    let same_key = unordered(same_key);
    kit.all_delivered(&same_key).await?;
    for sent in [&one, &many, &same_key] {
        kit.arrived(sent, true).await?;
    }
    kit.close().await
}

/// Clause `dropped`.
///
/// # Errors
/// [`Failure`].
pub async fn dropped(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("dropped", subject).await?;
    for polls in 0..DROPS {
        let owed = batch(kit.some(10)?);
        kit.drop_after(&owed, polls).await?;
        kit.all_delivered(&owed).await.map_err(|f| kit.fail(format!("dropped at poll {polls}, then: {}", f.what)))?;
        kit.arrived(&owed, subject.repeats() == Repeats::Never).await?;
    }
    // Dropped, and closed with nothing in between.
    let owed = batch(kit.some(10)?);
    kit.drop_after(&owed, 1).await?;
    kit.close().await?;
    let kit = Kit::open("dropped", subject).await?;
    kit.all_delivered(&owed).await?;
    kit.arrived(&owed, subject.repeats() == Repeats::Never).await?;
    kit.close().await
}

/// Clause `down`.
///
/// # Errors
/// [`Failure`].
pub async fn down(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("down", subject).await?;
    kit.all_delivered(&batch(kit.some(3)?)).await?;
    if let Has::No(why) = subject.take_down().await {
        kit.close().await?;
        return Ok(Some(why));
    }
    let owed = batch(kit.some(5)?);
    let seen = kit.all_retry_while_down(&owed).await;
    subject.bring_up().await;
    seen?;
    let mut left: Vec<Arc<Delivery>> = owed.deliveries.clone();
    for _ in 0..TRIES_AFTER_DOWN {
        let again = Batch { deliveries: left.clone(), ..batch([]) };
        let slots = kit.deliver(&again).await?;
        let still = left.iter().zip(&slots).filter(|(_, slot)| **slot != Some(Outcome::Delivered));
        left = still.map(|(delivery, _)| Arc::clone(delivery)).collect();
        if left.is_empty() {
            kit.arrived(&owed, subject.repeats() == Repeats::Never).await?;
            kit.probe_is(true).await?;
            return kit.close().await;
        }
    }
    Err(kit.fail(format!("target back, {TRIES_AFTER_DOWN} tries, still {} not delivered", left.len())))
}

/// Clause `poison`.
///
/// # Errors
/// [`Failure`].
pub async fn poison(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("poison", subject).await?;
    let Some(builder) = kit.poison().await? else { return kit.excused_poison().await };
    let bad = kit.fixed(builder.key("poison-1"))?;
    let mut all = kit.some(7)?;
    all.insert(3, bad);
    let mixed = batch(all);
    for (i, slot) in kit.deliver(&mixed).await?.iter().enumerate() {
        match (i, slot) {
            (3, Some(Outcome::Reject { .. })) => {}
            (3, other) => return Err(kit.fail(format!("the poison one got {other:?}, not Reject"))),
            (_, Some(Outcome::Delivered)) => {}
            (_, other) => return Err(kit.fail(format!("innocent delivery {i} got {other:?}"))),
        }
    }
    let innocent = mixed.deliveries.iter().enumerate().filter(|(i, _)| *i != 3).map(|(_, d)| Arc::clone(d));
    kit.arrived(&Batch { deliveries: innocent.collect(), ..batch([]) }, true).await?;
    kit.all_delivered(&batch(kit.some(3)?)).await?;
    kit.close().await
}

/// Clause `order`, while all goes well.
///
/// # Errors
/// [`Failure`].
pub async fn order(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("order", subject).await?;
    let keys = ["order-a", "order-b", "order-c"];
    let deliveries = (0..12).map(|i| kit.one(keys.get(i % 3).copied().unwrap_or("order-a")));
    let owed = batch(deliveries.collect::<Result<Vec<_>, _>>()?);
    kit.all_delivered(&owed).await?;
    let seen = subject.delivered().await;
    let mut last: HashMap<&str, usize> = HashMap::new();
    for delivery in &owed.deliveries {
        let Some(at) = seen.iter().position(|id| *id == delivery.id) else {
            return Err(kit.fail(format!("{} was reported delivered and is not there", delivery.id)));
        };
        if last.insert(&delivery.key, at).is_some_and(|before| before > at) {
            return Err(kit.fail(format!("deliveries of key {} arrived out of order", delivery.key)));
        }
    }
    kit.close().await
}

/// Clause `order`, when the first delivery of a key fails.
///
/// # Errors
/// [`Failure`].
pub async fn order_after_failure(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("order", subject).await?;
    let Some(builder) = kit.poison().await? else { return kit.excused_poison().await };
    let key = "order-stopped";
    let follower = kit.one("order-follower-subject").map(|d| Delivery { key: key.into(), ..d })?;
    let all = vec![kit.fixed(builder.key(key))?, follower, kit.one("order-free")?];
    let slots = kit.deliver(&batch(all.clone())).await?;
    let seen = subject.delivered().await;
    match slots.as_slice() {
        [Some(Outcome::Reject { .. }), second, Some(Outcome::Delivered)] => {
            if second.is_some() || all.get(1).is_some_and(|d| seen.contains(&d.id)) {
                return Err(kit.fail(format!("a delivery was attempted after its key had stopped: {second:?}")));
            }
        }
        other => return Err(kit.fail(format!("expected [Reject, unset, Delivered], got {other:?}"))),
    }
    // Where no order is owed, nothing stops.
    let again = unordered(all.into_iter().take(2));
    match kit.deliver(&again).await?.as_slice() {
        [Some(Outcome::Reject { .. }), Some(Outcome::Delivered)] => kit.close().await,
        other => Err(kit.fail(format!("without order expected [Reject, Delivered], got {other:?}"))),
    }
}

/// Clause `concurrent`.
///
/// # Errors
/// [`Failure`].
pub async fn concurrent(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("concurrent", subject).await?;
    let batches = (0..CALLS).map(|_| kit.some(20).map(batch)).collect::<Result<Vec<_>, _>>()?;
    let sink = Arc::clone(&kit.sink);
    let mut calls = JoinSet::new();
    for (i, one) in batches.iter().cloned().enumerate() {
        let sink = Arc::clone(&sink);
        calls.spawn(async move { (i, timeout(PATIENCE, sink.deliver(&one)).await) });
    }
    drop(sink);
    while let Some(done) = calls.join_next().await {
        let (i, report) = done.map_err(|e| kit.fail(format!("a call ended badly: {e}")))?;
        let report = report.map_err(|_| kit.fail("a call hangs"))?;
        let owed = batches.get(i).ok_or_else(|| kit.fail("no such call"))?;
        let slots = report.into_slots();
        kit.read(owed, &slots)?;
        if let Some(other) = slots.iter().find(|slot| **slot != Some(Outcome::Delivered)) {
            return Err(kit.fail(format!("of {CALLS} calls at once, one got {other:?}")));
        }
    }
    for owed in &batches {
        kit.arrived(owed, true).await?;
    }
    kit.close().await
}

/// Clause `close`.
///
/// # Errors
/// [`Failure`].
pub async fn close(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("close", subject).await?;
    let before = batch(kit.some(10)?);
    kit.all_delivered(&before).await?;
    kit.close().await?;
    let kit = Kit::open("close", subject).await?;
    kit.arrived(&before, true).await?;
    let after = batch(kit.some(10)?);
    kit.all_delivered(&after).await?;
    kit.close().await?;
    let kit = Kit::open("close", subject).await?;
    kit.arrived(&before, true).await?;
    kit.arrived(&after, true).await?;
    kit.close().await
}

/// Clause `quiet`, as far as the config is concerned; reasons are read in every clause.
///
/// # Errors
/// [`Failure`].
pub fn quiet(subject: &dyn Subject) -> Tried {
    let shown = format!("{0:?} {0:#?}", subject.config());
    match subject.secrets().iter().find(|secret| shown.contains(secret.as_str())) {
        Some(_) => Err(Failure { clause: "quiet", what: "the config's Debug shows a secret".to_owned() }),
        None => Ok(None),
    }
}
