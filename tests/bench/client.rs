//! The load: requests, made beforehand, are sent over and over on each connection, as soon as the last answer is there
//! or at a steady rate. The client does little more than write and read, so that it does not measure itself. Any
//! answer but success (2xx) ends the bench: what is counted was acknowledged.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hookrelay::verify::Hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Size of a body where nothing else is said.
pub const BODY_BYTES: usize = 900;
/// The path that the daemon's source is configured with.
pub const PATH: &str = "/webhooks/interakt";
pub const SECRET: &str = "bench-secret";
/// Longest time that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is smaller than this, or something is wrong.
const MAX_ANSWER: usize = 4096;
/// Time in which connections are made and warmed up before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// So many connections are begun between two short rests: a server's queue of those to accept is short.
const CONNECTS_AT_ONCE: usize = 64;
/// How far apart, in messages, neighbouring connections begin, so that no two are at the same message for long.
const APART: usize = 7919;

/// Where requests go, and what they are signed with.
#[derive(Clone)]
pub struct Aim {
    pub address: SocketAddr,
    pub path: String,
    pub secret: String,
}

impl Aim {
    /// A server of this bench at that address.
    pub fn own(address: SocketAddr) -> Self {
        Self { address, path: PATH.to_owned(), secret: SECRET.to_owned() }
    }
}

/// How many connections to load a server with, for how long, and with what.
#[derive(Clone, Copy)]
pub struct Load {
    /// Connections, all busy all the time.
    pub connections: u16,
    /// Threads that drive them.
    pub threads: u16,
    /// Time before anything is counted.
    pub warm_up: Duration,
    /// Time that is counted.
    pub window: Duration,
    /// Requests a second, all connections together; none: each connection sends as soon as it has its answer.
    pub rate: Option<u32>,
    /// So many requests, after which the load ends, before its time if need be.
    pub requests: Option<u64>,
    /// Size of each body.
    pub body: usize,
    /// Messages that the requests are about, in turn: so many keys.
    pub keys: usize,
}

impl Load {
    /// As many requests as go, all about one message.
    pub fn full(connections: u16, window: Duration) -> Self {
        let (rate, requests, body) = (None, None, BODY_BYTES);
        Self { connections, threads: 1, warm_up: WARM_UP, window, rate, requests, body, keys: 1 }
    }
}

/// When the requests of a connection are sent: at fixed moments, whatever the answers take, so that a slow answer is
/// counted for all that should have been sent meanwhile.
#[derive(Clone, Copy)]
struct Pace {
    first: Instant,
    every: Duration,
}

impl Load {
    /// The pace of one of the connections.
    fn pace(&self, connection: u16, begun: Instant) -> Option<Pace> {
        let apart = Duration::from_secs(1) / self.rate?.max(1);
        Some(Pace { first: begun + apart * u32::from(connection), every: apart * u32::from(self.connections) })
    }
}

/// What came back.
#[derive(Default)]
pub struct Answers {
    /// All answers, all of them 2xx, those of the warm-up included.
    pub all: u64,
    /// How long each answer took that came inside the window.
    pub latencies: Vec<Duration>,
}

/// What the connections share.
struct Shared {
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    /// Requests that may still be begun.
    left: AtomicU64,
    counted: Instant,
    end: Instant,
}

impl Shared {
    /// Whether one more request may be begun.
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Loads a server for the load's time and waits for the last answers.
pub fn press(aim: &Aim, load: &Load) -> io::Result<Answers> {
    let requests = (0..load.keys.max(1)).map(|key| request(aim, &body(load.body, key))).collect::<io::Result<_>>()?;
    let begun = Instant::now();
    let counted = begun + load.warm_up;
    let left = AtomicU64::new(load.requests.unwrap_or(u64::MAX));
    let shared = Shared { address: aim.address, requests, left, counted, end: counted + load.window };
    let shared = Arc::new(shared);
    let threads: Vec<_> = (0..load.threads)
        .map(|n| {
            let own = (n..load.connections).step_by(load.threads.into());
            let paces: Vec<_> = own.map(|connection| (connection.into(), load.pace(connection, begun))).collect();
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || press_on_thread(&shared, &paces))
        })
        .collect();
    let mut answers = Answers::default();
    for thread in threads {
        let part = thread.join().map_err(|_| io::Error::other("a client thread panicked"))??;
        answers.all += part.all;
        answers.latencies.extend(part.latencies);
    }
    Ok(answers)
}

fn press_on_thread(shared: &Arc<Shared>, paces: &[(usize, Option<Pace>)]) -> io::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for (n, (connection, pace)) in paces.iter().enumerate() {
            tasks.spawn(press_on_connection(Arc::clone(shared), *connection, *pace));
            if n % CONNECTS_AT_ONCE == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let mut answers = Answers::default();
        let slow = tokio::time::sleep_until((shared.end + PATIENCE).into());
        tokio::pin!(slow);
        loop {
            tokio::select! {
                task = tasks.join_next() => match task {
                    None => return Ok(answers),
                    Some(part) => {
                        let part = part.map_err(io::Error::other)??;
                        answers.all += part.all;
                        answers.latencies.extend(part.latencies);
                    }
                },
                () = &mut slow => return Err(io::Error::other(format!("no answer for {} s", PATIENCE.as_secs()))),
            }
        }
    })
}

async fn press_on_connection(shared: Arc<Shared>, connection: usize, pace: Option<Pace>) -> io::Result<Answers> {
    let mut stream = TcpStream::connect(shared.address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; MAX_ANSWER];
    let mut answers = Answers::default();
    let mut begun = pace.map_or_else(Instant::now, |pace| pace.first);
    let mut nth = connection * APART;
    // A server that falls behind the pace is not asked for the rest of it when the time is over.
    while begun < shared.end && Instant::now() < shared.end && shared.take() {
        if pace.is_some() {
            tokio::time::sleep_until(begun.into()).await;
        }
        stream.write_all(&shared.requests[nth % shared.requests.len()]).await?;
        nth = nth.wrapping_add(1);
        read_answer(&mut stream, &mut buffer).await?;
        let done = Instant::now();
        answers.all += 1;
        if (shared.counted..shared.end).contains(&done) {
            answers.latencies.push(done - begun);
        }
        begun = pace.map_or(done, |pace| begun + pace.every);
    }
    Ok(answers)
}

/// Reads one answer to its end; an error where it is no success.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection, or its answer is too large"));
        }
        filled += read;
        match length_of_answer(&buffer[..filled])? {
            Some(length) if length < filled => return Err(io::Error::other("more than one answer to one request")),
            Some(length) if length == filled => return Ok(()),
            _ => {}
        }
    }
}

/// How long the answer is, head and body, once its head is there.
pub fn length_of_answer(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes[..head]);
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(io::Error::other(format!("answered {:?}, no success", String::from_utf8_lossy(bytes))));
    }
    if status.starts_with("204") {
        return Ok(Some(head + 4));
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.map(|body| Some(head + 4 + body)).ok_or_else(|| io::Error::other("an answer without content-length"))
}

/// The id of the message of that number, which is the key of all events about it.
pub fn message(key: usize) -> String {
    format!("5f2f6c1e-8c39-4d57-9a44-{key:012x}")
}

/// A status message of exactly so many bytes (or the fewest that it takes), about the message of that number.
pub fn body(bytes: usize, key: usize) -> String {
    let id = message(key);
    let (start, end) = if bytes < BODY_BYTES {
        (format!(r#"{{"type":"message_api_delivered","data":{{"message":{{"id":"{id}","raw_template":""#), r#""}}}"#)
    } else {
        let start = concat!(
            r#"{"version":"1.0","timestamp":"2026-01-13T23:05:00.123456","type":"message_api_delivered","data":{"#,
            r#""customer":{"id":"0b5c7a52-6f5f-4cf3-9c1e-6b1d1a6a7f10","channel_phone_number":"919876543210","#,
            r#""traits":{"name":"Asha Rao"}},"message":{"id":""#,
        );
        let rest = r#"","chat_message_type":"PublicApiMessage","message_status":"Delivered","raw_template":""#;
        (format!("{start}{id}{rest}"), r#""}}}"#)
    };
    format!("{start}{}{end}", "x".repeat(bytes.saturating_sub(start.len() + end.len())))
}

/// That body, signed, as bytes on the wire.
fn request(aim: &Aim, body: &str) -> io::Result<Vec<u8>> {
    let signature = Hmac::new(aim.secret.as_bytes(), None).map_err(io::Error::other)?.sign(body.as_bytes());
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         interakt-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        aim.path,
        body.len()
    );
    Ok([head.as_bytes(), body.as_bytes()].concat())
}
