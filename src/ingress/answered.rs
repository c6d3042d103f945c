//! THE place that every request passes once it has its answer: here it is counted, told in the log, and shown to the
//! feed guard. One that is accepted in time costs a look at the clock and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, request};
use sink_api::Timestamp;

use super::counts::Reason;
use super::elsewhere::OTHER;
use super::guard::LATE;
use super::http::connection_state::Link;
use super::http::reply::{self, Answer};
use super::http::{BadHead, Peer, remote};
use super::refusals::Refused;
use super::sources::{Place, Sources};
use super::{Ingress, paths};
use crate::traces::Accepting;

/// Most letters of a method that are told.
const MOST_METHOD: usize = 16;

/// A request from the moment its head was complete to its answer. One that is dropped without an answer counts, too.
pub(super) struct Asked<'r> {
    pub ingress: &'r Ingress,
    pub link: &'r Link,
    pub parts: &'r request::Parts,
    pub place: &'r Place,
    /// Told with the answer, where the request became an event whose trace is recorded.
    pub accepting: Option<Box<Accepting>>,
    began: Instant,
    state: State,
}

/// How far a request has come.
#[derive(PartialEq, Eq)]
enum State {
    /// Its body is waited for.
    Reading,
    /// Its body is here.
    Read,
    Answered,
}

impl<'r> Asked<'r> {
    /// A request whose head is complete.
    pub fn new(ingress: &'r Ingress, link: &'r Link, parts: &'r request::Parts, place: &'r Place) -> Self {
        Self { ingress, link, parts, place, accepting: None, began: Instant::now(), state: State::Reading }
    }

    /// Its body has come whole.
    pub fn has_body(&mut self) {
        self.state = State::Read;
    }

    /// This is its answer.
    pub fn answered(&mut self, answer: &Answer) {
        self.state = State::Answered;
        let took = self.began.elapsed();
        if let Place::Source(source) = self.place {
            source.metered.answers.add(reply::status(answer).as_u16(), took);
            source.metered.latency.add(took);
        }
        if let Some(accepting) = self.accepting.take() {
            accepting.answered(Some(reply::status(answer).as_u16()), took);
        }
        match why(answer) {
            Some(reason) => {
                let is_broken = matches!(answer, Answer::BrokenOff);
                let status = if is_broken { 0 } else { reply::status(answer).as_u16() };
                self.refused(reason, status, &self.text(answer));
            }
            None => self.in_time(took),
        }
    }

    /// The client's address.
    pub fn remote(&self) -> Arc<str> {
        match (self.link.peer, self.ingress.server.trusted_proxies.as_slice()) {
            (Peer::Ip(_), []) => Arc::clone(&self.link.remote),
            (peer, trusted) => remote::client(peer, trusted, &self.parts.headers).to_string().into(),
        }
    }

    /// Looks whether an answer of success came in time.
    fn in_time(&self, took: Duration) {
        let Place::Source(source) = self.place else { return };
        if source.plan.answer_within.is_some_and(|within| took > within) {
            source.counts.late.add();
            if let Some(count) = source.late.hit() {
                let (name, millis) = (&*source.plan.name, took.as_millis());
                tracing::warn!(source = name, count, millis, "webhook answered later than answer_within");
            }
            self.ingress.is_news(source.guard.fails(&source.plan, LATE, &self.remote()));
        }
    }

    /// The method, as it is told.
    fn method(&self) -> Arc<str> {
        let method = self.parts.method.as_str();
        if method.len() <= MOST_METHOD { method.into() } else { "other".into() }
    }

    fn refused(&self, reason: Reason, status: u16, text: &str) {
        let (remote, now) = (self.remote(), Timestamp::now());
        match self.place {
            Place::Source(source) => {
                source.counts.refused.add(reason);
                self.ingress.is_news(source.guard.fails(&source.plan, reason.word(), &remote));
                self.ingress.told(Refused {
                    source: Some(Arc::clone(&source.plan.name)),
                    path: Arc::clone(&source.plan.path),
                    method: self.method(),
                    reason,
                    status,
                    remote,
                    text: text.into(),
                    is_kin: true,
                    count: 1,
                    first: now,
                    last: now,
                });
            }
            Place::Health | Place::Nowhere => {
                let sources = self.ingress.sources();
                let path = self.parts.uri.path();
                let (shown, meant) = (paths::shown(path), sources.meant(path));
                let is_kin = meant.is_some();
                let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                let text = format!("{text} at {shown}{hint}");
                let counted = self.ingress.elsewhere.add(&shown, is_kin, reason);
                self.ingress.told(Refused {
                    source: None,
                    path: counted,
                    method: self.method(),
                    reason,
                    status,
                    remote,
                    text: text.into(),
                    is_kin,
                    count: 1,
                    first: now,
                    last: now,
                });
            }
        }
    }

    fn text(&self, answer: &Answer) -> String {
        match answer {
            Answer::Refused(why) => why.to_string(),
            Answer::WrongToken => "the verify token does not match".to_owned(),
            Answer::WrongMethod | Answer::WrongHealthMethod => {
                let wanted = if *answer == Answer::WrongMethod { Method::POST } else { Method::GET };
                format!("{wanted} is wanted, this was {}", self.method())
            }
            Answer::TooLarge => "the body is larger than max_body".to_owned(),
            Answer::TooSlow => "the body did not come in time".to_owned(),
            Answer::Broken => "the body was wrongly framed".to_owned(),
            Answer::BrokenOff => BROKEN_OFF.to_owned(),
            Answer::LargeHead => "the head is too large to wait for its body now".to_owned(),
            Answer::NoHost => "HTTP/1.1 wants exactly one Host header".to_owned(),
            Answer::Unavailable => "the journal cannot take it".to_owned(),
            Answer::NotFound => "nothing is received".to_owned(),
            Answer::Accepted(..) | Answer::Duplicate(..) | Answer::Probe | Answer::Challenge(_) | Answer::Health(_) => {
                String::new()
            }
        }
    }
}

const BROKEN_OFF: &str = "the request broke off before its body had come";

/// A request whose future is dropped: its connection, or its stream of HTTP/2, is gone.
impl Drop for Asked<'_> {
    fn drop(&mut self) {
        match self.state {
            State::Reading => self.refused(Reason::Broken, 0, BROKEN_OFF),
            // The event is kept, but nobody was told in time.
            State::Read => {
                let took = self.began.elapsed();
                if let Some(accepting) = self.accepting.take() {
                    accepting.answered(None, took);
                }
                self.in_time(took);
            }
            State::Answered => {}
        }
    }
}

/// A request that was refused before its head was complete: no path is known.
pub(super) fn refused_headless(ingress: &Ingress, link: &Link, bad: BadHead) {
    let (reason, status, text) = match bad {
        BadHead::TooSlow => (Reason::TooSlow, 408, "a request's head did not come in time"),
        BadHead::TooLarge => (Reason::TooLarge, 431, "a request's head is larger than max_header_bytes"),
        BadHead::Malformed => (Reason::Malformed, 400, "what came is not HTTP (nor is TLS, where no tls:// listens)"),
    };
    let now = Timestamp::now();
    ingress.told(Refused {
        source: None,
        path: ingress.elsewhere.add(OTHER, false, reason),
        method: "".into(),
        reason,
        status,
        remote: Arc::clone(&link.remote),
        text: text.into(),
        is_kin: false,
        count: 1,
        first: now,
        last: now,
    });
}

/// Why an answer is no success; `None` where it is one. That the health path says no is what it is for.
fn why(answer: &Answer) -> Option<Reason> {
    match answer {
        Answer::Accepted(..) | Answer::Duplicate(..) | Answer::Probe | Answer::Challenge(_) | Answer::Health(_) => None,
        Answer::Refused(why) => Some((*why).into()),
        Answer::WrongToken => Some(Reason::Wrong),
        Answer::NotFound => Some(Reason::UnknownPath),
        Answer::WrongMethod | Answer::WrongHealthMethod => Some(Reason::Method),
        Answer::TooLarge | Answer::LargeHead => Some(Reason::TooLarge),
        Answer::TooSlow => Some(Reason::TooSlow),
        Answer::Broken | Answer::BrokenOff | Answer::NoHost => Some(Reason::Broken),
        Answer::Unavailable => Some(Reason::Unavailable),
    }
}

impl From<crate::verify::Refusal> for Reason {
    fn from(why: crate::verify::Refusal) -> Self {
        use crate::verify::Refusal;
        match why {
            Refusal::Missing => Self::Missing,
            Refusal::Malformed => Self::Malformed,
            Refusal::Wrong => Self::Wrong,
            Refusal::Stale => Self::TooOld,
        }
    }
}

impl Sources {
    /// The source's path that was probably meant.
    pub(super) fn meant(&self, path: &str) -> Option<&str> {
        paths::meant(path, self.list.iter().map(|source| &*source.plan.path))
    }
}
