//! What the service manager hears: ready when webhooks are taken, reloading and ready again whatever came of the
//! reload, a status line, stopping; and beats for as long as all parts of the daemon go on. The manager is a socket of
//! the test's own.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, Daemon, House, PATIENCE, lines_under, post, post_all, wait_until};
use crate::shim::Shim;
use crate::verbs::verb;

/// How soon the manager wants the next beat.
const TIMEOUT: Duration = Duration::from_millis(1600);
/// Beats that take longer than that together.
const MANY_BEATS: usize = 20;

/// The manager's socket, and every word that came.
struct Manager {
    path: std::path::PathBuf,
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Manager {
    fn listen(house: &House) -> Self {
        let path = house.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let all = Arc::clone(&heard);
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                all.lock().unwrap().push((Instant::now(), text));
            }
        });
        Self { path, heard }
    }

    /// The daemon's command, as the manager starts it.
    fn command(&self, house: &House, args: &[&str]) -> Command {
        let mut command = house.command(args);
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", TIMEOUT.as_micros().to_string());
        command
    }

    fn words(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    fn count(&self, word: &str) -> usize {
        self.words().iter().filter(|text| text.lines().any(|line| line == word)).count()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[String]) -> bool) {
        wait_until(what, || holds(&self.words()).then_some(())).await;
    }

    /// Waits for as many more beats.
    async fn beats(&self, more: usize) {
        let before = self.count("WATCHDOG=1");
        wait_until("it beats", || (self.count("WATCHDOG=1") >= before + more).then_some(())).await;
    }

    /// Waits until the manager would act: no beat has come for as long as it waits.
    async fn would_act(&self) {
        wait_until("no beat comes", || {
            let heard = self.heard.lock().unwrap();
            let last = heard.iter().rev().find(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| *at);
            last.is_some_and(|at| at.elapsed() > TIMEOUT).then_some(())
        })
        .await;
    }
}

/// The words without beats and statuses, one a datagram.
fn states(words: &[String]) -> Vec<&str> {
    let first = words.iter().filter_map(|text| text.lines().next());
    first.filter(|line| ["READY=", "RELOADING=", "STOPPING="].iter().any(|word| line.starts_with(word))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_when_it_listens_and_again_after_each_reload_however_that_ends() {
    let house = House::new(ARCHIVE);
    let manager = Manager::listen(&house);
    let daemon = House::start_as(manager.command(&house, &["run", "--watch"]));
    manager.until("ready", |words| states(words) == ["READY=1"]).await;
    let words = manager.words();
    let at = |start: &str| words.iter().position(|text| text.lines().any(|line| line.starts_with(start)));
    assert!(at("STATUS=starting").is_some() && at("EXTEND_TIMEOUT_USEC=") < at("READY=1"), "{words:?}");

    verb(&house, 0, &["reload"]);
    let good = ["READY=1", "RELOADING=1", "READY=1"];
    manager.until("a good reload", |words| states(words) == good).await;
    let reloading = manager.words().into_iter().find(|text| text.starts_with("RELOADING=1")).unwrap();
    assert!(reloading.lines().nth(1).is_some_and(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");

    // The file is watched, too: this is a reload of its own, and one more is asked for.
    house.configure(&ARCHIVE.replace("to =", "too ="));
    manager.until("the file has changed", |words| states(words).len() >= 5).await;
    assert!(verb(&house, 78, &["reload"]).contains("refused"));
    daemon.hang_up();
    let all = [&good[..], &["RELOADING=1", "READY=1"].repeat(3)[..]].concat();
    manager.until("three bad ones", |words| states(words) == all).await;

    post_all(&daemon.url(), (0..3).map(numbered)).await;
    manager.until("how it is", |words| words.iter().any(|text| text.contains("events/s, 0 pending, all sinks"))).await;
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
    manager.until("it stops", |words| states(words).last() == Some(&"STOPPING=1")).await;
    assert!(manager.words().iter().any(|text| text.starts_with("STOPPING=1\nSTATUS=stopping")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_no_room_for_the_sinks_does_not_keep_it_from_being_ready() {
    let house = House::new(ARCHIVE);
    let name = "service_manager::a_disk_that_has_no_room_for_the_sinks_does_not_keep_it_from_being_ready";
    let Some(shim) = Shim::build(name, house.folder.path()) else { return };
    let manager = Manager::listen(&house);
    let mut command = manager.command(&house, &["run"]);
    shim.preload(&mut command);
    shim.disk(2);
    let daemon = House::start_as(command);
    manager.until("ready", |words| states(words) == ["READY=1"]).await;
    assert!(daemon.log.wait_for(|line| line.contains("no sink can start")).is_some(), "{}", daemon.log.text());
    shim.disk(0);
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("delivered", || (lines_under(&house.path("out"), ".jsonl").len() == 3).then_some(())).await;
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_it_starts_get_neither_the_socket_nor_its_name() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/sinks/exec/examples/sink.py");
    let house = House::new(&format!(
        r#"
[sinks.mine]
kind = "exec"
command = ["sh", "-c", "(env; readlink /proc/$$/fd/*) >seen; exec python3 {program}"]
dir = "out"
env = {{ OUT = "mine.jsonl" }}
[[routes]]
match = "*"
where = '.type != ""'
to = "mine"
"#
    ));
    std::fs::create_dir(house.path("out")).unwrap();
    let manager = Manager::listen(&house);
    let daemon = House::start_as(manager.command(&house, &["run"]));
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("delivered", || (lines_under(&house.path("out"), ".jsonl").len() == 3).then_some(())).await;
    let seen = std::fs::read_to_string(house.path("out/seen")).unwrap();
    assert!(seen.contains("OUT=") && seen.contains("pipe:") && !seen.contains("socket:"), "{seen}");
    let mut all = vec![seen];
    let children = children(&daemon);
    assert!(!children.is_empty(), "there is a jq worker");
    for child in children {
        let environment = std::fs::read(format!("/proc/{child}/environ")).unwrap();
        all.push(String::from_utf8_lossy(&environment).into_owned());
        for file in std::fs::read_dir(format!("/proc/{child}/fd")).unwrap() {
            all.push(std::fs::read_link(file.unwrap().path()).unwrap().display().to_string());
        }
    }
    for text in all {
        let leaked = ["NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "notify.sock", "socket:"];
        assert!(leaked.iter().all(|word| !text.contains(word)), "{text}");
    }
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}

/// The processes that the daemon has started.
fn children(daemon: &Daemon) -> Vec<u32> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let numbers = processes.filter_map(|name| name.parse().ok());
    let parent = |process: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    numbers.filter(|process| parent(process) == Some(daemon.pid())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_beats_at_rest_and_no_more_once_a_part_of_it_stands_still() {
    let name = "service_manager::it_beats_at_rest_and_no_more_once_a_part_of_it_stands_still";
    for (thread, part) in [
        ("journal-commit", "the journal's commit thread"),
        ("ingress-0", "ingress-0"),
        ("tokio-rt-worker", "the sinks' runtime"),
    ] {
        let house = House::new(ARCHIVE);
        let Some(shim) = Shim::build(name, house.folder.path()) else { return };
        let manager = Manager::listen(&house);
        let mut command = manager.command(&house, &["run"]);
        shim.preload(&mut command);
        command.env("HOOKRELAY_SHIM_THREAD", thread);
        let daemon = House::start_as(command);
        // Nothing comes in: what beats is the watchdog's own timer, and the parts answer at rest.
        manager.beats(MANY_BEATS).await;
        shim.disk(4);
        // The commit thread looks at the clock when there is something to write.
        let url = daemon.url();
        let posted = tokio::spawn(async move { post(&reqwest::Client::new(), &url, numbered(1)).await });
        manager.would_act().await;
        let told = |line: &str| line.contains("gives no sign of life") && line.contains(part);
        assert!(daemon.log.wait_for(told).is_some(), "{part}: {}", daemon.log.text());
        // And when it goes on, it beats again, and the webhook is taken.
        shim.disk(0);
        manager.beats(2).await;
        assert_eq!(posted.await.unwrap().unwrap().0, 200, "{part}");
        assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0, "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_beats_while_the_disk_hangs_and_while_events_are_at_risk() {
    let name = "service_manager::it_beats_while_the_disk_hangs_and_while_events_are_at_risk";
    let house = House::new(ARCHIVE);
    let Some(shim) = Shim::build(name, house.folder.path()) else { return };
    let manager = Manager::listen(&house);
    let mut command = manager.command(&house, &["run"]);
    shim.preload(&mut command);
    command.env("HOOKRELAY_SHIM_THREAD", "journal-commit");
    let daemon = House::start_as(command);
    let delivered = || lines_under(&house.path("out"), ".jsonl").len();
    post_all(&daemon.url(), [numbered(0)]).await;
    wait_until("delivered", || (delivered() == 1).then_some(())).await;

    // The flush hangs for longer than the manager waits for a beat.
    shim.disk(3);
    let client = reqwest::Client::new();
    let (asked, url) = (client.clone(), daemon.url());
    let posted = tokio::spawn(async move { post(&asked, &url, numbered(1)).await });
    manager.beats(MANY_BEATS).await;
    assert_eq!(delivered(), 1, "the flush hangs still");
    shim.disk(0);
    assert_eq!(posted.await.unwrap().unwrap().0, 200);
    wait_until("delivered", || (delivered() == 2).then_some(())).await;

    // An event is at risk, and the commit thread stands still: to kill the daemon would lose the event.
    shim.disk(1);
    assert_eq!(post(&client, &daemon.url(), numbered(2)).await.unwrap().0, 200);
    let status = || crate::harness::ask_admin(&house, "/api/status");
    let end = Instant::now() + PATIENCE;
    while status().await["journal"]["at_risk"] == 0 {
        assert!(Instant::now() < end, "never at risk");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shim.disk(4);
    manager.beats(MANY_BEATS).await;
    assert_eq!(delivered(), 2, "it stands still");
    shim.disk(0);
    wait_until("delivered", || (delivered() == 3).then_some(())).await;
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}
