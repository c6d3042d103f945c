//! The load: one request, made beforehand, is sent over and over on each connection, as soon as its answer is there
//! or at a steady rate. The client does little more than write and read, so that it does not measure itself. Any
//! answer but 200 ends the bench.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookrelay::verify::Hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Size of every body.
pub const BODY_BYTES: usize = 900;
/// The path that the daemon's source is configured with.
pub const PATH: &str = "/webhooks/interakt";
pub const SECRET: &str = "bench-secret";
/// Longest time that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is smaller than this, or something is wrong.
const MAX_ANSWER: usize = 4096;

/// How many connections to load a server with, and for how long.
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
    /// All answers, all of them 200, those of the warm-up included.
    pub all: u64,
    /// How long each answer took that came inside the window.
    pub latencies: Vec<Duration>,
}

/// Loads a server for the load's time and waits for the last answers.
pub fn press(address: SocketAddr, load: &Load) -> io::Result<Answers> {
    let request: Arc<[u8]> = request()?.into();
    let begun = Instant::now();
    let counted = begun + load.warm_up;
    let times = (counted, counted + load.window);
    let threads: Vec<_> = (0..load.threads)
        .map(|n| {
            let own = (n..load.connections).step_by(load.threads.into());
            let paces: Vec<_> = own.map(|connection| load.pace(connection, begun)).collect();
            let request = Arc::clone(&request);
            std::thread::spawn(move || press_on_thread(address, &paces, &request, times))
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

fn press_on_thread(
    address: SocketAddr,
    paces: &[Option<Pace>],
    request: &Arc<[u8]>,
    times: (Instant, Instant),
) -> io::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for pace in paces {
            tasks.spawn(press_on_connection(address, Arc::clone(request), times, *pace));
        }
        let mut answers = Answers::default();
        let slow = tokio::time::sleep_until((times.1 + PATIENCE).into());
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

async fn press_on_connection(
    address: SocketAddr,
    request: Arc<[u8]>,
    (counted, end): (Instant, Instant),
    pace: Option<Pace>,
) -> io::Result<Answers> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; MAX_ANSWER];
    let mut answers = Answers::default();
    let mut begun = pace.map_or_else(Instant::now, |pace| pace.first);
    while begun < end {
        if pace.is_some() {
            tokio::time::sleep_until(begun.into()).await;
        }
        stream.write_all(&request).await?;
        read_answer(&mut stream, &mut buffer).await?;
        let done = Instant::now();
        answers.all += 1;
        if (counted..end).contains(&done) {
            answers.latencies.push(done - begun);
        }
        begun = pace.map_or(done, |pace| begun + pace.every);
    }
    Ok(answers)
}

/// Reads one answer to its end; an error where it is not 200.
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
fn length_of_answer(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes[..head]);
    let mut lines = text.split("\r\n");
    if !lines.next().is_some_and(|status| status.starts_with("HTTP/1.1 200 ")) {
        return Err(io::Error::other(format!("answered {:?}, not 200", String::from_utf8_lossy(bytes))));
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.map(|body| Some(head + 4 + body)).ok_or_else(|| io::Error::other("an answer without content-length"))
}

/// A signed status message of exactly [`BODY_BYTES`], as bytes on the wire.
fn request() -> io::Result<Vec<u8>> {
    let start = concat!(
        r#"{"version":"1.0","timestamp":"2026-01-13T23:05:00.123456","type":"message_api_delivered","data":{"#,
        r#""customer":{"id":"0b5c7a52-6f5f-4cf3-9c1e-6b1d1a6a7f10","channel_phone_number":"919876543210","#,
        r#""traits":{"name":"Asha Rao"}},"message":{"id":"5f2f6c1e-8c39-4d57-9a44-1f0e7b7a9d11","#,
        r#""chat_message_type":"PublicApiMessage","message_status":"Delivered","raw_template":""#,
    );
    let end = r#""}}}"#;
    let body = format!("{start}{}{end}", "x".repeat(BODY_BYTES - start.len() - end.len()));
    let signature = Hmac::new(SECRET.as_bytes(), None).map_err(io::Error::other)?.sign(body.as_bytes());
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         interakt-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Ok([head.as_bytes(), body.as_bytes()].concat())
}
