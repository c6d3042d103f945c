//! A log that nobody takes is no reason to stop: not for a sender, a sink, a reload, or the end.

use std::time::Duration;

use crate::bodies::numbered;
use crate::harness::{House, Reader, lines_under, post_all, until};

const TABLES: &str = r#"
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[[routes]]
match = "*"
to = "archive"
[[routes]]
name = "broken"
match = "*"
where = "error(1)"
to = "archive"
"#;

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each of these is a line in the log: a bad signature, a rule that fails, a reload.
async fn goes_on(house: &House, url: &str) {
    let refused = reqwest::Client::new().post(url).header("interakt-signature", "sha256=00").body("{}").send();
    assert_eq!(refused.await.unwrap().status(), 401);
    post_all(url, (0..100).map(numbered)).await;
    until("the sink goes on", || (lines_under(&house.path("out"), ".jsonl").len() == 100).then_some(())).await;
    for _ in 0..30 {
        let mut reload = tokio::process::Command::from(house.command(&["reload"]));
        assert_eq!(reload.status().await.unwrap().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_has_gone_stops_nothing() {
    let house = House::new(TABLES);
    let daemon = house.start();
    daemon.log.is_to(Reader::Leaves);
    tokio::time::timeout(PATIENCE, goes_on(&house, &daemon.url())).await.expect("the daemon stands still");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    let house = House::new(TABLES);
    let daemon = house.start();
    daemon.log.is_to(Reader::Sleeps);
    tokio::time::timeout(PATIENCE, goes_on(&house, &daemon.url())).await.expect("the daemon stands still");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_start_whose_log_cannot_be_written_is_a_start() {
    let house = House::new(TABLES);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut daemon = house.command(&["run"]).stderr(full).spawn().unwrap();
    let answers = || house.command(&["status", "--json"]).output().unwrap().status.success();
    let until = std::time::Instant::now() + PATIENCE;
    while !answers() {
        assert_eq!(daemon.try_wait().unwrap(), None, "the daemon ended");
        assert!(std::time::Instant::now() < until, "no daemon answers");
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
