//! A program as a sink: the example in Python, started by the real daemon, which is killed meanwhile.

use std::collections::BTreeSet;

use crate::bodies::{number_in, numbered};
use crate::harness::{House, lines_under, post, wait_until};

/// So many senders that the program does not keep up with them.
const SENDERS: usize = 8;

/// The example program, behind a shell that notes which files it was given and then becomes it.
fn tables() -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/sinks/exec/examples/sink.py");
    format!(
        r#"
[sinks.mine]
kind = "exec"
command = ["sh", "-c", "readlink /proc/$$/fd/* >files; exec python3 {program}"]
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

/// Sends until the daemon is gone; gives the numbers that were answered 200.
async fn send(url: String, numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let client = reqwest::Client::new();
    let mut answered = Vec::new();
    for n in numbers {
        match post(&client, &url, numbered(n)).await {
            Ok((status, _)) => assert_eq!(status, 200),
            Err(_) => break,
        }
        answered.push(n);
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_a_program_gets_every_event_that_was_answered_200() {
    let house = House::new(&tables());
    std::fs::create_dir(house.path("out")).unwrap();
    let arrived = || lines_under(&house.path("out"), ".jsonl").iter().map(|l| number_in(l)).collect::<BTreeSet<u64>>();
    let mut answered = BTreeSet::new();
    for life in 0..3 {
        let daemon = house.start();
        let senders =
            (0..SENDERS as u64).map(|n| tokio::spawn(send(daemon.url(), (life * 1_000_000 + n..).step_by(SENDERS))));
        let senders: Vec<_> = senders.collect();
        let before = arrived().len();
        wait_until("some have arrived", || (arrived().len() >= before + 50).then_some(())).await;
        tokio::task::spawn_blocking(move || daemon.kill()).await.unwrap();
        for sender in senders {
            answered.extend(sender.await.unwrap());
        }
    }
    let daemon = house.start();
    wait_until("all have arrived", || answered.is_subset(&arrived()).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    // The program was given none of the daemon's own files or sockets.
    let files = std::fs::read_to_string(house.path("out/files")).unwrap();
    assert!(files.contains("pipe:") && !files.contains("anon_inode:"), "{files}");
    assert!(!files.contains(house.path("data").to_str().unwrap()), "{files}");
}

#[test]
fn check_sees_a_script_that_is_not_there_however_late_that_is_found() {
    let table = |command: &str| {
        format!("[sinks.mine]\nkind = \"exec\"\ncommand = {command}\n[[routes]]\nmatch = \"*\"\nto = \"mine\"\n")
    };
    // On a busy machine the interpreter may take long to find that the script is not there.
    let house = House::new(&table(r#"["sh", "-c", "sleep 2; exec python3 gone.py"]"#));
    let out = house.command(&["check", "--connect"]).output().unwrap();
    let printed = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(69), "{printed}");
    assert!(printed.contains("connect: the program failed on an empty input (exit status: 2)"), "{printed}");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/sinks/exec/examples/sink.py");
    let house = House::new(&table(&format!("[\"sh\", \"-c\", \"sleep 2; OUT=out exec python3 {program}\"]")));
    let out = house.command(&["check", "--connect"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
}
