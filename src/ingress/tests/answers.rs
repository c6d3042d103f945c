//! Every row of the answer table, over HTTP/1.1.

use super::super::source::typing_tests::{FIXTURES, ODD, fixture};
use super::*;

#[tokio::test]
async fn a_signed_webhook_is_answered_200_with_its_id_once_it_is_on_disk() {
    let served = serve(server(), source(), Does::Hang).await;
    let mut client = served.connect().await;
    client.send(signed(br#"{"type":"message_received"}"#)).await;
    wait_until(|| served.journal.hanging() == 1).await;
    assert_eq!(client.0.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "not before");
    served.journal.tell(DURABLE);
    let reply = client.reply().await;
    let event = served.journal.events().remove(0);
    assert_eq!((reply.status, reply.body.as_str()), (200, format!(r#"{{"id":"{}"}}"#, event.id).as_str()));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(event.id.get_version_num(), 7);
    assert_eq!(served.counts().accepted.get(), 1);
}

#[tokio::test]
async fn the_event_holds_what_came_and_neither_query_nor_secrets() {
    let server = ServerConfig { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..server() };
    let keep = ["User-Agent", "x-note", "authorization", "cookie", "Interakt-Signature", "content-type"];
    let source = SourceConfig { keep_headers: Some(keep.map(String::from).into()), ..source() };
    let served = serve(server, source, Does::Flush).await;
    let body = br#" {"type": "message_received", "data": {"message": {"id": "m-1"}}} "#;
    let lines = format!(
        "user-agent: Interakt\r\nauthorization: Basic x\r\ncookie: a=b\r\n\
         X-Note: caf\u{e9}\r\nx-note: two\r\nx-other: 1\r\n\
         x-forwarded-for: 1.1.1.1, 203.0.113.9\r\nINTERAKT-SIGNATURE:  SHA256={} \r\n",
        sign(body).trim_start_matches("sha256=").to_uppercase()
    );
    let request = String::from_utf8(posted(&lines, body)).unwrap().replacen(PATH, &format!("{PATH}?token=hush"), 1);
    assert_eq!(served.ask(request).await.status, 200);
    let event = served.journal.events().remove(0);
    assert_eq!((&*event.source, &*event.kind), ("interakt", "message_received"));
    assert_eq!((&*event.subject, &*event.key), ("m-1", "m-1"));
    assert_eq!((&*event.method, &*event.path, &*event.remote), ("POST", PATH, "203.0.113.9"));
    let headers: Vec<_> = event.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(headers, [("user-agent", "Interakt"), ("x-note", "café"), ("x-note", "two")]);
    assert_eq!(event.body, &body[..]);
}

#[tokio::test]
async fn every_fixture_is_answered_200_and_kept_byte_for_byte() {
    let served = plain().await;
    for (name, kind, subject) in FIXTURES {
        let body = fixture(name);
        let reply = served.post(&body).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        // account_update comes in two files, the other fixtures are all different.
        let event = served.journal.events().pop().unwrap();
        assert_eq!((&*event.kind, &*event.subject), (*kind, *subject), "{name}");
        assert_eq!(event.body, body, "{name}");
        let own_id = event.id.to_string();
        assert_eq!(*event.key, *if subject.is_empty() { own_id.as_str() } else { subject }, "{name}");
    }
    assert_eq!(served.counts().accepted.get(), FIXTURES.len() as u64);
}

#[tokio::test]
async fn odd_bodies_are_answered_200_and_kept_byte_for_byte() {
    let served = plain().await;
    let big = format!(
        r#"{{"type":"message_received","data":{{"customer":{{"traits":{{"n":"{}"}}}}}}}}"#,
        "x".repeat(137_000)
    );
    let mut odd: Vec<(Vec<u8>, &str)> = ODD.iter().map(|(body, kind)| (body.as_bytes().to_vec(), *kind)).collect();
    odd.push((big.into(), "message_received"));
    odd.extend(
        [b"".to_vec(), b"not JSON".to_vec(), b"{\"type\":\"x".to_vec(), b"\"\xff\"".to_vec()]
            .map(|b| (b, "unparsable")),
    );
    for (body, kind) in odd {
        let shown = String::from_utf8_lossy(&body).chars().take(80).collect::<String>();
        assert_eq!(served.post(&body).await.status, 200, "{shown}");
        let event = served.journal.events().pop().unwrap();
        assert_eq!((&*event.kind, &event.body[..]), (kind, &body[..]), "{shown}");
    }
}

#[tokio::test]
async fn every_kind_of_bad_signature_is_401_and_counted_by_its_reason() {
    let served = plain().await;
    let body = b"{}";
    let good = sign(body);
    for (lines, error) in [
        (String::new(), "missing"),
        ("x-interakt-signature: sha256=00\r\n".into(), "missing"),
        ("interakt-signature: \r\n".into(), "malformed"),
        ("interakt-signature: sha256=\r\n".into(), "malformed"),
        (format!("interakt-signature: {good}00\r\n"), "malformed"),
        (format!("interakt-signature: {}\r\n", "\u{ff}".repeat(64)), "malformed"),
        (format!("interakt-signature: {good}\r\ninterakt-signature: {}\r\n", sign(b"x")), "malformed"),
        (format!("interakt-signature: {}\r\n", sign(b"{ }")), "does not match"),
        (format!("interakt-signature: {}\r\n", "0".repeat(64)), "does not match"),
    ] {
        let reply = served.ask(posted(&lines, body)).await;
        assert_eq!(reply.status, 401, "{lines}");
        assert!(reply.json()["error"].as_str().unwrap().contains(error), "{lines}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    let counts = served.counts();
    assert_eq!([Reason::Missing, Reason::Malformed, Reason::Wrong].map(|why| counts.refused.get(why)), [2, 5, 2]);
    assert!(served.journal.events().is_empty());
}

#[tokio::test]
async fn the_official_vector_is_accepted_and_its_spaced_form_is_not() {
    let served = plain().await;
    let line = "Interakt-Signature: sha256=b84783d10ede5bd6ed771e8b16fbe5a7093340159d6e49ec4248350b6ec2c7b4\r\n";
    assert_eq!(served.ask(posted(line, br#"{"foo":1,"bar":2}"#)).await.status, 200);
    assert_eq!(served.ask(posted(line, br#"{"foo": 1, "bar": 2}"#)).await.status, 401);
}

#[tokio::test]
async fn a_sources_path_answers_probes_and_names_its_methods() {
    let served = plain().await;
    let mut client = served.connect().await;
    for (method, status) in [("GET", 200), ("HEAD", 200), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 405)] {
        client.send(format!("{method} {PATH}?hub.challenge=1 HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let reply = client.try_reply(method != "HEAD").await.unwrap();
        assert_eq!(reply.status, status, "{method}");
        assert_eq!(reply.header("allow"), (status == 405).then_some("POST, GET, HEAD"), "{method}");
        assert!(method == "HEAD" || reply.json().is_object());
    }
    assert_eq!((served.ingress.counts().wrong_method.get(), served.counts().refused.get(Reason::Method)), (3, 3));
}

#[tokio::test]
async fn other_paths_are_404_whatever_the_method() {
    let served = plain().await;
    for (method, path) in
        [("POST", "/"), ("GET", "/webhooks"), ("POST", "/webhooks/interakt//"), ("PUT", "/webhooks/Interakt")]
    {
        let reply = served.ask(format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!((reply.status, reply.json()["error"].is_string()), (404, true), "{method} {path}");
    }
    assert_eq!(served.ingress.counts().not_found.get(), 4);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let served = plain().await;
    let mut client = served.connect().await;
    for n in 0..3 {
        client.send(signed(format!("{{\"n\":{n}}}").as_bytes())).await;
        assert_eq!(client.reply().await.status, 200);
        client.send(posted("", b"{}")).await;
        assert_eq!(client.reply().await.status, 401);
    }
    assert_eq!(served.ingress.counts().connections.get(), 1);
}

#[tokio::test]
async fn a_sender_that_closes_its_half_still_gets_its_answer() {
    let served = serve(server(), source(), Does::Hang).await;
    let mut client = served.connect().await;
    client.send(signed(b"{}")).await;
    client.0.shutdown().await.unwrap();
    wait_until(|| served.journal.hanging() == 1).await;
    served.journal.tell(DURABLE);
    assert_eq!(client.reply().await.status, 200);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_sender_that_expects_100_continue_gets_it() {
    let served = plain().await;
    let request = signed(b"{}");
    let request = String::from_utf8(request).unwrap().replacen("host", "expect: 100-continue\r\nhost", 1);
    let (head, body) = request.split_at(request.len() - 2);
    let mut client = served.connect().await;
    client.send(head).await;
    assert_eq!(client.reply().await.status, 100);
    client.send(body).await;
    assert_eq!(client.reply().await.status, 200);
}
