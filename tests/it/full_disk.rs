//! The daemon starts and stops on a disk that is full, or has no file left to give: webhooks are taken, and reach every
//! sink once there is room; and nothing that looks like damage stays behind.
//!
//! The disk is a small tmpfs that only the daemon sees. It lives in a mount namespace of its own and goes with that,
//! whatever becomes of the test. If the system gives no namespace, the test says so and stops.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::bodies::numbered;
use crate::harness::{Callback, Daemon, House, SECRET, lines_under, post, post_all, wait_until};
use crate::tables::archive_and_crm;

/// A file system of 1 MiB and 256 files mounted on a folder, in a namespace that a child process keeps open.
struct SmallDisk {
    holder: Child,
    folder: PathBuf,
}

const AS_ROOT: &[&str] = &["--mount"];
const AS_USER: &[&str] = &["--user", "--map-root-user", "--mount"];

impl SmallDisk {
    /// Mounts it. `None`, with a line on the terminal, if this machine does not allow that.
    fn mount(test: &str, folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let flags = if rustix::process::geteuid().is_root() { AS_ROOT } else { AS_USER };
        let script = r#"mount -t tmpfs -o size=1m,nr_inodes=256,mode=700 small "$1" && echo mounted && read -r _"#;
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", script, "sh"]).arg(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let why = match command.spawn() {
            Ok(mut holder) => {
                let mut line = String::new();
                BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
                if line.trim() == "mounted" {
                    return Some(Self { holder, folder: folder.to_owned() });
                }
                let output = holder.wait_with_output().unwrap();
                String::from_utf8_lossy(&output.stderr).trim().to_owned()
            }
            Err(error) => format!("unshare: {error}"),
        };
        // Straight to the terminal: the harness swallows what the print macros write.
        let line = format!("skipped: {test}: no small disk can be mounted: {why}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        None
    }

    /// A path on it, as seen from outside.
    fn path(&self, inside: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").unwrap()).join(inside)
    }

    /// Fills the disk to the last byte.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.path("filler")).unwrap();
        for size in [4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes empty files until there can be no more; all bytes stay free.
    fn fill_with_empty_files(&self) {
        std::fs::create_dir(self.path("empty")).unwrap();
        let failed = (0..10_000).find_map(|n| std::fs::File::create(self.path(&format!("empty/{n}"))).err());
        assert_eq!(failed.map(|error| error.kind()), Some(std::io::ErrorKind::StorageFull));
    }

    /// What `journal verify` says of the journal on it.
    fn verify(&self, house: &House) -> Output {
        let own = house.command(&["journal", "verify"]);
        let mut command = self.inside();
        command.arg(own.get_program()).args(own.get_args()).env("INTERAKT_WEBHOOK_SECRET", SECRET).output().unwrap()
    }

    /// Unmounts the disk although it is in use.
    fn unmount(&self) {
        let mut command = self.inside();
        let unmounted = command.args(["umount", "-l"]).arg(&self.folder).status().unwrap();
        assert!(unmounted.success());
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path("filler")).unwrap();
    }

    /// Starts the daemon inside the namespace, where it sees this disk.
    fn start(&self, house: &House) -> Daemon {
        let own = house.command(&["run"]);
        let mut command = self.inside();
        command.arg(own.get_program()).args(own.get_args());
        command.env("INTERAKT_WEBHOOK_SECRET", SECRET).env_remove("RUST_LOG").stdin(Stdio::null());
        House::start_as(command)
    }

    /// A command that runs the program added to it inside the namespace.
    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string()).arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Ids of the events that a callback got, sorted.
fn ids_of(callback: &Callback) -> Vec<String> {
    let mut ids: Vec<String> = callback.got().into_iter().map(|got| got.id).collect();
    ids.sort();
    ids
}

/// Waits until the callback got each of these ids, sorted, at least once, and no other.
async fn all_at(callback: &Callback, ids: &[String]) {
    wait_until("all at the callback", || {
        let mut got = ids_of(callback);
        got.dedup();
        (got == ids).then_some(())
    })
    .await;
}

/// Ids in the archive, sorted.
fn archived(house: &House) -> Vec<String> {
    let lines = lines_under(&house.path("out"), ".jsonl");
    // The lines are not parsed, because a body may hold what strict parsers refuse.
    let id = |line: &String| line.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mut ids: Vec<String> = lines.iter().map(id).collect();
    ids.sort();
    ids
}

fn says(daemon: &Daemon, what: &str) -> bool {
    daemon.log.text().contains(what)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_full_disk_takes_webhooks_which_reach_every_new_sink_once_there_is_room() {
    let callback = Callback::start().await;
    let house = House::new(&archive_and_crm(&callback.url(), ""));
    let name = "a_first_start_on_a_full_disk_takes_webhooks_which_reach_every_new_sink_once_there_is_room";
    let Some(disk) = SmallDisk::mount(name, &house.path("data")) else { return };
    disk.fill();
    let daemon = disk.start(&house);
    let mut ids = post_all(&daemon.url(), (0..20).map(numbered)).await;
    ids.sort();
    assert!(says(&daemon, "no sink can start") && !says(&daemon, "\"ready\""), "{}", daemon.log.text());
    assert_eq!((archived(&house).len(), callback.got().len()), (0, 0));
    disk.make_room();
    wait_until("all in the archive", || (archived(&house) == ids).then_some(())).await;
    wait_until("all at the callback", || (ids_of(&callback) == ids).then_some(())).await;
    wait_until("ready", || says(&daemon, "\"ready\"").then_some(())).await;
    let text = daemon.log.text();
    assert_eq!(text.matches("no sink can start").count(), 1, "once, not per try: {text}");
    assert!(!text.contains("set aside"), "a ledger that a full disk left unfinished is no damage: {text}");
    assert_eq!(daemon.terminate(), 0);
    let verified = disk.verify(&house);
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_no_file_left_to_give_is_as_good_as_full_and_leaves_no_damage_behind() {
    let callback = Callback::start().await;
    let house = House::new(&archive_and_crm(&callback.url(), ""));
    let name = "a_disk_with_no_file_left_to_give_is_as_good_as_full_and_leaves_no_damage_behind";
    let Some(disk) = SmallDisk::mount(name, &house.path("data")) else { return };
    let daemon = disk.start(&house);
    let mut ids = post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("five", || (ids_of(&callback).len() == 5).then_some(())).await;
    daemon.kill();
    disk.fill_with_empty_files();
    let daemon = disk.start(&house);
    ids.extend(post_all(&daemon.url(), (5..10).map(numbered)).await);
    wait_until("it says so", || says(&daemon, "the journal cannot write").then_some(())).await;
    std::fs::remove_dir_all(disk.path("empty")).unwrap();
    ids.sort();
    all_at(&callback, &ids).await;
    assert_eq!(daemon.terminate(), 0);
    let verified = disk.verify(&house);
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_unmounted_beneath_the_daemon_is_noticed_and_what_was_answered_is_on_the_one_below() {
    let callback = Callback::start().await;
    callback.answer_with(500);
    let house = House::new(&archive_and_crm(&callback.url(), ""));
    let name = "a_disk_that_is_unmounted_beneath_the_daemon_is_noticed_and_what_was_answered_is_on_the_one_below";
    let Some(disk) = SmallDisk::mount(name, &house.path("data")) else { return };
    let daemon = disk.start(&house);
    let mut ids = post_all(&daemon.url(), (0..20).map(numbered)).await;
    disk.unmount();
    wait_until("noticed", || says(&daemon, "nothing of them is lost").then_some(())).await;
    wait_until("the whole folder", || says(&daemon, "the data folder was taken away").then_some(())).await;
    ids.extend(post_all(&daemon.url(), (20..30).map(numbered)).await);
    daemon.kill();
    callback.answer_with(200);
    // The daemon runs on the folder below the mount point now, which is seen from outside, too.
    let daemon = house.start();
    ids.sort();
    all_at(&callback, &ids).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_a_full_disk_goes_on_where_each_sink_was_and_a_new_one_gets_what_came_since() {
    let callback = Callback::start().await;
    let archive =
        "[sinks.archive]\nkind = \"file\"\npath = \"out/all.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"archive\"";
    let house = House::new(archive);
    let name = "a_restart_on_a_full_disk_goes_on_where_each_sink_was_and_a_new_one_gets_what_came_since";
    let Some(disk) = SmallDisk::mount(name, &house.path("data")) else { return };
    let daemon = disk.start(&house);
    let mut all = post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("five", || (archived(&house).len() == 5).then_some(())).await;
    // The daemon is killed so that the ledger has a write-ahead log to recover.
    daemon.kill();
    let before = archived(&house).len();
    disk.fill();
    house.configure(&archive_and_crm(&callback.url(), ""));
    let daemon = disk.start(&house);
    let mut late = post_all(&daemon.url(), (5..10).map(numbered)).await;
    late.sort();
    all.extend(late.clone());
    all.sort();
    disk.make_room();
    wait_until("all in the archive", || archived(&house).ends_with(&late).then_some(())).await;
    wait_until("the new ones at the callback", || (ids_of(&callback) == late).then_some(())).await;
    let mut archived = archived(&house);
    // The last event before the kill may come twice: its cursor was perhaps not written yet.
    assert!(archived.len() <= before + all.len(), "the ledger was lost");
    archived.dedup();
    assert_eq!(archived, all);
    assert!(!says(&daemon, "the ledger is new") && !says(&daemon, "set aside"), "{}", daemon.log.text());
    assert_eq!(daemon.terminate(), 0);
}

/// A house whose journal is not in the data folder.
fn with_the_journal_elsewhere(callback: &Callback) -> House {
    let house = House::new(&archive_and_crm(&callback.url(), ""));
    let config = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), config.replace("[journal]", "[journal]\ndir = \"log\"")).unwrap();
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_gets_what_was_written_to_the_journal_before_the_ledger_could_be_made() {
    let callback = Callback::start().await;
    let house = with_the_journal_elsewhere(&callback);
    let name = "a_new_sink_gets_what_was_written_to_the_journal_before_the_ledger_could_be_made";
    let Some(disk) = SmallDisk::mount(name, &house.path("data")) else { return };
    disk.fill();
    let daemon = disk.start(&house);
    let mut ids = post_all(&daemon.url(), (0..5).map(numbered)).await;
    ids.sort();
    assert!(says(&daemon, "no sink can start") && !says(&daemon, "cannot write"), "{}", daemon.log.text());
    disk.make_room();
    wait_until("all at the callback", || (ids_of(&callback) == ids).then_some(())).await;
    wait_until("all in the archive", || (archived(&house) == ids).then_some(())).await;
    assert!(!says(&daemon, "the ledger is new"), "judged by what this life wrote: {}", daemon.log.text());
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_journal_on_another_disk_what_came_before_the_ledger_could_be_made_outlives_a_kill() {
    let callback = Callback::start().await;
    let house = with_the_journal_elsewhere(&callback);
    let name = "with_the_journal_on_another_disk_what_came_before_the_ledger_could_be_made_outlives_a_kill";
    let Some(disk) = SmallDisk::mount(name, &house.path("data")) else { return };
    disk.fill();
    let daemon = disk.start(&house);
    let mut ids = post_all(&daemon.url(), (0..5).map(numbered)).await;
    assert!(says(&daemon, "no sink can start") && !says(&daemon, "cannot write"), "{}", daemon.log.text());
    daemon.kill();
    disk.make_room();
    let daemon = disk.start(&house);
    ids.extend(post_all(&daemon.url(), (5..10).map(numbered)).await);
    ids.sort();
    wait_until("all at the callback", || (ids_of(&callback) == ids).then_some(())).await;
    wait_until("all in the archive", || (archived(&house) == ids).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_memory_is_bounded_and_what_a_stop_must_lose_is_named_and_told_by_the_exit_code() {
    let callback = Callback::start().await;
    let house = House::new(&archive_and_crm(&callback.url(), ""));
    let config = std::fs::read_to_string(house.config()).unwrap();
    let config = config.replace("[journal]", "max_body = \"4KiB\"\n[journal]\noverflow_max = \"8KiB\"");
    std::fs::write(house.config(), config).unwrap();
    let name = "on_a_full_disk_memory_is_bounded_and_what_a_stop_must_lose_is_named_and_told_by_the_exit_code";
    let Some(disk) = SmallDisk::mount(name, &house.path("data")) else { return };
    disk.fill();
    let daemon = disk.start(&house);
    let (client, mut taken) = (reqwest::Client::new(), Vec::new());
    for n in 0.. {
        let (status, answer) = post(&client, &daemon.url(), numbered(n)).await.unwrap();
        if status != 200 {
            assert_eq!(status, 503, "{answer}");
            break;
        }
        taken.push(answer["id"].as_str().unwrap().to_owned());
        assert!(n < 100, "no bound");
    }
    assert!(!taken.is_empty());
    let log = daemon.log.clone();
    assert_eq!(daemon.terminate(), 74, "{}", log.text());
    let line = log.wait_for(|line| line.contains("are lost") && line.contains(&taken[0])).expect("an ERROR");
    assert!(line.contains("\"ERROR\"") && taken.iter().all(|id| line.contains(id)), "{line}");
    assert!(line.contains(&format!("\"events\":{}", taken.len())), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_below_min_free_is_written_when_the_daemon_stops_for_that_is_what_the_reserve_is_for() {
    let callback = Callback::start().await;
    let house = House::new(&archive_and_crm(&callback.url(), ""));
    let roomy = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), roomy.replace("min_free = 0", "min_free = \"1000000TiB\"")).unwrap();
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..5).map(numbered)).await;
    wait_until("at risk", || says(&daemon, "the journal cannot write").then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    std::fs::write(house.config(), roomy).unwrap();
    let daemon = house.start();
    wait_until("delivered in the next life", || (ids_of(&callback).len() == ids.len()).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waiting_does_not_cure_still_keeps_the_daemon_from_starting() {
    let callback = Callback::start().await;
    let house = House::new(&archive_and_crm(&callback.url(), ""));
    house.start().terminate();
    let ledger = house.path("data/ledger.db");
    rusqlite::Connection::open(&ledger).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = house.command(&["run"]).output().unwrap();
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{printed}");
    assert!(printed.contains("version 99") && !printed.contains("\"listening\""), "{printed}");
}
