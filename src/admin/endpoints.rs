//! Every path of the admin listener, in one table. A request is read once, into an [`Endpoint`]; what the table does
//! not hold is no endpoint, and answered 404 or 405.
//!
//! Below `/api/` a JSON object comes in and a JSON object goes out. `GET` takes its question from the body, as `POST`
//! does.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::dead::DeadAct;
use super::service::{Answer, json, text};
use super::sink::SinkAct;
use super::{Control, Readiness, Refusal};
use crate::metrics::Format;

/// Largest question that is read.
const MAX_QUESTION: usize = 1 << 20;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Does the process answer?
    Health,
    /// Would a webhook be taken?
    Ready,
    /// All figures.
    Status,
    /// All figures, for Prometheus.
    Metrics,
    /// Lists dead letters.
    ListDead,
    /// Retries dead letters, or forgets them.
    ChangeDead(DeadAct),
    /// Pauses a sink, resumes it, or moves it on.
    ChangeSink(SinkAct),
    /// Lists the replays under way.
    ListReplays,
    /// Begins a replay.
    StartReplay,
    /// Ends a replay.
    CancelReplay,
    /// Reads the config again.
    Reload,
    /// What the log says.
    LogLevels,
    /// Changes what the log says.
    SetLogLevel,
}

const READ: &[Method] = &[Method::GET, Method::HEAD];
const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];

/// Path, methods, and what they ask.
const TABLE: &[(&str, &[Method], Endpoint)] = &[
    ("/healthz", READ, Endpoint::Health),
    ("/readyz", READ, Endpoint::Ready),
    ("/metrics", READ, Endpoint::Metrics),
    ("/api/status", READ, Endpoint::Status),
    ("/api/dead", GET, Endpoint::ListDead),
    ("/api/dead/retry", POST, Endpoint::ChangeDead(DeadAct::Retry)),
    ("/api/dead/drop", POST, Endpoint::ChangeDead(DeadAct::Drop)),
    ("/api/sink/pause", POST, Endpoint::ChangeSink(SinkAct::Pause)),
    ("/api/sink/resume", POST, Endpoint::ChangeSink(SinkAct::Resume)),
    ("/api/sink/skip", POST, Endpoint::ChangeSink(SinkAct::Skip)),
    ("/api/replay", GET, Endpoint::ListReplays),
    ("/api/replay", POST, Endpoint::StartReplay),
    ("/api/replay/cancel", POST, Endpoint::CancelReplay),
    ("/api/reload", POST, Endpoint::Reload),
    ("/api/log-level", GET, Endpoint::LogLevels),
    ("/api/log-level", POST, Endpoint::SetLogLevel),
];

/// Why a request asks for nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoEndpoint {
    /// There is nothing at the path.
    Path,
    /// There is, but not by that method; by these.
    Method(Vec<Method>),
}

/// Whether everybody who can connect may ask at this path, without the token.
pub(super) fn is_open(path: &str) -> bool {
    TABLE.iter().any(|(at, _, endpoint)| *at == path && matches!(endpoint, Endpoint::Health | Endpoint::Ready))
}

impl Endpoint {
    /// What a request asks.
    pub fn of(method: &Method, path: &str) -> Result<Self, NoEndpoint> {
        let at_path = || TABLE.iter().filter(|(at, ..)| *at == path);
        if let Some((.., endpoint)) = at_path().find(|(_, methods, _)| methods.contains(method)) {
            return Ok(*endpoint);
        }
        match at_path().flat_map(|(_, methods, _)| methods.iter().cloned()).collect::<Vec<_>>() {
            methods if methods.is_empty() => Err(NoEndpoint::Path),
            methods => Err(NoEndpoint::Method(methods)),
        }
    }

    /// Asks the daemon.
    ///
    /// # Errors
    /// The question is not understood, or the daemon refuses.
    pub async fn ask(self, control: &dyn Control, request: Request<Incoming>) -> Result<Answer, Refusal> {
        match self {
            Self::Health => Ok(json(StatusCode::OK, &serde_json::json!({}))),
            Self::Ready => Ok(ready(control.readiness())),
            Self::Status => Ok(json(StatusCode::OK, &control.status().await)),
            Self::Metrics => {
                let accept = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
                let format = Format::of(&accept.collect::<Vec<_>>().join(","));
                let page = control.metrics().await.write(format);
                Ok(text(HeaderValue::from_static(format.content_type()), page))
            }
            Self::ListDead => done(control.dead(question(request).await?).await),
            Self::ChangeDead(act) => done(control.change_dead(question(request).await?, act).await),
            Self::ChangeSink(act) => done(control.sink(question(request).await?, act).await),
            Self::ListReplays => {
                read(request).await?;
                done(control.replays().await)
            }
            Self::StartReplay => done(control.replay(question(request).await?).await),
            Self::CancelReplay => done(control.cancel_replay(question(request).await?).await),
            Self::LogLevels => {
                read(request).await?;
                Ok(json(StatusCode::OK, &control.log_levels()))
            }
            Self::SetLogLevel => done(control.set_log_level(question(request).await?)),
            Self::Reload => {
                read(request).await?;
                done(control.reload().await)
            }
        }
    }
}

fn ready(now: Readiness) -> Answer {
    let status = if now.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &serde_json::json!({ "at_risk": now.at_risk, "reasons": now.reasons }))
}

fn done<T: serde::Serialize>(outcome: Result<T, Refusal>) -> Result<Answer, Refusal> {
    outcome.map(|done| json(StatusCode::OK, &done))
}

/// The question in the body. An empty body asks for everything.
async fn question<T: DeserializeOwned + Default>(request: Request<Incoming>) -> Result<T, Refusal> {
    let body = read(request).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| Refusal::Question(format!("the question is not understood: {error}")))
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), MAX_QUESTION).collect().await;
    let body = body.map_err(|error| Refusal::Question(format!("the question cannot be read: {error}")))?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_endpoint_of_the_table_or_none() {
        let all = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        for (path, methods, endpoint) in TABLE {
            for method in *methods {
                assert_eq!(Endpoint::of(method, path), Ok(*endpoint), "{method} {path}");
            }
            let rows = TABLE.iter().filter(|(at, ..)| at == path);
            let taken: Vec<Method> = rows.flat_map(|(_, methods, _)| methods.iter().cloned()).collect();
            for method in all.iter().filter(|method| !taken.contains(method)) {
                assert_eq!(Endpoint::of(method, path), Err(NoEndpoint::Method(taken.clone())), "{method} {path}");
            }
        }
        let near =
            ["/api/reload/", "/api/reload/now", "/api/reloads", "/api/sink/stop", "/api/dead/forget", "/api/replays"];
        for path in near.into_iter().chain(["", "/", "/api", "/api/", "/api/sink", "/API/RELOAD", "//api/reload"]) {
            for method in &all {
                assert_eq!(Endpoint::of(method, path), Err(NoEndpoint::Path), "{method} {path}");
            }
        }
    }
}
