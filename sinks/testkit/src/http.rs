//! A scripted HTTP/1.1 server on the loopback, written by hand so that it can misbehave and keeps every byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::lock::lock;
use crate::must::Must as _;

/// Most bytes of a request's head, and of its body; who sends more is cut off.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 64 << 20;

/// A request as it came, and the status it was answered with (0: none).
#[derive(Clone, Debug)]
pub struct Seen {
    /// `POST /path HTTP/1.1`.
    pub line: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What it was answered with.
    pub status: u16,
}

impl Seen {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status, no body, and the connection stays open.
    Status(u16),
    /// This status with these headers, no body.
    With(u16, Vec<(&'static str, String)>),
    /// This status, no body, after so long; the connection stays open.
    After(Duration, u16),
    /// These bytes; `Then` what.
    Bytes(Vec<u8>, Then),
}

/// What follows the bytes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection is closed.
    Close,
    /// A TCP reset.
    Reset,
    /// Nothing, for ever.
    Hang,
    /// The connection waits for the next request.
    Keep,
    /// The same byte again and again, for ever.
    Flood,
}

impl Reply {
    fn status(&self) -> u16 {
        match self {
            Self::Status(status) | Self::With(status, _) | Self::After(_, status) => *status,
            Self::Bytes(bytes, _) => {
                let line = String::from_utf8_lossy(bytes);
                line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
            }
        }
    }
}

/// What is answered to which request.
pub type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// The server. Dropped, its port and every connection are closed.
pub struct HttpServer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many connections it has accepted.
    pub connections: Arc<AtomicUsize>,
    script: Script,
    /// None where requests are not kept.
    seen: Option<Arc<Mutex<Vec<Seen>>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl HttpServer {
    /// Answers every request by this script.
    pub async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::new(script), Some(Arc::default())).await
    }

    /// The same at this address, for a script that keeps what it wants to: the server keeps no request.
    pub async fn start_at(addr: SocketAddr, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(addr, Arc::new(script), None).await
    }

    async fn listen(addr: SocketAddr, script: Script, seen: Option<Arc<Mutex<Vec<Seen>>>>) -> Self {
        let listener = TcpListener::bind(addr).await.must("a port");
        let addr = listener.local_addr().must("its address");
        let server = Self { addr, connections: Arc::default(), script, seen, task: Mutex::default() };
        server.run(listener);
        server
    }

    /// Answers every request alike.
    pub async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    fn run(&self, listener: TcpListener) {
        let (script, seen) = (Arc::clone(&self.script), self.seen.clone());
        let connections = Arc::clone(&self.connections);
        let task = tokio::spawn(async move {
            let mut calls = JoinSet::new(); // aborted with the server
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                while calls.try_join_next().is_some() {}
                calls.spawn(serve_tcp(stream, Arc::clone(&script), seen.clone()));
            }
        });
        *lock(&self.task) = Some(task);
    }

    /// Closes the port and every connection.
    pub async fn stop(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    /// Opens the same port again.
    pub async fn resume(&self) {
        if lock(&self.task).is_some() {
            return;
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            match TcpListener::bind(self.addr).await {
                Ok(listener) => return self.run(listener),
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    /// The URL of this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// All requests so far; none where they are not kept.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.as_ref().map(|seen| lock(seen).clone()).unwrap_or_default()
    }

    /// The only request so far.
    pub fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

async fn serve_tcp(stream: TcpStream, script: Script, seen: Option<Arc<Mutex<Vec<Seen>>>>) {
    let mut stream = BufReader::new(stream);
    if serve(&mut stream, &script, seen.as_deref()).await == Some(Then::Reset) {
        stream.get_ref().set_zero_linger().must("a reset");
    }
}

/// Serves one connection; says what ended it, if it was the script.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    script: &Script,
    seen: Option<&Mutex<Vec<Seen>>>,
) -> Option<Then> {
    loop {
        let mut request = read_request(stream).await?;
        let reply = script(&request);
        if let Reply::After(delay, _) = &reply {
            tokio::time::sleep(*delay).await;
        }
        request.status = reply.status();
        if let Some(seen) = seen {
            lock(seen).push(request);
        }
        let (bytes, then) = match reply {
            Reply::Status(status) | Reply::After(_, status) => (head(status, &[]), Then::Keep),
            Reply::With(status, headers) => (head(status, &headers), Then::Keep),
            Reply::Bytes(bytes, then) => (bytes, then),
        };
        stream.write_all(&bytes).await.ok()?;
        stream.flush().await.ok()?;
        match then {
            Then::Keep => {}
            Then::Close | Then::Reset => return Some(then),
            Then::Hang => std::future::pending().await,
            Then::Flood => loop {
                stream.write_all(&[b'x'; 16 << 10]).await.ok()?;
            },
        }
    }
}

fn head(status: u16, headers: &[(&'static str, String)]) -> Vec<u8> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if matches!(status, 204 | 304) { "" } else { "content-length: 0\r\n" };
    format!("HTTP/1.1 {status} Whatever\r\n{length}{more}\r\n").into_bytes()
}

/// The next request; none where the client has left, or talks nonsense.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        if head.len() > MAX_HEAD {
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let headers = headers.collect::<Option<Vec<(String, String)>>>()?;
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(Some(0), |(_, v)| v.parse().ok())?;
    if length > MAX_BODY {
        return None;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { line, headers, body, status: 0 })
}
