//! Tests of `send` against a server that checks signatures and answers as the daemon does.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use super::*;
use crate::config::tests::{SOURCE, config};
use crate::verify::Hmac;

/// What came in: type, body.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server on a port of its own; answers `status` to what is signed, 401 else. Ends with the process.
fn server(status: u16) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Seen::default();
    let shared = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&shared);
            thread::spawn(move || serve(stream, status, &seen));
        }
    });
    (address, seen)
}

fn serve(stream: TcpStream, status: u16, seen: &Seen) -> Option<()> {
    let verifier = Hmac::new(b"a-long-secret", None).unwrap();
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (mut length, mut signature, mut first) = (0, String::new(), String::new());
        reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim().split_once(": ") {
                Some(("content-length", n)) => length = n.parse().ok()?,
                Some(("interakt-signature", value)) => signature = value.to_owned(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut body).ok()?;
        let is_signed = verifier.verify([signature.as_bytes()], &body).is_ok();
        let good = is_signed && first.starts_with("POST /webhooks/interakt HTTP/1.1");
        let (status, answer) = match (good, status) {
            (false, _) => (401, r#"{"error":"bad signature"}"#.to_owned()),
            (true, 200) => (200, format!(r#"{{"id":"id-{}"}}"#, seen.lock().unwrap().len())),
            (true, other) => (other, r#"{"error":"no"}"#.to_owned()),
        };
        seen.lock().unwrap().push((crate::ingress::source::typing::interakt(&body).kind.into_owned(), body));
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).ok()?;
    }
}

fn args() -> SendArgs {
    SendArgs { files: vec![], kind: None, count: 1, rate: None, url: None, source: None, header: vec![], json: false }
}

fn send(address: &str, args: &SendArgs) -> (Result<(), Failure>, String) {
    let config = config(&format!("{SOURCE}server.listen = \"{address}\"\n"));
    let mut out = Vec::new();
    let outcome = run(&config, args, &mut out);
    (outcome, String::from_utf8(out).unwrap())
}

#[test]
fn one_signed_sample_of_each_type_is_sent_in_order_and_its_answer_printed() {
    let (address, seen) = server(200);
    let (outcome, text) = send(&address, &args());
    outcome.unwrap();
    let kinds: Vec<String> = seen.lock().unwrap().iter().map(|(kind, _)| kind.clone()).collect();
    assert_eq!(kinds, SAMPLES.iter().map(|s| s.kind).collect::<Vec<_>>());
    assert_eq!(text.lines().next(), Some("200 message_api_sent id=id-0"));
    assert!(text.lines().last().unwrap().starts_with("18 of 18 answered 200, in "), "{text}");
}

#[test]
fn rounds_run_side_by_side_and_no_two_bodies_are_the_same() {
    let (address, seen) = server(200);
    let (outcome, text) = send(&address, &SendArgs { count: 50, ..args() });
    outcome.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 900);
    assert_eq!(seen.iter().map(|(_, body)| body).collect::<HashSet<_>>().len(), 900);
    assert!(text.contains("200 account_alerts ×50\n") && text.contains("900 of 900 answered 200"), "{text}");
}

#[test]
fn json_is_one_object_a_line_and_the_sum_at_the_end() {
    let (address, _) = server(200);
    let (outcome, text) =
        send(&address, &SendArgs { json: true, kind: Some("message_received".into()), count: 2, ..args() });
    outcome.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["type"], &lines[1]["status"]), (3, &"message_received".into(), &200.into()));
    assert_eq!((&lines[2]["sent"], &lines[2]["ok"], &lines[2]["failed"]), (&2.into(), &2.into(), &0.into()));
}

#[test]
fn files_are_sent_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    std::fs::write(&file, b" {\"type\" : \"x\"}\n\xff").unwrap();
    let (address, seen) = server(200);
    send(&address, &SendArgs { files: vec![file.clone()], ..args() }).0.unwrap();
    assert_eq!(seen.lock().unwrap()[0].1, std::fs::read(&file).unwrap());
    let missing = send(&address, &SendArgs { files: vec![dir.path().join("no")], ..args() }).0;
    assert!(matches!(missing, Err(Failure::Refused(_))));
}

#[test]
fn an_answer_that_is_not_200_is_a_failure() {
    let (address, _) = server(503);
    let (outcome, text) = send(&address, &SendArgs { kind: Some("message_received".into()), ..args() });
    assert!(matches!(outcome, Err(Failure::Refused(_))));
    assert!(text.starts_with("503 message_received no\n0 of 1 answered 200"), "{text}");
}

#[test]
fn where_nobody_listens_it_says_how_to_start_the_daemon() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (outcome, text) = send(&address, &args());
    let message = outcome.unwrap_err();
    assert!(matches!(message, Failure::Unavailable(_)) && text.is_empty());
    assert!(message.to_string().contains("hookrelay run") && message.to_string().contains(&address), "{message}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_nearest_that_can() {
    let usage = |args: SendArgs| match send("127.0.0.1:9", &args).0 {
        Err(Failure::Usage(text)) => text,
        other => panic!("{other:?}"),
    };
    let near = usage(SendArgs { kind: Some("message_api_send".into()), ..args() });
    assert!(near.contains("did you mean `message_api_sent`?"), "{near}");
    for rate in [0.0, -1.0, f64::NAN, 1e-9] {
        assert!(usage(SendArgs { rate: Some(rate), ..args() }).contains("--rate"), "{rate}");
    }
    assert!(usage(SendArgs { url: Some("ftp://x".into()), ..args() }).contains("--url"));
    assert!(usage(SendArgs { source: Some("b".into()), ..args() }).contains("`interakt`"));
}

#[test]
fn a_rate_is_a_due_time_for_every_request() {
    assert_eq!(gap(Some(200.0)).unwrap(), Some(Duration::from_millis(5)));
    assert_eq!(gap(None).unwrap(), None);
}
