//! A client in front of several daemons that goes on to the next one as nginx does with
//! `proxy_next_upstream error timeout http_502 http_503 non_idempotent`: where a connection is refused or cut, an
//! answer does not come, or is 5xx.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::post;

/// Longest that one daemon's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The client.
#[derive(Clone)]
pub struct Balancer {
    client: reqwest::Client,
    daemons: Vec<SocketAddr>,
}

/// Who answered 200, with which id, and what others had done before.
#[derive(Debug)]
pub struct Taken {
    pub node: usize,
    pub id: String,
    pub failed: Vec<Failed>,
}

/// A daemon that did not take a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nobody listens there.
    Refused,
    /// The connection was cut, or no answer came in time.
    Cut(String),
    /// It answered so.
    Answered(u16),
}

impl Balancer {
    pub fn new(daemons: &[SocketAddr]) -> Self {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Self { client, daemons: daemons.to_vec() }
    }

    /// Asks one daemon after the other, beginning with this one, each once.
    pub async fn post(&self, first: usize, body: &[u8]) -> Result<Taken, Vec<Failed>> {
        let mut failed = vec![];
        for turn in 0..self.daemons.len() {
            let node = (first + turn) % self.daemons.len();
            let url = format!("http://{}/webhooks/interakt", self.daemons[node]);
            match post(&self.client, &url, body.to_vec()).await {
                Ok((200, answer)) => {
                    return Ok(Taken { node, id: answer["id"].as_str().unwrap().to_owned(), failed });
                }
                Ok((status, _)) => failed.push(Failed::Answered(status)),
                Err(error) if error.is_connect() => failed.push(Failed::Refused),
                Err(error) => failed.push(Failed::Cut(format!("{error:?}"))),
            }
        }
        Err(failed)
    }
}
