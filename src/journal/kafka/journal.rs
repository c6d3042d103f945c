//! The journal on Kafka as the rest of the daemon sees it: its parts, put together.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use sink_api::Size;
use tokio::sync::watch;

use super::cluster::Cluster;
use super::group::{GroupError, Groups};
use super::known::{KnownEnds, Noted};
use super::lease;
use super::looking::Looking;
use super::overflow::Overflow;
use super::producing::Producing;
use super::sizes::Sizes;
use super::span::Span;
use super::topics::{self, TopicsError, Wanted};
use crate::journal::view::lock;
use crate::journal::{
    Append, Find, Fingerprint, Journal, JournalError, JournalStat, Lease, LookedUp, Marks, Of, Owed, Position, Pulse,
    Reader, Reads, SubjectOf, Within,
};

/// Bytes that may wait for a flush of the overflow, at least.
const OVERFLOW_QUEUE: Size = Size::mib(64);

/// What bounds a journal on Kafka.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Most bytes of events in Kafka, all shards and one copy counted.
    pub max_size: Size,
    /// Most bytes of events that wait for Kafka in memory.
    pub overflow_max: Size,
    /// Most bytes of them that wait on this machine's disk.
    pub overflow_disk: Size,
    /// So much of that disk stays free.
    pub min_free: Size,
    /// Whether brokers flush each event before they acknowledge it.
    pub flush: bool,
}

/// The journal in a Kafka cluster.
pub struct KafkaJournal {
    cluster: Cluster,
    bounds: Bounds,
    known: Arc<KnownEnds>,
    producing: Arc<Producing>,
    looking: Looking,
    sizes: Arc<Sizes>,
    groups: Arc<Groups>,
    /// The ends when the topics were first known to be as they must: before this process sent anything.
    began: OnceLock<Marks>,
    /// Whether that is so by now.
    is_ready: watch::Sender<bool>,
    /// Why the topics are refused, where they were when they were judged last.
    refused: Mutex<Option<String>>,
}

impl KafkaJournal {
    /// Begins to take events, and to send what an earlier life has left in the overflow, a folder of its own; sinks are
    /// read for by `groups`, which are closed with the journal. Asks no broker, so that a daemon starts while they are
    /// away.
    ///
    /// # Errors
    /// Where librdkafka does not take the properties, the overflow cannot be opened, or the system gives no thread.
    pub async fn open(
        cluster: Cluster,
        overflow: &Path,
        bounds: Bounds,
        subject_of: SubjectOf,
        groups: Arc<Groups>,
    ) -> Result<Self, JournalError> {
        let known = Arc::new(KnownEnds::default());
        // All that waits in memory may have to be copied at once, and as much again that finds no room there.
        let queue = Size(bounds.overflow_max.0.saturating_mul(2)).max(OVERFLOW_QUEUE);
        let overflow = Overflow::open(overflow, bounds.overflow_disk, bounds.min_free, queue).await?;
        let sizes = Arc::new(Sizes::default());
        let (ends, sent) = (Arc::clone(&known), Arc::clone(&sizes));
        let producing = Arc::new(Producing::begin(&cluster, bounds.overflow_max.0, ends, sent, overflow)?);
        let looking = Looking::new(cluster.clone(), Arc::clone(&known), subject_of, Arc::clone(&sizes));
        let (began, is_ready, refused) = (OnceLock::new(), watch::Sender::new(false), Mutex::default());
        Ok(Self { cluster, bounds, known, producing, looking, sizes, groups, began, is_ready, refused })
    }

    /// What is known of the room that events take. Whoever looks where sinks stand tells it.
    pub fn sizes(&self) -> Arc<Sizes> {
        Arc::clone(&self.sizes)
    }

    /// Makes the topics of events, of what all daemons know, and of what these sinks hold, where they are missing, and
    /// judges those that are there. Events wait until this has succeeded once: to be called at the start, again where
    /// brokers were away, and for a sink that is added. Where nobody is there it is soon over.
    async fn see_topics(&self, readers: &[Reads]) -> Result<(), TopicsError> {
        topics::reach(&self.cluster.brokers).await?;
        topics::prepare(&self.cluster, wanted(&self.cluster, &self.bounds, readers)).await
    }

    /// Whether [`Journal::prepare`] would succeed now: names the topics that it would make. Changes nothing.
    ///
    /// # Errors
    /// As that.
    pub async fn inspect(cluster: &Cluster, bounds: &Bounds, readers: &[Reads]) -> Result<Vec<String>, JournalError> {
        patient(readers)?;
        topics::reach(&cluster.brokers).await?;
        Ok(topics::inspect(cluster, wanted(cluster, bounds, readers)).await?)
    }

    /// Once the topics are as they must be: where they end is noted, then events are sent.
    async fn begin(&self) -> Result<(), JournalError> {
        if self.began.get().is_none() {
            let ends = self.looking.ends().await?;
            self.began.get_or_init(|| ends);
        }
        self.producing.allow();
        self.is_ready.send_replace(true);
        Ok(())
    }

    /// As if the topics had been looked at.
    #[cfg(test)]
    pub(super) fn allow(&self) {
        self.producing.allow();
    }

    /// Figures of the local overflow.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn overflow(&self) -> Result<JournalStat, JournalError> {
        self.producing.overflow().await
    }

    #[cfg(test)]
    pub(super) fn break_producer(&self) {
        self.producing.break_producer();
    }

    #[cfg(test)]
    pub(super) fn fill_overflow(&self, is_full: bool) {
        self.producing.fill_overflow(is_full);
    }
}

/// The topics that must be there.
fn wanted(cluster: &Cluster, bounds: &Bounds, readers: &[Reads]) -> Vec<Wanted> {
    let held = readers.iter().map(|reads| Wanted::held(cluster, &reads.name));
    let wanted = [Wanted::events(cluster, bounds.max_size.0), Wanted::control(cluster)];
    wanted.into_iter().chain(held).map(|topic| topic.flushed(bounds.flush)).collect()
}

/// Whether brokers would wait for as long as a call of these readers may take.
fn patient(readers: &[Reads]) -> Result<(), JournalError> {
    let Some(reads) = readers.iter().find(|reads| reads.timeout > lease::MAX_TIMEOUT) else { return Ok(()) };
    let (name, most) = (&reads.name, lease::MAX_TIMEOUT.as_secs());
    Err(JournalError::Unfit(format!("[sinks.{name}] `timeout` is over {most} s: brokers wait no longer for a daemon")))
}

#[async_trait]
impl Journal for KafkaJournal {
    fn append_all(&self, records: Vec<Append>) {
        self.producing.append_all(records);
    }

    fn at_risk(&self) -> u64 {
        self.producing.at_risk()
    }

    fn refuses(&self) -> (bool, bool) {
        self.producing.refuses()
    }

    async fn reader(&self, of: Of) -> Result<Box<dyn Reader>, JournalError> {
        let reader = match of {
            Of::Cursors(name) => self.groups.reader(&name).await?,
            Of::Span { from, until } => {
                self.looking.check()?;
                Box::new(Span::begin(&self.cluster, from, &until)?)
            }
        };
        Ok(Box::new(Noted { reader, known: Arc::clone(&self.known) }))
    }

    async fn oldest(&self) -> Result<Marks, JournalError> {
        self.looking.oldest().await
    }

    async fn ends(&self) -> Result<Marks, JournalError> {
        self.looking.ends().await
    }

    fn known_ends(&self) -> Marks {
        self.known.now()
    }

    async fn seek(&self, time: i64) -> Result<Marks, JournalError> {
        self.looking.seek(time).await
    }

    async fn find(&self, what: Find, within: Within) -> Result<LookedUp, JournalError> {
        self.looking.find(what, within).await
    }

    async fn owed(&self, from: &Marks, to: &Marks) -> Result<Owed, JournalError> {
        self.looking.owed(from, to).await
    }

    async fn stat(&self) -> Result<JournalStat, JournalError> {
        // The disk is the one of what waits for brokers.
        Ok(JournalStat { free: self.overflow().await?.free, ..self.looking.stat().await })
    }

    async fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint> {
        // The sender lives as long as this does.
        let _ = self.is_ready.subscribe().wait_for(|is_ready| *is_ready).await;
        self.looking.fingerprints(since, max).await
    }

    async fn prepare(&self, readers: &[Reads]) -> Result<(), JournalError> {
        patient(readers)?;
        readers.iter().for_each(|reads| self.groups.set_session(&reads.name, lease::session(reads.timeout)));
        let seen = self.see_topics(readers).await.map_err(JournalError::from);
        match &seen {
            Ok(()) => *lock(&self.refused) = None,
            Err(JournalError::Unfit(why)) => *lock(&self.refused) = Some(why.clone()),
            Err(error) => self.looking.missed(error.to_string()),
        }
        seen?;
        self.begin().await
    }

    fn began(&self) -> Option<Marks> {
        self.began.get().cloned()
    }

    fn trouble(&self) -> Option<String> {
        let refused = lock(&self.refused).as_ref().map(|why| format!("its topics are refused: {why}"));
        refused.or_else(|| self.looking.trouble())
    }

    async fn replaced(&self) -> JournalError {
        self.groups.replaced().await;
        JournalError::Unfit(GroupError::Replaced(self.cluster.node.clone()).to_string())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn lease(&self, name: &str) -> Lease {
        self.groups.lease(name)
    }

    fn told(&self, position: Position) -> Option<Arc<str>> {
        Some(format!("{}:{}", position.shard, position.offset).into())
    }

    async fn end_readers(&self) {
        self.groups.close().await;
    }

    async fn close(&self) -> Result<(), JournalError> {
        self.groups.close().await;
        Arc::clone(&self.producing).close().await
    }
}

/// The thread that listens to what becomes of events goes on, whatever brokers do.
impl Pulse for KafkaJournal {
    fn ask(&self) {
        self.producing.ask();
    }

    fn has_answered(&self) -> bool {
        self.producing.has_answered()
    }
}
