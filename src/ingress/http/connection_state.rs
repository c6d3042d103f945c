//! How far along a connection is: whether a request is being answered, since when the next one's head is coming, since
//! when nothing happens. Written by the wire (bytes came) and the service (a request began, ended), read by a timer
//! that looks every now and then: no timer is set or moved per request. And whether it is asked to go, for others' sake.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Server;
use super::admission::{Permit, PlaceOf};
use super::budget::Sender;

/// How long a connection may rest between requests. Longer than the 60 s after which proxies in front let theirs go, so
/// that it is they who close: a connection closed under a POST on its way is a webhook lost.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Idle {
        /// Since when.
        since: Instant,
        /// Whether nothing has come of it yet.
        is_new: bool,
        /// Whether it has brought a webhook with a good signature.
        is_proven: bool,
    },
    /// The head of a request is coming.
    Head {
        /// Since when.
        since: Instant,
        /// As above.
        is_proven: bool,
    },
    /// A request is being answered.
    Busy,
}

/// Whether a connection is asked to go.
#[derive(Debug, Default)]
pub struct Cut {
    is_asked: AtomicBool,
    notify: Notify,
}

impl Cut {
    /// Asks it to go; `false` where it was asked before.
    pub fn ask(&self) -> bool {
        let is_first = !self.is_asked.swap(true, Relaxed);
        self.notify.notify_one();
        is_first
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Relaxed)
    }

    /// Waits until it is asked. Heard once, by whoever waits first.
    pub async fn asked(&self) {
        self.notify.notified().await;
    }
}

/// What a connection's parts share.
pub struct Link {
    /// Its number.
    pub id: u64,
    /// Its place among `max_connections`, and among those that speak HTTP/2.
    pub place: PlaceOf,
    /// As above.
    pub http2_place: PlaceOf,
    /// Whether it is to go.
    pub cut: Cut,
    is_proven: AtomicBool,
    pub(super) server: Arc<Server>,
    pub(in crate::ingress) peer: IpAddr,
    /// The peer's address as text.
    pub(in crate::ingress) remote: Arc<str>,
    opened: Instant,
    /// Requests being answered.
    active: AtomicU32,
    /// Those of them whose bodies are waited for.
    uploads: AtomicU32,
    /// When the first byte of a head came: milliseconds after `opened`, plus one; 0 where none is coming.
    head: AtomicU64,
    /// Bytes of that head beyond its first piece.
    head_bytes: AtomicUsize,
    /// When the last request ended, milliseconds after `opened`.
    rested: AtomicU64,
    /// Whether nothing more is to be read for now: what comes would only fill buffers.
    held: AtomicBool,
    /// Whether a request was answered before all of it was read.
    pub(in crate::ingress) unread: AtomicBool,
}

impl Link {
    /// A connection that is opened now and has not said anything yet.
    pub(in crate::ingress) fn new(
        id: u64,
        permit: Option<Permit>,
        server: Arc<Server>,
        peer: SocketAddr,
    ) -> Self {
        let peer = peer.ip().to_canonical();
        Self {
            id,
            place: PlaceOf::new(permit),
            http2_place: PlaceOf::default(),
            cut: Cut::default(),
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
            held: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, millis: u64) -> Instant {
        self.opened + Duration::from_millis(millis)
    }

    /// Its first bytes came: those of a head, on its way since it was opened.
    pub(in crate::ingress) fn speaks(&self) {
        self.head.store(1, Relaxed);
    }

    /// It has brought a webhook with a good signature.
    pub(in crate::ingress) fn prove(&self) {
        if !self.is_proven.load(Relaxed) {
            self.is_proven.store(true, Relaxed);
        }
    }

    /// Who sends.
    pub(in crate::ingress) fn sender(&self) -> Sender {
        Sender { connection: self.id, is_proven: self.is_proven.load(Relaxed) }
    }

    /// The body of a request is waited for; it has come, or is given up, when the guard is dropped.
    pub(in crate::ingress) fn upload(&self) -> Uploading<'_> {
        self.uploads.fetch_add(1, Relaxed);
        Uploading(self)
    }

    /// Reads nothing more (on HTTP/1; HTTP/2 has windows for that), or reads on. To be changed from the connection's own task,
    /// which looks again whenever it is woken.
    pub(in crate::ingress) fn hold(&self, is_held: bool) {
        self.held.store(is_held, Relaxed);
    }

    /// Whether a request is being answered that has come whole.
    pub(in crate::ingress) fn is_answering(&self) -> bool {
        self.active.load(Relaxed) > self.uploads.load(Relaxed)
    }

    /// What it is doing.
    pub fn standing(&self) -> Standing {
        let is_proven = self.is_proven.load(Relaxed);
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

    /// A request begins; it ends when the guard is dropped.
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

    /// Whether a request is being answered, or its head is coming.
    pub(in crate::ingress) fn is_busy(&self) -> bool {
        self.active.load(Relaxed) > 0 || self.awaits_head()
    }

    fn bytes_came(&self, bytes: usize) {
        if self.active.load(Relaxed) > 0 {
            return;
        }
        if self.head.load(Relaxed) == 0 {
            self.head.store(self.millis() + 1, Relaxed);
        } else {
            // More of a head that did not come in one piece.
            self.head_bytes.fetch_add(bytes, Relaxed);
            self.server.admission.head_grew(bytes);
        }
    }

    /// What is kept of a head in pieces is given up, or has become a request: how many bytes.
    pub fn take_head_bytes(&self) -> usize {
        self.head_bytes.swap(0, Relaxed)
    }

    /// When to look again, or `None` where the connection's time is over.
    pub(in crate::ingress) fn next_look(&self, header_timeout: Duration) -> Option<Instant> {
        let now = Instant::now();
        let soon = now + header_timeout;
        if self.active.load(Relaxed) > 0 {
            return Some(soon);
        }
        let due = match self.head.load(Relaxed) {
            0 => self.at(self.rested.load(Relaxed)) + KEEP_ALIVE,
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
        self.0.rested.store(self.0.millis(), Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// Most bytes of HTTP/2 that are read at a time from a connection that is not proven: about four heads of 950 references to
/// one header, which take a hundred times as long to read as their bytes. Then it is the next connection's turn.
const MOUTHFUL: usize = 4 << 10;

/// The connection's bytes: first those read to tell the protocol by, then the stream's.
pub(in crate::ingress) struct Wire {
    pub stream: TcpStream,
    first: Bytes,
    link: Arc<Link>,
    /// On HTTP/1 bytes between requests are a head.
    is_http1: bool,
    /// Whether a mouthful was read in this turn.
    is_fed: bool,
}

impl Wire {
    pub fn http1(stream: TcpStream, first: Bytes, link: Arc<Link>) -> Self {
        Self { stream, first, link, is_http1: true, is_fed: false }
    }

    pub fn http2(stream: TcpStream, first: Bytes, link: Arc<Link>) -> Self {
        Self { stream, first, link, is_http1: false, is_fed: false }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.is_http1 || self.link.is_proven.load(Relaxed) {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        if std::mem::take(&mut self.is_fed) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut bytes = [0; MOUTHFUL];
        let mut part = ReadBuf::new(bytes.get_mut(..buf.remaining().min(MOUTHFUL)).unwrap_or_default());
        let done = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        self.is_fed = !part.filled().is_empty();
        buf.put_slice(part.filled());
        done
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            buf.put_slice(&this.first.split_to(this.first.len().min(buf.remaining())));
            if this.first.is_empty() {
                // An empty rest would keep all of it in memory.
                this.first = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        if this.is_http1 && this.link.held.load(Relaxed) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let done = this.read(cx, buf);
        let came = buf.filled().len() - before;
        if this.is_http1 && came > 0 {
            this.link.bytes_came(came);
        }
        done
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
