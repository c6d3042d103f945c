//! A sink has a cursor in each shard; a ledger of a build that knew one shard is taken as it is.

use std::sync::Mutex;

use super::tests::{letter, step};
use super::*;
use crate::journal::Retention;

fn place(shard: u32, offset: u64) -> Position {
    Position { shard, offset }
}

fn marks(offsets: [u64; 2]) -> Marks {
    (0..).zip(offsets).map(|(shard, offset)| place(shard, offset)).collect()
}

fn replay(sink: &str, at: [u64; 2], until: [u64; 2]) -> Replay {
    let (first, at, until) = (marks([1, 1]), marks(at), marks(until));
    Replay { sink: sink.into(), first, at, until, rate: Some("5/s".into()), ..Replay::default() }
}

fn replayed(id: i64, sink: &str, cursor: Position) -> Settlement {
    let delta = Counters { accepted: 3, ..Counters::default() };
    Settlement { replay: Some(id), delta, ..Settlement::to(sink, cursor) }
}

fn count(path: &Path, sql: &str) -> i64 {
    rusqlite::Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_sink_has_a_cursor_in_each_shard_and_totals_over_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    let delta = Counters { accepted: 2, delivered: 2, ..Counters::default() };
    let step = |shard, offset| Settlement { delta, ..Settlement::to("crm", place(shard, offset)) };
    ledger.settle(vec![step(1, 5), step(0, 7)]).await.unwrap();
    ledger.settle(vec![step(0, 9)]).await.unwrap();
    ledger.settle(vec![step(1, 6), Settlement::to("other", place(0, 4))]).await.unwrap();
    ledger.close();
    let (ledger, _) = Ledger::open(&path).unwrap();
    let state = ledger.load("crm").await.unwrap().unwrap();
    assert_eq!((state.cursors, state.counters.accepted), (marks([9, 6]), 8));
    assert_eq!(ledger.cursors("other").await.unwrap(), marks([4, 0]));
    assert_eq!(ledger.cursors("new").await.unwrap_err().to_string(), "ledger: the ledger knows no cursor of new");
    let away = ledger.present(BTreeSet::from(["other".to_owned()])).await.unwrap();
    assert_eq!(away, [("crm".to_owned(), marks([9, 6]))]);
    ledger.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_of_a_shard_is_kept_until_every_cursor_of_that_shard_is_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    let keep = |shard, from| {
        let deleted = Deleted { from: place(shard, from), to: place(shard, from + 10), tally: vec![] };
        tokio::task::block_in_place(|| ledger.keep_deleted(deleted)).unwrap();
    };
    let kept = async |shard| ledger.deleted(place(shard, 0), place(shard, 100)).await.unwrap().len();
    ledger.settle(vec![Settlement::to("a", place(0, 50)), Settlement::to("a", place(1, 5))]).await.unwrap();
    keep(1, 0);
    keep(1, 10);
    keep(0, 10);
    assert_eq!((kept(0).await, kept(1).await), (0, 2), "the first shard's cursor is past it already");
    ledger.settle(vec![Settlement::to("a", place(1, 10))]).await.unwrap();
    keep(1, 20);
    assert_eq!(kept(1).await, 2);
    // Away, it is moved on in that shard alone.
    ledger.present(BTreeSet::new()).await.unwrap();
    keep(1, 30);
    assert_eq!(ledger.cursors("a").await.unwrap(), marks([50, 40]));
    ledger.close();
}

#[tokio::test]
async fn a_replay_is_over_when_it_has_come_to_its_end_in_every_shard() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    ledger.settle(vec![step("a", 1, vec![]), step("b", 1, vec![])]).await.unwrap();
    let id = ledger.begin_replay(vec![replay("a", [1, 1], [9, 9]), replay("b", [1, 1], [9, 9])]).await.unwrap();
    ledger.settle(vec![replayed(id, "a", place(0, 9)), replayed(id, "a", place(1, 4))]).await.unwrap();
    let replays = ledger.replays().await.unwrap();
    let a = Replay { id, deliveries: 6, ..replay("a", [9, 4], [9, 9]) };
    assert_eq!(replays, [a, Replay { id, ..replay("b", [1, 1], [9, 9]) }]);
    ledger.settle(vec![replayed(id, "a", place(1, 9))]).await.unwrap();
    assert_eq!(ledger.replays().await.unwrap().len(), 1);
    assert_eq!(ledger.cancel_replay(id).await.unwrap(), 1, "for one sink still");
    assert_eq!((ledger.replays().await.unwrap().len(), ledger.cancel_replay(id).await.unwrap()), (0, 0));
    ledger.close();
}

#[tokio::test]
async fn a_replay_that_an_earlier_build_began_goes_on_and_its_ledger_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    ledger.settle(vec![step("crm", 7, vec![letter("a")])]).await.unwrap();
    ledger.close();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "DROP TABLE cursors; DROP TABLE replays;
             CREATE TABLE replays (
               id INTEGER NOT NULL, sink TEXT NOT NULL, shard INTEGER NOT NULL, first INTEGER NOT NULL,
               place INTEGER NOT NULL, until INTEGER NOT NULL, type TEXT, subject TEXT, rate TEXT,
               fed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (id, sink)
             ) STRICT, WITHOUT ROWID;
             INSERT INTO replays VALUES (4, 'crm', 0, 2, 5, 8, 'x*', NULL, '5/s', 17);",
        )
        .unwrap();
    let (ledger, opened) = Ledger::open(&path).unwrap();
    assert_eq!(opened, Opened { fresh: false, set_aside: None });
    let marked = |offset| Marks::from(place(0, offset));
    let replay = Replay {
        id: 4,
        sink: "crm".into(),
        first: marked(2),
        at: marked(5),
        until: marked(8),
        kind: Some("x*".into()),
        subject: None,
        rate: Some("5/s".into()),
        only_missing: false,
        deliveries: 17,
    };
    assert_eq!(ledger.replays().await.unwrap(), [replay]);
    assert_eq!(ledger.cursors("crm").await.unwrap(), marked(7));
    assert_eq!(ledger.held_budget().total().letters, 1);
    ledger.settle(vec![replayed(4, "crm", place(0, 8))]).await.unwrap();
    assert!(ledger.replays().await.unwrap().is_empty());
    ledger.close();
    assert_eq!(count(&path, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'replays%' AND type = 'table'"), 1);
    assert_eq!(count(&path, "PRAGMA user_version"), 1, "an earlier build can open it still");
    // Once done it is not done again.
    Ledger::open(&path).unwrap().0.close();
}

/// Notes who passed what.
#[derive(Default)]
struct Noted(Mutex<Vec<(String, Position)>>);

impl Retention for Noted {
    fn hold(&self, _: &str, _: &Marks) {}
    fn passed(&self, holder: &str, to: Position) {
        self.0.lock().unwrap().push((holder.to_owned(), to));
    }
    fn leave(&self, _: &str, _: &Marks) {}
    fn release(&self, _: &str) {}
    fn begin(&self) {}
}

#[tokio::test]
async fn retention_learns_of_a_cursor_once_it_is_durable_and_of_one_that_is_not_never() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, noted) = (Arc::new(Ledger::open(&path).unwrap().0), Arc::new(Noted::default()));
    let settle = LocalSettle::new(Arc::clone(&ledger), noted.clone());
    let passed = || std::mem::take(&mut *noted.0.lock().unwrap());
    let turn = Settlement { sink: "a".into(), ..Settlement::default() };
    settle.settle(vec![Settlement::to("a", place(0, 3)), turn, replayed(5, "a", place(1, 4))]).await.unwrap();
    assert_eq!(passed(), [("a".to_owned(), place(0, 3)), ("a@replay-5".to_owned(), place(1, 4))]);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TRIGGER fails BEFORE UPDATE ON sinks BEGIN SELECT raise(ABORT, 'disk'); END").unwrap();
    settle.settle(vec![Settlement::to("a", place(0, 9))]).await.unwrap_err();
    assert_eq!(passed(), []);
    ledger.close();
    settle.settle(vec![Settlement::to("a", place(0, 9))]).await.unwrap_err();
    assert_eq!(passed(), []);
}
