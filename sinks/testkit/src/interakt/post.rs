//! The webhooks: a message's course, step by step, each posted as Interakt posts it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::body::{self, Times};
use super::check::Message;
use super::course::{Course, Status, Step};
use super::record::{Record, Told};
use crate::lock::lock;
use crate::must::Must as _;

/// How long an answer is waited for: what Interakt's pages say.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How many webhooks are posted at once.
const AT_ONCE: usize = 16;

/// Whom the stand-in tells of statuses.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// The daemon's URL. [`StandIn::call_back`](super::StandIn::call_back) changes it.
    pub url: String,
    /// What bodies are signed with.
    pub secret: String,
    /// None: as Interakt does, one try and no other, whatever the answer. Otherwise a status is posted again after
    /// this long until it is answered 200. Interakt loses what a daemon that is down does not take; a proof that
    /// nothing is *forgotten* needs to know that the daemon was told.
    pub until_taken: Option<Duration>,
}

/// Posts to the daemon.
pub(super) struct Poster {
    client: reqwest::Client,
    url: Mutex<String>,
    secret: String,
    until_taken: Option<Duration>,
    places: Semaphore,
}

impl Poster {
    pub(super) fn new(webhooks: Webhooks) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build().must("a client");
        let Webhooks { url, secret, until_taken } = webhooks;
        Self { client, url: Mutex::new(url), secret, until_taken, places: Semaphore::new(AT_ONCE) }
    }

    pub(super) fn call_back(&self, url: &str) {
        url.clone_into(&mut lock(&self.url));
    }

    /// Posts a body; once, or until it is answered 200. Gives the last answer and how many tries there were.
    async fn post(&self, body: &str) -> (u16, u32) {
        let signature = sign(&self.secret, body.as_bytes());
        let mut tries = 1;
        loop {
            let answer = self.post_once(body, &signature).await;
            match self.until_taken {
                Some(pause) if answer != 200 => tokio::time::sleep(pause).await,
                Some(_) | None => return (answer, tries),
            }
            tries += 1;
        }
    }

    async fn post_once(&self, body: &str, signature: &str) -> u16 {
        let _place = self.places.acquire().await;
        let url = lock(&self.url).clone();
        let request = self.client.post(url).header("content-type", "application/json");
        let request = request.header("Interakt-Signature", signature).body(body.to_owned());
        request.send().await.map_or(0, |answer| answer.status().as_u16())
    }
}

/// `sha256=` and the HMAC of the body as it is sent, in hexadecimal.
fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).must("a secret").chain_update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Tells what becomes of one message.
pub(super) struct Teller {
    pub(super) id: Uuid,
    pub(super) number: u64,
    pub(super) message: Arc<Message>,
    pub(super) taken: SystemTime,
    pub(super) poster: Arc<Poster>,
    pub(super) record: Arc<Mutex<Record>>,
}

impl Teller {
    /// Goes the course to its end.
    pub(super) async fn tell(self, course: Course) {
        let mut times = Times { taken: self.taken, delivered: None, seen: None };
        for Step { after, status, times: often } in course {
            tokio::time::sleep(after).await;
            times.note(&status, SystemTime::now());
            let body = body::of(self.id, &self.message, &status, &times, SystemTime::now()).to_string();
            for _ in 0..often {
                self.tell_once(&status, &body).await;
            }
        }
    }

    async fn tell_once(&self, status: &Status, body: &str) {
        let (answer, tries) = self.poster.post(body).await;
        lock(&self.record).note(self.number, Told { status: status.clone(), tries, at: Instant::now(), answer });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_body_is_signed_as_interakt_signs_its_published_example() {
        let signature = super::sign("examplekey", br#"{"foo":1,"bar":2}"#);
        assert_eq!(signature, "sha256=b84783d10ede5bd6ed771e8b16fbe5a7093340159d6e49ec4248350b6ec2c7b4");
    }
}
