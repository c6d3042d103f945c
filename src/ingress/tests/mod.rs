//! Ingress on a real socket, against a journal that does as it is told.
//!
//! `answers` is the table of answers; `journaling` how the journal's outcome decides answers and repeats; `bounds`
//! sizes, times and pauses; `http2` the same over HTTP/2; `stopping` listeners and the end; `checking` faults in the
//! tables; `kinds` what the kinds of sources do beside Interakt; `vectors` the providers' own examples; `watching` what
//! is counted and told of that.

mod answers;
mod bounds;
mod checking;
mod http2;
mod journaling;
mod kinds;
mod stopping;
mod vectors;
mod watching;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sink_api::{Event, Period, Secret, Size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http::check::check_server;
use super::source::check::check_paths;
use super::source::{OnJournalFailure, Window};
use super::*;
use crate::event;
use crate::journal::{
    Append, AppendError, Find, JournalError, JournalStat, LookedUp, Marks, NotifyBatch, Of, OnFailure, OnProgress,
    Owed, Position, Progress, Reader, Record, Within,
};
use crate::verify::Hmac;

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// The only thread of a listener.
fn alone() -> balance::Member {
    balance::members(1).remove(0)
}

const PATH: &str = "/webhooks/interakt";

/// What the journal does with a record.
#[derive(Clone, Debug)]
enum Does {
    /// Flushes it at once.
    Flush,
    /// Tells no outcome, until [`FakeJournal::tell`].
    Hang,
    /// Tells that it is at risk, and no more until [`FakeJournal::tell`].
    Risk,
    /// Does not take it.
    Fail,
    /// Drops the record without telling an outcome.
    Forget,
}

/// A journal in memory.
struct FakeJournal {
    does: Mutex<Does>,
    records: Mutex<Vec<(Record, OnFailure)>>,
    hanging: Mutex<Vec<(OnProgress, Option<NotifyBatch>)>>,
}

impl FakeJournal {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does: Mutex::new(does), records: Mutex::default(), hanging: Mutex::default() })
    }

    fn does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn events(&self) -> Vec<Event> {
        self.records.lock().unwrap().iter().map(|(record, _)| event::decode(record).unwrap()).collect()
    }

    fn hanging(&self) -> usize {
        self.hanging.lock().unwrap().len()
    }

    /// Tells all who wait this outcome.
    fn tell(&self, progress: Progress) {
        for (mut on_progress, notify) in std::mem::take(&mut *self.hanging.lock().unwrap()) {
            on_progress(progress.clone());
            notify.iter().for_each(|notify| notify());
        }
    }
}

const DURABLE: Progress = Progress::Durable(Position { shard: 0, offset: 0 });
const FAILED: Progress = Progress::Failed(AppendError::QueueFull);

#[async_trait]
impl Journal for FakeJournal {
    fn append_all(&self, records: Vec<Append>) {
        for Append { record, on_failure, mut on_progress, notify } in records {
            self.records.lock().unwrap().push((record, on_failure));
            match &*self.does.lock().unwrap() {
                Does::Flush => on_progress(DURABLE),
                Does::Hang => self.hanging.lock().unwrap().push((on_progress, notify.clone())),
                Does::Risk => {
                    on_progress(Progress::AtRisk);
                    self.hanging.lock().unwrap().push((on_progress, notify.clone()));
                }
                Does::Fail => on_progress(FAILED),
                Does::Forget => drop(on_progress),
            }
            notify.iter().for_each(|notify| notify());
        }
    }
    fn at_risk(&self) -> u64 {
        0
    }
    fn refuses(&self) -> (bool, bool) {
        (false, false)
    }
    async fn reader(&self, _: Of) -> Result<Box<dyn Reader>, JournalError> {
        unreachable!("ingress reads nothing")
    }
    async fn oldest(&self) -> Result<Marks, JournalError> {
        Ok(Marks::default())
    }
    async fn ends(&self) -> Result<Marks, JournalError> {
        Ok(Marks::default())
    }
    fn known_ends(&self) -> Marks {
        Marks::default()
    }
    async fn seek(&self, _: i64) -> Result<Marks, JournalError> {
        Ok(Marks::default())
    }
    async fn find(&self, _: Find, _: Within) -> Result<LookedUp, JournalError> {
        Ok(LookedUp::default())
    }
    async fn owed(&self, _: &Marks, _: &Marks) -> Result<Owed, JournalError> {
        Ok(Owed::default())
    }
    async fn stat(&self) -> Result<JournalStat, JournalError> {
        unreachable!("ingress shows nothing of the journal")
    }
    async fn fingerprints(&self, _: i64, _: usize) -> Vec<Fingerprint> {
        vec![]
    }
    async fn close(&self) -> Result<(), JournalError> {
        Ok(())
    }
}

/// A `[server]` on any free port.
fn server() -> ServerConfig {
    ServerConfig { listen: vec!["127.0.0.1:0".into()], ..ServerConfig::default() }
}

/// A source as the config's defaults have it.
fn source() -> SourceConfig {
    SourceConfig {
        secret: Some(Secret::new("examplekey\n")),
        ack_deadline: Period::secs(20),
        ..SourceConfig::new(SourceKind::Interakt, PATH)
    }
}

/// The plan of a table without faults.
fn plan(table: &SourceConfig) -> Arc<SourcePlan> {
    let plan = SourcePlan::read("interakt", table);
    Arc::new(plan.unwrap_or_else(|faults| panic!("{faults:?}")))
}

/// Ingress, being served.
struct Served {
    at: SocketAddr,
    ingress: Arc<Ingress>,
    journal: Arc<FakeJournal>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The first of the configured addresses, open.
fn listening(server: &ServerConfig) -> Listening {
    bind(server, vec![]).unwrap().remove(0).listen().unwrap()
}

async fn serve(server: ServerConfig, source: SourceConfig, does: Does) -> Served {
    let journal = FakeJournal::new(does);
    let ingress = Ingress::new(&server, vec![plan(&source)], journal.clone(), vec![]);
    let listener = listening(&server);
    let at = listener.tcp_address().unwrap();
    let listener = listener.start().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn({
        let ingress = ingress.clone();
        async move { ingress.serve(listener, alone(), async move { drop(stopped.await) }).await }
    });
    Served { at, ingress, journal, stop, task }
}

/// Ingress with every default, whose journal flushes.
async fn plain() -> Served {
    serve(server(), source(), Does::Flush).await
}

impl Served {
    fn counts(&self) -> Arc<SourceCounts> {
        self.ingress.source_counts().remove(0).1
    }

    fn at_risk_now(&self) -> u64 {
        self.ingress.metered().remove(0).1.at_risk.now()
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.at).await.unwrap())
    }

    /// One request on its own connection.
    async fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut client = self.connect().await;
        client.send(request).await;
        client.reply().await
    }

    /// One signed webhook on its own connection.
    async fn post(&self, body: impl AsRef<[u8]>) -> Reply {
        self.ask(signed(body.as_ref())).await
    }
}

fn sign(body: &[u8]) -> String {
    Hmac::new(b"examplekey", None).unwrap().sign(body)
}

/// A signed webhook's bytes.
fn signed(body: &[u8]) -> Vec<u8> {
    posted(&format!("interakt-signature: {}\r\n", sign(body)), body)
}

/// A webhook's bytes with these header lines.
fn posted(lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A response.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A connection, spoken to in raw bytes.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next response, by its content-length.
    async fn reply(&mut self) -> Reply {
        self.try_reply(true).await.expect("a response")
    }

    /// The same, or `None` where the connection was closed instead.
    async fn try_reply(&mut self, has_body: bool) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match within(self.0.read_u8()).await {
                Ok(byte) => head.push(byte),
                Err(_) if head.is_empty() => return None,
                Err(e) => panic!("{e} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length = reply.header("content-length").map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        within(self.0.read_exact(&mut body)).await.unwrap();
        reply.body = String::from_utf8(body).unwrap();
        Some(reply)
    }

    async fn is_closed(&mut self) -> bool {
        !matches!(within(self.0.read(&mut [0])).await, Ok(1..))
    }
}

/// What the future gives; a test that would wait for ever ends.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

/// Waits until a condition holds.
async fn wait_until(mut so: impl FnMut() -> bool) {
    within(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
