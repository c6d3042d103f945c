//! What the kinds of sources do beside Interakt: challenges, statuses, ids, tokens.

use super::super::source::signer::Signer;
use super::vectors::{table, tables};
use super::*;

/// Ingress with a source of this table, whose path is [`PATH`].
async fn serve_table(text: &str, does: Does) -> (Served, Signer) {
    let config = SourceConfig { path: PATH.into(), ..table(text) };
    let signer = Signer::new(&plan(&config));
    (serve(server(), config, does).await, signer)
}

/// A webhook's bytes, signed at the present.
fn dressed(signer: &Signer, lines: &[(&str, &str)], kind: &str, id: &str, later: i64, body: &[u8]) -> Vec<u8> {
    let given = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let signed = signer.sign(&given, kind, id, Timestamp::now().as_second() + later, body);
    let lines: Vec<String> =
        signed.headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let bytes = posted(&lines.concat(), body);
    match signed.query {
        None => bytes,
        Some((name, value)) => {
            String::from_utf8(bytes).unwrap().replacen(PATH, &format!("{PATH}?a=b&{name}={value}"), 1).into_bytes()
        }
    }
}

#[tokio::test]
async fn every_kind_takes_what_is_signed_for_it_and_answers_401_to_what_is_not() {
    for (kind, text) in tables() {
        let (served, signer) = serve_table(&text, Does::Flush).await;
        let body = signer.sample("order.paid", "id-1", "now");
        let reply = served.ask(dressed(&signer, &[], "order.paid", "id-1", 0, &body)).await;
        assert_eq!(reply.status, 200, "{kind}: {reply:?}");
        let bare = served.ask(posted("", &body)).await;
        assert_eq!(bare.status, if kind == "none" { 200 } else { 401 }, "{kind}");
        let event = served.journal.events().remove(0);
        assert_eq!(&*event.body, &*body, "{kind}");
        let shown = format!("{event:?}");
        assert!(!shown.contains("whsec_"), "{kind}: a token is kept: {shown}");
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_believed_and_stored_nowhere() {
    let text = "kind = \"token\"\npath = \"/x\"\nquery = \"token\"\nsecret = \"a+b/c=&%20\"\n";
    let (served, _) = serve_table(text, Does::Flush).await;
    let ask = async |query: &str| {
        let request = String::from_utf8(posted("", b"{\"type\":\"t\"}")).unwrap();
        served.ask(request.replacen(PATH, &format!("{PATH}{query}"), 1)).await.status
    };
    assert_eq!(ask("?x=1&token=a+b%2Fc%3D%26%2520&y").await, 200);
    assert_eq!(ask("?token=a%2bb%2fc%3d%26%2520&token=a%2Bb%2Fc%3D%26%2520").await, 200, "twice the same");
    for (query, count) in [("", 1), ("?token", 2), ("?Token=a", 3)] {
        assert_eq!(ask(query).await, 401, "{query}");
        assert_eq!(served.counts().refused.get(Reason::Missing), count, "{query}");
    }
    assert_eq!([ask("?token=").await, ask("?token=a&token=b").await, ask("?token=a").await], [401; 3]);
    assert_eq!([Reason::Malformed, Reason::Wrong].map(|why| served.counts().refused.get(why)), [2, 1]);
    let event = served.journal.events().remove(0);
    assert_eq!((&*event.path, &*event.kind), (PATH, "t"));
    assert!(!format!("{event:?}").contains("a+b"));
}

#[tokio::test]
async fn a_tokens_header_is_never_kept_whatever_the_table_says() {
    let text = "kind = \"token\"\npath = \"/x\"\nheader = \"x-token\"\nsecret = \"hush\"\n\
                keep_headers = [\"X-Token\", \"x-a\"]\n";
    let (served, _) = serve_table(text, Does::Flush).await;
    assert_eq!(served.ask(posted("x-token: hush\r\nx-a: b\r\n", b"{}")).await.status, 200);
    let event = served.journal.events().remove(0);
    assert_eq!(event.headers.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["x-a"]);
}

#[tokio::test]
async fn metas_challenge_is_sent_back_for_the_right_token_only() {
    let (served, _) = serve_table(&tables()["meta"], Does::Flush).await;
    let ask = async |query: &str| served.ask(format!("GET {PATH}{query} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    let reply = ask("?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=v").await;
    assert_eq!((reply.status, &*reply.body), (200, "1158201444"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    for query in ["?hub.mode=subscribe&hub.challenge=1&hub.verify_token=w", "?hub.mode=subscribe&hub.challenge=1"] {
        assert_eq!(ask(query).await.status, 403, "{query}");
    }
    assert_eq!(ask("").await.body, r#"{"ok":true}"#, "a probe");
    assert_eq!(served.counts().refused.get(Reason::Wrong), 2);
    assert!(served.journal.events().is_empty());
}

#[tokio::test]
async fn slacks_question_is_answered_where_it_is_signed_and_is_no_event() {
    let (served, signer) = serve_table(&tables()["slack"], Does::Flush).await;
    let body = b"{\"token\":\"Jhj5dZrVaK7ZwHHjRyZWjbDl\",\
        \"challenge\":\"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P\",\"type\":\"url_verification\"}";
    let reply = served.ask(dressed(&signer, &[], "", "", 0, body)).await;
    assert_eq!((reply.status, &*reply.body), (200, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"));
    assert_eq!(served.ask(posted("", body)).await.status, 401);
    assert!(served.journal.events().is_empty());
    let event =
        br#"{"type":"event_callback","challenge":"c","event_id":"Ev1","event":{"type":"app_mention","channel":"C1"}}"#;
    assert_eq!(served.ask(dressed(&signer, &[], "", "", 0, event)).await.status, 200);
    let event = served.journal.events().remove(0);
    assert_eq!((&*event.kind, &*event.subject), ("app_mention", "C1"));
}

#[tokio::test]
async fn a_signature_of_another_time_is_401_and_counted_as_too_old() {
    let (served, signer) = serve_table(&tables()["slack"], Does::Flush).await;
    for later in [-3600, 3600] {
        let reply = served.ask(dressed(&signer, &[], "", "", later, b"{}")).await;
        assert_eq!(reply.status, 401);
        assert!(reply.json()["error"].as_str().unwrap().contains("too far from now"), "{reply:?}");
    }
    assert_eq!(served.counts().refused.get(Reason::TooOld), 2);
}

#[tokio::test]
async fn github_names_its_events_in_a_header() {
    let (served, signer) = serve_table(&tables()["github"], Does::Flush).await;
    let body = br#"{"repository":{"full_name":"octo/hello"}}"#;
    let lines = [("x-github-event", "push"), ("x-github-delivery", "72d3162e")];
    assert_eq!(served.ask(dressed(&signer, &lines, "", "", 0, body)).await.status, 200);
    let event = served.journal.events().remove(0);
    assert_eq!((&*event.kind, &*event.subject, &*event.key), ("push", "octo/hello", "octo/hello"));
    let headers: Vec<_> = event.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(headers, [("x-github-event", "push"), ("x-github-delivery", "72d3162e")]);
}

#[tokio::test]
async fn the_status_of_success_is_the_sources_and_204_has_no_body() {
    for (status, has_body) in [(202, true), (204, false)] {
        let text = format!("{}status = {status}\ndedupe = \"1m\"\n", tables()["github"]);
        let (served, signer) = serve_table(&text, Does::Flush).await;
        for _ in 0..2 {
            let mut client = served.connect().await;
            client.send(dressed(&signer, &[], "push", "1", 0, b"{}")).await;
            let reply = client.try_reply(has_body).await.unwrap();
            assert_eq!((reply.status, reply.body.is_empty()), (status, !has_body));
            assert_eq!(reply.header("content-type").is_some(), has_body);
        }
        assert_eq!(served.counts().duplicate.get(), 1, "the second is a repeat");
    }
}

#[tokio::test]
async fn a_retry_signed_anew_is_known_by_its_id_within_its_type() {
    let text = format!("{}dedupe = \"10m\"\n", tables()["stripe"]);
    let (served, signer) = serve_table(&text, Does::Flush).await;
    let body = |kind: &str, id: &str| format!("{{\"id\":\"{id}\",\"type\":\"{kind}\"}}").into_bytes();
    let send = async |kind: &str, id: &str, later: i64| {
        let reply = served.ask(dressed(&signer, &[], "", "", later, &body(kind, id))).await;
        assert_eq!(reply.status, 200);
        reply.json()["duplicate"] == true
    };
    assert!(!send("invoice.paid", "evt_1", 0).await);
    assert!(send("invoice.paid", "evt_1", 7).await, "signed anew");
    assert!(!send("invoice.paid", "evt_2", 0).await);
    assert!(!send("invoice.sent", "evt_1", 0).await, "another type");
    assert_eq!(served.journal.events().len(), 3);
}

#[tokio::test]
async fn an_id_that_is_not_signed_makes_a_repeat_only_of_the_same_body() {
    let hmac = "kind = \"hmac\"\npath = \"/\"\nsecret = \"s\"\nheader = \"x-sig\"\nid = { header = \"x-id\" }\n\
                time = { header = \"x-time\" }\nsigned = \"{time}.{body}\"\ntolerance = \"1m\"\n";
    for (text, header) in [
        (tables()["github"].as_str(), "x-github-delivery"),
        (&tables()["shopify"], "x-shopify-event-id"),
        (hmac, "x-id"),
    ] {
        let (served, signer) = serve_table(&format!("{text}dedupe = \"10m\"\n"), Does::Flush).await;
        for (id, body, later, is_repeat) in [
            ("1", "{\"n\":1}", 0, false),
            ("1", "{\"n\":1}", 7, true),
            ("1", "{\"n\":2}", 7, false),
            ("2", "{\"n\":1}", 7, false),
            ("1", "{\"n\":2}", 0, true),
        ] {
            let reply = served.ask(dressed(&signer, &[(header, id)], "push", "", later, body.as_bytes())).await;
            assert_eq!((reply.status, reply.json()["duplicate"] == true), (200, is_repeat), "{header} {id} {body}");
        }
        assert_eq!(served.journal.events().len(), 3);
    }
}

#[tokio::test]
async fn a_standard_webhook_sent_again_is_known_by_its_id_though_it_is_signed_anew() {
    let text = format!("{}dedupe = \"10m\"\n", tables()["standard_webhooks"]);
    let (served, signer) = serve_table(&text, Does::Flush).await;
    for (id, later, is_repeat) in [("msg_1", 0, false), ("msg_1", 7, true), ("msg_2", 7, false)] {
        let reply = served.ask(dressed(&signer, &[], "", id, later, b"{\"type\":\"t\"}")).await;
        assert_eq!((reply.status, reply.json()["duplicate"] == true), (200, is_repeat), "{id} {later}");
    }
}

#[tokio::test]
async fn without_an_id_a_repeat_is_known_by_what_was_signed_or_by_the_body() {
    for kind in ["hmac", "token", "none"] {
        let own = tables().remove(kind).unwrap();
        let plain =
            if kind == "hmac" { "kind = \"hmac\"\npath = \"/\"\nsecret = \"s\"\nheader = \"x-sig\"\n" } else { &own };
        let (served, signer) = serve_table(&format!("{plain}dedupe = \"10m\"\n"), Does::Flush).await;
        for (body, is_repeat) in [("{\"n\":1}", false), ("{\"n\":1}", true), ("{\"n\":2}", false)] {
            let reply = served.ask(dressed(&signer, &[], "", "", 0, body.as_bytes())).await;
            assert_eq!(reply.json()["duplicate"] == true, is_repeat, "{kind} {body}");
        }
    }
}

#[tokio::test]
async fn only_interakt_recognises_repeats_and_accepts_at_risk_unasked() {
    for (kind, text) in tables() {
        let (served, signer) = serve_table(&text, Does::Flush).await;
        let request = dressed(&signer, &[], "t", "1", 0, b"{}");
        let _ = served.ask(&request).await;
        let is_repeat = served.ask(&request).await.json()["duplicate"] == true;
        assert_eq!(is_repeat, kind == "interakt", "{kind}");
        served.journal.does(Does::Risk);
        let status = served.ask(dressed(&signer, &[], "t", "2", 0, b"{\"n\":2}")).await.status;
        assert_eq!(status, if kind == "interakt" { 200 } else { 503 }, "{kind}");
    }
}

#[tokio::test]
async fn type_and_subject_come_from_where_the_table_says() {
    let text = "kind = \"none\"\npath = \"/\"\n\
                type = [{ body = \".a[1].\\\"odd name\\\"\" }, { header = \"x-t\" }, { value = \"order\" }]\n\
                subject = [{ body = \".n\" }, { header = \"x-s\" }]\n";
    let (served, _) = serve_table(text, Does::Flush).await;
    for (lines, body, kind, subject) in [
        ("", r#"{"a":[0,{"odd name":"from body"}],"n":12345678901234567890}"#, "from body", "12345678901234567890"),
        ("x-t: from header\r\nx-s: s\r\n", r#"{"a":[{"odd name":"no"}],"n":""}"#, "from header", "s"),
        ("x-s: s\r\n", "not json", "order", "s"),
        ("", r#"{"a":{},"n":{"x":1},"a":[1,{"odd name":"the last"}]}"#, "the last", ""),
    ] {
        assert_eq!(served.ask(posted(lines, body.as_bytes())).await.status, 200);
        let event = served.journal.events().pop().unwrap();
        assert_eq!((&*event.kind, &*event.subject), (kind, subject), "{body}");
    }
    let (served, _) = serve_table("kind = \"none\"\npath = \"/\"\n", Does::Flush).await;
    for (body, kind) in [("{\"type\":\"t\"}", "t"), ("{}", "unknown"), ("not json", "unparsable"), ("", "unparsable")] {
        assert_eq!(served.ask(posted("", body.as_bytes())).await.status, 200);
        assert_eq!(&*served.journal.events().pop().unwrap().kind, kind, "{body}");
    }
}
