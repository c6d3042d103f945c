//! A receiver of webhooks that remembers what it took and answers as it is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::http::{HttpServer, Reply, Seen, Then};

/// A request that the receiver took.
#[derive(Clone, Debug)]
pub struct Got {
    /// `ce-id`; empty where the request has none.
    pub id: String,
    /// `ce-type`; likewise.
    pub kind: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Got {
    /// The header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl From<Seen> for Got {
    fn from(seen: Seen) -> Self {
        let header = |name: &str| seen.header(name).unwrap_or_default().to_owned();
        Self { id: header("ce-id"), kind: header("ce-type"), headers: seen.headers.clone(), body: seen.body.into() }
    }
}

/// The receiver; its port closes when the last clone is dropped.
#[derive(Clone)]
pub struct Callback {
    server: Arc<HttpServer>,
    answer: Arc<Mutex<(u16, Duration)>>,
    says: Arc<Mutex<Vec<u8>>>,
}

impl Callback {
    /// On a free port of the loopback. Answers 200 at once, until it is told otherwise.
    pub async fn start() -> Self {
        let answer = Arc::new(Mutex::new((200, Duration::ZERO)));
        let says: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (current, body) = (Arc::clone(&answer), Arc::clone(&says));
        let script = move |_: &Seen| {
            let (status, delay) = *current.lock().unwrap_or_else(PoisonError::into_inner);
            match body.lock().unwrap_or_else(PoisonError::into_inner).as_slice() {
                [] => Reply::After(delay, status),
                body => {
                    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n", body.len());
                    Reply::Bytes([head.as_bytes(), body].concat(), Then::Keep)
                }
            }
        };
        Self { server: Arc::new(HttpServer::start(script).await), answer, says }
    }

    /// Where it takes requests.
    pub fn url(&self) -> String {
        self.server.url("/hook")
    }

    /// The requests that were answered 200.
    pub fn got(&self) -> Vec<Got> {
        self.server.seen().into_iter().filter(|seen| seen.status == 200).map(Got::from).collect()
    }

    /// Answers with this status from now on.
    pub fn answer_with(&self, status: u16) {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).0 = status;
    }

    /// Says this in every answer from now on, at once.
    pub fn say(&self, body: &[u8]) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = body.to_vec();
    }

    /// Takes so long for each answer from now on.
    pub fn take_time(&self, delay: Duration) {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).1 = delay;
    }
}
