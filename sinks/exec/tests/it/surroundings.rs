//! What a program is given (environment, files, folder), what becomes of its words, and what is left of it.

use std::io::Write;
use std::sync::{Arc, Mutex};

use sink_api::{BuildError, code};
use sink_testkit::wait_until;
use tracing_subscriber::fmt::MakeWriter;

use crate::{Fixture, ones, runs, verdicts};

#[tokio::test]
async fn a_program_gets_three_pipes_its_folder_and_no_more_environment_than_it_is_promised() {
    let fixture = Fixture::with(
        "command = [\"sh\", \"../program.sh\"]\ndir = \"inner\"\nenv = { HOME = \"/nowhere\", EXTRA = \"1\" }",
        "ls /proc/$$/fd >fds; env >environment; while next; do say delivered; done",
    );
    std::fs::create_dir(fixture.path("inner")).unwrap();
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &ones(&["one"])).await, ["delivered"]);
    let mut names: Vec<String> = fixture.lines("inner/environment");
    let of_the_shell = ["PWD=", "OLDPWD=", "_=", "SHLVL="];
    names.retain(|line| !of_the_shell.iter().any(|own| line.starts_with(own)));
    let expected = ["EXTRA=1", "HOME=/nowhere", "HOOKRELAY_PROTOCOL=1", "HOOKRELAY_SINK=mine"];
    assert!(expected.iter().all(|line| names.iter().any(|n| n == line)), "{names:?}");
    let promised = ["EXTRA", "HOME", "HOOKRELAY_PROTOCOL", "HOOKRELAY_SINK", "LANG", "PATH", "PYTHONUNBUFFERED", "TZ"];
    assert!(names.iter().all(|line| promised.contains(&line.split('=').next().unwrap())), "{names:?}");
    // 0, 1, 2, and the script the shell reads.
    let others: Vec<String> =
        fixture.lines("inner/fds").into_iter().filter(|fd| fd.parse::<u32>().unwrap() < 10).collect();
    assert_eq!(others, ["0", "1", "2"]);
}

#[tokio::test]
async fn close_ends_the_program_in_good_order() {
    let fixture = Fixture::sh("note $$; while next; do say delivered; done; note bye");
    let sink = fixture.open().await;
    verdicts(&*sink, &ones(&["one"])).await;
    sink.close().await;
    assert_eq!(fixture.notes()[1..], ["bye"]);
    assert!(!runs(&fixture.notes()[0]));
}

#[tokio::test]
async fn close_leaves_no_grandchildren_and_waits_for_nobody_for_long() {
    // The first stays after its input is closed, minds SIGTERM, and has a child that minds nothing; the second minds
    // nothing.
    for program in [
        "trap 'note term; exit 0' TERM; (trap '' TERM; exec sleep 1000) & note $!; note $$; while :; do wait; done",
        "trap '' TERM; sleep 1000 & note $!; note $$; while :; do wait; done",
    ] {
        let fixture = Fixture::sh(program);
        let sink = fixture.open().await;
        wait_until("it runs", || fixture.notes().len() == 2).await;
        let pids = fixture.notes();
        tokio::time::timeout(crate::PATIENCE, sink.close()).await.unwrap();
        wait_until("all are gone", || !pids.iter().any(|pid| runs(pid))).await;
        assert_eq!(fixture.notes().contains(&"term".to_owned()), program.contains("note term"));
    }
}

#[tokio::test]
async fn a_sink_that_is_only_dropped_leaves_nobody_either() {
    let fixture = Fixture::sh("sleep 1000 & note $!; note $$; while next; do say delivered; done");
    let sink = fixture.open().await;
    wait_until("it runs", || fixture.notes().len() == 2).await;
    drop(sink);
    wait_until("all are gone", || !fixture.notes().iter().any(|pid| runs(pid))).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_by_name() {
    for (lines, says) in [
        ("command = [\"no-such-program\"]", "no-such-program is in no folder of PATH"),
        ("command = [\"./gone/program\"]", "gone/program is not there"),
        ("command = [\"sh\"]\ndir = \"gone\"", "gone is not there"),
        ("command = [\"./program.sh\"]", "Permission denied"),
    ] {
        match Fixture::with(lines, "").build().await {
            Err(BuildError::Refused(text)) => assert!(text.contains(says), "{text}"),
            Err(other) => panic!("{lines}: {other}"),
            Ok(_) => panic!("{lines}: opened"),
        }
    }
}

#[tokio::test]
async fn a_program_that_is_taken_away_is_the_sinks_fault() {
    let fixture = Fixture::with("command = [\"./shell\", \"program.sh\"]", "exit 0");
    std::os::unix::fs::symlink("/bin/sh", fixture.path("shell")).unwrap();
    let sink = fixture.open().await;
    std::fs::remove_file(fixture.path("shell")).unwrap();
    wait_until("it is missed", || fixture.starts() == 1).await;
    verdicts(&*sink, &ones(&["one"])).await;
    let verdict = verdicts(&*sink, &ones(&["one"])).await;
    assert_eq!(verdict, ["retry connect"]);
    assert!(code::SINK_DOWN.contains(&"connect"));
}

/// The log, kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn its_standard_error_is_in_our_log_masked_cut_and_limited() {
    let kept = Kept::default();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(kept.clone()).finish();
    let _log = tracing::subscriber::set_default(log);
    let fixture = Fixture::with(
        "command = [\"sh\", \"program.sh\"]\nenv = { TOKEN = \"hush-hush-hush\" }",
        "echo \"I say $TOKEN\" >&2; head -c 9000 /dev/zero | tr '\\0' 'l' >&2; echo >&2; seq 1000 >&2
        while next; do echo 'what a mess'; done",
    );
    let sink = fixture.open().await;
    let said = || String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert_eq!(verdicts(&*sink, &ones(&["one"])).await, ["retry exec_protocol"]);
    sink.close().await;
    let said = said();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("INFO")).collect();
    assert_eq!(lines.len(), 50, "{said}");
    assert!(lines[0].contains("I say ***") && lines[0].contains("sink=\"mine\""), "{}", lines[0]);
    assert!(lines[1].contains("lllll") && lines[1].contains('…') && lines[1].len() < 2200, "{}", lines[1].len());
    let complaint = said.lines().find(|line| line.contains("WARN")).unwrap();
    assert!(complaint.contains("what a mess") && complaint.contains("no verdict"), "{complaint}");
    assert!(!said.contains("hush"));
}
