//! Batches, probes, and the one lock.
//!
//! Calls share a producer by holding the lock for reading as long as they last. A producer that has ended is replaced by
//! who holds the lock for writing: by then every call that used it has come back with what it knows, and the old one is
//! destroyed with all it still held before the new one is made. So no message of the old one's queue can follow one of
//! the new one's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::config::ClientConfig;
use sink_api::{Batch, BuildError, Outcome, Reason, Report, Sink, SinkContext, code};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::call::Call;
use crate::config::Plan;
use crate::producer::{self, Producer, Shared};
use crate::{properties, verdict};

/// Time kept back from a call's deadline for its report, and the part of what is left that it is at most.
const MARGIN: Duration = Duration::from_millis(100);
const MARGIN_PART: u32 = 20;

/// The sink.
pub struct KafkaSink {
    name: String,
    plan: Arc<Plan>,
    client: Arc<ClientConfig>,
    line: Shared,
}

impl KafkaSink {
    /// Makes the first producer. Whether a broker is there is not asked: deliveries will say.
    ///
    /// # Errors
    /// [`BuildError::Refused`] where librdkafka does not take the properties together, or cannot read a file they name.
    pub async fn open(plan: Arc<Plan>, cx: &SinkContext) -> Result<Self, BuildError> {
        let client = Arc::new(properties::client(&plan, cx));
        let sink = Self { name: cx.name.clone(), plan, client, line: Arc::new(RwLock::new(None)) };
        match sink.alone().await {
            Ok(_) => Ok(sink),
            Err(why) => Err(BuildError::Refused(why.detail)),
        }
    }

    /// A producer that works, together with other calls.
    async fn beside_others(&self) -> Result<OwnedRwLockReadGuard<Option<Producer>>, Reason> {
        let line = Arc::clone(&self.line).read_owned().await;
        if line.as_ref().is_some_and(|producer| !producer.is_over()) {
            return Ok(line);
        }
        drop(line);
        Ok(self.alone().await?.downgrade())
    }

    /// A producer that works, and no other call with it. Where the last one has ended, it is destroyed first; the lock
    /// goes with that work, so that a call that is dropped meanwhile leaves no gap.
    async fn alone(&self) -> Result<OwnedRwLockWriteGuard<Option<Producer>>, Reason> {
        let mut line = Arc::clone(&self.line).write_owned().await;
        let client = Arc::clone(&self.client);
        let renewed = spawn_blocking(move || {
            if line.as_ref().is_none_or(Producer::is_over) {
                drop(line.take());
                *line = Some(Producer::open(&client)?);
            }
            Ok(line)
        });
        let failed = |text: String| Reason::new(verdict::KAFKA, text);
        match renewed.await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(text)) => Err(failed(text)),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Delivers as much as can be, together with other calls; then what must be tried by itself.
    async fn run(&self, call: &mut Call<'_>) -> Result<(), Reason> {
        let late = || Reason::new(code::TIMEOUT, "the producer before this one is still being closed");
        let line = timeout_at(call.end(), self.beside_others()).await.map_err(|_| late())??;
        if let Some(producer) = line.as_ref() {
            call.run(producer).await;
            self.note_end(producer);
        }
        drop(line);
        if call.has_suspects() {
            let busy = || Reason::new(code::TIMEOUT, "other batches were under way until the deadline");
            let line = timeout_at(call.end(), self.alone()).await.map_err(|_| busy())??;
            if let Some(producer) = line.as_ref() {
                call.run_alone(producer).await;
                self.note_end(producer);
            }
        }
        Ok(())
    }

    fn note_end(&self, producer: &Producer) {
        if let Some(why) = &producer.state().borrow().over {
            tracing::warn!(sink = self.name, %why, "the producer has ended: the next batch gets a new one");
        }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let left = batch.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let why = Reason::new(code::TIMEOUT, "the batch's deadline has passed");
            return Report::all(batch, &Outcome::Retry { after: None, why });
        }
        let end = batch.deadline.checked_sub(MARGIN.min(left / MARGIN_PART)).unwrap_or(batch.deadline);
        let mut call = Call::new(batch, &self.plan, end);
        match self.run(&mut call).await {
            Ok(()) => call.report(),
            Err(why) => call.give_up(&why),
        }
    }

    /// Asks for the cluster, or for the topic where it is the same for every event, with a client of its own.
    async fn probe(&self) -> Result<(), Reason> {
        let client = Arc::clone(&self.client);
        let topic = self.plan.topic.is_constant().then(|| self.plan.topic.source().to_owned());
        let probed = spawn_blocking(move || producer::probe(&client, topic.as_deref())).await;
        probed.unwrap_or_else(|error| Err(Reason::new(verdict::KAFKA, error.to_string())))
    }

    async fn close(self: Box<Self>) {
        // Every call has come back, so all that is under way belongs to calls that were dropped.
        let mut line = Arc::clone(&self.line).write_owned().await;
        let _ = spawn_blocking(move || drop(line.take())).await;
    }
}
