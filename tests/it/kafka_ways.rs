//! The way of one daemon to its brokers, through proxies that a test cuts; what the daemon asks of them is noted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use sink_testkit::kafka::Cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{MutexGuard, watch};
use tokio::task::JoinSet;

/// The ports are one test's at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What becomes of bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Passes,
    /// Connections stand, and are taken, and nothing arrives.
    Stalls,
    /// Connections are reset.
    Resets,
}

/// A proxy in front of each broker of a cluster of three.
pub struct Ways {
    brokers: String,
    flow: watch::Sender<Flow>,
    asked: Arc<Mutex<BTreeSet<i16>>>,
    _tasks: JoinSet<()>,
    _turn: MutexGuard<'static, ()>,
}

impl Ways {
    /// All of them pass.
    pub async fn open() -> Self {
        let turn = TURN.lock().await;
        let (flow, asked, mut tasks) = (watch::Sender::new(Flow::Passes), Arc::default(), JoinSet::new());
        let ports = tokio::task::spawn_blocking(|| Cluster::of_three().behind()).await.unwrap();
        assert_eq!(ports.len(), 3);
        for [proxy, broker] in &ports {
            let listener = TcpListener::bind(("127.0.0.1", *proxy)).await.unwrap();
            tasks.spawn(accept(listener, *broker, flow.subscribe(), Arc::clone(&asked)));
        }
        let brokers: Vec<String> = ports.iter().map(|[proxy, _]| format!("127.0.0.1:{proxy}")).collect();
        Self { brokers: brokers.join(","), flow, asked, _tasks: tasks, _turn: turn }
    }

    /// Where the daemon finds its brokers.
    pub fn brokers(&self) -> String {
        self.brokers.clone()
    }

    /// From now on bytes fare like this.
    pub fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    /// Which requests were made so far: their numbers in Kafka's protocol.
    pub fn asked(&self) -> BTreeSet<i16> {
        self.asked.lock().unwrap().clone()
    }
}

type Asked = Arc<Mutex<BTreeSet<i16>>>;

async fn accept(listener: TcpListener, broker: u16, flow: watch::Receiver<Flow>, asked: Asked) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connect(stream, broker, flow.clone(), Arc::clone(&asked)));
    }
}

async fn connect(stream: TcpStream, broker: u16, mut flow: watch::Receiver<Flow>, asked: Asked) {
    stream.set_zero_linger().unwrap();
    let _ = flow.wait_for(|flow| *flow != Flow::Stalls).await;
    if *flow.borrow() == Flow::Resets {
        return;
    }
    // A broker that is down refuses.
    let Ok(to) = TcpStream::connect(("127.0.0.1", broker)).await else { return };
    let ((read, write), (read_back, write_back)) = (stream.into_split(), to.into_split());
    let mut cut = flow.clone();
    tokio::select! {
        () = carry(read, write_back, flow.clone(), Some(asked)) => {}
        () = carry(read_back, write, flow, None) => {}
        _ = cut.wait_for(|flow| *flow == Flow::Resets) => {}
    }
}

/// Carries bytes one way until an end is closed.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>, asked: Option<Asked>) {
    let (mut bytes, mut requests) = (vec![0; 64 << 10], Requests::default());
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        if let Some(asked) = &asked {
            asked.lock().unwrap().extend(requests.take(&bytes[..read]));
        }
        let _ = flow.wait_for(|flow| *flow != Flow::Stalls).await;
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Finds the beginning of each request: its length (4 bytes), which request it is (2), and so on.
#[derive(Default)]
struct Requests {
    head: Vec<u8>,
    left: usize,
}

impl Requests {
    fn take(&mut self, mut bytes: &[u8]) -> Vec<i16> {
        let mut found = vec![];
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                (self.left, bytes) = (self.left - passed, &bytes[passed..]);
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let [a, b, c, d, e, f] = self.head[..] {
                self.left = u32::from_be_bytes([a, b, c, d]) as usize - 2;
                found.push(i16::from_be_bytes([e, f]));
                self.head.clear();
            }
        }
        found
    }
}

#[test]
fn requests_are_found_however_their_bytes_come() {
    let bytes = [[0, 0, 0, 4, 0, 3, 9, 9].as_slice(), &[0, 0, 0, 2, 0, 18], &[0, 0, 0, 5, 1, 0, 7, 7, 7]].concat();
    for part in 1..bytes.len() {
        let mut requests = Requests::default();
        let found: Vec<i16> = bytes.chunks(part).flat_map(|part| requests.take(part)).collect();
        assert_eq!(found, [3, 18, 256]);
    }
}
