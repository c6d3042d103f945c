//! The real binary on a disk that fails while it runs: a preloaded library makes writes and flushes of journal and
//! ledger fail or hang, and records in which order flushes end and answers go out.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::bodies::{number_in, numbered};
use crate::harness::{House, PATIENCE, lines_under, post, post_all, wait_until};
use crate::metrics::{page_of, samples, value};
use crate::shim::Shim;

const TABLES: &str =
    "[sinks.out]\nkind = \"file\"\npath = \"out/all.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"out\"\n";

/// The entries of the library's log: what happened, and its bytes.
fn entries(log: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut all, mut rest) = (Vec::new(), log);
    while let [what, a, b, c, d, after @ ..] = rest {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        // The last entry may not be complete yet.
        let Some((bytes, next)) = after.split_at_checked(length) else { break };
        all.push((*what, bytes));
        rest = next;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_200_goes_out_after_the_flush_that_covers_its_event() {
    let house = House::new(TABLES);
    let name = "failing_disk::every_200_goes_out_after_the_flush_that_covers_its_event";
    let Some(shim) = Shim::build(name, house.folder.path()) else { return };
    let log = house.path("order.log");
    let mut command = house.command(&["run"]);
    shim.preload(&mut command);
    command.env("HOOKRELAY_SHIM_LOG", &log);
    let daemon = House::start_as(command);
    let senders = (0..8).map(|sender| {
        let url = daemon.url();
        tokio::spawn(async move { post_all(&url, (0..50).map(|n| numbered(sender * 50 + n))).await })
    });
    let mut ids = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        ids.extend(sender.await.unwrap());
    }
    assert_eq!(daemon.terminate(), 0);
    let bytes = std::fs::read(&log).unwrap();
    // Everything that was written, how much of it was written when a flush began, and how much is flushed.
    let (mut written, mut begun, mut flushed): (Vec<&[u8]>, usize, usize) = (Vec::new(), 0, 0);
    let (mut answers, mut flushes) = (0, 0);
    for (what, bytes) in entries(&bytes) {
        match what {
            b'W' => written.push(bytes),
            b'B' => begun = written.len(),
            b'S' => {
                flushed = flushed.max(begun);
                flushes += 1;
            }
            _ => {
                let text = String::from_utf8_lossy(bytes);
                for answer in text.split("{\"id\":\"").skip(1) {
                    let id = Uuid::try_parse(&answer[..36]).unwrap();
                    let is_in = |part: &&[u8]| part.windows(16).any(|part| part == id.as_bytes());
                    assert!(written[..flushed].iter().rev().any(is_in), "{id} was answered before it was flushed");
                    answers += 1;
                }
            }
        }
    }
    assert_eq!((answers, ids.len()), (400, 400));
    assert!(flushes > 1 && flushes <= 400, "{flushes} flushes");
}

/// Waits until metrics show so many webhooks at risk.
async fn at_risk_comes_to(wanted: f64, house: &House) {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = value(&samples(&page_of(house).await), "hookrelay_webhooks_at_risk", &[]);
        if shown == Some(wanted) {
            return;
        }
        assert!(Instant::now() < end, "{shown:?}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_disk_that_failed_was_full_or_hung_everything_answered_200_is_delivered() {
    let house = House::new(TABLES);
    let name = "failing_disk::after_a_disk_that_failed_was_full_or_hung_everything_answered_200_is_delivered";
    let Some(shim) = Shim::build(name, house.folder.path()) else { return };
    let mut command = house.command(&["run"]);
    shim.preload(&mut command);
    let daemon = House::start_as(command);
    let client = reqwest::Client::new();
    let mut taken = HashSet::new();
    let mut n = 0;
    for mode in [1, 2, 3] {
        taken.extend(n..n + 5);
        post_all(&daemon.url(), (n..n + 5).map(numbered)).await;
        shim.disk(mode);
        n += 5;
        // With `accept` these events are kept in memory, and `status` shows them as at risk.
        let posts = (n..n + 3).map(|n| {
            let (client, url) = (client.clone(), daemon.url());
            tokio::spawn(async move { post(&client, &url, numbered(n)).await.unwrap().0 })
        });
        for posted in posts.collect::<Vec<_>>() {
            assert_eq!(posted.await.unwrap(), 200, "mode {mode}");
        }
        taken.extend(n..n + 3);
        n += 3;
        if mode != 3 {
            // Where flushes hang, those of the ledger hang, too, and the figures wait for it.
            let status = house.command(&["status", "--json"]).output().unwrap();
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            assert!(status["journal"]["at_risk"].as_u64().unwrap() > 0, "mode {mode}: {status}");
        }
        // Metrics wait for nobody.
        at_risk_comes_to(3.0, &house).await;
        shim.disk(0);
        wait_until("everything is delivered", || {
            let lines = lines_under(&house.path("out"), ".jsonl");
            let there: HashSet<u64> = lines.iter().map(|line| number_in(line)).collect();
            (there == taken).then_some(())
        })
        .await;
        at_risk_comes_to(0.0, &house).await;
    }
    assert!(daemon.log.wait_for(|line| line.contains("before it was on disk")).is_some(), "it says so");
    assert_eq!(daemon.terminate(), 0);
}
