//! The admin listener over TCP: clients without the token cannot occupy it, whatever they do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{ARCHIVE, House, wait_until};

/// Clients that connect again whenever they are disconnected.
struct Crowd {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    /// Connections that were made, and answers to `/healthz`.
    came: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

/// How a client of the crowd behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// Asks `/healthz` again and again on one connection, for as long as it is kept.
    Healthz,
    Silent,
    /// Half a head, a byte at a time.
    Dripping,
}

impl Crowd {
    fn of(manners: &[(usize, Manner)], at: SocketAddr) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (came, answered) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let one = |manner: Manner| {
            let (over, came, answered) = (Arc::clone(&over), Arc::clone(&came), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if let Ok(stream) = TcpStream::connect(at) {
                        came.fetch_add(1, Ordering::Relaxed);
                        behave(manner, stream, &over, &answered);
                    }
                }
            })
        };
        let clients = manners.iter().flat_map(|(n, manner)| (0..*n).map(|_| *manner)).map(one).collect();
        Self { over, clients, came, answered }
    }

    fn disperse(self) {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

/// Behaves so until it is disconnected.
fn behave(manner: Manner, mut stream: TcpStream, over: &AtomicBool, answered: &AtomicUsize) {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 1024];
    let mut written: std::io::Result<()> = Ok(());
    let mut waits = false;
    while written.is_ok() && !over.load(Ordering::Relaxed) {
        match manner {
            Manner::Healthz if !waits => {
                written = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
                waits = true;
            }
            Manner::Dripping => written = stream.write_all(b"G"),
            Manner::Healthz | Manner::Silent => {}
        }
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {
                answered.fetch_add(usize::from(waits), Ordering::Relaxed);
                waits = false;
                std::thread::sleep(Duration::from_millis(20)); // as a monitor that is in a hurry
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

async fn the_holder_gets_in_beside(manners: &[(usize, Manner)]) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let house = House::new(&format!("[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"the-token\"\n{ARCHIVE}"));
    let daemon = house.start();
    let started = daemon.log.wait_for(|line| line.contains("admin listener"));
    assert!(started.is_some(), "{}", daemon.log.text());
    let crowd = Crowd::of(manners, ([127, 0, 0, 1], port).into());
    wait_until("all have come", || (crowd.came.load(Ordering::Relaxed) >= 64).then_some(())).await;
    if manners.iter().any(|(_, manner)| matches!(manner, Manner::Healthz)) {
        wait_until("some are answered", || (crowd.answered.load(Ordering::Relaxed) >= 32).then_some(())).await;
    }
    for _ in 0..2 {
        let out = house.command(&["status", "--json"]).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    }
    crowd.disperse();
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_on_healthz_do_not_keep_the_tokens_holder_out() {
    the_holder_gets_in_beside(&[(64, Manner::Healthz)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_those_that_say_nothing_or_half_of_something() {
    // More clients come than are disconnected, one after the other, while the client with the token waits for an
    // answer.
    the_holder_gets_in_beside(&[(150, Manner::Silent), (150, Manner::Dripping)]).await;
}
