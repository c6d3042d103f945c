//! Restarts under load. With a socket that the service manager keeps nobody is refused; without one, for how long
//! nobody is let in is measured and printed. The long form is for a machine of its own:
//! `HOOKRELAY_TEST_REQUESTS=1000000 HOOKRELAY_TEST_RESTARTS=50 HOOKRELAY_TEST_BACKLOG=200000`.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::bodies::{number_in, numbered};
use crate::harness::{ARCHIVE, Callback, Daemon, House, PATIENCE, can_open, lines_under, post_all, sign, wait_until};
use crate::tables::archive_and_crm;

/// How often the daemon is started anew; and where its sinks are slow to stop.
const RESTARTS: u64 = 4;
const SLOW_RESTARTS: u64 = 2;
/// Senders, half of which keep their connections.
const SENDERS: u64 = 8;
/// Connections that are made, used once, and held open.
const IDLE: usize = 200;

/// The number that a variable holds, or the default.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

/// A house whose daemon listens there.
pub fn house_at(at: SocketAddr, tables: &str) -> House {
    let house = House::new(tables);
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("127.0.0.1:0", &at.to_string())).unwrap();
    house
}

/// The daemon's command, with the socket passed as systemd does.
pub fn with_socket(house: &House, socket: &TcpListener) -> Command {
    let pass =
        r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES=hookrelay.socket LISTEN_PID=$$; exec "$0" "$@""#;
    let mut command = house.command_by(&["sh", "-c", pass], &["run"]);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command
}

/// A sender on one connection after another, as a proxy in front is one: where it keeps them it obeys
/// `connection: close`, and sends nothing on a connection that the daemon has closed.
pub struct Sender {
    at: SocketAddr,
    keeps: bool,
    open: Option<TcpStream>,
}

impl Sender {
    pub fn new(at: SocketAddr, keeps: bool) -> Self {
        Self { at, keeps, open: None }
    }

    /// Posts a webhook; gives the status.
    pub fn post(&mut self, body: &[u8]) -> std::io::Result<u16> {
        let mut stream = match self.open.take().filter(is_open) {
            Some(stream) => stream,
            None => TcpStream::connect(self.at)?,
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let close = if self.keeps { "" } else { "connection: close\r\n" };
        let (signature, length) = (sign(body), body.len());
        let head = format!(
            "POST /webhooks/interakt HTTP/1.1\r\nhost: x\r\n{close}interakt-signature: {signature}\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let (mut answer, mut bytes) = (String::new(), [0; 4096]);
        // All answers here have a body, one JSON object.
        while !answer.ends_with('}') {
            match stream.read(&mut bytes)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => answer.push_str(&String::from_utf8_lossy(&bytes[..length])),
            }
        }
        if self.keeps && !answer.contains("connection: close") {
            self.open = Some(stream);
        }
        Ok(answer.split(' ').nth(1).unwrap().parse().unwrap())
    }
}

/// Whether the daemon has not closed the connection.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let closed = !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    !closed
}

/// Senders that send one webhook after another until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    senders: Vec<thread::JoinHandle<(Vec<u64>, Vec<String>)>>,
}

impl Load {
    fn start(at: SocketAddr, pause: Duration) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let senders = (0..SENDERS).map(|first| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let (mut taken, mut failed) = (Vec::new(), Vec::new());
                let mut sender = Sender::new(at, first % 2 == 0);
                for n in (first..).step_by(SENDERS as usize).take_while(|_| !stop.load(SeqCst)) {
                    match sender.post(&numbered(n)) {
                        Ok(200) => taken.push(n),
                        Ok(status) => failed.push(format!("{n}: {status}")),
                        Err(error) => failed.push(format!("{n}: {error}")),
                    }
                    answered.fetch_add(1, SeqCst);
                    thread::sleep(pause);
                }
                (taken, failed)
            })
        });
        let senders = senders.collect();
        Self { stop, answered, senders }
    }

    async fn until(&self, answered: u64) {
        while self.answered.load(SeqCst) < answered {
            let before = self.answered.load(SeqCst);
            wait_until("the next answers", || (self.answered.load(SeqCst) > before).then_some(())).await;
        }
    }

    /// The webhooks that were answered 200, and what became of the others.
    fn end(self) -> (HashSet<u64>, Vec<String>) {
        self.stop.store(true, SeqCst);
        let mut all = (HashSet::new(), Vec::new());
        for sender in self.senders {
            let (taken, failed) = sender.join().unwrap();
            all.0.extend(taken);
            all.1.extend(failed);
        }
        all
    }
}

/// Stops it in good order.
pub async fn terminate(daemon: Daemon) {
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_socket_that_the_manager_keeps_restarts_under_load_refuse_nobody() {
    let (requests, restarts) = (number("HOOKRELAY_TEST_REQUESTS", 2000), number("HOOKRELAY_TEST_RESTARTS", RESTARTS));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let house = house_at(at, ARCHIVE);
    let mut daemon = House::start_as(with_socket(&house, &socket));
    let load = Load::start(at, Duration::ZERO);
    for restart in 1..=restarts {
        load.until(requests * restart / (restarts + 1)).await;
        terminate(daemon).await;
        // While nobody serves, whoever comes waits.
        let mut late = TcpStream::connect(at).unwrap();
        late.write_all(b"GET /webhooks/interakt HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        daemon = House::start_as(with_socket(&house, &socket));
        let mut answer = String::new();
        tokio::task::spawn_blocking(move || late.read_to_string(&mut answer).map(|_| answer))
            .await
            .unwrap()
            .map(|answer| assert!(answer.starts_with("HTTP/1.1 200"), "{answer}"))
            .unwrap();
    }
    load.until(requests).await;
    let (taken, failed) = tokio::task::spawn_blocking(|| load.end()).await.unwrap();
    println!("{} requests over {restarts} restarts: {} failed", taken.len() + failed.len(), failed.len());
    assert_eq!(failed, Vec::<String>::new(), "of {}", taken.len() + failed.len());
    let arrived = || lines_under(&house.path("out"), ".jsonl").iter().map(|l| number_in(l)).collect::<HashSet<u64>>();
    wait_until("all are delivered", || (arrived() == taken).then_some(())).await;
    terminate(daemon).await;
}

/// A port that no connection is given by itself.
fn port() -> SocketAddr {
    let first = 20_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    let free = (first..).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).find(|at| TcpListener::bind(at).is_ok());
    free.unwrap()
}

/// Connects again and again; gives the longest time between the last connection before a refusal and the first after.
fn longest_refusal(at: SocketAddr, stop: &AtomicBool) -> Duration {
    let (mut longest, mut refused_since, mut last) = (Duration::ZERO, None, Instant::now());
    while !stop.load(SeqCst) {
        match TcpStream::connect(at) {
            Ok(_) => {
                if let Some(since) = refused_since.take() {
                    longest = longest.max(Instant::now().duration_since(since));
                }
                last = Instant::now();
            }
            Err(_) => drop(refused_since.get_or_insert(last)),
        }
        thread::sleep(Duration::from_millis(1));
    }
    longest
}

/// One webhook, on a connection that is kept.
fn held_open(at: SocketAddr, n: u64) -> Sender {
    let mut sender = Sender::new(at, true);
    assert_eq!(sender.post(&numbered(n)).unwrap(), 200);
    sender
}

#[tokio::test(flavor = "multi_thread")]
async fn without_such_a_socket_a_restart_lets_nobody_in_for_a_moment_only_which_is_printed() {
    if !can_open(2048) {
        return sink_testkit::skip("restarts::without_such_a_socket", "the limit of open files is below 2,048");
    }
    let backlog = number("HOOKRELAY_TEST_BACKLOG", 2000);
    // A target that takes its time, a database that never answers, and all that came before is owed to both.
    let callback = Callback::start().await;
    callback.take_time(Duration::from_secs(20));
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    let rows = format!(
        "[sinks.rows]\nkind = \"sqlite\"\ndatabase = \"rows.db\"\ntable = \"rows\"\nsetup = \"{endless}\"\n\
         [[routes]]\nname = \"rows\"\nmatch = \"*\"\nto = \"rows\"\ntransform = \"api_log\"\n"
    );
    let at = port();
    let house = house_at(at, &format!("{}{rows}", archive_and_crm(&callback.url(), "")));
    let mut daemon = house.start();
    let url = daemon.url();
    let posts = (0..SENDERS).map(|first| {
        let url = url.clone();
        let bodies = (1_000_000 + first..1_000_000 + backlog).step_by(SENDERS as usize).map(numbered);
        tokio::spawn(async move { post_all(&url, bodies).await })
    });
    for post in posts.collect::<Vec<_>>() {
        post.await.unwrap();
    }
    let stop = Arc::<AtomicBool>::default();
    for restart in 1..=SLOW_RESTARTS {
        stop.store(false, SeqCst);
        let idle: Vec<_> = (0..IDLE as u64).map(|n| held_open(at, 2_000_000 + restart * 1000 + n)).collect();
        let probe = thread::spawn({
            let stop = Arc::clone(&stop);
            move || longest_refusal(at, &stop)
        });
        let load = Load::start(at, Duration::from_millis(100));
        load.until(SENDERS).await;
        let began = Instant::now();
        terminate(daemon).await;
        let stopped = began.elapsed();
        daemon = house.start();
        let started = began.elapsed() - stopped;
        load.until(load.answered.load(SeqCst) + SENDERS).await;
        stop.store(true, SeqCst);
        let gap = probe.join().unwrap();
        let (taken, failed) = tokio::task::spawn_blocking(|| load.end()).await.unwrap();
        let line = format!(
            "restart {restart}: nobody was let in for {gap:.0?} (stop {stopped:.1?}, start {started:.0?}); {} of {} \
             requests failed, {backlog} events pending, {IDLE} idle connections\n",
            failed.len(),
            failed.len() + taken.len()
        );
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        // What fails is refused; nothing that was let in is cut.
        assert!(failed.iter().all(|why| why.contains("refused")), "{failed:?}");
        drop(idle);
    }
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}
