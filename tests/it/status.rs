//! The live figures, and that they add up: `accepted = delivered + dead + pending + filtered + dropped`, over kill -9.

use crate::bodies::numbered;
use crate::harness::{Callback, House, ask_admin, column, post_all, wait_until};
use crate::tables::{IMPATIENT, archive_and_crm};
use crate::verbs::{status, verb};

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

/// The columns of the row of that name, each with the head that it stands below.
fn row(printed: &str, heads: &str, name: &str) -> Vec<(String, String)> {
    let begins = |word: &str| printed.lines().find(|line| line.split("  ").next().unwrap().trim() == word).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let (heads, row) = (cells(begins(heads)), cells(begins(name)));
    assert!(heads.len() >= row.len(), "{printed}");
    heads.into_iter().zip(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_first_whether_all_is_well_and_then_what_is_not() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback.url()));
    let daemon = house.start();
    post_all(&daemon.url(), (0..10).map(numbered)).await;
    let crm = || status(&house)["sinks"]["crm"].clone();
    wait_until("all is delivered", || (crm()["delivered"] == 10).then_some(())).await;
    let well = verb(&house, 0, &["status"]);
    assert!(well.starts_with("ready\nhookrelay ") && well.contains(", up "), "{well}");
    assert!(well.contains("\njournal: 10 events, ") && well.contains(" of 10.0 GiB"), "{well}");
    let source = row(&well, "SOURCE", "interakt");
    let is = |row: &[(String, String)], head: &str, cell: &str| row.contains(&(head.to_owned(), cell.to_owned()));
    assert!(is(&source, "ACCEPTED", "10") && is(&source, "BUDGET", "0 of 5 failures"), "{well}");
    let sink = row(&well, "SINK", "crm");
    assert!(is(&sink, "STATE", "running") && is(&sink, "DELIVERED", "10") && is(&sink, "PENDING", "0"), "{well}");
    assert_eq!(status(&house)["state"], "ready");
    assert!(!well.contains('\u{1b}'), "colours are for terminals: {well}");

    callback.answer_with(500);
    post_all(&daemon.url(), (10..20).map(numbered)).await;
    wait_until("the sink is down", || (crm()["state"] == "down").then_some(())).await;
    let sick = verb(&house, 0, &["status"]);
    let reason = "\n  sink_down: sink crm takes no deliveries since 20";
    assert!(sick.starts_with("degraded: sink down (crm)\n") && sick.contains(reason), "{sick}");
    assert!(row(&sick, "SINK", "crm")[1].1.starts_with("DOWN for "), "{sick}");
    assert!(sick.contains(" http_5xx: 500"), "the last error with its code and detail: {sick}");
    let told = status(&house);
    assert_eq!((&told["state"], &told["ready"]), (&"degraded".into(), &true.into()), "{told}");
    assert_eq!(told["reasons"][0]["code"], "sink_down", "{told}");
    let ready = ask_admin(&house, "/readyz").await;
    assert_eq!(ready["reasons"], serde_json::json!(["sink_down"]), "{ready}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn without_a_daemon_status_says_so_and_exits_69() {
    let house = House::new(&tables("http://127.0.0.1:1/"));
    let out = house.command(&["status"]).output().unwrap();
    let printed = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(69), "{printed}");
    assert!(printed.contains("admin.sock") && printed.contains("hookrelay run"), "{printed}");
}
