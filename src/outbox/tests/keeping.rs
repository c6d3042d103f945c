//! The file: who may read it, what becomes of one that is damaged or taken away, and what is let go of.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const SMALL: Most = Most { calls: 3, requests: 1, heard: 4, resends: 2, not_again: 2 };

async fn trim_all(house: &House) {
    while house.outbox.trim().await.unwrap() {}
}

#[tokio::test]
async fn who_only_looks_makes_no_file_and_the_file_is_ours_alone() {
    let house = House::new();
    let path = house.folder.path().join(FILE);
    assert!(house.outbox.cancel("m-1", &[]).await.unwrap().is_empty());
    assert!(house.outbox.about("m-1").await.unwrap().chain.is_empty());
    assert!(!house.outbox.trim().await.unwrap());
    assert!(house.outbox.look_after().await && !path.exists());
    house.send(&house.order(), "m-1").await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn nothing_is_opened_behind_a_link() {
    let house = House::new();
    symlink(house.folder.path().join("elsewhere"), house.folder.path().join(FILE)).unwrap();
    assert_eq!(word(&house.begin(&house.order()).await), "unavailable io");
    assert!(!house.folder.path().join("elsewhere").exists());
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_a_later_versions_is_left_alone() {
    let mut house = House::new();
    let path = house.folder.path().join(FILE);
    let order = house.order();
    house.send(&order, "m-1").await;
    house.outbox.close();
    std::fs::write(&path, "no database at all, but long enough to be looked at".repeat(100)).unwrap();
    house.reopen();
    assert_eq!(word(&house.begin(&order).await), "never too_old", "nobody knows that it was sent");
    house.clock.store(Timestamp::now().as_microsecond() + 1, Ordering::SeqCst);
    house.send(&house.order(), "m-2").await;
    assert!(house.folder.path().join("outbox.db.damaged-1").exists());

    house.outbox.close();
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    house.reopen();
    let Begun::Unavailable(why) = house.begin(&house.order()).await else { panic!("it was used") };
    assert!(why.detail.contains("version 99"), "{why}");
}

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_in_use_is_set_aside_at_the_next_request() {
    let house = House::new();
    house.send(&house.order(), "m-1").await;
    let broken: Result<(), OutboxError> =
        house.outbox.look(|step| step.connection.execute("SELECT * FROM elsewhere", []).map(drop)).await;
    assert_eq!(broken.unwrap_err().reason().code, "corrupt");
    // It is whole, so that the next one finds it so.
    assert!(house.outbox.about("m-1").await.unwrap().call.is_some());
}

#[tokio::test]
async fn a_request_that_fails_takes_nobody_along() {
    let house = House::new();
    house.send(&house.order(), "m-1").await;
    let twice = "INSERT INTO horizons VALUES ('x', 1), ('x', 2)";
    let fails = house.outbox.look(move |step| step.connection.execute(twice, []).map(drop));
    let order = house.order();
    let (failed, begun) = tokio::join!(fails, house.begin(&order));
    assert!(failed.is_err());
    assert_eq!(word(&begun), "call 0");
}

#[tokio::test]
async fn files_that_are_taken_away_in_use_are_written_anew_with_all_they_held() {
    let mut house = House::new();
    let order = house.order();
    house.send(&order, "m-1").await;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(house.folder.path().join(format!("{FILE}{ending}")));
    }
    assert!(house.outbox.look_after().await);
    house.reopen();
    assert_eq!(word(&house.begin(&order).await), "sent m-1");
}

#[tokio::test]
async fn a_full_disk_is_told_from_other_failures() {
    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    let error = OutboxError::of("x".as_ref(), rusqlite::Error::SqliteFailure(full, None));
    assert_eq!(error.reason().code, "disk_full");
    assert_eq!(OutboxError::Closed.reason().code, "busy");
}

#[tokio::test]
async fn what_is_eight_days_old_is_let_go_of_and_could_not_be_sent_any_more() {
    let house = House::new();
    let order = house.order();
    let first = house.send(&order, "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    let command = house.hand_over().await;
    house.hear([house.status("delivered", "m-1", Some(&text(&first)), "")]).await;
    house.pass(7 * 24 * 3600);
    trim_all(&house).await;
    assert!(house.outbox.outcome(first.call).await.unwrap().is_some());
    house.pass(2 * 24 * 3600);
    trim_all(&house).await;
    assert!(house.outbox.outcome(first.call).await.unwrap().is_none());
    assert!(house.outbox.about("m-1").await.unwrap().chain.is_empty());
    let rows = house.outbox.look(|step| {
        step.connection.query_row("SELECT (SELECT count(*) FROM heard) + (SELECT count(*) FROM stretches)", [], |row| {
            row.get::<_, i64>(0)
        })
    });
    assert_eq!(rows.await.unwrap(), 0);
    assert_eq!(word(&house.begin(&order).await), "never too_old");
    assert_eq!(word(&house.begin(&command).await), "never too_old");
}

#[tokio::test]
async fn what_waits_long_after_it_could_be_sent_is_given_up() {
    let house = House::new();
    house.hear([house.status("failed", "m-1", None, "131049")]).await;
    house.pass(9 * 24 * 3600);
    trim_all(&house).await;
    assert!(house.waits().await.is_empty());
    assert_eq!(house.outbox.counts().waiting, [("retry".to_owned(), 0)].into());
}

#[tokio::test]
async fn calls_beyond_their_number_go_early_and_their_events_are_too_old_from_then_on() {
    let house = House::with(RULE, SMALL);
    let orders: Vec<_> = (0..5)
        .map(|_| {
            house.pass(10);
            house.order()
        })
        .collect();
    for (n, order) in orders.iter().enumerate() {
        house.pass(10);
        house.send(order, &format!("m-{n}")).await;
    }
    trim_all(&house).await;
    let mut words = Vec::new();
    for order in &orders {
        words.push(word(&house.begin(order).await));
    }
    assert_eq!(words, ["never too_old", "never too_old", "sent m-2", "sent m-3", "sent m-4"]);
    let kept = "SELECT count(*) FROM calls WHERE request IS NOT NULL";
    let kept = house.outbox.look(move |step| step.connection.query_row(kept, [], |row| row.get::<_, i64>(0)));
    assert_eq!(kept.await.unwrap(), 1);
    house.pass(60);
    assert_eq!(word(&house.begin(&house.order()).await), "call 0");
}

#[tokio::test]
async fn where_deliveries_went_early_nothing_is_sent_again_that_may_have_been_delivered() {
    let house = House::with(RULE, SMALL);
    house.hear([house.status("failed", "m-0", None, "131049")]).await;
    let command = house.hand_over().await;
    house.hear((0..5).map(|n| house.status("delivered", &format!("d-{n}"), None, ""))).await;
    trim_all(&house).await;
    assert_eq!(word(&house.begin(&command).await), "never too_old");
    house.pass(60);
    house.hear([house.status("failed", "m-1", None, "131049")]).await;
    assert_eq!(house.waits().await.len(), 1, "what failed since then is planned");
}

#[tokio::test]
async fn a_file_that_is_gone_at_a_start_is_told_and_what_it_may_have_known_is_not_sent_twice() {
    let mut house = House::new();
    let order = house.order();
    house.send(&order, "m-1").await;
    house.hear([house.status("failed", "m-0", None, "131049")]).await;
    let command = house.command(&house.waits().await[0]);
    house.outbox.close();
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(house.folder.path().join(format!("{FILE}{ending}")));
    }
    house.pass(60);
    for _ in 0..2 {
        house.reopen();
        assert!(house.waits().await.is_empty());
        assert!(house.folder.path().join(FILE).exists(), "who only looks finds that it is gone");
        assert_eq!(word(&house.begin(&order).await), "never too_old");
        assert_eq!(word(&house.begin(&command).await), "never too_old");
    }
    house.pass(1);
    assert_eq!(word(&house.begin(&house.order()).await), "call 0");
}

#[tokio::test]
async fn what_goes_while_the_clock_is_far_ahead_is_not_sent_twice_when_it_is_right_again() {
    let house = House::new();
    let order = house.order();
    house.send(&order, "m-1").await;
    house.hear([house.status("failed", "m-0", None, "131049")]).await;
    let command = house.hand_over().await;
    house.hear([house.status("delivered", "m-0", None, "")]).await;
    house.pass(30 * 24 * 3600);
    trim_all(&house).await;
    house.pass(-30 * 24 * 3600);
    assert_eq!(word(&house.begin(&order).await), "never too_old");
    assert_eq!(word(&house.begin(&command).await), "never too_old");
    house.pass(6 * 3600);
    assert_eq!(word(&house.begin(&house.order()).await), "call 0");
}
