//! How the live verbs ask a running daemon: the client of the admin listener.

use std::fs::File;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::{AdminConfig, Listen};
use super::sending::{KEY_HEADER, SendAsk, SendDone, WAIT_S};
use super::service::{ITSELF, NODE, SCOPE};
use crate::sockets::unix::short_path;

/// Longest wait for an answer: a little longer than the daemon takes to give up.
const TIMEOUT: Duration = Duration::from_secs(32);
/// Longest silence of an answer that goes on: the daemon says every 15 s that it does.
const SILENCE: Duration = Duration::from_mins(1);
/// Largest answer that is read, and of one that goes on the largest event.
const MAX_ANSWER: usize = 64 << 20;
/// Largest answer that is read of each of several daemons.
const MAX_OF_NODE: usize = 8 << 20;

/// The mend where the daemon does not know the token.
const OTHER_TOKEN: &str = "the daemon keeps the token that it started with; a new one takes a restart";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon answers.
    #[error("no daemon answers at {at}: {why}\n  help: is `hookrelay run` up, with the same config?")]
    NoDaemon {
        /// Where the daemon was looked for.
        at: String,
        /// What the system said.
        why: String,
    },
    /// Somebody may answer, and we may not ask.
    #[error(
        "the daemon's socket {at} cannot be reached: {why}\n  help: ask as the user that the daemon runs as, or as \
         root: `sudo -u USER hookrelay …`"
    )]
    NotOurs {
        /// Where the daemon was looked for.
        at: String,
        /// What the system said.
        why: String,
    },
    /// The daemon does not do what it is asked.
    #[error("{}", refused(at, *status, why))]
    Refused {
        /// Where the daemon listens.
        at: String,
        /// The HTTP status.
        status: u16,
        /// The daemon's reason.
        why: String,
    },
}

/// What was asked amiss is told by itself; where something else is wrong, it helps to know who says so.
fn refused(at: &str, status: u16, why: &str) -> String {
    match status {
        400 | 404 | 409 | 422 | 429 => why.to_owned(),
        _ => format!("the daemon at {at} answers {status}: {why}"),
    }
}

/// Asks a running daemon with `GET`, without a question in the body.
///
/// # Errors
/// [`AskError`].
pub async fn get<T: DeserializeOwned>(config: &AdminConfig, path: &str) -> Result<T, AskError> {
    ask(config, Method::GET, path, &()).await
}

/// The same, where an answer that takes longer is none.
///
/// # Errors
/// [`AskError`].
pub async fn get_within<T: DeserializeOwned>(
    config: &AdminConfig,
    path: &str,
    within: Duration,
) -> Result<T, AskError> {
    let late = |_| {
        let why = format!("no answer within {} s", within.as_secs());
        Err(AskError::NoDaemon { at: place(config), why })
    };
    tokio::time::timeout(within, get(config, path)).await.unwrap_or_else(late)
}

/// A text as one part of a path.
pub fn part(text: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// Where the daemon listens.
fn place(config: &AdminConfig) -> String {
    match &config.listen {
        Listen::Unix(path) => path.display().to_string(),
        Listen::Tcp(address) => address.clone(),
    }
}

/// Asks a running daemon. The question goes into the body as JSON, unless it is `()`.
///
/// # Errors
/// [`AskError`].
pub async fn ask<T: DeserializeOwned>(
    config: &AdminConfig,
    method: Method,
    path: &str,
    question: &impl Serialize,
) -> Result<T, AskError> {
    let at = place(config);
    let answer = send(config, method, path, question, Some(TIMEOUT)).await?;
    let status = answer.status().as_u16();
    let refused = |why: String| AskError::Refused { at: at.clone(), status, why };
    if answer.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(refused("more than can be read".into()));
    }
    let body = answer.bytes().await.map_err(|error| refused(cause(&error)))?;
    if status != 200 {
        return Err(refused(why(status, &body)));
    }
    serde_json::from_slice(&body).map_err(|error| refused(format!("not understood: {error}")))
}

/// Has a message sent; the body is that of the send API's own call. What is not sent is an answer as well: its state
/// says so.
///
/// # Errors
/// [`AskError`].
pub async fn send_message(
    config: &AdminConfig,
    ask: &SendAsk,
    key: Option<&str>,
    body: Vec<u8>,
) -> Result<SendDone, AskError> {
    let at = place(config);
    let query = serde_html_form::to_string(ask).unwrap_or_default();
    let within = TIMEOUT + Duration::from_secs(ask.wait_s.unwrap_or(WAIT_S));
    let (request, _folder) = request(config, Method::POST, &format!("/api/messages?{query}"), Some(within))?;
    let request = if let Some(key) = key { request.header(KEY_HEADER, key) } else { request };
    let answer = sent(config, request.body(body)).await?;
    let status = answer.status().as_u16();
    let refused = |why: String| AskError::Refused { at: at.clone(), status, why };
    let body = answer.bytes().await.map_err(|error| refused(cause(&error)))?;
    // A message that is not sent has an event; what was not understood has none.
    match serde_json::from_slice(&body) {
        Ok(done) if matches!(status, 201 | 202 | 422) => Ok(done),
        _ => Err(refused(why(status, &body))),
    }
}

/// Asks the daemon of that name, one of several, for what it has itself; gives the answer's body. The question is JSON,
/// or nothing.
///
/// # Errors
/// [`AskError`]; [`AskError::NoDaemon`] as well where a daemon of another name answers.
pub(super) async fn ask_node(
    config: &AdminConfig,
    name: &str,
    (method, path): (Method, &str),
    accept: &'static str,
    question: Vec<u8>,
) -> Result<Bytes, AskError> {
    let (request, _folder) = request(config, method, path, Some(TIMEOUT))?;
    let request = request.header(SCOPE, ITSELF).header(header::ACCEPT, accept).body(question);
    let mut answer = sent(config, request).await?;
    let at = place(config);
    let status = answer.status().as_u16();
    let refused = |why: String| AskError::Refused { at: at.clone(), status, why };
    if status == StatusCode::UNAUTHORIZED.as_u16() {
        // Who it is is said only to those who know the token.
        return Err(refused("it does not take this token".into()));
    }
    match answer.headers().get(NODE).map(|other| String::from_utf8_lossy(other.as_bytes()).into_owned()) {
        Some(other) if other == name => {}
        Some(other) => return Err(nobody(config, format!("`{other}` answers there"))),
        None => return Err(nobody(config, "what answers there is no daemon of this relay".into())),
    }
    let mut body = Vec::new();
    while let Some(more) = answer.chunk().await.map_err(|error| refused(cause(&error)))? {
        body.extend_from_slice(&more);
        if body.len() > MAX_OF_NODE {
            return Err(refused("more than can be read".into()));
        }
    }
    if status == 200 { Ok(body.into()) } else { Err(refused(why(status, &body))) }
}

/// Opens an answer that goes on.
///
/// # Errors
/// [`AskError`].
pub async fn open(config: &AdminConfig, path: &str, question: &impl Serialize) -> Result<Stream, AskError> {
    let answer = send(config, Method::GET, path, question, None).await?;
    let status = answer.status().as_u16();
    if status != 200 {
        let body = answer.bytes().await.unwrap_or_default();
        return Err(AskError::Refused { at: place(config), status, why: why(status, &body) });
    }
    Ok(Stream { answer, rest: Vec::new(), at: place(config) })
}

/// An answer that goes on: server-sent events (WHATWG HTML, *Server-sent events*).
pub struct Stream {
    answer: reqwest::Response,
    /// What was read and is no whole event yet.
    rest: Vec<u8>,
    at: String,
}

impl Stream {
    /// What comes next: the event's name, empty where it has none, and its data. Waits for it.
    ///
    /// # Errors
    /// [`AskError::NoDaemon`]: the daemon has ended it, or has given no sign of life for long.
    pub async fn next(&mut self) -> Result<(String, String), AskError> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.rest, b"\n\n") {
                let event: Vec<u8> = self.rest.drain(..end + 2).collect();
                match read_event(&String::from_utf8_lossy(&event)) {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            let gone = |why: String| AskError::NoDaemon { at: self.at.clone(), why };
            let more = tokio::time::timeout(SILENCE, self.answer.chunk()).await;
            let more =
                more.map_err(|_| gone("it gives no sign of life".into()))?.map_err(|error| gone(cause(&error)))?;
            let more = more.ok_or_else(|| gone("it has ended the answer".into()))?;
            self.rest.extend_from_slice(&more);
            if self.rest.len() > MAX_ANSWER {
                return Err(gone("it sends more than can be read".into()));
            }
        }
    }
}

/// Name and data of one event; none of what only says that the answer goes on.
fn read_event(text: &str) -> Option<(String, String)> {
    let (mut name, mut data) = (String::new(), None::<String>);
    for line in text.lines() {
        match line.split_once(':') {
            Some(("event", value)) => value.trim_start().clone_into(&mut name),
            Some(("data", value)) => data.get_or_insert_default().push_str(value.trim_start()),
            _ => {}
        }
    }
    Some((name, data?))
}

async fn send(
    config: &AdminConfig,
    method: Method,
    path: &str,
    question: &impl Serialize,
    within: Option<Duration>,
) -> Result<reqwest::Response, AskError> {
    let question = serde_json::to_vec(question).map_err(|error| nobody(config, error.to_string()))?;
    let (request, _folder) = request(config, method, path, within)?;
    sent(config, if question == b"null" { request } else { request.body(question) }).await
}

/// That nobody answers.
fn nobody(config: &AdminConfig, why: String) -> AskError {
    AskError::NoDaemon { at: place(config), why }
}

/// A request to the daemon, with the token; an answer that takes longer than `within` is none. The folder, where there
/// is one, must stay open while the request is in use.
fn request(
    config: &AdminConfig,
    method: Method,
    path: &str,
    within: Option<Duration>,
) -> Result<(reqwest::RequestBuilder, Option<File>), AskError> {
    // No TLS is spoken: a machine without root certificates is fine.
    let client = reqwest::Client::builder().connect_timeout(TIMEOUT).no_proxy().tls_certs_only([]);
    // A daemon sends nobody elsewhere: who does is none, and gets no token and no question.
    let mut client = client.redirect(reqwest::redirect::Policy::none());
    if let Some(within) = within {
        client = client.timeout(within);
    }
    let (mut host, mut folder) = ("localhost".to_owned(), None);
    match &config.listen {
        Listen::Unix(path) => {
            let short;
            (short, folder) = short_path(path).map_err(|error| nobody(config, error.to_string()))?;
            client = client.unix_socket(short);
        }
        Listen::Tcp(address) => host.clone_from(address),
    }
    let client = client.build().map_err(|error| nobody(config, error.to_string()))?;
    let mut request = client.request(method, format!("http://{host}{path}"));
    if let Some(token) = &config.token {
        request = request.bearer_auth(token.expose());
    }
    Ok((request, folder))
}

/// Sends a request, and waits for the head of its answer.
async fn sent(config: &AdminConfig, request: reqwest::RequestBuilder) -> Result<reqwest::Response, AskError> {
    request.send().await.map_err(|error| {
        let why = cause(&error);
        if is_denied(&error) { AskError::NotOurs { at: place(config), why } } else { nobody(config, why) }
    })
}

/// Why the daemon refuses, by what it says.
fn why(status: u16, body: &[u8]) -> String {
    let why = serde_json::from_slice::<serde_json::Value>(body).ok();
    let why = why.and_then(|v| v.get("error")?.as_str().map(str::to_owned));
    let why = why.unwrap_or_else(|| "no reason given".into());
    if status == 401 { format!("{why}\n  help: {OTHER_TOKEN}") } else { why }
}

/// Whether the system lets us not connect.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let own = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    own == Some(std::io::ErrorKind::PermissionDenied) || error.source().is_some_and(is_denied)
}

/// The innermost reason: those around it only say that a request failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_is_told_where_the_question_was_not_amiss() {
        let told =
            |status| AskError::Refused { at: "/run/s".into(), status, why: "there is no sink `x`".into() }.to_string();
        assert_eq!(told(400), "there is no sink `x`");
        assert_eq!(told(503), "the daemon at /run/s answers 503: there is no sink `x`");
    }

    #[test]
    fn an_event_has_a_name_and_data_and_a_sign_of_life_is_none() {
        let event = |name: &str, data: &str| Some((name.to_owned(), data.to_owned()));
        assert_eq!(read_event("id: 7\ndata: {\"a\": \"b: c\"}\n\n"), event("", "{\"a\": \"b: c\"}"));
        assert_eq!(read_event("event: left_out\ndata: 1\n\n"), event("left_out", "1"));
        assert_eq!(read_event(":\n\n"), None);
    }
}
