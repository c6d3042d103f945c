//! One batch on its way: what is sent when, and what became of it.
//!
//! Where order is owed, the next delivery of a key is sent when the one before it has arrived, so a key has one message
//! under way at most and nothing can overtake. Different keys go out together. Cancel-safe: a call that is dropped with
//! messages under way ends the producer, so that they are purged before anything is sent again.
//!
//! What follows the first of a key goes together. The first has shown that its topic takes messages, and named the
//! partition. All that follow to the same topic go there by a producer with librdkafka's gapless guarantee: where a
//! broker refuses one of them, nothing that stands behind it is sent any more, and what is under way behind it is
//! refused by its sequence number. For that the partition's leader must know the producer, so the first that a producer
//! sends to a partition goes alone. No blame is found here: what did not arrive is taken back, and goes one at a time
//! as everything else does, from the first that did not arrive.
//!
//! Why order holds across producers: what any of them sends of a key has no gaps, and begins no later than the first
//! message of the key that is not acknowledged. So whatever arrives, everything before it has arrived before, be it by
//! this producer or by one that has ended.

mod flight;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use sink_api::{Batch, Outcome, Reason, Report, code};
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use self::flight::Flight;
use crate::config::Plan;
use crate::message;
use crate::producer::{Handed, Inbox, Landed, Message, Producer, State, Ticket};
use crate::verdict::{self, Failure};

/// How long a delivery is put off whose key could not go on in this call, though nothing of it was tried in vain.
const PUT_OFF: Duration = Duration::from_millis(100);

/// Fewest that go together. A single one arrives as soon the usual way.
const MIN_RUN: usize = 2;

/// Deliveries of one key and topic, in order; the one before them has arrived in this partition.
pub struct Run {
    partition: i32,
    /// Never empty.
    items: Vec<usize>,
}

impl Run {
    /// The first of them.
    pub fn front(&self) -> usize {
        self.items.first().copied().unwrap_or_default()
    }
}

/// How soon what a failed producer holds is purged again: a set of messages that a broker has sent back goes behind all
/// that was purged before, and nothing is told of it.
const PURGE_AGAIN: Duration = Duration::from_millis(50);

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
    /// What may go together next, in this order.
    runs: Vec<Run>,
    /// Keys of which something was taken back: from then on one of them goes at a time.
    taken_back: HashSet<&'b str>,
    /// Deliveries in a set of messages that a broker refused, each with its outcome if it is the one to blame.
    suspects: VecDeque<(usize, Outcome)>,
    /// Whether suspects are being tried, one by one.
    is_alone: bool,
    inbox: Arc<Inbox>,
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
        Self {
            batch,
            plan,
            end,
            report: Report::open(batch),
            follower,
            waiting,
            runs: Vec::new(),
            taken_back: HashSet::new(),
            suspects: VecDeque::new(),
            is_alone: false,
            inbox: Arc::default(),
        }
    }

    /// Until when the call waits.
    pub fn end(&self) -> tokio::time::Instant {
        self.end.into()
    }

    /// Sends what may be sent, one of a key at a time, until all has arrived or failed or the producer has ended.
    pub async fn run(&mut self, producer: &Producer) {
        let mut flight = Flight::new(producer, self.batch.len());
        let mut state = producer.state();
        let begun = Instant::now();
        loop {
            self.fill(&mut flight);
            if let Some(why) = producer.fatal() {
                producer.end(&why);
            }
            let known = state.borrow_and_update().clone();
            if let Some(why) = &known.over {
                // Reports that are here already count.
                self.settle_all(&mut flight);
                let lost = flight.take();
                self.leave(lost, why);
                return self.put_off_runs(why);
            }
            if flight.is_empty() {
                break;
            }
            match self.wait(&mut state, &known, begun).await {
                Ok(()) => self.settle_all(&mut flight),
                Err(late) => producer.end(&late),
            }
        }
        self.leave([], &Reason::new(verdict::QUEUE_FULL, "librdkafka's queue is full"));
    }

    /// Waits for reports, or for news of the producer.
    async fn wait(&self, state: &mut watch::Receiver<State>, known: &State, begun: Instant) -> Result<(), Reason> {
        let wake = known.patience(begun).map_or(self.end, |patience| patience.min(self.end));
        let news = async {
            tokio::select! {
                () = self.inbox.has_some() => {}
                _ = state.changed() => {}
            }
        };
        timeout_at(wake.into(), news).await.map_err(|_| too_late(known))
    }

    /// Whether there are deliveries to be tried one by one.
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Sends the suspects one by one, with nothing else under way at this producer, so that the one to blame is known.
    /// What follows in the key of a suspect goes the same way.
    pub async fn run_alone(&mut self, producer: &Producer) {
        self.is_alone = true;
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
        self.is_alone = false;
    }

    /// Gives up the deliveries that are not settled yet.
    pub fn give_up(mut self, why: &Reason) -> Report {
        let suspects = std::mem::take(&mut self.suspects);
        self.leave(suspects.into_iter().map(|(i, _)| i), why);
        self.put_off_runs(why);
        self.report
    }

    /// The report, when all is settled.
    pub fn report(self) -> Report {
        self.report
    }

    /// Hands over what is waiting, as far as there is room.
    fn fill(&mut self, flight: &mut Flight<'_>) {
        while let Some(i) = self.waiting.pop_front() {
            match self.hand_over(flight, i, None) {
                Handed::Queued => {}
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

    fn hand_over(&self, flight: &mut Flight<'_>, index: usize, partition: Option<i32>) -> Handed {
        let Some(delivery) = self.batch.deliveries.get(index) else { return Handed::Over };
        let message = Message {
            topic: self.topic(index),
            partition,
            key: &delivery.key,
            value: &message::value(delivery, self.plan.format),
            headers: message::headers(delivery, self.plan.format),
        };
        let handed = flight.producer.send(message, Ticket { index, to: Arc::clone(&self.inbox) });
        if matches!(handed, Handed::Queued) {
            flight.insert(index);
        }
        handed
    }

    fn topic(&self, index: usize) -> &'b str {
        self.batch.deliveries.get(index).and_then(|delivery| delivery.target.get("topic")).unwrap_or_default()
    }

    fn key(&self, index: usize) -> &'b str {
        self.batch.deliveries.get(index).map_or("", |delivery| &delivery.key)
    }

    fn next_of_key(&self, index: usize) -> Option<usize> {
        self.follower.get(index).copied().flatten()
    }

    fn settle_all(&mut self, flight: &mut Flight<'_>) {
        for one in self.inbox.take() {
            self.settle(flight, one);
        }
    }

    fn settle(&mut self, flight: &mut Flight<'_>, one: Landed) {
        // Purged, because the producer has ended; the loop in `run` is about to learn why.
        if matches!(one.result, Err(Code::PurgeQueue | Code::PurgeInflight)) || !flight.remove(one.index) {
            return;
        }
        let failure = match one.result {
            Ok(partition) => {
                self.report.set(self.batch, one.index, Outcome::Delivered);
                return self.go_on(one.index, partition);
            }
            Err(error) => self.verdict(error),
        };
        match failure {
            Failure::Suspect(outcome) => self.suspects.push_back((one.index, outcome)),
            Failure::Outcome(outcome) => self.report.set(self.batch, one.index, outcome),
        }
    }

    /// A delivery has arrived: what is behind it in its key may be sent.
    fn go_on(&mut self, i: usize, partition: i32) {
        match self.run_behind(i, partition) {
            Some(run) => self.runs.push(run),
            None => self.waiting.extend(self.next_of_key(i)),
        }
    }

    fn verdict(&self, error: Code) -> Failure {
        verdict::of(error, self.plan.topic.is_constant().then(|| self.plan.topic.source()))
    }

    /// Gives up these deliveries, which were under way, and those that wait.
    fn leave(&mut self, lost: impl IntoIterator<Item = usize>, why: &Reason) {
        let waiting = std::mem::take(&mut self.waiting);
        for i in lost.into_iter().chain(waiting) {
            self.report.set(self.batch, i, Outcome::retry_for(why.clone()));
        }
    }

    /// Gives up what was to go together: it has not been tried.
    fn put_off_runs(&mut self, why: &Reason) {
        for run in std::mem::take(&mut self.runs) {
            self.report.set(self.batch, run.front(), Outcome::Later { after: PUT_OFF, why: why.clone() });
        }
    }
}

/// What goes together.
impl Call<'_> {
    /// Whether something may go together.
    pub fn has_runs(&self) -> bool {
        !self.runs.is_empty()
    }

    /// What may go together behind a delivery that has arrived.
    fn run_behind(&self, i: usize, partition: i32) -> Option<Run> {
        if self.is_alone || self.taken_back.contains(self.key(i)) {
            return None;
        }
        let behind = std::iter::successors(self.next_of_key(i), |i| self.next_of_key(*i));
        let items: Vec<usize> = behind.take_while(|next| self.topic(*next) == self.topic(i)).collect();
        (items.len() >= MIN_RUN).then_some(Run { partition, items })
    }

    /// Sends all that may go together, until all of it has arrived or is taken back.
    pub async fn run_together(&mut self, producer: &Producer) {
        let runs = std::mem::take(&mut self.runs);
        let is_known = |call: &Self, run: &Run| producer.is_known(call.topic(run.front()), run.partition);
        let mut flight = Flight::new(producer, self.batch.len());
        for run in runs.iter().filter(|run| !is_known(self, run)) {
            self.send_run(&mut flight, run, 0..1);
        }
        let mut landed = self.land(&mut flight).await;
        self.note_arrivals(producer, &runs);
        if landed.is_ok() {
            for run in runs.iter().filter(|run| is_known(self, run)) {
                let sent = usize::from(self.report.get(run.front()).is_some());
                self.send_run(&mut flight, run, sent..run.items.len());
            }
            landed = self.land(&mut flight).await;
            self.note_arrivals(producer, &runs);
        }
        for run in &runs {
            self.conclude(run, landed.as_ref().err());
        }
    }

    fn note_arrivals(&self, producer: &Producer, runs: &[Run]) {
        for run in runs.iter().filter(|run| self.report.get(run.front()).is_some()) {
            producer.note_arrival(self.topic(run.front()), run.partition);
        }
    }

    /// Hands over a part of a run, up to the first that is not taken.
    fn send_run(&self, flight: &mut Flight<'_>, run: &Run, part: std::ops::Range<usize>) {
        for i in run.items.get(part).unwrap_or_default() {
            if !matches!(self.hand_over(flight, *i, Some(run.partition)), Handed::Queued) {
                return;
            }
        }
    }

    /// Waits for the reports of all that is under way: a producer that has ended gives them, too.
    ///
    /// # Errors
    /// Why the call waits no longer.
    async fn land(&mut self, flight: &mut Flight<'_>) -> Result<(), Reason> {
        let producer = flight.producer;
        let (mut state, begun) = (producer.state(), Instant::now());
        while !flight.is_empty() {
            let known = state.borrow_and_update().clone();
            let waits = self.wait(&mut state, &known, begun);
            let waited = match producer.fatal() {
                None => waits.await,
                Some(_) => {
                    producer.purge_unsent();
                    timeout(PURGE_AGAIN, waits).await.unwrap_or(Ok(()))
                }
            };
            if let Err(late) = waited {
                producer.end(&late);
                flight.take();
                return Err(late);
            }
            for one in self.inbox.take() {
                if flight.remove(one.index) && one.result.is_ok() {
                    self.report.set(self.batch, one.index, Outcome::Delivered);
                }
            }
        }
        Ok(())
    }

    /// What comes behind a run that has arrived may be sent. What did not arrive is taken back, or given up where there
    /// is no time left.
    fn conclude(&mut self, run: &Run, late: Option<&Reason>) {
        let first = run.items.iter().copied().find(|i| self.report.get(*i).is_none());
        match (first, late) {
            (None, _) => self.waiting.extend(run.items.last().and_then(|last| self.next_of_key(*last))),
            (Some(i), Some(why)) => self.report.set(self.batch, i, Outcome::retry_for(why.clone())),
            (Some(i), None) => {
                self.taken_back.insert(self.key(i));
                self.waiting.push_back(i);
            }
        }
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
