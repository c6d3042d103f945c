//! Strangers without a secret hold everything that the public port gives them, for good. Clients with a secret are not
//! delayed by that.

use std::time::{Duration, Instant};

use crate::bodies::numbered;
use crate::certificates::Authority;
use crate::harness::{Daemon, House, PATIENCE, ask_admin, can_open, post, wait_until};
use crate::hostile::{Crowd, SORTS, Sort, TLS_SORTS};

/// Strangers at once: just below `max_connections` (4,096), and above it.
const MANY: usize = 4000;
const TOO_MANY: usize = 4400;
/// Clients with a secret, and what each of them sends.
const CLIENTS: u64 = 8;
const EACH: u64 = 20;
/// Most resident memory of the daemon, in MiB, whatever the strangers do. Tasks of a build without optimisation are
/// larger.
const RESIDENT: u64 = if cfg!(debug_assertions) { 250 } else { 200 };

const KEEP: &str = "[sinks.out]\nkind = \"file\"\npath = \"out/all.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"out\"\n";

/// Starts a daemon whose timeouts never end a stranger's request, so that a client that waits for strangers waits for
/// good.
fn patient() -> (House, Daemon) {
    let house = House::new(KEEP);
    let text = std::fs::read_to_string(house.config()).unwrap();
    let text = text.replace("[server]\n", "[server]\nheader_timeout = \"1h\"\nbody_timeout = \"1h\"\n");
    std::fs::write(house.config(), text).unwrap();
    let daemon = house.start();
    (house, daemon)
}

/// The same over TLS, and clients that trust it.
fn patient_over_tls() -> (House, Daemon, To) {
    let (house, authority) = (House::new(KEEP), Authority::new());
    let (cert, key) = authority.leaf("localhost", 2090);
    std::fs::write(house.path("cert.pem"), cert).unwrap();
    std::fs::write(house.path("key.pem"), key).unwrap();
    let keys = "listen = \"tls://127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n\
                header_timeout = \"1h\"\nbody_timeout = \"1h\"\n";
    house.serve(keys, KEEP);
    let daemon = house.start();
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let url = format!("https://localhost:{}/webhooks/interakt", daemon.address.port());
    (house, daemon, To { url, root: Some(root) })
}

/// Several clients send webhooks of this size, on kept connections and on new ones; all must be answered 200.
async fn send_all(to: &To, pad: usize) -> Vec<Duration> {
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(send(client, to.clone(), pad))).collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    times.sort();
    times
}

/// Where clients send to, and whom they trust.
#[derive(Clone)]
struct To {
    url: String,
    root: Option<reqwest::Certificate>,
}

impl To {
    fn client(&self) -> reqwest::Client {
        let roots = self.root.clone().into_iter();
        reqwest::Client::builder().tls_certs_only(roots).build().unwrap()
    }
}

async fn send(client: u64, to: To, pad: usize) -> Vec<Duration> {
    let kept = to.client();
    let mut times = Vec::new();
    for nth in 0..EACH {
        let mut body = numbered(client * EACH + nth);
        body.splice(1..1, format!("\"pad\":\"{}\",", "x".repeat(pad)).into_bytes());
        let fresh = to.client();
        let began = Instant::now();
        let (status, answer) = post(if nth % 2 == 0 { &kept } else { &fresh }, &to.url, body).await.expect("an answer");
        assert_eq!(status, 200, "{answer}");
        times.push(began.elapsed());
    }
    times
}

fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn beside(sorts: &[Sort], connections: usize, pad: usize) {
    let (_house, daemon) = patient();
    let to = To { url: daemon.url(), root: None };
    hold_on(&daemon, &to, sorts, connections, pad).await;
}

async fn beside_over_tls(sort: Sort, connections: usize) {
    let (_house, daemon, to) = patient_over_tls();
    hold_on(&daemon, &to, &[sort], connections, 0).await;
}

async fn hold_on(daemon: &Daemon, to: &To, sorts: &[Sort], connections: usize, pad: usize) {
    if !can_open(2 * TOO_MANY as u64) {
        println!("skipped: strangers: the limit of open files is too low for {TOO_MANY} connections");
        return;
    }
    let crowd = Crowd::of(sorts, connections, daemon.address);
    wait_until("all strangers are there", || (crowd.arrived() >= connections as u64).then_some(())).await;
    let times = tokio::time::timeout(2 * PATIENCE, send_all(to, pad)).await.expect("nobody waits for a stranger");
    let resident = resident(daemon);
    let p99 = times[times.len() * 99 / 100];
    println!(
        "{sorts:?} x {connections}: p99 {p99:?}, at most {:?}, {resident} MiB, {} sent away",
        times[times.len() - 1],
        crowd.sent_away()
    );
    assert!(resident <= RESIDENT, "{resident} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_or_never_end_delay_nobody() {
    for sort in [Sort::NoBody, Sort::HalfBody, Sort::SmallBody] {
        beside(&[sort], MANY, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_body_finds_room_beside_those_that_never_end() {
    beside(&[Sort::NoBody, Sort::HalfBody], MANY / 2, 130_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_half_heads_beyond_max_connections_delay_nobody() {
    for sort in [Sort::Idle, Sort::HalfHead] {
        beside(&[sort], TOO_MANY, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_delay_nobody_and_hold_little() {
    for sort in TLS_SORTS {
        beside_over_tls(sort, TOO_MANY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_whose_bodies_never_come_delay_nobody_and_hold_little() {
    beside(&[Sort::Streams], 26, 0).await;
    beside(&[Sort::HeavyStreams], 40, 0).await;
    // More connections than may speak HTTP/2 at once.
    for sort in [Sort::Streams, Sort::HeavyStreams] {
        beside(&[sort], MANY, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pressure_on_the_public_port_is_shown_in_the_log_in_readyz_and_in_status() {
    let (house, daemon) = patient();
    let text = std::fs::read_to_string(house.config()).unwrap();
    drop(daemon);
    std::fs::write(house.config(), text.replace("[server]\n", "[server]\nmax_connections = 20\n")).unwrap();
    let daemon = house.start();
    let status = || {
        let out = house.command(&["status", "--json"]).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()
    };
    assert_eq!(status()["reasons"], serde_json::json!([]));
    let _crowd = Crowd::of(&SORTS, 60, daemon.address);
    // A crowd that speaks to a source's path may spend its failure budget, too.
    let is_pressed = || status()["reasons"].as_array().unwrap().iter().any(|reason| reason["code"] == "front_pressed");
    wait_until("status says so", || is_pressed().then_some(())).await;
    assert_eq!(status()["ready"], true);
    assert!(daemon.log.wait_for(|line| line.contains("more is sent than [server] has room for")).is_some());
    let ready = ask_admin(&house, "/readyz").await;
    assert!(ready["reasons"].as_array().unwrap().contains(&"front_pressed".into()), "{ready}");
}
