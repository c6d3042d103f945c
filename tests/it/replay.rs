//! A span of the journal delivered once more: by filters, over kill -9, under the same ids; and a dry run under other
//! rules.

use std::collections::HashMap;

use crate::bodies::numbered;
use crate::harness::{Callback, House, post_all, wait_until};
use crate::verbs::{self, json, json_without_secret, verb};

/// Accepted, delivered, pending.
fn figures(house: &House) -> [u64; 3] {
    verbs::figures(house, "crm", ["accepted", "delivered", "pending"])
}

fn tables(url: &str, more: &str) -> String {
    format!(
        "[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\nretry = {{ initial = \"10ms\", max = \"50ms\" }}\n\
        breaker = {{ probe = \"10ms\", probe_max = \"50ms\" }}\n[[routes]]\nmatch = \"*\"\nto = \"crm\"\n{more}"
    )
}

/// How often each id came; asserts that its body was always the same.
fn came(callback: &Callback) -> HashMap<String, usize> {
    let mut came: HashMap<String, (usize, bytes::Bytes)> = HashMap::new();
    for got in callback.got() {
        let entry = came.entry(got.id).or_insert((0, got.body.clone()));
        assert_eq!(entry.1, got.body);
        entry.0 += 1;
    }
    came.into_iter().map(|(id, (n, _))| (id, n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_delivers_what_its_filters_name_again_under_the_same_ids() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..30).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [30, 30, 0]).then_some(())).await;

    let said = verb(&house, 0, &["replay", "--since", "1h", "--type", "*_sent", "--sink", "crm"]);
    let complete = "is complete: 30 events looked at, for crm\n  crm: 10 delivered, 0 dead, 0 filtered\n";
    assert!(said.contains(complete), "{said}");
    assert!(said.contains("10 events of this span, at most\n  crm (http): 10 deliveries, which come again"), "{said}");
    assert_eq!(figures(&house), [40, 40, 0], "it has waited for all of it");
    let counts = came(&callback);
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(counts[id], if n % 3 == 0 { 2 } else { 1 }, "{n}");
    }
    let said = verb(&house, 0, &["replay", "--since", "1h", "--subject", "m-7"]);
    assert!(said.contains("1 event of this span, at most\n  crm (http): 1 delivery, which"), "{said}");
    wait_until("one more", || (figures(&house) == [41, 41, 0]).then_some(())).await;
    assert_eq!(came(&callback)[&ids[7]], 2);
    assert!(verb(&house, 0, &["replay", "--since", "1h", "--until", "30m"]).contains("nothing to replay"));
    assert!(verb(&house, 1, &["replay", "--since", "1h", "--sink", "crn"]).contains("`crm`"));
    assert!(verb(&house, 1, &["replay", "--since", "1h", "--rate", "fast"]).contains("300/min"));
    assert!(verb(&house, 1, &["replay", "--cancel", "99"]).contains("99"));
    assert_eq!(json(&house, &["replay", "--list"]), serde_json::json!([]));
    assert_eq!(daemon.terminate(), 0);
    verb(&house, 69, &["replay", "--since", "1h"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_survives_kill_9_and_gives_every_event_again() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback.url(), ""));
    let mut daemon = house.start();
    let ids = post_all(&daemon.url(), (0..400).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [400, 400, 0]).then_some(())).await;
    let begun = json(&house, &["replay", "--since", "1h", "--detach", "--rate", "400/s"]);
    assert_eq!((&begun["events"], &begun["sinks"]), (&400.into(), &serde_json::json!(["crm"])), "{begun}");
    for share in [0.1, 0.4, 0.7] {
        wait_until("it has come so far", || {
            let list = json(&house, &["replay", "--list"]);
            let done = list.as_array().unwrap().first().map_or(1.0, |replay| replay["done"].as_f64().unwrap());
            (done >= share).then_some(())
        })
        .await;
        daemon.kill();
        daemon = house.start();
        wait_until("it answers", || house.command(&["status"]).status().unwrap().success().then_some(())).await;
    }
    wait_until("all came again", || came(&callback).values().all(|n| *n >= 2).then_some(())).await;
    wait_until("and is settled", || (figures(&house) == [800, 800, 0]).then_some(())).await;
    let counts = came(&callback);
    assert_eq!(counts.len(), ids.len());
    // Each of three kills may repeat the eight deliveries under way and those settled last.
    let twice = counts.values().map(|n| n - 2).sum::<usize>();
    assert!(twice <= 3 * (8 + 400), "{twice}");
    assert_eq!(json(&house, &["replay", "--list"]), serde_json::json!([]));
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_to_a_sick_sink_waits_in_bounds_and_can_be_ended() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    post_all(&daemon.url(), (0..50).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [50, 50, 0]).then_some(())).await;
    callback.answer_with(503);
    let begun = json(&house, &["replay", "--since", "1h", "--detach", "--rate", "5/s"]);
    wait_until("some wait", || (figures(&house)[2] > 0).then_some(())).await;
    verb(&house, 0, &["replay", "--cancel", &begun["id"].to_string()]);
    assert_eq!(json(&house, &["replay", "--list"]), serde_json::json!([]));
    callback.answer_with(200);
    wait_until("what it had come to is delivered", || (figures(&house)[2] == 0).then_some(())).await;
    let [accepted, delivered, _] = figures(&house);
    assert!(accepted == delivered && accepted > 50, "{accepted}");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_what_other_rules_would_change_and_delivers_nothing() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..30).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [30, 30, 0]).then_some(())).await;
    let text = std::fs::read_to_string(house.config()).unwrap();
    let other = text.replace(
        "[[routes]]\nmatch = \"*\"",
        "[sinks.out]\nkind = \"stdout\"\n[[routes]]\nname = \"out\"\nmatch = \"*_sent\"\nto = \"out\"\n\
         [[routes]]\nwhere = '$event.type != \"message_api_read\"'\nmatch = \"*\"",
    );
    assert_ne!(text, other);
    std::fs::write(house.path("new.toml"), other).unwrap();
    let rules = house.path("new.toml").display().to_string();
    let args = ["replay", "--since", "1h", "--dry-run", "--rules", &rules];
    let report = json(&house, &args);
    assert_eq!((&report["events"], &report["differing"]), (&30.into(), &20.into()));
    let change = |kind: &str, sink: &str| report["changes"][kind][sink].clone();
    let wanted = |before: u64, after: u64, gained: u64, lost: u64| {
        let changed = 0;
        serde_json::json!({"before": before, "after": after, "gained": gained, "lost": lost, "changed": changed})
    };
    assert_eq!(change("message_api_sent", "out"), wanted(0, 10, 10, 0));
    assert_eq!(change("message_api_sent", "crm"), wanted(10, 10, 0, 0));
    assert_eq!(change("message_api_read", "crm"), wanted(10, 0, 0, 10));
    let examples = report["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 10);
    let lost = examples.iter().find(|example| example["what"] == "lost").unwrap();
    assert_eq!((&lost["id"], &lost["subject"]), (&ids[2].as_str().into(), &"m-2".into()));
    let said = verb(&house, 0, &args);
    assert!(said.contains("message_api_read -> crm: 10 before, 0 after: 0 gained, 10 lost"), "{said}");
    let alone = verb(&house, 0, &args[..4]);
    assert!(alone.starts_with("30 events of this span\n"), "{alone}");
    assert!(alone.contains("message_api_read -> crm: 10 deliveries\n"), "{alone}");
    assert_eq!(json(&house, &args[..4])["changes"]["message_api_read"]["crm"], wanted(10, 10, 0, 0));
    assert_eq!(figures(&house), [30, 30, 0]);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(json(&house, &args)["events"], 30, "without a daemon, too");
    std::fs::write(house.path("new.toml"), "x = 1").unwrap();
    verb(&house, 78, &args);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_says_what_became_of_its_deliveries() {
    let callback = Callback::start().await;
    let more = "where = '.type != \"message_api_read\"'\n";
    let house = House::new(&tables(&callback.url(), more));
    let daemon = house.start();
    post_all(&daemon.url(), (0..9).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [9, 6, 0]).then_some(())).await;
    callback.answer_with(400);
    let report = json(&house, &["replay", "--since", "1h"]);
    let outcome = |delivered: u64, dead: u64, filtered: u64, dropped: u64| {
        serde_json::json!([{
            "sink": "crm", "is_under_way": false, "accepted": delivered + dead + filtered + dropped,
            "delivered": delivered, "dead": dead, "filtered": filtered, "dropped": dropped, "pending": 0,
        }])
    };
    assert_eq!(report["outcomes"], outcome(0, 6, 3, 0), "{report}");
    assert_eq!(json_without_secret(&house, &["dead", "list"]).as_array().unwrap().len(), 6);
    callback.answer_with(200);
    // What dies again makes way for what comes again.
    assert_eq!(json(&house, &["replay", "--since", "1h"])["outcomes"], outcome(6, 0, 3, 0));
    let old = crate::harness::ask_admin(&house, &format!("/api/replay/outcome?id={}", report["id"])).await;
    assert_eq!(old["items"], outcome(0, 0, 3, 6), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_what_is_missing_leaves_out_what_was_delivered_or_is_pending() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    post_all(&daemon.url(), (0..10).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [10, 10, 0]).then_some(())).await;
    callback.answer_with(400);
    let dead = post_all(&daemon.url(), (10..15).map(numbered)).await;
    wait_until("dead", || (verbs::figures(&house, "crm", ["dead", "pending"]) == [5, 0]).then_some(())).await;
    verb(&house, 0, &["sink", "pause", "crm"]);
    let pending = post_all(&daemon.url(), (15..18).map(numbered)).await;
    callback.answer_with(200);
    let begun = json(&house, &["replay", "--since", "1h", "--only-missing", "--detach"]);
    wait_until("it is read", || json(&house, &["replay", "--list"]).as_array().unwrap().is_empty().then_some(())).await;
    verb(&house, 0, &["sink", "resume", "crm"]);
    let at = format!("/api/replay/outcome?id={}", begun["id"]);
    wait_until("delivered", || (figures(&house)[1] == 18).then_some(())).await;
    let outcome = crate::harness::ask_admin(&house, &at).await["items"][0].clone();
    assert_eq!((&outcome["accepted"], &outcome["delivered"]), (&5.into(), &5.into()), "{outcome}");
    let counts = came(&callback);
    assert!(counts.values().all(|n| *n == 1), "{counts:?}");
    assert!(dead.iter().chain(&pending).all(|id| counts.contains_key(id)), "{counts:?}");
}

const FACTS: &str = "replay::what_a_replay_says_of_repeats_is_what_becomes_of_them";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_says_of_repeats_is_what_becomes_of_them() {
    let table = "message_id TEXT NOT NULL";
    let mut text = format!(
        "[sinks.archive]\nkind = \"file\"\npath = \"out/all.jsonl\"\n\
         [sinks.lite]\nkind = \"sqlite\"\ndatabase = \"data/t.db\"\ntable = \"t\"\n\
         setup = \"CREATE TABLE IF NOT EXISTS t (event_id TEXT NOT NULL UNIQUE, {table})\"\n"
    );
    let server = sink_testkit::postgres::PostgresServer::shared(FACTS);
    let schema = format!("replay_{}", uuid::Uuid::now_v7().simple());
    let mut to = "\"archive\", \"lite\"".to_owned();
    if let Some(server) = &server {
        server.client().await.batch_execute(&format!("CREATE SCHEMA {schema}")).await.unwrap();
        text.push_str(&format!(
            "[sinks.pg]\nkind = \"postgres\"\nurl = \"{}\"\ntable = \"{schema}.t\"\n\
             setup = \"CREATE TABLE IF NOT EXISTS {schema}.t (event_id TEXT NOT NULL UNIQUE, {table})\"\n",
            server.url
        ));
        to.push_str(", \"pg\"");
    }
    let route = format!("[[routes]]\nmatch = \"*\"\ntransform = \"interakt.message_status\"\nto = [{to}]\n");
    let house = House::new(&format!("{text}{route}"));
    let daemon = house.start();
    post_all(&daemon.url(), (0..5).map(numbered)).await;
    let delivered = |n: u64| verbs::status(&house)["sinks"].as_object().unwrap().values().all(|s| s["delivered"] == n);
    wait_until("delivered", || delivered(5).then_some(())).await;
    let said = verb(&house, 0, &["replay", "--since", "1h", "--yes"]);
    assert!(delivered(10), "{said}");
    assert!(said.contains("archive (file): 5 deliveries, which will be there twice"), "{said}");
    assert!(said.contains("lite (sqlite): 5 deliveries, which it keeps once"), "{said}");
    assert!(server.is_none() || said.contains("pg (postgres): 5 deliveries, which it keeps once"), "{said}");
    let said = verb(&house, 0, &["replay", "--since", "1h", "--yes", "--only-missing"]);
    assert!(said.contains("archive (file): 5 deliveries\n") && !said.contains("twice"), "{said}");
    assert!(verb(&house, 0, &["replay", "--list"]).contains("no replay is under way"));
    assert_eq!(crate::harness::lines_under(&house.path("out"), ".jsonl").len(), 10);
    let lite = rusqlite::Connection::open(house.path("data/t.db")).unwrap();
    assert_eq!(lite.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)), Ok(5));
    if let Some(server) = &server {
        let rows = server.client().await.query_one(&format!("SELECT count(*) FROM {schema}.t"), &[]).await.unwrap();
        assert_eq!(rows.get::<_, i64>(0), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_asks_on_a_terminal_and_takes_no_for_an_answer() {
    use std::io::Write;

    let callback = Callback::start().await;
    let house = House::new(&tables(&callback.url(), ""));
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [3, 3, 0]).then_some(())).await;
    // `script` (bsdutils) gives it a terminal.
    for (answer, exit, counts) in [("n\n", 1, [3, 3, 0]), ("y\n", 0, [6, 6, 0])] {
        let own = house.command(&["replay", "--since", "1h"]);
        let words = std::iter::once(own.get_program()).chain(own.get_args());
        let line: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]).env("SHELL", "/bin/sh");
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.code() == Some(exit) && said.contains("Go on? [y/N]"), "{:?}: {said}", out.status);
        assert_eq!(figures(&house), counts, "{said}");
    }
}
