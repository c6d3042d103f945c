//! What the sender is answered. The only place where outcomes become HTTP statuses. Pure.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode, Version};
use http_body_util::Full;
use sink_api::Uuid;

use crate::verify::Refusal;

/// Seconds until a refused sender may try again.
const RETRY_SECONDS: &str = "5";

/// The answer where a request's head did not come in time. Written as it stands: hyper has no request to answer then.
pub const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/json\r\ncontent-length: 51\r\nconnection: close\r\n\r\n\
    {\"error\":\"the request's head did not come in time\"}";

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A new event, on disk or taken at risk.
    Accepted(Uuid, StatusCode),
    /// A repeat of this event.
    Duplicate(Uuid, StatusCode),
    /// GET or HEAD on a source's path.
    Probe,
    /// GET or HEAD on the health path: whether a webhook would be taken.
    Health(bool),
    /// Neither GET nor HEAD on the health path.
    WrongHealthMethod,
    /// The provider's question, sent back as it asks.
    Challenge(Bytes),
    /// The same question with a token that is not ours.
    WrongToken,
    /// No source has this path.
    NotFound,
    /// Neither POST, GET nor HEAD.
    WrongMethod,
    /// The signature was not believed.
    Refused(Refusal),
    /// The body is larger than `max_body`.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The body was wrongly framed.
    Broken,
    /// The body broke off. Hardly anybody is left to be answered.
    BrokenOff,
    /// There is no room for so large a head to wait for its body.
    LargeHead,
    /// HTTP/1.1 without `Host`, or with several.
    NoHost,
    /// The journal cannot take it now.
    Unavailable,
}

/// The status of an answer.
pub fn status(answer: &Answer) -> StatusCode {
    match answer {
        Answer::Accepted(_, status) | Answer::Duplicate(_, status) => *status,
        Answer::Challenge(_) | Answer::Probe | Answer::Health(true) => StatusCode::OK,
        Answer::WrongToken => StatusCode::FORBIDDEN,
        Answer::Health(false) | Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Answer::WrongHealthMethod | Answer::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Answer::NotFound => StatusCode::NOT_FOUND,
        Answer::Refused(_) => StatusCode::UNAUTHORIZED,
        Answer::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Answer::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Answer::Broken | Answer::BrokenOff | Answer::NoHost => StatusCode::BAD_REQUEST,
        Answer::LargeHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    }
}

/// The answer on the wire.
pub fn response(answer: Answer, version: Version) -> Response<Full<Bytes>> {
    let mut kind = "application/json";
    let status = status(&answer);
    let body = match &answer {
        Answer::Accepted(id, _) => with_id(*id, "\"}"),
        Answer::Duplicate(id, _) => with_id(*id, "\",\"duplicate\":true}"),
        Answer::Challenge(text) => {
            kind = "text/plain; charset=utf-8";
            text.clone()
        }
        Answer::WrongToken => error("the verify token does not match"),
        Answer::Probe | Answer::Health(true) => Bytes::from_static(b"{\"ok\":true}"),
        Answer::Health(false) => error("webhooks are not taken now"),
        Answer::WrongHealthMethod => error("the health path is asked by GET"),
        Answer::NotFound => error("nothing is received here"),
        Answer::WrongMethod => error("webhooks are sent by POST"),
        Answer::Refused(why) => error(why),
        Answer::TooLarge => error("the body is too large"),
        Answer::TooSlow => error("the body did not come in time"),
        Answer::Broken | Answer::BrokenOff => error("the body could not be read"),
        Answer::LargeHead => error("the head is too large to wait for its body now"),
        Answer::NoHost => error("HTTP/1.1 wants exactly one Host header"),
        Answer::Unavailable => error("the webhook cannot be kept now"),
    };
    // These two statuses have no body, by definition.
    let is_bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    let mut response = Response::new(Full::new(if is_bare { Bytes::new() } else { body }));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if !is_bare {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    match answer {
        Answer::WrongMethod => drop(headers.insert(ALLOW, HeaderValue::from_static("POST, GET, HEAD"))),
        Answer::WrongHealthMethod => drop(headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"))),
        Answer::Unavailable | Answer::Health(false) => {
            drop(headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS)))
        }
        // On HTTP/2 only the stream ends, and the connection stays.
        Answer::TooLarge
        | Answer::TooSlow
        | Answer::Broken
        | Answer::BrokenOff
        | Answer::LargeHead
        | Answer::NoHost
            if version < Version::HTTP_2 =>
        {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

fn with_id(id: Uuid, rest: &str) -> Bytes {
    let mut text = [0; crate::ids::WHOLE];
    let mut body = Vec::with_capacity(64);
    body.extend_from_slice(b"{\"id\":\"");
    body.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
    body.extend_from_slice(rest.as_bytes());
    body.into()
}

/// `text` is ours and needs no escaping.
fn error(text: impl std::fmt::Display) -> Bytes {
    format!("{{\"error\":\"{text}\"}}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_slow_head_is_one_whole_response() {
        let text = std::str::from_utf8(SLOW_HEAD).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
