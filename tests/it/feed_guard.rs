//! The feed guard: an operator hears before the provider switches a feed off, when it probably has, and what to do; and
//! of a feed that has gone quiet, and of its return.

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, Daemon, House, post_all, sign, wait_until};
use crate::verbs::status;

/// A house whose Interakt source has these keys.
fn house(keys: &str) -> House {
    House::new(&format!("{keys}{ARCHIVE}"))
}

async fn fail(daemon: &Daemon, times: u32) {
    let client = reqwest::Client::new();
    for _ in 0..times {
        let request = client.post(daemon.url()).header("interakt-signature", sign(b"other")).body("{}");
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
}

/// The lines that tell of a budget.
fn budget_lines(daemon: &Daemon) -> Vec<Value> {
    let text = daemon.log.text();
    let lines = text.lines().filter(|line| line.contains("\"used\":"));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn source(house: &House) -> Value {
    status(house)["sources"]["interakt"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_of_five_failures_are_a_warning_and_five_an_error_that_says_what_to_do() {
    let house = house("");
    let daemon = house.start();
    fail(&daemon, 2).await;
    assert_eq!(budget_lines(&daemon), [] as [Value; 0]);
    fail(&daemon, 1).await;
    let warned = daemon.log.wait_for(|line| line.contains("Interakt soon switches this webhook off"));
    assert!(warned.is_some(), "{}", daemon.log.text());
    fail(&daemon, 4).await;
    let told = daemon.log.wait_for(|line| line.contains("Settings → Developer Settings"));
    assert!(told.is_some(), "{}", daemon.log.text());
    let told = budget_lines(&daemon);
    let short = |line: &Value| (line["level"].clone(), line["used"].clone(), line["of"].clone());
    assert_eq!(
        told.iter().map(short).collect::<Vec<_>>(),
        [("WARN".into(), 3.into(), 5.into()), ("ERROR".into(), 5.into(), 5.into())]
    );
    assert_eq!((&told[1]["source"], &told[1]["within"]), (&"interakt".into(), &"10m".into()));
    assert_eq!(told[1]["failures"], "5 × wrong from 127.0.0.1");
    assert_eq!(source(&house)["budget"], serde_json::json!({"used": 5, "of": 5, "within_s": 600}));
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_recovers_when_its_failures_are_old() {
    let house = house("failure_budget = { failures = 2, within = \"1s\" }\n");
    let daemon = house.start();
    fail(&daemon, 2).await;
    assert!(daemon.log.wait_for(|line| line.contains("has probably switched this webhook off")).is_some());
    assert!(daemon.log.wait_for(|line| line.contains("the failure budget has recovered")).is_some());
    wait_until("it is whole", || (source(&house)["budget"]["used"] == 0).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_answers_are_failures_though_the_event_is_kept() {
    let house = house("answer_within = \"1ns\"\n");
    let daemon = house.start();
    post_all(&daemon.url(), (0..5).map(numbered)).await;
    let told = daemon.log.wait_for(|line| line.contains("5 × late from 127.0.0.1"));
    assert!(told.is_some_and(|line| line.contains("ERROR")), "{}", daemon.log.text());
    let source = source(&house);
    assert_eq!([&source["accepted"], &source["late"], &source["rejected"]], [5, 5, 0]);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_another_kind_has_a_budget_only_where_it_says_so() {
    let other = |keys: &str| {
        let keys = format!(
            "failure_budget = \"off\"\n[sources.other]\nkind = \"github\"\npath = \"/other\"\nsecret = \"s\"\n{keys}"
        );
        house(&keys)
    };
    for (keys, is_watched) in [("", false), ("failure_budget = { failures = 3 }\n", true)] {
        let house = other(keys);
        let daemon = house.start();
        fail(&daemon, 5).await;
        let client = reqwest::Client::new();
        for _ in 0..3 {
            let url = format!("http://{}/other", daemon.address);
            assert_eq!(client.post(url).body("{}").send().await.unwrap().status(), 401);
        }
        let wanted = if is_watched { 2 } else { 0 };
        let told = wait_until("it is told", || Some(budget_lines(&daemon)).filter(|told| told.len() >= wanted)).await;
        let budget = status(&house)["sources"]["other"]["budget"].clone();
        assert!(source(&house)["budget"].is_null());
        assert_eq!(budget["used"], if is_watched { 3.into() } else { Value::Null });
        assert!(told.iter().all(|line| line["source"] == "other"), "{told:?}");
        assert_eq!(told.len(), wanted, "{told:?}");
        daemon.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_goes_quiet_is_told_and_so_is_its_return() {
    let house = house("silence = { after = \"1s\", days = \"mon-sun\", timezone = \"Asia/Kolkata\" }\n");
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    let last = source(&house)["last_accepted"].clone();
    let quiet = daemon.log.wait_for(|line| line.contains("the feed has gone quiet"));
    assert!(quiet.as_ref().is_some_and(|line| line.contains("WARN")), "{quiet:?}");
    assert_eq!(source(&house)["silent_since"], last);
    post_all(&daemon.url(), [numbered(2)]).await;
    let back = daemon.log.wait_for(|line| line.contains("the feed is back"));
    assert!(back.is_some_and(|line| line.contains("INFO") && line.contains("\"quiet_for\"")), "{}", daemon.log.text());
    assert_eq!(daemon.terminate(), 0);
}
