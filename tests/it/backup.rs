//! Copies of a data folder in use, made by the commands of docs/operating.md, and what a daemon on such a copy does.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::bodies::{number_in, numbered};
use crate::guide::block;
use crate::harness::{Callback, House, column, lines_under, post, post_all, wait_until};
use crate::tables::IMPATIENT;
use crate::verbs::{status, verb};

/// How many copies are made, one after the other.
const COPIES: u64 = 3;
/// Those that send meanwhile.
const SENDERS: u64 = 4;

/// Sinks that write where those of the example do, and one that is held by hand.
fn tables(url: &str) -> String {
    format!(
        r#"
[sinks.archive]
kind = "file"
path = "data/events/all.jsonl"
[sinks.rows]
kind = "sqlite"
database = "data/hookrelay.db"
table = "rows"
setup = "CREATE TABLE IF NOT EXISTS rows (event_id TEXT NOT NULL UNIQUE, n TEXT NOT NULL)"
[sinks.crm]
kind = "http"
url = "{url}"
{IMPATIENT}
[[routes]]
match = "*"
to = ["archive", "crm"]
[[routes]]
match = "*"
transform = "{{n: .data.message.id}}"
to = "rows"
"#
    )
}

/// A house with small segments, so that some are ended while they are copied.
fn house(url: &str) -> House {
    let house = House::new(&tables(url));
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("[journal]\n", "[journal]\nsegment_size = \"1MiB\"\n")).unwrap();
    house
}

/// The guide's commands that hold this text, on that house in the place of the system's.
fn guides(text: &str, house: &House) {
    let config = house.path("etc");
    std::fs::create_dir_all(&config).unwrap();
    // What it installs is here.
    let mut commands = block("sh", text).replace("apt-get install -y sqlite3\n", "");
    for (system, own) in [
        ("/var/backups/hookrelay", house.path("copies")),
        ("/var/lib/hookrelay", house.path("data")),
        ("/etc/hookrelay", config),
        ("hookrelay --config", env!("CARGO_BIN_EXE_hookrelay").into()),
    ] {
        let option = if system.ends_with("--config") { " --config" } else { "" };
        commands = commands.replace(system, &format!("{}{option}", own.display()));
    }
    let out = Command::new("bash").args(["-e", "-c", &commands]).output().unwrap();
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(out.status.success(), "{commands}\n{said}");
}

/// A house on the latest copy.
fn restored(from: &House, url: &str) -> House {
    let house = house(url);
    let copies = std::fs::read_dir(from.path("copies")).unwrap().map(|entry| entry.unwrap().path());
    let newest = copies.max().unwrap();
    copy(&newest.join("data"), &house.path("data"));
    house
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// The numbers in the archive and in the table; how many lines the former has.
fn arrived(house: &House) -> ([HashSet<u64>; 2], usize) {
    let lines = lines_under(&house.path("data/events"), ".jsonl");
    let rows = column(&house.path("data/hookrelay.db"), "SELECT n FROM rows");
    let numbers = [&lines, &rows].map(|all| all.iter().map(|line| number_in(line)).collect());
    (numbers, lines.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_under_load_loses_nothing_that_was_answered_before_it() {
    if Command::new("sqlite3").arg("--version").output().is_err() {
        return sink_testkit::skip(
            "backup::a_copy_made_under_load",
            "sqlite3 is not there (tests/services/tools sqlite3)",
        );
    }
    let callback = Callback::start().await;
    let house = house(&callback.url());
    let daemon = house.start();
    verb(&house, 0, &["sink", "pause", "crm"]);
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<std::sync::Mutex<Vec<u64>>>::default());
    let senders = (0..SENDERS).map(|first| {
        let (stop, answered, url) = (Arc::clone(&stop), Arc::clone(&answered), daemon.url());
        tokio::spawn(async move {
            let client = reqwest::Client::new();
            for n in (first..).step_by(SENDERS as usize).take_while(|_| !stop.load(SeqCst)) {
                assert_eq!(post(&client, &url, numbered(n)).await.unwrap().0, 200);
                answered.lock().unwrap().push(n);
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    for nth in 1..=COPIES {
        let enough = usize::try_from(nth * 800).unwrap();
        while answered.lock().unwrap().len() < enough {
            assert!(senders.iter().all(|sender| !sender.is_finished()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before: HashSet<u64> = answered.lock().unwrap().iter().copied().collect();
        tokio::task::block_in_place(|| guides("VACUUM INTO", &house));
        tokio::task::block_in_place(|| guides("journal verify", &house));
        let other = restored(&house, &callback.url());
        // Copies of one second would have one name.
        std::fs::remove_dir_all(house.path("copies")).unwrap();
        let taken = callback.got().len();
        let copy = other.start();
        wait_until("all that was on the copy is delivered", || {
            let ([lines, rows], _) = arrived(&other);
            (lines.is_superset(&before) && rows.is_superset(&before)).then_some(())
        })
        .await;
        // What was held is held still, and delivered when it is let go.
        assert_eq!(callback.got().len(), taken);
        assert_eq!(status(&other)["sinks"]["crm"]["paused"], true);
        verb(&other, 0, &["sink", "resume", "crm"]);
        wait_until("the sink that was held has its own", || {
            let got: HashSet<u64> =
                callback.got()[taken..].iter().map(|got| number_in(&String::from_utf8_lossy(&got.body))).collect();
            got.is_superset(&before).then_some(())
        })
        .await;
        // It takes new webhooks, too.
        let new = 1_000_000 + nth;
        post_all(&copy.url(), [numbered(new)]).await;
        wait_until("a new one is delivered", || arrived(&other).0[1].contains(&new).then_some(())).await;
        assert_eq!(copy.terminate(), 0);
    }
    stop.store(true, SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_newer_than_the_journal_costs_no_new_webhook() {
    let callback = Callback::start().await;
    let house = house(&callback.url());
    let daemon = house.start();
    post_all(&daemon.url(), (0..50).map(numbered)).await;
    wait_until("the first are delivered", || (arrived(&house).1 == 50).then_some(())).await;
    // The wrong order.
    let to = house.path("copies/wrong/data");
    std::fs::create_dir_all(&to).unwrap();
    copy(&house.path("data/journal"), &to.join("journal"));
    post_all(&daemon.url(), (50..100).map(numbered)).await;
    wait_until("all are delivered", || (callback.got().len() == 100 && arrived(&house).1 == 100).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    copy(&house.path("data/ledger.db"), &to.join("ledger.db"));
    let other = restored(&house, &callback.url());
    let daemon = other.start();
    post_all(&daemon.url(), (1000..1010).map(numbered)).await;
    let new: HashSet<u64> = (1000..1010).collect();
    wait_until("the new ones are delivered", || arrived(&other).0[1].is_superset(&new).then_some(())).await;
    // The figures add up, and count what the ledger counted before.
    let settled = wait_until("all is settled", || {
        let archive = status(&other)["sinks"]["archive"].clone();
        (archive["pending"] == 0).then_some(archive)
    })
    .await;
    assert_eq!(settled["delivered"], 110, "{settled}");
    assert_eq!(daemon.terminate(), 0);
}
