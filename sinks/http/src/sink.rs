//! Requests: one per delivery, over one client. A redirect is followed only where it leads to the same origin with the
//! same method and body, and no request is sent twice. What an answer means is decided in `verdict`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Body, Client, Request, Response, Url};
use sink_api::http;
use sink_api::report::MAX_ANSWER;
use sink_api::trace::TRACEPARENT;
use sink_api::{
    Batch, BuildError, Bytes, Delivery, Escape, Event, Fault, Outcome, Reason, Report, Sink, SinkConfig, SinkContext,
    Target, cloudevents,
};

use crate::config::{Format, HEADER, HttpConfig, Plan};
use crate::sign::webhook_id;
use crate::verdict;

/// Where the delivery's event stands, where several daemons share a journal.
const POSITION: HeaderName = HeaderName::from_static("hookrelay-position");
/// Most redirects followed, all within one origin.
const MAX_REDIRECTS: usize = 3;
/// Longest time spent on the rest of an answer whose status is known; reading it only saves a new connection.
const DRAIN: Duration = Duration::from_secs(1);
/// Kept back from the deadline, so that the sink can still say what happened before the core drops the call.
const MARGIN: Duration = Duration::from_millis(50);

#[async_trait]
impl SinkConfig for HttpConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        self.plan.check()
    }

    fn target(&self, event: &Event) -> Result<Target, Reason> {
        self.plan.for_target()?.target(event)
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(HttpSink::open(self.plan.for_build()?, cx).await?))
    }
}

/// The sink at work. Nothing is buffered: `close` has nothing to flush.
pub struct HttpSink {
    client: Client,
    plan: Arc<Plan>,
    /// The URL as text and read, where it is the same for every event: most deliveries go there.
    usual: Option<(String, Url)>,
}

impl HttpSink {
    /// Builds the client. Reads certificates, connects to nothing.
    pub(crate) async fn open(plan: Arc<Plan>, cx: &SinkContext) -> Result<Self, BuildError> {
        let tls_ca = plan.tls_ca.as_ref().map(|path| cx.resolve(path));
        let is_tls = plan.origin.scheme() != "http";
        let client = http::client(plan.connect_timeout, tls_ca.as_deref(), is_tls, Policy::custom(same_origin)).await?;
        let text = plan.url.is_constant().then(|| plan.url.source().to_owned());
        let usual = text.and_then(|text| Url::parse(&text).ok().map(|url| (text, url)));
        Ok(Self { client, plan, usual })
    }

    async fn attempt(&self, delivery: &Delivery, time: Duration) -> Outcome {
        let mut request = match self.request(delivery) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        *request.timeout_mut() = Some(time);
        match self.client.execute(request).await {
            Ok(answer) => {
                let after = http::wait_asked(answer.headers());
                let outcome = verdict::of_status(answer.status(), after, self.plan.url.is_constant());
                outcome.answered(&rest(answer, self.plan.max_response).await)
            }
            Err(error) => Outcome::retry_for(http::of_error(&error)),
        }
    }

    /// The request of a delivery, but for its time.
    fn request(&self, delivery: &Delivery) -> Result<Request, Outcome> {
        let plan = &self.plan;
        // A target was fixed when the event was routed; the credentials are today's, and go nowhere but to today's
        // host. Within one process both come from one config, so only deliveries that were held since an earlier config
        // are rejected here. A dead letter keeps the event, and `dead retry` routes it again by today's URL, which is
        // what an operator who mended a wrong host wants.
        let url = delivery.target.get("url").and_then(|text| match &self.usual {
            Some((usual, url)) if usual == text => Some(url.clone()),
            _ => Url::parse(text).ok(),
        });
        let Some(url) = url.filter(|url| url.origin() == plan.origin.origin() && !has_userinfo(url)) else {
            let why = "the delivery was made for another host than the sink has now; route it again";
            return Err(Outcome::reject(verdict::STALE_TARGET, why));
        };
        let mut request = Request::new(plan.method.clone(), url);
        let headers = request.headers_mut();
        headers.clone_from(&plan.headers);
        for (name, template) in &plan.templates {
            // The value was fixed when the event was routed; where the config had no such header then, it is made now.
            let fixed = delivery.target.get(&format!("{HEADER}{name}")).map(ToOwned::to_owned);
            let value = fixed.unwrap_or_else(|| template.render_lenient(&delivery.event, Escape::Header));
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name.clone(), value);
            }
        }
        let body = match plan.format {
            Format::Raw => {
                let media = HeaderValue::try_from(cloudevents::data_content_type(delivery));
                if let (false, Ok(media)) = (headers.contains_key(CONTENT_TYPE), media) {
                    headers.insert(CONTENT_TYPE, media);
                }
                // The receiver goes by the header as it is sent, which may be the config's own.
                let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let prefix = cloudevents::beside("ce-", sent);
                for (name, value) in cloudevents::attributes(delivery) {
                    let name = HeaderName::try_from(format!("{prefix}{name}"));
                    let value = HeaderValue::try_from(cloudevents::header_value(&value));
                    if let (Ok(name), Ok(value)) = (name, value) {
                        headers.entry(name).or_insert(value);
                    }
                }
                delivery.bytes().clone()
            }
            Format::Cloudevents => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(cloudevents::STRUCTURED_CONTENT_TYPE));
                Bytes::from(cloudevents::structured(delivery))
            }
        };
        if let Some(key) = &plan.key {
            let id = webhook_id(&delivery.id);
            // A clock before 1970 signs as 1970; the receiver refuses that, visibly.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            let signature = key.sign(&id, now, &body);
            for (name, value) in [("id", id), ("timestamp", now.to_string()), ("signature", signature)] {
                let name = HeaderName::try_from(format!("webhook-{name}"));
                if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                    headers.insert(name, value);
                }
            }
        }
        if let Some(trace) = delivery.trace.as_deref().filter(|_| !headers.contains_key(TRACEPARENT)) {
            for (name, value) in trace.all() {
                // A value that headers cannot carry is left out.
                let value = HeaderValue::try_from(value);
                value.into_iter().for_each(|value| _ = headers.entry(name).or_insert(value));
            }
        }
        if let Some(position) = delivery.position.as_deref()
            && let Ok(position) = HeaderValue::try_from(position)
        {
            headers.entry(POSITION).or_insert(position);
        }
        if body.is_empty() {
            // The client library leaves the header out then, and some servers answer 411 to a POST without it.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        *request.body_mut() = Some(Body::from(body));
        Ok(request)
    }
}

#[async_trait]
impl Sink for HttpSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let mut report = Report::open(batch);
        let end = batch.end_of_work(MARGIN);
        for (i, delivery) in batch.deliveries.iter().enumerate() {
            if !report.may_attempt(batch, i) {
                continue;
            }
            let time = end.saturating_duration_since(Instant::now());
            if time.is_zero() {
                // The slots that are left unset are handed out again.
                break;
            }
            let outcome = self.attempt(delivery, time).await;
            report.set(batch, i, outcome);
        }
        report
    }

    async fn probe(&self) -> Result<(), Reason> {
        http::probe(&self.client, &self.plan.origin, self.plan.connect_timeout).await
    }

    async fn close(self: Box<Self>) {}
}

/// Follows 307 and 308, which keep method and body, within the origin; leaves any other redirect as the answer.
fn same_origin(attempt: Attempt<'_>) -> Action {
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    let first = attempt.previous().first();
    let stays = first.is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_body && stays && !has_userinfo(attempt.url()) && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn has_userinfo(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Reads the rest of the answer, so that the connection can serve the next request, and gives the beginning of what it
/// says; gives the connection up where the answer is too large or too slow. What was delivered stays delivered,
/// whatever happens here.
async fn rest(mut answer: Response, max: u64) -> Vec<u8> {
    // Of an answer that is too large its beginning is enough.
    let is_large = answer.content_length().is_some_and(|length| length > max);
    let is_wanted = !answer.status().is_success();
    let mut begun = Vec::new();
    let read = async {
        let mut left = max;
        while !is_large || (is_wanted && begun.len() < MAX_ANSWER) {
            let Ok(Some(chunk)) = answer.chunk().await else { return };
            if is_wanted {
                begun.extend_from_slice(chunk.get(..MAX_ANSWER.saturating_sub(begun.len())).unwrap_or(&chunk));
            }
            match left.checked_sub(chunk.len() as u64) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN, read).await;
    begun
}
