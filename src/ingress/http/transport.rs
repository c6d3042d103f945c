//! What HTTP is read from and written to: a socket, or TLS over one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::connection_state::Link;
use super::socket::Stream;

/// Most bytes of a peer's handshake. A first message takes 2 KiB at most, a chain of certificates some more.
const HANDSHAKE_BYTES: usize = 16 << 10;

/// The bytes of a connection as HTTP has them.
pub(super) enum Transport {
    /// As they come.
    Plain(Stream),
    /// Inside TLS.
    Tls(Box<TlsStream<Tap>>),
}

/// The socket beneath TLS. What comes is noted as the bytes of a head, which a handshake counts as, too: TLS keeps
/// whatever is not a whole record yet.
pub(super) struct Tap {
    stream: Stream,
    link: Arc<Link>,
    /// Whether what comes is of a head of HTTP/1, or of a handshake.
    is_noted: bool,
    /// How much more may come before the handshake is done; `None` after it.
    handshake_left: Option<usize>,
    gate: Gate,
}

/// Whether TLS gets to read what comes: to decide on it may take a millisecond of the processor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
    /// Shut, and something can be read.
    HasBytes,
}

impl Tap {
    pub fn new(stream: Stream, link: Arc<Link>) -> Self {
        Self { stream, link, is_noted: true, handshake_left: Some(HANDSHAKE_BYTES), gate: Gate::Open }
    }

    /// Keeps what comes from TLS.
    pub fn shut(&mut self) {
        self.gate = Gate::Shut;
    }

    /// Lets TLS read again.
    pub fn open(&mut self) {
        self.gate = Gate::Open;
    }

    /// The handshake is done.
    pub fn is_opened(&mut self) {
        self.open();
        self.handshake_left = None;
    }

    /// Whether there is something to read and the gate is shut.
    pub fn has_bytes(&self) -> bool {
        self.gate == Gate::HasBytes
    }
}

impl Transport {
    /// HTTP/2 is spoken: its heads are not counted by their bytes.
    pub fn speaks_http2(&mut self) {
        if let Self::Tls(tls) = self {
            tls.get_mut().0.is_noted = false;
        }
    }

    /// Whether what comes has been noted already, beneath TLS.
    pub fn notes_bytes(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gate != Gate::Open {
            if this.stream.poll_read_ready(cx).is_ready() {
                this.gate = Gate::HasBytes;
            }
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let done = Pin::new(&mut this.stream).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if came > 0 && this.is_noted {
            this.link.bytes_came(came);
        }
        if let Some(left) = &mut this.handshake_left {
            match left.checked_sub(came) {
                Some(less) => *left = less,
                None => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"))),
            }
        }
        done
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
