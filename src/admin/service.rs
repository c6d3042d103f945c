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
use super::endpoints::{self, Asked, NoEndpoint, Right};
use super::streams::{GoesOn, Streams};
use super::{AdminConfig, Control, Refusal};

/// An answer that takes longer is given up; a sink may need its time to hand over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is said where there is no slot.
const BUSY: &str = "too many questions at once: ask again in a few seconds";

/// The daemon, and who may ask it.
#[derive(Clone)]
pub(super) struct Service {
    pub control: Arc<dyn Control>,
    pub doors: Arc<Doors>,
    /// A runtime that has threads for work that blocks. The listener's own runtime has none to begin with, and tokio
    /// panics where the system does not give it the first one.
    blocking: Handle,
    pub streams: Streams,
}

impl Service {
    pub fn new(control: Arc<dyn Control>, config: &AdminConfig, blocking: Handle) -> Self {
        let doors = Doors::new(config.token.as_ref().map(Secret::expose), config.read_only);
        Self { control, doors: Arc::new(doors), blocking, streams: Streams::new() }
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
