//! Batches under way: each is a task of its own with a deadline, so that a sink that hangs or panics harms only its
//! batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Batch, BuildError, Outcome, Reason, Sink, SinkConfig, SinkContext, code};
use tokio::task::{Id, JoinError, JoinSet};

use super::item::Item;
use crate::journal::folder;

/// A call may take this much longer than the deadline that the sink is told, so that its answer is heard.
const GRACE: Duration = Duration::from_millis(250);
/// Opening a sink takes no longer.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30);

/// The reason code of a sink that panicked.
const PANIC: &str = "panic";

/// A sink at work, shared by its batches.
pub type Shared = Arc<Box<dyn Sink>>;

/// What came back.
pub enum Landed {
    /// A batch.
    Batch {
        /// Its items.
        items: Vec<Item>,
        /// What became of each item.
        slots: Vec<Option<Outcome>>,
        /// Whether the batch was the breaker's probe.
        probe: bool,
        /// How long it was under way.
        took: Duration,
    },
    /// The sink was opened, or not.
    Built(Result<Shared, BuildError>),
    /// The target was asked whether it could take deliveries.
    Asked(Result<(), Reason>),
}

enum Answer {
    Slots(Vec<Option<Outcome>>),
    Built(Result<Shared, BuildError>),
    Asked(Result<(), Reason>),
}

/// The tasks under way.
#[derive(Default)]
pub struct Flights {
    tasks: JoinSet<Answer>,
    batches: HashMap<Id, Flown>,
    /// The task that asks the target.
    asks: Option<Id>,
}

/// A batch under way.
struct Flown {
    items: Vec<Item>,
    probe: bool,
    since: Instant,
}

impl Flights {
    /// How many tasks are under way.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Opens the sink and makes the folder for what it must remember. Where that cannot be made, only this sink waits.
    pub fn build(&mut self, config: Arc<dyn SinkConfig>, context: SinkContext) {
        self.tasks.spawn(async move {
            let build = async {
                let dir = context.state_dir.clone();
                let made = tokio::task::spawn_blocking(move || folder::make(&dir)).await;
                let made = made.map_err(|panicked| panicked.to_string());
                made.and_then(|made| made.map_err(|error| error.to_string())).map_err(BuildError::Refused)?;
                config.build(&context).await
            };
            let built = tokio::time::timeout(BUILD_TIMEOUT, build).await;
            let late = || Err(BuildError::Unavailable(Reason::new(code::TIMEOUT, "opening the sink took too long")));
            Answer::Built(built.unwrap_or_else(|_| late()).map(Arc::new))
        });
    }

    /// Asks the target whether it could take deliveries.
    pub fn ask(&mut self, sink: &Shared, timeout: Duration) {
        let sink = Arc::clone(sink);
        let task = self.tasks.spawn(async move {
            let late = |_| Err(Reason::new(code::TIMEOUT, "the target did not answer in time"));
            Answer::Asked(tokio::time::timeout(timeout, sink.probe()).await.unwrap_or_else(late))
        });
        self.asks = Some(task.id());
    }

    /// Sends a batch.
    pub fn launch(&mut self, sink: &Shared, items: Vec<Item>, timeout: Duration, ordered: bool, probe: bool) {
        let deliveries = items.iter().map(|item| Arc::clone(&item.delivery)).collect();
        let batch = Batch { deliveries, deadline: Instant::now() + timeout, ordered };
        let sink = Arc::clone(sink);
        let task = self.tasks.spawn(async move {
            match tokio::time::timeout(timeout + GRACE, sink.deliver(&batch)).await {
                Ok(report) => Answer::Slots(report.into_slots()),
                Err(_) => Answer::Slots(vec![
                    Some(Outcome::retry(code::TIMEOUT, "the sink did not report in time"));
                    batch.len()
                ]),
            }
        });
        self.batches.insert(task.id(), Flown { items, probe, since: Instant::now() });
    }

    /// Waits for what comes back next, for ever where nothing is under way. Cancel-safe.
    pub async fn landed(&mut self) -> Landed {
        match self.tasks.join_next_with_id().await {
            Some(joined) => self.landing(joined),
            None => std::future::pending().await,
        }
    }

    /// What has come back already, where something has.
    pub fn landed_too(&mut self) -> Option<Landed> {
        let joined = self.tasks.try_join_next_with_id()?;
        Some(self.landing(joined))
    }

    fn landing(&mut self, joined: Result<(Id, Answer), JoinError>) -> Landed {
        let (id, answer) = match joined {
            Ok((id, answer)) => (id, Ok(answer)),
            Err(error) => (error.id(), Err(error)),
        };
        let flown = self.batches.remove(&id);
        let took = flown.as_ref().map_or(Duration::ZERO, |flown| flown.since.elapsed());
        let (items, probe) = flown.map(|flown| (flown.items, flown.probe)).unwrap_or_default();
        match answer {
            Ok(Answer::Slots(mut slots)) => {
                slots.resize(items.len(), None); // a report of another length than its batch is no verdict
                Landed::Batch { items, slots, probe, took }
            }
            Ok(Answer::Built(built)) => Landed::Built(built),
            Ok(Answer::Asked(answer)) => Landed::Asked(answer),
            Err(_) if self.asks == Some(id) => Landed::Asked(Err(Reason::new(PANIC, "the sink panicked"))),
            Err(error) if items.is_empty() => {
                let why = Reason::new(PANIC, format!("opening the sink failed: {error}"));
                Landed::Built(Err(BuildError::Unavailable(why)))
            }
            Err(_) => {
                let slots = vec![Some(Outcome::retry(PANIC, "the sink panicked")); items.len()];
                Landed::Batch { items, slots, probe, took }
            }
        }
    }

    /// Lets go of everything under way.
    pub async fn abandon(&mut self) {
        self.tasks.shutdown().await;
        self.batches.clear();
        self.asks = None;
    }
}
