//! Sinks as consumer groups: this daemon is one member of each, for as long as the sink has a reader. Here members are
//! begun, found and ended; what a member does is in `member.rs` (it polls), `restoring.rs` (it takes shards over) and
//! `settling.rs` (it settles them).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tracing::{error, warn};

use super::cluster::Cluster;
use super::glancing::Glancing;
use super::lease::Holding;
use super::member::Member;
use super::naming::Naming;
use super::seam::{CommitError, Keeper};
use super::standing;
use super::watching::Watching;
use crate::journal::{JournalError, Lease, Reader, Record};

/// Longest that all members together take to end when the daemon does.
const CLOSING: Duration = Duration::from_secs(8);
/// The session of a sink of which nobody has said how long it is to be.
const SESSION: Duration = Duration::from_secs(40);

/// Reads an event from a message of the topic of events.
pub type Decode = fn(&BorrowedMessage<'_>) -> Result<Record, String>;

/// What may fail in a sink's group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Nobody has said where the sink begins.
    #[error("sink {0} never began: its group has no offsets")]
    NeverBegan(String),
    /// Another process has this daemon's name. It has the shards; this one has to end.
    #[error("another daemon of the cluster has the name {0:?} (`node`), which each must have alone: this one ends")]
    Replaced(String),
    /// The member has ended, as the journal is closed, or nobody read.
    #[error("the sink's member of its group has ended")]
    Closed,
    /// Kafka said no, or nothing.
    #[error("Kafka: {what}: {why}")]
    Kafka {
        /// What was tried.
        what: &'static str,
        /// What the client said.
        why: String,
    },
    /// These shards have no offset, in a group that has begun.
    #[error("Kafka: shards {0:?} have no offset")]
    Missing(Vec<u32>),
    /// What is held cannot be kept.
    #[error("what is held of shards that were taken over cannot be kept: {0}")]
    Keeper(String),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

impl GroupError {
    pub(super) fn kafka(what: &'static str, error: &KafkaError) -> Self {
        Self::Kafka { what, why: error.to_string() }
    }

    pub(super) fn silent(what: &'static str) -> Self {
        Self::Kafka { what, why: "no answer in time".into() }
    }
}

impl From<GroupError> for JournalError {
    fn from(error: GroupError) -> Self {
        Self::Cursors(Box::new(error))
    }
}

impl From<GroupError> for CommitError {
    fn from(error: GroupError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What all members have in common.
pub(super) struct Common {
    pub cluster: Cluster,
    pub keeper: Arc<dyn Keeper>,
    pub decode: Decode,
    pub runtime: Handle,
    pub naming: Naming,
    replaced: watch::Sender<bool>,
}

impl Common {
    pub fn is_replaced(&self) -> bool {
        *self.replaced.borrow()
    }

    pub fn replaced(&self) -> GroupError {
        GroupError::Replaced(self.cluster.node.clone())
    }

    /// Another has this daemon's name.
    pub fn replace(&self) -> GroupError {
        if !self.replaced.send_replace(true) {
            error!(node = self.cluster.node, "another daemon of the cluster has this one's name: this one ends");
        }
        self.replaced()
    }
}

/// The groups of a cluster's sinks, as far as this daemon has a part in them.
pub struct Groups {
    common: Arc<Common>,
    seats: Mutex<BTreeMap<String, Arc<Seat>>>,
    watching: Watching,
    glancing: Arc<Glancing>,
    /// Whether the members have been waited for, which is done once.
    closed: OnceCell<()>,
}

/// Where a sink's member is, or will be.
struct Seat {
    session: Mutex<Duration>,
    member: Mutex<Option<Arc<Member>>>,
    /// The sink's member is begun by one at a time.
    turn: tokio::sync::Mutex<()>,
    /// Whether what its members read may be delivered.
    holding: Arc<Holding>,
}

impl Default for Seat {
    fn default() -> Self {
        let (session, holding) = (Mutex::new(SESSION), Arc::default());
        Self { session, member: Mutex::default(), turn: tokio::sync::Mutex::default(), holding }
    }
}

impl Groups {
    /// No member yet. What is held of a sink is kept by `keeper`; events are read by `decode`. `runtime` is where the
    /// keeper's work is waited for.
    pub fn new(cluster: Cluster, keeper: Arc<dyn Keeper>, decode: Decode, runtime: Handle) -> Self {
        let watching = Watching::new(cluster.clone());
        let (naming, replaced) = (Naming::default(), watch::Sender::new(false));
        let common = Common { cluster, keeper, decode, runtime, naming, replaced };
        Self {
            common: Arc::new(common),
            seats: Mutex::default(),
            watching,
            glancing: Arc::default(),
            closed: OnceCell::new(),
        }
    }

    /// Keeps the mark of the daemon's name in this folder, which is its own: so it is known whether another daemon that
    /// had the name may be at work. Without one there is none.
    #[must_use]
    pub fn marked_in(mut self, folder: &Path) -> Self {
        if let Some(common) = Arc::get_mut(&mut self.common) {
            common.naming = Naming::of(folder);
        }
        self
    }

    /// A sink's shards go to others when nothing is heard of this daemon for so long: the sink's timeout, and 10 s.
    /// It holds from the next reader on; between 6 s and 30 min.
    pub fn set_session(&self, sink: &str, session: Duration) {
        *lock(&self.seat(sink).session) = session;
    }

    /// Begins to read for a sink. What is this daemon's of its shards is given first, from where it is settled; a
    /// reader that was had before gets nothing more.
    ///
    /// # Errors
    /// The sink never began ([`GroupError::NeverBegan`]), another daemon has our name ([`GroupError::Replaced`]), or
    /// Kafka cannot be asked.
    pub async fn reader(&self, sink: &str) -> Result<Box<dyn Reader>, JournalError> {
        let seat = self.seat(sink);
        let _turn = seat.turn.lock().await;
        if self.common.is_replaced() {
            return Err(self.common.replaced().into());
        }
        let session = *lock(&seat.session);
        if let Some(member) = self.member(sink) {
            if member.session == session
                && let Some(reader) = member.feed.reader()
            {
                return Ok(reader);
            }
            // The session is longer or shorter from now on, so that the calls fit into it. Or the member is about to
            // end; and it would take the next one's place in the group with it.
            member.close();
            if !member.ended().await {
                return Err(GroupError::silent("ending a member").into());
            }
        }
        let (common, name) = (Arc::clone(&self.common), sink.to_owned());
        let begun = blocking(move || standing::all(&common.cluster, &name)).await?;
        if begun.is_empty() {
            return Err(GroupError::NeverBegan(sink.to_owned()).into());
        }
        let common = Arc::clone(&self.common);
        let named = blocking(move || common.naming.take(&common.cluster)).await?;
        let Some(has_elder) = named else { return Err(self.common.replace().into()) };
        seat.holding.joins(has_elder);
        let member = Member::join(sink, &self.common, session, Arc::clone(&seat.holding))?;
        *lock(&seat.member) = Some(Arc::clone(&member));
        member.feed.reader().ok_or_else(|| GroupError::Closed.into())
    }

    /// Whether another daemon has this one's name. Nothing is delivered or settled any more: the daemon is to end.
    pub fn is_replaced(&self) -> bool {
        self.common.is_replaced()
    }

    /// Waits until another daemon has this one's name; for ever where none comes. Cancel-safe.
    pub async fn replaced(&self) {
        let mut replaced = self.common.replaced.subscribe();
        // The sender lives as long as this does.
        let _ = replaced.wait_for(|replaced| *replaced).await;
    }

    /// Whether what was read for a sink may be delivered.
    pub fn lease(&self, sink: &str) -> Lease {
        self.seat(sink).holding.lease()
    }

    /// The shards of a sink that are this daemon's.
    pub fn owned(&self, sink: &str) -> Vec<u32> {
        let stands = self.member(sink).map(|member| member.shards.held()).unwrap_or_default();
        stands.into_iter().map(|stand| stand.cursor.shard).collect()
    }

    /// How many threads hang in Kafka's client.
    pub fn abandoned(&self) -> usize {
        self.members().iter().map(|member| member.settling.abandoned()).sum()
    }

    /// Ends all members and waits for that, but not for ever. Their shards are kept for this daemon until their
    /// sessions are over.
    pub async fn close(&self) {
        self.closed.get_or_init(|| self.end_members()).await;
    }

    async fn end_members(&self) {
        let members = self.members();
        members.iter().for_each(|member| member.close());
        // One bound for all: a service manager waits for no more than a stop's time.
        let until = tokio::time::Instant::now() + CLOSING;
        for member in members {
            if tokio::time::timeout_at(until, member.over()).await.is_err() {
                error!(sink = %member.sink, "the sink's member of its group does not end; it is left as it is");
            }
        }
    }

    pub(super) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    pub(super) fn watching(&self) -> &Watching {
        &self.watching
    }

    pub(super) fn glancing(&self) -> &Arc<Glancing> {
        &self.glancing
    }

    pub(super) fn member(&self, sink: &str) -> Option<Arc<Member>> {
        let seat = lock(&self.seats).get(sink).cloned()?;
        lock(&seat.member).clone()
    }

    fn members(&self) -> Vec<Arc<Member>> {
        lock(&self.seats).values().filter_map(|seat| lock(&seat.member).clone()).collect()
    }

    fn seat(&self, sink: &str) -> Arc<Seat> {
        Arc::clone(lock(&self.seats).entry(sink.to_owned()).or_default())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.members().iter().for_each(|member| member.close());
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest that a question is waited for which bounds itself, by less. What has no bound is the end of its client: to
/// close one waits until librdkafka says that it is closed.
const BLOCKED: Duration = Duration::from_secs(60);

/// Does what blocks, on a thread for that, which is left behind where it does not come back.
pub(super) async fn blocking<T: Send + 'static, E: From<GroupError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let cut_short = |error: tokio::task::JoinError| GroupError::Thread(error.to_string());
    let Ok(done) = tokio::time::timeout(BLOCKED, tokio::task::spawn_blocking(work)).await else {
        warn!("a call of Kafka's client does not come back: it is left behind");
        return Err(GroupError::silent("a question").into());
    };
    done.map_err(cut_short)?
}
