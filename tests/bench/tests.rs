//! Whether `make bench` can be believed: it counts successes alone, it fails where something acknowledged is missing,
//! and its list of targets says what was not run.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, dead_code, missing_docs)]

mod admin;
mod backlog;
mod client;
mod contestant;
mod everyday;
mod figures;
mod front;
mod options;
mod outside;
mod proc;
mod quota;
mod recipe;
mod several;
mod targets;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use client::{Aim, Load, length_of_answer, press};
use contestant::SinkFile;
use figures::{Cells, Figure, Values, connections_of};
use options::Part;

/// A server that gives these answers to the requests of one connection, one after the other, the last for ever.
fn answering(answers: &'static [&'static str]) -> SocketAddr {
    answering_late(answers, Duration::ZERO)
}

/// The same, each answer after so long.
fn answering_late(answers: &'static [&'static str], after: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let last = answers[answers.len() - 1];
        for answer in answers.iter().copied().chain(std::iter::repeat(last)) {
            // One request is smaller, and the next one comes after its answer.
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                std::thread::sleep(after);
                let _ = stream.write_all(answer.as_bytes());
            } else {
                return;
            }
        }
    });
    address
}

fn load(requests: u64) -> Load {
    let window = Duration::from_secs(30);
    Load { requests: Some(requests), warm_up: Duration::ZERO, ..Load::full(1, window) }
}

#[test]
fn only_successes_are_counted_and_anything_else_ends_the_bench() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const NONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let good = press(&Aim::own(answering(&[OK, NONE, OK])), &load(5)).unwrap();
    assert_eq!((good.all, good.latencies.len()), (5, 5));
    let bad = press(&Aim::own(answering(&[OK, OK, BUSY])), &load(5)).map(|answers| answers.all);
    assert!(bad.as_ref().is_err_and(|error| error.to_string().contains("503")), "{bad:?}");
}

#[test]
fn a_steady_load_is_over_with_its_time_where_the_server_cannot_take_all_of_it() {
    let slow = answering_late(&["HTTP/1.1 204 No Content\r\n\r\n"], Duration::from_millis(50));
    let (asked, window) = (200, Duration::from_secs(1));
    let load = Load { rate: Some(asked), warm_up: Duration::ZERO, ..Load::full(1, window) };
    let answers = press(&Aim::own(slow), &load).unwrap();
    // One answer each 50 ms at most, and one that was under way at the end.
    assert!(answers.all > 0 && answers.all <= 21, "{} of {asked} were sent", answers.all);
}

#[test]
fn an_answer_that_is_no_success_or_has_no_end_is_an_error() {
    for bad in ["HTTP/1.1 302 Found", "HTTP/1.1 401 Unauthorized", "HTTP/1.1 500 No", "nonsense", "HTTP/1.1 200 OK"] {
        assert!(length_of_answer(format!("{bad}\r\n\r\n").as_bytes()).is_err(), "{bad}");
    }
    let half = length_of_answer(b"HTTP/1.1 202 Accepted\r\nContent-Length: 7\r\n\r\n").unwrap();
    assert_eq!(half, Some(51));
    assert_eq!(length_of_answer(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(), None);
}

#[test]
fn a_run_fails_where_an_acknowledged_event_is_missing_from_the_file_sink() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("events.jsonl");
    std::fs::write(&path, "{}\n{}\n{}\n").unwrap();
    SinkFile::new(path.clone()).wait_for(3, Duration::from_millis(100)).unwrap();
    let lost = SinkFile::new(path).wait_for(4, Duration::from_millis(100)).map_err(|error| error.to_string());
    assert!(lost.as_ref().is_err_and(|error| error.contains("LOST: 4 acknowledged, 3")), "{lost:?}");
}

#[test]
fn bodies_have_the_size_that_was_asked_for_and_a_message_of_their_own() {
    for bytes in [200, 900, 1_000, 100_000] {
        let body = client::body(bytes, 7);
        assert_eq!(body.len(), bytes);
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read.pointer("/data/message/id").unwrap(), &client::message(7));
    }
    assert_ne!(client::body(900, 1), client::body(900, 2));
}

#[test]
fn the_list_of_targets_is_computed_from_the_run_and_says_what_was_not_run() {
    let mut cells = Cells::default();
    let mut push = |server: &str, round, rate| {
        let values = Values::from([(Figure::PerSecond, rate)]);
        cells.push(Part::Front, &connections_of(64), server, round, values);
    };
    for round in 1..=3 {
        push("durable", round, 100.0);
    }
    for (round, rate) in [(1, 90.0), (2, 500.0), (3, 110.0)] {
        push("relay", round, rate);
    }
    let table = targets::table(&cells, 1_000);
    let row = |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(row("| requests/s of bare durable, 64").ends_with("| ≥ 1.2 | 1.10 | no |"), "{table}");
    assert!(row("| requests/s of bare durable, 16").ends_with("| ≥ 1.2 | – | not run |"), "{table}");
    assert!(row("| Kafka, one key").ends_with("| ≥ 0.5 | – | not run |"), "{table}");
}

#[test]
fn a_url_says_where_to_send() {
    let (address, path) = outside::aim_of("http://127.0.0.1:4195/post").unwrap();
    assert_eq!((address.to_string().as_str(), path.as_str()), ("127.0.0.1:4195", "/post"));
    assert!(outside::aim_of("https://127.0.0.1/").is_err());
}
