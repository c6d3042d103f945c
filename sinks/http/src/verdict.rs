//! The table from an answer, or the lack of one, to an outcome. Pure: no clock, no I/O.
//!
//! What is unknown is Retry: the core bounds attempts, and a retry too many harms less than a loss. A detail never
//! holds more of the URL than host and port, nor a header or a byte of the answer's body.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use sink_api::{Outcome, Reason, code};

/// Request Timeout.
pub const HTTP_408: &str = "http_408";
/// Too Early.
pub const HTTP_425: &str = "http_425";
/// Too Many Requests.
pub const HTTP_429: &str = "http_429";
/// Not Found, at a URL that is the same for every event.
pub const HTTP_404: &str = "http_404";
/// Any other 4xx: the event's fault.
pub const HTTP_4XX: &str = "http_4xx";
/// Any 5xx.
pub const HTTP_5XX: &str = "http_5xx";
/// Gone: the receiver wants no more.
pub const GONE: &str = "gone";
/// A redirect that was not followed.
pub const REDIRECT: &str = "redirect";
/// The delivery was made for another host than the config names now, because it was held over a change of the config.
pub const STALE_TARGET: &str = "stale_target";
/// No valid answer: a final 1xx, or a status of 600 and more.
pub const PROTOCOL: &str = "protocol";

/// Longest wait passed on from `Retry-After` (the core honours less), so that no arithmetic overflows.
pub const MAX_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The outcome of a delivery that was answered.
pub fn of_status(status: StatusCode, after: Option<Duration>, url_is_constant: bool) -> Outcome {
    let retry = |code, detail| Outcome::Retry { after, why: Reason::new(code, detail) };
    let text = text(status);
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        300..=399 => retry(REDIRECT, format!("{text}, not followed: put the final address into `url`")),
        401 | 403 | 407 => retry(code::AUTH, text),
        404 if url_is_constant => retry(HTTP_404, text),
        408 => retry(HTTP_408, text),
        410 => retry(GONE, text),
        425 => retry(HTTP_425, text),
        429 => retry(HTTP_429, text),
        400..=499 => Outcome::reject(HTTP_4XX, text),
        500..=599 => retry(HTTP_5XX, text),
        _ => retry(PROTOCOL, format!("{text} is no answer")),
    }
}

/// `503 Service Unavailable`: in our own words, as the server's may hold anything.
fn text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// The wait a `Retry-After` asks for, in seconds or as an HTTP date in any of its three forms. A time that is past or
/// negative is zero, a text that cannot be read is no wish, and longer waits are cut to [`MAX_AFTER`].
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() < text.len() {
            return Some(Duration::ZERO);
        }
        let wait = Duration::from_secs(digits.parse().unwrap_or(u64::MAX)); // too many digits for u64: very long
        return Some(wait.min(MAX_AFTER));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(MAX_AFTER))
}

/// Why a delivery was not answered; names the host and the port.
pub fn of_error(error: &reqwest::Error) -> Reason {
    let (code, words) = if error.is_dns() {
        (code::DNS, "name not resolved")
    } else if is_tls(error) {
        (code::TLS, "TLS not agreed on")
    } else if error.is_connect() {
        (code::CONNECT, if error.is_timeout() { "no connection in time" } else { "no connection" })
    } else if error.is_timeout() {
        (code::TIMEOUT, "no answer in time")
    } else if error.is_redirect() {
        (REDIRECT, "redirect not understood")
    } else {
        (code::IO, "no answer that can be read")
    };
    let words = match error.url().and_then(place) {
        Some(place) => format!("{place}: {words}"),
        None => words.to_owned(),
    };
    Reason::new(code, causes(words, error))
}

/// `crm.example:443`: the one part of a URL that holds neither user-info nor what a template filled in.
fn place(url: &reqwest::Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// The causes below the error, which shows its URL and is therefore left out itself.
fn causes(words: String, error: &reqwest::Error) -> String {
    let mut all = words;
    let mut cause = error.source();
    while let Some(error) = cause {
        if !error.is::<reqwest::Error>() {
            all.push_str(": ");
            all.push_str(&error.to_string());
        }
        cause = error.source();
    }
    all
}

/// Whether the failure came from TLS: an error of rustls, or a connection that ended in the middle of the handshake.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        let cut =
            io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof && io.to_string().contains("handshake"));
        if cut || error.is::<rustls::Error>() {
            return true;
        }
        // The error that an io::Error wraps is not its source: `source` gives the wrapped error's own source.
        cause = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_768_345_500); // 2026-01-13T23:05:00Z

    fn after(value: &[u8]) -> Option<Duration> {
        retry_after(value, SystemTime::UNIX_EPOCH + NOW)
    }

    fn verdict(status: u16, constant: bool) -> (&'static str, &'static str, String) {
        match of_status(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(9)), constant) {
            Outcome::Delivered => ("delivered", "", String::new()),
            Outcome::Retry { after, why } => {
                assert_eq!(after, Some(Duration::from_secs(9)), "{status}: the wish is passed on");
                ("retry", why.code, why.detail)
            }
            Outcome::Reject { why } => ("reject", why.code, why.detail),
        }
    }

    #[test]
    fn every_status_has_its_row() {
        let rows: &[(std::ops::RangeInclusive<u16>, &str, &str)] = &[
            (100..=199, "retry", "protocol"),
            (200..=299, "delivered", ""),
            (300..=399, "retry", "redirect"),
            (400..=400, "reject", "http_4xx"),
            (401..=401, "retry", "auth"),
            (402..=402, "reject", "http_4xx"),
            (403..=403, "retry", "auth"),
            (404..=404, "retry", "http_404"),
            (405..=406, "reject", "http_4xx"),
            (407..=407, "retry", "auth"),
            (408..=408, "retry", "http_408"),
            (409..=409, "reject", "http_4xx"),
            (410..=410, "retry", "gone"),
            (411..=424, "reject", "http_4xx"),
            (425..=425, "retry", "http_425"),
            (426..=428, "reject", "http_4xx"),
            (429..=429, "retry", "http_429"),
            (430..=499, "reject", "http_4xx"),
            (500..=599, "retry", "http_5xx"),
            (600..=999, "retry", "protocol"),
        ];
        let mut seen = 0;
        for (range, outcome, code) in rows {
            for status in range.clone() {
                let got = verdict(status, true);
                assert_eq!((got.0, got.1), (*outcome, *code), "{status}");
                seen += 1;
            }
        }
        assert_eq!(seen, 900);
    }

    #[test]
    fn not_found_is_the_events_fault_only_where_the_event_made_the_url() {
        assert_eq!(verdict(404, true), ("retry", "http_404", "404 Not Found".to_owned()));
        assert_eq!(verdict(404, false), ("reject", "http_4xx", "404 Not Found".to_owned()));
    }

    #[test]
    fn a_detail_names_the_status_in_our_own_words() {
        assert_eq!(verdict(400, true).2, "400 Bad Request");
        assert_eq!(verdict(599, true).2, "599");
    }

    #[test]
    fn of_a_url_host_and_port_are_told_and_nothing_else() {
        for (url, told) in [
            ("https://u:secret@crm.example/a?b=secret", Some("crm.example:443")),
            ("http://[::1]:4007/secret", Some("[::1]:4007")),
            ("data:secret", None),
        ] {
            assert_eq!(place(&reqwest::Url::parse(url).unwrap()).as_deref(), told);
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(after(b"120"), Some(Duration::from_secs(120)));
        assert_eq!(after(b" 0 "), Some(Duration::ZERO));
        assert_eq!(after(b"-5"), Some(Duration::ZERO));
        assert_eq!(after(b"99999999999999999999999999"), Some(MAX_AFTER));
    }

    #[test]
    fn retry_after_is_read_as_a_date_in_all_three_forms() {
        let wait = Some(Duration::from_secs(90));
        assert_eq!(after(b"Tue, 13 Jan 2026 23:06:30 GMT"), wait);
        assert_eq!(after(b"Tuesday, 13-Jan-26 23:06:30 GMT"), wait);
        assert_eq!(after(b"Tue Jan 13 23:06:30 2026"), wait);
        assert_eq!(after(b"Tue, 13 Jan 2026 23:04:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after(b"Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_AFTER));
    }

    #[test]
    fn a_retry_after_that_cannot_be_read_is_no_wish() {
        for bad in [&b""[..], b"-", b"soon", b"1.5", b"+5", b"\xff\xfe", b"Tue, 13 Jan 2026", b"5 5"] {
            assert_eq!(after(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn no_bytes_make_retry_after_panic() {
        // A xorshift generator: the same bytes in every run.
        let (mut state, date) = (0x9E37_79B9_7F4A_7C15_u64, b"Tue, 13 Jan 2026 23:06:30 GMT");
        for round in 0..20_000 {
            let mut bytes = date.to_vec();
            for _ in 0..=(round % 4) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = usize::try_from(state % 29).unwrap();
                bytes[at] = state.to_le_bytes()[5];
            }
            assert!(after(&bytes).is_none_or(|wait| wait <= MAX_AFTER));
        }
    }
}
