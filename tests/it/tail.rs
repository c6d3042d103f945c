//! Events as they pass: by `tail`, over a restart, and by a reader that is too slow.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{House, PATIENCE, post_all, wait_until};
use crate::tables::{file, route};
use crate::verbs::verb_without_secret;

/// A `tail` that runs; killed when dropped.
struct Tail {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tail {
    fn start(house: &House, args: &[&str]) -> Self {
        let mut command = house.command(&[&["tail"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            let read = BufReader::new(out).lines().map_while(Result::ok);
            read.for_each(|line| kept.lock().unwrap().push(line));
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    async fn wait_for(&self, lines: usize) -> Vec<String> {
        wait_until("lines", || Some(self.lines()).filter(|shown| shown.len() >= lines)).await
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_shown_as_they_pass_and_a_restart_leaves_no_hole() {
    let routes = "[[routes]]\nmatch = \"*_read\"\nwhere = '.data.message.id != \"m-5\"'\nto = \"reads\"\n";
    let house = House::new(&[file("archive"), file("reads"), route("all", "*", "\"archive\""), routes.into()].concat());
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    let all = Tail::start(&house, &["--since", "1h", "--utc"]);
    let shown = all.wait_for(3).await;
    assert!(shown[0].contains("Z message_api_sent /webhooks/interakt m-0 → archive"), "{shown:?}");
    assert!(shown[2].ends_with("message_api_read /webhooks/interakt m-2 → archive, reads"), "{shown:?}");
    // What comes from now on: the first event that it shows says that it is there.
    let reads = Tail::start(&house, &["--since", "1h", "--sink", "reads", "--json"]);
    let where_read =
        Tail::start(&house, &["--since", "1h", "--where", ".type | endswith(\"_read\")", "--json", "--clear"]);
    reads.wait_for(1).await;
    where_read.wait_for(1).await;
    assert_eq!(daemon.terminate(), 0);
    let daemon = house.start();
    post_all(&daemon.url(), (3..9).map(numbered)).await;
    let shown = all.wait_for(9).await;
    let subjects: Vec<&str> = shown.iter().map(|line| line.split(' ').nth(4).unwrap()).collect();
    assert_eq!(subjects, (0..9).map(|n| format!("m-{n}")).collect::<Vec<_>>(), "each once, in order");
    let json = |line: &String| serde_json::from_str::<Value>(&line.replace("\\ud83d", "")).unwrap();
    let shown: Vec<Value> = reads.wait_for(2).await.iter().map(json).collect();
    assert_eq!(shown.iter().map(|line| line["subject"].as_str().unwrap()).collect::<Vec<_>>(), ["m-2", "m-8"]);
    assert_eq!(shown[0]["deliveries"], serde_json::json!(["archive", "reads"]));
    assert_eq!(shown[0]["data"]["data"]["customer"]["channel_phone_number"], "***10");
    let shown: Vec<Value> = where_read.wait_for(3).await.iter().map(json).collect();
    assert_eq!(shown.iter().map(|line| line["subject"].as_str().unwrap()).collect::<Vec<_>>(), ["m-2", "m-5", "m-8"]);
    assert_eq!(shown[0]["data"]["data"]["customer"]["channel_phone_number"], "919876543210");
    assert!(verb_without_secret(&house, 2, &["tail", "--where", ".a =="]).contains("where"));
    assert_eq!(daemon.terminate(), 0);
}

/// An event of an answer of server-sent events, by its lines.
struct Slow {
    answer: reqwest::Response,
    rest: String,
}

impl Slow {
    async fn open(house: &House) -> Self {
        let client = reqwest::Client::builder().unix_socket(house.path("data/admin.sock")).build().unwrap();
        let answer = client.get("http://x/api/tail?data=false").send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, rest: String::new() }
    }

    async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.rest = rest;
                if !event.starts_with(':') {
                    return event;
                }
                continue;
            }
            let more = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.unwrap().unwrap().unwrap();
            self.rest.push_str(&String::from_utf8_lossy(&more));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_what_is_left_out_and_keeps_nobody_waiting() {
    const EVENTS: u64 = 10_000;
    const SENDERS: u64 = 20;
    // It rests for longer than a tail waits, but not for so long that it is given up, and then reads a good part of
    // what the system holds for it.
    const REST: Duration = Duration::from_secs(3);
    const AT_ONCE: u64 = 800;
    let house = House::new(&[file("archive"), route("all", "*", "\"archive\"")].concat());
    let daemon = house.start();
    let mut slow = Slow::open(&house).await;
    let quick = Tail::start(&house, &["--since", "1h"]);
    let share = |sender: u64| (0..EVENTS / SENDERS).map(move |n| numbered(sender * (EVENTS / SENDERS) + n));
    let url = daemon.url();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let url = url.clone();
            tokio::spawn(async move { post_all(&url, share(sender)).await })
        })
        .collect();
    let (mut lines, mut left_out) = (0, 0);
    while lines + left_out < EVENTS {
        if lines % AT_ONCE == 0 && left_out == 0 {
            tokio::time::sleep(REST).await;
        }
        let event = slow.next().await;
        match event.strip_prefix("event: left_out\ndata: ") {
            Some(data) => left_out += serde_json::from_str::<Value>(data).unwrap()["events"].as_u64().unwrap(),
            None => lines += 1,
        }
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let shown = quick.wait_for(EVENTS as usize).await;
    assert_eq!(shown.len() as u64, EVENTS);
    assert!(lines + left_out == EVENTS && left_out > 0 && lines > 0, "{lines} shown, {left_out} left out");
    // From here on it is as quick as others.
    let ids = post_all(&url, [numbered(EVENTS)]).await;
    assert!(slow.next().await.starts_with(&format!("id: {}\ndata: {{", ids[0])));
    assert_eq!(daemon.terminate(), 0);
}
