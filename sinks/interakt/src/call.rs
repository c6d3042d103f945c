//! Calls: one per message, over one client. No redirect is followed, and no request is sent twice. What an answer means
//! is decided in `verdict`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use sink_api::outbox::End;
use sink_api::{BuildError, Outcome, Reason, SinkContext, http};

use crate::config::Plan;
use crate::request::Request;
use crate::verdict::{self, Body};

/// Most bytes of an answer that are read; the API's own have a few hundred.
const MAX_ANSWER: usize = 64 << 10;
/// Longest wait for the rest of an answer whose head has come.
const REST: Duration = Duration::from_secs(5);

/// Makes calls.
pub(crate) struct Caller {
    client: Client,
    plan: Arc<Plan>,
}

impl Caller {
    /// Builds the client. Reads certificates, connects to nothing.
    pub(crate) async fn open(plan: Arc<Plan>, cx: &SinkContext) -> Result<Self, BuildError> {
        let tls_ca = plan.tls_ca.as_ref().map(|path| cx.resolve(path));
        let is_tls = plan.origin.scheme() != "http";
        let client = http::client(plan.connect_timeout, tls_ca.as_deref(), is_tls, Policy::none()).await?;
        Ok(Self { client, plan })
    }

    /// Sends a message within so much time, and says what came of it.
    pub(crate) async fn call(&self, request: &Request<'_>, body: Vec<u8>, time: Duration) -> (End, Outcome) {
        let mut call = reqwest::Request::new(Method::POST, self.plan.url.clone());
        call.headers_mut().clone_from(&self.plan.headers);
        *call.body_mut() = Some(body.into());
        *call.timeout_mut() = Some(time);
        match self.client.execute(call).await {
            Ok(mut answer) => {
                let status = answer.status();
                let after = http::wait_asked(answer.headers());
                let mut bytes = Vec::new();
                let body = hear(&mut answer, &mut bytes).await;
                verdict::of_answer(status, after, body, request)
            }
            Err(error) => verdict::of_error(&error),
        }
    }

    /// Tries the way to the API without the key.
    pub(crate) async fn probe(&self) -> Result<(), Reason> {
        http::probe(&self.client, &self.plan.origin, self.plan.connect_timeout).await
    }
}

/// Reads an answer's body, as far as it comes in time and is not too large.
async fn hear<'b>(answer: &mut Response, bytes: &'b mut Vec<u8>) -> Body<'b> {
    let read = async {
        while let Some(chunk) = answer.chunk().await? {
            let room = MAX_ANSWER.saturating_sub(bytes.len());
            bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                return Ok(false);
            }
        }
        Ok::<bool, reqwest::Error>(true)
    };
    match tokio::time::timeout(REST, read).await {
        Ok(Ok(true)) => Body::Whole(bytes),
        Ok(Ok(false)) => Body::Large(bytes),
        Ok(Err(_)) | Err(_) => Body::Cut(bytes),
    }
}
