//! A data folder that is not the daemon's alone is refused, and files in it are not opened behind a link. An obstacle
//! in the place of one sink's state stops that sink and nothing else.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, House, ends, lines_under, post_all, wait_until};

/// The user `nobody` of every system.
const SOMEBODY: u32 = 65534;

/// Whether this process may change a file's owner; a line on the terminal says so if not.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        // Straight to the terminal: the harness swallows what the print macros write.
        let line = format!("skipped: {test}: only root can give a folder to somebody else\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    is_root
}

/// What a verb prints when it refuses, with this exit code.
fn refused(house: &House, args: &[&str], code: i32) -> String {
    let out = ends(house.command(args));
    let printed = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{printed}");
    printed
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn make(folder: &Path, mode: u32) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_of_somebody_else_is_refused_with_the_mend() {
    if !is_root("a_folder_of_somebody_else_is_refused_with_the_mend") {
        return;
    }
    for folder in ["data", "data/journal"] {
        let house = House::new(ARCHIVE);
        make(&house.path("data"), 0o700);
        make(&house.path("data/journal"), 0o700);
        chown(house.path(folder), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        for args in [&["run"][..], &["journal", "repair"]] {
            let printed = refused(&house, args, 78);
            assert!(printed.contains("65534") && printed.contains("chown -R 0"), "{printed}");
        }
        let left = fs::read_dir(house.path(folder)).unwrap().filter(|one| {
            let name = one.as_ref().unwrap().file_name();
            name != "journal"
        });
        assert_eq!(left.count(), 0, "{folder}: something was made in it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_others_may_write_to_is_refused_and_one_they_may_read_is_closed() {
    for folder in ["data", "data/journal"] {
        let house = House::new(ARCHIVE);
        make(&house.path("data"), 0o700);
        make(&house.path("data/journal"), 0o700);
        for mode in [0o770, 0o777] {
            make(&house.path(folder), mode);
            let printed = refused(&house, &["run"], 78);
            assert!(printed.contains("others may write") && printed.contains("chmod 700"), "{printed}");
        }
        make(&house.path(folder), 0o755);
        let daemon = house.start();
        assert_eq!(mode(&house.path(folder)), 0o700);
        let line = daemon.log.wait_for(|line| line.contains("others could look into the folder")).expect("it is said");
        assert!(line.contains("0755"), "{line}");
        post_all(&daemon.url(), [numbered(1)]).await;
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn a_link_in_the_place_of_lock_or_the_ledger_is_refused_and_its_target_left_alone() {
    for name in ["LOCK", "journal/LOCK", "ledger.db", "ledger.db-wal"] {
        let house = House::new(ARCHIVE);
        make(&house.path("data"), 0o700);
        make(&house.path("data/journal"), 0o700);
        fs::write(house.path("victim"), "precious").unwrap();
        symlink(house.path("victim"), house.path("data").join(name)).unwrap();
        let printed = refused(&house, &["run"], 78);
        assert!(printed.contains(name) && printed.contains("symbolic link"), "{printed}");
        assert_eq!(fs::read_to_string(house.path("victim")).unwrap(), "precious", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_folder_itself_may_be_a_link() {
    let house = House::new(ARCHIVE);
    make(&house.path("large disk"), 0o700);
    symlink(house.path("large disk"), house.path("data")).unwrap();
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    wait_until("delivered", || (lines_under(&house.path("out"), ".jsonl").len() == 1).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

const TWO: &str = r#"
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[sinks.sick]
kind = "file"
path = "sick/all.jsonl"
breaker = { probe = "20ms", probe_max = "100ms" }
[[routes]]
match = "*"
to = ["archive", "sick"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_place_of_one_sinks_folder_stops_that_sink_alone_until_it_is_gone() {
    for (obstacle, other_waits) in [("data/sinks/sick", false), ("data/sinks", true)] {
        let house = House::new(TWO);
        make(house.path(obstacle).parent().unwrap(), 0o700);
        make(&house.path("data"), 0o700);
        fs::write(house.path(obstacle), "in the way").unwrap();
        let daemon = house.start();
        let count = |folder: &str| lines_under(&house.path(folder), ".jsonl").len();
        post_all(&daemon.url(), (0..5).map(numbered)).await;
        let line = daemon.log.wait_for(|line| line.contains("the sink cannot be opened")).expect("it is said");
        assert!(line.contains("data/sinks/"), "{line}");
        if !other_waits {
            wait_until("the other has all", || (count("out") == 5).then_some(())).await;
        }
        assert_eq!(count("sick"), 0);
        fs::remove_file(house.path(obstacle)).unwrap();
        wait_until("all have all", || (count("sick") == 5 && count("out") == 5).then_some(())).await;
        assert_eq!(daemon.terminate(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_the_place_of_a_ledgers_file_sets_the_ledger_aside_and_webhooks_are_taken() {
    for (n, name) in ["ledger.db-wal", "ledger.db-shm", "ledger.db"].iter().enumerate() {
        let house = House::new(ARCHIVE);
        let daemon = house.start();
        post_all(&daemon.url(), (0..5).map(numbered)).await;
        let lines = || lines_under(&house.path("out"), ".jsonl").len();
        wait_until("five lines", || (lines() == 5).then_some(())).await;
        assert_eq!(daemon.terminate(), 0);
        let path = house.path("data").join(name);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let daemon = house.start();
        post_all(&daemon.url(), [numbered(5)]).await;
        wait_until("from the oldest on", || (lines() == 11).then_some(())).await;
        assert!(daemon.log.text().contains("was set aside"), "{n}: {}", daemon.log.text());
        assert_eq!(daemon.terminate(), 0);
        assert_eq!(lines(), 11, "{name}");
    }
}
