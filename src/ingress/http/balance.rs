//! The serving threads that share a listener. The kernel gives a new connection to whoever is quicker, and of many that
//! come at once nearly all to the same thread; here they go to whoever has the fewest. Knows sockets and numbers, no HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Connections on their way to a thread. More than that at once are served by those who accepted them.
const ON_THE_WAY: usize = 256;

/// A connection that was accepted, and its place among `max_connections` (none during a stop).
pub(in crate::ingress) struct Guest {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub permit: Option<OwnedSemaphorePermit>,
}

/// The same, between two runtimes.
struct Handed {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    permit: Option<OwnedSemaphorePermit>,
    open: Open,
}

struct Seat {
    open: Arc<AtomicUsize>,
    hand: mpsc::Sender<Handed>,
}

/// One thread's place at a listener that it shares.
pub struct Place {
    seats: Arc<[Seat]>,
    own: usize,
    handed: mpsc::Receiver<Handed>,
}

/// Counts a connection as its thread's, from the moment it was chosen until the connection ends.
pub(in crate::ingress) struct Open(Arc<AtomicUsize>);

impl Open {
    fn at(seat: &Seat) -> Self {
        seat.open.fetch_add(1, Relaxed);
        Self(Arc::clone(&seat.open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Places for so many threads that serve one listener.
pub fn places(threads: usize) -> Vec<Place> {
    let (seats, ways): (Vec<_>, Vec<_>) = (0..threads)
        .map(|_| {
            let (hand, handed) = mpsc::channel(ON_THE_WAY);
            (Seat { open: Arc::default(), hand }, handed)
        })
        .unzip();
    let seats: Arc<[Seat]> = seats.into();
    ways.into_iter().enumerate().map(|(own, handed)| Place { seats: Arc::clone(&seats), own, handed }).collect()
}

impl Place {
    /// Gives a connection to the thread that has the fewest, and back where that is this one.
    pub(in crate::ingress) fn assign(&self, guest: Guest) -> Option<(Guest, Open)> {
        let own = self.seats.get(self.own)?;
        let fewest = self.seats.iter().min_by_key(|seat| seat.open.load(Relaxed)).unwrap_or(own);
        if own.open.load(Relaxed) <= fewest.open.load(Relaxed) {
            return Some((guest, Open::at(own)));
        }
        let Guest { stream, peer, permit } = guest;
        let stream = stream.into_std().inspect_err(lost).ok()?;
        match fewest.hand.try_send(Handed { stream, peer, permit, open: Open::at(fewest) }) {
            Ok(()) => None,
            // That thread stops, or has much to do: ours after all.
            Err(error) => {
                let (guest, _) = arrive(error.into_inner())?;
                Some((guest, Open::at(own)))
            }
        }
    }

    /// Waits for a connection that another thread has accepted for this one. Cancel-safe.
    pub(in crate::ingress) async fn next(&mut self) -> (Guest, Open) {
        while let Some(handed) = self.handed.recv().await {
            if let Some(arrived) = arrive(handed) {
                return arrived;
            }
        }
        // Not as long as this place, which has a sender of its own, is there.
        std::future::pending().await
    }

    /// From now on others keep what they accept; gives those on their way.
    pub(in crate::ingress) async fn close(&mut self) -> Vec<(Guest, Open)> {
        self.handed.close();
        let mut last = Vec::new();
        // To the end, which comes after whoever is just handing one over.
        while let Some(handed) = self.handed.recv().await {
            last.extend(arrive(handed));
        }
        last
    }
}

/// Takes a connection into this thread's runtime.
fn arrive(Handed { stream, peer, permit, open }: Handed) -> Option<(Guest, Open)> {
    let stream = TcpStream::from_std(stream).inspect_err(lost).ok()?;
    Some((Guest { stream, peer, permit }, open))
}

/// The system has no memory to watch one more socket: nobody can serve it.
fn lost(error: &std::io::Error) {
    tracing::error!("a connection is closed as it cannot change its thread: {error}");
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn guest() -> Guest {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = listener.local_addr().unwrap();
        Guest { stream: TcpStream::connect(peer).await.unwrap(), peer, permit: None }
    }

    #[tokio::test]
    async fn connections_go_to_whoever_has_the_fewest() {
        let mut places = places(3);
        let mut kept = Vec::new();
        for _ in 0..9 {
            // The first accepts them all.
            kept.extend(places[0].assign(guest().await).map(|(_, open)| open));
        }
        assert_eq!(kept.len(), 3);
        for place in &mut places[1..] {
            for _ in 0..3 {
                kept.push(place.next().await.1);
            }
        }
        let loads = || places[0].seats.iter().map(|seat| seat.open.load(Relaxed)).collect::<Vec<_>>();
        assert_eq!(loads(), [3, 3, 3]);
        drop(kept.split_off(3));
        assert_eq!(loads(), [3, 0, 0]);
    }

    #[tokio::test]
    async fn a_thread_that_stops_takes_what_is_on_its_way_and_leaves_the_rest_to_the_others() {
        let mut places = places(2);
        let first = places[0].assign(guest().await);
        assert!(first.is_some() && places[0].assign(guest().await).is_none());
        let on_the_way = places[1].close().await;
        assert_eq!(on_the_way.len(), 1);
        drop(on_the_way);
        assert!(places[0].assign(guest().await).is_some(), "the other one has fewer, and takes no more");
    }
}
