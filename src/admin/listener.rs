//! The socket and the thread that serves it. A Unix socket that is there already is stale, as the caller holds the data
//! folder's lock: it is replaced.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::config::{AdminConfig, Listen};
use super::connections::{Connections, Slot};
use super::hurried::Hurried;
use super::service::{self, Answering, Service};
use crate::sockets::unix::{Bound, Placed, is_alive};

/// Connections over TCP that the kernel keeps while others are heard (it may have a lower bound of its own). So many
/// that in a crowd of anonymous connections the one that matters is kept, too.
const BACKLOG: i32 = 4096;
/// The same over a Unix socket, which nobody else can open.
const UNIX_BACKLOG: i32 = 128;
/// Who may connect to the Unix socket: the daemon's user.
const SOCKET_MODE: u32 = 0o600;
/// Longest life of a connection, whatever it asks, unless its answer goes on, or waits for something by design.
const LIFETIME: Duration = Duration::from_secs(60);
/// Longest wait for a request's head, be it the connection's first request or a later one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the next try where the system has no descriptor or memory for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the admin listener cannot be opened at {at}: {error}")]
pub struct AdminError {
    at: String,
    error: io::Error,
}

enum Socket {
    Unix(std::os::unix::net::UnixListener, Placed),
    Tcp(std::net::TcpListener),
}

/// A runtime that may be dropped on a thread of another runtime, which happens where the system gives no thread for
/// this one. What is under way on it is cut.
struct ListenerRuntime(Option<Runtime>);

impl Drop for ListenerRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A listener at work.
pub struct Listener {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Opens the socket and serves it on a thread of its own; work that blocks is done on threads of the caller's
    /// runtime. The caller holds the data folder's lock.
    ///
    /// # Errors
    /// The system gives no socket, thread or runtime.
    pub fn start(config: &AdminConfig, answering: impl Into<Answering>) -> Result<Self, AdminError> {
        let at = match &config.listen {
            Listen::Unix(path) => path.display().to_string(),
            Listen::Tcp(address) => address.clone(),
        };
        let failed = |error| AdminError { at: at.clone(), error };
        let socket = open(&config.listen).map_err(failed)?;
        let service = Service::new(answering.into(), config, Handle::current());
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let runtime = ListenerRuntime(Some(runtime));
        let serve = move || {
            if let Some(Err(error)) =
                runtime.0.as_ref().map(|runtime| runtime.block_on(serve(socket, service, stopped)))
            {
                tracing::error!(%error, "the admin listener has ended");
            }
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn(serve).map_err(failed)?;
        tracing::info!(at, "admin listener");
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops serving and removes the socket. Blocks, shortly, as requests under way are cut.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic was reported on stderr by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end();
    }
}

fn open(listen: &Listen) -> io::Result<Socket> {
    Ok(match listen {
        Listen::Unix(path) => {
            // The socket of a daemon that was killed is replaced, that of a living process is not. Where it cannot be
            // asked, replacing it fails as well.
            if is_alive(path).unwrap_or(false) {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
            }
            let (listener, placed) = Bound::new(path)?.place(SOCKET_MODE, UNIX_BACKLOG)?;
            listener.set_nonblocking(true)?;
            Socket::Unix(listener, placed)
        }
        Listen::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            Socket::Tcp(listener)
        }
    })
}

async fn serve(socket: Socket, service: Service, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let connections = Connections::new();
    let mut serving = JoinSet::new();
    let accepting = Accepting::new(socket)?;
    loop {
        let accept = async {
            connections.wait_for_slot().await;
            accepting.next().await
        };
        tokio::select! {
            stream = accept => match stream {
                Ok((stream, remote)) => {
                    connections.admit(|slot| serving.spawn(connection(stream, remote, slot, service.clone())));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            // A connection has ended, or was cut: there may be a slot again.
            Some(_) = serving.join_next() => {}
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Accepting {
    /// Its file is removed when the listener ends.
    Unix {
        listener: tokio::net::UnixListener,
        _placed: Placed,
    },
    Tcp(tokio::net::TcpListener),
}

impl Accepting {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Unix(listener, placed) => {
                let listener = tokio::net::UnixListener::from_std(listener)?;
                Self::Unix { listener, _placed: placed }
            }
            Socket::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
        })
    }

    /// The next connection, and its other end's address; a Unix socket has none.
    async fn next(&self) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
        Ok(match self {
            Self::Unix { listener, .. } => (Box::new(listener.accept().await?.0), None),
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                (Box::new(stream), Some(remote.ip()))
            }
        })
    }
}

async fn connection(stream: Box<dyn Stream>, remote: Option<IpAddr>, slot: Slot, service: Service) {
    let slot = Arc::new(slot);
    let asked = Arc::clone(&slot);
    let answer = hyper::service::service_fn(move |request| {
        service::answer(service.clone(), Arc::clone(&asked), remote, request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut serving = pin!(http.serve_connection(TokioIo::new(Hurried::new(stream)), answer));
    // A client that goes away or speaks no HTTP is its own affair.
    if tokio::time::timeout(LIFETIME, serving.as_mut()).await.is_err() {
        if slot.is_stream() {
            let _ = serving.await;
        } else {
            let _ = tokio::time::timeout(slot.more(), serving).await;
        }
    }
}
