//! Paths, methods and statuses of the admin listener. The token, where there is one, comes first; only `/healthz` and
//! `/readyz` are for everybody who can connect.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::places::Guest;
use super::status::FRONT_PRESSED;
use super::{Control, verbs};

/// An answer that takes longer is given up; a sink may need its time to hand over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The control and what opens it.
#[derive(Clone)]
pub(super) struct Service {
    control: Arc<dyn Control>,
    token: Option<[u8; 32]>,
    /// Has threads for what blocks. The listener's own runtime has none to begin with, and tokio panics where the system
    /// does not give it the first.
    blocking: Handle,
}

impl Service {
    pub fn new(control: Arc<dyn Control>, token: Option<String>, blocking: Handle) -> Self {
        Self { control, token: token.map(|token| Sha256::digest(token.as_bytes()).into()), blocking }
    }

    /// Digests are compared, so that the time taken says nothing of the token.
    fn lets_in(&self, given: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else { return true };
        let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
        given.is_some_and(|given| *Sha256::digest(given) == *token)
    }
}

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) async fn answer(
    service: Service,
    guest: Arc<Guest>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let is_open = matches!(request.uri().path(), "/healthz" | "/readyz");
    let shown = request.headers().get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let is_let_in = !is_open && service.lets_in(shown);
    let answer = async {
        if is_let_in {
            guest.let_in().await;
        } else if !is_open {
            return refusal(StatusCode::UNAUTHORIZED, "the token of [admin] is missing or wrong");
        }
        let mut answer = pin!(route(&service, request));
        poll_fn(|cx| {
            let _blocking = service.blocking.enter();
            answer.as_mut().poll(cx)
        })
        .await
    };
    let late = |_| refusal(StatusCode::SERVICE_UNAVAILABLE, "no answer in time: the disk may hang");
    let mut answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(late);
    if !is_let_in {
        // Whoever shows no token keeps no connection.
        answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    Ok(answer)
}

async fn route(service: &Service, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match path.as_str() {
        "/healthz" if reads => json(StatusCode::OK, &serde_json::json!({})),
        "/readyz" if reads => {
            let now = service.control.readiness();
            let status = if now.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let reasons: &[&str] = if now.is_pressed { &[FRONT_PRESSED] } else { &[] };
            json(status, &serde_json::json!({ "at_risk": now.at_risk, "reasons": reasons }))
        }
        "/api/status" if reads => json(StatusCode::OK, &service.control.status().await),
        "/healthz" | "/readyz" | "/api/status" => {
            let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            answer
        }
        _ => verbs::answer(&*service.control, request)
            .await
            .unwrap_or_else(|| refusal(StatusCode::NOT_FOUND, "there is nothing at this path")),
    }
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let (status, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (status, bytes),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(bytes)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

pub(super) fn refusal(status: StatusCode, why: &str) -> Answer {
    json(status, &serde_json::json!({ "error": why }))
}
