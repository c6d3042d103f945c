//! The ledger keeps what it was told across a reopening, all or nothing, and is set aside when it cannot be read.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::journal::{Position, Record};

fn at(offset: u64) -> Position {
    Position { shard: 0, offset }
}

pub(super) fn letter(id: &str) -> HeldDelivery {
    let record = Record {
        id: [1; 16],
        time: 5,
        source: "interakt".into(),
        kind: "message_api_sent".into(),
        key: "m-1".into(),
        fingerprint: None,
        payload: Bytes::from_static(b"event bytes"),
        made: Default::default(),
    };
    HeldDelivery {
        id: id.into(),
        position: at(7),
        kind: "message_api_sent".into(),
        subject: "m-1".into(),
        key: "m-1".into(),
        code: "http_4xx".into(),
        detail: "400 Bad Request".into(),
        answer: None,
        attempts: 3,
        times: [1, 2, 3],
        event: Arc::new(record),
        payload: Some(Bytes::from_static(b"{}")),
        target: "{}".into(),
        due: None,
        spent: Spent::default(),
    }
}

pub(super) fn step(sink: &str, cursor: u64, dead: Vec<HeldDelivery>) -> Settlement {
    let delta = Counters { accepted: 2, delivered: 1, dead: 1, ..Counters::default() };
    Settlement { delta, held: dead, ..Settlement::to(sink, at(cursor)) }
}

#[tokio::test]
async fn cursors_totals_and_dead_letters_outlive_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, opened) = Ledger::open(&path).unwrap();
    assert_eq!(opened, Opened { fresh: true, set_aside: None });
    assert_eq!(ledger.load("crm").await.unwrap(), None);
    let steps = (1..=20).map(|n| ledger.settle(vec![step("crm", n, vec![letter(&format!("d-{}", n % 2))])]));
    for result in futures_join(steps).await {
        result.unwrap();
    }
    ledger.settle(vec![step("other", u64::MAX, vec![])]).await.unwrap();
    ledger.close();
    assert!(ledger.load("crm").await.is_err(), "a closed ledger says so");

    let (ledger, opened) = Ledger::open(&path).unwrap();
    assert_eq!(opened, Opened { fresh: false, set_aside: None });
    let state = ledger.load("crm").await.unwrap().unwrap();
    assert_eq!(state.counters, Counters { accepted: 40, delivered: 20, dead: 2, dropped: 18, ..Counters::default() });
    assert_eq!(ledger.load("other").await.unwrap().unwrap().cursors, at(u64::MAX).into());
    ledger.close();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let (rows, code): (i64, String) =
        connection.query_row("SELECT count(*), max(code) FROM held", [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    assert_eq!((rows, code.as_str()), (2, "http_4xx"), "the same delivery is held once");
}

async fn futures_join<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut out = Vec::new();
    for one in all {
        out.push(one.await);
    }
    out
}

#[tokio::test]
async fn steps_given_together_are_written_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    // The disk gives out (or the power fails) once the first of two cursors was written.
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER fails BEFORE INSERT ON sinks WHEN NEW.name = 'second'
             BEGIN SELECT raise(ABORT, 'disk'); END",
        )
        .unwrap();
    let first = |sink: &str| Settlement::to(sink, at(9));
    ledger.settle(vec![first("first"), first("second")]).await.unwrap_err();
    assert_eq!(ledger.load("first").await.unwrap(), None, "no first cursor without the others");
    ledger.close();
    let (ledger, opened) = Ledger::open(&path).unwrap();
    assert!(opened.fresh, "the next start sees that no sink has begun");
    other.execute_batch("DROP TRIGGER fails").unwrap();
    ledger.settle(vec![first("first"), first("second")]).await.unwrap();
    assert_eq!(ledger.load("second").await.unwrap().unwrap().cursors, at(9).into());
    ledger.close();
}

#[tokio::test]
async fn an_unreadable_ledger_is_set_aside_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    for (n, bytes) in [&b"not a database, but long enough to be looked at"[..], &[0; 4096]].into_iter().enumerate() {
        std::fs::write(&path, bytes).unwrap();
        let (ledger, opened) = Ledger::open(&path).unwrap();
        assert!(opened.fresh);
        let aside = opened.set_aside.expect("set aside");
        assert_eq!(std::fs::read(&aside).unwrap(), bytes, "case {n}");
        ledger.settle(vec![step("crm", 3, vec![])]).await.unwrap();
        ledger.close();
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_folder_in_its_place_is_set_aside_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::create_dir_all(path.join("inside")).unwrap();
    let (ledger, opened) = Ledger::open(&path).unwrap();
    assert!(opened.fresh && opened.set_aside.expect("set aside").join("inside").is_dir());
    ledger.close();
    assert!(path.is_file());
}

#[test]
fn a_later_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    Ledger::open(&path).unwrap().0.close();
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(Ledger::open(&path), Err(DatabaseError::Version { found: 99, .. })));
    assert!(path.exists());
}

#[test]
fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    Ledger::open(&path).unwrap().0.close();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_ledger_without_a_cursor_is_as_good_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    Ledger::open(&path).unwrap().0.close();
    assert!(Ledger::open(&path).unwrap().1.fresh, "tables, but no cursor");
    std::fs::write(&path, b"").unwrap();
    assert!(Ledger::open(&path).unwrap().1.fresh, "an emptied file");
}

#[test]
fn what_was_deleted_is_kept_until_every_sink_is_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (ledger, _) = Ledger::open(&path).unwrap();
    let stretch = |from| Deleted { from: at(from), to: at(from + 10), tally: vec![7; from as usize] };
    let move_to = |ledger: &Ledger, sink: &str, cursor| {
        runtime.block_on(ledger.settle(vec![step(sink, cursor, vec![])])).unwrap();
    };
    let all = |ledger: &Ledger, from, to| runtime.block_on(ledger.deleted(at(from), at(to))).unwrap();
    move_to(&ledger, "late", 15);
    move_to(&ledger, "later", 10);
    ledger.keep_deleted(stretch(10)).unwrap();
    ledger.keep_deleted(stretch(20)).unwrap();
    ledger.keep_deleted(stretch(20)).unwrap();
    ledger.close();
    assert!(ledger.keep_deleted(stretch(30)).is_err(), "a closed ledger says so");

    let (ledger, _) = Ledger::open(&path).unwrap();
    assert_eq!(all(&ledger, 0, 100), [stretch(10), stretch(20)]);
    assert_eq!(all(&ledger, 19, 20), [stretch(10)]);
    assert_eq!(all(&ledger, 20, 21), [stretch(20)]);
    move_to(&ledger, "later", 20);
    ledger.keep_deleted(stretch(30)).unwrap();
    assert_eq!(all(&ledger, 0, 100), [stretch(10), stretch(20), stretch(30)], "one sink is in the first still");
    move_to(&ledger, "late", 30);
    ledger.keep_deleted(stretch(40)).unwrap();
    assert_eq!(all(&ledger, 0, 100), [stretch(20), stretch(30), stretch(40)]);
    ledger.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_while_a_sink_is_away_is_counted_for_it_and_does_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    // Ten records of one type.
    let tally = [&[1, 0, 0, 0, 1, 0][..], b"s", &[1, 0], b"t", &[1, 0, 0, 0, 0, 0, 10, 0]].concat();
    let keep = |from| {
        let deleted = Deleted { from: at(from), to: at(from + 10), tally: tally.clone() };
        tokio::task::block_in_place(|| ledger.keep_deleted(deleted)).unwrap();
    };
    ledger.settle(vec![step("there", 100, vec![]), step("gone", 13, vec![])]).await.unwrap();
    let away = ledger.present(["there".to_owned()].into()).await.unwrap();
    assert_eq!(away, [("gone".to_owned(), at(13).into())]);
    keep(10);
    keep(20);
    assert!(ledger.deleted(at(0), at(1000)).await.unwrap().is_empty());
    // It is back, and its cursor its own again.
    assert!(ledger.present(["there".to_owned(), "gone".to_owned()].into()).await.unwrap().is_empty());
    keep(30);
    assert_eq!(ledger.deleted(at(0), at(1000)).await.unwrap().len(), 1, "it will read that itself");
    let missed = ledger.missed("gone").await.unwrap();
    assert_eq!(
        missed.iter().map(|count| (&*count.source, &*count.kind, count.events)).collect::<Vec<_>>(),
        [("s", "t", 17)]
    );
    ledger.book_missed("gone", 17).await.unwrap();
    assert!(ledger.missed("gone").await.unwrap().is_empty());
    let state = ledger.load("gone").await.unwrap().unwrap();
    assert_eq!((state.cursors, state.counters.accepted, state.counters.dropped), (at(30).into(), 2 + 17, 17));
    ledger.close();
}

#[test]
fn an_empty_database_that_a_full_disk_left_behind_is_completed_and_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 0);
    assert_eq!(Ledger::open(&path).unwrap().1, Opened { fresh: true, set_aside: None });
}

#[tokio::test]
async fn a_ledger_that_could_not_be_opened_can_be_attached_later() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, path) = (Ledger::default(), folder.path().join("not/ledger.db"));
    assert!(ledger.attach(&path).is_err());
    assert!(ledger.load("crm").await.is_err());
    std::fs::create_dir(folder.path().join("not")).unwrap();
    assert!(ledger.attach(&path).unwrap().fresh);
    ledger.settle(vec![step("crm", 3, vec![])]).await.unwrap();
    ledger.close();
}

#[test]
fn a_disk_that_is_full_or_failing_is_told_from_what_waiting_does_not_cure() {
    use rusqlite::ffi::{self, SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR, SQLITE_PERM};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    // 28 ENOSPC, 122 EDQUOT, 5 EIO, 27 EFBIG, 24 EMFILE, 23 ENFILE; 13 EACCES, 30 EROFS, 2 ENOENT
    let passing = [28, 122, 5, 27, 24, 23].map(|errno| (errno, true));
    for (errno, wanted) in passing.into_iter().chain([(13, false), (30, false), (2, false)]) {
        let error = DatabaseError::Io { path: path.clone(), error: std::io::Error::from_raw_os_error(errno) };
        assert_eq!(error.is_disk_trouble(), wanted, "{error}");
    }
    let io_read = ffi::SQLITE_IOERR_READ;
    for (code, wanted) in [(SQLITE_FULL, true), (SQLITE_IOERR, true), (io_read, true), (SQLITE_CANTOPEN, false)]
        .into_iter()
        .chain([(SQLITE_CORRUPT, false), (SQLITE_PERM, false), (SQLITE_BUSY, false)])
    {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let error = DatabaseError::Sqlite { path: path.clone(), error };
        assert_eq!(error.is_disk_trouble(), wanted, "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the probe was left behind");
}
