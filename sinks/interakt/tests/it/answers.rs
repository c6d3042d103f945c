//! What every kind of answer, and every kind of none, becomes, and what the outbox is told of it.

use std::time::Duration;

use sink_api::Outcome;
use sink_api::outbox::End;
use sink_testkit::http::{HttpServer, Reply, Then};
use tokio::net::TcpListener;

use crate::kit::{Open, message, open, retry};

/// Little enough to wait for where no answer comes.
const SHORT: Duration = Duration::from_millis(400);

fn bytes(text: &str, then: Then) -> Reply {
    Reply::Bytes(text.as_bytes().to_vec(), then)
}

/// An answer with this body.
fn answer(status: u16, body: &str) -> Reply {
    bytes(&format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()), Then::Keep)
}

/// What one delivery comes to, and what the outbox is told; within so much time, where that is given.
async fn of(sink: &Open, time: Option<Duration>) -> (Outcome, Vec<End>) {
    let outcome = sink.deliver(&sink.delivery(message()), time).await;
    (outcome, sink.outbox.ends())
}

async fn of_reply(reply: Reply) -> (Outcome, Vec<End>) {
    let hangs = matches!(reply, Reply::Bytes(_, Then::Hang));
    let server = HttpServer::always(reply).await;
    of(&open(&server.url("/v1"), "").await, hangs.then_some(SHORT)).await
}

#[tokio::test]
async fn a_message_that_was_taken_is_delivered_and_its_id_told() {
    for status in [200, 201, 202] {
        let taken = answer(status, r#"{"result":true,"message":"Message created successfully","id":"m-1"}"#);
        let sent = End::Sent { message: Some("m-1".to_owned()) };
        assert_eq!(of_reply(taken).await, (Outcome::Delivered, vec![sent]));
    }
    let no_id = answer(201, r#"{"result":true}"#);
    assert_eq!(of_reply(no_id).await, (Outcome::Delivered, vec![End::Sent { message: None }]));
}

#[tokio::test]
async fn a_call_that_the_api_did_not_take_is_told_as_not_sent() {
    for (reply, code) in [
        (answer(200, r#"{"result":false,"message":"No"}"#), "not_taken"),
        (answer(429, r#"{"result":false,"message":"Rate limit exceeded for this resource"}"#), "http_429"),
        (Reply::With(503, vec![("Retry-After", "7".to_owned())]), "http_5xx"),
        (answer(500, "<h1>Server Error (500)</h1>"), "http_5xx"),
        (answer(502, r#"{"result":false,"message":"No"}"#), "http_5xx"),
        (answer(401, ""), "auth"),
        (answer(403, r#"{"result":false,"message":"Forbidden"}"#), "auth"),
        (answer(404, "{\"detail\":\"Not found.\"}"), "http_404"),
        (Reply::With(307, vec![("Location", "/elsewhere".to_owned())]), "redirect"),
    ] {
        let (outcome, ends) = of_reply(reply.clone()).await;
        assert_eq!((retry(&outcome).code, ends), (code, vec![End::NotSent]), "{reply:?}");
    }
    let (outcome, ends) = of_reply(answer(400, r#"{"result":false,"message":"No approved template found"}"#)).await;
    let Outcome::Reject { why } = outcome else { panic!("expected Reject, got {outcome:?}") };
    assert_eq!((why.code, ends), ("no_template", vec![End::NotSent]));
}

#[tokio::test]
async fn an_answer_that_is_not_the_apis_own_is_told_as_unknown() {
    for (reply, code) in [
        (answer(201, "{\"result\":tr"), "bad_answer"),
        (answer(200, "<html>Sign in to the network</html>"), "bad_answer"),
        (answer(204, ""), "bad_answer"),
        (answer(201, &"x".repeat(100 << 10)), "bad_answer"),
        (answer(502, "<h1>502 Bad Gateway</h1>"), "http_5xx"),
        (answer(504, ""), "http_5xx"),
        (answer(524, "a timeout occurred"), "http_5xx"),
    ] {
        let (outcome, ends) = of_reply(reply.clone()).await;
        let why = retry(&outcome);
        assert_eq!((why.code, ends), (code, vec![End::Unknown]), "{reply:?}");
        assert!(why.detail.contains("may be on its way"), "{why}");
    }
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_passed_on() {
    for status in [429, 500, 401, 302] {
        let (outcome, _) = of_reply(Reply::With(status, vec![("Retry-After", "17".to_owned())])).await;
        let Outcome::Retry { after, .. } = outcome else { panic!("expected Retry, got {outcome:?}") };
        assert_eq!(after, Some(Duration::from_secs(17)), "{status}");
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_is_told_as_unknown() {
    let begun = "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"result\":true,";
    let chunked = "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"res\r\n";
    for (what, reply, codes) in [
        ("closed at once", bytes("", Then::Close), &["io"][..]),
        ("reset at once", bytes("", Then::Reset), &["io"]),
        ("silence", bytes("", Then::Hang), &["timeout"]),
        ("silence in the head", bytes("HTTP/1.1 201 Cre", Then::Hang), &["timeout"]),
        ("closed in the head", bytes("HTTP/1.1 201 Cre", Then::Close), &["io"]),
        ("reset in the head", bytes("HTTP/1.1 201 Cre", Then::Reset), &["io"]),
        ("not HTTP", bytes("SSH-2.0-OpenSSH_9.9\r\n", Then::Close), &["io"]),
        ("closed in the body", bytes(begun, Then::Close), &["io"]),
        ("reset in the body", bytes(begun, Then::Reset), &["io"]),
        ("silence in the body", bytes(begun, Then::Hang), &["io", "timeout"]),
        ("closed in a chunked body", bytes(chunked, Then::Close), &["io"]),
    ] {
        let (outcome, ends) = of_reply(reply).await;
        assert_eq!(ends, [End::Unknown], "{what}: {outcome:?}");
        let why = retry(&outcome);
        assert!(codes.contains(&why.code) && why.detail.contains("may be on its way"), "{what}: {why}");
    }
}

#[tokio::test]
async fn where_no_connection_came_about_nothing_was_sent() {
    let server = HttpServer::always(Reply::Status(200)).await;
    server.stop().await;
    let nobody = open(&server.url("/v1"), "").await;
    // RFC 6761: names under .invalid never resolve.
    let no_name = open("https://hookrelay.invalid/v1", "").await;
    for (sink, code) in [(&nobody, "connect"), (&no_name, "dns")] {
        let (outcome, ends) = of(sink, None).await;
        assert_eq!((retry(&outcome).code, ends), (code, vec![End::NotSent]));
        assert!(sink.sink.probe().await.is_err());
    }
}

#[tokio::test]
async fn where_tls_is_not_agreed_on_nothing_was_sent() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = open(&format!("https://{}/v1", plain.local_addr().unwrap()), "").await;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
        }
    });
    let (outcome, ends) = of(&sink, None).await;
    assert_eq!((retry(&outcome).code, ends), ("tls", vec![End::NotSent]));
    task.abort();
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_in_time_sent_nothing() {
    // Its queue of connections is full: who comes then is left waiting.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let addr = full.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(addr)).await {
        held.push(stream);
    }
    let sink = open(&format!("http://{addr}/v1"), "connect_timeout = \"100ms\"").await;
    let (outcome, ends) = of(&sink, None).await;
    assert_eq!((retry(&outcome).code, ends), ("connect", vec![End::NotSent]));
}

#[tokio::test]
async fn a_probe_sends_no_message_and_does_not_show_the_key() {
    for (reply, fine) in [(Reply::Status(404), true), (Reply::Status(401), true), (Reply::Status(502), false)] {
        let server = HttpServer::always(reply).await;
        let sink = open(&server.url("/v1"), "").await;
        assert_eq!(sink.sink.probe().await.is_ok(), fine);
        let request = server.only();
        assert_eq!(request.line, "HEAD / HTTP/1.1");
        assert_eq!((request.header("authorization"), request.body.len()), (None, 0));
        let dir = tempfile::tempdir().unwrap();
        let said = sink.config.inspect(&sink_testkit::context("x", dir.path())).await;
        assert_eq!(said.is_ok_and(|said| said.unwrap().contains("only a message can tell")), fine);
        assert!(server.seen().iter().all(|seen| seen.line.starts_with("HEAD ")));
    }
}
