//! Where a delivery goes, and where it never does.

use sink_api::{Delivery, Outcome, Target};
use sink_testkit::{batch, event};

use crate::kit::{open, retry};
use sink_testkit::http::{HttpServer, Reply, Seen};

/// Redirects `/from` to this place, and takes everything else.
async fn redirecting(status: u16, location: impl Fn(&Seen) -> String + Send + Sync + 'static) -> HttpServer {
    HttpServer::start(move |request| match request.line.contains("/from") {
        true => Reply::With(status, vec![("Location", location(request))]),
        false => Reply::Status(200),
    })
    .await
}

#[tokio::test]
async fn within_the_origin_307_and_308_are_followed_with_method_body_and_headers() {
    for status in [307, 308] {
        let server = redirecting(status, |_| "/to?x=1".to_owned()).await;
        let sink = open(&format!("url = \"{}\"\nmethod = \"PUT\"\nbearer = \"token\"", server.url("/from"))).await;
        assert_eq!(sink.one(event("t").body("body")).await, Outcome::Delivered);
        let seen = server.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].line, "PUT /to?x=1 HTTP/1.1");
        assert_eq!(seen[1].body, b"body");
        assert_eq!(seen[1].header("authorization"), Some("Bearer token"));
        assert_eq!(seen[1].header("ce-id"), seen[0].header("ce-id"));
        assert_eq!(seen[1].header("referer"), None);
    }
}

#[tokio::test]
async fn redirects_that_change_the_method_are_not_followed() {
    for status in [300, 301, 302, 303, 304] {
        let server = redirecting(status, |_| "/to".to_owned()).await;
        let sink = open(&format!("url = \"{}\"", server.url("/from"))).await;
        assert_eq!(retry(&sink.one(event("t")).await), "redirect", "{status}");
        assert_eq!(server.only().line, "POST /from HTTP/1.1");
    }
}

#[tokio::test]
async fn nothing_ever_goes_to_another_host_port_or_scheme() {
    let thief = HttpServer::always(Reply::Status(200)).await;
    let port = thief.addr.port();
    for location in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        "ftp://127.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://".to_owned(),
        "\u{1}".to_owned(),
    ] {
        let to = location.clone();
        let server = redirecting(307, move |_| to.clone()).await;
        let sink = open(&format!("url = \"{}\"\nbearer = \"token\"", server.url("/from"))).await;
        let outcome = sink.one(event("t")).await;
        assert!(matches!(&outcome, Outcome::Retry { .. }), "{location}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("passwd"), "{outcome:?}");
        assert!(server.seen().len() <= 1, "{location}");
    }
    assert!(thief.seen().is_empty(), "{:?}", thief.seen());
}

#[tokio::test]
async fn credentials_in_a_redirect_are_not_taken() {
    let server = redirecting(307, |request| format!("http://u:p@{}/to", request.header("host").unwrap())).await;
    let sink = open(&format!("url = \"{}\"", server.url("/from"))).await;
    assert_eq!(retry(&sink.one(event("t")).await), "redirect");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let server = redirecting(308, |_| "/from".to_owned()).await;
    let sink = open(&format!("url = \"{}\"", server.url("/from"))).await;
    assert_eq!(retry(&sink.one(event("t")).await), "redirect");
    assert_eq!(server.seen().len(), 4, "the first and three more");
}

#[tokio::test]
async fn a_delivery_made_for_another_host_is_not_sent_with_todays_credentials() {
    let (old, new) = (HttpServer::always(Reply::Status(200)).await, HttpServer::always(Reply::Status(200)).await);
    let sink = open(&format!("url = \"{}\"\nbearer = \"token\"", new.url("/"))).await;
    let userinfo = format!("http://u:p@{}/", new.addr);
    for url in [old.url("/"), userinfo, "not a URL".to_owned()] {
        let stale = Delivery { target: Target::of("url", url), ..event("t").delivery() };
        let slots = sink.sink.deliver(&batch([stale, event("t").delivery()])).await.into_slots();
        for slot in &slots {
            let Some(Outcome::Reject { why }) = slot else { panic!("expected Reject, got {slot:?}") };
            assert_eq!(why.code, "stale_target");
        }
    }
    assert!(old.seen().is_empty() && new.seen().is_empty());
    // Another path of today's host was fixed when the event was routed, and is kept.
    let moved = Delivery { target: Target::of("url", new.url("/before")), ..event("t").delivery() };
    let report = sink.sink.deliver(&batch([moved])).await;
    assert_eq!(report.into_slots(), [Some(Outcome::Delivered)]);
    assert_eq!(new.only().line, "POST /before HTTP/1.1");
}
