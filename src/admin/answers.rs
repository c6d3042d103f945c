//! Makes answers: bodies, statuses, and the headers that all of them have.

use std::convert::Infallible;
use std::io::Read as _;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use schemars::JsonSchema;
use serde::Serialize;

use super::Refusal;
use super::doors::Denied;
use super::sending::{SendDone, SendState};
use crate::page::File;

/// An answer, whose body may be a stream.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a gzip file begins with (RFC 1952, section 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];

/// A browser is to keep to what it is told: no other media type, no frame around it, nothing of other origins, no word
/// to them of where somebody was (Fetch, W3C CSP 3 and Referrer Policy).
const HARDENING: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
];
/// What the page may load.
const PAGE_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// What anything else may load, should a browser take it for a page.
const OTHER_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let (status, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (status, bytes),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    whole(status, HeaderValue::from_static("application/json"), bytes.into())
}

/// Text of that media type.
pub(super) fn text(kind: HeaderValue, body: String) -> Answer {
    whole(StatusCode::OK, kind, body.into())
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default().boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// The body of every answer that refuses.
#[derive(Serialize, JsonSchema)]
pub(super) struct Refused {
    /// Why, for people.
    pub error: String,
}

/// Why something was not done.
pub(super) fn error(status: StatusCode, why: &str) -> Answer {
    json(status, &Refused { error: why.to_owned() })
}

/// Why the daemon refuses.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    let status = match refusal {
        Refusal::Question(_) => StatusCode::BAD_REQUEST,
        Refusal::Missing(_) => StatusCode::NOT_FOUND,
        Refusal::Config(_) | Refusal::Reused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer = error(status, &refusal.to_string());
    if status == StatusCode::TOO_MANY_REQUESTS {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    answer
}

/// Why somebody may not ask.
pub(super) fn denied(denied: Denied) -> Answer {
    let (status, why) = match denied {
        Denied::NoToken => (StatusCode::UNAUTHORIZED, "the token of [admin] is missing or wrong"),
        Denied::TooOften(_) => {
            (StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens came from your address; try again in a minute")
        }
        Denied::OtherSite => (StatusCode::FORBIDDEN, "a page of another site may not ask this: the Origin is not ours"),
        Denied::ReadOnly => (StatusCode::FORBIDDEN, "nothing can be changed here: [admin] read_only is set"),
    };
    let mut answer = error(status, why);
    match denied {
        // RFC 9110, section 15.5.2, and RFC 6750, section 3.
        Denied::NoToken => {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Denied::TooOften(wait) => {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        Denied::OtherSite | Denied::ReadOnly => {}
    }
    answer
}

/// What came of a message that was to be sent: its status says, too, how far it has come.
pub(super) fn sent(done: &SendDone) -> Answer {
    let status = match done.state {
        SendState::Sent => StatusCode::CREATED,
        SendState::Waiting => StatusCode::ACCEPTED,
        SendState::Refused | SendState::Skipped => StatusCode::UNPROCESSABLE_ENTITY,
    };
    json(status, done)
}

/// Done, with a cookie to be set.
pub(super) fn with_cookie(cookie: Option<HeaderValue>) -> Answer {
    let mut answer = empty(StatusCode::NO_CONTENT);
    if let Some(cookie) = cookie {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// A file of the page: nothing where the browser has it already, compressed where the browser takes that.
///
/// # Errors
/// The file cannot be decompressed.
pub(super) fn file(file: &File, asked: &HeaderMap) -> Result<Answer, Refusal> {
    let tag = format!("\"{}\"", file.etag);
    let has_it =
        values(asked, &header::IF_NONE_MATCH).any(|known| known.trim_start_matches("W/") == tag || known == "*");
    let is_compressed = file.bytes.starts_with(GZIP);
    let mut answer = if has_it {
        empty(StatusCode::NOT_MODIFIED)
    } else if is_compressed && !takes_gzip(asked) {
        let mut plain = Vec::new();
        let read = flate2::read::GzDecoder::new(file.bytes).read_to_end(&mut plain);
        read.map_err(|error| Refusal::Unable(format!("a file of the page is damaged: {error}")))?;
        whole(StatusCode::OK, HeaderValue::from_static(file.media_type), plain.into())
    } else {
        let mut answer =
            whole(StatusCode::OK, HeaderValue::from_static(file.media_type), Bytes::from_static(file.bytes));
        if is_compressed {
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    };
    let headers = answer.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // The names of files do not change with what is in them, so a browser asks whether they have.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    Ok(answer)
}

/// Adds the headers that every answer has, unless it has its own.
pub(super) fn harden(answer: &mut Answer) {
    let headers = answer.headers_mut();
    for (name, value) in HARDENING {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    let mut unless_there = |name: HeaderName, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    unless_there(header::CACHE_CONTROL, "no-store");
    unless_there(header::CONTENT_SECURITY_POLICY, OTHER_POLICY);
}

fn whole(status: StatusCode, kind: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// Whether `Accept-Encoding` takes gzip (RFC 9110, section 12.5.3): named, or by `*`, and not with the weight 0.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let mut any = false;
    for coding in values(asked, &header::ACCEPT_ENCODING) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches("q=");
        let is_taken = weight.is_empty() || weight.parse().is_ok_and(|weight: f32| weight > 0.0);
        match name.trim() {
            "gzip" | "x-gzip" => return is_taken,
            "*" => any = is_taken,
            _ => {}
        }
    }
    any
}

/// The elements of a header that is a list.
fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: File = File { media_type: "text/css", bytes: b"a", etag: "1" };
    /// `a`, by gzip.
    const PACKED: File = File {
        media_type: "text/css",
        bytes: &[31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 75, 4, 0, 67, 190, 183, 232, 1, 0, 0, 0],
        etag: "2",
    };

    fn with(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    async fn body(answer: Answer) -> Vec<u8> {
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_file_is_compressed_where_that_is_taken_and_sent_once() {
        let encoding = |value| with(&[(header::ACCEPT_ENCODING, value)]);
        for (accept, packed) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("*", true),
            ("*, gzip;q=0", false),
            ("identity", false),
        ] {
            let answer = file(&PACKED, &encoding(accept)).unwrap();
            assert_eq!(answer.headers().contains_key(header::CONTENT_ENCODING), packed, "{accept}");
            assert_eq!(body(answer).await == b"a", !packed, "{accept}");
            assert_eq!(body(file(&PLAIN, &encoding(accept)).unwrap()).await, b"a");
        }
        for (known, status) in [("\"1\"", 304), ("W/\"1\"", 304), ("\"0\", \"1\"", 304), ("\"2\"", 200), ("1", 200)] {
            let answer = file(&PLAIN, &with(&[(header::IF_NONE_MATCH, known)])).unwrap();
            assert_eq!(answer.status().as_u16(), status, "{known}");
            assert_eq!(answer.headers()[header::ETAG], "\"1\"");
        }
    }

    #[test]
    fn an_answer_is_kept_by_nobody_and_framed_by_nobody_unless_it_says_so() {
        let mut answers = [json(StatusCode::OK, &1), file(&PLAIN, &HeaderMap::new()).unwrap()];
        answers.iter_mut().for_each(harden);
        let of = |index: usize, name| answers[index].headers()[name].to_str().unwrap();
        assert_eq!((of(0, "cache-control"), of(1, "cache-control")), ("no-store", "no-cache"));
        for (index, source) in [(0, "default-src 'none'"), (1, "default-src 'self'")] {
            let policy = of(index, "content-security-policy");
            assert!(policy.contains(source) && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!((of(index, "x-content-type-options"), of(index, "referrer-policy")), ("nosniff", "no-referrer"));
        }
    }
}
