//! Every status has its row, and every way to fail.

use super::*;
use crate::request::check;

const PAYLOAD: &[u8] = br#"{"fullPhoneNumber":"919876543210","type":"Text","data":{"message":"BODY-TEXT"}}"#;
const TAKEN: &[u8] = br#"{"result":true,"message":"Message created successfully","id":"m-1"}"#;
const WAIT: Option<Duration> = Some(Duration::from_secs(9));

fn row(status: u16, body: Body<'_>) -> (String, &'static str, Reason) {
    let request = check(PAYLOAD).unwrap();
    let (end, outcome) = of_answer(StatusCode::from_u16(status).unwrap(), WAIT, body, &request);
    let none = Reason::new("", "");
    let (outcome, why) = match outcome {
        Outcome::Delivered => ("delivered", none),
        Outcome::Retry { after, why } => {
            assert_eq!(after, WAIT, "{status}: the wish is passed on");
            ("retry", why)
        }
        Outcome::Reject { why } => ("reject", why),
        other => panic!("{other:?}"),
    };
    let end = match end {
        End::Sent { message } => format!("sent {}", message.as_deref().unwrap_or("without an id")),
        End::NotSent => "not sent".to_owned(),
        End::Unknown => "unknown".to_owned(),
    };
    assert!(!why.detail.contains("BODY-TEXT") && !why.detail.contains("9876543210"), "{why}");
    (end, outcome, why)
}

#[test]
fn every_status_has_its_row_whatever_is_said_with_it() {
    let rows: &[(std::ops::RangeInclusive<u16>, &str, &str, &str)] = &[
        (100..=199, "unknown", "retry", "protocol"),
        (200..=299, "unknown", "retry", "bad_answer"),
        (300..=399, "not sent", "retry", "redirect"),
        (400..=400, "not sent", "reject", "http_4xx"),
        (401..=401, "not sent", "retry", "auth"),
        (402..=402, "not sent", "reject", "http_4xx"),
        (403..=403, "not sent", "retry", "auth"),
        (404..=404, "not sent", "retry", "http_404"),
        (405..=406, "not sent", "reject", "http_4xx"),
        (407..=407, "not sent", "retry", "auth"),
        (408..=408, "not sent", "retry", "http_408"),
        (409..=424, "not sent", "reject", "http_4xx"),
        (425..=425, "not sent", "retry", "http_425"),
        (426..=428, "not sent", "reject", "http_4xx"),
        (429..=429, "not sent", "retry", "http_429"),
        (430..=499, "not sent", "reject", "http_4xx"),
        (500..=501, "not sent", "retry", "http_5xx"),
        (502..=502, "unknown", "retry", "http_5xx"),
        // With a wish how long to wait, as all have here.
        (503..=503, "not sent", "retry", "http_5xx"),
        (504..=599, "unknown", "retry", "http_5xx"),
        (600..=999, "unknown", "retry", "protocol"),
    ];
    let mut seen = 0;
    for (range, end, outcome, code) in rows {
        for status in range.clone() {
            for body in [Body::Whole(b"plain text"), Body::Whole(b""), Body::Large(b"x"), Body::Whole(b"{\"a\":1}")] {
                let (got, became, why) = row(status, body);
                assert_eq!((got.as_str(), became, why.code), (*end, *outcome, *code), "{status}");
                assert_eq!(why.detail.contains("may be on its way"), *end == "unknown", "{status}: {why}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 900);
}

#[test]
fn a_message_is_taken_where_the_api_says_so_with_any_good_status() {
    for status in [200, 201, 202, 299] {
        assert_eq!(row(status, Body::Whole(TAKEN)).0, "sent m-1", "{status}");
        assert_eq!(row(status, Body::Whole(TAKEN)).1, "delivered", "{status}");
        let (end, outcome, _) = row(status, Body::Whole(br#"{"result":true}"#));
        assert_eq!((end.as_str(), outcome), ("sent without an id", "delivered"), "its statuses will say it");
        let (end, outcome, why) = row(status, Body::Whole(br#"{"result":false,"message":"Not now"}"#));
        assert_eq!((end.as_str(), outcome, why.code), ("not sent", "retry", "not_taken"));
        assert!(why.detail.contains("Not now"), "{why}");
    }
    for status in [500, 502, 504, 599] {
        let (end, outcome, _) = row(status, Body::Whole(br#"{"result":false,"message":"Not now"}"#));
        assert_eq!((end.as_str(), outcome), ("not sent", "retry"), "{status}: it is the API that says so");
    }
    for status in [400, 500, 302] {
        assert_ne!(row(status, Body::Whole(TAKEN)).1, "delivered", "{status}");
    }
    for status in [500, 501] {
        assert_eq!(row(status, Body::Whole(TAKEN)).0, "unknown", "{status}: the API says that it took the message");
    }
}

#[test]
fn a_503_that_asks_for_no_wait_leaves_open_whether_the_message_was_taken() {
    let request = check(PAYLOAD).unwrap();
    let ended = |body: &[u8]| of_answer(StatusCode::SERVICE_UNAVAILABLE, None, Body::Whole(body), &request).0;
    assert_eq!(ended(b"upstream connect error"), End::Unknown);
    assert_eq!(ended(br#"{"result":false,"message":"Not now"}"#), End::NotSent);
}

#[test]
fn a_good_answer_that_was_cut_off_is_a_lost_one_and_any_other_is_what_its_status_says() {
    for begun in [&b""[..], b"{\"result\":tr", TAKEN] {
        let (end, outcome, why) = row(201, Body::Cut(begun));
        assert_eq!((end.as_str(), outcome, why.code), ("unknown", "retry", "io"));
        for (status, expected) in [(400, "reject"), (429, "retry"), (500, "retry")] {
            let (end, outcome, _) = row(status, Body::Cut(begun));
            assert_eq!((end.as_str(), outcome), ("not sent", expected), "{status}");
        }
    }
}

#[test]
fn a_refusal_says_what_interakt_says_and_the_way_out_where_it_is_known() {
    for (status, message, code, words) in [
        (400, "No approved template found with name 'x' and language 'en'", "no_template", "in the same case"),
        (404, "No approved template found with name 'x' and language 'en'", "no_template", "in the same case"),
        (400, "Missing variable values for template's body", "missing_variables", "one value for each"),
        (422, "Template category mismatch", "wrong_category", "`template_category`"),
        (400, "Only inside 24 hours", "http_4xx", "Bad Request: Interakt says"),
    ] {
        let body = serde_json::json!({"result": false, "message": message}).to_string();
        let (end, outcome, why) = row(status, Body::Whole(body.as_bytes()));
        assert_eq!((end.as_str(), outcome, why.code), ("not sent", "reject", code), "{message}");
        assert!(why.detail.contains(message) && why.detail.contains(words), "{why}");
        assert_eq!(why.answer.unwrap().text(), body, "the whole is there for `keep_answer`");
    }
    let echo = br#"{"result":false,"message":"+919876543210 is not 'BODY-TEXT'"}"#;
    assert!(row(400, Body::Whole(echo)).2.detail.contains("\"+*** is not '***'\""));
    let (.., why) = row(400, Body::Whole(br#"{"result":false}"#));
    assert!(why.detail.contains("does not say why"), "{why}");
}
