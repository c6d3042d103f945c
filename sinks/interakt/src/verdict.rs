//! The table from an answer, or the lack of one, to an outcome and to what the outbox is told. Pure: no clock, no I/O.
//!
//! What the API itself says settles a call. An answer that was lost leaves open whether the message was sent, and so
//! does one that is not the API's own: a gateway may have passed the call on, and lost what came back. What is unknown
//! is Retry. A detail holds neither a phone nor a value of the payload.

use std::time::Duration;

use reqwest::StatusCode;
use sink_api::http::{self, HTTP_4XX, HTTP_5XX, HTTP_404, HTTP_408, HTTP_425, HTTP_429, PROTOCOL, REDIRECT};
use sink_api::outbox::End;
use sink_api::{Outcome, Reason, code};

use crate::answer::{self, Said};
use crate::request::Request;

/// An answer that is not one of the API's.
pub const BAD_ANSWER: &str = "bad_answer";
/// The API says with a good status that it did not take the message.
pub const NOT_TAKEN: &str = "not_taken";

/// What a detail ends with where nobody knows whether the message was sent.
const OPEN: &str = ": the message may be on its way";

/// What was heard of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'b> {
    /// All of it.
    Whole(&'b [u8]),
    /// Its beginning; it is larger than any answer of the API.
    Large(&'b [u8]),
    /// Its beginning; the rest was cut off, or did not come in time.
    Cut(&'b [u8]),
}

impl<'b> Body<'b> {
    /// What there is of it.
    pub fn begun(self) -> &'b [u8] {
        match self {
            Self::Whole(bytes) | Self::Large(bytes) | Self::Cut(bytes) => bytes,
        }
    }
}

/// What comes of a call that was answered. `after` is the wait that the answer asks for.
pub fn of_answer(status: StatusCode, after: Option<Duration>, body: Body<'_>, request: &Request<'_>) -> (End, Outcome) {
    let said = match body {
        Body::Whole(bytes) => answer::read(bytes),
        _ => None,
    };
    let is_open = is_open(status.as_u16(), said.as_ref(), after.is_some());
    let retry = |code, detail: String| {
        let detail = if is_open { detail + OPEN } else { detail };
        Outcome::Retry { after, why: Reason::new(code, detail) }
    };
    let text = http::in_words(status);
    let outcome = match (status.as_u16(), &said) {
        // Documented is 201; whichever of these it is, `result` is the API's own word.
        (200..=299, Some(Said { result: true, id, .. })) => {
            // Without its id the message is known again by what its statuses call back with.
            return (End::Sent { message: id.clone() }, Outcome::Delivered);
        }
        (200..=299, Some(said)) => retry(NOT_TAKEN, refused(&text, said, request)),
        (200..=299, None) if matches!(body, Body::Cut(_)) => {
            retry(code::IO, format!("{text}, and the rest of the answer was lost"))
        }
        (200..=299, None) => {
            retry(BAD_ANSWER, format!("{text}, and no answer of Interakt's API (does `url` lead there?)"))
        }
        (300..=399, _) => retry(REDIRECT, format!("{text}, not followed: put the final address into `url`")),
        (401 | 403 | 407, _) => retry(code::AUTH, format!("{text}: Interakt does not take `api_key`")),
        // Every call goes to the same place: unless it is a refusal that is known, nothing is there.
        (404, said) if !is_known(said.as_ref()) => {
            retry(HTTP_404, format!("{text}: no API is there, does `url` lead to Interakt's?"))
        }
        (408, _) => retry(HTTP_408, text),
        (425, _) => retry(HTTP_425, text),
        (429, _) => retry(HTTP_429, format!("{text}: `rate` should be that of your plan")),
        (400..=499, said) => Outcome::Reject { why: refusal(&text, said.as_ref(), request) },
        (500..=599, _) => retry(HTTP_5XX, text),
        _ => retry(PROTOCOL, format!("{text} is no answer")),
    };
    (if is_open { End::Unknown } else { End::NotSent }, outcome.answered(body.begun()))
}

/// Whether an answer may have come after the API took the message. The API's own word decides where there is one. Else
/// the status does: whether it says that the call was not passed on, or that it failed there. A 503 says so where it
/// asks for a wait: a gateway's may also mean that the connection broke behind it.
fn is_open(status: u16, said: Option<&Said>, asks_to_wait: bool) -> bool {
    match (said, status) {
        (Some(said), _) => said.result,
        (None, 300..=501) => false,
        (None, 503) => !asks_to_wait,
        (None, _) => true,
    }
}

fn is_known(said: Option<&Said>) -> bool {
    said.and_then(|said| said.message.as_deref()).and_then(answer::known).is_some()
}

/// Why a message is refused for what it is.
fn refusal(text: &str, said: Option<&Said>, request: &Request<'_>) -> Reason {
    let Some(said) = said else {
        return Reason::new(HTTP_4XX, format!("{text}; `keep_answer = true` keeps what was said with the dead letter"));
    };
    let words = refused(text, said, request);
    match said.message.as_deref().and_then(answer::known) {
        Some(known) => Reason::new(known.code, format!("{words} ({})", known.way_out)),
        None => Reason::new(HTTP_4XX, words),
    }
}

/// `400 Bad Request: Interakt says "…"`.
fn refused(text: &str, said: &Said, request: &Request<'_>) -> String {
    match &said.message {
        Some(message) => format!("{text}: Interakt says \"{}\"", answer::shown(message, request)),
        None => format!("{text}: Interakt did not take the message, and does not say why"),
    }
}

/// What comes of a call that was not answered. Where no connection came about, nothing was sent; anything else may
/// have happened after the message was out.
pub fn of_error(error: &reqwest::Error) -> (End, Outcome) {
    let why = http::of_error(error);
    if error.is_connect() || error.is_builder() {
        return (End::NotSent, Outcome::retry_for(why));
    }
    (End::Unknown, Outcome::retry(why.code, why.detail + OPEN))
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
