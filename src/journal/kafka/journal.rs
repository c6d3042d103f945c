//! The journal on Kafka as the rest of the daemon sees it: its parts, put together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sink_api::Size;

use super::cluster::Cluster;
use super::group::{GroupError, Groups};
use super::known::{KnownEnds, Noted};
use super::looking::Looking;
use super::overflow::Overflow;
use super::producing::Producing;
use super::span::Span;
use super::topics::{self, TopicsError, Wanted};
use crate::journal::{
    Append, Find, Fingerprint, Journal, JournalError, JournalStat, LookedUp, Marks, Of, Owed, Pulse, Reader, Reads,
    SubjectOf, Within,
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
}

/// How much longer than a call may take a daemon is waited for before its shards go to others.
const SESSION_BEYOND: Duration = Duration::from_secs(10);

/// The journal in a Kafka cluster.
pub struct KafkaJournal {
    cluster: Cluster,
    bounds: Bounds,
    known: Arc<KnownEnds>,
    producing: Arc<Producing>,
    looking: Looking,
    groups: Arc<Groups>,
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
        let producing = Producing::begin(&cluster, bounds.overflow_max.0, Arc::clone(&known), overflow)?;
        let producing = Arc::new(producing);
        let looking = Looking::new(cluster.clone(), Arc::clone(&known), subject_of);
        Ok(Self { cluster, bounds, known, producing, looking, groups })
    }

    /// Makes the topics of events, of what all daemons know, and of what these sinks hold, where they are missing, and
    /// judges those that are there. Events wait until this has succeeded once: to be called at the start, again where
    /// brokers were away, and for a sink that is added.
    async fn see_topics(&self, readers: &[Reads]) -> Result<(), TopicsError> {
        let cluster = &self.cluster;
        let held = readers.iter().map(|reads| Wanted::held(cluster, &reads.name));
        let wanted = [Wanted::events(cluster, self.bounds.max_size.0), Wanted::control(cluster)];
        topics::prepare(cluster, wanted.into_iter().chain(held).collect()).await?;
        self.producing.allow();
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
            Of::Span { from, until } => Box::new(Span::begin(&self.cluster, from, &until)?),
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
        self.looking.stat().await
    }

    fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint> {
        self.looking.fingerprints(since, max)
    }

    async fn prepare(&self, readers: &[Reads]) -> Result<(), JournalError> {
        readers.iter().for_each(|reads| self.groups.set_session(&reads.name, reads.timeout + SESSION_BEYOND));
        Ok(self.see_topics(readers).await?)
    }

    async fn replaced(&self) -> JournalError {
        self.groups.replaced().await;
        JournalError::Unfit(GroupError::Replaced(self.cluster.node.clone()).to_string())
    }

    fn is_shared(&self) -> bool {
        true
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
