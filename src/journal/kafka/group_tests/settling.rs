//! What is durable, and what is not.

use std::sync::Arc;
use std::time::Instant;

use super::kit::{Daemon, PATIENCE, SESSION, SINK, Topics, eventually, step};
use crate::journal::kafka::group::GroupError;
use crate::journal::kafka::lease::LENGTH;
use crate::journal::kafka::seam::{CommitError, Committer as _};
use crate::journal::kafka::settling::Stage;
use crate::journal::{JournalError, News};

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_durable_together_or_not_at_all() {
    let Some(topics) = Topics::new("steps_are_durable_together_or_not_at_all").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let (a, b) = (topics.daemon("a"), topics.daemon("b"));
    let (reader, _) = a.joins(4).await;
    let steps = vec![step(0, 5, "one", &[("x", "1")]), step(3, 6, "two", &[("y", "2")])];
    a.groups.commit(SINK, steps).await.unwrap();
    // One shard that is not ours is enough.
    let foreign = vec![step(0, 9, "three", &[("x", "9")]), step(7, 1, "four", &[])];
    assert_eq!(a.groups.commit(SINK, foreign).await, Err(CommitError::Fenced(vec![7])));
    // Refused by a broker when all else was sent.
    let refused = vec![step(0, 9, "five", &[("x", "9")]), step(3, 9, &"n".repeat(1 << 20), &[("y", "9")])];
    let refused = a.groups.commit(SINK, refused).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    a.groups.commit(SINK, vec![step(1, 2, "six", &[("z", "3")])]).await.unwrap();
    let stands = b.stands().await;
    let of = |shard: u32| stands.get(&shard).map(|(offset, note)| (*offset, note.as_str())).unwrap();
    assert_eq!((of(0), of(1), of(2), of(3)), ((5, "one"), (2, "six"), (0, "begin"), (6, "two")));
    // Its shards stay its own until its session is over: then another has them, with what is held.
    a.groups.close().await;
    drop(reader);
    b.joins(4).await;
    let rows = |shard| b.kept.rows(shard).into_iter().collect::<Vec<_>>();
    let row = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    assert_eq!((rows(0), rows(1), rows(3)), (row("x", "1"), row("z", "3"), row("y", "2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_hangs_is_left_behind_and_settling_goes_on() {
    let Some(topics) = Topics::new("a_settle_that_hangs_is_left_behind").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let a = topics.daemon("a");
    let _reader = a.joins(4).await;
    a.groups.commit(SINK, vec![step(0, 1, "one", &[])]).await.unwrap();
    let release = hang(&a, Stage::BeforeCursors);
    let hung = a.groups.commit(SINK, vec![step(0, 2, "two", &[("hung", "1")])]);
    let hung = tokio::time::timeout(PATIENCE, hung).await.unwrap();
    assert!(matches!(hung, Err(CommitError::Unavailable(_))), "{hung:?}");
    assert_eq!(a.groups.abandoned(), 1);
    a.groups.commit(SINK, vec![step(0, 3, "three", &[("k", "v")])]).await.unwrap();
    release.send(()).unwrap();
    eventually("it ends", || a.groups.abandoned() == 0).await;
    assert_eq!(a.stands().await.get(&0), Some(&(3, "three".to_owned())));
    a.groups.commit(SINK, vec![step(0, 4, "four", &[])]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_whose_settle_hangs_and_whose_shards_move_stops_no_other() {
    let Some(topics) = Topics::new("a_sink_whose_settle_hangs_and_whose_shards_move_stops_no_other").await else {
        return;
    };
    topics.begin().await;
    topics.begin_another("well").await;
    topics.fill(0..40);
    let (a, b) = (topics.daemon("a"), topics.daemon("b"));
    let _sick = a.joins(4).await;
    let mut well = a.groups.reader("well").await.unwrap();
    assert_eq!(super::kit::given(&mut well).await.iter().count(), 4);
    let release = hang(&a, Stage::BeforeCursors);
    let hung = tokio::spawn({
        let groups = Arc::clone(&a.groups);
        async move { groups.commit(SINK, vec![step(0, 2, "two", &[("hung", "1")])]).await }
    });
    // It hangs, and its group rebalances beside.
    let _other = b.reader().await;
    for offset in 1..20 {
        let note = format!("well {offset}");
        a.groups.commit("well", vec![step(0, offset, &note, &[("k", "v")])]).await.unwrap();
    }
    assert!(!hung.is_finished(), "all that time");
    assert!(a.groups.lease("well").holds());
    drop(release);
    let _ = hung.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_longer_calls_has_a_longer_session() {
    let Some(topics) = Topics::new("a_reader_with_longer_calls_has_a_longer_session").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let a = topics.daemon("a");
    let (first, _) = a.joins(4).await;
    a.groups.commit(SINK, vec![step(0, 1, "one", &[])]).await.unwrap();
    a.groups.set_session(SINK, SESSION * 2);
    drop(first);
    let (_next, given) = a.joins(4).await;
    assert_eq!((given.at(0).offset, a.groups.member(SINK).unwrap().session), (1, SESSION * 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_although_the_answer_did_not_is_known_to_be_settled() {
    let Some(topics) = Topics::new("what_arrived_although_the_answer_did_not").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let a = topics.daemon("a");
    let _reader = a.joins(4).await;
    let release = hang(&a, Stage::BehindEnd);
    let hung = a.groups.commit(SINK, vec![step(0, 2, "two", &[("k", "v")]), step(1, 2, "other", &[])]);
    assert_eq!(tokio::time::timeout(PATIENCE, hung).await.unwrap(), Ok(()));
    assert_eq!((a.groups.abandoned(), a.stands().await.get(&0)), (1, Some(&(2, "two".to_owned()))));
    // It goes on from there, and what comes back late changes nothing.
    a.groups.commit(SINK, vec![step(0, 3, "three", &[])]).await.unwrap();
    drop(release);
    eventually("it ends", || a.groups.abandoned() == 0).await;
    assert_eq!(super::kit::given(&mut a.reader().await).await, super::kit::at(&[3, 2, 0, 0]));
}

/// Lets the next transaction of a daemon hang until this is dropped.
fn hang(daemon: &Daemon, at: Stage) -> std::sync::mpsc::Sender<()> {
    let (release, hang) = std::sync::mpsc::channel();
    *daemon.groups.member(SINK).unwrap().settling.hang.lock().unwrap() = Some((at, hang));
    release
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_without_events_are_settled_all_the_same() {
    let Some(topics) = Topics::new("shards_without_events_are_settled_all_the_same").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let a = topics.daemon("a");
    let lease = a.groups.lease(SINK);
    assert!(!lease.holds());
    let _reader = a.joins(4).await;
    a.groups.commit(SINK, vec![step(0, 1, "one", &[])]).await.unwrap();
    assert!(lease.holds());
    // Twice as long as a lease is.
    let since = Instant::now();
    eventually("it settles again and again", || {
        assert!(lease.holds());
        since.elapsed() > LENGTH * 2
    })
    .await;
    assert_eq!(a.stands().await.get(&0), Some(&(1, "one".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_with_one_name_the_elder_ends_for_good() {
    let Some(topics) = Topics::new("of_two_daemons_with_one_name_the_elder_ends_for_good").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let (elder, younger) = (topics.marked("a"), topics.marked("a"));
    let (mut reader, _) = elder.joins(4).await;
    let (_other, _) = younger.joins(4).await;
    tokio::time::timeout(PATIENCE, elder.groups.replaced()).await.unwrap();
    assert!(elder.groups.is_replaced() && !younger.groups.is_replaced());
    eventually("it delivers nothing", || !elder.groups.lease(SINK).holds()).await;
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        assert!(Instant::now() < until);
        match reader.next(1).await {
            Ok(News::Lost(shards)) => assert_eq!(shards, [0, 1, 2, 3]),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    for error in [ended, elder.groups.reader(SINK).await.err().unwrap()] {
        let JournalError::Cursors(error) = error else { panic!("{error}") };
        assert_eq!(error.downcast_ref(), Some(&GroupError::Replaced("a".into())));
        assert!(error.to_string().contains("node"), "{error}");
    }
    let late = elder.groups.commit(SINK, vec![step(0, 9, "late", &[("late", "1")])]).await;
    assert_eq!(late, Err(CommitError::Fenced(vec![0])));
    // The elder may have come between, before it knew.
    while younger.groups.commit(SINK, vec![step(0, 1, "one", &[])]).await.is_err() {
        assert!(Instant::now() < until);
    }
    assert_eq!(younger.stands().await.get(&0), Some(&(1, "one".to_owned())));
}
