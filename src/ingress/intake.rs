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

use super::answered::{Asked, refused_headless};
use super::append_batch::AppendBatch;
use super::dedupe::{Fingerprint, Known, Outcome};
use super::http::body::{self, BodyFault, Bounds, Head};
use super::http::connection_state::Link;
use super::http::reply::Answer;
use super::http::{BadHead, Handler, Server};
use super::source::plan::Received;
use super::sources::{Place, Source};
use super::{Ingress, Tally};
use crate::event;
use crate::journal::{Append, OnFailure, Progress};
use crate::telemetry;
use crate::verify::{Verified, Which};

/// Most bytes of a body that a line of the log shows, where bodies are asked for.
const SHOWN_BODY: usize = 4 << 10;

/// The way of the requests that one serving thread takes from one listener.
pub(in crate::ingress) struct Intake {
    pub ingress: Arc<Ingress>,
    pub batch: Arc<AppendBatch>,
}

impl Handler for Arc<Intake> {
    async fn answer(&self, link: &Link, request: Request<Incoming>) -> (Answer, bool) {
        let ingress = &self.ingress;
        let (parts, mut body) = request.into_parts();
        let place = ingress.sources().at(parts.uri.path(), ingress.server.health.as_deref());
        let mut asked = Asked::new(ingress, link, &parts, &place);
        let counts = &ingress.server.counts;
        let answer = match (&place, &parts.method) {
            _ if !names_its_host(&parts) => {
                counts.hostless.add();
                Answer::NoHost
            }
            (Place::Source(source), &Method::POST) => post(self, source, &mut asked, &mut body).await,
            (Place::Source(source), &Method::GET | &Method::HEAD) => probe(source, &parts),
            (Place::Source(_), _) => {
                counts.wrong_method.add();
                Answer::WrongMethod
            }
            (Place::Health, &Method::GET | &Method::HEAD) => Answer::Health(ingress.is_healthy()),
            (Place::Health, _) => {
                counts.wrong_method.add();
                Answer::WrongHealthMethod
            }
            (Place::Nowhere, _) => {
                counts.not_found.add();
                Answer::NotFound
            }
        };
        asked.answered(&answer);
        (answer, !body.is_end_stream())
    }

    fn refused(&self, link: &Link, why: BadHead) {
        let counts = &self.ingress.server.counts;
        match why {
            BadHead::TooSlow => counts.slow_heads.add(),
            BadHead::TooLarge => counts.large_heads.add(),
            BadHead::Malformed => counts.malformed.add(),
        }
        refused_headless(&self.ingress, link, why);
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
        Some(Err(())) => Answer::WrongToken,
    }
}

async fn post(intake: &Arc<Intake>, source: &Arc<Source>, asked: &mut Asked<'_>, body: &mut Incoming) -> Answer {
    let (server, link, parts) = (&intake.ingress.server, asked.link, asked.parts);
    let bounds = Bounds { max: server.max_body, time: server.body_timeout };
    let mut uploading = None;
    let sender = || {
        uploading = Some(link.upload());
        link.sender()
    };
    let pause = |is_paused| link.pause_reading(is_paused);
    let bytes = match body::collect(body, Head::of(parts), bounds, &server.budget, sender, pause).await {
        Ok(bytes) => bytes,
        Err(fault) => return no_body(server, fault),
    };
    drop(uploading);
    asked.has_body();
    let time = Timestamp::now();
    let verified = match source.plan.proof.verify(parts, &bytes, time.as_second()) {
        Ok((Which::Previous, verified)) => {
            by_previous_secret(source, time);
            verified
        }
        Ok((Which::Current, verified)) => verified,
        Err(why) => return Answer::Refused(why),
    };
    if source.plan.proof.proves() {
        link.prove();
    }
    if let Some(challenge) = source.plan.challenge.post(&bytes) {
        return Answer::Challenge(challenge);
    }
    let id = Uuid::now_v7();
    let deadline = Instant::now() + source.plan.ack_deadline;
    let mut outcome = match hand_over(intake, source, Proven { asked, body: bytes, verified, id, time }) {
        Ok(outcome) => outcome,
        Err(known) => return repeat(source, known, deadline).await,
    };
    let accepted = Answer::Accepted(id, source.plan.status);
    match timeout_at(deadline, &mut outcome).await {
        Ok(Ok(Outcome::Durable)) => accepted,
        Ok(Ok(Outcome::AtRisk)) => at_risk(source, accepted),
        Err(_) => {
            let answer = at_risk(source, accepted);
            if answer != Answer::Unavailable {
                source.metered.at_risk.answered(outcome);
            }
            answer
        }
        Ok(Ok(Outcome::Failed) | Err(_)) => Answer::Unavailable,
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
fn no_body(server: &Server, fault: BodyFault) -> Answer {
    match fault {
        BodyFault::TooLarge => Answer::TooLarge,
        BodyFault::TooSlow => Answer::TooSlow,
        BodyFault::Broken => Answer::Broken,
        BodyFault::BrokenOff => Answer::BrokenOff,
        BodyFault::LargeHead => {
            server.counts.large_heads.add();
            Answer::LargeHead
        }
    }
}

/// A request whose sender is believed.
struct Proven<'p, 'r> {
    asked: &'p mut Asked<'r>,
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
    Proven { asked, body, verified, id, time }: Proven<'_, '_>,
) -> Result<oneshot::Receiver<Outcome>, Known> {
    let (ingress, plan, parts) = (&intake.ingress, &source.plan, asked.parts);
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
        time,
        request: Some(sender),
        tally: None,
        is_counted: false,
        is_at_risk: false,
    };
    let envelope = envelope.unwrap_or_else(|| plan.envelope(&parts.headers, &body));
    source.counts.passed_over(envelope.too_long);
    let (kind, subject) = (envelope.kind.into(), envelope.subject.into());
    let mut event: Event =
        plan.event(Received { id, time, remote: asked.remote(), headers: &parts.headers, kind, subject, body });
    if let Some(tracer) = ingress.traces.tracer() {
        asked.accepting = tracer.accepting(&mut event, &parts.headers);
    }
    ticket.tally = ingress.on_append.get().map(|tally_of| tally_of(&event.source, &event.kind));
    in_detail(&event);
    let record = event::encode(&event, identity.as_ref().map(|known| &known.digest), plan.dedupes());
    let on_progress = Box::new(move |progress| ticket.follow(progress));
    let notify = Some(intake.batch.notify());
    intake.batch.append(Append { record, on_failure: plan.on_failure, on_progress, notify });
    Ok(outcome)
}

/// Says what came, where the log is to say that much; the body only where it is asked for.
fn in_detail(event: &Event) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (id, source, kind, subject) = (event.id.to_string(), &*event.source, &*event.kind, &*event.subject);
    let bytes = event.body.len();
    let shown = event.body.get(..bytes.min(SHOWN_BODY)).unwrap_or_default();
    let body = telemetry::shows_bodies().then(|| String::from_utf8_lossy(shown));
    tracing::debug!(id, source, r#type = kind, subject, bytes, body = body.as_deref(), "a webhook is believed");
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
        (Outcome::AtRisk | Outcome::Failed, _) => Answer::Unavailable,
    }
}

/// The event is queued but not on disk, and the sender cannot be kept waiting.
fn at_risk(source: &Source, accepted: Answer) -> Answer {
    if source.plan.on_failure == OnFailure::GiveBack {
        return Answer::Unavailable;
    }
    source.counts.at_risk.add();
    if let Some(count) = source.at_risk.hit() {
        tracing::error!(source = &*source.plan.name, count, "webhook answered 200 before it was on disk");
    }
    accepted
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
    time: Timestamp,
    request: Option<oneshot::Sender<Outcome>>,
    /// Counts the event when its position is known.
    tally: Option<Arc<dyn Tally>>,
    /// Whether the event was counted as accepted.
    is_counted: bool,
    /// Whether it is counted as at risk.
    is_at_risk: bool,
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
            self.source.counts.last_accepted.note(self.time);
        }
        if outcome == Outcome::AtRisk && !std::mem::replace(&mut self.is_at_risk, true) {
            self.source.metered.at_risk.told();
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
            if std::mem::take(&mut self.is_at_risk) {
                self.source.metered.at_risk.over();
            }
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
