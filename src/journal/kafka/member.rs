//! One sink's member of its consumer group: the thread that polls. It never waits for anything else: what takes time is
//! done by the threads that restore (`restoring.rs`) and settle (`settling.rs`), and looked at between two polls.
//!
//! Rebalances are answered outside of librdkafka's callback, which only notes them. An assignment is answered at once
//! with nothing: the shards are assigned for reading when they are restored, so that nobody else waits for that. A
//! revocation is answered when the reader has settled, or after [`DRAIN`]; a loss when the name is known
//! to be ours still (`losing.rs`).
//!
//! Events are written without transactions, so each offset is one: where some are missing, they were deleted, and the
//! reader is told of a gap. Where a cursor stands before the oldest event, the client does not go on by itself
//! (`auto.offset.reset`): the shards are taken over anew, which finds the oldest offset, and a gap up to it. So a
//! cursor comes to the end of its shard, even where nothing is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio::sync::{oneshot, watch};
use tracing::{debug, error, info, warn};

use super::clients;
pub(super) use super::cluster::list;
use super::feed::Feed;
use super::gathering::Gathering;
use super::group::{Common, GroupError};
use super::lease::Holding;
use super::losing::Losing;
use super::rebalances::{Event, Events};
use super::restoring;
use super::settling::Settling;
use super::shards::Shards;
use crate::journal::{Entry, Marks, Position};

/// Longest one poll, and so the longest until something else than a message is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Messages that are taken in before that.
const BURST: usize = 256;
/// How long a reader may take to settle shards that are taken away.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// A member without a reader ends after this time.
const ALONE: Duration = Duration::from_secs(10);
/// Longest that a rebalance is on its way to the thread that polls.
const ANSWERED: Duration = Duration::from_secs(2);
/// Longest a seek may take that only goes to librdkafka's own threads.
const SEEK: Duration = Duration::from_millis(500);
/// Longest that the end of a member is waited for.
const END: Duration = Duration::from_secs(30);

/// One sink's member. Its threads share it.
pub(super) struct Member {
    /// The sink.
    pub sink: String,
    /// What all members have in common.
    pub common: Arc<Common>,
    /// Its shards.
    pub shards: Shards,
    /// What its reader gets.
    pub feed: Arc<Feed>,
    /// What settles them.
    pub settling: Settling,
    /// After how long without a heartbeat they are another's.
    pub session: Duration,
    is_closing: AtomicBool,
    ended: watch::Sender<bool>,
}

impl Member {
    /// Joins the group.
    pub fn join(
        sink: &str,
        common: &Arc<Common>,
        session: Duration,
        holding: Arc<Holding>,
    ) -> Result<Arc<Self>, GroupError> {
        let trouble = |error: KafkaError| GroupError::kafka("joining a group", &error);
        let config = clients::member(&common.cluster, sink, session);
        let consumer: BaseConsumer<Events> = config.create_with_context(Events::default()).map_err(trouble)?;
        consumer.subscribe(&[&common.cluster.events()]).map_err(trouble)?;
        let consumer = Arc::new(consumer);
        let member = Arc::new(Self {
            sink: sink.to_owned(),
            common: Arc::clone(common),
            shards: Shards::default(),
            feed: Arc::default(),
            settling: Settling::new(holding),
            session,
            is_closing: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        });
        member.shards.attach(Arc::downgrade(&consumer));
        let restored = Arc::clone(&member);
        spawn("kafka-restore", sink, move || restoring::run(&restored))?;
        Settling::start(&member)?;
        let polling = Polling {
            member: Arc::clone(&member),
            consumer,
            leaving: vec![],
            rewinding: BTreeMap::new(),
            losing: None,
            gathering: Gathering::default(),
            retook: None,
            is_paused: false,
        };
        spawn("kafka-poll", sink, move || polling.run())?;
        Ok(member)
    }

    /// Lets the member end soon.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Waits until the member has ended, but not for ever; says whether it has.
    pub async fn ended(&self) -> bool {
        tokio::time::timeout(END, self.over()).await.is_ok()
    }

    /// Whether the member has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the member has ended. Cancel-safe.
    pub async fn over(&self) {
        // The sender lives as long as this does.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// Starts a thread of a sink.
pub(super) fn spawn(role: &str, sink: &str, work: impl FnOnce() + Send + 'static) -> Result<(), GroupError> {
    let started = std::thread::Builder::new().name(format!("{role}-{sink}")).spawn(work);
    started.map(drop).map_err(|error| GroupError::Thread(error.to_string()))
}

/// Shards that are on their way to another.
struct Leaving {
    shards: Vec<u32>,
    told: oneshot::Receiver<()>,
    until: Instant,
    then: Then,
}

/// What becomes of shards that are not read any more.
#[derive(Clone, Copy)]
enum Then {
    /// They are another's.
    Gone,
    /// They are taken over anew, by this member.
    Retaken,
}

struct Polling {
    member: Arc<Member>,
    consumer: Arc<BaseConsumer<Events>>,
    leaving: Vec<Leaving>,
    /// From where shards are to be read again that are not yet.
    rewinding: BTreeMap<u32, u64>,
    /// Shards that are lost, until that is answered.
    losing: Option<Losing>,
    /// Sees that each shard is somebody's.
    gathering: Gathering,
    /// When shards were unassigned last without having been revoked.
    retook: Option<Instant>,
    is_paused: bool,
}

impl Polling {
    fn run(mut self) {
        let why = loop {
            if let Err(why) = self.turn() {
                break why;
            }
        };
        info!(sink = %self.member.sink, %why, "the sink's member ends");
        self.member.settling.void();
        self.member.feed.end(why);
        self.member.shards.end();
        self.consumer.context().end();
        self.gathering.end();
        let Self { member, consumer, .. } = self;
        // Closes it, which may take as long as a broker takes to answer. A static member does not leave its group: the
        // shards are another's when its session is over.
        drop(consumer);
        member.ended.send_replace(true);
    }

    /// What is to be done between two polls, and the polls.
    fn turn(&mut self) -> Result<(), GroupError> {
        let Member { common, feed, is_closing, .. } = &*self.member;
        if common.is_replaced() {
            return Err(common.replaced());
        }
        if is_closing.load(Ordering::Acquire) || feed.alone() > ALONE {
            return Err(GroupError::Closed);
        }
        while let Some(event) = self.consumer.context().next() {
            match event {
                Event::Assign(shards) => {
                    self.assigned(&shards);
                    self.gathering.assigned();
                }
                Event::Revoke(shards, is_lost) => self.revoked(shards, is_lost),
            }
        }
        self.lose()?;
        if self.losing.is_none() && self.gathering.is_to_join_anew(&self.member) {
            self.join_anew()?;
        }
        self.drain();
        self.rewind();
        self.own()?;
        self.pace();
        self.member.settling.watch(&self.member);
        self.poll()
    }

    fn poll(&mut self) -> Result<(), GroupError> {
        let consumer = Arc::clone(&self.consumer);
        for turn in 0..BURST {
            match consumer.poll(if turn == 0 { POLL } else { Duration::ZERO }) {
                Some(Ok(message)) => self.take_in(&message),
                Some(Err(error)) => self.failed(&error)?,
                None => break,
            }
            if self.member.feed.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn take_in(&self, message: &BorrowedMessage<'_>) {
        let (Ok(shard), Ok(offset)) = (u32::try_from(message.partition()), u64::try_from(message.offset())) else {
            return;
        };
        if self.rewinding.contains_key(&shard) {
            return;
        }
        let at = Position { shard, offset };
        let entry = match (self.member.common.decode)(message) {
            Ok(record) => Some(Entry { position: at, record: Arc::new(record) }),
            Err(why) => {
                error!(sink = %self.member.sink, shard, offset, %why, "an event cannot be read");
                None
            }
        };
        self.member.feed.push(at, entry);
    }

    /// An error of a poll: noise while brokers come and go, but for one that ends the client.
    fn failed(&mut self, error: &KafkaError) -> Result<(), GroupError> {
        let Some((code, text)) = self.consumer.client().fatal_error() else {
            debug!(sink = %self.member.sink, %error, "Kafka");
            if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) {
                self.retake();
            }
            return Ok(());
        };
        if clients::is_replaced(code) {
            self.losing.get_or_insert_with(|| Losing::begin(&self.member, vec![]));
            return Ok(());
        }
        Err(GroupError::Kafka { what: "reading events", why: text })
    }

    // ── rebalances ──

    fn assigned(&self, shards: &[u32]) {
        let Member { sink, session, settling, .. } = &*self.member;
        debug!(%sink, ?shards, "assigned");
        settling.holding.assigned(sink, *session);
        self.member.shards.take(shards);
        self.answered(self.consumer.incremental_assign(&TopicPartitionList::new()));
    }

    fn revoked(&mut self, shards: Vec<u32>, is_lost: bool) {
        // What was unassigned without having been revoked may have answered this already: then nothing waits for us.
        let is_lost = is_lost || self.retook.is_some_and(|at| at.elapsed() < ANSWERED);
        debug!(sink = %self.member.sink, ?shards, is_lost, "revoked");
        let Member { sink, shards: own, feed, .. } = &*self.member;
        if is_lost {
            warn!(%sink, ?shards, "these shards are lost: the group gave them to others, or the brokers are away");
            self.member.settling.void();
            self.leaving.clear();
            feed.lost(&shards);
            let assigned = own.release(&shards);
            own.forget(&shards);
            self.losing = Some(Losing::begin(&self.member, assigned));
            return;
        }
        let read = own.leave(&shards);
        let unread: Vec<u32> = shards.into_iter().filter(|shard| !read.contains(shard)).collect();
        own.release(&unread);
        own.forget(&unread);
        self.leave(read, Then::Gone);
    }

    /// Answers a loss, after which the group is joined anew, once it is known that the daemon's name is still its own.
    /// A client that is of no use any more joins nothing: the loss and that error come in either order.
    fn lose(&mut self) -> Result<(), GroupError> {
        let Some(is_ours) = self.losing.as_ref().and_then(Losing::is_ours) else { return Ok(()) };
        let assigned = self.losing.take().map(|losing| losing.assigned).unwrap_or_default();
        match self.consumer.client().fatal_error() {
            _ if !is_ours => return Err(self.member.common.replace()),
            Some((_, why)) => return Err(GroupError::Kafka { what: "reading events", why }),
            None => self.unassign(&assigned),
        }
        Ok(())
    }

    /// Leaves the group, once what is had is given up, and joins it again: all members then say anew what they have.
    fn join_anew(&self) -> Result<(), GroupError> {
        let Member { sink, common, .. } = &*self.member;
        warn!(%sink, "some shards are no daemon's: this one leaves the group and joins it again to have them shared");
        self.consumer.unsubscribe();
        let joining = self.consumer.subscribe(&[&common.cluster.events()]);
        joining.map_err(|error| GroupError::kafka("joining a group", &error))
    }

    fn unassign(&self, shards: &[u32]) {
        self.answered(self.consumer.incremental_unassign(&self.list(shards.iter().map(|shard| (*shard, None)))));
    }

    /// What is read is not there any more: deleted by now, or the topic was made anew. What there is of it is found out
    /// as with any shard that is taken over.
    fn retake(&mut self) {
        let all: Vec<u32> = self.member.shards.owned().iter().map(|taken| taken.stand.cursor.shard).collect();
        if all.is_empty() {
            // Of each shard comes an error, and it does not say which. One that comes late does no harm.
            return;
        }
        warn!(sink = %self.member.sink, shards = ?all, "what is to be read is gone: the shards are taken over anew");
        let read = self.member.shards.leave(&all);
        self.leave(read, Then::Retaken);
    }

    /// Lets the reader settle these shards, where there is one.
    fn leave(&mut self, shards: Vec<u32>, then: Then) {
        match self.member.feed.taken(&shards) {
            Some(told) => self.leaving.push(Leaving { shards, told, until: Instant::now() + DRAIN, then }),
            None => self.release(&shards, then),
        }
    }

    /// Gives away what the reader has settled, or has had its time for.
    fn drain(&mut self) {
        let now = Instant::now();
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain_mut(|leaving| {
            let waits = matches!(leaving.told.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            if waits && now < leaving.until {
                return true;
            }
            if waits {
                let (sink, shards) = (&self.member.sink, &leaving.shards);
                warn!(%sink, ?shards, "these shards were not settled in time before they go to another");
            }
            self.release(&leaving.shards, leaving.then);
            false
        });
        self.leaving.extend(leaving);
    }

    /// From here on these shards are not read and settled.
    fn release(&mut self, shards: &[u32], then: Then) {
        let own = &self.member.shards;
        let assigned = own.release(shards);
        if own.held().is_empty() {
            self.member.settling.void();
        }
        self.unassign(&assigned);
        match then {
            Then::Gone => own.forget(shards),
            Then::Retaken => {
                own.take(&assigned);
                self.retook = Some(Instant::now());
            }
        }
    }

    fn answered(&self, answer: Result<(), KafkaError>) {
        if let Err(error) = answer {
            error!(sink = %self.member.sink, %error, "a rebalance could not be answered");
        }
    }

    /// Begins to read what was restored.
    fn own(&self) -> Result<(), GroupError> {
        let Member { sink, shards, feed, .. } = &*self.member;
        let taken = shards.own();
        if taken.is_empty() {
            return Ok(());
        }
        let list = self.list(taken.iter().map(|taken| (taken.from().shard, Some(taken.from().offset))));
        let assigned = self.consumer.incremental_assign(&list);
        assigned.map_err(|error| GroupError::kafka("assigning shards", &error))?;
        if self.is_paused {
            self.answered(self.consumer.pause(&list));
        }
        let marks: Marks = taken.iter().map(|taken| taken.stand.cursor).collect();
        info!(%sink, from = %marks, shards = taken.len(), "these shards are this daemon's");
        self.member.settling.nudge();
        feed.give(&marks);
        taken.iter().for_each(|taken| feed.pass(taken.from()));
        Ok(())
    }

    // ── reading ──

    /// Lets a new reader begin where the shards are settled.
    fn rewind(&mut self) {
        let Member { shards, feed, .. } = &*self.member;
        // Whoever begins to read looks at what is held: of another's shards that must be nothing.
        if feed.is_fresh() && shards.is_clear() {
            let owned = shards.owned();
            self.rewinding = owned.iter().map(|taken| (taken.from().shard, taken.from().offset)).collect();
            feed.begin(&owned.iter().map(|taken| taken.stand.cursor).collect());
            owned.iter().for_each(|taken| feed.pass(taken.from()));
        }
        if self.rewinding.is_empty() {
            return;
        }
        let owned: BTreeSet<u32> = shards.owned().iter().map(|taken| taken.stand.cursor.shard).collect();
        self.rewinding.retain(|shard, _| owned.contains(shard));
        let list = self.list(self.rewinding.iter().map(|(shard, offset)| (*shard, Some(*offset))));
        if list.count() == 0 {
            return;
        }
        match self.consumer.seek_partitions(list, SEEK) {
            // A shard that was assigned a moment ago may not be there yet: it is tried again.
            Ok(list) => {
                for element in list.elements().into_iter().filter(|element| element.error().is_ok()) {
                    self.rewinding.retain(|shard, _| i64::from(*shard) != i64::from(element.partition()));
                }
            }
            Err(error) => debug!(sink = %self.member.sink, %error, "a seek is tried again"),
        }
    }

    /// Reads on, or does not, as there is room for it.
    fn pace(&mut self) {
        let (feed, sink) = (&self.member.feed, &self.member.sink);
        let is_paused = if self.is_paused { !feed.has_room() } else { feed.is_full() };
        if is_paused == self.is_paused {
            return;
        }
        let changed = self.consumer.assignment().and_then(|all| match is_paused {
            true => self.consumer.pause(&all),
            false => self.consumer.resume(&all),
        });
        match changed {
            Ok(()) => self.is_paused = is_paused,
            Err(error) => warn!(%sink, %error, "reading could not be paused or resumed"),
        }
    }

    fn list(&self, shards: impl Iterator<Item = (u32, Option<u64>)>) -> TopicPartitionList {
        list(&self.member.common.cluster.events(), shards)
    }
}
