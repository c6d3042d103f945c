//! A program as a sink: the example in Python, started by the real daemon, which is killed.

use std::collections::BTreeSet;

use crate::bodies::{number_in, numbered};
use crate::harness::{House, lines_under, post_all, until};

const EVENTS: u64 = 300;

/// The example program, behind a shell that notes which files it was given and then becomes it.
fn tables() -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/sinks/exec/examples/sink.py");
    format!(
        r#"
[sinks.mine]
kind = "exec"
command = ["sh", "-c", "ls /proc/$$/fd >files; exec python3 {program}"]
dir = "out"
env = {{ OUT = "mine.jsonl", TOKEN = "${{INTERAKT_WEBHOOK_SECRET}}" }}
start = "beginning"
batch = {{ max_events = 5 }}
[[routes]]
match = "*"
to = "mine"
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_a_program_gets_every_event_in_the_end() {
    let house = House::new(&tables());
    std::fs::create_dir(house.path("out")).unwrap();
    let arrived = || lines_under(&house.path("out"), ".jsonl");
    let daemon = house.start();
    post_all(&daemon.url(), (0..EVENTS).map(numbered)).await;
    until("some have arrived", || (arrived().len() >= 10).then_some(())).await;
    daemon.kill();
    let daemon = house.start();
    let all: BTreeSet<u64> = (0..EVENTS).collect();
    until("all have arrived", || {
        let numbers: BTreeSet<u64> = arrived().iter().map(|line| number_in(line)).collect();
        (numbers == all).then_some(())
    })
    .await;
    assert_eq!(daemon.terminate(), 0);
    // None of the daemon's own files or sockets. (The fourth is the folder that `ls` reads.)
    let files = std::fs::read_to_string(house.path("out/files")).unwrap();
    assert!(files.lines().all(|file| ["0", "1", "2", "3"].contains(&file)), "{files}");
}
