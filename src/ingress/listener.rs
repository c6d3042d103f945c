//! Sockets: binding what the config names, accepting from them, and stopping without turning anybody away.

use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::config::ServerConfig;
use super::connection;
use super::desk::Desk;
use super::{Ingress, throttle::Throttle};

/// Connections the kernel keeps for us while we are busy or being restarted (it may know a lower bound of its own).
const BACKLOG: u16 = 4096;
/// Pause after the system has no descriptor or memory for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for cut connections to let go.
const CUT_TIME: Duration = Duration::from_millis(100);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Not an address.
    #[error("listen address `{address}`: {why}")]
    Address {
        /// As configured.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The system does not give it.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// As configured.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Host and port of `HOST:PORT`.
///
/// # Errors
/// What was expected instead.
pub fn split(address: &str) -> Result<(&str, u16), String> {
    if address.starts_with("tls://") {
        return Err("TLS is not part of this version: terminate it in a proxy in front, and listen on HOST:PORT".into());
    }
    let expected = || "expected HOST:PORT, such as 127.0.0.1:4000".to_owned();
    let (host, port) = address.rsplit_once(':').ok_or_else(expected)?;
    let port = port.parse().map_err(|_| expected())?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '[' | ']' | '?' | '#' | '@');
    let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    if host.is_empty() || host.contains(odd) || bare.is_some() != is_v6 {
        return Err(expected());
    }
    Ok((host, port))
}

/// An address that is ours, though the kernel takes no connection for it yet: whoever calls is refused, as if nobody
/// were there, and is not left with a connection that is reset when the start fails after all.
#[derive(Debug)]
pub struct Bound {
    address: String,
    socket: Socket,
}

/// Takes every configured address; [`Bound::listen`] opens them. A name stands for all its addresses that this machine
/// has.
///
/// # Errors
/// [`BindError`], which names the address.
pub fn bind(server: &ServerConfig) -> Result<Vec<Bound>, BindError> {
    let mut all = Vec::with_capacity(server.listen.len());
    for address in &server.listen {
        let fault = |error| BindError::Bind { address: address.clone(), error };
        let parts = split(address).map_err(|why| BindError::Address { address: address.clone(), why })?;
        let mut bound = Vec::new();
        let mut failed = None;
        for at in parts.to_socket_addrs().map_err(fault)? {
            match socket(at) {
                Ok(socket) => bound.push(Bound { address: address.clone(), socket }),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            // `localhost` is also ::1, which a machine without IPv6 does not have.
            Some(error) if bound.is_empty() || error.kind() != std::io::ErrorKind::AddrNotAvailable => {
                return Err(fault(error));
            }
            _ => all.append(&mut bound),
        }
    }
    Ok(all)
}

impl Bound {
    /// From now on the kernel takes connections: to be called when they will be answered. Ready for tokio.
    ///
    /// # Errors
    /// [`BindError`], where another process was quicker to listen on the address.
    pub fn listen(self) -> Result<std::net::TcpListener, BindError> {
        let Self { address, socket } = self;
        socket.listen(BACKLOG.into()).map_err(|error| BindError::Bind { address, error })?;
        Ok(socket.into())
    }
}

fn socket(at: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// Accepts until `stop`, then answers what has begun, for at most `drain`.
pub(super) async fn serve(ingress: &Arc<Ingress>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let (stopping, _) = watch::channel(false);
    // Every connection holds a sender; when all are gone, so are they.
    let (open, mut all_done) = mpsc::channel::<()>(1);
    let desk = Arc::new(Desk::default());
    // Ends with us: dropped, it is aborted.
    let mut carrier = JoinSet::new();
    carrier.spawn({
        let (desk, journal) = (desk.clone(), ingress.journal.clone());
        async move { desk.run(&*journal).await }
    });
    let start = |stream, peer, permit| {
        let (ingress, desk, stopping, open) = (ingress.clone(), desk.clone(), stopping.subscribe(), open.clone());
        ingress.counts.connections.add();
        tokio::spawn(async move {
            connection::serve(ingress, desk, stream, peer, stopping).await;
            drop((permit, open));
        });
    };
    let trouble = Throttle::default();
    let mut stop = pin!(stop);
    let mut waiting: Option<(TcpStream, SocketAddr)> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Accepted before there is a place for it, not after: several listeners share the places, and one that
            // held a place while waiting for nobody would keep it from the others.
            Ok(new) => waiting = Some(new),
            Err(error) => {
                ingress.counts.accept_errors.add();
                pause_after(&error, &trouble).await;
                continue;
            }
        }
        let permit = tokio::select! {
            biased;
            permit = ingress.connections.clone().acquire_owned() => permit.ok(),
            () = &mut stop => break,
        };
        if let Some((stream, peer)) = waiting.take() {
            start(stream, peer, permit);
        }
    }
    stopping.send_replace(true);
    let queue = in_queue(listener);
    for (stream, peer) in waiting.into_iter().chain(queue) {
        start(stream, peer, None);
    }
    drop(open);
    if timeout(ingress.drain, all_done.recv()).await.is_err() {
        tracing::warn!("connections were still open when the time to drain was over");
        drop(stopping);
        let _ = timeout(CUT_TIME, all_done.recv()).await;
    }
}

/// Who stands in the kernel's queue has connected before we stopped, and is served too. Closes the listener.
fn in_queue(listener: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    // Asked directly: the runtime may not know yet that somebody came.
    let listener = listener.into_std().ok();
    let accept = move || listener.as_ref().and_then(|l| l.accept().ok());
    let ready = |(stream, peer): (std::net::TcpStream, _)| {
        stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).ok().map(|stream| (stream, peer))
    };
    std::iter::from_fn(accept).take(BACKLOG.into()).filter_map(ready)
}

/// One connection's misfortune is over at once; want of descriptors or memory lasts, and spinning on it does not help.
async fn pause_after(error: &std::io::Error, trouble: &Throttle) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    if let Some(count) = trouble.hit() {
        tracing::error!(count, "cannot accept connections: {error}");
    }
    sleep(ACCEPT_PAUSE).await;
}
