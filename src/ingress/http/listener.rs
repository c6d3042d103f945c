//! Accepting connections, and stopping without turning a sender away.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::balance::{Accepted, Load, Member};
use super::binding::BACKLOG;
use super::connection;
use super::socket::{Listener, Peer, Stream};
use super::{Handler, Server};
use crate::ingress::throttle::Throttle;

/// Pause after the system has no descriptor or memory for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same during a stop.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);
/// How often a connection that waits for a permit looks for one whose permit it could take over.
const PERMIT_PAUSE: Duration = Duration::from_millis(10);
/// The part of the time to drain in which nobody is let in any more: long enough for a connection that was made just
/// before, and says nothing, to be waited for.
const LAST: Duration = Duration::from_millis(250);
/// Time for closed connections to end.
const CUT_TIME: Duration = Duration::from_millis(100);

/// A connection that waits for a permit among `max_connections`, in the order in which they came.
struct Waiting {
    stream: Stream,
    peer: Peer,
    acquire: Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>,
    /// When it looks again for a connection whose permit it could take over.
    again: Instant,
}

impl Waiting {
    /// Waits until a permit is free, or one can be taken over; for ever where no connection waits. Cancel-safe: the
    /// connection keeps its position in the queue.
    async fn permit(
        waiting: &mut Option<Self>,
        take_over: impl Fn() -> Option<OwnedSemaphorePermit>,
    ) -> Option<OwnedSemaphorePermit> {
        let Some(waiting) = waiting else { return std::future::pending().await };
        loop {
            tokio::select! {
                biased;
                // The semaphore is never closed.
                permit = waiting.acquire.as_mut() => return permit.ok(),
                () = sleep_until(waiting.again) => {
                    if let Some(permit) = take_over() {
                        return Some(permit);
                    }
                    waiting.again = Instant::now() + PERMIT_PAUSE;
                }
            }
        }
    }
}

/// Accepts until `stop`. Then the connections that are open are brought to their end, while new ones are still let in,
/// each for one request: so a stop turns nobody away for longer than [`LAST`]. Once those are gone, or the time for all
/// that is nearly over, nobody is let in any more, and what has begun is answered until that time is over.
pub(in crate::ingress) async fn serve(
    server: &Arc<Server>,
    handler: &impl Handler,
    listener: Listener,
    member: Member,
    stop: impl Future<Output = ()>,
) {
    let (stopping, _) = watch::channel(false);
    let is_tls = listener.is_tls;
    // Every connection holds a sender; when all are gone, so are they.
    let start = |open: &mpsc::Sender<()>, (Accepted { stream, peer, permit }, load): (Accepted, Load)| {
        let (server, handler, stopping, open) = (server.clone(), handler.clone(), stopping.subscribe(), open.clone());
        server.counts.connections.add();
        tokio::spawn(async move {
            connection::serve(server, handler, (stream, is_tls), (peer, permit), stopping).await;
            drop((load, open));
        });
    };
    let mut accepting = Accepting { server, listener, member, waiting: None, rest: None, trouble: Throttle::default() };
    let (open, mut all_done) = mpsc::channel::<()>(1);
    accepting.run(stop, |accepted| start(&open, accepted)).await;
    stopping.send_replace(true);
    let deadline = Instant::now() + server.drain;
    drop(open);
    let (open, mut last_done) = mpsc::channel::<()>(1);
    let first_are_gone = timeout_at(Instant::now() + server.drain.saturating_sub(LAST), all_done.recv());
    accepting.run(first_are_gone, |accepted| start(&open, accepted)).await;
    let Accepting { listener, mut member, waiting, .. } = accepting;
    member.close().await.into_iter().for_each(|accepted| start(&open, accepted));
    let serve = |stream, peer| {
        let assigned = member.assign(Accepted { stream, peer, permit: None });
        assigned.into_iter().for_each(|accepted| start(&open, accepted));
    };
    if let Some(Waiting { stream, peer, .. }) = waiting {
        serve(stream, peer);
    }
    // In the queue of a socket that systemd keeps, connections wait for the next process.
    if !listener.is_inherited {
        serve_queue(listener, deadline, serve).await;
    }
    drop(open);
    // On a busy machine the queue may be empty late only: who was let in last has its time in any case.
    let deadline = deadline.max(Instant::now() + LAST);
    let done = async { (all_done.recv().await, last_done.recv().await) };
    if timeout_at(deadline, done).await.is_err() {
        tracing::warn!("connections were still open when the time to drain was over");
        drop(stopping);
        let _ = timeout(CUT_TIME, async { (all_done.recv().await, last_done.recv().await) }).await;
    }
}

/// A listener, and what waits between two connections of it.
struct Accepting<'s> {
    server: &'s Arc<Server>,
    listener: Listener,
    member: Member,
    /// A connection is accepted before there is a permit for it, not after: several listeners share the permits, and
    /// one that held a permit while no connection came would keep it from the others. A connection that waits keeps its
    /// position in the queue, whatever else happens here.
    waiting: Option<Waiting>,
    /// When to accept again, where the system had no room for a connection.
    rest: Option<Instant>,
    trouble: Throttle,
}

impl Accepting<'_> {
    /// Accepts until `end`, and starts what is to be served on this thread.
    async fn run<T>(&mut self, end: impl Future<Output = T>, start: impl Fn((Accepted, Load))) {
        let Self { server, listener, member, waiting, rest, trouble } = self;
        let mut end = pin!(end);
        loop {
            tokio::select! {
                biased;
                _ = &mut end => return,
                assigned = member.next() => start(assigned),
                permit = Waiting::permit(waiting, || server.admission.take_over(&server.budget)) => {
                    if let Some(Waiting { stream, peer, .. }) = waiting.take() {
                        member.assign(Accepted { stream, peer, permit }).into_iter().for_each(&start);
                    }
                }
                () = sleep_until(rest.unwrap_or_else(Instant::now)), if rest.is_some() => *rest = None,
                accepted = listener.accept(), if waiting.is_none() && rest.is_none() => match accepted {
                    Ok((stream, peer)) => match server.admission.permit(&server.budget) {
                        Some(permit) => {
                            let accepted = Accepted { stream, peer, permit: Some(permit) };
                            member.assign(accepted).into_iter().for_each(&start);
                        }
                        None => {
                            let acquire = Box::pin(server.admission.permits().clone().acquire_owned());
                            let again = Instant::now() + PERMIT_PAUSE;
                            *waiting = Some(Waiting { stream, peer, acquire, again });
                        }
                    },
                    Err(error) => {
                        server.counts.accept_errors.add();
                        *rest = rest_after(&error, trouble);
                    }
                },
            }
        }
    }
}

/// Connections in the kernel's queue were made before the stop, and are served, too; where there is no descriptor for
/// one yet, when another has ended. Closes the listener.
async fn serve_queue(listener: Listener, deadline: Instant, serve: impl Fn(Stream, Peer)) {
    let Ok(queue) = listener.into_queue() else { return };
    let mut left = BACKLOG;
    while left > 0 {
        match queue.accept() {
            Ok((stream, peer)) => serve(stream, peer),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if is_of_one(&error) => {}
            Err(_) if Instant::now() >= deadline => return,
            Err(_) => {
                sleep(QUEUE_PAUSE).await;
                continue;
            }
        }
        left -= 1;
    }
}

/// When to accept again. A fault of one connection is over at once; want of descriptors or memory lasts, and trying
/// again and again does not help.
fn rest_after(error: &std::io::Error, trouble: &Throttle) -> Option<Instant> {
    if is_of_one(error) {
        return None;
    }
    if let Some(count) = trouble.hit() {
        tracing::error!(count, "cannot accept connections: {error}");
    }
    Some(Instant::now() + ACCEPT_PAUSE)
}

/// Whether it was the fault of one connection.
fn is_of_one(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_permit_keeps_its_turn_whatever_comes_in_between() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let permits = Arc::new(Semaphore::new(0));
        let acquire = Box::pin(permits.clone().acquire_owned());
        let again = Instant::now() + Duration::from_secs(3600);
        let stream = Stream::Tcp(TcpStream::connect(at).await.unwrap());
        let mut waiting = Some(Waiting { stream, peer: at.into(), acquire, again });
        // As in the loop: something else is ready.
        let mut look = async || {
            tokio::select! {
                biased;
                permit = Waiting::permit(&mut waiting, || None) => permit,
                () = std::future::ready(()) => None,
            }
        };
        assert!(look().await.is_none());
        let mut later = pin!(permits.clone().acquire_owned());
        assert!(timeout(Duration::ZERO, &mut later).await.is_err(), "it is in the queue now");
        assert!(look().await.is_none());
        permits.add_permits(1);
        let permit = look().await;
        assert!(permit.is_some() && timeout(Duration::ZERO, &mut later).await.is_err());
        drop(permit);
        assert!(later.await.is_ok());
    }
}
