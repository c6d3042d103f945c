//! Nothing refused is invisible: each refusal is counted by reason and told in the log, with counts that add up, over
//! restarts and kill -9; strangers who try every path cost little.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, Daemon, House, Log, column, lines_under, post, post_all, sign, wait_until};
use crate::verbs::status;

/// The lines that tell of refusals.
fn lines(log: &Log) -> Vec<Value> {
    let text = log.text();
    let lines = text.lines().filter(|line| line.contains("request refused"));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many refusals these lines tell.
fn sum(lines: &[Value]) -> u64 {
    lines.iter().map(|line| line["count"].as_u64().unwrap()).sum()
}

async fn send(method: &str, url: &str, signature: Option<&str>, body: Vec<u8>) -> u16 {
    let client = reqwest::Client::new();
    let mut request = client.request(method.parse().unwrap(), url).body(body);
    if let Some(signature) = signature {
        request = request.header("interakt-signature", signature);
    }
    request.send().await.unwrap().status().as_u16()
}

async fn wrong(daemon: &Daemon) {
    assert_eq!(send("POST", &daemon.url(), Some(&sign(b"other")), b"{}".to_vec()).await, 401);
}

/// Begins a request whose body does not come.
fn begin(daemon: &Daemon) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.write_all(b"POST /webhooks/interakt HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{").unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_counted_by_its_reason_and_told_with_path_status_and_remote() {
    let house = House::new("");
    house.serve("listen = \"127.0.0.1:0\"\nmax_body = \"1KiB\"\nbody_timeout = \"500ms\"\n", ARCHIVE);
    let daemon = house.start();
    let (url, body) = (daemon.url(), || b"{}".to_vec());
    let at = |path: &str| format!("http://{}{path}", daemon.address);
    assert_eq!(send("PUT", &url, None, body()).await, 405);
    assert_eq!(send("POST", &url, None, vec![b' '; 1025]).await, 413);
    assert_eq!(send("POST", &url, None, body()).await, 401);
    assert_eq!(send("POST", &url, Some("hello"), body()).await, 401);
    wrong(&daemon).await;
    assert_eq!(send("POST", &at("/Webhooks/Interakt?token=hush"), Some(&sign(b"{}")), body()).await, 404);
    assert_eq!(send("POST", &at("/webhooks/interact"), None, body()).await, 404);
    assert_eq!(send("POST", &at("/webhooks/interakt/"), Some(&sign(b"{}")), body()).await, 200, "the same path");
    let slow = begin(&daemon);
    drop(begin(&daemon));
    let wanted = json!({"missing": 1, "malformed": 1, "wrong": 1, "too_old": 0, "method": 1, "too_large": 1,
                        "too_slow": 1, "broken": 1, "unavailable": 0});
    let seen = wait_until("all are counted", || {
        Some(status(&house)).filter(|all| all["sources"]["interakt"]["refused"] == wanted)
    })
    .await;
    drop(slow);
    assert_eq!(seen["sources"]["interakt"]["rejected"], 7);
    assert_eq!(seen["sources"]["interakt"]["accepted"], 1);
    assert_eq!(seen["refused_elsewhere"], json!({"/Webhooks/Interakt": 1, "/webhooks/interact": 1}));
    let all = wait_until("all are told", || Some(lines(&daemon.log)).filter(|all| all.len() == 9)).await;
    for (reason, code) in [
        ("method", 405),
        ("too_large", 413),
        ("missing", 401),
        ("malformed", 401),
        ("wrong", 401),
        ("too_slow", 408),
        ("broken", 0),
    ] {
        let line = all.iter().find(|line| line["reason"] == reason && line["source"] == "interakt");
        let line = line.unwrap_or_else(|| panic!("{reason}: {all:?}"));
        assert_eq!((&line["status"], &line["path"]), (&code.into(), &"/webhooks/interakt".into()), "{line}");
        assert_eq!((&line["remote"], &line["count"], &line["level"]), (&"127.0.0.1".into(), &1.into(), &"WARN".into()));
    }
    for path in ["/Webhooks/Interakt", "/webhooks/interact"] {
        let line = all.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path}: {all:?}"));
        assert_eq!(
            (&line["status"], &line["reason"], &line["source"]),
            (&404.into(), &"unknown_path".into(), &Value::Null)
        );
        assert!(line["message"].as_str().unwrap().contains("did you mean /webhooks/interakt?"), "{line}");
    }
    assert!(!daemon.log.text().contains("hush"));
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_seven_bad_signatures_all_are_told_though_nothing_else_comes() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    for _ in 0..7 {
        wrong(&daemon).await;
    }
    let all = wait_until("seven are told", || Some(lines(&daemon.log)).filter(|all| sum(all) >= 7)).await;
    assert_eq!((sum(&all), all.len()), (7, 2), "{all:?}");
    // At a stop nothing is held back.
    for _ in 0..3 {
        wrong(&daemon).await;
    }
    let log = daemon.log.clone();
    assert_eq!(daemon.terminate(), 0);
    let last = log.wait_for(|line| line.contains("\"stopped\""));
    assert!(last.is_some() && sum(&lines(&log)) == 10, "{}", log.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_count_on_over_a_stop_and_over_kill_9() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    post_all(&daemon.url(), (0..2).map(numbered)).await;
    assert_eq!(post(&reqwest::Client::new(), &daemon.url(), numbered(0)).await.unwrap().0, 200);
    wrong(&daemon).await;
    send("POST", &format!("http://{}/else", daemon.address), None, vec![]).await;
    let figures = |status: &Value| {
        let source = &status["sources"]["interakt"];
        let counts = ["accepted", "duplicate", "rejected"].map(|what| source[what].as_u64().unwrap());
        (counts, status["refused_elsewhere"].clone(), source["last_accepted"].as_str().map(str::to_owned))
    };
    let before = figures(&status(&house));
    assert_eq!((&before.0, &before.1), (&[2, 1, 1], &json!({"/else": 1})));
    // Too soon for the ledger to have been written but by the stop.
    assert_eq!(daemon.terminate(), 0);
    let daemon = house.start();
    assert_eq!(figures(&status(&house)), before);
    wrong(&daemon).await;
    post_all(&daemon.url(), [numbered(7)]).await;
    let kept = |what: &str| {
        let sql = format!("SELECT CAST(count AS TEXT) FROM counted WHERE of = 'source' AND what = '{what}'");
        column(&house.path("data/ledger.db"), &sql)
    };
    wait_until("they are in the ledger", || (kept("wrong") == ["2"] && kept("accepted") == ["3"]).then_some(())).await;
    daemon.kill();
    let daemon = house.start();
    let after = figures(&status(&house));
    assert_eq!((&after.0, &after.1), (&[3, 1, 2], &json!({"/else": 1})));
    assert!(after.2 > before.2);
    // A source that is taken out and comes back goes on from where it was.
    let text = std::fs::read_to_string(house.config()).unwrap();
    let other = text.replace("[sources.interakt]", "[sources.other]").replace("/webhooks/interakt", "/webhooks/other");
    for text in [&other, &text] {
        std::fs::write(house.config(), text).unwrap();
        crate::verbs::verb(&house, 0, &["reload"]);
    }
    wait_until("it goes on", || (figures(&status(&house)).0 == [3, 1, 2]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_tries_many_paths_costs_little_and_hides_no_mistake() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    let client = reqwest::Client::new();
    let ask = async |path: &str| {
        let answer = client.post(format!("http://{}{path}", daemon.address)).send().await.unwrap();
        assert_eq!(answer.status(), 404);
    };
    for n in 0..300 {
        ask(&format!("/wp-{n}.php")).await;
    }
    ask("/webhooks/interact").await;
    let line = daemon.log.wait_for(|line| line.contains("did you mean /webhooks/interakt?"));
    assert!(line.is_some_and(|line| line.contains("\"path\":\"/webhooks/interact\"")), "{}", daemon.log.text());
    let elsewhere = status(&house)["refused_elsewhere"].clone();
    let elsewhere = elsewhere.as_object().unwrap();
    assert!(elsewhere.len() <= 65 && elsewhere["/webhooks/interact"] == 1, "{elsewhere:?}");
    assert_eq!(elsewhere.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 301);
    let log = daemon.log.clone();
    assert_eq!(daemon.terminate(), 0);
    assert!(log.wait_for(|line| line.contains("\"stopped\"")).is_some());
    let told = lines(&log);
    assert_eq!(sum(&told), 301, "{told:?}");
    assert!(told.len() < 60, "{} lines", told.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_the_feeds_danger_are_events_of_the_daemons_own() {
    let house = House::new(
        "[sinks.alarms]\nkind = \"file\"\npath = \"out/alarms.jsonl\"\n\
         [[routes]]\nmatch = [\"request.*\", \"feed.*\"]\nsource = \"hookrelay\"\nto = \"alarms\"\n",
    );
    let daemon = house.start();
    for _ in 0..7 {
        wrong(&daemon).await;
    }
    let events = || -> Vec<Value> {
        let lines = lines_under(&house.path("out"), "alarms.jsonl");
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let of = |events: &[Value], kind: &str| -> Vec<Value> {
        events.iter().filter(|event| event["type"] == kind).map(|event| event["data"].clone()).collect()
    };
    let all =
        wait_until("seven refusals have come", || Some(events()).filter(|all| sum(&of(all, "request.refused")) == 7))
            .await;
    let refused = &of(&all, "request.refused")[0];
    let wanted = json!(["interakt", "wrong", "/webhooks/interakt", 401, "127.0.0.1"]);
    let got: Vec<_> = ["subject", "reason", "path", "status", "remote"].map(|key| refused[key].clone()).into();
    assert_eq!(Value::from(got), wanted, "{refused}");
    assert_eq!((of(&all, "feed.at_risk").len(), of(&all, "feed.failing").len()), (1, 1), "{all:?}");
    assert!(of(&all, "feed.failing")[0]["text"].as_str().unwrap().contains("Developer Settings"));
    assert_eq!(daemon.terminate(), 0);
}
