//! Batches, probes, and the locks around the producers.
//!
//! There are two producers, each in a `Seat`: one for all that goes one of a key at a time, and one for what goes
//! together, made when there first is such. Calls share a producer by holding its lock for reading as long as they use
//! it. A producer that has ended is replaced under the lock for writing: by then every call that used it has come back,
//! and the old producer is destroyed with all messages in its queue before the new one is made.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::ClientConfig;
use sink_api::{
    Batch, BuildError, Event, Fault, Messaging, Outcome, Reason, Report, Sink, SinkConfig, SinkContext, Target, code,
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::call::Call;
use crate::config::{KafkaConfig, Plan};
use crate::producer::{self, Producer};
use crate::properties::RULES;
use crate::{properties, verdict};

/// Time kept back from a call's deadline for its report.
const MARGIN: Duration = Duration::from_millis(100);

#[async_trait]
impl SinkConfig for KafkaConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        self.plan.check()
    }

    fn target(&self, event: &Event) -> Result<Target, Reason> {
        self.plan.for_target()?.target(event)
    }

    /// For each of the two producers: a connection to every broker of a large cluster, however many calls there are,
    /// and librdkafka's own pipes.
    fn descriptors(&self, _calls: usize) -> usize {
        2 * 128
    }

    fn messaging(&self) -> Option<Messaging> {
        Some(Messaging { system: "kafka", destination: "topic" })
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(KafkaSink::open(self.plan.for_build()?, cx).await?))
    }
}

/// A producer's place. Calls hold the lock as the module's documentation says.
struct Seat {
    client: Arc<ClientConfig>,
    producer: Arc<RwLock<Option<Producer>>>,
}

impl Seat {
    fn new(client: ClientConfig) -> Self {
        Self { client: Arc::new(client), producer: Arc::default() }
    }

    /// A producer that works, together with other calls.
    async fn beside_others(&self) -> Result<OwnedRwLockReadGuard<Option<Producer>>, Reason> {
        let lock = Arc::clone(&self.producer).read_owned().await;
        if lock.as_ref().is_some_and(|producer| !producer.is_over()) {
            return Ok(lock);
        }
        drop(lock);
        Ok(self.alone().await?.downgrade())
    }

    /// A producer that works, and no other call with it. Where the last producer has ended, it is destroyed first; the
    /// thread that does so holds the lock, so that a call that is dropped meanwhile leaves no gap.
    async fn alone(&self) -> Result<OwnedRwLockWriteGuard<Option<Producer>>, Reason> {
        let mut lock = Arc::clone(&self.producer).write_owned().await;
        let client = Arc::clone(&self.client);
        let renewed = spawn_blocking(move || {
            if lock.as_ref().is_none_or(Producer::is_over) {
                drop(lock.take());
                *lock = Some(Producer::open(&client)?);
            }
            Ok(lock)
        });
        let failed = |text: String| Reason::new(verdict::KAFKA, text);
        match renewed.await {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(text)) => Err(failed(text)),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Destroys the producer. Every call has come back, so all that is under way belongs to calls that were dropped.
    async fn close(&self) {
        let mut lock = Arc::clone(&self.producer).write_owned().await;
        let _ = spawn_blocking(move || drop(lock.take())).await;
    }
}

/// The sink.
pub struct KafkaSink {
    name: String,
    plan: Arc<Plan>,
    /// For what goes one of a key at a time.
    single: Seat,
    /// For what goes together, many of a key at a time.
    together: Seat,
}

impl KafkaSink {
    /// Makes the first producer. Whether a broker is there is not asked: deliveries will say.
    ///
    /// # Errors
    /// [`BuildError::Refused`] where librdkafka does not take the properties together, or cannot read a file they name.
    pub async fn open(plan: Arc<Plan>, cx: &SinkContext) -> Result<Self, BuildError> {
        let client = RULES.client(&plan.brokers, &plan.properties, |path| cx.resolve(path));
        let together = Seat::new(properties::gapless(client.clone()));
        let sink = Self { name: cx.name.clone(), plan, single: Seat::new(client), together };
        match sink.single.alone().await {
            Ok(_) => Ok(sink),
            Err(why) => Err(BuildError::Refused(why.detail)),
        }
    }

    /// Delivers as much as can be, together with other calls; then what must be tried by itself.
    async fn run(&self, call: &mut Call<'_>) -> Result<(), Reason> {
        let late = || Reason::new(code::TIMEOUT, "the producer before this one is still being closed");
        loop {
            let lock = timeout_at(call.end(), self.single.beside_others()).await.map_err(|_| late())??;
            if let Some(producer) = lock.as_ref() {
                call.run(producer).await;
                self.note_end(producer);
            }
            drop(lock);
            // Each round settles at least one delivery, or keeps a key from going together.
            if !call.has_runs() {
                break;
            }
            let lock = timeout_at(call.end(), self.together.beside_others()).await.map_err(|_| late())??;
            if let Some(producer) = lock.as_ref() {
                call.run_together(producer).await;
                // What that means for deliveries is said by the other producer, which takes over.
                if producer.is_over() {
                    tracing::debug!(sink = self.name, "the producer of what goes together has ended");
                }
            }
        }
        if call.has_suspects() {
            let busy = || Reason::new(code::TIMEOUT, "other batches were under way until the deadline");
            let lock = timeout_at(call.end(), self.single.alone()).await.map_err(|_| busy())??;
            if let Some(producer) = lock.as_ref() {
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
        if batch.time_left().is_zero() {
            return Report::all(batch, &Outcome::retry_for(Reason::too_late()));
        }
        let mut call = Call::new(batch, &self.plan, batch.end_of_work(MARGIN));
        match self.run(&mut call).await {
            Ok(()) => call.report(),
            Err(why) => call.give_up(&why),
        }
    }

    /// Asks for the cluster, or for the topic where it is the same for every event, with a client of its own.
    async fn probe(&self) -> Result<(), Reason> {
        let client = Arc::clone(&self.single.client);
        let topic = self.plan.topic.is_constant().then(|| self.plan.topic.source().to_owned());
        let probed = spawn_blocking(move || producer::probe(&client, topic.as_deref())).await;
        probed.unwrap_or_else(|error| Err(Reason::new(verdict::KAFKA, error.to_string())))
    }

    async fn close(self: Box<Self>) {
        self.together.close().await;
        self.single.close().await;
    }
}
