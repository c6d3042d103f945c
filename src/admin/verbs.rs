//! The paths that carry a question or change something: a JSON object in, a JSON object out. `GET` takes the same object
//! as `POST`, from the body.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::Control;
use super::dead::{DeadAct, DeadAsk};
use super::orders::{SinkAct, SinkAsk};
use super::service::{Answer, json, refusal};

/// Largest question.
const MAX_QUESTION: usize = 1 << 20;

/// Why the daemon does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The question makes no sense.
    #[error("{0}")]
    Question(String),
    /// The config has faults, or asks for what a running daemon cannot do.
    #[error("{0}")]
    Config(String),
    /// It cannot be done now.
    #[error("{0}")]
    Unable(String),
}

/// Answers below `/api/`; `None` where there is nothing at the path.
pub(super) async fn answer(control: &dyn Control, request: Request<Incoming>) -> Option<Answer> {
    let path = request.uri().path().to_owned();
    let wanted: &[Method] = match path.as_str() {
        "/api/dead" => &[Method::GET],
        "/api/replay" => &[Method::GET, Method::POST],
        "/api/dead/retry" | "/api/dead/drop" | "/api/sink/pause" | "/api/sink/resume" | "/api/sink/skip"
        | "/api/replay/cancel" | "/api/reload" => &[Method::POST],
        _ => return None,
    };
    let method = request.method().clone();
    if !wanted.contains(&method) {
        let all = wanted.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, &format!("only {all}"));
        if let Ok(allowed) = header::HeaderValue::from_str(&all) {
            answer.headers_mut().insert(header::ALLOW, allowed);
        }
        return Some(answer);
    }
    let body = Limited::new(request.into_body(), MAX_QUESTION).collect().await;
    let body = match body {
        Ok(body) => body.to_bytes(),
        Err(error) => return Some(refusal(StatusCode::BAD_REQUEST, &format!("the question cannot be read: {error}"))),
    };
    Some(match path.as_str() {
        "/api/dead" => match question(&body) {
            Ok(ask) => told(control.dead(ask).await),
            Err(refused) => told::<()>(Err(refused)),
        },
        "/api/replay" if method == Method::GET => told(control.replays().await),
        "/api/replay" => match question(&body) {
            Ok(ask) => told(control.replay(ask).await),
            Err(refused) => told::<()>(Err(refused)),
        },
        "/api/replay/cancel" => match question(&body) {
            Ok(ask) => told(control.cancel_replay(ask).await),
            Err(refused) => told::<()>(Err(refused)),
        },
        "/api/dead/retry" => change(control, &body, DeadAct::Retry).await,
        "/api/dead/drop" => change(control, &body, DeadAct::Drop).await,
        "/api/sink/pause" => sink(control, &body, SinkAct::Pause).await,
        "/api/sink/resume" => sink(control, &body, SinkAct::Resume).await,
        "/api/sink/skip" => sink(control, &body, SinkAct::Skip).await,
        _ => told(control.reload().await),
    })
}

async fn change(control: &dyn Control, body: &Bytes, act: DeadAct) -> Answer {
    match question::<DeadAsk>(body) {
        Ok(ask) => told(control.change_dead(ask, act).await),
        Err(refused) => told::<()>(Err(refused)),
    }
}

async fn sink(control: &dyn Control, body: &Bytes, act: SinkAct) -> Answer {
    match question::<SinkAsk>(body) {
        Ok(ask) => told(control.sink(ask, act).await),
        Err(refused) => told::<()>(Err(refused)),
    }
}

/// Nothing at all asks for everything.
fn question<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Refusal::Question(format!("the question is not understood: {error}")))
}

fn told<T: serde::Serialize>(outcome: Result<T, Refusal>) -> Answer {
    match outcome {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(Refusal::Question(why)) => refusal(StatusCode::BAD_REQUEST, &why),
        Err(Refusal::Config(why)) => refusal(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(Refusal::Unable(why)) => refusal(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}
