//! A sink that answers as it is told and remembers what it was handed: for tests of the delivery core.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sink_api::{
    Batch, BuildError, Delivery, Escape, Event, Fault, Outcome, Reason, Report, Sink, SinkConfig, SinkContext, Target,
    Template,
};
use tokio::sync::watch;

/// How one `deliver` call is answered.
#[derive(Clone, Debug)]
pub enum Step {
    /// The same for every delivery.
    All(Outcome),
    /// In the batch's order; deliveries beyond the list are delivered.
    Each(Vec<Outcome>),
    /// No slot is set.
    Unset,
    /// Never answers: the call ends only by being dropped.
    Hang,
}

type Judge = Arc<dyn Fn(&Delivery) -> Outcome + Send + Sync>;

#[derive(Default)]
struct State {
    steps: VecDeque<Step>,
    judge: Option<Judge>,
    refused_builds: VecDeque<BuildError>,
    probe: Option<Reason>,
    batches: Vec<Batch>,
    delivered: Vec<Arc<Delivery>>,
    busy_keys: HashSet<Arc<str>>,
    overlaps: Vec<Arc<str>>,
    running: usize,
    most_running: usize,
    builds: usize,
    closes: usize,
}

/// A handle on the script; every sink built from it shares it. Cloning makes another handle.
#[derive(Clone)]
pub struct Scripted {
    state: Arc<Mutex<State>>,
    /// Whether calls may go on to their answer.
    gate: Arc<watch::Sender<bool>>,
    /// Raised whenever anything was recorded.
    ticks: Arc<watch::Sender<u64>>,
    target: Option<Template>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// Delivers everything, until told otherwise.
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            gate: Arc::new(watch::Sender::new(true)),
            ticks: Arc::new(watch::Sender::new(0)),
            target: None,
        }
    }

    /// The config it is built from gives each event a target `topic` rendered from this template.
    #[must_use]
    pub fn with_topic(mut self, topic: Template) -> Self {
        self.target = Some(topic);
        self
    }

    /// Answers the next call that has no step yet like this. Without steps left, the judge answers, else Delivered.
    pub fn then(&self, step: Step) -> &Self {
        self.lock().steps.push_back(step);
        self
    }

    /// Answers each delivery by this function where no step is left.
    pub fn judge(&self, judge: impl Fn(&Delivery) -> Outcome + Send + Sync + 'static) -> &Self {
        self.lock().judge = Some(Arc::new(judge));
        self
    }

    /// The next build that is not refused yet fails like this.
    pub fn refuse_build(&self, error: BuildError) -> &Self {
        self.lock().refused_builds.push_back(error);
        self
    }

    /// What `probe` answers from now on: `None` is fine.
    pub fn probe_says(&self, reason: Option<Reason>) -> &Self {
        self.lock().probe = reason;
        self
    }

    /// Calls begin, are recorded, and wait.
    pub fn shut_gate(&self) -> &Self {
        self.gate.send_replace(false);
        self
    }

    /// Waiting calls, and later ones, go on.
    pub fn open_gate(&self) -> &Self {
        self.gate.send_replace(true);
        self
    }

    /// Every batch it was handed, in order of arrival, whatever became of it.
    pub fn batches(&self) -> Vec<Batch> {
        self.lock().batches.clone()
    }

    /// Every delivery it answered with Delivered, in that order.
    pub fn delivered(&self) -> Vec<Arc<Delivery>> {
        self.lock().delivered.clone()
    }

    /// Ids of [`Self::delivered`].
    pub fn delivered_ids(&self) -> Vec<String> {
        self.lock().delivered.iter().map(|d| d.id.clone()).collect()
    }

    /// Calls that have begun and neither answered nor been dropped.
    pub fn running(&self) -> usize {
        self.lock().running
    }

    /// Most calls at once so far.
    pub fn most_running(&self) -> usize {
        self.lock().most_running
    }

    /// Keys that stood in two ordered batches at the same time: the core's mistake.
    pub fn overlaps(&self) -> Vec<Arc<str>> {
        self.lock().overlaps.clone()
    }

    /// Builds so far, refused ones included.
    pub fn builds(&self) -> usize {
        self.lock().builds
    }

    /// `close` calls so far.
    pub fn closes(&self) -> usize {
        self.lock().closes
    }

    /// Waits until this holds; look at it again whenever a call began or ended. Bound it with a timeout.
    pub async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let mut ticks = self.ticks.subscribe();
        while !holds(self) {
            if ticks.changed().await.is_err() {
                return;
            }
        }
    }

    /// A sink that follows the script.
    pub fn sink(&self) -> Box<dyn Sink> {
        Box::new(self.clone())
    }

    /// A config that builds such sinks.
    pub fn config(&self) -> Box<dyn SinkConfig> {
        Box::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        self.ticks.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn begin(&self, batch: &Batch) -> (Running, Step) {
        let mut keys = HashSet::new();
        let mut state = self.lock();
        state.running += 1;
        state.most_running = state.most_running.max(state.running);
        state.batches.push(batch.clone());
        if batch.ordered {
            keys.extend(batch.deliveries.iter().map(|d| d.key.clone()));
            let overlaps: Vec<Arc<str>> = keys.intersection(&state.busy_keys).cloned().collect();
            keys.retain(|key| !overlaps.contains(key));
            state.overlaps.extend(overlaps);
            state.busy_keys.extend(keys.iter().cloned());
        }
        let step = state.steps.pop_front().unwrap_or_else(|| match &state.judge {
            Some(judge) => Step::Each(batch.deliveries.iter().map(|d| judge(d)).collect()),
            None => Step::All(Outcome::Delivered),
        });
        drop(state);
        self.tick();
        (Running { script: self.clone(), keys }, step)
    }
}

/// A call that has begun; ended by being dropped, whatever way.
struct Running {
    script: Scripted,
    keys: HashSet<Arc<str>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.script.lock();
        state.running -= 1;
        state.busy_keys.retain(|key| !self.keys.contains(key));
        drop(state);
        self.script.tick();
    }
}

#[async_trait]
impl Sink for Scripted {
    async fn deliver(&self, batch: &Batch) -> Report {
        let (running, step) = self.begin(batch);
        let mut gate = self.gate.subscribe();
        // The sender lives as long as self: waiting cannot fail.
        let _ = gate.wait_for(|open| *open).await;
        let mut report = Report::open(batch);
        let outcomes = match step {
            Step::Hang => std::future::pending().await,
            Step::Unset => return report,
            Step::All(outcome) => vec![outcome; batch.len()],
            Step::Each(outcomes) => outcomes,
        };
        let mut outcomes = outcomes.into_iter();
        for (i, delivery) in batch.deliveries.iter().enumerate() {
            let outcome = outcomes.next().unwrap_or(Outcome::Delivered);
            if !report.may_attempt(batch, i) {
                continue;
            }
            if outcome == Outcome::Delivered {
                self.lock().delivered.push(Arc::clone(delivery));
            }
            report.set(batch, i, outcome);
        }
        drop(running);
        report
    }

    async fn probe(&self) -> Result<(), Reason> {
        self.lock().probe.clone().map_or(Ok(()), Err)
    }

    async fn close(self: Box<Self>) {
        self.lock().closes += 1;
        self.tick();
    }
}

#[async_trait]
impl SinkConfig for Scripted {
    fn check(&self) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    fn target(&self, event: &Event) -> Result<Target, Reason> {
        let topic = self.target.as_ref().map(|t| t.render(event, Escape::Topic)).transpose()?;
        Ok(topic.map(|topic| Target::of("topic", topic)).unwrap_or_default())
    }

    async fn build(&self, _cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        let mut state = self.lock();
        state.builds += 1;
        let refused = state.refused_builds.pop_front();
        drop(state);
        self.tick();
        refused.map_or_else(|| Ok(self.sink()), Err)
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}
