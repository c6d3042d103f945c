//! The clauses of the contract that every sink keeps, each a function over a [`Subject`], and [`run_all`].
//!
//! A clause opens the sink, does its worst, and compares what was reported with what arrived. Whatever clause is
//! running, every report is read for one slot per delivery and for text that should not be shown.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sink_api::report::MAX_DETAIL;
use sink_api::{Batch, Delivery, Outcome, Reason, Sink};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::make::{EventBuilder, MARKER, batch, unordered};
use crate::subject::{Has, Repeats, Subject};

/// A call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tries a sink has for its first success after its target came back (a pool may hold dead connections).
const TRIES_AFTER_DOWN: usize = 3;
/// A dropped call is dropped at its first, second, … this many-th wake-up.
const DROPS: usize = 8;
/// Calls at once.
const CALLS: usize = 6;

/// A broken clause.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its name, as in the table of [`run_all`].
    pub clause: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clause `{}`: {}", self.clause, self.what)
    }
}

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

/// `Some(why)` where the subject could not be tried.
type Tried = Result<Option<&'static str>, Failure>;

/// Runs every clause and reports all that are broken.
///
/// | clause | says |
/// | --- | --- |
/// | `report` | one slot each; what is reported delivered is there, once, and the sink's probe agrees |
/// | `dropped` | a call dropped at any point loses nothing: the same batch again is delivered whole |
/// | `down` | while the target is down all is Retry and the probe fails; once it is back the same batch is delivered |
/// | `poison` | a delivery that cannot be taken is rejected, and it alone |
/// | `order` | deliveries of a key arrive in the batch's order; after one that was not delivered none is attempted |
/// | `concurrent` | calls at the same time all arrive |
/// | `close` | what was delivered outlives `close`, and the sink can be opened again |
/// | `quiet` | neither the config's `Debug` nor a reason shows a secret or a body; reasons are short, with a label |
///
/// # Errors
/// [`Failures`].
pub async fn run_all(subject: &dyn Subject) -> Result<Summary, Failures> {
    let tried = [
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

/// One clause at work on one open sink.
struct Kit<'s> {
    clause: &'static str,
    subject: &'s dyn Subject,
    sink: Arc<Box<dyn Sink>>,
}

impl<'s> Kit<'s> {
    async fn open(clause: &'static str, subject: &'s dyn Subject) -> Result<Self, Failure> {
        let fail = |what: String| Failure { clause, what };
        let opened = timeout(PATIENCE, subject.open()).await.map_err(|_| fail("build hangs".to_owned()))?;
        let sink = opened.map_err(|e| fail(format!("could not be opened: {e}")))?;
        Ok(Self { clause, subject, sink: Arc::new(sink) })
    }

    fn fail(&self, what: impl Into<String>) -> Failure {
        Failure { clause: self.clause, what: what.into() }
    }

    async fn close(self) -> Tried {
        let clause = self.clause;
        let fail = |what: &str| Failure { clause, what: what.to_owned() };
        let sink = Arc::into_inner(self.sink).ok_or_else(|| fail("a call is still running at close"))?;
        timeout(PATIENCE, sink.close()).await.map_err(|_| fail("close hangs"))?;
        Ok(None)
    }

    /// A delivery of this builder, which must carry the marker.
    fn fixed(&self, builder: EventBuilder) -> Result<Delivery, Failure> {
        let config = self.subject.config();
        builder.delivery_for(config).map_err(|why| self.fail(format!("target() refused a test event: {why}")))
    }

    fn one(&self, subject: &str) -> Result<Delivery, Failure> {
        let delivery = self.fixed(self.subject.event(subject))?;
        let marked = delivery.bytes().windows(MARKER.len()).any(|w| w == MARKER.as_bytes());
        if marked { Ok(delivery) } else { Err(self.fail("Subject::event() made a payload without MARKER")) }
    }

    /// So many deliveries, each with a key of its own.
    fn some(&self, n: usize) -> Result<Vec<Delivery>, Failure> {
        (0..n).map(|i| self.one(&format!("{}-{i}", self.clause))).collect()
    }

    async fn poison(&self) -> Result<Option<EventBuilder>, Failure> {
        Ok(match self.subject.poison() {
            Has::Yes(builder) => Some(builder),
            Has::No(_) => None,
        })
    }

    async fn excused_poison(self) -> Tried {
        let why = match self.subject.poison() {
            Has::No(why) => why,
            Has::Yes(_) => "",
        };
        self.close().await?;
        Ok(Some(why))
    }

    async fn probe_is(&self, fine: bool) -> Result<(), Failure> {
        let answer = timeout(PATIENCE, self.sink.probe()).await.map_err(|_| self.fail("probe hangs"))?;
        match answer {
            Ok(()) if !fine => Err(self.fail("probe() says fine while the target is down")),
            Err(why) if fine => Err(self.fail(format!("probe() fails while the target is up: {why}"))),
            Err(why) => self.read_reason(&why),
            Ok(()) => Ok(()),
        }
    }

    async fn deliver(&self, owed: &Batch) -> Result<Vec<Option<Outcome>>, Failure> {
        let report = timeout(PATIENCE, self.sink.deliver(owed)).await.map_err(|_| self.fail("deliver hangs"))?;
        let slots = report.into_slots();
        self.read(owed, &slots)?;
        Ok(slots)
    }

    /// What holds for every report.
    fn read(&self, owed: &Batch, slots: &[Option<Outcome>]) -> Result<(), Failure> {
        if slots.len() != owed.len() {
            let what = format!("{} deliveries, {} slots in the report", owed.len(), slots.len());
            return Err(Failure { clause: "report", what });
        }
        slots.iter().flatten().try_for_each(|outcome| match outcome {
            Outcome::Delivered => Ok(()),
            Outcome::Retry { why, .. } | Outcome::Reject { why } => self.read_reason(why),
        })
    }

    fn read_reason(&self, why: &Reason) -> Result<(), Failure> {
        let fail = |what: String| Err(Failure { clause: "quiet", what });
        if why.detail.contains(MARKER) {
            return fail(format!("the detail of `{}` shows a body", why.code));
        }
        if self.subject.secrets().iter().any(|secret| why.detail.contains(secret.as_str())) {
            return fail(format!("the detail of `{}` shows a secret", why.code));
        }
        if why.detail.len() > MAX_DETAIL || why.detail.contains('\n') {
            return fail(format!("the detail of `{}` is not one short line", why.code));
        }
        let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if why.code.is_empty() || !why.code.bytes().all(label) {
            return fail(format!("`{}` is no metric label", why.code));
        }
        Ok(())
    }

    async fn all_delivered(&self, owed: &Batch) -> Result<(), Failure> {
        let slots = self.deliver(owed).await?;
        match slots.iter().enumerate().find(|(_, slot)| **slot != Some(Outcome::Delivered)) {
            Some((i, other)) => Err(self.fail(format!("delivery {i} of {} got {other:?}", owed.len()))),
            None => Ok(()),
        }
    }

    async fn all_retry_while_down(&self, owed: &Batch) -> Result<(), Failure> {
        let slots = self.deliver(owed).await?;
        let retry = |slot: &Option<Outcome>| matches!(slot, Some(Outcome::Retry { .. }));
        match slots.iter().find(|slot| !retry(slot)) {
            Some(other) => Err(self.fail(format!("with the target down a delivery got {other:?}, not Retry"))),
            None => self.probe_is(false).await,
        }
    }

    /// Every delivery of the batch is at the target; `once`: exactly once.
    async fn arrived(&self, owed: &Batch, once: bool) -> Result<(), Failure> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for id in self.subject.delivered().await {
            *counts.entry(id).or_default() += 1;
        }
        for delivery in &owed.deliveries {
            match counts.get(&delivery.id) {
                None => return Err(self.fail(format!("{} was reported delivered and is not there", delivery.id))),
                Some(n) if once && *n > 1 => return Err(self.fail(format!("{} is there {n} times", delivery.id))),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Calls `deliver` and drops the call when it wakes for the `polls`-th time (0: before it ran at all).
    async fn drop_after(&self, owed: &Batch, polls: usize) -> Result<(), Failure> {
        let mut call = pin!(self.sink.deliver(owed));
        let mut left = polls;
        let until = poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            match call.as_mut().poll(cx) {
                Poll::Ready(_report) => Poll::Ready(()),
                Poll::Pending if left == 0 => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        });
        timeout(PATIENCE, until).await.map_err(|_| self.fail("deliver hangs"))
    }
}
