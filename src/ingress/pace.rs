//! How far along a connection is: whether a request is being answered, since when the next one's head is coming, since
//! when nothing happens. Written by the wire (bytes came) and the service (a request began, ended), read by a timer
//! that looks every now and then: no timer is set or moved per request.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Ingress;
use super::desk::Desk;

/// How long a connection may rest between requests. Longer than the 60 s after which proxies in front let theirs go, so
/// that it is they who close: a connection closed under a POST on its way is a webhook lost.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What a connection's parts share.
pub(super) struct Link {
    pub ingress: Arc<Ingress>,
    pub desk: Arc<Desk>,
    pub peer: IpAddr,
    /// The peer's address as text.
    pub remote: Arc<str>,
    opened: Instant,
    /// Requests being answered.
    active: AtomicU32,
    /// When the first byte of a head came: milliseconds after `opened`, plus one; 0 where none is coming.
    head: AtomicU64,
    /// When the last request ended, milliseconds after `opened`.
    rested: AtomicU64,
    /// Whether a request was answered before all of it was read.
    pub unread: AtomicBool,
}

impl Link {
    /// A connection opened at `opened`, its first head on its way since then.
    pub fn new(ingress: Arc<Ingress>, desk: Arc<Desk>, peer: SocketAddr, opened: Instant) -> Self {
        let peer = peer.ip().to_canonical();
        Self {
            ingress,
            desk,
            peer,
            remote: peer.to_string().into(),
            opened,
            active: AtomicU32::new(0),
            head: AtomicU64::new(1),
            rested: AtomicU64::new(0),
            unread: AtomicBool::new(false),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, millis: u64) -> Instant {
        self.opened + Duration::from_millis(millis)
    }

    /// A request begins; it ends when the guard is dropped.
    pub fn begin(&self) -> Busy<'_> {
        self.active.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        Busy(self)
    }

    /// Whether the head of a request is coming, as far as is known.
    pub fn awaits_head(&self) -> bool {
        self.head.load(Relaxed) > 0
    }

    /// Whether a request is being answered, or its head is coming.
    pub fn is_busy(&self) -> bool {
        self.active.load(Relaxed) > 0 || self.awaits_head()
    }

    fn bytes_came(&self) {
        if self.active.load(Relaxed) == 0 && self.head.load(Relaxed) == 0 {
            self.head.store(self.millis() + 1, Relaxed);
        }
    }

    /// When to look again, or `None` where the connection's time is over.
    pub fn next_look(&self, header_timeout: Duration) -> Option<Instant> {
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

/// A request being answered.
pub(super) struct Busy<'l>(&'l Link);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.rested.store(self.0.millis(), Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// The connection's bytes: first those read to tell the protocol by, then the stream's.
pub(super) struct Wire {
    pub stream: TcpStream,
    first: Bytes,
    /// Set on HTTP/1, where bytes between requests are a head.
    heads: Option<Arc<Link>>,
}

impl Wire {
    pub fn new(stream: TcpStream, first: Bytes, heads: Option<Arc<Link>>) -> Self {
        Self { stream, first, heads }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            buf.put_slice(&this.first.split_to(this.first.len().min(buf.remaining())));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let done = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Some(link) = &this.heads
            && buf.filled().len() > before
        {
            link.bytes_came();
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
