//! What is on the wire, and what is not.

use std::time::Duration;

use sink_api::{CallId, Origin, Outcome, Target};
use sink_testkit::http::{HttpServer, Reply, Seen, Then};
use sink_testkit::{batch, event};

use crate::kit::{KEY, body, config, message, open};

const TAKEN: &str = "HTTP/1.1 201 Created\r\ncontent-length: 26\r\n\r\n{\"result\":true,\"id\":\"m-1\"}";

async fn taking() -> HttpServer {
    HttpServer::always(Reply::Bytes(TAKEN.as_bytes().to_vec(), Then::Keep)).await
}

/// `callbackData` of a call.
fn called_back(seen: &Seen) -> String {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    body["callbackData"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_call_is_a_post_of_the_payload_with_the_key_and_its_origin() {
    for slash in ["", "/"] {
        let server = taking().await;
        let sink = open(&server.url(&format!("/v1{slash}")), "").await;
        let delivery = sink.delivery(message().time("2026-01-13T23:05:00Z").delivery_id("d-1"));
        assert_eq!(sink.deliver(&delivery, None).await, Outcome::Delivered);
        let seen = server.only();
        assert_eq!(seen.line, "POST /v1/public/message/ HTTP/1.1");
        assert_eq!(seen.header("authorization"), Some(format!("Basic {KEY}").as_str()));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert!(seen.header("user-agent").unwrap().starts_with("hookrelay/"), "{seen:?}");
        let call = CallId::of("whatsapp", "d-1");
        let origin = Origin { call, attempt: 0, since: 1_768_345_500, of: String::new() };
        assert_eq!(Origin::read(&called_back(&seen)), Some((origin, "own text")));
        let sent = String::from_utf8(seen.body).unwrap();
        let others = body("then_nothing", "own text").replace(r#""callbackData":"own text","#, "");
        assert!(sent.starts_with(others.trim_end_matches('}')), "{sent}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_key_goes_nowhere_else() {
    let thief = taking().await;
    for status in [301, 302, 307, 308] {
        let to = thief.url("/v1/public/message/");
        let server = HttpServer::always(Reply::With(status, vec![("Location", to)])).await;
        let outcome = open(&server.url("/v1"), "").await.one(message()).await;
        assert!(matches!(&outcome, Outcome::Retry { why, .. } if why.code == "redirect"), "{outcome:?}");
    }
    assert!(thief.seen().is_empty());
}

#[tokio::test]
async fn messages_of_a_batch_go_one_by_one_and_a_key_that_failed_stops() {
    let server = HttpServer::start(|seen| match String::from_utf8_lossy(&seen.body).contains("\"bad\"") {
        true => Reply::Status(500),
        false => Reply::Bytes(TAKEN.as_bytes().to_vec(), Then::Keep),
    })
    .await;
    let sink = open(&server.url("/v1"), "").await;
    let of = |template: &str, key: &str| sink.delivery(event("t").json(body(template, "")).key(key));
    let slots = sink.sink.deliver(&batch([of("a", "k"), of("bad", "k"), of("c", "k"), of("d", "other")])).await;
    let slots = slots.into_slots();
    assert_eq!((&slots[0], &slots[3]), (&Some(Outcome::Delivered), &Some(Outcome::Delivered)));
    assert!(matches!(&slots[1], Some(Outcome::Retry { .. })) && slots[2].is_none(), "{slots:?}");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing_and_asks_nobody() {
    let server = taking().await;
    let sink = open(&server.url("/v1"), "").await;
    let batch = batch([sink.delivery(message())]);
    let batch = sink_api::Batch { deadline: std::time::Instant::now(), ..batch };
    assert_eq!(sink.sink.deliver(&batch).await.into_slots(), [None]);
    assert!(server.seen().is_empty() && sink.outbox.asked().is_empty());
}

#[tokio::test]
async fn a_call_that_gets_no_answer_ends_by_itself_so_that_its_end_is_told() {
    let server = HttpServer::always(Reply::Bytes(Vec::new(), Then::Hang)).await;
    let sink = open(&server.url("/v1"), "").await;
    let batch = batch([sink.delivery(message())]);
    let batch = sink_api::Batch { deadline: std::time::Instant::now() + Duration::from_millis(400), ..batch };
    let report = sink.sink.deliver(&batch).await;
    assert!(matches!(&report.into_slots()[0], Some(Outcome::Retry { .. })));
    assert_eq!(sink.outbox.ends(), [sink_api::outbox::End::Unknown]);
}

#[test]
fn a_target_says_which_api_and_as_whom() {
    let target = |more: &str| {
        let table = format!("url = \"https://api.example:8443/v1/\"\napi_key = \"{KEY}\"\n{more}");
        config(&table).target(&event("t").build()).unwrap()
    };
    assert_eq!(target(""), Target::of("api", "https://api.example:8443"));
    assert_eq!(target("sender = \" \""), Target::of("api", "https://api.example:8443"));
    assert_eq!(target("sender = \" +91 1 \"").get("sender"), Some("+91 1"));
}
