//! Whose fault: locks, full disks, deadlines, files that go away. All of it is the sink's: Retry.

use std::time::{Duration, Instant};

use sink_api::{Batch, DiskFloor};
use sink_testkit::{batch, verdicts};

use crate::{Fixture, connect, delivery, table, texts};

fn rows(n: usize) -> Batch {
    batch((0..n).map(|_| delivery(r#"{"v":1}"#)))
}

#[tokio::test]
async fn a_lock_held_by_another_program_is_waited_for_and_then_tried_again() {
    let fixture = Fixture::new(&format!("busy_timeout = \"20ms\"\nsetup = '''{}'''", table(", v")));
    let sink = fixture.open().await;
    let holder = fixture.other();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let owed = rows(3);
    assert_eq!(verdicts(&*sink, &owed).await, ["retry busy"; 3]);
    assert_eq!(sink.probe().await.unwrap_err().code, "busy");
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    sink.probe().await.unwrap();
}

#[tokio::test]
async fn the_wait_for_a_lock_ends_at_the_batch_s_deadline() {
    let fixture = Fixture::new(&format!("busy_timeout = \"1h\"\nsetup = '''{}'''", table(", v")));
    let sink = fixture.open().await;
    let holder = fixture.other();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let owed = Batch { deadline: Instant::now() + Duration::from_millis(50), ..rows(2) };
    let got =
        tokio::time::timeout(Duration::from_secs(60), verdicts(&*sink, &owed)).await.expect("waits past the deadline");
    assert_eq!(got, ["retry busy"; 2]);
}

#[tokio::test]
async fn a_batch_whose_deadline_has_passed_is_not_begun() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &Batch { deadline: Instant::now(), ..rows(2) }).await, ["retry timeout"; 2]);
    assert_eq!(fixture.texts("SELECT count(*) || '' FROM t"), ["0"]);
}

#[tokio::test]
async fn a_statement_that_would_run_on_is_stopped_at_the_deadline() {
    let fixture = Fixture::new(&format!(
        "setup = '''{}; CREATE TRIGGER IF NOT EXISTS slow AFTER INSERT ON t WHEN new.v = 'slow' BEGIN
         UPDATE t SET v = (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
         SELECT max(n) FROM c); END'''",
        table(", v")
    ));
    let sink = fixture.open().await;
    let owed = Batch { deadline: Instant::now() + Duration::from_millis(50), ..batch([delivery(r#"{"v":"slow"}"#)]) };
    let got = tokio::time::timeout(Duration::from_secs(60), verdicts(&*sink, &owed)).await.expect("runs on");
    assert_eq!(got, ["retry timeout"]);
    assert_eq!(verdicts(&*sink, &rows(2)).await, ["delivered"; 2]);
}

#[tokio::test]
async fn below_the_floor_the_disk_counts_as_full() {
    let fixture = Fixture::with(", v");
    let mut cx = fixture.context();
    cx.floor = DiskFloor { min_free: u64::MAX };
    let sink = fixture.config.build(&cx).await.unwrap();
    assert_eq!(verdicts(&*sink, &rows(2)).await, ["retry disk_full"; 2]);
    assert_eq!(sink.probe().await.unwrap_err().code, "disk_full");
}

#[tokio::test]
async fn a_database_that_reached_its_size_limit_is_full_and_not_the_row_s_fault() {
    let fixture = Fixture::new(&format!("setup = '''PRAGMA max_page_count = 8; {}'''", table(", v")));
    let sink = fixture.open().await;
    let owed = batch([delivery(format!(r#"{{"v":"{}"}}"#, "x".repeat(100_000)))]);
    assert_eq!(verdicts(&*sink, &owed).await, ["retry disk_full"]);
    assert_eq!(verdicts(&*sink, &rows(1)).await, ["delivered"]);
}

#[tokio::test]
async fn a_table_that_was_dropped_comes_back_with_setup() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    fixture.other().execute_batch("DROP TABLE t").unwrap();
    assert_eq!(verdicts(&*sink, &rows(2)).await, ["retry schema"; 2]);
    assert_eq!(verdicts(&*sink, &rows(2)).await, ["delivered"; 2]);
}

#[tokio::test]
async fn an_index_that_was_dropped_stops_the_sink_until_it_is_back() {
    let fixture = Fixture::new("");
    let ddl = "CREATE TABLE t (event_id TEXT, v); CREATE UNIQUE INDEX i ON t (event_id)";
    rusqlite::Connection::open(fixture.path("x.db")).unwrap().execute_batch(ddl).unwrap();
    let sink = fixture.open().await;
    fixture.other().execute_batch("DROP INDEX i").unwrap();
    for _ in 0..2 {
        let slots = sink.deliver(&rows(1)).await.into_slots();
        let shown = format!("{slots:?}");
        assert!(shown.contains("schema") && shown.contains("CREATE UNIQUE INDEX"), "{shown}");
    }
    fixture.other().execute_batch("CREATE UNIQUE INDEX j ON t (event_id)").unwrap();
    assert_eq!(verdicts(&*sink, &rows(1)).await, ["delivered"]);
}

#[tokio::test]
async fn a_database_deleted_while_open_is_made_anew() {
    for names in [&["x.db"][..], &["x.db", "x.db-wal", "x.db-shm"]] {
        let fixture = Fixture::with(", v");
        let sink = fixture.open().await;
        assert_eq!(verdicts(&*sink, &rows(5)).await, ["delivered"; 5]);
        names.iter().for_each(|name| std::fs::remove_file(fixture.path(name)).unwrap());
        assert_eq!(verdicts(&*sink, &rows(3)).await, ["delivered"; 3]);
        assert_eq!(fixture.texts("SELECT count(*) || '' FROM t"), ["3"]);
    }
}

#[tokio::test]
async fn a_log_deleted_while_open_takes_no_row_with_it() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &rows(5)).await, ["delivered"; 5]);
    std::fs::remove_file(fixture.path("x.db-wal")).unwrap();
    assert_eq!(verdicts(&*sink, &rows(3)).await, ["delivered"; 3]);
    assert_eq!(fixture.texts("SELECT count(*) || '' FROM t"), ["8"]);
}

#[tokio::test]
async fn a_database_replaced_while_open_is_the_one_written_to_and_the_old_one_is_whole() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &rows(5)).await, ["delivered"; 5]);
    // Its log stays behind, with all five rows in it.
    std::fs::rename(fixture.path("x.db"), fixture.path("old.db")).unwrap();
    let other = rusqlite::Connection::open(fixture.path("new.db")).unwrap();
    other.execute_batch("CREATE TABLE t (event_id TEXT UNIQUE, v); INSERT INTO t VALUES ('mine', 0)").unwrap();
    drop(other);
    std::fs::rename(fixture.path("new.db"), fixture.path("x.db")).unwrap();
    assert_eq!(verdicts(&*sink, &rows(3)).await, ["delivered"; 3]);
    assert_eq!(fixture.texts("SELECT count(*) || min(v) FROM t"), ["40"]);
    assert_eq!(texts(&connect(&fixture.path("old.db")), "SELECT count(*) || '' FROM t"), ["5"]);
    assert_eq!(fixture.texts("PRAGMA integrity_check"), ["ok"]);
}

#[tokio::test]
async fn two_sinks_survive_the_loss_of_the_database_they_share() {
    let (one, two) = (Fixture::with(", v"), Fixture::with(", v"));
    let cx = one.context();
    let (a, b) = (one.config.build(&cx).await.unwrap(), two.config.build(&cx).await.unwrap());
    for round in 0..3 {
        let (first, second) = if round == 1 { (&b, &a) } else { (&a, &b) };
        assert_eq!(verdicts(&**first, &rows(4)).await, ["delivered"; 4]);
        assert_eq!(verdicts(&**second, &rows(4)).await, ["delivered"; 4]);
        assert_eq!(one.texts("SELECT count(*) || '' FROM t"), ["8"], "round {round}");
        std::fs::remove_file(one.path("x.db")).unwrap();
    }
    assert_eq!(verdicts(&*b, &rows(4)).await, ["delivered"; 4]);
    assert_eq!(verdicts(&*a, &rows(4)).await, ["delivered"; 4]);
    assert_eq!(one.texts("SELECT count(*) || '' FROM t"), ["8"]);
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_next_one_a_whole_table() {
    let fixture = Fixture::with(", v");
    let sink = fixture.open().await;
    let owed = rows(500);
    for _ in 0..5 {
        let call = sink.deliver(&owed);
        // Polled once, then dropped: its transaction is somewhere on the blocking pool.
        let _ = tokio::time::timeout(Duration::ZERO, call).await;
    }
    assert_eq!(verdicts(&*sink, &owed).await, vec!["delivered"; 500]);
    assert_eq!(fixture.texts("SELECT count(*) || '' FROM t"), ["500"]);
}
