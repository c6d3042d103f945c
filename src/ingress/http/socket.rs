//! The sockets that HTTP is spoken over, TCP or Unix: as they listen, and as connections. Knows no HTTP.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::sockets::inherited::StreamSocket;
use crate::sockets::unix::Placed;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address; never one of IPv4 that is mapped into IPv6.
    Ip(IpAddr),
    /// A process of this machine that may open the Unix socket.
    Local,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address.ip().to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Local => f.write_str("unix"),
        }
    }
}

/// A socket that listens, on no runtime yet.
#[derive(Debug)]
pub struct Listening {
    socket: StreamSocket,
    /// Whether TLS is spoken there.
    pub is_tls: bool,
    /// Whether the socket outlives this process: connections that it has not taken wait for the next one.
    pub is_inherited: bool,
    /// Removes the file of a socket that the daemon has made.
    placed: Option<Placed>,
    /// Shared with every duplicate: who is left with it alone has the socket's last descriptor.
    share: Arc<()>,
}

impl Listening {
    /// A socket that listens.
    pub(super) fn new(socket: StreamSocket, is_tls: bool, is_inherited: bool, placed: Option<Placed>) -> Self {
        Self { socket, is_tls, is_inherited, placed, share: Arc::default() }
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    /// The system has none.
    pub fn duplicate(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            StreamSocket::Tcp(listener) => StreamSocket::Tcp(listener.try_clone()?),
            StreamSocket::Unix(listener) => StreamSocket::Unix(listener.try_clone()?),
        };
        let share = Arc::clone(&self.share);
        Ok(Self { socket, is_tls: self.is_tls, is_inherited: self.is_inherited, placed: None, share })
    }

    /// What removes the file of a socket that the daemon has made, when it is dropped.
    pub fn take_placed(&mut self) -> Option<Placed> {
        self.placed.take()
    }

    /// Its address, over TCP.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            StreamSocket::Tcp(listener) => listener.local_addr().ok(),
            StreamSocket::Unix(_) => None,
        }
    }

    /// Its address or path, as the log shows it.
    pub fn address(&self) -> String {
        match &self.socket {
            StreamSocket::Tcp(listener) => listener.local_addr().map(|at| at.to_string()).unwrap_or_default(),
            StreamSocket::Unix(listener) => {
                let path = self.placed.as_ref().map(|placed| placed.path().to_owned());
                let own = || listener.local_addr().ok().and_then(|at| at.as_pathname().map(ToOwned::to_owned));
                format!("unix:{}", path.or_else(own).unwrap_or_default().display())
            }
        }
    }

    /// The listener on the runtime that the caller is in.
    ///
    /// # Errors
    /// The system has no memory to watch one more socket.
    pub fn start(self) -> io::Result<Listener> {
        let socket = match self.socket {
            StreamSocket::Tcp(listener) => ListenerSocket::Tcp(TcpListener::from_std(listener)?),
            StreamSocket::Unix(listener) => ListenerSocket::Unix(UnixListener::from_std(listener)?),
        };
        Ok(Listener { socket, is_tls: self.is_tls, is_inherited: self.is_inherited, share: self.share })
    }
}

/// A socket that listens, on a runtime.
pub struct Listener {
    socket: ListenerSocket,
    pub(super) is_tls: bool,
    pub(super) is_inherited: bool,
    share: Arc<()>,
}

enum ListenerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The next connection. Cancel-safe.
    pub(in crate::ingress) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        Ok(match &self.socket {
            ListenerSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Stream::Tcp(stream), peer.into())
            }
            ListenerSocket::Unix(listener) => (Stream::Unix(listener.accept().await?.0), Peer::Local),
        })
    }

    /// Takes it off the runtime, which may not know yet that a connection has come. Over TCP, where this is the
    /// socket's last descriptor, nobody is let in any more: see [`LET_NOBODY_IN`].
    pub(in crate::ingress) fn into_queue(self) -> io::Result<Queue> {
        let is_last = Arc::into_inner(self.share).is_some();
        Ok(Queue(match self.socket {
            ListenerSocket::Tcp(listener) => {
                let listener = listener.into_std()?;
                if is_last {
                    // A system without such filters resets what comes between the last look into the queue and the end.
                    let _ = SockRef::from(&listener).attach_filter(LET_NOBODY_IN);
                }
                StreamSocket::Tcp(listener)
            }
            ListenerSocket::Unix(listener) => StreamSocket::Unix(listener.into_std()?),
        }))
    }
}

/// A filter over TCP segments that drops those that begin a connection (SYN). When a listening socket is closed the
/// kernel resets what still waits in its queue, so that a client is cut off whom the daemon has never seen. With the
/// filter in place the queue can be emptied to its end, and whoever comes meanwhile tries again after a second, as TCP
/// does: by then the next daemon listens, or nobody does.
const LET_NOBODY_IN: &[SockFilter] = &[
    SockFilter::new(0x30, 0, 0, 13),       // load the byte at 13, the segment's flags
    SockFilter::new(0x45, 0, 1, 0x02),     // is SYN among them? else pass over one instruction
    SockFilter::new(0x06, 0, 0, 0),        // keep nothing of it
    SockFilter::new(0x06, 0, 0, u32::MAX), // keep all of it
];

/// The connections that the kernel keeps.
pub(in crate::ingress) struct Queue(StreamSocket);

impl Queue {
    /// The next one, at once.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.0 {
            StreamSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Tcp(TcpStream::from_std(stream)?), peer.into()))
            }
            StreamSocket::Unix(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(UnixStream::from_std(stream)?), Peer::Local))
            }
        }
    }
}

/// A connection.
pub(in crate::ingress) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection between two runtimes.
pub(in crate::ingress) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// Takes it off its runtime.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }

    /// Whether there is something to read; wakes the caller when there is.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// The first bytes, which stay there to be read. Over TCP alone.
    pub async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(bytes).await,
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Small answers are sent at once.
    pub fn set_nodelay(&self) {
        if let Self::Tcp(stream) = self {
            // A socket that refuses this has been closed already.
            let _ = stream.set_nodelay(true);
        }
    }
}

impl Detached {
    /// Takes it into the runtime that the caller is in.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
