//! The bytes of a connection, as hyper reads and writes them. What arrives is noted on the way: for HTTP/1 the bytes of
//! heads, for HTTP/2 the processor time that reading takes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_state::Link;
use super::http2_share::{Http2Share, thread_time};
use super::transport::Transport;

/// What hyper reads from and writes to.
pub(super) struct Wire {
    bytes: Incoming,
    link: Arc<Link>,
    /// How an HTTP/2 connection shares the processor; `None` where HTTP/1 is spoken.
    share: Option<Http2Share>,
}

/// What the peer sends: first the bytes that told the protocol, then those of the stream.
struct Incoming {
    first: Bytes,
    stream: Transport,
}

impl Wire {
    pub fn http1(stream: Transport, first: Bytes, link: Arc<Link>) -> Self {
        Self { bytes: Incoming { first, stream }, link, share: None }
    }

    pub fn http2(stream: Transport, first: Bytes, link: Arc<Link>) -> Self {
        Self { bytes: Incoming { first, stream }, link, share: Some(Http2Share::default()) }
    }

    /// The stream itself.
    pub fn into_stream(self) -> Transport {
        self.bytes.stream
    }

    fn stream(&mut self) -> Pin<&mut Transport> {
        Pin::new(&mut self.bytes.stream)
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(length));
        if self.first.is_empty() {
            // An empty slice would keep the whole buffer in memory.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let bytes = Pin::new(&mut this.bytes);
        if let Some(share) = &mut this.share {
            if this.link.is_proven() {
                return bytes.poll_read(cx, buf);
            }
            let connections = this.link.server.admission.http2_connections();
            return share.poll_read(bytes, (connections, thread_time), cx, buf);
        }
        // The link knows of the first bytes.
        if !bytes.first.is_empty() {
            return bytes.poll_read(cx, buf);
        }
        if this.link.is_paused() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let done = bytes.poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if came > 0 && !this.bytes.stream.notes_bytes() {
            this.link.bytes_came(came);
        }
        done
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
