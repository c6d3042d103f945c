//! A real Prometheus scrapes a real daemon under load: it takes the page in both formats, and every query of the
//! dashboard and of the alerts under `deploy/` runs and finds what it asks for.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sink_testkit::skip;

use crate::harness::{PATIENCE, post_all};
use crate::metrics::{TOKEN, Watched, families};

/// Queries that may find nothing, by a part of them: nothing is at risk, dropped or parked here.
const MAY_BE_EMPTY: &[&str] = &["outcome=\"dropped\"", "hookrelay_sink_parked"];

/// A sink that reaches nobody, something to send by it, and a rule.
const SENDING: &str = r#"
[sinks.whatsapp]
kind = "interakt"
url = "http://127.0.0.1:9/v1"
api_key = "a2V5"
[[routes]]
match = "message_received"
to = "whatsapp"
transform = '{fullPhoneNumber: "+917000000001", type: "Text", data: {message: "Thanks"}}'
[resend.sales]
match = "message_api_failed"
"#;

/// A message to be sent, and one that failed and waits.
fn of_messages() -> [Vec<u8>; 2] {
    let failed = json!({
        "id": "7f00602d-4c9c-4346-9d4d-a24d478c9926", "message_status": "Failed", "channel_error_code": "131049",
        "message_content_type": "Text", "message": "Hello",
    });
    let data = json!({ "customer": { "channel_phone_number": "917000000001" }, "message": failed });
    [json!({ "type": "message_received", "data": {} }), json!({ "type": "message_api_failed", "data": data })]
        .map(|body| body.to_string().into_bytes())
}

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// The folder of Prometheus' programs; none where they cannot be had, which is said by name.
fn programs(test: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/prometheus");
    let out = Command::new(script).stdin(Stdio::null()).output().unwrap();
    let [stdout, stderr] = [&out.stdout, &out.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if out.status.success() {
        return Some(stdout.trim().into());
    }
    skip(test, stderr.lines().last().unwrap_or("Prometheus is not there"));
    None
}

/// Runs `promtool`; what it printed must not be a complaint.
fn promtool(programs: &Path, args: &[&str], input: &str) {
    let mut command = Command::new(programs.join("promtool"));
    command.args(args).current_dir(deploy("prometheus"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(out.status.success(), "promtool {args:?}: {said}");
    assert!(args != ["check", "metrics"] || said.is_empty(), "{said}");
}

/// A Prometheus; killed when dropped.
struct Prometheus {
    child: Child,
    at: String,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Scrapes that target every second, and loads the alerts.
    fn start(programs: &Path, target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let config = format!(
            "scrape_configs:\n- job_name: hookrelay\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  \
             authorization: {{credentials_file: {}}}\n  static_configs: [{{targets: [\"{target}\"]}}]\n\
             rule_files: [\"{}\"]\n",
            token.display(),
            deploy("prometheus/alerts.yml").display()
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = format!("127.0.0.1:{port}");
        let child = Command::new(programs.join("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={at}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, at, _folder: folder }
    }

    /// What it answers; `None` while it does not.
    async fn get(&self, path: &str) -> Option<Value> {
        let answer = reqwest::get(format!("http://{}{path}", self.at)).await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// The result of a query, which must not be a fault.
    async fn query(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        let answer = self.get(&path).await.unwrap_or_default();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Whether a query finds anything. Once a scrape was late nothing is found until the next one.
    async fn finds(&self, query: &str) -> bool {
        for _ in 0..20 {
            if !self.query(query).await.is_empty() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Waits until it has scraped so often in a minute; what it scrapes must have no fault.
    async fn scraped(&self, times: usize, meanwhile: impl AsyncFn()) {
        let end = Instant::now() + PATIENCE;
        loop {
            meanwhile().await;
            let targets = self.get("/api/v1/targets").await.unwrap_or_default();
            let target = &targets["data"]["activeTargets"][0];
            let fault = target["lastError"].as_str().unwrap_or_default();
            // A machine that is busy may be late; a page that is not understood is another matter.
            assert!(fault.is_empty() || fault.contains("deadline exceeded"), "{fault}");
            if target["health"] == "up" {
                let seen = self.query("sum_over_time(up[1m])").await;
                let count = seen.first().and_then(|one| one["value"][1].as_str()?.parse::<usize>().ok());
                if count.is_some_and(|count| count >= times) {
                    return;
                }
            }
            assert!(Instant::now() < end, "{targets}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Every value under one of these keys, however deep.
fn under<'v>(value: &'v Value, keys: &[&str], found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                found.extend(value.as_str().filter(|_| keys.contains(&key.as_str())));
                under(value, keys, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, keys, found)),
        _ => {}
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(deploy("grafana/hookrelay.json")).unwrap()).unwrap()
}

/// The dashboard's queries as Grafana would send them.
fn dashboard_queries(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    under(dashboard, &["expr"], &mut found);
    let filled = |query: &&str| {
        let variables = [("$__rate_interval", "30s"), ("$instance", ".*"), ("$source", ".*"), ("$sink", ".*")];
        variables.iter().fold((*query).to_owned(), |query, (name, value)| query.replace(name, value))
    };
    let queries: Vec<String> = found.iter().map(filled).collect();
    assert!(queries.len() > 45 && queries.iter().all(|query| !query.contains('$')), "{queries:?}");
    queries
}

#[test]
fn the_alerts_are_well_formed_and_fire_when_they_should() {
    let Some(programs) = programs("the_alerts_are_well_formed_and_fire_when_they_should") else { return };
    promtool(&programs, &["check", "rules", "alerts.yml"], "");
    promtool(&programs, &["test", "rules", "alerts_test.yml"], "");
    // Each alert is tested by name, both ways.
    let [rules, tests] =
        ["alerts.yml", "alerts_test.yml"].map(|name| std::fs::read_to_string(deploy("prometheus").join(name)).unwrap());
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
}

/// The names of ours that a text holds.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("hookrelay_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_reads_the_page_and_answers_every_query() {
    let Some(programs) = programs("a_real_prometheus_reads_the_page_and_answers_every_query") else { return };
    let watched = Watched::start_with(SENDING).await;
    post_all(&watched.daemon.url(), of_messages()).await;
    let prometheus = Prometheus::start(&programs, &watched.admin);
    let sent = std::sync::atomic::AtomicU64::new(0);
    let load = async || {
        let from = sent.fetch_add(20, std::sync::atomic::Ordering::Relaxed);
        watched.send(from..from + 20).await;
    };
    prometheus.scraped(8, load).await;

    // Prometheus asks for OpenMetrics by itself and has taken it; the other format is `promtool`'s.
    let (_, text) = watched.page("text/plain").await;
    promtool(&programs, &["check", "metrics"], &text);
    let there = prometheus.query("count by (__name__) ({job=\"hookrelay\"})").await;
    assert!(there.len() > 50, "{there:?}");

    let dashboard = dashboard();
    for query in dashboard_queries(&dashboard) {
        let may_be_empty = query.starts_with("changes(") || MAY_BE_EMPTY.iter().any(|part| query.contains(part));
        assert!(prometheus.finds(&query).await || may_be_empty, "nothing is found by {query}");
    }
    let rules = prometheus.get("/api/v1/rules").await.unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    for rule in &rules {
        prometheus.query(rule["query"].as_str().unwrap()).await;
    }

    // Nothing under deploy/ names a figure that is not there.
    let mut known: BTreeSet<String> = families(&crate::metrics::samples(&text)).into_keys().collect();
    // Where several daemons share a journal: `several_nodes` has it.
    known.insert("hookrelay_node_up".to_owned());
    let mut texts = vec![dashboard.to_string()];
    for name in ["alerts.yml", "alerts_test.yml", "README.md"] {
        let folder = if name == "README.md" { "." } else { "prometheus" };
        texts.push(std::fs::read_to_string(deploy(folder).join(name)).unwrap());
    }
    for name in names(&texts.concat()) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(&name);
        assert!(known.contains(family) || known.contains(&name), "{name} is no figure of ours");
    }
}
