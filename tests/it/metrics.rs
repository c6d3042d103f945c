//! `/metrics`: every promised name in both formats, counters that begin at 0, and documents that name what is there.
//! What a real Prometheus makes of it is in `prometheus`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{Callback, Daemon, House, post_all, wait_until};
use crate::tables::{IMPATIENT, file, route};
use crate::verbs::{figures, json, verb};

pub const TOKEN: &str = "the-token";

/// The names that others rely on, with their labels. (Histograms have `le` besides.)
const PROMISED: &[(&str, &str)] = &[
    ("hookrelay_webhooks_accepted_total", "source"),
    ("hookrelay_webhooks_refused_total", "reason source"),
    ("hookrelay_webhooks_duplicate_total", "source"),
    ("hookrelay_webhooks_at_risk", "source"),
    ("hookrelay_answer_seconds", "source status"),
    ("hookrelay_last_accepted_timestamp_seconds", "source"),
    ("hookrelay_failure_budget_used_ratio", "source"),
    ("hookrelay_requests_elsewhere_total", "reason"),
    ("hookrelay_connections", ""),
    ("hookrelay_inflight_bytes", ""),
    ("hookrelay_commit_seconds", ""),
    ("hookrelay_commit_records", ""),
    ("hookrelay_journal_bytes", ""),
    ("hookrelay_journal_segments", ""),
    ("hookrelay_journal_oldest_timestamp_seconds", ""),
    ("hookrelay_disk_free_bytes", ""),
    ("hookrelay_events_unmatched_total", ""),
    ("hookrelay_route_events_total", "outcome route"),
    ("hookrelay_deliveries_total", "outcome sink"),
    ("hookrelay_attempts_total", "code outcome sink"),
    ("hookrelay_sink_pending", "sink"),
    ("hookrelay_sink_parked", "sink"),
    ("hookrelay_sink_oldest_pending_seconds", "sink"),
    ("hookrelay_sink_up", "sink"),
    ("hookrelay_sink_in_flight", "sink"),
    ("hookrelay_batch_seconds", "sink"),
    ("hookrelay_batch_events", "sink"),
    ("hookrelay_config_state", "state"),
    ("hookrelay_reloads_total", "outcome"),
    ("hookrelay_log_lines_left_out_total", ""),
    ("hookrelay_spans_left_out_total", ""),
    ("hookrelay_build_info", "commit version"),
    ("process_cpu_seconds_total", ""),
    ("process_resident_memory_bytes", ""),
    ("process_virtual_memory_bytes", ""),
    ("process_open_fds", ""),
    ("process_max_fds", ""),
    ("process_start_time_seconds", ""),
];

/// A daemon with sinks in every state, and what its metrics are asked by.
pub struct Watched {
    pub house: House,
    pub daemon: Daemon,
    /// Where the admin listener is.
    pub admin: String,
    pub callback: Callback,
}

/// One line of the page.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Watched {
    /// `archive` and `crm` take everything, `down` is nowhere, `picky` gets what a rule makes of each third number,
    /// which is a failure; `held` is paused, and `off` not enabled. The type `other` matches no route.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with further tables.
    pub async fn start_with(more: &str) -> Self {
        let callback = Callback::start().await;
        let port = free_port();
        let url = callback.url();
        let tables = [
            format!("[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n"),
            file("archive"),
            file("picky"),
            file("held"),
            file("off") + "enabled = false\n",
            format!("[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\n{IMPATIENT}"),
            format!("[sinks.down]\nkind = \"http\"\nurl = \"http://127.0.0.1:{}/\"\n{IMPATIENT}", free_port()),
            route("everything", "message_*", "\"archive\", \"crm\""),
            route("reads", "message_api_read", "\"down\", \"held\", \"off\""),
            route("fails", "message_api_sent", "\"picky\"") + "transform = 'error(\"no\")'\n",
            route("some", "message_*", "\"picky\"") + "where = '.data.message.id | endswith(\"7\")'\n",
            more.to_owned(),
        ];
        let house = House::new(&tables.concat());
        let daemon = house.start();
        assert!(daemon.log.wait_for(|line| line.contains("\"ready\"")).is_some(), "{}", daemon.log.text());
        verb(&house, 0, &["sink", "pause", "held"]);
        Self { house, daemon, admin: format!("127.0.0.1:{port}"), callback }
    }

    /// Some traffic, of which some is refused.
    pub async fn send(&self, numbers: std::ops::Range<u64>) {
        let (client, url) = (reqwest::Client::new(), self.daemon.url());
        let again = numbered(numbers.start);
        post_all(&url, numbers.map(numbered)).await;
        post_all(&url, [again, br#"{"type":"other"}"#.to_vec()]).await;
        let wrong = client.post(&url).header("Interakt-Signature", "sha256=00").body("{}").send().await.unwrap();
        assert_eq!(wrong.status(), 401);
        let elsewhere = client.post(format!("{url}-elsewhere")).body("{}").send().await.unwrap();
        assert_eq!(elsewhere.status(), 404);
    }

    /// The page, with its media type.
    pub async fn page(&self, accept: &str) -> (String, String) {
        page_at(&self.admin, accept).await
    }

    pub async fn samples(&self) -> Vec<Sample> {
        samples(&self.page("").await.1)
    }

    /// Waits until a figure holds.
    pub async fn wait_for(&self, name: &str, labels: &[(&str, &str)], holds: impl Fn(f64) -> bool) -> f64 {
        let end = std::time::Instant::now() + crate::harness::PATIENCE;
        loop {
            let value = value(&self.samples().await, name, labels);
            if let Some(value) = value.filter(|value| holds(*value)) {
                return value;
            }
            assert!(std::time::Instant::now() < end, "{name} {labels:?} stays {value:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn page_at(admin: &str, accept: &str) -> (String, String) {
    let request = reqwest::Client::new().get(format!("http://{admin}/metrics")).bearer_auth(TOKEN);
    let answer = request.header("accept", accept).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.text().await.unwrap())
}

/// The page of a daemon whose admin listener is a Unix socket.
pub async fn page_of(house: &House) -> String {
    let client = reqwest::Client::builder().unix_socket(house.path("data/admin.sock")).build().unwrap();
    client.get("http://localhost/metrics").send().await.unwrap().text().await.unwrap()
}

/// The page's samples. No label in these tests holds a quote or a comma.
pub fn samples(page: &str) -> Vec<Sample> {
    let sample = |line: &str| {
        let (named, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = named.split_once('{').unwrap_or((named, ""));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split_once('=').unwrap());
        Sample {
            name: name.to_owned(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect(),
            value: value.parse().unwrap(),
        }
    };
    page.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// The figure of that name that has these labels among its own.
pub fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has =
        |sample: &&Sample| labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|v| v == value));
    samples.iter().filter(|sample| sample.name == name).find(has).map(|sample| sample.value)
}

/// Every family with its labels, those of its histogram's parts left out.
pub fn families(samples: &[Sample]) -> BTreeMap<String, String> {
    let histograms: BTreeSet<&str> = samples.iter().filter_map(|sample| sample.name.strip_suffix("_bucket")).collect();
    let family = |sample: &Sample| {
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| sample.name.strip_suffix(part));
        let name = part.filter(|name| histograms.contains(name)).unwrap_or(&sample.name).to_owned();
        let labels = sample.labels.keys().map(String::as_str).filter(|label| *label != "le");
        (name, labels.collect::<Vec<_>>().join(" "))
    };
    samples.iter().map(family).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promised_figure_is_there_in_both_formats_and_says_what_happened() {
    let watched = Watched::start().await;
    watched.send(0..30).await;
    let of = |sink| [("sink", sink)];
    watched
        .wait_for("hookrelay_deliveries_total", &[("sink", "archive"), ("outcome", "delivered")], |n| n == 30.0)
        .await;
    watched.wait_for("hookrelay_deliveries_total", &[("sink", "picky"), ("outcome", "dead")], |n| n == 10.0).await;
    watched.wait_for("hookrelay_deliveries_total", &[("sink", "picky"), ("outcome", "delivered")], |n| n == 3.0).await;
    watched.wait_for("hookrelay_sink_state", &[("sink", "down"), ("state", "down")], |n| n == 1.0).await;
    let (kind, text) = watched.page("text/plain").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let (open_kind, open) = watched.page("application/openmetrics-text;version=1.0.0").await;
    assert_eq!(open_kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.ends_with("# EOF\n"));
    for page in [&text, &open] {
        let there = families(&samples(page));
        for (name, labels) in PROMISED {
            assert_eq!(there.get(*name).map(String::as_str), Some(*labels), "{name}");
        }
    }

    let samples = samples(&text);
    let is = |name: &str, labels: &[(&str, &str)], wanted: f64| {
        assert_eq!(value(&samples, name, labels), Some(wanted), "{name} {labels:?}");
    };
    is("hookrelay_webhooks_accepted_total", &[], 31.0);
    is("hookrelay_webhooks_duplicate_total", &[], 1.0);
    is("hookrelay_webhooks_refused_total", &[("reason", "malformed")], 1.0);
    is("hookrelay_requests_elsewhere_total", &[("reason", "unknown_path")], 1.0);
    is("hookrelay_failure_budget_used_ratio", &[], 0.2);
    is("hookrelay_webhooks_at_risk", &[], 0.0);
    let last = value(&samples, "hookrelay_last_accepted_timestamp_seconds", &[]).unwrap();
    assert!((last - sink_api::Timestamp::now().as_second() as f64).abs() < 600.0, "{last}");
    is("hookrelay_answer_seconds_count", &[("status", "200")], 32.0);
    is("hookrelay_answer_seconds_count", &[("status", "401")], 1.0);
    is("hookrelay_events_unmatched_total", &[], 1.0);
    for (route, outcome, events) in [
        ("everything", "matched", 30.0),
        ("reads", "matched", 0.0),
        ("fails", "failed", 10.0),
        ("some", "matched", 3.0),
        ("some", "filtered", 27.0),
        ("everything", "failed", 0.0),
    ] {
        // The sink that counts for `reads` is down and has read what it has room for.
        if route != "reads" {
            is("hookrelay_route_events_total", &[("route", route), ("outcome", outcome)], events);
        }
    }
    is("hookrelay_dead_letters_total", &[("sink", "picky"), ("code", "rule_error")], 10.0);
    is("hookrelay_attempts_total", &[("sink", "archive"), ("outcome", "delivered"), ("code", "")], 30.0);
    let refused = [("sink", "down"), ("outcome", "retry"), ("code", "connect")];
    assert!(value(&samples, "hookrelay_attempts_total", &refused).is_some_and(|n| n >= 1.0), "{text}");
    is("hookrelay_sink_pending", &of("archive"), 0.0);
    is("hookrelay_sink_pending", &of("held"), 10.0);
    for (sink, up, state) in
        [("archive", 1.0, "running"), ("down", 0.0, "down"), ("held", 0.0, "paused"), ("off", 0.0, "disabled")]
    {
        is("hookrelay_sink_up", &of(sink), up);
        is("hookrelay_sink_state", &[("sink", sink), ("state", state)], 1.0);
    }
    assert!(value(&samples, "hookrelay_sink_oldest_pending_seconds", &of("held")).is_some_and(|age| age > 0.0));
    assert!(value(&samples, "hookrelay_commit_records_sum", &[]).is_some_and(|records| records == 31.0), "{text}");
    assert!(value(&samples, "hookrelay_disk_free_bytes", &[]).is_some_and(|free| free > 1e6));
    is("hookrelay_config_state", &[("state", "same")], 1.0);
    is("hookrelay_config_state", &[("state", "refused")], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_stand_behind_the_token_and_follow_reloads() {
    let watched = Watched::start().await;
    let bare = reqwest::get(format!("http://{}/metrics", watched.admin)).await.unwrap();
    assert_eq!(bare.status(), 401);
    watched.send(0..3).await;
    watched
        .wait_for("hookrelay_route_events_total", &[("route", "everything"), ("outcome", "matched")], |n| n == 3.0)
        .await;
    let text = std::fs::read_to_string(watched.house.config()).unwrap();
    std::fs::write(watched.house.config(), format!("{text}\n[nonsense]\n")).unwrap();
    verb(&watched.house, 78, &["reload"]);
    watched.wait_for("hookrelay_config_state", &[("state", "refused")], |n| n == 1.0).await;
    // A sink and a route go, a route comes; what stays goes on counting.
    let next = text.replace("\"down\", \"held\", \"off\"", "\"held\"").replace("name = \"some\"", "name = \"a few\"");
    let (before, rest) = next.split_once("[sinks.down]").unwrap();
    let next = format!("{before}{}", &rest[rest.find("[[routes]]").unwrap()..]);
    std::fs::write(watched.house.config(), next).unwrap();
    verb(&watched.house, 0, &["reload"]);
    watched.wait_for("hookrelay_reloads_total", &[("outcome", "applied")], |n| n == 1.0).await;
    watched.wait_for("hookrelay_reloads_total", &[("outcome", "refused")], |n| n == 1.0).await;
    watched.send(3..6).await;
    watched
        .wait_for("hookrelay_route_events_total", &[("route", "everything"), ("outcome", "matched")], |n| n == 6.0)
        .await;
    let samples = watched.samples().await;
    assert_eq!(value(&samples, "hookrelay_config_state", &[("state", "same")]), Some(1.0));
    assert_eq!(value(&samples, "hookrelay_sink_pending", &[("sink", "down")]), None);
    assert_eq!(value(&samples, "hookrelay_route_events_total", &[("route", "some")]), None);
    assert!(value(&samples, "hookrelay_route_events_total", &[("route", "a few")]).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_begin_at_0_with_each_start_and_a_dead_letter_counts_each_time() {
    let watched = Watched::start().await;
    watched.send(0..9).await;
    let dead = [("sink", "picky"), ("outcome", "dead")];
    let delivered = [("sink", "archive"), ("outcome", "delivered")];
    watched.wait_for("hookrelay_deliveries_total", &dead, |n| n == 3.0).await;
    watched.wait_for("hookrelay_deliveries_total", &delivered, |n| n == 9.0).await;
    wait_until("the letters lie in the ledger", || (figures(&watched.house, "picky", ["dead"]) == [3]).then_some(()))
        .await;
    verb(&watched.house, 0, &["dead", "retry", "--sink", "picky"]);
    watched.wait_for("hookrelay_deliveries_total", &dead, |n| n == 6.0).await;
    wait_until("they are dead again", || (figures(&watched.house, "picky", ["dead"]) == [3]).then_some(())).await;

    let Watched { house, daemon, admin, callback } = watched;
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
    let daemon = house.start();
    assert!(daemon.log.wait_for(|line| line.contains("\"ready\"")).is_some());
    let watched = Watched { house, daemon, admin, callback };
    for labels in [dead, delivered] {
        assert_eq!(value(&watched.samples().await, "hookrelay_deliveries_total", &labels), Some(0.0));
    }
    assert_eq!(figures(&watched.house, "archive", ["delivered"]), [9]);
    watched.send(20..21).await;
    watched.wait_for("hookrelay_deliveries_total", &delivered, |n| n == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_how_each_sink_fares() {
    let watched = Watched::start().await;
    watched.send(0..30).await;
    let status = wait_until("the sinks have fared as they will", || {
        let status = json(&watched.house, &["status"]);
        let sinks = &status["sinks"];
        let is_far =
            sinks["down"]["state"] == "down" && sinks["crm"]["delivered"] == 30 && sinks["picky"]["dead"] == 10;
        is_far.then_some(status)
    })
    .await;
    let is_time = |value: &Value| value.as_str().is_some_and(|text| text.parse::<sink_api::Timestamp>().is_ok());
    assert!(is_time(&status["started"]) && !status["version"].as_str().unwrap().is_empty(), "{status}");
    assert_eq!(status["unmatched"], 1);
    let disk = &status["disk"];
    assert_eq!((&disk["min_free"], &disk["max_size"]), (&0.into(), &(10_u64 << 30).into()));
    assert!(disk["free"].as_u64().is_some_and(|free| free > 0), "{disk}");
    let sinks = &status["sinks"];
    let state = |sink: &str| sinks[sink]["state"].as_str().unwrap().to_owned();
    assert_eq!(["archive", "crm", "held", "off"].map(state), ["running", "running", "paused", "disabled"]);
    let (crm, down) = (&sinks["crm"], &sinks["down"]);
    assert!(is_time(&crm["last_delivered"]) && crm["last_error"].is_null() && crm["next_try"].is_null(), "{crm}");
    assert_eq!((&crm["retried"], &crm["parked"]), (&0.into(), &0.into()));
    assert!(is_time(&down["down_since"]) && is_time(&down["last_error"]["time"]), "{down}");
    assert_eq!(down["last_error"]["code"], "connect");
    assert!(down["last_delivered"].is_null() && down["retried"].as_u64().is_some_and(|n| n > 0), "{down}");
    wait_until("its next probe is due", || {
        is_time(&json(&watched.house, &["status"])["sinks"]["down"]["next_try"]).then_some(())
    })
    .await;

    let checked = watched.house.command(&["status", "--check"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(1), "a sink is down, not for long");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_is_told_by_exit_code_and_one_line() {
    let callback = Callback::start().await;
    let tables = [
        format!("[sinks.crm]\nkind = \"http\"\nurl = \"{}\"\n{IMPATIENT}", callback.url()),
        route("everything", "*", "\"crm\""),
    ];
    let house = House::new(&tables.concat());
    let check = |flags: &[&str]| {
        let out = house.command(&[&["status", "--check"], flags].concat()).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
        (out.status.code().unwrap(), text)
    };
    let (code, text) = check(&[]);
    assert!(code == 2 && text.starts_with("hookrelay CRITICAL: no daemon answers"), "{code} {text}");
    let daemon = house.start();
    wait_until("it is ready", || {
        (check(&[]) == (0, "hookrelay OK: ready, 1 sink | pending=0 dead=0 at_risk=0B\n".into())).then_some(())
    })
    .await;
    callback.answer_with(400);
    post_all(&daemon.url(), [numbered(0)]).await;
    wait_until("there is a dead letter", || (figures(&house, "crm", ["dead"]) == [1]).then_some(())).await;
    assert_eq!(check(&["--dead", "1"]).0, 0);
    let (code, text) = check(&["--dead", "0", "--pending", "5"]);
    assert_eq!(
        (code, text.as_str()),
        (1, "hookrelay WARNING: 1 dead, more than 0 | pending=0;5 dead=1;0 at_risk=0B\n")
    );
    callback.answer_with(500);
    post_all(&daemon.url(), (1..5).map(numbered)).await;
    wait_until("the sink is down", || (check(&[]).0 == 1).then_some(())).await;
    assert!(check(&[]).1.contains("sink crm down for "), "{:?}", check(&[]));
    wait_until("it is so for too long", || (check(&["--down", "500ms"]).0 == 2).then_some(())).await;
}

/// The rows of docs/metrics.md: names and labels.
fn documented() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, labels, ..] = cells.as_slice() else { return None };
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        let mut labels: Vec<&str> = labels.split('`').skip(1).step_by(2).collect();
        labels.sort_unstable();
        Some((name.to_owned(), labels.join(" ")))
    };
    text.lines().filter_map(row).collect()
}

/// What a daemon shows beside all this that sends messages, and has one to send again.
async fn of_sending() -> BTreeMap<String, String> {
    let port = free_port();
    let house = House::new(&format!(
        r#"
[admin]
listen = "127.0.0.1:{port}"
token = "{TOKEN}"
[sinks.whatsapp]
kind = "interakt"
url = "http://127.0.0.1:{}"
api_key = "a2V5"
[resend.marketing]
match = "message_*_failed"
codes = {{ "131049" = {{ after = "1h", times = 1 }} }}
with = "template"
template = {{ name = "again", languageCode = "en" }}
"#,
        free_port()
    ));
    let daemon = house.start();
    // What failed long ago is not sent again.
    let now = sink_api::Timestamp::now().to_string();
    let body = serde_json::json!({"type": "message_api_failed", "timestamp": now, "data": {
        "customer": {"channel_phone_number": "919876543210"},
        "message": {"id": "m-1", "message_status": "Failed", "channel_error_code": "131049"},
    }});
    post_all(&daemon.url(), [body.to_string().into_bytes()]).await;
    let end = tokio::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let mut there = families(&samples(&page_at(&format!("127.0.0.1:{port}"), "").await.1));
        there.retain(|name, _| name.contains("_resends_") || name.contains("_calls_"));
        if there.len() == 3 {
            return there;
        }
        assert!(tokio::time::Instant::now() < end, "{there:?}\n{}", daemon.log.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_figure_is_documented_and_each_documented_one_is_there() {
    let watched = Watched::start().await;
    watched.send(0..30).await;
    watched.wait_for("hookrelay_dead_letters_total", &[("sink", "picky")], |n| n > 0.0).await;
    let (mut there, documented) = (families(&watched.samples().await), documented());
    there.extend(of_sending().await);
    assert_eq!(there, documented);
}
