//! The journal's folder, the data folder or the ledger's files are taken away while the daemon runs: the log says so,
//! and everything that was answered 200 is on disk again and reaches every sink.

use std::fs;

use crate::bodies::{number_in, numbered};
use crate::harness::{Callback, Daemon, House, column, lines_under, post_all, wait_until};
use crate::tables::{IMPATIENT, archive_and_crm};
use crate::verbs;

/// The events' numbers in the archive, sorted, repeats included.
fn archived(house: &House) -> Vec<u64> {
    let mut numbers: Vec<u64> = lines_under(&house.path("out"), ".jsonl").iter().map(|line| number_in(line)).collect();
    numbers.sort_unstable();
    numbers
}

/// Accepted, pending and dropped of `crm`.
fn figures(house: &House) -> [u64; 3] {
    verbs::figures(house, "crm", ["accepted", "pending", "dropped"])
}

/// How many good records `journal verify` finds; `None` if it finds damage.
fn sound_records(house: &House) -> Option<u64> {
    let out = house.command(&["journal", "verify", "--json"]).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
    (found["sound"] == true).then(|| found["records"].as_u64())?
}

/// Five events are answered 200 and owed to one sink, `harm` is done, five more are answered. After kill -9 all ten are
/// there.
async fn all_ten_are_there(harm: impl FnOnce(&House), says: &str) {
    let callback = Callback::start().await;
    callback.answer_with(500);
    let house = House::new(&archive_and_crm(&callback.url(), IMPATIENT));
    let daemon = house.start();
    let mut ids = post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("five in the archive", || (archived(&house).len() == 5).then_some(())).await;
    harm(&house);
    // No further event is needed for that.
    wait_until("the five are on disk again", || (sound_records(&house) == Some(5)).then_some(())).await;
    let line = daemon.log.wait_for(|line| line.contains(says)).expect("it is said");
    assert!(line.contains("\"ERROR\""), "{line}");
    ids.extend(post_all(&daemon.url(), (5..10).map(numbered)).await);
    wait_until("ten in the archive", || (archived(&house).len() == 10).then_some(())).await;
    wait_until("the verbs reach it", || house.command(&["status"]).output().unwrap().status.success().then_some(()))
        .await;
    assert_eq!(figures(&house), [10, 10, 0]);
    daemon.kill();
    let daemon = house.start();
    assert_eq!(figures(&house), [10, 10, 0]);
    callback.answer_with(200);
    ids.sort();
    wait_until("all ten at the callback", || {
        let mut got: Vec<String> = callback.got().into_iter().map(|got| got.id).collect();
        got.sort();
        got.dedup();
        (got == ids).then_some(())
    })
    .await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_folder_is_deleted() {
    let harm = |house: &House| fs::remove_dir_all(house.path("data/journal")).unwrap();
    all_ten_are_there(harm, "the journal's folder was taken away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_folder_is_moved_elsewhere() {
    let harm = |house: &House| fs::rename(house.path("data/journal"), house.path("elsewhere")).unwrap();
    all_ten_are_there(harm, "the journal's folder was taken away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_segment_being_written_is_deleted() {
    let harm = |house: &House| {
        for file in fs::read_dir(house.path("data/journal")).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "segment") {
                fs::remove_file(file).unwrap();
            }
        }
    };
    all_ten_are_there(harm, "segments were deleted while they were in use").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_data_folder_is_deleted() {
    let harm = |house: &House| fs::remove_dir_all(house.path("data")).unwrap();
    all_ten_are_there(harm, "the data folder was taken away").await;
}

/// Waits until there is a new ledger, and asserts that it has a cursor for each sink.
async fn wait_for_the_new_ledger(house: &House, daemon: &Daemon) {
    daemon.log.wait_for(|line| line.contains("written anew, with all it held")).expect("it is said");
    let sinks = column(&house.path("data/ledger.db"), "SELECT name FROM sinks ORDER BY 1");
    assert_eq!(sinks, ["archive", "crm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_whose_files_are_deleted_is_written_anew_and_nothing_is_delivered_twice() {
    for endings in [&["", "-wal", "-shm"][..], &[""], &["-wal"]] {
        let callback = Callback::start().await;
        let house = House::new(&archive_and_crm(&callback.url(), IMPATIENT));
        let daemon = house.start();
        post_all(&daemon.url(), (0..5).map(numbered)).await;
        wait_until("five in the archive", || (archived(&house).len() == 5).then_some(())).await;
        for ending in endings {
            fs::remove_file(house.path(&format!("data/ledger.db{ending}"))).unwrap();
        }
        wait_for_the_new_ledger(&house, &daemon).await;
        post_all(&daemon.url(), (5..8).map(numbered)).await;
        wait_until("eight in the archive", || (archived(&house).len() == 8).then_some(())).await;
        assert_eq!(daemon.terminate(), 0);
        let daemon = house.start();
        post_all(&daemon.url(), [numbered(8)]).await;
        wait_until("nine in the archive", || (archived(&house).len() >= 9).then_some(())).await;
        assert_eq!(daemon.terminate(), 0);
        assert_eq!(archived(&house), (0..9).collect::<Vec<_>>(), "{endings:?}");
    }
}
