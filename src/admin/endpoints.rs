//! Every path of the admin listener, in one table. A request is read once, into an [`Endpoint`]; what the table does
//! not hold is no endpoint, and answered 404 or 405.
//!
//! Below `/api/` a question comes in as a query string (`GET`) or a JSON object (`POST`; the verbs' `GET`s, too), and a
//! JSON object goes out.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::answers::{Answer, json, text};
use super::dead::DeadAct;
use super::doors::{Doors, Visitor};
use super::found::{EventAsk, TailAsk};
use super::login::LogInAsk;
use super::question::{asked, login, nothing, to_send, told};
use super::sending::MAX_WAIT_S;
use super::service::Service;
use super::sink::{ProbeAsk, SinkAct};
use super::status::{Alive, ReadyView};
use super::{Control, Readiness, Refusal, answers, openapi, streams};
use crate::metrics::Format;
use crate::page;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The page for people, or a file of it.
    Page,
    /// Describes all of this.
    Describe,
    /// Begins a session.
    LogIn,
    /// Ends it.
    LogOut,
    /// Does the process answer?
    Health,
    /// Would a webhook be taken?
    Ready,
    /// All figures.
    Status,
    /// All figures, for Prometheus.
    Metrics,
    /// Lists events.
    ListEvents,
    /// Shows an event.
    ShowEvent,
    /// Sends a message.
    SendMessage,
    /// Lists what waits to be sent again.
    ListResends,
    /// Gives up what waits to be sent again.
    CancelResends,
    /// Shows the history of a message.
    Trace,
    /// What is known of events that another daemon has found.
    Fates,
    /// Shows events as they come.
    Tail,
    /// Lists dead letters.
    ListDead,
    /// Counts them by key.
    CountDead,
    /// Lists what has failed and is tried again.
    ListPending,
    /// Counts it by key.
    CountPending,
    /// What became of dead letters that were retried.
    Outcomes,
    /// Retries dead letters, or forgets them.
    ChangeDead(DeadAct),
    /// Pauses a sink, resumes it, or moves it on.
    ChangeSink(SinkAct),
    /// Tries a sink at once.
    ProbeSink,
    /// Lists the replays under way.
    ListReplays,
    /// What a replay would come to.
    PlanReplay,
    /// What became of a replay so far.
    ReplayOutcome,
    /// Begins a replay.
    StartReplay,
    /// Ends a replay.
    CancelReplay,
    /// Shows the config in force.
    ShowConfig,
    /// Reads the config again.
    Reload,
    /// The last hour or day in figures.
    History,
    /// Says where an event goes, and what other rules would change.
    Explain,
    /// What the log says.
    LogLevels,
    /// Changes what the log says.
    SetLogLevel,
}

impl Endpoint {
    /// How long an answer may take beyond what every answer may: because it waits for something by design.
    pub fn waits(self) -> Duration {
        if self == Self::SendMessage { Duration::from_secs(MAX_WAIT_S) } else { Duration::ZERO }
    }

    /// Whether all daemons that share a journal answer it together.
    pub fn is_for_all(self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::Metrics
                | Self::ShowEvent
                | Self::Trace
                | Self::ListResends
                | Self::CancelResends
                | Self::ListDead
                | Self::CountDead
                | Self::ListPending
                | Self::CountPending
                | Self::Outcomes
                | Self::ChangeDead(_)
                | Self::History
        )
    }
}

/// What it takes to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Everybody who can connect may, and whoever does keeps no connection.
    Open,
    /// Everybody who can connect may: the page has the login.
    Page,
    /// Everybody who can connect may try, but no page of another site.
    Enter,
    /// Who shows the token may: it changes nothing.
    Read,
    /// Who shows the token may, unless the config says `read_only`.
    Change,
}

use Right::{Change, Enter, Open, Page, Read};

const GET: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];

/// Path, methods, what they ask, and what that takes. `{name}` stands for one part of the path, whatever it is.
type Row = (&'static str, &'static [Method], Endpoint, Right);

/// Everything that can be asked.
pub(super) const TABLE: &[Row] = &[
    ("/", GET, Endpoint::Page, Page),
    ("/page/{file}", GET, Endpoint::Page, Page),
    ("/healthz", GET, Endpoint::Health, Open),
    ("/readyz", GET, Endpoint::Ready, Open),
    ("/metrics", GET, Endpoint::Metrics, Read),
    ("/openapi.json", GET, Endpoint::Describe, Read),
    ("/api/login", POST, Endpoint::LogIn, Enter),
    ("/api/logout", POST, Endpoint::LogOut, Enter),
    ("/api/status", GET, Endpoint::Status, Read),
    ("/api/events", GET, Endpoint::ListEvents, Read),
    ("/api/events/{id}", GET, Endpoint::ShowEvent, Read),
    ("/api/messages", POST, Endpoint::SendMessage, Change),
    ("/api/messages/{id}", GET, Endpoint::Trace, Read),
    ("/api/resends", GET, Endpoint::ListResends, Read),
    ("/api/resends/cancel", POST, Endpoint::CancelResends, Change),
    ("/api/fates", POST, Endpoint::Fates, Read),
    ("/api/tail", GET, Endpoint::Tail, Read),
    ("/api/dead", GET, Endpoint::ListDead, Read),
    ("/api/dead/retry", POST, Endpoint::ChangeDead(DeadAct::Retry), Change),
    ("/api/dead/drop", POST, Endpoint::ChangeDead(DeadAct::Drop), Change),
    ("/api/dead/counts", GET, Endpoint::CountDead, Read),
    ("/api/dead/outcomes", POST, Endpoint::Outcomes, Read),
    ("/api/pending", GET, Endpoint::ListPending, Read),
    ("/api/pending/counts", GET, Endpoint::CountPending, Read),
    ("/api/sinks/{sink}/pause", POST, Endpoint::ChangeSink(SinkAct::Pause), Change),
    ("/api/sinks/{sink}/resume", POST, Endpoint::ChangeSink(SinkAct::Resume), Change),
    ("/api/sinks/{sink}/skip", POST, Endpoint::ChangeSink(SinkAct::Skip), Change),
    ("/api/sinks/{sink}/probe", POST, Endpoint::ProbeSink, Change),
    ("/api/replay", GET, Endpoint::ListReplays, Read),
    ("/api/replay", POST, Endpoint::StartReplay, Change),
    ("/api/replay/plan", POST, Endpoint::PlanReplay, Read),
    ("/api/replay/outcome", GET, Endpoint::ReplayOutcome, Read),
    ("/api/replay/cancel", POST, Endpoint::CancelReplay, Change),
    ("/api/config", GET, Endpoint::ShowConfig, Read),
    ("/api/reload", POST, Endpoint::Reload, Change),
    ("/api/history", GET, Endpoint::History, Read),
    ("/api/explain", POST, Endpoint::Explain, Read),
    ("/api/log-level", GET, Endpoint::LogLevels, Read),
    ("/api/log-level", POST, Endpoint::SetLogLevel, Change),
];

/// The part of a path that varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What the table calls it, which is also its name in the question.
    pub name: &'static str,
    /// What stands there, percent-decoded.
    pub value: String,
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// What is asked.
    pub endpoint: Endpoint,
    /// What it takes.
    pub right: Right,
    /// The part of the path that varies, where there is one.
    pub part: Option<Part>,
}

/// Why a request asks for nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoEndpoint {
    /// There is nothing at the path.
    Path,
    /// There is, but not by that method; by these.
    Method(Vec<Method>),
}

impl Asked {
    /// What a request asks.
    pub fn of(method: &Method, path: &str) -> Result<Self, NoEndpoint> {
        let mut allowed = Vec::new();
        for (pattern, methods, endpoint, right) in TABLE {
            let Some(part) = fits(pattern, path) else { continue };
            if methods.contains(method) {
                return Ok(Self { endpoint: *endpoint, right: *right, part });
            }
            allowed.extend(methods.iter().cloned());
        }
        Err(if allowed.is_empty() { NoEndpoint::Path } else { NoEndpoint::Method(allowed) })
    }
}

/// Whether a path is one of the pattern, and what its varying part is.
#[expect(clippy::option_option, reason = "a path that fits need not have a part that varies")]
fn fits(pattern: &'static str, path: &str) -> Option<Option<Part>> {
    let mut part = None;
    let (mut expected, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return Some(part),
            (Some(one), Some(other)) => match one.strip_prefix('{').and_then(|one| one.strip_suffix('}')) {
                Some(name) if !other.is_empty() => {
                    let value = percent_decode_str(other).decode_utf8().ok()?.into_owned();
                    part = Some(Part { name, value });
                }
                None if one == other => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// Asks the daemon.
///
/// # Errors
/// The question is not understood, or the daemon refuses.
pub(super) async fn ask(
    Asked { endpoint, part, .. }: Asked,
    Service { answering, streams, doors, .. }: &Service,
    request: Request<Incoming>,
    remote: Option<IpAddr>,
) -> Result<Answer, Refusal> {
    let control = answering.who(endpoint, &request)?;
    match endpoint {
        Endpoint::Describe => {
            nothing(request).await?;
            Ok(text(HeaderValue::from_static("application/json"), openapi::text().to_owned()))
        }
        Endpoint::LogIn => log_in(doors, request, remote).await,
        Endpoint::LogOut => {
            let cookie = doors.log_out(request.headers());
            nothing(request).await?;
            Ok(answers::with_cookie(Some(cookie)))
        }
        Endpoint::Page => {
            let name = part.map(|part| part.value).unwrap_or_default();
            let file = page::file(&name).ok_or_else(|| Refusal::Missing("there is nothing at this path".into()))?;
            answers::file(file, request.headers())
        }
        Endpoint::Health => done(Ok(Alive {})),
        Endpoint::Ready => Ok(ready(control.readiness())),
        Endpoint::Status => done(Ok(control.status().await)),
        Endpoint::Metrics => {
            let format = metrics_format(request.headers());
            Ok(text(HeaderValue::from_static(format.content_type()), control.metrics(format).await))
        }
        Endpoint::ListEvents => done(control.events(asked(request, part).await?).await),
        Endpoint::ShowEvent => done(control.event(asked::<EventAsk>(request, part).await?).await),
        Endpoint::SendMessage | Endpoint::ListResends | Endpoint::CancelResends => {
            sending(endpoint, control, request).await
        }
        Endpoint::Fates => done(control.fates(told(request, part).await?).await),
        Endpoint::Trace => done(control.trace(asked(request, part).await?).await),
        Endpoint::Tail => {
            let place = streams.place()?;
            // What a browser says when it comes back (WHATWG HTML, *Server-sent events*).
            let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
            let ask: TailAsk = asked(request, part).await?;
            let ask = TailAsk { after: last.filter(|id| !id.is_empty()).or(ask.after), ..ask };
            Ok(streams::answer(control.tail(ask).await?, place))
        }
        Endpoint::ListDead => done(control.dead(asked(request, part).await?).await),
        Endpoint::ChangeDead(act) => done(control.change_dead(told(request, part).await?, act).await),
        Endpoint::CountDead => done(control.dead_counts(asked(request, part).await?).await),
        Endpoint::Outcomes => done(control.outcomes(told(request, part).await?).await),
        Endpoint::CountPending => done(control.pending_counts(asked(request, part).await?).await),
        Endpoint::PlanReplay => done(control.replay_plan(told(request, part).await?).await),
        Endpoint::ReplayOutcome => done(control.replay_outcome(asked(request, part).await?).await),
        Endpoint::ListPending => done(control.pending(asked(request, part).await?).await),
        Endpoint::ChangeSink(act) => done(control.sink(told(request, part).await?, act).await),
        Endpoint::ProbeSink => done(control.probe(told::<ProbeAsk>(request, part).await?.sink).await),
        Endpoint::StartReplay => done(control.replay(told(request, part).await?).await),
        Endpoint::CancelReplay => done(control.cancel_replay(told(request, part).await?).await),
        Endpoint::History => done(control.history(asked(request, part).await?).await),
        Endpoint::Explain => done(control.explain(told(request, part).await?).await),
        Endpoint::ListReplays | Endpoint::ShowConfig | Endpoint::Reload | Endpoint::LogLevels => {
            nothing(request).await?;
            bare(endpoint, control).await
        }
        Endpoint::SetLogLevel => done(control.set_log_level(told(request, part).await?)),
    }
}

/// What is asked without a question.
async fn bare(endpoint: Endpoint, control: &dyn Control) -> Result<Answer, Refusal> {
    match endpoint {
        Endpoint::ListReplays => done(control.replays().await),
        Endpoint::ShowConfig => done(control.config().await),
        Endpoint::Reload => done(control.reload().await),
        _ => done(Ok(control.log_levels())),
    }
}

/// Has messages sent, or not sent again.
async fn sending(endpoint: Endpoint, control: &dyn Control, request: Request<Incoming>) -> Result<Answer, Refusal> {
    match endpoint {
        Endpoint::SendMessage => Ok(answers::sent(&control.send(to_send(request).await?).await?)),
        Endpoint::CancelResends => done(control.cancel_resends(told(request, None).await?).await),
        _ => done(control.resends(asked(request, None).await?).await),
    }
}

async fn log_in(doors: &Doors, request: Request<Incoming>, remote: Option<IpAddr>) -> Result<Answer, Refusal> {
    let headers = request.headers().clone();
    let LogInAsk { token } = login(request).await?;
    let outcome = doors.log_in(&token, Visitor { remote, headers: &headers, now: Instant::now() });
    Ok(outcome.map_or_else(answers::denied, answers::with_cookie))
}

fn metrics_format(headers: &HeaderMap) -> Format {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    Format::of(&accept.collect::<Vec<_>>().join(","))
}

fn ready(now: Readiness) -> Answer {
    let status = if now.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &ReadyView { at_risk: now.at_risk, reasons: now.reasons })
}

fn done<T: serde::Serialize>(outcome: Result<T, Refusal>) -> Result<Answer, Refusal> {
    outcome.map(|done| json(StatusCode::OK, &done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(pattern: &str) -> String {
        let parts = pattern.split('/').map(|part| if part.starts_with('{') { "a%20b" } else { part });
        parts.collect::<Vec<_>>().join("/")
    }

    #[test]
    fn a_request_is_one_endpoint_of_the_table_or_none() {
        let all = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        for (pattern, methods, endpoint, right) in TABLE {
            let path = path_of(pattern);
            for method in *methods {
                let asked = Asked::of(method, &path).unwrap();
                assert_eq!((asked.endpoint, asked.right), (*endpoint, *right), "{method} {path}");
                let part = asked.part.map(|part| part.value);
                assert_eq!(part.as_deref(), pattern.contains('{').then_some("a b"), "{method} {path}");
            }
            let rows = TABLE.iter().filter(|(at, ..)| at == pattern);
            let taken: Vec<Method> = rows.flat_map(|(_, methods, ..)| methods.iter().cloned()).collect();
            for method in all.iter().filter(|method| !taken.contains(method)) {
                assert_eq!(Asked::of(method, &path), Err(NoEndpoint::Method(taken.clone())), "{method} {path}");
            }
        }
        let near =
            ["/api/reload/", "/api/reload/now", "/api/reloads", "/api/sink/stop", "/api/dead/forget", "/api/replays"];
        let parts = ["/api/events/", "/api/events/a/b", "/api/sinks/pause", "/api/sinks//pause", "/api/events/%ff"];
        let other = ["", "/api", "/api/", "/api/sink", "/API/RELOAD", "//api/reload", "/page", "/page/", "//"];
        for path in near.into_iter().chain(parts).chain(other) {
            for method in &all {
                assert_eq!(Asked::of(method, path), Err(NoEndpoint::Path), "{method} {path}");
            }
        }
    }

    #[test]
    fn what_changes_something_is_no_get_and_what_everybody_may_ask_is_little() {
        for (path, methods, _, right) in TABLE {
            assert!(*right != Change || *methods == POST, "{path}");
            assert!(!matches!(right, Open | Page) || !path.starts_with("/api/"), "{path}");
            assert!(*right != Enter || path.contains("/log"), "{path}");
        }
    }
}
