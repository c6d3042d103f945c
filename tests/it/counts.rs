//! A sink's counts are exact at any moment: over reloads under load, while the sink is out of the config, over kill -9.
//! They are compared with what was sent and what arrived.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::bodies::numbered;
use crate::harness::{Callback, Daemon, House, lines_under, post, post_all, wait_until};
use crate::tables::{file, route};
use crate::verbs::{self, status, verb};

/// A sink's accepted, delivered, pending, dropped.
fn figures(house: &House, sink: &str) -> [u64; 4] {
    verbs::figures(house, sink, ["accepted", "delivered", "pending", "dropped"])
}

fn crm(url: &str) -> String {
    format!(
        "[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\nbreaker = {{ probe = \"20ms\", probe_max = \"100ms\" }}\n\
        retry = {{ initial = \"20ms\", max = \"100ms\" }}\n"
    )
}

/// Many senders at work until the load is ended.
struct Load {
    /// How many requests were begun, and how many answered 200, over all loads of a test.
    count: Arc<[AtomicU64; 2]>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(daemon: &Daemon, count: &Arc<[AtomicU64; 2]>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |_| {
            let (url, count, stop) = (daemon.url(), Arc::clone(count), Arc::clone(&stop));
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                while !stop.load(SeqCst) {
                    let n = count[0].fetch_add(1, SeqCst);
                    let (status, answer) = post(&client, &url, numbered(n)).await.unwrap();
                    assert_eq!(status, 200, "{answer}");
                    count[1].fetch_add(1, SeqCst);
                }
            })
        };
        Self { count: Arc::clone(count), senders: (0..8).map(sender).collect(), stop }
    }

    /// Ends the senders; gives how many requests were answered over all loads.
    async fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        for sender in self.senders {
            sender.await.unwrap();
        }
        self.count[1].load(SeqCst)
    }
}

/// Asserts of these sinks, which get everything, that they have accepted no less than was answered before, and no more
/// than was begun.
async fn is_within(house: &Arc<House>, count: &[AtomicU64; 2], sinks: &[&str], what: &str) {
    let low = count[1].load(SeqCst);
    let asked = Arc::clone(house);
    let now = tokio::task::spawn_blocking(move || status(&asked)["sinks"].clone()).await.unwrap();
    let high = count[0].load(SeqCst);
    for sink in sinks {
        let accepted = now[sink]["accepted"].as_u64().unwrap();
        assert!((low..=high).contains(&accepted), "{what}: {sink} has {accepted}, expected {low} to {high}: {now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_a_reload_brings_back_under_load_is_owed_at_once_exactly_what_came() {
    let callback = Callback::start().await;
    callback.answer_with(503);
    let with = format!("{}{}{}", crm(&callback.url()), file("a"), route("all", "*", "\"crm\", \"a\""));
    let without = format!("{}{}", file("a"), route("all", "*", "\"a\""));
    let house = Arc::new(House::new(&with));
    let daemon = house.start();
    let count = Arc::default();
    for round in 0..10 {
        let load = Load::start(&daemon, &count);
        for tables in [&without, &with] {
            let before = count[1].load(SeqCst);
            wait_until("some more come", || (count[1].load(SeqCst) > before + 50).then_some(())).await;
            house.configure(tables);
            let reloaded = Arc::clone(&house);
            tokio::task::spawn_blocking(move || verb(&reloaded, 0, &["reload"])).await.unwrap();
        }
        is_within(&house, &count, &["crm", "a"], "after the reload").await;
        let all = load.end().await;
        assert_eq!(figures(&house, "crm"), [all, 0, all, 0], "round {round}");
    }
    callback.answer_with(200);
    let all = count[1].load(SeqCst);
    wait_until("all are delivered", || (figures(&house, "crm") == [all, all, 0, 0]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

/// The next number of a pseudo-random series that is the same in every run.
fn dice(state: &mut u64, sides: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % sides
}

/// A config drawn at random. `crm` takes nothing and gets everything while it is in the config; `a` is always in it;
/// `some` and `two` come and go, and get what their rules of the moment say, `two` by two routes.
fn drawn(state: &mut u64, url: &str, last: bool) -> (String, Vec<&'static str>) {
    let (mut tables, mut routes) = (file("a"), route("a", "*", "\"a\""));
    let mut all = vec!["a"];
    if last || dice(state, 2) == 0 {
        tables.push_str(&crm(url));
        routes.push_str(&route("crm", "*", "\"crm\""));
        all.push("crm");
    }
    for name in ["some", "two"] {
        if last || dice(state, 3) > 0 {
            tables.push_str(&file(name));
            let glob = ["*", "*_sent", "*_read", "nothing"][dice(state, 4) as usize];
            routes.push_str(&route(name, glob, &format!("\"{name}\"")));
            if name == "two" {
                routes.push_str(&route("again", "*_read", "\"two\""));
            }
        }
    }
    (tables + &routes, all)
}

/// Ids of the events in a sink's file.
fn ids_in(house: &House, sink: &str) -> HashSet<String> {
    let lines = lines_under(&house.path("out"), &format!("{sink}.jsonl"));
    // The bodies hold half an emoji, which not every JSON reader takes.
    lines.iter().map(|line| line.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()).collect()
}

/// Waits until all that was delivered to files is settled: after a kill nothing is then delivered again by other rules.
async fn files_are_settled(house: &House) {
    let files = |now: &Value| ["a", "some", "two"].iter().all(|s| now[s]["pending"].as_u64().unwrap_or(0) == 0);
    wait_until("the files have theirs", || files(&status(house)["sinks"]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_reloads_pauses_and_kills_come_under_load_every_count_is_that_of_the_senders_and_the_files() {
    let callback = Callback::start().await;
    callback.answer_with(503);
    let mut state = 22;
    let (tables, mut all) = drawn(&mut state, &callback.url(), true);
    let house = Arc::new(House::new(&tables));
    let mut daemon = house.start();
    let count: Arc<[AtomicU64; 2]> = Arc::default();
    let mut load = Load::start(&daemon, &count);
    for round in 0..30 {
        let before = count[1].load(SeqCst);
        wait_until("some more come", || (count[1].load(SeqCst) > before + 20).then_some(())).await;
        match dice(&mut state, 8) {
            0 => {
                load.end().await;
                files_are_settled(&house).await;
                daemon.kill();
                daemon = house.start();
                load = Load::start(&daemon, &count);
            }
            act @ 1..=2 if all.contains(&"crm") => {
                verb(&house, 0, &["sink", if act == 1 { "pause" } else { "resume" }, "crm"]);
            }
            _ => {
                let tables;
                (tables, all) = drawn(&mut state, &callback.url(), false);
                house.configure(&tables);
                let reloaded = Arc::clone(&house);
                tokio::task::spawn_blocking(move || verb(&reloaded, 0, &["reload"])).await.unwrap();
            }
        }
        is_within(&house, &count, &all, &format!("round {round}")).await;
    }
    let (tables, _) = drawn(&mut state, &callback.url(), true);
    house.configure(&tables);
    verb(&house, 0, &["reload"]);
    verb(&house, 0, &["sink", "resume", "crm"]);
    let sent = load.end().await;
    assert_eq!(figures(&house, "crm"), [sent, 0, sent, 0], "it has taken nothing, and never caught up");
    files_are_settled(&house).await;
    daemon.kill();
    let daemon = house.start();
    assert_eq!(figures(&house, "crm"), [sent, 0, sent, 0], "after a kill");
    callback.answer_with(200);
    let now = wait_until("nothing is pending", || {
        let now = status(&house)["sinks"].clone();
        now.as_object().unwrap().values().all(|sink| sink["pending"] == 0).then_some(now)
    })
    .await;
    let got: HashSet<String> = callback.got().into_iter().map(|got| got.id).collect();
    assert_eq!((got.len() as u64, &now["crm"]["accepted"], &now["a"]["accepted"]), (sent, &sent.into(), &sent.into()));
    for sink in ["a", "some", "two"] {
        let n = |key: &str| now[sink][key].as_u64().unwrap();
        assert_eq!(n("delivered"), ids_in(&house, sink).len() as u64, "{sink}: {now}");
        // The same payload by a second route is not delivered again.
        assert_eq!(n("accepted"), n("delivered") + n("filtered"), "{sink}: {now}");
    }
    assert_eq!(daemon.terminate(), 0);
}

/// Configures a house with these bounds of its journal.
fn configure_small(house: &House, tables: &str, bounds: &str) {
    house.configure(tables);
    let text = std::fs::read_to_string(house.config()).unwrap();
    let bounds = format!("min_free = 0\nsegment_size = \"1MiB\"\n{bounds}");
    std::fs::write(house.config(), text.replace("min_free = 0", &bounds)).unwrap();
}

/// A large event of type `owed`; each third one has another type.
fn large(n: u32) -> Vec<u8> {
    let kind = if n.is_multiple_of(3) { "other" } else { "owed" };
    format!(r#"{{"type":"{kind}","n":{n},"x":"{}"}}"#, "y".repeat(100_000)).into_bytes()
}

fn segments(house: &House) -> usize {
    let there = std::fs::read_dir(house.path("data/journal")).unwrap().flatten();
    there.filter(|file| file.file_name().to_string_lossy().ends_with(".segment")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_lets_go_while_a_sink_is_out_of_the_config_is_dropped_when_it_is_back() {
    let callback = Callback::start().await;
    callback.answer_with(503);
    let without = format!("{}{}", file("a"), route("all", "*", "\"a\""));
    let with = format!("{}{without}{}", crm(&callback.url()), route("owed", "owed", "\"crm\""));
    let bounds = "max_size = \"6MiB\"";
    let house = House::new("");
    configure_small(&house, &with, bounds);
    let mut daemon = house.start();
    let mut ids = Vec::new();
    let mut send = async |daemon: &Daemon, n: std::ops::Range<u32>| {
        ids.extend(post_all(&daemon.url(), n.map(large)).await);
    };
    send(&daemon, 0..30).await;
    assert_eq!(figures(&house, "crm"), [20, 0, 20, 0]);

    // A reload takes the sink out of the config, and another one brings it back.
    configure_small(&house, &without, bounds);
    verb(&house, 0, &["reload"]);
    send(&daemon, 30..150).await;
    wait_until("much has gone", || (segments(&house) <= 6).then_some(())).await;
    let ledger = rusqlite::Connection::open(house.path("data/ledger.db")).unwrap();
    let kept = "SELECT count(*) FROM deleted WHERE next > (SELECT place FROM sinks WHERE name = 'crm')";
    let rows: i64 = ledger.query_row(kept, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0, "what is kept for a sink that is away does not grow");
    configure_small(&house, &with, bounds);
    verb(&house, 0, &["reload"]);
    let [accepted, delivered, pending, dropped] = figures(&house, "crm");
    assert_eq!((accepted, delivered, pending + dropped), (100, 0, 100), "{pending} pending, {dropped} dropped");
    assert!(dropped >= 20 && pending > 0, "{pending} pending, {dropped} dropped");
    assert!(daemon.log.text().contains("sink_removed"));

    // The sink is taken out while the daemon is down, killed, and is back at a start.
    daemon.kill();
    configure_small(&house, &without, bounds);
    daemon = house.start();
    send(&daemon, 150..300).await;
    wait_until("much has gone", || (segments(&house) <= 6).then_some(())).await;
    daemon.kill();
    configure_small(&house, &with, bounds);
    daemon = house.start();
    let [accepted, delivered, pending, dropped] = figures(&house, "crm");
    assert_eq!((accepted, delivered, pending + dropped), (200, 0, 200), "{pending} pending, {dropped} dropped");
    callback.answer_with(200);
    // The journal may delete a little more meanwhile, because of `max_size`.
    let all = |now: [u64; 4]| (now[2] == 0).then_some(now);
    let [accepted, delivered, _, dropped] = wait_until("the rest is delivered", || all(figures(&house, "crm"))).await;
    assert_eq!((accepted, delivered + dropped), (200, 200));
    let owed: Vec<String> = (0..).zip(ids).filter(|(n, _)| n % 3 != 0).map(|(_, id)| id).collect();
    let got: HashSet<String> = callback.got().into_iter().map(|got| got.id).collect();
    assert_eq!(got.len() as u64, delivered);
    assert!(got.iter().all(|id| owed.contains(id)), "nothing that the sink is not owed");
    // Of the oldest those may be there that had failed before the sink was taken out: they were parked, and are kept.
    assert!(owed.iter().rev().take(20).all(|id| got.contains(id)), "the newest are there");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skip_drops_what_was_counted_up_to_its_time_by_the_rules_of_each_time() {
    let callback = Callback::start().await;
    let tables = |glob: &str| format!("{}{}", crm(&callback.url()), route("all", glob, "\"crm\""));
    let house = House::new(&tables("*"));
    let daemon = house.start();
    verb(&house, 0, &["sink", "pause", "crm"]);
    post_all(&daemon.url(), (0..9).map(numbered)).await;
    house.configure(&tables("*_read"));
    verb(&house, 0, &["reload"]);
    post_all(&daemon.url(), (9..15).map(numbered)).await;
    assert_eq!(figures(&house, "crm"), [11, 0, 11, 0]);
    let time = now();
    post_all(&daemon.url(), (15..21).map(numbered)).await;
    assert_eq!(figures(&house, "crm"), [13, 0, 13, 0]);
    assert!(verb(&house, 0, &["sink", "skip", "crm", "--to", &time]).contains("11 deliveries dropped"));
    assert_eq!(figures(&house, "crm"), [13, 0, 2, 11]);
    verb(&house, 0, &["sink", "resume", "crm"]);
    wait_until("the rest is delivered", || (figures(&house, "crm") == [13, 2, 0, 11]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

/// The present time, as a person would write it.
fn now() -> String {
    sink_api::Timestamp::now().to_string()
}

/// The status of `/readyz`.
fn readyz(house: &House) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut socket = std::os::unix::net::UnixStream::connect(house.path("data/admin.sock")).unwrap();
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_says_503_while_a_webhook_would_be_refused_and_only_then() {
    let tables = |on_failure: &str, enabled: bool| {
        format!(
            "on_journal_failure = \"{on_failure}\"\n{}enabled = {enabled}\n{}",
            file("a"),
            route("all", "*", "\"a\"")
        )
    };
    let bounds = "max_size = \"4MiB\"\nwhen_full = \"refuse\"\noverflow_max = \"1MiB\"";
    for on_failure in ["refuse", "accept"] {
        let house = House::new("");
        configure_small(&house, &tables(on_failure, false), bounds);
        let daemon = house.start();
        let client = reqwest::Client::new();
        assert_eq!(readyz(&house), 200);
        let mut n = 0;
        let mut taken = 0;
        loop {
            let (status, _) = post(&client, &daemon.url(), large(n)).await.unwrap();
            n += 1;
            if status == 503 {
                break;
            }
            taken += 1;
            assert!(taken < 1000, "it is never full");
            if on_failure == "accept" {
                assert_eq!(readyz(&house), 200, "{taken} taken");
            }
        }
        assert_eq!(readyz(&house), 503, "{on_failure}");
        configure_small(&house, &tables(on_failure, true), bounds);
        verb(&house, 0, &["reload"]);
        wait_until("there is room again", || (readyz(&house) == 200).then_some(())).await;
        let (status, _) = post(&client, &daemon.url(), large(n)).await.unwrap();
        assert_eq!(status, 200);
        wait_until("delivered", || (figures(&house, "a") == [taken + 1, taken + 1, 0, 0]).then_some(())).await;
        assert_eq!(daemon.terminate(), 0);
    }
}
