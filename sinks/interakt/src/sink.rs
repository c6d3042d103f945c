//! The sink at work: a payload is checked, the outbox is asked, the call is made, and the outbox is told what came of
//! it, before the next. It remembers nothing itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sink_api::outbox::{Begun, Call, End};
use sink_api::{
    Batch, BuildError, Delivery, Event, Fault, Outbox, Outcome, Reason, Report, Sink, SinkConfig, SinkContext, Target,
};

use crate::call::Caller;
use crate::config::{InteraktConfig, Plan};
use crate::request;

/// Kept back from the deadline, so that the outbox and the core still hear what happened before the call is dropped.
const MARGIN: Duration = Duration::from_millis(250);

#[async_trait]
impl SinkConfig for InteraktConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        self.plan.check()
    }

    fn target(&self, _: &Event) -> Result<Target, Reason> {
        Ok(self.plan.for_target()?.target())
    }

    fn check_payload(&self, payload: &[u8]) -> Result<(), Reason> {
        request::check(payload).map(drop)
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        let plan = self.plan.for_build()?;
        let caller = Caller::open(Arc::clone(&plan), cx).await?;
        Ok(Box::new(InteraktSink { caller, plan, name: cx.name.clone(), outbox: Arc::clone(&cx.outbox) }))
    }

    /// Sends no message, and so cannot say whether the key is taken.
    async fn inspect(&self, cx: &SinkContext) -> Result<Option<String>, BuildError> {
        let sink = self.build(cx).await?;
        let answer = sink.probe().await;
        sink.close().await;
        answer.map_err(BuildError::Unavailable)?;
        Ok(Some("the API is reached; whether it takes `api_key` only a message can tell".to_owned()))
    }
}

/// The sink. Nothing is buffered: `close` has nothing to flush.
pub struct InteraktSink {
    caller: Caller,
    plan: Arc<Plan>,
    /// Its name in the config.
    name: String,
    outbox: Arc<dyn Outbox>,
}

impl InteraktSink {
    async fn attempt(&self, delivery: &Delivery, end: Instant) -> Outcome {
        let request = match request::check(delivery.bytes()) {
            Ok(request) => request,
            Err(why) => return Outcome::Reject { why: why.local() },
        };
        let plain = request.plain();
        let (sink, phone, bounds) = (self.name.as_str(), Some(request.phone()), self.plan.bounds);
        let origin = match self.outbox.begin(&Call { sink, delivery, request: &plain, phone, bounds }).await {
            Begun::Call(origin) => origin,
            Begun::Sent { .. } => return Outcome::Delivered,
            Begun::Later { after, why } => return Outcome::Later { after, why },
            Begun::Unwanted(why) => return Outcome::Skipped { why },
            Begun::Never(why) => return Outcome::Reject { why: why.local() },
            Begun::Unavailable(why) => return Outcome::retry_for(why),
        };
        // From here on the outbox waits to be told. A call that is dropped on its way never tells, and counts as one
        // whose answer was lost.
        let time = end.saturating_duration_since(Instant::now());
        let (ended, outcome) = match request.body(&origin) {
            Err(why) => (End::NotSent, Outcome::Reject { why: why.local() }),
            Ok(_) if time.is_zero() => (End::NotSent, Outcome::retry_for(Reason::too_late())),
            Ok(body) => self.caller.call(&request, body, time).await,
        };
        self.outbox.end(origin.call, ended).await;
        outcome
    }
}

#[async_trait]
impl Sink for InteraktSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let mut report = Report::open(batch);
        let end = batch.end_of_work(MARGIN);
        for (i, delivery) in batch.deliveries.iter().enumerate() {
            if !report.may_attempt(batch, i) {
                continue;
            }
            if end <= Instant::now() {
                // The slots that are left unset are handed out again.
                break;
            }
            let outcome = self.attempt(delivery, end).await;
            report.set(batch, i, outcome);
        }
        report
    }

    async fn probe(&self) -> Result<(), Reason> {
        self.caller.probe().await
    }

    async fn close(self: Box<Self>) {}
}
