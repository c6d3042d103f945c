//! kill -9 at any moment, at least twenty times, with every sink lagging: what was answered 200 reaches every sink,
//! unchanged; nothing arrives that was not sent; SQLite holds each event once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bodies::{number_in, numbered};
use crate::harness::{Callback, Daemon, House, column, lines_under, post, wait_until};

const LIVES: u64 = 20;
/// So many events at least are acknowledged before each kill.
const PER_LIFE: u64 = 500;
const SENDERS: usize = 16;
/// All kills: one per life, and those of daemons that are just starting.
const KILLS: u64 = LIVES + LIVES / 5;
/// `deliver::settler::EVENTS`.
const SETTLED_AT_ONCE: u64 = 1000;

/// Three sinks that lag behind: the file waits long for a full batch, the callback answers slowly, SQLite takes few
/// events at a time.
fn tables(callback: &Callback) -> String {
    format!(
        r#"
[sinks.archive]
kind = "file"
path = "out/{{type}}.jsonl"
start = "beginning"
batch = {{ max_events = 200, linger = "150ms" }}
[sinks.crm]
kind = "http"
url = "{url}"
start = "beginning"
concurrency = 4
[sinks.statuses]
kind = "sqlite"
database = "statuses.db"
table = "statuses"
setup = "CREATE TABLE IF NOT EXISTS statuses (event_id TEXT NOT NULL UNIQUE, message_id TEXT, status TEXT)"
start = "beginning"
batch = {{ max_events = 50, linger = "100ms" }}
[[routes]]
match = "message_api_*"
transform = "interakt.message_status"
to = "statuses"
[[routes]]
match = "*"
to = ["archive", "crm"]
"#,
        url = callback.url()
    )
}

/// The record that is kept outside the daemon: what was answered 200, and with which id.
#[derive(Default)]
struct Record {
    answered: Mutex<BTreeMap<u64, String>>,
    next: AtomicU64,
}

impl Record {
    /// Sends until `stop` is set or the daemon is gone.
    async fn send(self: Arc<Self>, url: String, stop: Arc<AtomicBool>) {
        let client = reqwest::Client::new();
        while !stop.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let Ok((status, answer)) = post(&client, &url, numbered(n)).await else { return };
            assert_eq!(status, 200, "{answer}");
            self.answered.lock().unwrap().insert(n, answer["id"].as_str().unwrap().to_owned());
        }
    }

    fn count(&self) -> u64 {
        self.answered.lock().unwrap().len() as u64
    }
}

/// One life of the daemon: load, at least [`PER_LIFE`] answers, then the kill, at another moment each time.
async fn live_and_die(record: &Arc<Record>, daemon: Daemon, life: u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let before = record.count();
    let senders: Vec<_> =
        (0..SENDERS).map(|_| tokio::spawn(Arc::clone(record).send(daemon.url(), Arc::clone(&stop)))).collect();
    let enough = before + PER_LIFE + life * 37 % 400;
    wait_until("enough answers in this life", || (record.count() >= enough).then_some(())).await;
    tokio::task::spawn_blocking(move || daemon.kill()).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_every_event_answered_200_reaches_every_sink_unchanged() {
    let callback = Callback::start().await;
    callback.take_time(Duration::from_millis(3));
    let house = House::new(&tables(&callback));
    let record = Arc::new(Record::default());
    for life in 0..LIVES {
        live_and_die(&record, house.start(), life).await;
        if life % 5 == 2 {
            house.start().kill(); // and sometimes at once, in the middle of coming up
        }
    }
    let daemon = house.start();
    let answered = record.answered.lock().unwrap().clone();
    let sent = record.next.load(Ordering::SeqCst);
    assert!(answered.len() as u64 >= LIVES * PER_LIFE);
    let wanted: BTreeSet<u64> = answered.keys().copied().collect();

    let lines = wait_until("the file holds everything", || {
        let lines = lines_under(&house.path("out"), ".jsonl");
        let numbers: BTreeSet<u64> = lines.iter().map(|l| number_in(l)).collect();
        wanted.is_subset(&numbers).then_some(lines)
    })
    .await;
    let got = wait_until("the callback got everything", || {
        let got = callback.got();
        let numbers: BTreeSet<u64> = got.iter().map(|g| number_in(&String::from_utf8_lossy(&g.body))).collect();
        wanted.is_subset(&numbers).then_some(got)
    })
    .await;
    let rows = wait_until("SQLite holds everything", || {
        let rows = column(&house.path("statuses.db"), "SELECT message_id FROM statuses");
        let numbers: BTreeSet<u64> = rows.iter().map(|r| number_in(r)).collect();
        wanted.is_subset(&numbers).then_some(rows)
    })
    .await;

    check_lines(&lines, &answered, sent);
    check_callbacks(&got, &answered, sent);
    let once: BTreeSet<&String> = rows.iter().collect();
    assert_eq!(once.len(), rows.len(), "SQLite holds an event twice");
    assert!(rows.iter().all(|r| number_in(r) < sent), "a row that was never sent");
    println!(
        "{LIVES} lives, {} answered, {sent} sent; file {} lines, callback {} calls, SQLite {} rows",
        answered.len(),
        lines.len(),
        got.len(),
        rows.len()
    );
    // After a kill a sink gets again what was under way and what was not yet in the ledger, no more: `concurrency` x
    // `max_events`, and the settled events of the step being gathered and of the one being written.
    for (sink, many, under_way) in [("file", lines.len(), 200), ("callback", got.len(), 4)] {
        let bound = sent + KILLS * (under_way + 2 * SETTLED_AT_ONCE + under_way);
        assert!(many as u64 <= bound, "{sink}: {many} deliveries of {sent} events, more than {bound}");
    }
    assert_eq!(daemon.terminate(), 0);
}

/// Asserts that every line's `data` is the body as it was sent, except for whitespace outside strings, and that its id
/// is the one that was answered.
fn check_lines(lines: &[String], answered: &BTreeMap<u64, String>, sent: u64) {
    for line in lines {
        let n = number_in(line);
        assert!(n < sent, "never sent: {line}");
        let (_, data) = line.split_once(r#""data":"#).unwrap();
        let body = sink_api::json::compact(&numbered(n)).unwrap();
        assert_eq!(data.as_bytes(), [&body[..], b"}"].concat(), "changed on the way");
        if let Some(id) = answered.get(&n) {
            assert!(line.contains(&format!(r#""id":"{id}""#)), "{line} is not {id}");
        }
    }
}

/// Asserts that every callback's body is byte for byte what was sent, and that repeats carry the same id.
fn check_callbacks(got: &[crate::harness::Got], answered: &BTreeMap<u64, String>, sent: u64) {
    let mut ids: HashMap<u64, &str> = HashMap::new();
    for call in got {
        let n = number_in(&String::from_utf8_lossy(&call.body));
        assert!(n < sent);
        assert_eq!(call.body, numbered(n), "changed on the way");
        assert!(call.kind.starts_with("message_api_"));
        assert_eq!(*ids.entry(n).or_insert(&call.id), call.id, "one event under two ids");
        assert!(answered.get(&n).is_none_or(|id| *id == call.id));
    }
}
