//! Whose fault: locks, rights, tables that change, backends that are killed. All of it is the sink's: Retry.

use std::time::{Duration, Instant};

use sink_api::Batch;
use sink_testkit::{batch, deliver, detail, verdict, verdicts};

use crate::delivery;
use crate::server::Fixture;

fn rows(n: usize) -> Batch {
    batch((0..n).map(|_| delivery(r#"{"v":"x"}"#)))
}

fn within(time: Duration, owed: Batch) -> Batch {
    Batch { deadline: Instant::now() + time, ..owed }
}

#[tokio::test]
async fn a_table_that_is_dropped_and_restored_is_written_to_again() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &rows(2)).await, ["delivered"; 2]);
    fixture.sql("DROP TABLE t").await;
    let owed = rows(3);
    let slots = deliver(&*sink, &owed).await;
    assert!(slots.iter().all(|slot| verdict(slot) == "retry schema"), "{slots:?}");
    assert!(detail(&slots[0]).contains("CREATE TABLE t"), "{slots:?}");
    fixture.sql(&crate::table(", other INT, v TEXT")).await;
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    assert_eq!(fixture.texts("SELECT count(v) FROM t").await, ["3"]);
}

#[tokio::test]
async fn an_event_id_or_its_index_that_is_dropped_and_restored_stops_the_sink_meanwhile() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    fixture.sql("ALTER TABLE t DROP COLUMN event_id").await;
    let slots = deliver(&*sink, &rows(2)).await;
    assert!(verdict(&slots[0]) == "retry schema" && detail(&slots[0]).contains("ALTER TABLE"), "{slots:?}");
    fixture.sql("ALTER TABLE t ADD COLUMN event_id TEXT").await;
    for _ in 0..2 {
        let slots = deliver(&*sink, &rows(2)).await;
        assert!(verdict(&slots[1]) == "retry schema" && detail(&slots[1]).contains("CREATE UNIQUE INDEX"), "{slots:?}");
    }
    fixture.sql("CREATE UNIQUE INDEX ON t (event_id)").await;
    assert_eq!(verdicts(&*sink, &rows(2)).await, ["delivered"; 2]);
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["2"]);
}

#[tokio::test]
async fn a_right_that_is_revoked_is_the_sink_s_fault_until_it_is_granted_again() {
    let Some(fixture) = Fixture::new("").await else { return };
    fixture.sql(&crate::table(", v TEXT")).await;
    let role = fixture.role("GRANT INSERT, SELECT ON t TO").await;
    let sink = fixture.build_from(&*fixture.as_user(&role, "pw", "")).await.unwrap();
    let owed = rows(3);
    fixture.sql(&format!("REVOKE INSERT ON t FROM {role}")).await;
    assert_eq!(verdicts(&*sink, &owed).await, ["retry auth"; 3]);
    assert_eq!(sink.probe().await.unwrap_err().code, "auth");
    fixture.sql(&format!("GRANT INSERT ON t TO {role}")).await;
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
}

#[tokio::test]
async fn a_statement_that_hangs_ends_at_the_deadline_on_the_server_too() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    let holder = fixture.other().await;
    holder.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let owed = rows(3);
    let slots = deliver(&*sink, &within(Duration::from_millis(500), owed.clone())).await;
    assert!(slots.iter().all(|slot| verdict(slot) == "retry timeout"), "{slots:?}");
    // The server's own words: it was not just left behind.
    assert!(detail(&slots[0]).contains("57014"), "{slots:?}");
    fixture.wait_until_locked(0).await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["3"]);
}

/// Sends the processes of the sink's sessions, of which there are so many, a signal.
async fn signal(fixture: &Fixture, signal: &str, sessions: usize) {
    let ours = format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{}'", fixture.schema);
    let pids = fixture.texts(&ours).await;
    assert_eq!(pids.len(), sessions);
    assert!(std::process::Command::new("kill").arg(signal).args(pids).status().unwrap().success());
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_one_call_its_deadline_and_no_more() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    // Two connections, then at rest.
    let (one, two) = (rows(20), rows(20));
    let (one, two) = tokio::join!(verdicts(&*sink, &one), verdicts(&*sink, &two));
    assert_eq!([one, two].concat(), ["delivered"; 40]);
    let owed = rows(3);
    let hanging = within(Duration::from_millis(500), owed.clone());
    signal(&fixture, "-STOP", 2).await;
    let slots = tokio::time::timeout(sink_testkit::wait::PATIENCE, deliver(&*sink, &hanging)).await;
    // The other connection has fallen silent, too, and is not tried.
    let again = verdicts(&*sink, &owed).await;
    signal(&fixture, "-CONT", 3).await;
    let slots = slots.expect("held up past the deadline");
    assert!(slots.iter().all(|slot| verdict(slot) == "retry timeout"), "{slots:?}");
    assert_eq!(again, ["delivered"; 3]);
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["43"]);
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_hangs_leaves_nothing_behind_and_is_delivered_once() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    let holder = fixture.other().await;
    holder.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let owed = rows(3);
    let hanging = within(Duration::from_secs(2), owed.clone());
    {
        let call = sink.deliver(&hanging);
        tokio::select! { biased; _ = call => panic!("not held up"), () = fixture.wait_until_locked(1) => {} }
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    fixture.wait_until_locked(0).await;
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["3"]);
}

#[tokio::test]
async fn a_batch_whose_deadline_has_passed_is_not_begun() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    let verdicts = verdicts(&*sink, &within(Duration::ZERO, rows(2))).await;
    assert_eq!(verdicts, ["retry timeout"; 2]);
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["0"]);
}

#[tokio::test]
async fn a_backend_that_is_killed_in_the_middle_of_a_batch_costs_one_retry() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    let holder = fixture.other().await;
    holder.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let owed = rows(3);
    let kill = async {
        fixture.wait_until_locked(1).await;
        fixture.sql(&format!("SELECT pg_terminate_backend(pid) {}", fixture.waiting())).await;
    };
    let (slots, ()) = tokio::join!(deliver(&*sink, &owed), kill);
    assert!(slots.iter().all(|slot| verdict(slot) == "retry connect"), "{slots:?}");
    assert!(detail(&slots[0]).contains("57P01"), "{slots:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["3"]);
}

#[tokio::test]
async fn a_connection_that_died_at_rest_is_not_used() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &rows(1)).await, ["delivered"]);
    // By its application's name, which the URL gives it.
    let ours = format!("FROM pg_stat_activity WHERE application_name = '{}'", fixture.schema);
    fixture.sql(&format!("SELECT pg_terminate_backend(pid) {ours}")).await;
    fixture.wait_until(&format!("SELECT count(*) {ours}"), "0").await;
    assert_eq!(verdicts(&*sink, &rows(1)).await, ["delivered"]);
}

#[tokio::test]
async fn two_that_lock_each_other_out_are_not_to_blame() {
    let Some(fixture) = Fixture::with(", v TEXT UNIQUE").await else { return };
    let sink = fixture.open().await;
    let other = fixture.other().await;
    other.batch_execute("BEGIN; INSERT INTO t (event_id, v) VALUES ('b', 'b')").await.unwrap();
    let owed = batch([delivery(r#"{"v":"a"}"#), delivery(r#"{"v":"b"}"#)]);
    // Each holds one unique value and waits for the other's; the server ends one of them.
    let clash = async {
        fixture.wait_until_locked(1).await;
        let ended = other.batch_execute("INSERT INTO t (event_id, v) VALUES ('a', 'a')").await;
        other.batch_execute("ROLLBACK").await.unwrap();
        ended
    };
    let (got, _) = tokio::join!(verdicts(&*sink, &owed), clash);
    assert!(got == ["retry busy"; 2] || got == ["delivered"; 2], "{got:?}");
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 2]);
}
