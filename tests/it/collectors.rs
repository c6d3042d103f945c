//! Who takes spans in the tests of traces: a receiver of the test's own, and a real OpenTelemetry Collector.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Proto;
use prost::Message as _;
use serde_json::Value;
use sink_testkit::http::Reply;
use sink_testkit::{HttpServer, skip};

use crate::harness::wait_until;

/// A span as a collector has it; what is empty is not set.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    pub name: String,
    /// 2 server, 3 client, 4 producer.
    pub kind: i64,
    /// Nanoseconds.
    pub times: [u64; 2],
    pub attributes: BTreeMap<String, String>,
    /// Attributes of each event.
    pub events: Vec<BTreeMap<String, String>>,
    pub has_failed: bool,
}

impl Span {
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }

    /// What a request in this span says of it.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

/// Who takes spans.
pub trait Collector {
    /// For `[tracing] otlp`.
    fn url(&self) -> String;

    /// All that it was sent.
    fn spans(&self) -> Vec<Span>;

    /// `[tracing]` with this collector.
    fn table(&self) -> String {
        format!("[tracing]\notlp = \"{}\"\n", self.url())
    }
}

/// Waits until a collector has so many spans, and gives them.
pub async fn spans(collector: &impl Collector, count: usize) -> Vec<Span> {
    wait_until("the spans", || Some(collector.spans()).filter(|spans| spans.len() >= count)).await
}

/// Takes OTLP over HTTP, protobuf, and nothing else.
pub struct Receiver {
    pub server: HttpServer,
}

impl Receiver {
    pub async fn start() -> Self {
        Self { server: HttpServer::always(Reply::Status(200)).await }
    }
}

impl Collector for Receiver {
    fn url(&self) -> String {
        self.server.url("")
    }

    fn spans(&self) -> Vec<Span> {
        let mut all = Vec::new();
        for seen in self.server.seen() {
            assert_eq!(seen.line, "POST /v1/traces HTTP/1.1");
            assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
            for of_resource in ExportTraceServiceRequest::decode(&*seen.body).unwrap().resource_spans {
                let resource = attributes(&of_resource.resource.unwrap().attributes);
                assert_eq!(resource["service.name"], "hookrelay");
                assert!(!resource["service.version"].is_empty() && !resource["host.name"].is_empty());
                let own = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                all.extend(own.map(from_proto));
            }
        }
        all
    }
}

fn from_proto(span: Proto) -> Span {
    Span {
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        state: span.trace_state,
        name: span.name,
        kind: i64::from(span.kind),
        times: [span.start_time_unix_nano, span.end_time_unix_nano],
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(|event| attributes(&event.attributes)).collect(),
        has_failed: span.status.is_some_and(|status| status.code == 2),
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    all.iter().map(|own| (own.key.clone(), text(&own.value))).collect()
}

/// An OpenTelemetry Collector (`tests/services/collector`) that writes what it takes to a file; killed when dropped.
pub struct Real {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    /// `None` where it cannot be had, which is said by name.
    pub async fn start(test: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/collector");
        let out = Command::new(script).stdin(Stdio::null()).output().unwrap();
        let [stdout, stderr] = [&out.stdout, &out.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        if !out.status.success() {
            skip(test, stderr.lines().last().unwrap_or("the collector is not there"));
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
             exporters: {{file: {{path: {}}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}\n",
            folder.path().join("spans.json").display()
        );
        let file = folder.path().join("collector.yaml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(PathBuf::from(stdout.trim()))
            .arg("--config")
            .arg(file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let real = Self { child, port, folder };
        wait_until("the collector listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
        Some(real)
    }
}

impl Collector for Real {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spans(&self) -> Vec<Span> {
        let text = std::fs::read_to_string(self.folder.path().join("spans.json")).unwrap_or_default();
        // A line that is still being written does not count yet.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let whole = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let resources = whole.flat_map(|line| list(&line, "resourceSpans"));
        let scopes = resources.flat_map(|resource| list(&resource, "scopeSpans"));
        scopes.flat_map(|scope| list(&scope, "spans")).map(|span| from_json(&span)).collect()
    }
}

fn from_json(span: &Value) -> Span {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nanos = |value: &Value| value.as_str().unwrap().parse().unwrap();
    let attributes = |value: &Value| -> BTreeMap<String, String> {
        let all = value["attributes"].as_array().cloned().unwrap_or_default();
        let own = |one: &Value| {
            let value = one["value"].as_object().unwrap().values().next().unwrap();
            (text(&one["key"]), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        all.iter().map(own).collect()
    };
    Span {
        trace: text(&span["traceId"]),
        id: text(&span["spanId"]),
        parent: text(&span["parentSpanId"]),
        state: text(&span["traceState"]),
        name: text(&span["name"]),
        kind: span["kind"].as_i64().unwrap(),
        times: [nanos(&span["startTimeUnixNano"]), nanos(&span["endTimeUnixNano"])],
        attributes: attributes(span),
        events: span["events"].as_array().map(|all| all.iter().map(attributes).collect()).unwrap_or_default(),
        has_failed: span["status"]["code"] == 2,
    }
}
