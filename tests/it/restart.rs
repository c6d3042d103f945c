//! Stopping and starting: cursors go on where they were, one daemon has the folder, a ledger that is gone costs no
//! event.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, House, column, ends, lines_under, post_all, sign, wait_until};

fn lines(house: &House) -> Vec<String> {
    lines_under(&house.path("out"), ".jsonl")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_each_sink_goes_on_where_it_was() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    post_all(&daemon.url(), (0..50).map(numbered)).await;
    wait_until("fifty lines", || (lines(&house).len() == 50).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    let daemon = house.start();
    post_all(&daemon.url(), (50..60).map(numbered)).await;
    wait_until("sixty lines", || (lines(&house).len() >= 60).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(lines(&house).len(), 60, "something was delivered twice though nothing was killed");
}

#[test]
fn an_address_in_use_is_refused_with_the_program_that_has_it() {
    let (first, second) = (House::new(ARCHIVE), House::new(ARCHIVE));
    let daemon = first.start();
    let config = std::fs::read_to_string(second.config()).unwrap();
    std::fs::write(second.config(), config.replace("127.0.0.1:0", &daemon.address.to_string())).unwrap();
    let refused = ends(second.command(&["run"]));
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{printed}");
    for part in [daemon.address.to_string(), format!("`hookrelay` (process {} of ", daemon.pid())] {
        assert!(printed.contains(&part), "{part}: {printed}");
    }
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_folder_exits_75_and_names_the_first() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    let second = ends(house.command(&["run"]));
    assert_eq!(second.status.code(), Some(75));
    let printed = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(printed.contains(&daemon.pid().to_string()), "{printed}");
    post_all(&daemon.url(), [numbered(1)]).await;
    wait_until("the first goes on", || (lines(&house).len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_lock_removed_a_second_daemon_is_kept_out_all_the_same() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    for _ in 0..2 {
        let _ = std::fs::remove_file(house.path("data/LOCK"));
        let _ = std::fs::remove_file(house.path("data/journal/LOCK"));
        for args in [&["run"][..], &["journal", "repair"]] {
            let second = ends(house.command(args));
            let printed = String::from_utf8_lossy(&second.stderr).into_owned();
            assert_eq!(second.status.code(), Some(75), "{printed}");
            assert!(printed.contains(&daemon.pid().to_string()), "{printed}");
        }
        wait_until("LOCK is back", || house.path("data/LOCK").exists().then_some(())).await;
    }
    assert!(daemon.log.wait_for(|line| line.contains("LOCK was deleted")).is_some());
    post_all(&daemon.url(), [numbered(1)]).await;
    wait_until("the first goes on", || (lines(&house).len() == 1).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

/// A daemon with a data folder of its own and the journal's folder of another one.
#[tokio::test(flavor = "multi_thread")]
async fn two_data_folders_with_one_journal_are_not_both_served() {
    let (house, other) = (House::new(ARCHIVE), House::new(ARCHIVE));
    let text = std::fs::read_to_string(other.config()).unwrap();
    let shared = format!("[journal]\ndir = {:?}\n", house.path("data/journal"));
    std::fs::write(other.config(), text.replace("[journal]\n", &shared)).unwrap();
    let daemon = house.start();
    let _ = std::fs::remove_file(house.path("data/journal/LOCK"));
    let second = ends(other.command(&["run"]));
    let printed = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(75), "{printed}");
    assert!(printed.contains(&daemon.pid().to_string()), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_ledger_every_sink_starts_at_the_oldest_event() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    post_all(&daemon.url(), (0..20).map(numbered)).await;
    wait_until("twenty lines", || (lines(&house).len() == 20).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(house.path("data").join(name));
    }
    let daemon = house.start();
    wait_until("delivered again", || (lines(&house).len() == 40).then_some(())).await;
    assert!(daemon.log.text().contains("the ledger is new"), "{}", daemon.log.text());
    assert_eq!(daemon.terminate(), 0);

    std::fs::write(house.path("data/ledger.db"), b"this is not a database at all").unwrap();
    let daemon = house.start();
    wait_until("and again", || (lines(&house).len() == 60).then_some(())).await;
    assert!(house.path("data/ledger.db.damaged-1").exists(), "the damaged one was not kept");
    assert_eq!(daemon.terminate(), 0);
}

/// The ledger's files: the ending of each one's name, and its bytes.
type Ledger = Vec<(&'static str, Vec<u8>)>;

/// Reads the ledger's files.
fn ledger(house: &House) -> Ledger {
    let read = |ending| Some((ending, std::fs::read(house.path(&format!("data/ledger.db{ending}"))).ok()?));
    ["", "-wal", "-shm"].into_iter().filter_map(read).collect()
}

fn put_back(house: &House, ledger: &[(&str, Vec<u8>)]) {
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(house.path(&format!("data/ledger.db{ending}")));
    }
    for (ending, bytes) in ledger {
        std::fs::write(house.path(&format!("data/ledger.db{ending}")), bytes).unwrap();
    }
}

/// Whether each of so many events has arrived, at least once.
fn all_there(house: &House, n: u64) -> Option<()> {
    let numbers: std::collections::BTreeSet<u64> =
        lines(house).iter().map(|line| crate::bodies::number_in(line)).collect();
    (numbers == (0..n).collect()).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_truncated_corrupted_or_of_yesterday_loses_nothing_and_the_log_says_what_happened() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    post_all(&daemon.url(), (0..10).map(numbered)).await;
    wait_until("ten", || all_there(&house, 10)).await;
    assert_eq!(daemon.terminate(), 0);
    let yesterday = ledger(&house);
    let daemon = house.start();
    post_all(&daemon.url(), (10..20).map(numbered)).await;
    wait_until("twenty", || all_there(&house, 20)).await;
    assert_eq!(daemon.terminate(), 0);
    let today = ledger(&house);
    let cut =
        |share: usize| today.iter().map(|(ending, bytes)| (*ending, bytes[..bytes.len() / share].to_vec())).collect();
    let rotten = today.iter().map(|(ending, bytes)| {
        let mut bytes = bytes.clone();
        bytes.iter_mut().skip(100).step_by(97).for_each(|byte| *byte ^= 0x5a);
        (*ending, bytes)
    });
    let harms: [(&str, Ledger, &str); 4] = [
        ("of yesterday", yesterday, "\"owed\":10"),
        ("cut in half", cut(2), "set aside"),
        ("emptied", vec![("", vec![])], "the ledger is new"),
        ("corrupted", rotten.collect(), "set aside"),
    ];
    for (what, harm, says) in harms {
        put_back(&house, &harm);
        std::fs::remove_dir_all(house.path("out")).unwrap();
        let daemon = house.start();
        let fresh = 20;
        post_all(&daemon.url(), [numbered(fresh)]).await;
        let wanted = if what == "of yesterday" { 10..21 } else { 0..21 };
        wait_until(what, || {
            let there: std::collections::BTreeSet<u64> =
                lines(&house).iter().map(|line| crate::bodies::number_in(line)).collect();
            wanted.clone().all(|n| there.contains(&n)).then_some(())
        })
        .await;
        assert!(daemon.log.wait_for(|line| line.contains(says)).is_some(), "{what}: {}", daemon.log.text());
        assert_eq!(daemon.terminate(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_ledger_and_told_to_go_on_now_nothing_old_is_delivered() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("five", || (lines(&house).len() == 5).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    put_back(&house, &[]);
    let daemon = House::start_as(house.command(&["run", "--cursors=now"]));
    post_all(&daemon.url(), (5..8).map(numbered)).await;
    wait_until("three more", || (lines(&house).len() == 8).then_some(())).await;
    assert!(daemon.log.wait_for(|line| line.contains("--cursors=now every sink starts now")).is_some());
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(lines(&house).len(), 8, "and nothing else");
    let daemon = House::start_as(house.command(&["run", "--cursors=now"]));
    assert!(daemon.log.wait_for(|line| line.contains("has no effect")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_starts_now_or_at_the_beginning_as_its_config_says() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    post_all(&daemon.url(), (0..5).map(numbered)).await;
    assert_eq!(daemon.terminate(), 0);
    house.configure(
        r#"
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[sinks.late]
kind = "file"
path = "late/all.jsonl"
[sinks.whole]
kind = "file"
path = "whole/all.jsonl"
start = "beginning"
[[routes]]
match = "*"
to = ["archive", "late", "whole"]
"#,
    );
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(5)]).await;
    let count = |folder: &str| lines_under(&house.path(folder), ".jsonl").len();
    wait_until("the whole", || (count("whole") == 6).then_some(())).await;
    wait_until("the late one", || (count("late") == 1).then_some(())).await;
    wait_until("the old one", || (count("out") == 6).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_a_row_in_the_ledger_with_its_reason() {
    let house = House::new(
        r#"
[sinks.strict]
kind = "sqlite"
database = "strict.db"
table = "t"
setup = "CREATE TABLE IF NOT EXISTS t (event_id TEXT NOT NULL UNIQUE, message_id TEXT CHECK (message_id <> 'm-3'))"
[[routes]]
match = "*"
transform = "interakt.message_status"
to = "strict"
"#,
    );
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..6).map(numbered)).await;
    let rows = wait_until("five rows", || {
        Some(column(&house.path("strict.db"), "SELECT message_id FROM t ORDER BY 1")).filter(|r| r.len() == 5)
    })
    .await;
    assert_eq!(rows, ["m-0", "m-1", "m-2", "m-4", "m-5"]);
    assert_eq!(daemon.terminate(), 0);
    let dead = column(
        &house.path("data/ledger.db"),
        "SELECT sink || ' ' || id || ' ' || attempts || ' ' || detail FROM held WHERE due IS NULL",
    );
    assert_eq!(dead.len(), 1);
    assert!(dead[0].starts_with(&format!("strict {} 1 ", ids[3])), "{dead:?}");
    let totals = column(&house.path("data/ledger.db"), "SELECT accepted || ' ' || delivered || ' ' || dead FROM sinks");
    assert_eq!(totals, ["6 5 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_match_no_route_are_kept_counted_and_go_to_a_later_sink() {
    let house = House::new("");
    let daemon = house.start();
    post_all(&daemon.url(), (0..7).map(|n| numbered(n * 3))).await;
    let log = daemon.log.clone();
    assert_eq!(daemon.terminate(), 0);
    let line = log.wait_for(|l| l.contains("matched no route since the start")).expect("counted");
    assert!(line.contains("message_api_sent") && line.contains(":7"), "{line}");
    house.configure(&ARCHIVE.replace("path =", "start = \"beginning\"\npath ="));
    let daemon = house.start();
    wait_until("all seven", || (lines(&house).len() == 7).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

/// A client whose connection waits in the kernel's queue has sent its webhook already. A stop must not reset it for
/// want of descriptors, which come free as connections end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_serves_who_has_connected_though_descriptors_had_run_out() {
    let house = House::new(ARCHIVE);
    let run = house.command(&["run"]);
    let mut limited = Command::new("sh");
    limited.arg("-c").arg("ulimit -n 64 && exec \"$0\" \"$@\"").arg(run.get_program()).args(run.get_args());
    limited.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let daemon = House::start_as(limited);
    let clients: Vec<_> = (0..150).map(|n| raw_post(daemon.address, numbered(n))).collect();
    let clients = together(clients).await;
    // The daemon accepts fewer connections than that until it stops; then it accepts all, and descriptors run out.
    daemon.log.wait_for(|line| line.contains("the limit of open files is too low")).expect("few connections fit");
    let answers = tokio::spawn(together(clients.into_iter().map(first_line).collect()));
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
    let answers = answers.await.unwrap();
    let refused: Vec<_> = answers.iter().filter(|line| *line != "HTTP/1.1 200 OK").collect();
    assert!(refused.is_empty(), "{} of {} were not answered: {refused:?}", refused.len(), answers.len());
}

async fn together<T: Send + 'static>(all: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut done = Vec::new();
    for one in all.into_iter().map(tokio::spawn).collect::<Vec<_>>() {
        done.push(one.await.unwrap());
    }
    done
}

/// Connects and sends a whole webhook.
async fn raw_post(to: SocketAddr, body: Vec<u8>) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let (signature, length) = (sign(&body), body.len());
    let head = format!(
        "POST /webhooks/interakt HTTP/1.1\r\nhost: x\r\ninterakt-signature: {signature}\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    stream
}

/// The first line of the answer, or the error if there is no answer.
async fn first_line(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.contains(&b'\n') {
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return "closed".into(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
}

/// A sink's call that never returns is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_for_ever_does_not_keep_the_daemon_from_ending() {
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    let rows = format!(
        "[sinks.rows]\nkind = \"sqlite\"\ndatabase = \"rows.db\"\ntable = \"rows\"\nsetup = \"{endless}\"\n\
         [[routes]]\nname = \"rows\"\nmatch = \"*\"\nto = \"rows\"\ntransform = \"api_log\"\n"
    );
    let house = House::new(&format!("{ARCHIVE}{rows}"));
    let daemon = house.start();
    post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("five lines", || (lines(&house).len() == 5).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}
