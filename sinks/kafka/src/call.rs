//! One batch on its way: what is sent when, and what became of it.
//!
//! Where order is owed, the next delivery of a key is sent when the one before it has arrived, so a key has one message
//! under way at most and nothing can overtake. Different keys go out together. Cancel-safe: a call that is dropped with
//! messages under way ends the producer, so that they are purged before anything is sent again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode as Code;
use sink_api::{Batch, Outcome, Reason, Report, code};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;

use crate::config::Plan;
use crate::message;
use crate::producer::{Handed, Landed, Message, Producer, State, Ticket};
use crate::verdict::{self, Failure};

/// One `deliver` call.
pub struct Call<'b> {
    batch: &'b Batch,
    plan: &'b Plan,
    end: Instant,
    report: Report,
    /// For each delivery the next one of the same key, where order is owed.
    follower: Vec<Option<usize>>,
    /// Deliveries that may be sent now, in this order.
    waiting: VecDeque<usize>,
    /// Deliveries in a set of messages that a broker refused, each with its outcome if it is the one to blame.
    suspects: VecDeque<(usize, Outcome)>,
}

/// Messages under way with a producer.
struct Flight<'p> {
    producer: &'p Producer,
    indices: BTreeSet<usize>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.indices.is_empty() {
            self.producer.end(&Reason::new(code::TIMEOUT, "a call was given up with messages under way"));
        }
    }
}

impl<'b> Call<'b> {
    /// A batch of which nothing is sent yet; the call waits until `end` and no longer.
    pub fn new(batch: &'b Batch, plan: &'b Plan, end: Instant) -> Self {
        let mut follower = vec![None; batch.len()];
        let mut waiting = VecDeque::with_capacity(batch.len());
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (i, delivery) in batch.deliveries.iter().enumerate() {
            let before = if batch.ordered { last.insert(&delivery.key, i) } else { None };
            match before.and_then(|before| follower.get_mut(before)) {
                Some(next) => *next = Some(i),
                None => waiting.push_back(i),
            }
        }
        Self { batch, plan, end, report: Report::open(batch), follower, waiting, suspects: VecDeque::new() }
    }

    /// Until when the call waits.
    pub fn end(&self) -> tokio::time::Instant {
        self.end.into()
    }

    /// Sends what may be sent, until all has arrived or failed or the producer has ended.
    pub async fn run(&mut self, producer: &Producer) {
        let mut flight = Flight { producer, indices: BTreeSet::new() };
        let mut state = producer.state();
        let (to, mut landed) = mpsc::channel(self.batch.len().max(1));
        let begun = Instant::now();
        loop {
            self.fill(&mut flight, &to);
            if let Some(why) = producer.fatal() {
                producer.end(&why);
            }
            let known = state.borrow_and_update().clone();
            if let Some(why) = &known.over {
                // Reports that are here already count.
                while let Ok(one) = landed.try_recv() {
                    self.settle(&mut flight, one);
                }
                let lost = std::mem::take(&mut flight.indices);
                return self.leave(lost, why);
            }
            if flight.indices.is_empty() {
                break;
            }
            let wake = known.patience(begun).map_or(self.end, |patience| patience.min(self.end));
            match timeout_at(wake.into(), next(&mut landed, &mut state)).await {
                Ok(Some(one)) => self.settle(&mut flight, one),
                Ok(None) => {}
                Err(_) => producer.end(&too_late(&known)),
            }
        }
        self.leave([], &Reason::new(verdict::QUEUE_FULL, "librdkafka's queue is full"));
    }

    /// Whether there are deliveries to be tried one by one.
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Sends the suspects one by one, with nothing else under way at this producer, so that the one to blame is known.
    /// What follows in the key of a suspect goes the same way.
    pub async fn run_alone(&mut self, producer: &Producer) {
        while let Some((i, _)) = self.suspects.pop_front() {
            self.waiting.push_back(i);
            let before = self.suspects.len();
            // One message at a time: nothing else of this call is waiting, followers come one after the other.
            self.run(producer).await;
            if self.suspects.len() > before
                && let Some((guilty, outcome)) = self.suspects.pop_back()
            {
                self.report.set(self.batch, guilty, outcome);
            }
        }
    }

    /// Gives up the deliveries that are not settled yet.
    pub fn give_up(mut self, why: &Reason) -> Report {
        let suspects = std::mem::take(&mut self.suspects);
        self.leave(suspects.into_iter().map(|(i, _)| i), why);
        self.report
    }

    /// The report, when all is settled.
    pub fn report(self) -> Report {
        self.report
    }

    /// Hands over what is waiting, as far as there is room.
    fn fill(&mut self, flight: &mut Flight<'_>, to: &mpsc::Sender<Landed>) {
        while let Some(i) = self.waiting.pop_front() {
            match self.hand_over(flight.producer, i, to.clone()) {
                Handed::Queued => _ = flight.indices.insert(i),
                Handed::Full | Handed::Over => {
                    self.waiting.push_front(i);
                    return;
                }
                // librdkafka refused the message before it was put into a set with others.
                Handed::Refused(error) => {
                    let (Failure::Suspect(outcome) | Failure::Outcome(outcome)) = self.verdict(error);
                    self.report.set(self.batch, i, outcome);
                }
            }
        }
    }

    fn hand_over(&self, producer: &Producer, index: usize, to: mpsc::Sender<Landed>) -> Handed {
        let Some(delivery) = self.batch.deliveries.get(index) else { return Handed::Over };
        let message = Message {
            topic: delivery.target.get("topic").unwrap_or_default(),
            key: &delivery.key,
            value: &message::value(delivery, self.plan.format),
            headers: message::headers(delivery, self.plan.format),
        };
        producer.send(message, Ticket { index, to })
    }

    fn settle(&mut self, flight: &mut Flight<'_>, one: Landed) {
        // Purged, because the producer has ended; the loop in `run` is about to learn why.
        if matches!(one.result, Err(Code::PurgeQueue | Code::PurgeInflight)) || !flight.indices.remove(&one.index) {
            return;
        }
        let failure = match one.result {
            Ok(()) => {
                self.report.set(self.batch, one.index, Outcome::Delivered);
                self.waiting.extend(self.follower.get(one.index).copied().flatten());
                return;
            }
            Err(error) => self.verdict(error),
        };
        match failure {
            Failure::Suspect(outcome) => self.suspects.push_back((one.index, outcome)),
            Failure::Outcome(outcome) => self.report.set(self.batch, one.index, outcome),
        }
    }

    fn verdict(&self, error: Code) -> Failure {
        verdict::of(error, self.plan.topic.is_constant().then(|| self.plan.topic.source()))
    }

    /// Gives up the deliveries that are under way and those that wait.
    fn leave(&mut self, lost: impl IntoIterator<Item = usize>, why: &Reason) {
        let waiting = std::mem::take(&mut self.waiting);
        self.retry(lost.into_iter().chain(waiting), why);
    }

    fn retry(&mut self, indices: impl IntoIterator<Item = usize>, why: &Reason) {
        for i in indices {
            self.report.set(self.batch, i, Outcome::retry_for(why.clone()));
        }
    }
}

/// The next report; `None` where something is known about the producer that was not before. Cancel-safe.
async fn next(landed: &mut mpsc::Receiver<Landed>, state: &mut watch::Receiver<State>) -> Option<Landed> {
    tokio::select! {
        one = landed.recv() => one,
        _ = state.changed() => None,
    }
}

/// Why a call waits no longer.
fn too_late(state: &State) -> Reason {
    match &state.trouble {
        Some(why) if state.is_down() => why.clone(),
        Some(why) => Reason::new(code::TIMEOUT, format!("not acknowledged in time; last said: {}", why.detail)),
        None => Reason::new(code::TIMEOUT, "not acknowledged in time"),
    }
}
