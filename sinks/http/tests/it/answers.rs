//! What every kind of answer, and every kind of none, becomes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sink_api::{Outcome, Reason};
use sink_testkit::event;

use crate::kit::{after, open, retry};
use sink_testkit::http::{HttpServer, Reply, Seen, Then};

/// Enough for an answer, little enough to wait for where none comes.
const SHORT: Duration = Duration::from_millis(300);

async fn outcome_of(reply: Reply) -> Outcome {
    let server = HttpServer::always(reply).await;
    open(&format!("url = \"{}\"", server.url("/hook"))).await.one(event("t")).await
}

fn bytes(text: &str, then: Then) -> Reply {
    Reply::Bytes(text.as_bytes().to_vec(), then)
}

#[tokio::test]
async fn statuses_on_the_wire_get_their_verdicts() {
    for status in [200, 201, 202, 204, 299] {
        assert_eq!(outcome_of(Reply::Status(status)).await, Outcome::Delivered, "{status}");
    }
    for (status, code) in [(401, "auth"), (404, "http_404"), (410, "gone"), (429, "http_429"), (503, "http_5xx")] {
        assert_eq!(retry(&outcome_of(Reply::Status(status)).await), code, "{status}");
    }
    let why = Reason::new("http_4xx", "400 Bad Request");
    assert_eq!(outcome_of(Reply::Status(400)).await, Outcome::Reject { why });
}

#[tokio::test]
async fn not_found_at_a_templated_url_rejects_the_event() {
    let server = HttpServer::always(Reply::Status(404)).await;
    let sink = open(&format!("url = \"{}\"", server.url("/{type}"))).await;
    assert_eq!(sink.one(event("t")).await, Outcome::reject("http_4xx", "404 Not Found"));
}

#[tokio::test]
async fn the_wait_a_server_asks_for_is_passed_on() {
    let with = |value: &str| Reply::With(503, vec![("Retry-After", value.to_owned())]);
    assert_eq!(after(&outcome_of(with("17")).await), Some(Duration::from_secs(17)));
    assert_eq!(after(&outcome_of(with("Sun, 06 Nov 1994 08:49:37 GMT")).await), Some(Duration::ZERO));
    assert_eq!(after(&outcome_of(with("Fri, 31 Dec 9999 23:59:59 GMT")).await), Some(Duration::from_secs(86_400)));
    assert_eq!(after(&outcome_of(with("whenever")).await), None);
    let asked = Reply::With(401, vec![("Retry-After", "5".to_owned())]);
    assert_eq!(after(&outcome_of(asked).await), Some(Duration::from_secs(5)));
}

#[tokio::test]
async fn answers_that_are_none_are_retried() {
    for (what, reply) in [
        ("closed at once", bytes("", Then::Close)),
        ("reset at once", bytes("", Then::Reset)),
        ("garbage", bytes("\u{0}\u{1}\u{ff} not HTTP at all\r\n\r\n", Then::Close)),
        ("another protocol", bytes("SSH-2.0-OpenSSH_9.9\r\n", Then::Close)),
        ("closed in the head", bytes("HTTP/1.1 200 OK\r\ncontent-le", Then::Close)),
        ("reset in the head", bytes("HTTP/1.1 200 OK\r\ncontent-le", Then::Reset)),
        ("two lengths", bytes("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Then::Close)),
        ("no such status", bytes("HTTP/1.1 99 No\r\n\r\n", Then::Close)),
    ] {
        assert_eq!(retry(&outcome_of(reply).await), "io", "{what}");
    }
    assert_eq!(retry(&outcome_of(bytes("HTTP/1.1 999 Huh\r\n\r\n", Then::Close)).await), "protocol");
}

#[tokio::test]
async fn a_target_that_says_nothing_times_out_within_the_deadline() {
    for reply in [bytes("", Then::Hang), bytes("HTTP/1.1 200 OK\r\n", Then::Hang)] {
        let server = HttpServer::always(reply).await;
        let sink = open(&format!("url = \"{}\"", server.url("/"))).await;
        let slots = sink.within(SHORT, [event("a"), event("b")]).await;
        assert_eq!(retry(slots[0].as_ref().unwrap()), "timeout");
        assert_eq!(slots[1], None, "no time was left for the second");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing() {
    let server = HttpServer::always(Reply::Status(200)).await;
    let sink = open(&format!("url = \"{}\"", server.url("/"))).await;
    assert_eq!(sink.within(Duration::ZERO, [event("a")]).await, [None]);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_a_connect_failure() {
    let server = HttpServer::always(Reply::Status(200)).await;
    server.stop().await;
    let sink = open(&format!("url = \"{}\"", server.url("/"))).await;
    assert_eq!(retry(&sink.one(event("t")).await), "connect");
    assert_eq!(sink.sink.probe().await.unwrap_err().code, "connect");
}

#[tokio::test]
async fn a_name_nobody_has_is_a_dns_failure() {
    // RFC 6761: names under .invalid never resolve.
    let sink = open("url = \"http://hookrelay.invalid/hook?token=s3cret\"").await;
    let Outcome::Retry { why, .. } = sink.one(event("t")).await else { panic!("expected Retry") };
    assert_eq!(why.code, "dns");
    assert!(!why.detail.contains("s3cret") && !why.detail.contains("/hook"), "{why}");
}

#[tokio::test]
async fn what_was_answered_2xx_is_delivered_whatever_becomes_of_the_rest() {
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (what, reply) in [
        ("cut short", bytes(long, Then::Close)),
        ("reset", bytes(long, Then::Reset)),
        ("stalled", bytes(long, Then::Hang)),
        ("huge", bytes("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", Then::Flood)),
        ("endless", bytes("HTTP/1.1 200 OK\r\n\r\n", Then::Flood)),
        ("garbage for chunks", bytes(&format!("{chunked}zzz\r\n"), Then::Close)),
    ] {
        assert_eq!(outcome_of(reply).await, Outcome::Delivered, "{what}");
    }
}

#[tokio::test]
async fn an_answer_within_max_response_leaves_the_connection_for_the_next_request() {
    let length = 4 << 20; // far more than the client reads ahead
    let body = "y".repeat(length);
    let sized = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (answer, max_response, connections) in
        [(&sized, length, 1), (&sized, 1000, 3), (&chunked, length, 1), (&chunked, 1000, 3)]
    {
        let server = HttpServer::always(bytes(answer, Then::Keep)).await;
        let sink = open(&format!("url = \"{}\"\nmax_response = {max_response}", server.url("/"))).await;
        for _ in 0..3 {
            assert_eq!(sink.one(event("t")).await, Outcome::Delivered);
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), connections, "max_response = {max_response}");
    }
}

#[tokio::test]
async fn a_detail_shows_no_byte_of_the_answer_nor_of_the_url() {
    let answer = "HTTP/1.1 500 SECRET-REASON\r\nx: SECRET-HEADER\r\ncontent-length: 11\r\n\r\nSECRET-BODY";
    for reply in [bytes(answer, Then::Close), bytes("SECRET GARBAGE\r\n\r\n", Then::Close)] {
        let server = HttpServer::always(reply).await;
        let sink = open(&format!("url = \"{}\"", server.url("/SECRET-PATH?token=SECRET-QUERY"))).await;
        let Outcome::Retry { why, .. } = sink.one(event("t")).await else { panic!("expected Retry") };
        assert!(!why.detail.contains("SECRET"), "{why}");
    }
}

#[tokio::test]
async fn a_batch_goes_one_by_one_and_stops_a_key_that_failed() {
    let script = |request: &Seen| Reply::Status(if request.line.contains("/bad") { 400 } else { 200 });
    let server = HttpServer::start(script).await;
    let sink = open(&format!("url = \"{}\"", server.url("/{type}"))).await;
    let events = [event("a").key("k"), event("bad").key("k"), event("c").key("k"), event("d").key("other")];
    let slots = sink.deliver(events).await;
    assert_eq!(slots[0], Some(Outcome::Delivered));
    assert!(matches!(slots[1], Some(Outcome::Reject { .. })), "{slots:?}");
    assert_eq!((&slots[2], &slots[3]), (&None, &Some(Outcome::Delivered)));
    let paths: Vec<String> = server.seen().iter().map(|s| s.line.clone()).collect();
    assert_eq!(paths, ["POST /a HTTP/1.1", "POST /bad HTTP/1.1", "POST /d HTTP/1.1"]);
}

#[tokio::test]
async fn a_probe_delivers_nothing_and_shows_no_credentials() {
    for (reply, fine) in [(Reply::Status(404), true), (Reply::Status(500), true), (Reply::Status(502), false)] {
        let server = HttpServer::always(reply).await;
        let sink = open(&format!("url = \"{}\"\nbearer = \"token\"", server.url("/hook?token=x"))).await;
        assert_eq!(sink.sink.probe().await.is_ok(), fine);
        let request = server.only();
        assert_eq!(request.line, "HEAD / HTTP/1.1");
        assert_eq!((request.header("authorization"), request.body.len()), (None, 0));
    }
}
