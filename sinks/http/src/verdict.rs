//! The table from an answer, or the lack of one, to an outcome. Pure: no clock, no I/O.
//!
//! What is unknown is Retry: the core bounds attempts, and a retry too many harms less than a loss. A detail never
//! holds more of the URL than host and port, nor a header or a byte of the answer's body.

use std::time::Duration;

use reqwest::StatusCode;
use sink_api::http::{HTTP_4XX, HTTP_5XX, HTTP_404, HTTP_408, HTTP_425, HTTP_429, PROTOCOL, REDIRECT, in_words};
use sink_api::{Outcome, Reason, code};

/// Gone: the receiver wants no more.
pub const GONE: &str = "gone";
/// The delivery was made for another host than the config names now, because it was held over a change of the config.
pub const STALE_TARGET: &str = "stale_target";

/// The outcome of a delivery that was answered.
pub fn of_status(status: StatusCode, after: Option<Duration>, url_is_constant: bool) -> Outcome {
    let retry = |code, detail| Outcome::Retry { after, why: Reason::new(code, detail) };
    let text = in_words(status);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, constant: bool) -> (&'static str, &'static str, String) {
        match of_status(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(9)), constant) {
            Outcome::Delivered => ("delivered", "", String::new()),
            Outcome::Retry { after, why } => {
                assert_eq!(after, Some(Duration::from_secs(9)), "{status}: the wish is passed on");
                ("retry", why.code, why.detail)
            }
            Outcome::Reject { why } => ("reject", why.code, why.detail),
            other => panic!("{other:?}"),
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
}
