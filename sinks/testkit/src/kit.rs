//! What every clause of the suite works with: the sink, opened, and what is asked and read of it in every clause.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sink_api::report::MAX_DETAIL;
use sink_api::{Batch, Delivery, Outcome, Reason, Sink};
use tokio::time::timeout;

use crate::make::{EventBuilder, MARKER};
use crate::subject::{Has, Subject};

/// A call that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A broken clause.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its name, as in the table of [`run_all`](crate::run_all).
    pub clause: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clause `{}`: {}", self.clause, self.what)
    }
}

/// `Some(why)` where the subject could not be tried.
pub type Tried = Result<Option<&'static str>, Failure>;

/// One clause at work on one open sink.
pub struct Kit<'s> {
    clause: &'static str,
    pub subject: &'s dyn Subject,
    pub sink: Arc<Box<dyn Sink>>,
}

impl<'s> Kit<'s> {
    pub async fn open(clause: &'static str, subject: &'s dyn Subject) -> Result<Self, Failure> {
        let fail = |what: String| Failure { clause, what };
        let opened = timeout(PATIENCE, subject.open()).await.map_err(|_| fail("build hangs".to_owned()))?;
        let sink = opened.map_err(|e| fail(format!("could not be opened: {e}")))?;
        Ok(Self { clause, subject, sink: Arc::new(sink) })
    }

    pub fn fail(&self, what: impl Into<String>) -> Failure {
        Failure { clause: self.clause, what: what.into() }
    }

    pub async fn close(self) -> Tried {
        let clause = self.clause;
        let fail = |what: &str| Failure { clause, what: what.to_owned() };
        let sink = Arc::into_inner(self.sink).ok_or_else(|| fail("a call is still running at close"))?;
        timeout(PATIENCE, sink.close()).await.map_err(|_| fail("close hangs"))?;
        Ok(None)
    }

    /// A delivery of this builder, which must carry the marker.
    pub fn fixed(&self, builder: EventBuilder) -> Result<Delivery, Failure> {
        let config = self.subject.config();
        builder.delivery_for(config).map_err(|why| self.fail(format!("target() refused a test event: {why}")))
    }

    pub fn one(&self, subject: &str) -> Result<Delivery, Failure> {
        let delivery = self.fixed(self.subject.event(subject))?;
        let marked = delivery.bytes().windows(MARKER.len()).any(|w| w == MARKER.as_bytes());
        if marked { Ok(delivery) } else { Err(self.fail("Subject::event() made a payload without MARKER")) }
    }

    /// So many deliveries, each with a key of its own.
    pub fn some(&self, n: usize) -> Result<Vec<Delivery>, Failure> {
        (0..n).map(|i| self.one(&format!("{}-{i}", self.clause))).collect()
    }

    pub async fn poison(&self) -> Result<Option<EventBuilder>, Failure> {
        Ok(match self.subject.poison() {
            Has::Yes(builder) => Some(builder),
            Has::No(_) => None,
        })
    }

    pub async fn excused_poison(self) -> Tried {
        let why = match self.subject.poison() {
            Has::No(why) => why,
            Has::Yes(_) => "",
        };
        self.close().await?;
        Ok(Some(why))
    }

    pub async fn probe_is(&self, fine: bool) -> Result<(), Failure> {
        let answer = timeout(PATIENCE, self.sink.probe()).await.map_err(|_| self.fail("probe hangs"))?;
        match answer {
            Ok(()) if !fine => Err(self.fail("probe() says fine while the target is down")),
            Err(why) if fine => Err(self.fail(format!("probe() fails while the target is up: {why}"))),
            Err(why) => self.read_reason(&why),
            Ok(()) => Ok(()),
        }
    }

    pub async fn deliver(&self, owed: &Batch) -> Result<Vec<Option<Outcome>>, Failure> {
        let report = timeout(PATIENCE, self.sink.deliver(owed)).await.map_err(|_| self.fail("deliver hangs"))?;
        let slots = report.into_slots();
        self.read(owed, &slots)?;
        Ok(slots)
    }

    /// What holds for every report.
    pub fn read(&self, owed: &Batch, slots: &[Option<Outcome>]) -> Result<(), Failure> {
        if slots.len() != owed.len() {
            let what = format!("{} deliveries, {} slots in the report", owed.len(), slots.len());
            return Err(Failure { clause: "report", what });
        }
        slots.iter().flatten().try_for_each(|outcome| match outcome {
            Outcome::Delivered => Ok(()),
            Outcome::Retry { why, .. }
            | Outcome::Reject { why }
            | Outcome::Later { why, .. }
            | Outcome::Skipped { why } => self.read_reason(why),
        })
    }

    pub fn read_reason(&self, why: &Reason) -> Result<(), Failure> {
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

    pub async fn all_delivered(&self, owed: &Batch) -> Result<(), Failure> {
        let slots = self.deliver(owed).await?;
        match slots.iter().enumerate().find(|(_, slot)| **slot != Some(Outcome::Delivered)) {
            Some((i, other)) => Err(self.fail(format!("delivery {i} of {} got {other:?}", owed.len()))),
            None => Ok(()),
        }
    }

    pub async fn all_retry_while_down(&self, owed: &Batch) -> Result<(), Failure> {
        let slots = self.deliver(owed).await?;
        let retry = |slot: &Option<Outcome>| matches!(slot, Some(Outcome::Retry { .. }));
        match slots.iter().find(|slot| !retry(slot)) {
            Some(other) => Err(self.fail(format!("with the target down a delivery got {other:?}, not Retry"))),
            None => self.probe_is(false).await,
        }
    }

    /// Every delivery of the batch is at the target; `once`: exactly once.
    pub async fn arrived(&self, owed: &Batch, once: bool) -> Result<(), Failure> {
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
    pub async fn drop_after(&self, owed: &Batch, polls: usize) -> Result<(), Failure> {
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
