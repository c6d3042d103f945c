//! Spreads connections over the serving threads that share a listener. The kernel gives a new connection to whichever
//! thread is quicker, and of many that come at once nearly all to the same one; here each goes to the thread that has
//! the fewest. Knows sockets and numbers, no HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::socket::{Detached, Peer, Stream};

/// Most connections on their way to one thread. Further ones are served by the thread that accepted them.
const IN_TRANSIT: usize = 256;

/// A connection that was accepted, and its permit among `max_connections` (none during a stop).
pub(super) struct Accepted {
    pub stream: Stream,
    pub peer: Peer,
    pub permit: Option<OwnedSemaphorePermit>,
}

/// The same between two runtimes.
struct Transfer {
    stream: Detached,
    peer: Peer,
    permit: Option<OwnedSemaphorePermit>,
    load: Load,
}

/// What all members know of one of them.
struct Thread {
    /// How many connections it has.
    connections: Arc<AtomicUsize>,
    transfers: mpsc::Sender<Transfer>,
}

/// One of the threads that share a listener.
pub struct Member {
    threads: Arc<[Thread]>,
    own: usize,
    transfers: mpsc::Receiver<Transfer>,
}

/// Counts a connection as its thread's, from the moment the thread was chosen until the connection ends.
pub(super) struct Load(Arc<AtomicUsize>);

impl Load {
    fn on(thread: &Thread) -> Self {
        thread.connections.fetch_add(1, Relaxed);
        Self(Arc::clone(&thread.connections))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// As many members as threads serve one listener.
pub fn members(count: usize) -> Vec<Member> {
    let (threads, receivers): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (sender, receiver) = mpsc::channel(IN_TRANSIT);
            (Thread { connections: Arc::default(), transfers: sender }, receiver)
        })
        .unzip();
    let threads: Arc<[Thread]> = threads.into();
    let member = |(own, transfers)| Member { threads: Arc::clone(&threads), own, transfers };
    receivers.into_iter().enumerate().map(member).collect()
}

impl Member {
    /// Gives a connection to the thread that has the fewest, and back where that is this one.
    pub(super) fn assign(&self, accepted: Accepted) -> Option<(Accepted, Load)> {
        let own = self.threads.get(self.own)?;
        let fewest = self.threads.iter().min_by_key(|thread| thread.connections.load(Relaxed)).unwrap_or(own);
        if own.connections.load(Relaxed) <= fewest.connections.load(Relaxed) {
            return Some((accepted, Load::on(own)));
        }
        let Accepted { stream, peer, permit } = accepted;
        let stream = stream.detach().inspect_err(lost).ok()?;
        match fewest.transfers.try_send(Transfer { stream, peer, permit, load: Load::on(fewest) }) {
            Ok(()) => None,
            // That thread stops, or has much to do: the connection stays here after all.
            Err(error) => {
                let (accepted, _) = arrive(error.into_inner())?;
                Some((accepted, Load::on(own)))
            }
        }
    }

    /// Waits for a connection that another thread has accepted for this one. Cancel-safe.
    pub(super) async fn next(&mut self) -> (Accepted, Load) {
        while let Some(transfer) = self.transfers.recv().await {
            if let Some(arrived) = arrive(transfer) {
                return arrived;
            }
        }
        // Never reached: the member itself has a sender.
        std::future::pending().await
    }

    /// From now on the other threads keep what they accept; gives the connections that are on their way.
    pub(super) async fn close(&mut self) -> Vec<(Accepted, Load)> {
        self.transfers.close();
        let mut last = Vec::new();
        // To the end, which comes after a thread that is just sending one.
        while let Some(transfer) = self.transfers.recv().await {
            last.extend(arrive(transfer));
        }
        last
    }
}

/// Takes a connection into this thread's runtime.
fn arrive(Transfer { stream, peer, permit, load }: Transfer) -> Option<(Accepted, Load)> {
    let stream = stream.attach().inspect_err(lost).ok()?;
    Some((Accepted { stream, peer, permit }, load))
}

/// The system has no memory to watch one more socket: no thread can serve it.
fn lost(error: &std::io::Error) {
    tracing::error!("a connection is closed as it cannot change its thread: {error}");
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn accepted() -> Accepted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        Accepted { stream: Stream::Tcp(TcpStream::connect(at).await.unwrap()), peer: at.into(), permit: None }
    }

    #[tokio::test]
    async fn connections_go_to_whoever_has_the_fewest() {
        let mut members = members(3);
        let mut kept = Vec::new();
        for _ in 0..9 {
            // The first accepts them all.
            kept.extend(members[0].assign(accepted().await).map(|(_, load)| load));
        }
        assert_eq!(kept.len(), 3);
        for member in &mut members[1..] {
            for _ in 0..3 {
                kept.push(member.next().await.1);
            }
        }
        let loads = || members[0].threads.iter().map(|thread| thread.connections.load(Relaxed)).collect::<Vec<_>>();
        assert_eq!(loads(), [3, 3, 3]);
        drop(kept.split_off(3));
        assert_eq!(loads(), [3, 0, 0]);
    }

    #[tokio::test]
    async fn a_thread_that_stops_takes_what_is_on_its_way_and_leaves_the_rest_to_the_others() {
        let mut members = members(2);
        let first = members[0].assign(accepted().await);
        assert!(first.is_some() && members[0].assign(accepted().await).is_none());
        let on_the_way = members[1].close().await;
        assert_eq!(on_the_way.len(), 1);
        drop(on_the_way);
        assert!(members[0].assign(accepted().await).is_some(), "the other one has fewer, and takes no more");
    }
}
