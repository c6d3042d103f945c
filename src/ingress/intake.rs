//! The way of a request: source → body → verify → dedupe → type → append → answer.
//!
//! What becomes of an event that was handed to the journal depends on what the journal tells ([`Ticket`]); the request
//! only listens, and may be gone long before.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Version, request};
use hyper::Request;
use hyper::body::{Body, Incoming};
use sink_api::{Event, Timestamp, Uuid};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::append_batch::AppendBatch;
use super::dedupe::{Fingerprint, Known, Outcome};
use super::http::body::{self, BodyFault, Bounds, Head};
use super::http::connection_state::Link;
use super::http::reply::Answer;
use super::http::{Handler, Peer, remote};
use super::source::plan::Received;
use super::sources::Source;
use super::{Ingress, Tally};
use crate::event;
use crate::journal::{Append, OnFailure, Progress};
use crate::verify::{Verified, Which};

/// The way of the requests that one serving thread takes from one listener.
pub(in crate::ingress) struct Intake {
    pub ingress: Arc<Ingress>,
    pub batch: Arc<AppendBatch>,
}

impl Handler for Arc<Intake> {
    async fn answer(&self, link: &Link, request: Request<Incoming>) -> (Answer, bool) {
        let ingress = &self.ingress;
        let (parts, mut body) = request.into_parts();
        if !names_its_host(&parts) {
            ingress.server.counts.hostless.add();
            return (Answer::NoHost, !body.is_end_stream());
        }
        let source = ingress.sources().at(parts.uri.path()).cloned();
        let answer = match (source, &parts.method) {
            (Some(source), &Method::POST) => post(self, link, &source, &parts, &mut body).await,
            (Some(source), &Method::GET | &Method::HEAD) => probe(&source, &parts),
            (Some(_), _) => {
                ingress.server.counts.wrong_method.add();
                Answer::WrongMethod
            }
            (None, method) if ingress.server.health.as_deref() == Some(parts.uri.path()) => {
                if matches!(*method, Method::GET | Method::HEAD) {
                    Answer::Health(ingress.is_healthy())
                } else {
                    ingress.server.counts.wrong_method.add();
                    Answer::WrongHealthMethod
                }
            }
            (None, _) => {
                ingress.server.counts.not_found.add();
                Answer::NotFound
            }
        };
        (answer, !body.is_end_stream())
    }
}

/// HTTP/1.1 wants one `Host`, exactly (RFC 9112, 3.2): with two, proxies and we might see different requests.
fn names_its_host(parts: &request::Parts) -> bool {
    parts.version != Version::HTTP_11 || parts.headers.get_all(HOST).iter().count() == 1
}

/// A GET: a provider's question, or a look whether the path is served.
fn probe(source: &Source, parts: &request::Parts) -> Answer {
    match source.plan.challenge.get(parts.uri.query()) {
        None => Answer::Probe,
        Some(Ok(challenge)) => Answer::Challenge(challenge),
        Some(Err(())) => {
            source.counts.wrong.add();
            Answer::WrongToken
        }
    }
}

async fn post(
    intake: &Arc<Intake>,
    link: &Link,
    source: &Arc<Source>,
    parts: &request::Parts,
    body: &mut Incoming,
) -> Answer {
    let (ingress, server) = (&intake.ingress, &intake.ingress.server);
    let bounds = Bounds { max: server.max_body, time: server.body_timeout };
    let mut uploading = None;
    let sender = || {
        uploading = Some(link.upload());
        link.sender()
    };
    let pause = |is_paused| link.pause_reading(is_paused);
    let bytes = match body::collect(body, Head::of(parts), bounds, &server.budget, sender, pause).await {
        Ok(bytes) => bytes,
        Err(fault) => return no_body(ingress, source, fault),
    };
    drop(uploading);
    let time = Timestamp::now();
    let verified = match source.plan.proof.verify(parts, &bytes, time.as_second()) {
        Ok((Which::Previous, verified)) => {
            by_previous_secret(source, time);
            verified
        }
        Ok((Which::Current, verified)) => verified,
        Err(why) => {
            source.counts.refused(why);
            if let Some(count) = source.refused.hit() {
                tracing::warn!(source = &*source.plan.name, count, "webhook refused: {why}");
            }
            return Answer::Refused(why);
        }
    };
    if source.plan.proof.proves() {
        link.prove();
    }
    if let Some(challenge) = source.plan.challenge.post(&bytes) {
        return Answer::Challenge(challenge);
    }
    let id = Uuid::now_v7();
    let deadline = Instant::now() + source.plan.ack_deadline;
    let outcome = match hand_over(intake, source, Proven { link, parts, body: bytes, verified, id, time }) {
        Ok(outcome) => outcome,
        Err(known) => return repeat(source, known, deadline).await,
    };
    match timeout_at(deadline, outcome).await {
        Ok(Ok(Outcome::Durable)) => Answer::Accepted(id, source.plan.status),
        Ok(Ok(Outcome::AtRisk)) | Err(_) => at_risk(source, Answer::Accepted(id, source.plan.status)),
        Ok(Ok(Outcome::Failed) | Err(_)) => unavailable(source),
    }
}

/// Counts a webhook that the previous secret alone proves, and says so now and then.
fn by_previous_secret(source: &Source, time: Timestamp) {
    source.previous.add(time);
    if let Some(count) = source.by_previous.hit() {
        let (source, total) = (&*source.plan.name, source.previous.count.get());
        tracing::info!(source, count, total, "webhooks are still signed with the previous secret");
    }
}

/// What is answered where there is no body.
fn no_body(ingress: &Ingress, source: &Source, fault: BodyFault) -> Answer {
    let (count, answer) = match fault {
        BodyFault::TooLarge => (&source.counts.too_large, Answer::TooLarge),
        BodyFault::TooSlow => (&source.counts.too_slow, Answer::TooSlow),
        BodyFault::Broken => (&source.counts.broken, Answer::Broken),
        BodyFault::LargeHead => (&ingress.server.counts.large_heads, Answer::LargeHead),
    };
    count.add();
    answer
}

/// A request whose sender is believed.
struct Proven<'r> {
    link: &'r Link,
    parts: &'r request::Parts,
    body: Bytes,
    verified: Option<Verified>,
    id: Uuid,
    time: Timestamp,
}

/// Hands the event to the journal, with a ticket that travels along, and gives where its outcome will come.
///
/// # Errors
/// What is known of the event that this one repeats; then nothing is handed over.
fn hand_over(
    intake: &Arc<Intake>,
    source: &Arc<Source>,
    Proven { link, parts, body, verified, id, time }: Proven<'_>,
) -> Result<oneshot::Receiver<Outcome>, Known> {
    let (ingress, plan) = (&intake.ingress, &source.plan);
    let (identity, envelope) = plan.identity(verified, &parts.headers, &body);
    let fingerprint = identity.filter(|_| plan.dedupes()).map(|known| short(&known.digest));
    if let Some(fingerprint) = fingerprint {
        let other = identity.and_then(|known| known.other).as_ref().map(short);
        ingress.dedupe.reserve(source.slot, fingerprint, other, *id.as_bytes(), time.as_microsecond())?;
    }
    let (sender, outcome) = oneshot::channel();
    let mut ticket = Ticket {
        intake: Arc::clone(intake),
        source: Arc::clone(source),
        fingerprint,
        id,
        request: Some(sender),
        tally: None,
        is_counted: false,
    };
    let envelope = envelope.unwrap_or_else(|| plan.envelope(&parts.headers, &body));
    source.counts.passed_over(envelope.too_long);
    let (kind, subject) = (envelope.kind.into(), envelope.subject.into());
    let remote = match (link.peer, ingress.server.trusted_proxies.as_slice()) {
        (Peer::Ip(_), []) => Arc::clone(&link.remote),
        (peer, trusted) => remote::client(peer, trusted, &parts.headers).to_string().into(),
    };
    let event: Event = plan.event(Received { id, time, remote, headers: &parts.headers, kind, subject, body });
    ticket.tally = ingress.on_append.get().map(|tally_of| tally_of(&event.source, &event.kind));
    let record = event::encode(&event, identity.as_ref().map(|known| &known.digest), plan.dedupes());
    let on_progress = Box::new(move |progress| ticket.follow(progress));
    let notify = Some(intake.batch.notify());
    intake.batch.append(Append { record, on_failure: plan.on_failure, on_progress, notify });
    Ok(outcome)
}

/// A repeat shares the answer of the event it repeats.
async fn repeat(source: &Source, known: Known, deadline: Instant) -> Answer {
    let (id, outcome) = match known {
        Known::Seen(id) => (id, Outcome::Durable),
        Known::AtRisk(id) => (id, Outcome::AtRisk),
        Known::Waiting(id, outcome) => match timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => (id, outcome),
            Ok(Err(_)) => (id, Outcome::Failed),
            Err(_) => (id, Outcome::AtRisk),
        },
    };
    let duplicate = Answer::Duplicate(Uuid::from_bytes(id), source.plan.status);
    match (outcome, source.plan.on_failure) {
        (Outcome::Durable, _) | (Outcome::AtRisk, OnFailure::Keep) => {
            source.counts.duplicate.add();
            duplicate
        }
        (Outcome::AtRisk | Outcome::Failed, _) => unavailable(source),
    }
}

/// The event is queued but not on disk, and the sender cannot be kept waiting.
fn at_risk(source: &Source, accepted: Answer) -> Answer {
    if source.plan.on_failure == OnFailure::GiveBack {
        return unavailable(source);
    }
    source.counts.at_risk.add();
    if let Some(count) = source.at_risk.hit() {
        tracing::error!(source = &*source.plan.name, count, "webhook answered 200 before it was on disk");
    }
    accepted
}

fn unavailable(source: &Source) -> Answer {
    source.counts.unavailable.add();
    if let Some(count) = source.unavailable.hit() {
        tracing::error!(source = &*source.plan.name, count, "webhook answered 503: the journal cannot take it");
    }
    Answer::Unavailable
}

fn short(digest: &[u8; 32]) -> Fingerprint {
    let mut out = [0; 16];
    out.iter_mut().zip(digest).for_each(|(o, d)| *o = *d);
    out
}

/// Follows an event after its request has handed it over: what the journal tells drives dedupe and the counts, and goes
/// to the request where that still listens.
struct Ticket {
    intake: Arc<Intake>,
    source: Arc<Source>,
    /// What the event has reserved in dedupe, until the journal has told its last.
    fingerprint: Option<Fingerprint>,
    id: Uuid,
    request: Option<oneshot::Sender<Outcome>>,
    /// Counts the event when its position is known.
    tally: Option<Arc<dyn Tally>>,
    /// Whether the event was counted as accepted.
    is_counted: bool,
}

impl Ticket {
    fn follow(&mut self, progress: Progress) {
        let outcome = match &progress {
            Progress::Durable(_) => Outcome::Durable,
            Progress::AtRisk => Outcome::AtRisk,
            Progress::Failed(_) => Outcome::Failed,
        };
        if outcome != Outcome::Failed && !std::mem::replace(&mut self.is_counted, true) {
            self.source.counts.accepted.add();
        }
        if let Progress::Durable(at) = progress
            && let Some(tally) = self.tally.take()
        {
            tally.durable(at);
        }
        // Dedupe first: a sender that hears 200 and sends again is to be recognised.
        self.settle(outcome);
        if let Some(request) = self.request.take() {
            self.intake.batch.answer(request, outcome);
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(fingerprint) = self.fingerprint {
            self.intake.ingress.dedupe.settle(self.source.slot, fingerprint, *self.id.as_bytes(), outcome);
        }
        if outcome != Outcome::AtRisk {
            self.fingerprint = None;
        }
    }
}

/// A journal that drops the ticket before it has told its last has not kept the event, which is forgotten, so that a
/// repeat is taken anew.
impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Outcome::Failed);
    }
}
