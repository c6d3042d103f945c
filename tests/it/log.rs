//! A log that nobody reads stops nothing: no sender, no sink, no reload, and not the end. `RUST_LOG` makes it say more,
//! but never what is held back. Where systemd's journal reads it, it is written for that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, House, Reader, column, lines_under, post_all, wait_until};

/// Tables with a rule that fails for every event.
const BROKEN: &str = "[[routes]]\nname = \"broken\"\nmatch = \"*\"\nwhere = \"error(1)\"\nto = \"archive\"\n";

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Causes many lines in the log: bad signatures, a rule that fails, reloads.
async fn goes_on(house: &House, url: &str) {
    let refused = reqwest::Client::new().post(url).header("interakt-signature", "sha256=00").body("{}").send();
    assert_eq!(refused.await.unwrap().status(), 401);
    post_all(url, (0..100).map(numbered)).await;
    wait_until("the sink goes on", || (lines_under(&house.path("out"), ".jsonl").len() == 100).then_some(())).await;
    for _ in 0..30 {
        let mut reload = tokio::process::Command::from(house.command(&["reload"]));
        assert_eq!(reload.status().await.unwrap().code(), Some(0));
    }
}

async fn is_stopped_by_nothing(be: Reader) {
    let house = House::new(&format!("{ARCHIVE}{BROKEN}"));
    let daemon = house.start();
    daemon.log.set_reader(be);
    tokio::time::timeout(PATIENCE, goes_on(&house, &daemon.url())).await.expect("the daemon stands still");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_has_gone_stops_nothing() {
    is_stopped_by_nothing(Reader::Leaves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    is_stopped_by_nothing(Reader::Sleeps).await;
}

#[test]
fn a_start_whose_log_cannot_be_written_is_a_start() {
    let house = House::new(ARCHIVE);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut daemon = house.command(&["run"]).stderr(full).spawn().unwrap();
    let answers = || house.command(&["status", "--json"]).output().unwrap().status.success();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !answers() {
        assert_eq!(daemon.try_wait().unwrap(), None, "the daemon ended");
        assert!(std::time::Instant::now() < deadline, "no daemon answers");
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// A message of PostgreSQL's protocol.
fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, content].concat()
}

/// A server of PostgreSQL's protocol: it accepts every connection, with a notice, and answers every query with a
/// failure.
fn notices_and_fails(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut startup).unwrap();
        let notice = b"SNOTICE\0VNOTICE\0C00000\0Mrow-value-7 is there\0\0";
        let all = [message(b'R', &[0; 4]), message(b'N', notice), message(b'Z', b"I")].concat();
        stream.write_all(&all).unwrap();
        // This is the query's first byte; the client may have gone.
        let _ = stream.read_exact(&mut [0]);
        let _ = stream.write_all(&message(b'E', b"SFATAL\0VFATAL\0C57P03\0Mnot now\0\0"));
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_says_of_its_rows_is_logged_only_where_it_is_asked_for_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || notices_and_fails(&listener));
    let house = House::new(&format!(
        "[sinks.pg]\nkind = \"postgres\"\nurl = \"postgres://u@127.0.0.1:{port}/d?sslmode=disable&connect_timeout=1\"\n\
         table = \"t\"\n[[routes]]\nmatch = \"*\"\nto = \"pg\"\n"
    ));
    for (said, is_told) in [("info", false), ("debug", false), ("info,tokio_postgres=info", true)] {
        let mut command = house.command(&["run"]);
        command.env("RUST_LOG", said);
        let daemon = House::start_as(command);
        post_all(&daemon.url(), [numbered(0)]).await;
        // The notice comes before the failure.
        let log = daemon.log.clone();
        let failed = move || log.wait_for(|line| line.contains("\"sink\":\"pg\"") && line.contains("WARN"));
        let failed = tokio::task::spawn_blocking(failed).await.unwrap();
        assert!(failed.is_some(), "{said}: {}", daemon.log.text());
        assert_eq!(daemon.log.text().contains("row-value-7"), is_told, "{said}: {}", daemon.log.text());
        daemon.kill();
    }
}

#[test]
fn a_rust_log_that_cannot_be_followed_is_told_and_the_default_is_in_force() {
    let house = House::new(ARCHIVE);
    for said in ["inof", "info,hookrelay=loud"] {
        let mut command = house.command(&["run"]);
        command.env("RUST_LOG", said);
        let daemon = House::start_as(command);
        assert!(daemon.log.wait_for(|line| line.contains("RUST_LOG is not followed")).is_some(), "{said}");
        assert_eq!(daemon.terminate(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_many_keys_that_a_table_lacks_is_one_line() {
    let house = House::new(
        "[sinks.rows]\nkind = \"sqlite\"\ndatabase = \"data/rows.db\"\ntable = \"t\"\n\
        setup = \"CREATE TABLE IF NOT EXISTS t (event_id TEXT UNIQUE, type TEXT)\"\n\
        [[routes]]\nmatch = \"*\"\nto = \"rows\"\n",
    );
    let daemon = house.start();
    let keys: String = (0..300).map(|n| format!(",\"key{n}\":1")).collect();
    post_all(&daemon.url(), [format!("{{\"type\":\"t\"{keys}}}").into_bytes()]).await;
    let rows = || column(&house.path("data/rows.db"), "SELECT type FROM t");
    wait_until("it is a row", || (rows() == ["t"]).then_some(())).await;
    let lines = daemon.log.text().lines().filter(|line| line.contains("no such column")).count();
    assert_eq!(lines, 1);
    assert_eq!(daemon.terminate(), 0);
}

/// What a command and its daemon, where it is one, write to standard error, with `JOURNAL_STREAM` naming that stream or
/// another one. A daemon is stopped as soon as it is ready.
fn logged_under_systemd(mut command: Command, is_named: bool) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stream = std::fs::metadata(format!("/proc/self/fd/{}", writer.as_raw_fd())).unwrap();
    let named = format!("{}:{}", stream.dev(), stream.ino() + u64::from(!is_named));
    let mut child = command.env("JOURNAL_STREAM", named).stderr(writer).spawn().unwrap();
    // It holds the pipe's other end, which would keep the pipe open.
    drop(command);
    let mut text = String::new();
    for line in BufReader::new(reader).lines() {
        let line = line.unwrap();
        if line.contains("ready") {
            rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        }
        text.push_str(&format!("{line}\n"));
    }
    (child.wait().unwrap().code(), text)
}

#[test]
fn under_systemd_lines_have_a_priority_and_no_time_and_elsewhere_they_are_json() {
    let house = House::new(ARCHIVE);
    let mut run = house.command(&["run"]);
    run.env("RUST_LOG", "inof");
    let (code, text) = logged_under_systemd(run, true);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((code, lines.last()), (Some(0), Some(&"<6>stopped")), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("<4>RUST_LOG is not followed")), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("<6>listening address=\"127.0.0.1:")), "{text}");
    let (code, text) = logged_under_systemd(house.command(&["run"]), false);
    assert!(code == Some(0) && text.lines().all(|line| line.starts_with("{\"timestamp\":")), "{text}");
}

#[test]
fn under_systemd_every_line_of_a_fault_is_an_error() {
    let house = House::new(ARCHIVE);
    std::fs::write(house.config(), "nonsense = 1\n").unwrap();
    let (code, text) = logged_under_systemd(house.command(&["run"]), true);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.lines().count() > 1 && text.lines().all(|line| line.starts_with("<3>")), "{text}");
}

/// What `log-level` prints with these arguments, and its exit code.
fn log_level(house: &House, args: &[&str]) -> (Option<i32>, String) {
    let output = house.command(&[&["log-level"], args].concat()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap().trim().to_owned())
}

#[test]
fn the_level_of_a_room_is_changed_while_the_daemon_runs_until_a_reload() {
    let house = House::new(&format!("[log]\nlevel = \"warn\"\nlevels = {{ daemon = \"info\" }}\n{ARCHIVE}"));
    let daemon = house.start();
    let of_config = "warn,hookrelay::daemon=info";
    assert_eq!(log_level(&house, &[]), (Some(0), of_config.to_owned()));
    assert_eq!(log_level(&house, &["daemon=error"]), (Some(0), "warn,hookrelay::daemon=error".to_owned()));
    // The daemon says at level info that a level was changed: where it still writes lines of that level.
    assert_eq!(log_level(&house, &["daemon=Info"]).0, Some(0));
    assert!(daemon.log.wait_for(|line| line.contains("log level was changed")).is_some());
    assert_eq!(daemon.log.text().matches("log level was changed").count(), 1, "{}", daemon.log.text());
    assert!(house.command(&["reload"]).status().unwrap().success());
    assert_eq!(log_level(&house, &[]), (Some(0), of_config.to_owned()), "the reload has brought the config's back");
    assert_eq!(log_level(&house, &["daemon=error"]).0, Some(0));
    assert_eq!(log_level(&house, &["DEBUG"]), (Some(0), "debug".to_owned()), "a level for all is for all");
    for (wrong, mend) in [("deliverr=debug", "did you mean `deliver`?"), ("inof", "did you mean `info`?")] {
        let (code, why) = log_level(&house, &[wrong]);
        assert!(code == Some(2) && why.contains(mend), "{why}");
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn the_format_of_the_log_is_the_configs() {
    for (format, begin) in [("text", "20"), ("json", "{\"timestamp\":"), ("journald", "<")] {
        let house = House::new(&format!("[log]\nformat = \"{format}\"\n{ARCHIVE}"));
        let (code, text) = logged_under_systemd(house.command(&["run"]), format != "journald");
        assert!(code == Some(0) && text.lines().all(|line| line.starts_with(begin)), "{format}: {text}");
    }
}

#[test]
fn a_log_table_that_cannot_be_meant_is_refused_with_the_place_and_the_way_out() {
    let house = House::new(&format!("[log]\nlevel = \"loud\"\nlevels = {{ sink = \"info\" }}\n{ARCHIVE}"));
    let output = house.command(&["check"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    for part in ["`loud`", "`sink` is no room", "did you mean `sinks`?"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_detail_each_line_about_an_event_has_its_id_and_a_body_only_where_bodies_are_asked_for() {
    for bodies in [false, true] {
        let levels = "levels = { ingress = \"debug\", deliver = \"debug\" }";
        let house = House::new(&format!("[log]\n{levels}\nbodies = {bodies}\n{ARCHIVE}"));
        let daemon = house.start();
        post_all(&daemon.url(), [br#"{"type":"t","secret_of_mine":7}"#.to_vec()]).await;
        wait_until("it is delivered", || (lines_under(&house.path("out"), ".jsonl").len() == 1).then_some(())).await;
        let delivered = &lines_under(&house.path("out"), ".jsonl")[0];
        let id = delivered.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
        let log = daemon.log.clone();
        for words in ["a webhook is believed", "a delivery was tried"] {
            let is_it = |line: &str| line.contains(words) && line.contains(id);
            assert!(log.wait_for(is_it).is_some(), "{words}: {}", log.text());
        }
        assert_eq!(log.text().contains("secret_of_mine"), bodies, "{}", log.text());
        assert_eq!(daemon.terminate(), 0);
    }
}
