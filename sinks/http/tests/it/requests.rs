//! What is on the wire: bytes, headers, signatures.

use http::HeaderMap;
use sink_api::{Outcome, Payload};
use sink_testkit::{EventBuilder, batch, event};

use crate::kit::{SIGNING_SECRET, open};
use sink_testkit::http::{HttpServer, Reply, Seen};

/// The request made of an event by a sink of these further keys.
async fn sent(keys: &str, event: EventBuilder) -> Seen {
    let server = HttpServer::always(Reply::Status(200)).await;
    let sink = open(&format!("url = \"{}\"\n{keys}", server.url("/hook"))).await;
    assert_eq!(sink.one(event).await, Outcome::Delivered);
    server.only()
}

#[tokio::test]
async fn a_raw_body_is_on_the_wire_byte_for_byte() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; 1 << 20];
    for body in [&b""[..], b" { \"a\" : 1.0 }\r\n", b"\xff\xfe\x00", &every_byte, &large] {
        let request = sent("", event("t").body(body.to_vec())).await;
        assert!(request.body == body, "{} bytes became {}", body.len(), request.body.len());
        assert_eq!(request.header("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(request.header("transfer-encoding"), None);
    }
}

#[tokio::test]
async fn the_media_type_is_the_requests_own_else_what_the_body_looks_like() {
    let of = async |event: EventBuilder| sent("", event).await.header("content-type").unwrap().to_owned();
    assert_eq!(of(event("t").header("content-type", "text/plain; charset=x")).await, "text/plain; charset=x");
    assert_eq!(of(event("t").no_headers().body("[1]")).await, "application/json");
    assert_eq!(of(event("t").no_headers().body("oops")).await, "application/octet-stream");
    assert_eq!(of(event("t").header("content-type", "a\u{1}b").body("{}")).await, "application/json");
    assert_eq!(of(event("t").header("content-type", "text/plain").json("{}")).await, "application/json");
    let own = sent("headers = { Content-Type = \"application/vnd.api+json\" }", event("t")).await;
    assert_eq!(own.header("content-type"), Some("application/vnd.api+json"));
    assert_eq!(own.headers.iter().filter(|(name, _)| name == "content-type").count(), 1);
}

#[tokio::test]
async fn a_header_with_a_template_is_sent_with_the_events_own_value() {
    let keys = "headers = { X-Message = \"m {.data.id}\", X-Plain = \"{{}}\" }";
    let request = sent(keys, event("t").body(r#"{"data":{"id":12345678901234567890}}"#)).await;
    assert_eq!(request.header("x-message"), Some("m 12345678901234567890"));
    assert_eq!(request.header("x-plain"), Some("{}"));
}

#[tokio::test]
async fn a_raw_request_carries_the_events_attributes_percent_encoded() {
    let built = event("größe \"1\"").subject("m 1%").time("2026-01-13T23:05:00.5Z").delivery_id("id-1-ä");
    let request = sent("", built).await;
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "id-1-%C3%A4"),
        ("ce-source", "/webhooks/interakt"),
        ("ce-type", "gr%C3%B6%C3%9Fe%20%221%22"),
        ("ce-subject", "m%201%25"),
        ("ce-time", "2026-01-13T23:05:00.5Z"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let bare = sent("", event("t").subject("")).await;
    assert_eq!(bare.header("ce-subject"), None);
    assert_eq!(bare.header("webhook-signature"), None);
}

/// The id of the event that a reader finds, as the HTTP binding of CloudEvents has it: by the content type first.
fn id_read(request: &Seen) -> String {
    let media = request.header("content-type").unwrap().to_ascii_lowercase();
    if media.starts_with("application/cloudevents") {
        let named = |(name, _): &(String, String)| name.starts_with("ce-");
        assert!(!request.headers.iter().any(named), "an event in the body and attributes beside it");
        let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        return event["id"].as_str().unwrap().to_owned();
    }
    assert_eq!(request.header("ce-specversion"), Some("1.0"));
    request.header("ce-id").unwrap().to_owned()
}

#[tokio::test]
async fn a_webhook_that_is_a_cloudevent_is_read_as_theirs_or_as_ours_and_never_as_half_of_each() {
    let theirs = r#"{"specversion":"1.0","id":"theirs","source":"/them","type":"their.type","data":{"n":1.0}}"#;
    let media = "Application/CloudEvents+json; charset=UTF-8";
    let webhook = || event("t").subject("s").header("content-type", media).body(theirs).delivery_id("ours");
    let raw = sent("", webhook()).await;
    assert_eq!((id_read(&raw).as_str(), raw.body.as_slice()), ("theirs", theirs.as_bytes()));
    assert_eq!((raw.header("content-type"), raw.header("hookrelay-id")), (Some(media), Some("ours")));
    assert_eq!((raw.header("hookrelay-type"), raw.header("hookrelay-subject")), (Some("t"), Some("s")));
    let structured = sent("format = \"cloudevents\"", webhook()).await;
    assert_eq!(id_read(&structured), "ours");
    let ours: serde_json::Value = serde_json::from_slice(&structured.body).unwrap();
    assert_eq!((&ours["datacontenttype"], &ours["data"]["id"]), (&media.into(), &"theirs".into()));
    assert_eq!(structured.header("hookrelay-id"), None);
    // What a transform made is no event of theirs, and the config's own content type is what readers go by.
    assert_eq!(id_read(&sent("", webhook().json("{}")).await), "ours");
    assert_eq!(id_read(&sent("headers = { content-type = \"application/json\" }", webhook()).await), "ours");
    let made = sent("headers = { content-type = \"application/cloudevents+json\" }", event("t").json(theirs)).await;
    assert_eq!(id_read(&made), "theirs");
}

#[tokio::test]
async fn a_structured_request_is_one_cloudevent() {
    let delivery = event("t").body("{ \"n\" : 1.0 }").delivery_id("d-1");
    let request = sent("format = \"cloudevents\"", delivery).await;
    assert_eq!(request.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(request.header("ce-id"), None);
    let body = String::from_utf8(request.body).unwrap();
    assert!(body.starts_with("{\"specversion\":\"1.0\",\"id\":\"d-1\""), "{body}");
    assert!(body.ends_with("\"data\":{\"n\":1.0}}"), "{body}");
}

#[tokio::test]
async fn a_transforms_output_is_sent_as_it_is() {
    let built = event("t").json("{\"row\":1}");
    assert!(matches!(built.clone().delivery().payload, Payload::Json(_)));
    assert_eq!(sent("", built).await.body, b"{\"row\":1}");
}

#[tokio::test]
async fn the_reference_verifier_accepts_our_signature() {
    let verifier = standardwebhooks::Webhook::new(SIGNING_SECRET).unwrap();
    let sign = format!("sign = {{ standard_webhooks = \"{SIGNING_SECRET}\" }}");
    for keys in [sign.clone(), format!("{sign}\nformat = \"cloudevents\"")] {
        let request = sent(&keys, event("t").delivery_id("0198-v1.2 späť")).await;
        assert_eq!(request.header("webhook-id"), Some("0198-v1%2E2%20sp%C3%A4%C5%A5"));
        let mut headers = HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, request.header(name).unwrap().parse().unwrap());
        }
        verifier.verify(&request.body, &headers).unwrap();
        headers.insert("webhook-id", "another".parse().unwrap());
        assert!(verifier.verify(&request.body, &headers).is_err());
    }
}

#[tokio::test]
async fn configured_headers_and_credentials_are_sent() {
    let request = sent("headers = { X-Team = \"a b\", User-Agent = \"ours\" }\nbearer = \"t0ken\"", event("t")).await;
    assert_eq!(request.header("x-team"), Some("a b"));
    assert_eq!(request.header("user-agent"), Some("ours"));
    assert_eq!(request.header("authorization"), Some("Bearer t0ken"));
    let request = sent("basic = { user = \"Aladdin\", password = \"open sesame\" }", event("t")).await;
    assert_eq!(request.header("authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert!(request.header("user-agent").unwrap().starts_with("hookrelay/"), "{request:?}");
    let request = sent("headers = { Authorization = \"Token x\" }", event("t")).await;
    assert_eq!(request.header("authorization"), Some("Token x"));
}

#[tokio::test]
async fn methods_and_templates_make_the_request_line() {
    for (keys, method) in [("", "POST"), ("method = \"PUT\"", "PUT"), ("method = \"PATCH\"", "PATCH")] {
        assert_eq!(sent(keys, event("t")).await.line, format!("{method} /hook HTTP/1.1"));
    }
    let server = HttpServer::always(Reply::Status(200)).await;
    let sink = open(&format!("url = \"{}\"", server.url("/a/{type}/{subject}?k={key}&d={date}"))).await;
    let odd = event("x/../y?z#w").subject("ä&b=c").time("2026-01-13T23:05:00Z");
    assert_eq!(sink.one(odd).await, Outcome::Delivered);
    let line = server.only().line;
    assert_eq!(line, "POST /a/x%2F..%2Fy%3Fz%23w/%C3%A4%26b%3Dc?k=%C3%A4%26b%3Dc&d=2026-01-13 HTTP/1.1");
}

#[tokio::test]
async fn where_an_event_stands_is_told_unless_the_config_has_such_a_header_itself() {
    let server = HttpServer::always(Reply::Status(200)).await;
    for (keys, position, told) in [
        ("", None, None),
        ("", Some("3:17"), Some("3:17")),
        ("headers = { hookrelay-position = \"mine\" }", Some("3:17"), Some("mine")),
    ] {
        let sink = open(&format!("url = \"{}\"\n{keys}", server.url("/hook"))).await;
        let mut delivery = event("t").delivery_for(sink.config.as_ref()).unwrap();
        delivery.position = position.map(Into::into);
        assert_eq!(sink.sink.deliver(&batch([delivery])).await.into_slots(), [Some(Outcome::Delivered)]);
        let seen = server.seen();
        assert_eq!(seen.last().unwrap().header("hookrelay-position"), told);
    }
}
