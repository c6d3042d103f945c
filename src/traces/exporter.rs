//! Sends spans to the collector, a batch at a time: protobuf over HTTP. Nobody waits for it. What the collector does
//! not take in time is left out, counted, and told in the log once a minute.
//!
//! Source: the OTLP specification 1.8 (<https://opentelemetry.io/docs/specs/otlp/>), *OTLP/HTTP*.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse as Answer;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prost::Message as _;
use sink_api::{LogLimit, async_trait};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::leave_out;

/// Most spans in a request.
const BATCH: usize = 512;
/// How long a batch that is not full waits for more.
const LINGER: Duration = Duration::from_secs(1);
/// Longest time of a request; what comes meanwhile waits in the queue.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
const MOST_ANSWER: usize = 64 << 10;
/// Most characters of a collector's own words that are told.
const MOST_WHY: usize = 200;
/// A line in the log at most so often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Where the host's name is.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Sends what comes until the queue is closed and empty.
pub(super) async fn run(endpoint: String, mut queue: mpsc::Receiver<SpanData>) {
    let (limit, heard) = (LogLimit::new(1, TELL_EVERY), Arc::<Mutex<Heard>>::default());
    let exporter = exporter(&endpoint, &heard);
    let (mut batch, mut before) = (Vec::with_capacity(BATCH), super::left_out());
    while gather(&mut queue, &mut batch).await {
        let (spans, full) = (batch.len(), std::mem::take(&mut batch));
        let failed = match &exporter {
            Ok(exporter) => match timeout(TIMEOUT, exporter.export(full)).await {
                Ok(sent) => sent.err().map(|error| error.to_string()),
                Err(_) => Some("it did not answer in time".to_owned()),
            },
            Err(error) => Some(told(&**error)),
        };
        let Heard { why, rejected } = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
        leave_out(if failed.is_some() { spans } else { rejected });
        // Those that found no room in the queue are among them.
        let left_out = super::left_out();
        if std::mem::replace(&mut before, left_out) != left_out && limit.admit().is_some() {
            let why = why.or(failed).unwrap_or_else(|| "more come than it takes".to_owned());
            tracing::warn!(
                endpoint,
                left_out,
                "the collector takes no spans, or not all, and they are left out: {why}"
            );
        }
    }
}

/// Waits for spans, then for a batch of them; false when no more will come.
async fn gather(queue: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) -> bool {
    if queue.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let until = Instant::now() + LINGER;
    while batch.len() < BATCH {
        match timeout_at(until, queue.recv_many(batch, BATCH - batch.len())).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    true
}

/// What was heard of the last request.
#[derive(Debug, Default)]
struct Heard {
    /// Why it failed, or spans of it were rejected.
    why: Option<String>,
    /// How many spans the collector did not want, although it took the request (*Partial success*).
    rejected: usize,
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn exporter(endpoint: &str, heard: &Arc<Mutex<Heard>>) -> Result<opentelemetry_otlp::SpanExporter, HttpError> {
    let mut builder = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy();
    if endpoint.starts_with("http:") {
        // No TLS will be spoken: a machine without root certificates is fine.
        builder = builder.tls_certs_only([]);
    }
    let client = Client { client: builder.build()?, heard: Arc::clone(heard) };
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(TIMEOUT)
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    exporter.set_resource(&resource());
    Ok(exporter)
}

/// Who sends the spans.
fn resource() -> Resource {
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    Resource::builder_empty()
        .with_service_name("hookrelay")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("host.name", host.trim().to_owned()))
        .build()
}

/// The daemon's HTTP client in the place of one that the exporter would bring.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    heard: Arc<Mutex<Heard>>,
}

impl Client {
    fn hears(&self, why: String, rejected: usize) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard { why: Some(why), rejected };
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = match self.client.execute(request.try_into()?).await {
            Ok(answer) => answer,
            Err(error) => {
                self.hears(told(&error), 0);
                return Err(error.into());
            }
        };
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let body = body(answer).await?;
        // What is no message is none of a collector that rejects something.
        if let Ok(Answer { partial_success: Some(partly) }) = Answer::decode(&*body)
            && let Ok(rejected @ 1..) = usize::try_from(partly.rejected_spans)
        {
            self.hears(partly.error_message.chars().take(MOST_WHY).collect(), rejected);
        }
        Ok(response.body(body)?)
    }
}

/// The body of an answer, or its beginning.
async fn body(mut answer: reqwest::Response) -> Result<Bytes, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < MOST_ANSWER
        && let Some(chunk) = answer.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}
