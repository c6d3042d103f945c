//! Idle connections take no descriptor that the journal, the ledger, the sinks or the admin listener needs.

use std::io::Write as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{ARCHIVE, Daemon, House, column, lines_under, post, sign, wait_until};

const IDLE: usize = 1100;
/// How many events, and how many bytes of text each has: together more than two segments.
const EVENTS: usize = 120;
const TEXT: usize = 20 << 10;

fn house() -> House {
    let house = House::new(&format!("on_journal_failure = \"refuse\"\n{ARCHIVE}"));
    let text = std::fs::read_to_string(house.config()).unwrap();
    // Connections on which nothing is sent stay open for longer than the test takes.
    let text = text.replace("[journal]\n", "header_timeout = \"5m\"\n[journal]\nsegment_size = \"1MiB\"\n");
    std::fs::write(house.config(), text).unwrap();
    house
}

/// Starts a daemon that may have so many descriptors.
fn start(house: &House, soft: usize, hard: usize) -> Daemon {
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\"");
    House::start_as(house.command_by(&["sh", "-c", &script, "sh"], &["run"]))
}

/// Whether this process may have as many descriptors as the test takes.
fn may_have_many(test: &str) -> bool {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let enough = maximum.is_none_or(|most| most >= 4096)
        && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    if !enough {
        // Straight to the terminal: the harness swallows what the print macros write.
        let line = format!("skipped: {test}: no 4096 open files are allowed here\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    enough
}

/// Posts on a connection that is kept, and gives the status. (A client with a pool may open another connection, which
/// would wait behind the idle ones.)
async fn post_on(stream: &mut TcpStream, body: &str) -> u16 {
    let signature = sign(body.as_bytes());
    let head = format!(
        "POST /webhooks/interakt HTTP/1.1\r\nhost: x\r\ninterakt-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let mut answer = String::new();
    // The answer's body is one JSON object without another inside.
    while !answer.ends_with('}') {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The number that `max_connections` was lowered to, if it was.
fn lowered(daemon: &Daemon) -> Option<usize> {
    let text = daemon.log.text();
    let line = text.lines().find(|line| line.contains("max_connections is lowered"))?;
    let line: Value = serde_json::from_str(line).unwrap();
    usize::try_from(line["max_connections"].as_u64().unwrap()).ok()
}

async fn webhooks_go_on_beside_idle_connections(house: House, daemon: Daemon) {
    let mut kept = TcpStream::connect(daemon.address).await.unwrap();
    let body = |n| format!(r#"{{"type":"message_api_sent","data":{{"n":{n},"text":"{}"}}}}"#, "x".repeat(TEXT));
    assert_eq!(post_on(&mut kept, &body(0)).await, 200);
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(daemon.address).await.unwrap());
    }
    let descriptors = format!("/proc/{}/fd", daemon.pid());
    let full = lowered(&daemon).unwrap_or(1000).min(IDLE);
    wait_until("as many are taken as may be", || {
        (std::fs::read_dir(&descriptors).unwrap().count() >= full).then_some(())
    })
    .await;
    for n in 1..EVENTS {
        let status = post_on(&mut kept, &body(n)).await;
        assert_eq!(status, 200, "event {n}\n{}", daemon.log.text());
    }
    let archived = || lines_under(&house.path("out"), ".jsonl").len();
    wait_until("all in the archive", || (archived() == EVENTS).then_some(())).await;
    let segments = std::fs::read_dir(house.path("data/journal")).unwrap().count();
    assert!(segments > 3, "{segments} files");
    let database = house.path("data/ledger.db");
    let delivered = || column(&database, "SELECT cast(delivered AS text) FROM sinks");
    wait_until("the ledger has moved", || (delivered() == [EVENTS.to_string()]).then_some(())).await;
    let out = house.command(&["status", "--json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["sinks"]["archive"]["delivered"], EVENTS, "{status}");
    let text = daemon.log.text();
    assert!(!text.contains("Too many open files") && !text.contains("\"ERROR\""), "{text}");
    drop(idle);
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_1024_descriptors_connections_are_fewer_and_everything_else_goes_on() {
    if may_have_many("with_1024_descriptors_connections_are_fewer_and_everything_else_goes_on") {
        let house = house();
        let daemon = start(&house, 1024, 1024);
        assert!(lowered(&daemon).is_some_and(|most| (100..1000).contains(&most)), "{}", daemon.log.text());
        webhooks_go_on_beside_idle_connections(house, daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_limit_of_1024_is_raised_to_the_hard_one() {
    if may_have_many("a_soft_limit_of_1024_is_raised_to_the_hard_one") {
        let house = house();
        let daemon = start(&house, 1024, 4096);
        webhooks_go_on_beside_idle_connections(house, daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_not_even_a_few_connections_fit_it_is_said_and_webhooks_are_taken() {
    let house = house();
    let daemon = start(&house, 128, 128);
    assert!(daemon.log.text().contains("the limit of open files is too low"), "{}", daemon.log.text());
    let body = br#"{"type":"message_api_sent"}"#.to_vec();
    assert_eq!(post(&reqwest::Client::new(), &daemon.url(), body).await.unwrap().0, 200);
    wait_until("in the archive", || (lines_under(&house.path("out"), ".jsonl").len() == 1).then_some(())).await;
}
