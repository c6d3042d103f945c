//! The live figures, and that they add up: `accepted = delivered + dead + pending + filtered + dropped`, over kill -9.

use crate::bodies::numbered;
use crate::harness::{Callback, House, column, post_all, wait_until};
use crate::tables::{IMPATIENT, archive_and_crm};
use crate::verbs::status;

/// A second route names the archive again.
fn tables(url: &str) -> String {
    let again = "[[routes]]\nname = \"again\"\nmatch = \"message_api_*\"\nto = [\"archive\"]\n";
    archive_and_crm(url, IMPATIENT) + again
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_add_up_after_kill_9_and_nothing_owed_is_forgotten() {
    let callback = Callback::start().await;
    callback.answer_with(500);
    let house = House::new(&tables(&callback.url()));
    for life in 1..=3 {
        let daemon = house.start();
        post_all(&daemon.url(), (life * 100..life * 100 + 100).map(numbered)).await;
        let crm = status(&house)["sinks"]["crm"].clone();
        assert_eq!((crm["accepted"].as_u64(), crm["pending"].as_u64()), (Some(life * 100), Some(life * 100)), "{crm}");
        assert!(crm["oldest_pending_s"].as_f64().unwrap() > 0.0, "{crm}");
        daemon.kill();
    }
    let daemon = house.start();
    wait_until("the breaker has opened", || (status(&house)["sinks"]["crm"]["breaker"] != "closed").then_some(()))
        .await;
    callback.answer_with(200);
    let settled = wait_until("all is settled", || {
        let status = status(&house);
        let is_done = |sink: &str| status["sinks"][sink]["pending"] == 0;
        (is_done("crm") && is_done("archive")).then_some(status)
    })
    .await;
    assert_eq!(settled["sinks"]["crm"]["delivered"], 300);
    // The second route sends the same payload to the file again: the event is owed twice and delivered once.
    let archive = &settled["sinks"]["archive"];
    assert_eq!(
        (&archive["accepted"], &archive["delivered"], &archive["filtered"]),
        (&600.into(), &300.into(), &300.into())
    );
    assert_eq!(settled["journal"]["events"], 300);
    assert_eq!(daemon.terminate(), 0);
    assert!(!house.path("data/admin.sock").exists());
}

/// A single failing delivery does not open the breaker, and once parked it is behind the cursor; so it must show
/// elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_delivery_that_fails_on_and_on_is_in_the_log_and_grows_old_in_status() {
    let callback = Callback::start().await;
    callback.answer_with(503);
    let house = House::new(&tables(&callback.url()));
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    let parked = || column(&house.path("data/ledger.db"), "SELECT id FROM held WHERE due IS NOT NULL");
    wait_until("it is parked", || (parked().len() == 1).then_some(())).await;
    let crm = || status(&house)["sinks"]["crm"].clone();
    let age = || crm()["oldest_pending_s"].as_f64().unwrap();
    assert_eq!((&crm()["breaker"], &crm()["pending"]), (&"closed".into(), &1.into()));
    let first = age();
    assert!(first > 0.0);
    wait_until("it grows older", || (age() > first).then_some(())).await;
    let is_failure =
        |line: &&str| line.contains("a delivery failed") && line.contains("\"crm\"") && line.contains("503");
    assert_eq!(daemon.log.text().lines().filter(is_failure).count(), 1, "{}", daemon.log.text());
    daemon.kill();
}

#[test]
fn without_a_daemon_status_says_so_and_exits_69() {
    let house = House::new(&tables("http://127.0.0.1:1/"));
    let out = house.command(&["status"]).output().unwrap();
    let printed = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(69), "{printed}");
    assert!(printed.contains("admin.sock") && printed.contains("hookrelay run"), "{printed}");
}
