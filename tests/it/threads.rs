//! If the system gives few threads, or none, the daemon either starts with all it needs or says why it does not.
//! Nothing panics.
//!
//! The system's limit counts all processes of a user and does not hold for root. So root runs the daemon as another
//! user who runs nothing else. If that cannot be done, the test says so and stops.

use std::io::Write as _;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use crate::harness::{House, column, lines_under, post_all, wait_until};

const TABLES: &str = r#"
[sinks.rules]
kind = "file"
path = "out/all.jsonl"
[[routes]]
match = "*"
where = '.n >= 0'
to = "rules"
"#;
const EVENTS: usize = 20;

/// A limit above the number of threads that the daemon has at the beginning.
fn enough() -> u64 {
    4 * std::thread::available_parallelism().map_or(1, usize::from) as u64 + 32
}

/// The command by which to run a program as a user with no other process; `None`, with a line on the terminal, if that
/// cannot be done.
fn lone_user(test: &str) -> Option<(u32, [String; 4])> {
    let uid = 60_000 + std::process::id() % 5_000;
    let by = ["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()];
    let mut command = Command::new(&by[0]);
    command.args(&by[1..]).arg(env!("CARGO_BIN_EXE_hookrelay")).arg("--version").stdout(Stdio::null());
    let works = rustix::process::geteuid().is_root() && command.status().is_ok_and(|status| status.success());
    if !works {
        // Straight to the terminal: the harness swallows what the print macros write.
        let line = format!("skipped: {test}: not root, no setpriv, or the binary is out of other users' reach\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    works.then_some((uid, by))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_threads_it_starts_or_says_why_and_no_event_is_blamed() {
    let Some((uid, by)) = lone_user("with_few_threads_it_starts_or_says_why_and_no_event_is_blamed") else { return };
    let (mut refused, mut short) = (0, 0);
    for limit in 1..enough() {
        let house = House::new(TABLES);
        for path in [house.folder.path().to_owned(), house.config()] {
            chown(path, Some(uid), Some(uid)).unwrap();
        }
        let limited = format!("--nproc={limit}:");
        let mut by: Vec<&str> = by.iter().map(String::as_str).collect();
        by.extend(["prlimit", &limited]);
        let command = house.command_by(&by, &["run"]);
        let daemon = match tokio::task::spawn_blocking(|| House::try_start(command)).await.unwrap() {
            Ok(daemon) => daemon,
            Err((code, log)) => {
                assert_eq!(code, Some(71), "{limit} threads: {log}");
                assert!(log.contains("threads that the daemon needs") && !log.contains("panicked"), "{limit}: {log}");
                refused += 1;
                continue;
            }
        };
        let text = || daemon.log.text();
        wait_until("a word of the admin listener", || text().contains("admin listener").then_some(())).await;
        let has_admin = !text().contains("the admin listener is missing");
        post_all(&daemon.url(), (0..EVENTS).map(|n| format!("{{\"type\":\"t\",\"n\":{n}}}").into_bytes())).await;
        let archived = || lines_under(&house.path("out"), ".jsonl").len();
        // Either there is a worker process for the rules, or the log says that there is none.
        wait_until("delivered, or logged why not", || {
            (archived() == EVENTS || text().contains("rules cannot be evaluated")).then_some(())
        })
        .await;
        let is_short = text().contains("rules cannot be evaluated") || !has_admin;
        short += usize::from(is_short);
        if has_admin {
            let status = house.command(&["status"]).output().unwrap();
            assert!(status.status.success(), "{limit}: {}", String::from_utf8_lossy(&status.stderr));
        }
        let mut lift = Command::new(by[0]);
        lift.args(&by[1..4]).args(["prlimit", "--pid", &daemon.pid().to_string(), &format!("--nproc={}:", enough())]);
        assert!(lift.status().unwrap().success(), "{limit}: the limit is not lifted");
        wait_until("all delivered", || (archived() == EVENTS).then_some(())).await;
        assert_eq!(
            column(&house.path("data/ledger.db"), "SELECT code || ': ' || detail FROM held"),
            [""; 0],
            "{limit}"
        );
        assert!(!text().contains("panicked"), "{limit}: {}", text());
        println!("{limit} threads: admin {has_admin}, {}", if is_short { "something is missing" } else { "enough" });
        let log = daemon.log.clone();
        assert_eq!(
            tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(),
            0,
            "{limit}: {}",
            log.text()
        );
        if !is_short {
            break;
        }
    }
    assert!(refused > 3 && short > 0, "{refused} refused, {short} short of something");
}
