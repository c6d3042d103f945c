//! A new config in force without a restart: all of it or nothing, no request refused, nothing lost, nothing leaked.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{Callback, Daemon, House, lines_under, post, post_all, wait_until};
use crate::tables::{file, route};
use crate::verbs::{self, json, verb};

/// A sink's accepted, delivered, pending, dropped.
fn figures(house: &House, sink: &str) -> [u64; 4] {
    verbs::figures(house, sink, ["accepted", "delivered", "pending", "dropped"])
}

fn crm(url: &str) -> String {
    format!("[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\n")
}

fn open_files(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

/// Resident memory, in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_and_routes_come_change_and_go_while_others_go_on_untouched() {
    let callback = Callback::start().await;
    let url = callback.url();
    let house = House::new(&format!("{}{}{}", crm(&url), file("a"), route("all", "*", "\"crm\", \"a\"")));
    let daemon = house.start();
    post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("both have them", || (figures(&house, "crm")[1] + figures(&house, "a")[1] == 10).then_some(())).await;

    // `a` gets only some events now, `b` is new and begins at the next one, `crm` goes on.
    let next = format!(
        "{}{}{}{}{}",
        crm(&url),
        file("a"),
        file("b"),
        route("all", "*", "\"crm\", \"b\""),
        route("some", "message_api_sent", "\"a\"")
    );
    house.configure(&next);
    let done = json(&house, &["reload"]);
    assert_eq!((&done["added"], &done["changed"], &done["removed"]), (&json_of(["b"]), &json_of([]), &json_of([])));
    post_all(&daemon.url(), (5..14).map(numbered)).await;
    wait_until("all have theirs", || {
        let got = ["crm", "a", "b"].map(|sink| figures(&house, sink));
        (got == [[14, 14, 0, 0], [8, 8, 0, 0], [9, 9, 0, 0]]).then_some(())
    })
    .await;
    assert_eq!(lines_under(&house.path("out"), "b.jsonl").len(), 9);

    // `crm` is removed while it is owed something: the reload says so, and the sink gets it when it is back.
    callback.answer_with(503);
    post_all(&daemon.url(), (14..16).map(numbered)).await;
    wait_until("it is owed", || (figures(&house, "crm")[2] == 2).then_some(())).await;
    house.configure(&format!("{}{}", file("b"), route("all", "*", "\"b\"")));
    let done = json(&house, &["reload"]);
    assert_eq!(
        done["removed"],
        serde_json::json!([{"sink": "a", "pending": 0}, {"sink": "crm", "pending": 2}]).sorted()
    );
    post_all(&daemon.url(), (16..18).map(numbered)).await;
    callback.answer_with(200);
    house.configure(&next);
    verb(&house, 0, &["reload"]);
    wait_until("what it was owed and what came meanwhile", || (figures(&house, "crm")[1] == 18).then_some(())).await;
    let ids: HashSet<String> = callback.got().into_iter().map(|got| got.id).collect();
    assert_eq!(ids.len(), 18);
    assert_eq!(daemon.terminate(), 0);
}

fn json_of<const N: usize>(names: [&str; N]) -> Value {
    names.into_iter().collect()
}

/// Lists of a reload's answer, sorted.
trait Sorted {
    fn sorted(self) -> Value;
}

impl Sorted for Value {
    fn sorted(mut self) -> Value {
        if let Some(list) = self.as_array_mut() {
            list.sort_by_key(|one| std::cmp::Reverse(one["sink"].as_str().map(str::to_owned)));
        }
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_config_changes_nothing_and_says_where_it_is_wrong() {
    let good = format!("{}{}", file("a"), route("all", "*", "\"a\""));
    let house = House::new(&good);
    let daemon = house.start();
    house.configure(&good.replace("\"a\"]", "\"b\"]"));
    let said = verb(&house, 78, &["reload"]);
    assert!(said.contains("config.toml:") && said.contains("`b`"), "{said}");
    house.configure(&format!("{good}[[tests]]\nname = \"fails\"\nbody = '{{}}'\nsinks = []\n"));
    assert!(verb(&house, 78, &["reload"]).contains("fails"));
    house.configure(&good);
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("min_free = 0", "min_free = 1")).unwrap();
    let said = verb(&house, 78, &["reload"]);
    assert!(said.contains("[journal] min_free") && said.contains("restart"), "{said}");
    daemon.hang_up();
    assert!(daemon.log.wait_for(|line| line.contains("the old one stays in force")).is_some());
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("the old one is", || (figures(&house, "a") == [3, 3, 0, 0]).then_some(())).await;
    house.configure(&format!("{good}{}", file("b")));
    daemon.hang_up();
    wait_until("the new one is", || json(&house, &["status"])["sinks"].get("b").map(|_| ())).await;
    assert_eq!(daemon.terminate(), 0);
    verb(&house, 69, &["reload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_comes_and_goes_without_a_restart() {
    let house = House::new(&format!("{}{}", file("a"), route("all", "*", "\"a\"")));
    let daemon = house.start();
    let config = std::fs::read_to_string(house.config()).unwrap();
    let other = "[sources.second]\nkind = \"none\"\npath = \"/second\"\n";
    std::fs::write(house.config(), format!("{config}{other}")).unwrap();
    verb(&house, 0, &["reload"]);
    let client = reqwest::Client::new();
    let url = daemon.url();
    let second = format!("{}/second", &url[..url.find("/webhooks").unwrap()]);
    assert_eq!(client.post(&second).body("{}").send().await.unwrap().status(), 200);
    std::fs::write(house.config(), &config).unwrap();
    verb(&house, 0, &["reload"]);
    assert_eq!(client.post(&second).body("{}").send().await.unwrap().status(), 404);
    let (first, body) = (post_all(&url, [numbered(1)]).await, numbered(1));
    std::fs::write(
        house.config(),
        config.replace(
            "secret = \"${INTERAKT_WEBHOOK_SECRET}\"",
            "secret = \"another\"\nprevious_secret = \"${INTERAKT_WEBHOOK_SECRET}\"",
        ),
    )
    .unwrap();
    verb(&house, 0, &["reload"]);
    let (status, answer) = post(&client, &url, body.clone()).await.unwrap();
    assert_eq!(
        (status, &answer["id"], &answer["duplicate"]),
        (200, &first[0].as_str().into(), &true.into()),
        "it knows it"
    );
    let signature = hookrelay::verify::Hmac::new(b"another", None).unwrap().sign(&numbered(2));
    let answer = client.post(&url).header("Interakt-Signature", signature).body(numbered(2)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "the new secret holds");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_refuse_no_request_lose_nothing_and_leak_nothing() {
    let callback = Callback::start().await;
    let url = callback.url();
    let [one, two] = ["8", "4"].map(|slots| {
        let crm = format!("{}concurrency = {slots}\n", crm(&url));
        let more = if slots == "4" { format!("{}{}", file("b"), route("b", "*", "\"b\"")) } else { String::new() };
        format!("{crm}{}{}{more}", file("a"), route("all", "*", "\"crm\", \"a\""))
    });
    let house = Arc::new(House::new(&two));
    let daemon = house.start();
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (stop, url) = (Arc::clone(&stop), daemon.url());
        tokio::spawn(async move {
            let mut sent = Vec::new();
            let mut n = 0;
            while !stop.load(SeqCst) {
                // This panics if a webhook is not answered 200.
                sent.extend(post_all(&url, (n..n + 20).map(numbered)).await);
                n += 20;
            }
            sent
        })
    };
    let (mut files, mut memory) = (Vec::new(), Vec::new());
    for round in 0..100 {
        house.configure(if round % 2 == 0 { &one } else { &two });
        let reloaded = Arc::clone(&house);
        let done = tokio::task::spawn_blocking(move || json(&reloaded, &["reload"])).await.unwrap();
        assert_eq!(done["changed"], json_of(["crm"]), "{done}");
        if round % 2 == 1 {
            files.push(open_files(&daemon));
            memory.push(resident(&daemon));
        }
    }
    stop.store(true, SeqCst);
    let sent = load.await.unwrap();
    assert!(sent.len() >= 500, "{} is no load", sent.len());
    let all = sent.len() as u64;
    wait_until("all are delivered", || {
        ["crm", "a", "b"].iter().all(|sink| figures(&house, sink)[2..] == [0, 0]).then_some(())
    })
    .await;
    assert_eq!((figures(&house, "crm"), figures(&house, "a")), ([all, all, 0, 0], [all, all, 0, 0]));
    let got: HashSet<String> = callback.got().into_iter().map(|got| got.id).collect();
    assert_eq!(got, sent.into_iter().collect());
    assert_eq!(lines_under(&house.path("out"), "a.jsonl").len() as u64, all, "an unchanged sink is not touched");
    // The bodies hold half an emoji, which not every JSON reader takes.
    let id = |line: &String| line.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let came_back: HashSet<String> = lines_under(&house.path("out"), "b.jsonl").iter().map(id).collect();
    assert_eq!(came_back, got, "a sink that went fifty times and came back was owed what came meanwhile");
    // The number of open connections varies; a leak of one file per reload would show as forty more.
    let (early, late) = (files[5..15].iter().max().unwrap(), files[40..].iter().min().unwrap());
    assert!(*late < early + 20, "{files:?}");
    // The last twenty reloads took no more memory than a worker's buffers would explain.
    let (early, late) = (memory[10..30].iter().max().unwrap(), memory[40..].iter().min().unwrap());
    assert!(*late < early + (32 << 10), "KiB: {memory:?}");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_config_is_taken_when_it_is_replaced_and_a_half_written_one_is_refused() {
    let good = format!("{}{}", file("a"), route("all", "*", "\"a\""));
    let house = House::new(&good);
    let daemon = House::start_as(house.command(&["run", "--watch"]));
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), &text[..text.len() - 10]).unwrap();
    assert!(daemon.log.wait_for(|line| line.contains("the old one stays in force")).is_some());
    std::fs::write(house.path("next"), format!("{text}{}", file("b"))).unwrap();
    std::fs::rename(house.path("next"), house.config()).unwrap();
    wait_until("the new one is in force", || json(&house, &["status"])["sinks"].get("b").map(|_| ())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_under_other_rules_is_pending_until_it_is_read() {
    let callback = Callback::start().await;
    callback.answer_with(503);
    let slow = format!("{}start = \"beginning\"\n", crm(&callback.url()));
    let house = House::new(&format!("{slow}{}", route("all", "*", "\"crm\"")));
    let daemon = house.start();
    verb(&house, 0, &["sink", "pause", "crm"]);
    post_all(&daemon.url(), (0..9).map(numbered)).await;
    wait_until("they are owed", || (figures(&house, "crm") == [9, 0, 9, 0]).then_some(())).await;
    house.configure(&format!("{slow}{}", route("some", "*_read", "\"crm\"")));
    verb(&house, 0, &["reload"]);
    assert_eq!(figures(&house, "crm"), [9, 0, 9, 0], "not read yet");
    post_all(&daemon.url(), (9..12).map(numbered)).await;
    callback.answer_with(200);
    verb(&house, 0, &["sink", "resume", "crm"]);
    wait_until("only those the new rules want", || (figures(&house, "crm") == [4, 4, 0, 0]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sink_keeps_what_it_is_owed_over_a_restart_and_skip_drops_it() {
    let callback = Callback::start().await;
    let house = House::new(&format!("{}{}{}", crm(&callback.url()), file("a"), route("all", "*", "\"crm\", \"a\"")));
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("delivered", || (figures(&house, "crm") == [3, 3, 0, 0]).then_some(())).await;
    assert!(verb(&house, 0, &["sink", "pause", "crm"]).contains("paused"));
    post_all(&daemon.url(), (3..8).map(numbered)).await;
    wait_until("the other goes on", || (figures(&house, "a") == [8, 8, 0, 0]).then_some(())).await;
    daemon.kill();
    let daemon = house.start();
    wait_until("it waits", || (figures(&house, "crm") == [8, 3, 5, 0]).then_some(())).await;
    assert_eq!(json(&house, &["status"])["sinks"]["crm"]["paused"], true);
    assert!(verb(&house, 0, &["status"]).lines().any(|line| line.starts_with("crm ") && line.contains(" paused ")));
    assert!(verb(&house, 0, &["sink", "skip", "crm"]).contains("5 deliveries dropped; paused"));
    assert_eq!(figures(&house, "crm"), [8, 3, 0, 5]);
    post_all(&daemon.url(), (8..10).map(numbered)).await;
    verb(&house, 0, &["sink", "resume", "crm"]);
    wait_until("it goes on", || (figures(&house, "crm") == [10, 5, 0, 5]).then_some(())).await;
    assert!(verb(&house, 0, &["sink", "skip", "crm", "--to", "1h"]).contains(" 0 deliveries dropped; running"));
    assert!(verb(&house, 1, &["sink", "pause", "nothing"]).contains("`crm`"));
    assert_eq!(daemon.terminate(), 0);
}

/// Reading and dropping a program recurses once a level. Once a thread without enough stack for that ended the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn rules_of_any_depth_are_taken_or_refused_by_the_running_daemon() {
    let house = House::new(&format!("{}{}", file("a"), route("all", "*", "\"a\"")));
    let daemon = house.start();
    let tables = |deep: &str| format!("{}{}{deep}", file("a"), route("all", "*", "\"a\""));
    let brackets = |n: usize| format!("where = '{}1{}'\n", "(".repeat(n), ")".repeat(n));
    house.configure(&tables(&brackets(3_000)));
    verb(&house, 0, &["reload"]);
    post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("they run", || (lines_under(&house.path("out"), "a.jsonl").len() == 5).then_some(())).await;
    house.configure(&tables(&brackets(20_000)));
    assert!(verb(&house, 78, &["reload"]).contains("operators and brackets"));
    assert!(verb(&house, 78, &["check"]).contains("operators and brackets"));
    let braces = "{".repeat(30_000) + &"}".repeat(30_000);
    house.configure(&format!("{}{}", file("a"), route("all", &braces, "\"a\"")));
    assert!(verb(&house, 78, &["reload"]).contains("more than 64 braces"));
    verb(&house, 2, &["journal", "dump", "--type", &braces]);
    verb(&house, 1, &["replay", "--since", "1h", "--type", &braces]);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_waits_for_a_file_keeps_nobody_from_stopping_the_daemon() {
    let house = House::new(&format!("{}{}", file("a"), route("all", "*", "\"a\"")));
    let daemon = house.start();
    let fifo = house.path("key");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let crm = "[sinks.crm]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\nbearer = \"${file:key}\"\n";
    house.configure(&format!("{crm}{}{}", file("a"), route("all", "*", "\"a\"")));
    daemon.hang_up();
    // The pipe can be opened for writing only when somebody waits to read it.
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
    let _held = wait_until("the reload waits", || rustix::fs::open(&fifo, flags, rustix::fs::Mode::empty()).ok()).await;
    let threads = || std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    let before = threads();
    for n in 0..100 {
        daemon.hang_up();
        // Each change is seen by the daemon, as an answer comes after it.
        post_all(&daemon.url(), [numbered(n)]).await;
    }
    assert!(threads() < before + 20, "{before}, then {}: further signals wait for the reading under way", threads());
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_reloads_asked_for_in_quick_succession_the_last_config_comes_into_force() {
    let all = route("all", "*", "\"a\"");
    let tests: String = (0..20)
        .map(|n| {
            format!(
                "[[tests]]\nname = \"{n}\"\nbody = '{{\"type\":\"t\",\"a\":1}}'\nsource = \"interakt\"\n\
                          sinks = [\"a\"]\n"
            )
        })
        .collect();
    let slow = format!("{}where = '.a == 1'\n{tests}", all);
    let house = House::new(&format!("{}{slow}", file("a")));
    let daemon = house.start();
    for round in 0..10 {
        let last = format!("last{round}");
        for _ in 0..5 {
            daemon.hang_up();
        }
        house.configure(&format!("{}{}{slow}", file("a"), file(&last)));
        daemon.hang_up();
        wait_until("the last is in force", || json(&house, &["status"])["sinks"].get(&last).cloned()).await;
    }
    assert_eq!(daemon.terminate(), 0);
}

/// What the sink missed is counted when it comes back, by the rules that bring it back, and not counted again when the
/// events are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_takes_nothing_is_owed_each_event_once_however_often_it_goes_and_comes() {
    let callback = Callback::start().await;
    callback.answer_with(503);
    let with = format!("{}{}{}", crm(&callback.url()), file("a"), route("all", "*", "\"crm\", \"a\""));
    let without = format!("{}{}", file("a"), route("all", "*", "\"a\""));
    let house = House::new(&with);
    let daemon = house.start();
    post_all(&daemon.url(), (0..10).map(numbered)).await;
    for n in 1..4 {
        house.configure(&without);
        verb(&house, 0, &["reload"]);
        post_all(&daemon.url(), (n * 10..n * 10 + 10).map(numbered)).await;
        house.configure(&with);
        verb(&house, 0, &["reload"]);
        let all = (n + 1) * 10;
        // When the first probe is made, everything that stood in the journal has been read and booked.
        wait_until("it has read them", || {
            (json(&house, &["status"])["sinks"]["crm"]["breaker"] == "open" || figures(&house, "crm")[0] != all)
                .then_some(())
        })
        .await;
        assert_eq!(figures(&house, "crm"), [all, 0, all, 0], "after {n}");
    }
    callback.answer_with(200);
    wait_until("all are delivered", || (figures(&house, "crm") == [40, 40, 0, 0]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}
