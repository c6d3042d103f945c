//! What a connection is doing: whether a request is being answered, since when the next one's head is coming, since
//! when nothing has happened. The wire (bytes came) and the service (a request began or ended) write it, and a timer
//! that looks every now and then reads it: no timer is set or moved per request. Here is also whether the connection is
//! asked to close so that another may have its permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Server;
use super::admission::{Permit, PermitCell};
use super::budget::Sender;
use super::socket::Peer;

/// How long a connection may rest between requests: one that has not brought a webhook with a good signature, and one
/// that has. The latter is longer than proxies in front keep theirs (nginx 60 s, Traefik 90 s, Caddy two minutes), so
/// that the proxy closes first: a connection closed under a POST on its way is a webhook lost, as none sends it again.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const KEEP_ALIVE_PROVEN: Duration = Duration::from_secs(150);

/// How long after the stop a connection without a request is kept: its bytes may be on their way.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// Tells connections of a stop: `false` while the server serves, `true` when it answers only what has begun; the sender
/// is dropped when the time to drain is over.
pub(super) type Stopping = watch::Receiver<bool>;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Idle {
        /// Since when.
        since: Instant,
        /// Whether no byte has come yet.
        is_new: bool,
        /// Whether the connection has brought a webhook with a good signature.
        is_proven: bool,
    },
    /// The head of a request is coming.
    Head {
        /// Since when.
        since: Instant,
        /// Whether the connection has brought a webhook with a good signature.
        is_proven: bool,
    },
    /// A request is being answered.
    Busy,
}

/// Whether a connection is asked to close.
#[derive(Debug, Default)]
pub struct CloseSignal {
    is_asked: AtomicBool,
    notify: Notify,
}

impl CloseSignal {
    /// Asks the connection to close; `false` where it was asked before.
    pub fn ask(&self) -> bool {
        let is_first = !self.is_asked.swap(true, Relaxed);
        self.notify.notify_one();
        is_first
    }

    /// Whether the connection was asked.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Relaxed)
    }

    /// Waits until the connection is asked. Only the first that waits hears it.
    pub async fn asked(&self) {
        self.notify.notified().await;
    }
}

/// What the parts of one connection share.
pub struct Link {
    /// Its number.
    pub id: u64,
    /// Its permit among `max_connections`.
    pub permit: PermitCell,
    /// Its permit among the connections that speak HTTP/2.
    pub http2_permit: PermitCell,
    /// Whether it is to close.
    pub cut: CloseSignal,
    is_proven: AtomicBool,
    pub(super) server: Arc<Server>,
    pub(in crate::ingress) peer: Peer,
    /// The peer as text.
    pub(in crate::ingress) remote: Arc<str>,
    opened: Instant,
    /// How many requests are being answered.
    active: AtomicU32,
    /// How many of them wait for their bodies.
    uploads: AtomicU32,
    /// When the first byte of a head came: milliseconds after `opened`, plus one; 0 where no head is coming.
    head: AtomicU64,
    /// Bytes of that head beyond its first piece.
    head_bytes: AtomicUsize,
    /// When the last request ended, milliseconds after `opened`; 0 where there was none yet.
    rested: AtomicU64,
    /// Whether nothing more is to be read for now, as it would only fill buffers.
    is_paused: AtomicBool,
    /// Whether a request was answered before all of it was read.
    pub(in crate::ingress) unread: AtomicBool,
    /// Whether the next answer is the last, as the server stops.
    is_last: AtomicBool,
}

impl Link {
    /// A connection that is opened now and has not said anything yet.
    pub(in crate::ingress) fn new(id: u64, permit: Option<Permit>, server: Arc<Server>, peer: Peer) -> Self {
        Self {
            id,
            permit: PermitCell::new(permit),
            http2_permit: PermitCell::default(),
            cut: CloseSignal::default(),
            is_proven: AtomicBool::new(false),
            server,
            peer,
            remote: peer.to_string().into(),
            opened: Instant::now(),
            active: AtomicU32::new(0),
            uploads: AtomicU32::new(0),
            head: AtomicU64::new(0),
            head_bytes: AtomicUsize::new(0),
            rested: AtomicU64::new(0),
            is_paused: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, millis: u64) -> Instant {
        self.opened + Duration::from_millis(millis)
    }

    /// When the connection has to have brought a head, its handshake included.
    pub(super) fn first_head_due(&self) -> Instant {
        self.opened + self.server.header_timeout
    }

    /// The first bytes came. They are of a head, which has been on its way since the connection was opened.
    pub(in crate::ingress) fn speaks(&self) {
        self.head.store(1, Relaxed);
    }

    /// The connection has brought a webhook with a good signature.
    pub(in crate::ingress) fn prove(&self) {
        if !self.is_proven.load(Relaxed) {
            self.is_proven.store(true, Relaxed);
            self.server.handshake_turns.know(self.peer);
        }
    }

    /// Whether it has.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Relaxed)
    }

    /// The connection as the sender of an upload.
    pub(in crate::ingress) fn sender(&self) -> Sender {
        Sender { connection: self.id, is_proven: self.is_proven() }
    }

    /// The body of a request is waited for until the guard is dropped.
    pub(in crate::ingress) fn upload(&self) -> Uploading<'_> {
        self.uploads.fetch_add(1, Relaxed);
        Uploading(self)
    }

    /// Stops reading (on HTTP/1; HTTP/2 has windows for that), or reads on. To be called from the connection's own
    /// task, which looks at it whenever it is woken.
    pub(in crate::ingress) fn pause_reading(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Relaxed);
    }

    /// Whether nothing is to be read for now.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Relaxed)
    }

    /// Whether a request that has come whole is being answered.
    pub(in crate::ingress) fn is_answering(&self) -> bool {
        self.active.load(Relaxed) > self.uploads.load(Relaxed)
    }

    /// What the connection is doing.
    pub fn standing(&self) -> Standing {
        let is_proven = self.is_proven();
        if self.active.load(Relaxed) > 0 {
            return Standing::Busy;
        }
        match self.head.load(Relaxed) {
            0 => {
                let rested = self.rested.load(Relaxed);
                Standing::Idle { since: self.at(rested), is_new: rested == 0, is_proven }
            }
            since => Standing::Head { since: self.at(since - 1), is_proven },
        }
    }

    /// A request begins, and ends when the guard is dropped.
    pub(in crate::ingress) fn begin(&self) -> Busy<'_> {
        self.active.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        let came = self.take_head_bytes();
        if came > 0 {
            self.server.admission.head_ended(came);
        }
        Busy(self)
    }

    /// Whether the head of a request is coming, as far as is known.
    pub(in crate::ingress) fn awaits_head(&self) -> bool {
        self.head.load(Relaxed) > 0
    }

    /// Whether the head of a further request is coming, as far as is known; that of the first is not counted.
    pub(super) fn awaits_next_head(&self) -> bool {
        self.rested.load(Relaxed) > 0 && self.awaits_head()
    }

    /// Whether a request is being answered.
    pub(super) fn is_serving(&self) -> bool {
        self.active.load(Relaxed) > 0
    }

    /// From now on each answer is the connection's last (on HTTP/1; HTTP/2 has a frame for that).
    pub(super) fn answer_last(&self) {
        self.is_last.store(true, Relaxed);
    }

    /// Whether the next answer is the last.
    pub(super) fn is_last(&self) -> bool {
        self.is_last.load(Relaxed)
    }

    /// Bytes came on HTTP/1: those of a head, where no request is being answered.
    pub(super) fn bytes_came(&self, bytes: usize) {
        if self.active.load(Relaxed) > 0 {
            return;
        }
        if self.head.load(Relaxed) == 0 {
            self.head.store(self.millis() + 1, Relaxed);
        } else {
            // The next piece of a head that did not come in one.
            self.head_bytes.fetch_add(bytes, Relaxed);
            self.server.admission.head_grew(bytes);
        }
    }

    /// How many bytes were kept of a head in pieces, which is given up or has become a request.
    pub fn take_head_bytes(&self) -> usize {
        self.head_bytes.swap(0, Relaxed)
    }

    /// When the timer is to look again; `None` where the connection's time is over.
    pub(in crate::ingress) fn next_look(&self, header_timeout: Duration) -> Option<Instant> {
        let now = Instant::now();
        let soon = now + header_timeout;
        if self.active.load(Relaxed) > 0 {
            return Some(soon);
        }
        let keep_alive = if self.is_proven() { KEEP_ALIVE_PROVEN } else { KEEP_ALIVE };
        let due = match self.head.load(Relaxed) {
            0 => self.at(self.rested.load(Relaxed)) + keep_alive,
            since => self.at(since - 1) + header_timeout,
        };
        (due > now).then(|| due.min(soon))
    }
}

/// A request whose body is waited for.
pub(in crate::ingress) struct Uploading<'l>(&'l Link);

impl Drop for Uploading<'_> {
    fn drop(&mut self) {
        self.0.uploads.fetch_sub(1, Relaxed);
    }
}

/// A request being answered.
pub(in crate::ingress) struct Busy<'l>(&'l Link);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        // Never 0, which says that there was no request yet.
        self.0.rested.store(self.0.millis().max(1), Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}
