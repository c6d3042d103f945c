//! A log that nobody takes is no reason to stop: not for a sender, a sink, a reload, or the end.

use std::time::Duration;

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, House, Reader, lines_under, post_all, until};

/// And a rule that fails for every event.
const BROKEN: &str = "[[routes]]\nname = \"broken\"\nmatch = \"*\"\nwhere = \"error(1)\"\nto = \"archive\"\n";

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

async fn is_stopped_by_nothing(be: Reader) {
    let house = House::new(&format!("{ARCHIVE}{BROKEN}"));
    let daemon = house.start();
    daemon.log.is_to(be);
    tokio::time::timeout(PATIENCE, goes_on(&house, &daemon.url())).await.expect("the daemon stands still");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_has_gone_stops_nothing() {
    is_stopped_by_nothing(Reader::Leaves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    is_stopped_by_nothing(Reader::Sleeps).await;
}

#[test]
fn a_start_whose_log_cannot_be_written_is_a_start() {
    let house = House::new(ARCHIVE);
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
