//! The handshake of a connection over TLS. It counts as half a head: it has `header_timeout`, its bytes are counted as
//! those of heads that come in pieces, and the connection may be closed for another one meanwhile. What has to be
//! computed is computed in [turns](super::handshake_turns).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use rustls::server::Acceptor;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Server;
use super::connection_state::{GRACE, Link, Stopping};
use super::socket::Stream;
use super::transport::{Tap, Transport};

/// The first byte of every handshake.
const HANDSHAKE: u8 = 22;

/// Speaks TLS on a connection; `None` where no handshake comes of it.
pub(super) async fn shake(stream: Stream, link: &Arc<Link>, stopping: &mut Stopping) -> Option<Transport> {
    let deadline = link.first_head_due();
    let grace = || deadline.min(Instant::now() + GRACE);
    let mut timer = pin!(sleep_until(if *stopping.borrow_and_update() { grace() } else { deadline }));
    let mut work = pin!(tls_over(stream, link));
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                link.server.admission.head_ended(link.take_head_bytes());
                return match done {
                    Ok(stream) => Some(Transport::Tls(Box::new(stream))),
                    Err(error) => {
                        failed(link, &error);
                        None
                    }
                };
            }
            () = link.cut.asked() => return None,
            changed = stopping.changed() => match changed {
                Ok(()) if !link.awaits_head() => timer.as_mut().reset(grace()),
                Ok(()) => {}
                Err(_) => return None,
            },
            () = &mut timer => {
                // Where it began during a stop, its first bytes may have come meanwhile.
                if link.awaits_head() && Instant::now() < deadline {
                    timer.as_mut().reset(deadline);
                    continue;
                }
                if link.awaits_head() {
                    link.server.counts.slow_heads.add();
                }
                return None;
            }
        }
    }
}

async fn tls_over(stream: Stream, link: &Arc<Link>) -> io::Result<TlsStream<Tap>> {
    let Server { tls, handshake_turns, .. } = &*link.server;
    let mut first = [0];
    // A connection that says nothing takes no memory.
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    link.speaks();
    if first != [HANDSHAKE] {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let tap = Tap::new(stream, Arc::clone(link));
    let hello = LazyConfigAcceptor::new(Acceptor::default(), tap).await?;
    let config = tls.now().ok_or(io::ErrorKind::Unsupported)?;
    let mut accept = handshake_turns.turn(link.peer).await.compute(|| hello.into_stream(config));
    loop {
        // Without a turn only what is there to be sent is sent.
        accept.get_mut().into_iter().for_each(Tap::shut);
        let done = poll_fn(|cx| match Pin::new(&mut accept).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if accept.get_ref().is_some_and(Tap::has_bytes) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(done) = done.await {
            return done.map(opened);
        }
        let turn = handshake_turns.turn(link.peer).await;
        accept.get_mut().into_iter().for_each(Tap::open);
        let mut turn = Some(turn);
        let step = poll_fn(|cx| {
            let step = || Pin::new(&mut accept).poll(cx);
            Poll::Ready(turn.take().map_or(Poll::Pending, |turn| turn.compute(step)))
        });
        if let Poll::Ready(done) = step.await {
            return done.map(opened);
        }
    }
}

fn opened(mut stream: TlsStream<Tap>) -> TlsStream<Tap> {
    stream.get_mut().0.is_opened();
    stream
}

/// Says so, without a flood: anybody can bring this about.
fn failed(link: &Link, error: &io::Error) {
    let Server { counts, tls, .. } = &*link.server;
    let remote = &*link.remote;
    match error.kind() {
        // Nothing came: somebody looked whether the port is open.
        io::ErrorKind::UnexpectedEof if !link.awaits_head() => {}
        io::ErrorKind::InvalidInput => {
            counts.plain_on_tls.add();
            if let Some(count) = tls.plain.hit() {
                tracing::warn!(
                    count,
                    remote,
                    "a connection to a tls:// address does not speak TLS, and is closed: the sender's URL has to begin \
                     with https://"
                );
            }
        }
        _ => {
            counts.failed_handshakes.add();
            if let Some(count) = tls.failed.hit() {
                tracing::warn!(count, remote, "a TLS handshake has failed: {error}");
            }
        }
    }
}
