//! The daemon's own news as events: each type for its cause, summed up, over kill -9, without loops, and from memory
//! where the disk fails.

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{Callback, Daemon, Got, House, lines_under, post, post_all, wait_until};
use crate::shim::Shim;
use crate::tables::{IMPATIENT, file, route};
use crate::verbs::{figures, status, verb};

/// A file that gets all of the daemon's own events, as CloudEvents.
const NEWS: &str = "[sinks.news]\nkind = \"file\"\npath = \"out/news.jsonl\"\nformat = \"cloudevents\"\n\
                    [[routes]]\nname = \"news\"\nsource = \"hookrelay\"\nmatch = \"*\"\nto = \"news\"\n";

/// An HTTP sink that is found sick soon.
fn http(name: &str, url: &str) -> String {
    format!("[sinks.{name}]\nkind = \"http\"\nurl = \"{url}\"\n{IMPATIENT}")
}

/// A route that gives the daemon's own events to a sink.
fn own(glob: &str, to: &str) -> String {
    format!("[[routes]]\nname = \"own\"\nsource = \"hookrelay\"\nmatch = \"{glob}\"\nto = \"{to}\"\n")
}

/// What the file of [`NEWS`] has, as CloudEvents.
fn news(house: &House) -> Vec<Value> {
    lines_under(&house.path("out"), "news.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those of a type.
fn of<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// Waits until the file of [`NEWS`] has one of that type for which this holds.
async fn told(house: &House, kind: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_until(kind, || of(&news(house), kind).into_iter().find(|event| holds(&event["data"])).cloned()).await
}

fn data(got: &Got) -> Value {
    serde_json::from_slice(&got.body).unwrap()
}

/// The daemon's own events in the journal of a daemon that has ended.
fn journaled(house: &House) -> Vec<Value> {
    let lines = verb(house, 0, &["journal", "dump", "--json", "--source", "hookrelay"]);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_goes_down_and_comes_back_is_told_in_this_order() {
    let (crm, alerts) = (Callback::start().await, Callback::start().await);
    crm.answer_with(503);
    let tables = [http("crm", &crm.url()), http("alerts", &alerts.url()), route("all", "*", "\"crm\"")].concat();
    let house = House::new(&(tables + &own("sink.*", "alerts")));
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    let down = wait_until("down", || alerts.got().first().cloned()).await;
    assert_eq!((down.kind.as_str(), down.header("ce-source")), ("sink.down", Some("/hookrelay")));
    assert_eq!((down.header("ce-subject"), down.header("content-type")), (Some("crm"), Some("application/json")));
    let body = data(&down);
    assert_eq!((&body["type"], &body["subject"], &body["count"]), (&"sink.down".into(), &"crm".into(), &1.into()));
    assert_eq!((&body["reason"], body["pending"].as_u64()), (&"http_5xx".into(), Some(3)), "{body}");
    assert!(body["text"].as_str().unwrap().contains("crm") && body["first"] == body["last"], "{body}");
    crm.answer_with(200);
    let up = wait_until("up", || alerts.got().into_iter().find(|got| got.kind == "sink.up")).await;
    assert_eq!(data(&up)["subject"], "crm");
    assert_eq!(crm.got().len(), 3);
    // Sources are those of the config.
    assert!(status(&house)["sources"]["hookrelay"].is_null());
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_told_to_be_down_is_told_to_be_up_after_a_reload_or_a_kill_too() {
    for is_killed in [false, true] {
        let crm = Callback::start().await;
        let house = House::new("");
        let configure = |url: &str| house.configure(&[NEWS, &http("crm", url), &route("all", "*", "\"crm\"")].concat());
        configure("http://127.0.0.1:1/");
        let mut daemon = house.start();
        post_all(&daemon.url(), [numbered(1)]).await;
        told(&house, "sink.down", |data| data["subject"] == "crm").await;
        configure(&crm.url());
        if is_killed {
            let noted = || std::fs::read_to_string(house.path("data/told-down.json")).ok();
            wait_until("it is noted for the next start", || noted().filter(|text| text.contains("crm"))).await;
            daemon.kill();
            daemon = house.start();
        } else {
            daemon.hang_up();
        }
        told(&house, "sink.up", |data| data["subject"] == "crm").await;
        assert_eq!(crm.got().len(), 1);
        assert_eq!(daemon.terminate(), 0);
        // What is up stays up: nothing is told of it by the next start.
        let daemon = house.start();
        post_all(&daemon.url(), [numbered(2)]).await;
        wait_until("it is delivered", || (crm.got().len() == 2).then_some(())).await;
        assert_eq!(daemon.terminate(), 0);
        assert_eq!(of(&news(&house), "sink.up").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_summed_up_and_the_counts_add_up() {
    let crm = Callback::start().await;
    crm.answer_with(400);
    let house = House::new(&[NEWS, &http("crm", &crm.url()), &route("all", "*", "\"crm\"")].concat());
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..20).map(numbered)).await;
    let count = || {
        let told = news(&house);
        let counts = of(&told, "event.dead_lettered").into_iter().map(|event| event["data"]["count"].as_u64().unwrap());
        (counts.clone().count(), counts.sum::<u64>())
    };
    wait_until("all are told", || (count().1 == 20).then_some(())).await;
    assert!(count().0 <= 4, "one at once, the rest of ten seconds as one: {}", count().0);
    let told = news(&house);
    let first = &of(&told, "event.dead_lettered")[0]["data"];
    assert_eq!((&first["subject"], &first["reason"]), (&"crm".into(), &"http_4xx".into()), "{first}");
    assert!(ids.iter().any(|id| first["id"] == id.as_str()), "{first}");
    assert_eq!(figures(&house, "crm", ["accepted", "dead"]), [20, 20]);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_is_given_up_makes_no_further_alarm() {
    let sick = Callback::start().await;
    sick.answer_with(400);
    let tables = [http("crm", &sick.url()), http("alerts", &sick.url()), route("all", "*", "\"crm\"")].concat();
    let house = House::new(&(tables + &own("*", "alerts")));
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    // The start, and the first of crm's dead letters.
    wait_until("alarms are given up", || (figures(&house, "alerts", ["dead"])[0] >= 2).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    // What was held back is written at the stop.
    let all = journaled(&house);
    let dead: Vec<&Value> = of(&all, "event.dead_lettered");
    assert!(!dead.is_empty() && dead.len() <= 2, "{dead:?}");
    assert_eq!(dead.iter().map(|event| event["body"]["count"].as_u64().unwrap()).sum::<u64>(), 3);
    assert!(all.iter().all(|event| event["subject"] != "alerts"), "{all:?}");
    let names = |kind: &str| of(&all, kind).len();
    assert_eq!((names("daemon.started"), names("daemon.stopped"), all.len()), (1, 1, 2 + dead.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_route_that_names_them_nothing_is_written() {
    let house = House::new(&[file("all"), route("all", "*", "\"all\"")].concat());
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    let lines = || lines_under(&house.path("out"), ".jsonl").len();
    wait_until("the event is there", || (lines() == 1).then_some(())).await;
    std::fs::write(house.config(), "not a config").unwrap();
    daemon.hang_up();
    daemon.log.wait_for(|line| line.contains("refused: the old one stays")).expect("the reload is refused");
    assert_eq!(daemon.terminate(), 0);
    house.configure(&[file("all"), route("all", "*", "\"all\"")].concat());
    assert_eq!(journaled(&house), Vec::<Value>::new());
    assert_eq!(lines(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_stops_and_configs_are_told_and_the_stop_before_the_daemon_ends() {
    let house = House::new(NEWS);
    let daemon = house.start();
    let started = told(&house, "daemon.started", |_| true).await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!((&started["subject"], &started["data"]["sinks"]), (&host.trim().into(), &1.into()), "{started}");
    assert_eq!(started["source"], "/hookrelay");
    let good = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), "bogus = 1\n").unwrap();
    daemon.hang_up();
    let file = house.config().display().to_string();
    let refused = told(&house, "config.refused", |data| data["subject"] == file.as_str()).await;
    assert!(refused["data"]["detail"].as_str().unwrap().contains("bogus"), "{refused}");
    std::fs::write(house.config(), &good).unwrap();
    daemon.hang_up();
    let reloaded = told(&house, "config.reloaded", |_| true).await;
    assert_eq!((&reloaded["data"]["routes"], &reloaded["data"]["added"]), (&1.into(), &"".into()), "{reloaded}");
    assert_eq!(daemon.terminate(), 0);
    let stopped = news(&house);
    let stopped = of(&stopped, "daemon.stopped");
    assert_eq!((stopped.len(), &stopped[0]["data"]["reason"]), (1, &"SIGTERM".into()), "{stopped:?}");
    // A start from the last good config says so.
    std::fs::write(house.config(), "bogus = 1\n").unwrap();
    let daemon = house.start();
    let is_start = |data: &Value| data["text"].as_str().unwrap().contains("last good");
    told(&house, "config.refused", is_start).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_survives_kill_9_and_reaches_its_sink_once_that_is_there() {
    let (crm, alerts) = (Callback::start().await, Callback::start().await);
    crm.answer_with(400);
    alerts.answer_with(503);
    let tables = [http("crm", &crm.url()), http("alerts", &alerts.url()), route("all", "*", "\"crm\"")].concat();
    let house = House::new(&(tables + &own("event.dead_lettered", "alerts")));
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    wait_until("the alarm waits", || (figures(&house, "alerts", ["pending"]) == [1]).then_some(())).await;
    daemon.kill();
    alerts.answer_with(200);
    let daemon = house.start();
    let alarm = wait_until("the alarm comes", || alerts.got().first().cloned()).await;
    assert_eq!((alarm.kind.as_str(), &data(&alarm)["subject"]), ("event.dead_lettered", &"crm".into()));
    let settled = || figures(&house, "alerts", ["accepted", "delivered"]) == [1, 1];
    wait_until("it is settled", || settled().then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_fills_is_told_early_and_what_it_drops_is_told_too() {
    let tables = |enabled: bool| {
        let late = format!("{}enabled = {enabled}\n", file("late"));
        [NEWS, &late, &route("late", "t", "\"late\"")].concat()
    };
    let house = House::new("");
    let configure = |enabled| {
        house.configure(&tables(enabled));
        let text = std::fs::read_to_string(house.config()).unwrap();
        let bounds = "min_free = 0\nsegment_size = \"1MiB\"\nmax_size = \"6MiB\"";
        std::fs::write(house.config(), text.replace("min_free = 0", bounds)).unwrap();
    };
    configure(false);
    let daemon = house.start();
    let body = |n: u32| format!(r#"{{"type":"t","n":{n},"x":"{}"}}"#, "y".repeat(100_000)).into_bytes();
    post_all(&daemon.url(), (0..54).map(body)).await;
    let filling = told(&house, "disk.filling", |data| data["reason"] == "max_size").await;
    let (used, most) = (filling["data"]["used"].as_u64().unwrap(), filling["data"]["of"].as_u64().unwrap());
    assert!(most == 6 << 20 && used * 100 >= most * 80, "{filling}");
    post_all(&daemon.url(), (54..120).map(body)).await;
    assert_eq!(daemon.terminate(), 0);
    configure(true);
    let daemon = house.start();
    let done = || figures(&house, "late", ["accepted", "pending"]) == [120, 0];
    wait_until("the late sink has caught up", || done().then_some(())).await;
    let [dropped] = figures(&house, "late", ["dropped"]);
    assert!(dropped > 0);
    let count =
        || of(&news(&house), "events.dropped").iter().map(|e| e["data"]["count"].as_u64().unwrap()).sum::<u64>();
    wait_until("all that is dropped is told", || (count() == dropped).then_some(())).await;
    let all = news(&house);
    assert!(of(&all, "events.dropped").iter().all(|event| event["subject"] == "late"), "{all:?}");
    assert_eq!(daemon.terminate(), 0);
}

/// A daemon on a disk that a shim makes fail, with a sink that gets the alarms about it, and its source's further keys;
/// `None`, said aloud, where no shim can be built.
fn on_a_failing_disk(test: &str, alerts: &Callback, keys: &str) -> Option<(House, Shim, Daemon)> {
    let house = House::new(&[http("alerts", &alerts.url()), own("disk.filling", "alerts")].concat());
    let text = std::fs::read_to_string(house.config()).unwrap();
    let source = "kind = \"interakt\"\n";
    assert!(text.contains(source), "{text}");
    std::fs::write(house.config(), text.replace(source, &format!("{source}{keys}"))).unwrap();
    let shim = Shim::build(&format!("internal_events::{test}"), house.folder.path())?;
    let mut command = house.command(&["run"]);
    shim.preload(&mut command);
    let daemon = House::start_as(command);
    daemon.log.wait_for(|line| line.contains("\"ready\"")).expect("it is ready");
    shim.disk(1);
    Some((house, shim, daemon))
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_fails_the_alarm_goes_from_memory() {
    let alerts = Callback::start().await;
    let begun = on_a_failing_disk("while_the_disk_fails_the_alarm_goes_from_memory", &alerts, "");
    let Some((house, shim, daemon)) = begun else { return };
    // Answered 200 from memory: what is at risk is what is told.
    post_all(&daemon.url(), [numbered(1)]).await;
    let alarm = wait_until("the alarm", || alerts.got().first().cloned()).await;
    let body = data(&alarm);
    assert_eq!((alarm.kind.as_str(), &body["reason"]), ("disk.filling", &"journal_failing".into()), "{body}");
    shim.disk(0);
    daemon.log.wait_for(|line| line.contains("delivered from memory")).expect("the log says so");
    assert_eq!(figures(&house, "alerts", ["accepted", "delivered"]), [0, 0], "it is not counted");
    assert_eq!(daemon.terminate(), 0);
}

/// Then nothing is at risk, as nothing is taken.
#[tokio::test(flavor = "multi_thread")]
async fn where_webhooks_are_refused_as_the_disk_fails_that_is_told_too() {
    let alerts = Callback::start().await;
    let (test, refuse) =
        ("where_webhooks_are_refused_as_the_disk_fails_that_is_told_too", "on_journal_failure = \"refuse\"\n");
    let Some((_house, shim, daemon)) = on_a_failing_disk(test, &alerts, refuse) else { return };
    let refused = post(&reqwest::Client::new(), &daemon.url(), numbered(1)).await.unwrap();
    assert_eq!(refused.0, 503, "{refused:?}");
    let alarm = wait_until("the alarm", || alerts.got().first().cloned()).await;
    let body = data(&alarm);
    assert_eq!((&body["reason"], &body["at_risk"]), (&"journal_failing".into(), &0.into()), "{body}");
    shim.disk(0);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn rules_on_them_are_explained_and_doubted_like_others() {
    let house =
        House::new(&[file("log"), own("request.refused", "log"), "transform = \"api_log\"\n".to_owned()].concat());
    let body = concat!(
        r#"{"type":"request.refused","subject":"/x","count":3,"path":"/x","method":"PUT","status":404,"#,
        r#""reason":"unknown"}"#,
    );
    std::fs::write(house.path("refused.json"), body).unwrap();
    let path = house.path("refused.json").display().to_string();
    let shown = verb(&house, 0, &["explain", &path, "--source", "hookrelay", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["event"]["type"], &shown["event"]["source"]), (&"request.refused".into(), &"hookrelay".into()));
    let row = &shown["deliveries"][0]["payload"];
    assert_eq!((&row["status"], &row["method"], &row["path"]), (&404.into(), &"PUT".into(), &"/x".into()), "{shown}");
    assert_eq!((&row["error"], &row["count"], &row["source"]), (&"unknown".into(), &3.into(), &Value::Null), "{shown}");
    house.configure(&[file("log"), own("sink.dwon", "log")].concat());
    assert!(verb(&house, 0, &["check"]).contains("did you mean `sink.down`?"));
}
