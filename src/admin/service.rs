//! Answers a request to the admin listener: sees that the token is shown, where one is configured, asks the endpoint,
//! and turns what comes of it into a status. Only `/healthz` and `/readyz` are for everybody who can connect.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::Control;
use super::answers::{self, Answer, error};
use super::connections::Slot;
use super::endpoints::{self, Asked, NoEndpoint, Right};
use super::streams::{GoesOn, Streams};

/// An answer that takes longer is given up; a sink may need its time to hand over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The daemon, and the token that opens the way to it.
#[derive(Clone)]
pub(super) struct Service {
    control: Arc<dyn Control>,
    token: Option<[u8; 32]>,
    /// A runtime that has threads for work that blocks. The listener's own runtime has none to begin with, and tokio
    /// panics where the system does not give it the first one.
    blocking: Handle,
    streams: Streams,
}

impl Service {
    pub fn new(control: Arc<dyn Control>, token: Option<String>, blocking: Handle) -> Self {
        Self {
            control,
            token: token.map(|token| Sha256::digest(token.as_bytes()).into()),
            blocking,
            streams: Streams::new(),
        }
    }

    /// Whether the token was shown. Digests are compared, so that the time it takes says nothing of the token.
    fn is_authorized(&self, given: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else { return true };
        let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
        given.is_some_and(|given| *Sha256::digest(given) == *token)
    }
}

pub(super) async fn answer(
    service: Service,
    slot: Arc<Slot>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let asked = Asked::of(request.method(), request.uri().path());
    let is_open = asked.as_ref().is_ok_and(|asked| asked.right == Right::Open);
    let shown = request.headers().get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let is_authorized = !is_open && service.is_authorized(shown);
    let answer = async {
        if is_authorized {
            slot.reserve().await;
        } else if !is_open {
            return error(StatusCode::UNAUTHORIZED, "the token of [admin] is missing or wrong");
        }
        let mut answer = pin!(respond(&service, asked, request));
        poll_fn(|cx| {
            let _blocking = service.blocking.enter();
            answer.as_mut().poll(cx)
        })
        .await
    };
    let late = |_| error(StatusCode::SERVICE_UNAVAILABLE, "no answer in time: the disk may hang");
    let mut answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(late);
    if !is_authorized {
        // Whoever shows no token keeps no connection.
        answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    if answer.extensions().get::<GoesOn>().is_some() {
        slot.streams();
    }
    answers::harden(&mut answer);
    Ok(answer)
}

async fn respond(service: &Service, asked: Result<Asked, NoEndpoint>, request: Request<Incoming>) -> Answer {
    match asked {
        Ok(asked) => endpoints::ask(asked, &*service.control, &service.streams, request)
            .await
            .unwrap_or_else(|refusal| answers::refused(&refusal)),
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
