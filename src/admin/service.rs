//! Answers a request to the admin listener: sees that whoever asks may do so, asks the endpoint, and turns what comes
//! of it into a status.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use sink_api::Secret;
use tokio::runtime::Handle;

use super::answers::{self, Answer, error};
use super::connections::Slot;
use super::doors::{Denied, Doors, Visitor};
use super::endpoints::{self, Asked, Endpoint, NoEndpoint, Right};
use super::streams::{GoesOn, Streams};
use super::{AdminConfig, Control, Refusal};

/// An answer that takes longer is given up; a sink may need its time to hand over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is said where there is no slot.
const BUSY: &str = "too many questions at once: ask again in a few seconds";

/// By which header somebody asks a daemon for what it has itself, without the others: its value is [`ITSELF`].
pub(super) const SCOPE: &str = "hookrelay-scope";
/// See [`SCOPE`].
pub(super) const ITSELF: &str = "node";
/// By which header an answer says which of several daemons it comes from.
pub(super) const NODE: &str = "hookrelay-node";

/// Who answers.
#[derive(Clone)]
pub struct Answering {
    /// All daemons that share the journal, as one.
    pub all: Arc<dyn Control>,
    /// This one, of what it has itself.
    pub itself: Arc<dyn Control>,
    /// Its name among them; none where there can be no others.
    pub name: Option<String>,
}

impl<C: Control> From<Arc<C>> for Answering {
    fn from(alone: Arc<C>) -> Self {
        Self { all: alone.clone(), itself: alone, name: None }
    }
}

impl Answering {
    /// Whom a request asks. Not every scraper can send a header, so that `/metrics` takes it as `?scope=node`, too.
    pub(super) fn who(&self, endpoint: Endpoint, request: &Request<Incoming>) -> Result<&dyn Control, Refusal> {
        let header = request.headers().get(SCOPE).map(|scope| scope.as_bytes());
        let query = request.uri().query().filter(|_| endpoint == Endpoint::Metrics);
        let query = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("scope=")));
        let mut scopes = header.into_iter().chain(query.map(str::as_bytes)).peekable();
        let control = if scopes.peek().is_none() { &self.all } else { &self.itself };
        if scopes.any(|scope| scope != ITSELF.as_bytes()) {
            return Err(Refusal::Question(format!("`{SCOPE}` (of /metrics `scope`) is `{ITSELF}` or left out")));
        }
        Ok(&**control)
    }
}

/// The daemon, and who may ask it.
#[derive(Clone)]
pub(super) struct Service {
    pub answering: Answering,
    pub doors: Arc<Doors>,
    /// A runtime that has threads for work that blocks. The listener's own runtime has none to begin with, and tokio
    /// panics where the system does not give it the first one.
    blocking: Handle,
    pub streams: Streams,
}

impl Service {
    pub fn new(answering: Answering, config: &AdminConfig, blocking: Handle) -> Self {
        let doors = Doors::new(config.token.as_ref().map(Secret::expose), config.read_only);
        Self { answering, doors: Arc::new(doors), blocking, streams: Streams::new() }
    }
}

/// Answers a request of somebody at that address; none over a Unix socket.
pub(super) async fn answer(
    service: Service,
    slot: Arc<Slot>,
    remote: Option<IpAddr>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let asked = Asked::of(request.method(), request.uri().path());
    // What is not there, too, takes the token: strangers learn nothing.
    let right = asked.as_ref().map_or(Right::Read, |asked| asked.right);
    let waits = asked.as_ref().map_or(Duration::ZERO, |asked| asked.endpoint.waits());
    let patience = ANSWER_TIMEOUT + waits;
    let visitor = Visitor { remote, headers: request.headers(), now: Instant::now() };
    let admitted = service.doors.admit(right, request.method(), visitor);
    let is_known = match right {
        Right::Open | Right::Enter => false,
        Right::Page => service.doors.knows(visitor),
        Right::Read | Right::Change => !matches!(admitted, Err(Denied::NoToken | Denied::TooOften(_))),
    };
    let answer = async {
        if let Err(why) = admitted {
            return answers::denied(why);
        }
        if is_known && !slot.reserve().await {
            return answers::refused(&Refusal::Busy(BUSY.to_owned()));
        }
        if !waits.is_zero() {
            slot.waits(patience);
        }
        let mut answer = pin!(respond(&service, asked, request, remote));
        poll_fn(|cx| {
            let _blocking = service.blocking.enter();
            answer.as_mut().poll(cx)
        })
        .await
    };
    let late = |_| error(StatusCode::SERVICE_UNAVAILABLE, "no answer in time: the disk may hang");
    let mut answer = tokio::time::timeout(patience, answer).await.unwrap_or_else(late);
    if !is_known || !waits.is_zero() || answer.status() == StatusCode::TOO_MANY_REQUESTS {
        // Whoever shows no token keeps no connection; nor is one kept that has had more than its time, or has no slot.
        answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    if answer.extensions().get::<GoesOn>().is_some() {
        slot.streams();
    }
    let name = service.answering.name.as_deref().filter(|_| is_known);
    if let Some(Ok(name)) = name.map(header::HeaderValue::from_str) {
        answer.headers_mut().insert(NODE, name);
    }
    answers::harden(&mut answer);
    Ok(answer)
}

async fn respond(
    service: &Service,
    asked: Result<Asked, NoEndpoint>,
    request: Request<Incoming>,
    remote: Option<IpAddr>,
) -> Answer {
    match asked {
        Ok(asked) => {
            endpoints::ask(asked, service, request, remote).await.unwrap_or_else(|refusal| answers::refused(&refusal))
        }
        Err(NoEndpoint::Path) => error(StatusCode::NOT_FOUND, "there is nothing at this path"),
        Err(NoEndpoint::Method(allowed)) => {
            let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &format!("only {}", names.join(" and ")));
            if let Ok(allowed) = header::HeaderValue::from_str(&names.join(", ")) {
                answer.headers_mut().insert(header::ALLOW, allowed);
            }
            answer
        }
    }
}
