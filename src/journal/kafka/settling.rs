//! Makes steps of a sink durable, on a thread of its own that owns the sink's transactional producer. A call of
//! librdkafka may never come back (librdkafka#5511, #5456): the thread that polls watches this one, and where it is not
//! back in time it is left behind with its producer. A new one takes its place, whose producer has the same
//! transactional id: that fences the old one, which ends whenever its call does. Nobody waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::clients::{self, Producer};
use super::group::GroupError;
use super::lease::Holding;
use super::member::{Member, spawn};
use super::seam::{CommitError, Step};
use super::shards::shards_of;
use super::standing;
use super::transaction::{self, Failure};
use crate::journal::Moment;

/// Steps that may wait, of which each caller has one under way.
const QUEUE: usize = 64;
/// A transaction that is not over so long after it began hangs: brokers have ended it by then.
const TRANSACTION: Duration = Duration::from_secs(12);
/// Longest that a producer's beginning takes.
const INIT: Duration = Duration::from_secs(30);
/// Longest anything else takes: the beginning, a question about what was committed, the end of a producer.
const OTHER: Duration = Duration::from_secs(60);
/// The pause before a failure is tried again, first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// How long a step is tried again that the group refuses although its shards are here.
const REBALANCE: Duration = Duration::from_secs(60);
/// Longest until a member surely knows that it has lost its shards: it is told with a heartbeat.
const LOSS: Duration = Duration::from_secs(10);
/// Where nothing was settled for so long, it is settled where the sink stands: this shows that the shards are ours.
const IDLE: Duration = Duration::from_secs(2);
/// So many threads that were left behind are an alarm.
const MANY: usize = 4;
/// Beyond that none is left behind any more: the sink stands still until one comes back.
const MOST: usize = 16;

/// Where a test lets a transaction hang.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    BeforeCursors,
    BehindEnd,
}

type Reply = Result<(), CommitError>;

/// Steps that wait, and who waits for them.
pub(super) struct Job {
    steps: Vec<Step>,
    /// After how many assignments they were made.
    made: u64,
    reply: Mutex<Option<oneshot::Sender<Reply>>>,
}

impl Job {
    fn answer(&self, reply: Reply) {
        if let Some(waits) = lock(&self.reply).take() {
            // Whoever asked may have gone.
            let _ = waits.send(reply);
        }
    }
}

/// What a settling thread is at. All of it has one lock: a thread that is left behind changes nothing from then on.
#[derive(Default)]
struct At {
    /// When it will surely be done, unless it hangs.
    until: Option<Instant>,
    job: Option<Arc<Job>>,
    /// Whether there is such a thread at all.
    is_running: bool,
    /// Another has its place.
    is_abandoned: bool,
}

#[derive(Default)]
struct Progress(Mutex<At>);

/// Another thread has this one's place.
struct Abandoned;

impl Progress {
    fn takes(&self, at_most: Duration) {
        lock(&self.0).until = Some(Instant::now() + at_most);
    }

    /// Does something that only the thread in place may do.
    fn still<T>(&self, work: impl FnOnce(&mut At) -> T) -> Result<T, Abandoned> {
        let mut at = lock(&self.0);
        if at.is_abandoned { Err(Abandoned) } else { Ok(work(&mut at)) }
    }

    /// Whether it hangs: then the thread is left behind from now on. Says what it was at, and whether there is one.
    fn abandon(&self) -> Option<(Option<Arc<Job>>, bool)> {
        let mut at = lock(&self.0);
        let hangs = at.until.is_some_and(|until| until < Instant::now());
        hangs.then(|| {
            (at.until, at.is_abandoned) = (None, true);
            (at.job.take(), at.is_running)
        })
    }
}

/// What settles a sink's shards.
pub(super) struct Settling {
    jobs: SyncSender<Arc<Job>>,
    inbox: Arc<Mutex<Receiver<Arc<Job>>>>,
    now: Mutex<Arc<Progress>>,
    abandoned: Arc<AtomicUsize>,
    /// When the last settle began that succeeded.
    last: Mutex<Option<Instant>>,
    /// Whether what is read may be delivered.
    pub holding: Arc<Holding>,
    /// Lets the next transaction with rows hang until it is dropped, before its cursors or behind its end.
    #[cfg(test)]
    pub hang: Mutex<Option<(Stage, Receiver<()>)>>,
}

impl Settling {
    /// Nothing is settled yet. What holds is renewed by each settle.
    pub fn new(holding: Arc<Holding>) -> Self {
        let (jobs, inbox) = sync_channel(QUEUE);
        Self {
            jobs,
            inbox: Arc::new(Mutex::new(inbox)),
            now: Mutex::default(),
            abandoned: Arc::default(),
            last: Mutex::default(),
            holding,
            #[cfg(test)]
            hang: Mutex::default(),
        }
    }

    /// Starts the thread.
    pub fn start(member: &Arc<Member>) -> Result<(), GroupError> {
        member.settling.begin(member, None)
    }

    fn begin(&self, member: &Arc<Member>, unknown: Option<Arc<Job>>) -> Result<(), GroupError> {
        let at = At { job: unknown.clone(), ..At::default() };
        let progress = Arc::new(Progress(Mutex::new(at)));
        *lock(&self.now) = Arc::clone(&progress);
        let settler = Settler {
            member: Arc::clone(member),
            inbox: Arc::clone(&self.inbox),
            abandoned: Arc::clone(&self.abandoned),
            progress,
            producer: None,
            has_left_open: false,
            is_failing: false,
            made: 0,
        };
        spawn("kafka-settle", &member.sink, move || settler.run(unknown))
    }

    /// Makes steps of a member durable.
    pub async fn settle(&self, member: &Member, steps: Vec<Step>) -> Reply {
        let (reply, answer) = oneshot::channel();
        let made = member.shards.assignments();
        let job = Arc::new(Job { steps, made, reply: Mutex::new(Some(reply)) });
        let full = |_| CommitError::Unavailable("too many steps wait".into());
        self.jobs.try_send(Arc::clone(&job)).map_err(full)?;
        // Once the member has ended nobody watches the thread any more.
        let over = async {
            member.over().await;
            tokio::time::sleep(TRANSACTION).await;
        };
        tokio::select! {
            answer = answer => answer.unwrap_or_else(|_| Err(ended(&job.steps))),
            () = over => Err(ended(&job.steps)),
        }
    }

    /// Leaves the thread behind where it hangs, and starts another.
    pub fn watch(&self, member: &Arc<Member>) {
        if self.abandoned() >= MOST {
            return;
        }
        let now = Arc::clone(&lock(&self.now));
        let Some((job, is_running)) = now.abandon() else { return };
        let abandoned = self.abandoned.fetch_add(usize::from(is_running), Ordering::AcqRel) + 1;
        let sink = &member.sink;
        if abandoned >= MANY {
            error!(%sink, abandoned, "settling hangs in Kafka's client again and again: restart the daemon");
        } else {
            warn!(%sink, abandoned, "settling hangs in Kafka's client: it goes on with a new one");
        }
        if let Err(error) = self.begin(member, job) {
            // What was to begin hangs, so to speak, and is left behind in turn.
            error!(%sink, %error, "settling cannot go on yet");
            lock(&self.now).takes(PAUSES[1]);
        }
    }

    /// How many threads hang.
    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Acquire)
    }

    /// When the last settle began that succeeded.
    fn last(&self) -> Option<Instant> {
        *lock(&self.last)
    }

    /// There are shards anew: it is soon settled where the sink stands, so that they may be delivered from.
    pub fn nudge(&self) {
        let job = Job { steps: vec![], made: 0, reply: Mutex::default() };
        // Where so much waits that there is no room, it is settled soon by itself.
        let _ = self.jobs.try_send(Arc::new(job));
    }

    /// What was known of the shards is void: they are another's, or may be.
    pub fn void(&self) {
        self.holding.end();
        *lock(&self.last) = None;
    }

    /// Hangs as a call of librdkafka may, where a test wants that.
    #[cfg(test)]
    pub fn hang(&self, at: Stage, steps: &[Step]) {
        let has_rows = steps.iter().any(|step| !step.rows.is_empty());
        let hang = lock(&self.hang).take_if(|(stage, _)| *stage == at && has_rows);
        let _ = hang.map(|(_, hang)| hang.recv());
    }

    /// How long it may be waited for work.
    fn rest(&self) -> Duration {
        self.last().map_or(IDLE, |last| IDLE.saturating_sub(last.elapsed())).max(Duration::from_millis(10))
    }
}

/// The member has ended: its shards are nobody's.
fn ended(steps: &[Step]) -> CommitError {
    CommitError::Fenced(shards_of(steps))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread.
struct Settler {
    member: Arc<Member>,
    inbox: Arc<Mutex<Receiver<Arc<Job>>>>,
    abandoned: Arc<AtomicUsize>,
    progress: Arc<Progress>,
    producer: Option<Producer>,
    /// Whether a transaction may be open of which nobody knows any more: others who take over wait for it.
    has_left_open: bool,
    is_failing: bool,
    /// After how many assignments the steps were made that are being settled.
    made: u64,
}

impl Settler {
    fn run(mut self, unknown: Option<Arc<Job>>) {
        lock(&self.progress.0).is_running = true;
        if self.work(unknown).is_err() {
            // Its producer is fenced.
            drop(self.producer.take());
            self.abandoned.fetch_sub(1, Ordering::AcqRel);
            info!(sink = %self.member.sink, "a settling that hung has ended");
        }
    }

    fn work(&mut self, unknown: Option<Arc<Job>>) -> Result<(), Abandoned> {
        if let Some(job) = unknown {
            self.made = job.made;
            let reply = self.find_out(&job.steps, "the call did not come back")?;
            self.rest(Some((&job, reply)))?;
        }
        loop {
            let settling = &self.member.settling;
            // Few steps come close together, and this thread alone takes them.
            let next = lock(&self.inbox).recv_timeout(settling.rest());
            if self.member.shards.is_over() {
                self.refuse(next.ok());
                return Ok(());
            }
            match next {
                Ok(job) if job.steps.is_empty() => self.idle()?,
                Ok(job) => {
                    self.progress.still(|at| at.job = Some(Arc::clone(&job)))?;
                    self.made = job.made;
                    let reply = self.settle(&job.steps)?;
                    self.rest(Some((&job, reply)))?;
                }
                Err(RecvTimeoutError::Timeout) => self.idle()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.end_what_is_open()?;
        }
    }

    /// Says to all who wait that it is over.
    fn refuse(&self, first: Option<Arc<Job>>) {
        let inbox = lock(&self.inbox);
        let rest = std::iter::from_fn(|| inbox.try_recv().ok());
        first.into_iter().chain(rest).for_each(|job| job.answer(Err(ended(&job.steps))));
    }

    /// Ends a transaction that was given up, once: its producer's successor does so by beginning.
    fn end_what_is_open(&mut self) -> Result<(), Abandoned> {
        if std::mem::take(&mut self.has_left_open) && self.producer.is_none() {
            self.producer = self.begin().ok();
            self.rest(None)?;
        }
        Ok(())
    }

    fn rest(&self, done: Option<(&Job, Reply)>) -> Result<(), Abandoned> {
        self.progress.still(|at| (at.until, at.job) = (None, None))?;
        if let Some((job, reply)) = done {
            job.answer(reply);
        }
        Ok(())
    }

    /// Settles where the sink stands, so that it is known that the shards are here.
    fn idle(&mut self) -> Result<(), Abandoned> {
        let settling = &self.member.settling;
        self.made = self.member.shards.assignments();
        let stands = self.member.shards.held();
        if stands.is_empty() || settling.last().is_some_and(|last| last.elapsed() < IDLE) {
            return Ok(());
        }
        let steps: Vec<Step> = stands.into_iter().map(|stand| Step { stand, rows: vec![] }).collect();
        let reply = self.settle(&steps)?;
        self.rest(None)?;
        let was_failing = std::mem::replace(&mut self.is_failing, reply.is_err());
        match reply {
            Ok(()) if was_failing => info!(sink = %self.member.sink, "the sink's shards can be settled again"),
            Err(error) if !was_failing => {
                warn!(sink = %self.member.sink, %error, "the sink's shards cannot be settled")
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes steps durable, or says why they are not.
    fn settle(&mut self, steps: &[Step]) -> Result<Reply, Abandoned> {
        let since = Instant::now();
        loop {
            if let Some(reply) = self.producer(steps)? {
                return Ok(reply);
            }
            let Some(producer) = &self.producer else { continue };
            let (began, moment) = (Instant::now(), Moment::now());
            self.progress.takes(TRANSACTION);
            let failure = match transaction::run(producer, &self.member, steps, self.made) {
                Ok(()) => return self.settled(steps, Some((began, moment))).map(Ok),
                Err(failure) => failure,
            };
            debug!(sink = %self.member.sink, ?failure, took = ?began.elapsed(), "a settle failed");
            self.give_up_producer()?;
            let error = match failure {
                Failure::Fenced(shards) => return Ok(Err(CommitError::Fenced(shards))),
                Failure::Unknown(error) => return self.find_out(steps, &error.to_string()),
                Failure::Refused(error) => error,
            };
            if let Some(Code::UnknownMemberId | Code::FencedInstanceId) = error.rdkafka_error_code() {
                self.progress.still(|_| self.member.settling.void())?;
            }
            match error.rdkafka_error_code() {
                // The group rebalances, or the shards are lost: which of the two, the thread that polls learns soon.
                Some(Code::IllegalGeneration | Code::RebalanceInProgress | Code::UnknownMemberId)
                    if since.elapsed() < REBALANCE =>
                {
                    std::thread::sleep(PAUSES[0]);
                }
                Some(Code::FencedInstanceId) if since.elapsed() < REBALANCE => self.await_loss(steps)?,
                _ => return Ok(Err(CommitError::Unavailable(error.to_string()))),
            }
        }
    }

    /// These steps are durable, by a settle that began then. Where that is not known, they are no proof that the shards
    /// are still ours.
    fn settled(&self, steps: &[Step], began: Option<(Instant, Moment)>) -> Result<(), Abandoned> {
        self.progress.still(|_| {
            let Settling { last, holding, .. } = &self.member.settling;
            self.member.shards.settled(steps);
            if let Some((began, moment)) = began {
                *lock(last) = Some(began);
                holding.proved(moment);
            }
        })
    }

    /// Another may have this daemon's name, and the name of its transactions with it: no new producer disturbs that one
    /// before the thread that polls has learnt what is so.
    fn await_loss(&mut self, steps: &[Step]) -> Result<(), Abandoned> {
        let until = Instant::now() + LOSS;
        let (shards, common) = (&self.member.shards, &self.member.common);
        while shards.foreign(steps, self.made).is_empty() && !shards.is_over() && Instant::now() < until {
            std::thread::sleep(PAUSES[0]);
        }
        self.has_left_open &= !common.is_replaced();
        self.progress.still(|_| ())
    }

    /// Sees that there is a producer, for as long as the steps are to be settled; a reply where they are not any more.
    fn producer(&mut self, steps: &[Step]) -> Result<Option<Reply>, Abandoned> {
        let mut pause = PAUSES[0];
        loop {
            let shards = &self.member.shards;
            if shards.is_over() {
                return Ok(Some(Err(ended(steps))));
            }
            let foreign = shards.foreign(steps, self.made);
            if !foreign.is_empty() {
                return Ok(Some(Err(CommitError::Fenced(foreign))));
            }
            if self.producer.is_some() {
                return Ok(None);
            }
            match self.begin() {
                Ok(producer) => self.producer = Some(producer),
                Err(error) => debug!(sink = %self.member.sink, %error, "a producer cannot begin"),
            }
            self.progress.still(|_| ())?;
            if self.producer.is_none() {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    }

    /// A new producer. It ends what the one before it has begun.
    fn begin(&self) -> Result<Producer, KafkaError> {
        self.progress.takes(OTHER);
        let producer = clients::transactions(&self.member.common.cluster, &self.member.sink)?;
        producer.init_transactions(INIT)?;
        Ok(producer)
    }

    fn give_up_producer(&mut self) -> Result<(), Abandoned> {
        self.progress.takes(OTHER);
        drop(self.producer.take());
        self.has_left_open = true;
        self.progress.still(|_| ())
    }

    /// Learns what became of steps whose transaction may have arrived, or not: by the notes that the group has.
    fn find_out(&mut self, steps: &[Step], why: &str) -> Result<Reply, Abandoned> {
        loop {
            let mut here = steps.to_vec();
            let foreign = self.member.shards.foreign(steps, self.made);
            here.retain(|step| !foreign.contains(&step.stand.cursor.shard));
            if here.is_empty() {
                // Whoever has the shards sees what arrived.
                return Ok(Err(CommitError::Fenced(foreign)));
            }
            // Only once a producer has begun, nothing of the one before can arrive any more.
            if let Some(reply) = self.producer(&here)? {
                if matches!(reply, Err(CommitError::Fenced(_))) {
                    continue;
                }
                return Ok(reply);
            }
            self.progress.takes(OTHER);
            match standing::committed(&self.member.common.cluster, &self.member.sink, &shards_of(&here)) {
                Ok(stands) => {
                    // All of them or none: only we settle these shards.
                    let is_there = |step: &Step| stands.iter().any(|(_, stand)| stand.as_ref() == Some(&step.stand));
                    if here.iter().all(is_there) {
                        return self.settled(steps, None).map(Ok);
                    }
                    let not = CommitError::Unavailable(format!("nothing of it arrived: {why}"));
                    return Ok(Err(if foreign.is_empty() { not } else { CommitError::Fenced(foreign) }));
                }
                Err(error) => debug!(sink = %self.member.sink, %error, "it is not known yet what was settled"),
            }
            self.progress.still(|_| ())?;
            std::thread::sleep(PAUSES[1]);
        }
    }
}
