//! How the live verbs ask a running daemon: the client of the admin listener.

use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::{AdminConfig, Listen};
use crate::sockets::unix::short_path;

/// Longest wait for an answer: a little longer than the daemon takes to give up.
const TIMEOUT: Duration = Duration::from_secs(32);
/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

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
    #[error("the daemon at {at} answers {status}: {why}")]
    Refused {
        /// Where the daemon listens.
        at: String,
        /// The HTTP status.
        status: u16,
        /// The daemon's reason.
        why: String,
    },
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
    let nobody = |why: String| AskError::NoDaemon { at: at.clone(), why };
    // No TLS is spoken: a machine without root certificates is fine.
    let mut client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().tls_certs_only([]);
    let (mut host, mut _folder) = ("localhost".to_owned(), None);
    match &config.listen {
        Listen::Unix(path) => {
            let short;
            (short, _folder) = short_path(path).map_err(|error| nobody(error.to_string()))?;
            client = client.unix_socket(short);
        }
        Listen::Tcp(address) => host.clone_from(address),
    }
    let client = client.build().map_err(|error| nobody(error.to_string()))?;
    let mut request = client.request(method, format!("http://{host}{path}"));
    if let Some(token) = &config.token {
        request = request.bearer_auth(token.expose());
    }
    let question = serde_json::to_vec(question).map_err(|error| nobody(error.to_string()))?;
    if question != b"null" {
        request = request.body(question);
    }
    let answer = request.send().await.map_err(|error| {
        let why = cause(&error);
        if is_denied(&error) { AskError::NotOurs { at: at.clone(), why } } else { nobody(why) }
    })?;
    let status = answer.status().as_u16();
    let refused = |why: String| AskError::Refused { at: at.clone(), status, why };
    if answer.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(refused("more than can be read".into()));
    }
    let body = answer.bytes().await.map_err(|error| refused(cause(&error)))?;
    if status != 200 {
        let why = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let why = why.and_then(|v| v.get("error")?.as_str().map(str::to_owned));
        let why = why.unwrap_or_else(|| "no reason given".into());
        return Err(refused(if status == 401 { format!("{why}\n  help: {OTHER_TOKEN}") } else { why }));
    }
    serde_json::from_slice(&body).map_err(|error| refused(format!("not understood: {error}")))
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
