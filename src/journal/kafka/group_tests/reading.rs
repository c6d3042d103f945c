//! What a reader is given, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::kit::{SHARDS, SINK, Topics, at, chunk, eventually, given, news, number, stand, step, taken};
use crate::journal::kafka::group::GroupError;
use crate::journal::kafka::seam::{Committer as _, Hears as _, Row};
use crate::journal::kafka::testing::PATIENCE;
use crate::journal::{JournalError, News, Position};

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_never_began_has_no_reader_and_begins_once() {
    let Some(topics) = Topics::new("a_sink_that_never_began_has_no_reader_and_begins_once").await else { return };
    let daemon = topics.daemon("a");
    let Err(JournalError::Cursors(error)) = daemon.groups.reader(SINK).await else { panic!("it has one") };
    assert_eq!(error.downcast_ref(), Some(&GroupError::NeverBegan(SINK.into())));
    assert!(daemon.stands().await.is_empty());
    for offset in [0, 7] {
        let stands = (0..SHARDS).map(|shard| stand(shard, offset, "first")).collect();
        daemon.groups.begin(SINK, stands).await.unwrap();
        assert_eq!(daemon.stands().await.into_values().collect::<Vec<_>>(), vec![(0, "first".to_owned()); 4]);
    }
    assert_eq!(daemon.joins(4).await.1, at(&[0; 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_the_order_of_their_shard_and_fair_between_shards() {
    let Some(topics) = Topics::new("events_come_in_the_order_of_their_shard_and_fair_between_shards").await else {
        return;
    };
    topics.begin().await;
    topics.fill(0..400);
    let daemon = topics.daemon("a");
    let (mut reader, mut at) = daemon.joins(4).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), reader.next(0)).await.is_err(), "there is no news");
    let mut turns = vec![];
    for _ in 0..400 {
        reader.ready().await;
        // What is given up takes nothing away.
        drop(reader.next(1));
        let News::Chunk(chunk) = tokio::time::timeout(super::kit::PATIENCE, reader.next(1)).await.unwrap().unwrap()
        else {
            panic!("no chunk")
        };
        assert_eq!(chunk.entries.len(), 1);
        assert_eq!((chunk.entries[0].position, chunk.gap), (at.at(chunk.next.shard), None));
        assert_eq!(
            number(&chunk.entries[0].record),
            chunk.entries[0].position.offset * 4 + u64::from(chunk.next.shard)
        );
        at.set(chunk.next);
        turns.push(chunk.next.shard);
    }
    assert_eq!(at, super::kit::at(&[100; 4]));
    assert!(turns.windows(2).filter(|two| two[0] != two[1]).count() > 100, "one shard does not wait for another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_again_begins_where_its_shards_are_settled_and_the_member_stays() {
    let Some(topics) = Topics::new("a_reader_that_comes_again_begins").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let daemon = topics.daemon("a");
    let (mut reader, _) = daemon.joins(4).await;
    for _ in 0..3 {
        chunk(&mut reader).await;
    }
    daemon.groups.commit(SINK, vec![step(1, 4, "one", &[])]).await.unwrap();
    let mut again = daemon.reader().await;
    assert!(tokio::time::timeout(Duration::from_millis(50), reader.next(1)).await.is_err(), "the first has no more");
    drop(reader);
    let mut at = given(&mut again).await;
    assert_eq!(at, super::kit::at(&[0, 4, 0, 0]));
    while !at.reaches(&super::kit::at(&[10; 4])) {
        let chunk = chunk(&mut again).await;
        assert_eq!((chunk.entries[0].position, chunk.gap), (at.at(chunk.next.shard), None));
        at.set(chunk.next);
    }
    drop(again);
    // Without a reader, as between two hand-overs, it is this daemon's all the same.
    assert_eq!(daemon.groups.owned(SINK), [0, 1, 2, 3]);
    assert_eq!(given(&mut daemon.reader().await).await, super::kit::at(&[0, 4, 0, 0]));
    assert_eq!(daemon.kept.takings(), 4, "no shard was taken twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_reader_ends_and_begins_anew_for_the_next() {
    let Some(topics) = Topics::new("a_member_without_a_reader_ends").await else { return };
    topics.begin().await;
    let daemon = topics.daemon("a");
    drop(daemon.joins(4).await);
    eventually("the member ends", || daemon.groups.owned(SINK).is_empty()).await;
    eventually("what is kept is forgotten", || daemon.kept.gone.lock().unwrap().len() == 4).await;
    let refused = daemon.groups.commit(SINK, vec![step(0, 1, "late", &[])]).await;
    assert!(refused.is_err());
    assert_eq!(daemon.joins(4).await.1, at(&[0; 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_ahead_is_bounded_and_nothing_of_it_is_lost() {
    let Some(topics) = Topics::new("what_is_read_ahead_is_bounded").await else { return };
    topics.begin().await;
    let padding = "0".repeat(50_000);
    topics.write((0..800).map(|n| (n % 4, format!("{padding}{n:06}"))));
    let daemon = topics.daemon("a");
    let (mut reader, mut at) = daemon.joins(4).await;
    let member = daemon.groups.member(SINK).unwrap();
    eventually("it is full", || member.feed.is_full()).await;
    for _ in 0..800 {
        let News::Chunk(chunk) = tokio::time::timeout(super::kit::PATIENCE, reader.next(1)).await.unwrap().unwrap()
        else {
            panic!("no chunk")
        };
        assert!(member.feed.bytes() < 10 << 20, "{}", member.feed.bytes());
        assert_eq!((chunk.entries.len(), chunk.entries[0].position), (1, at.at(chunk.next.shard)));
        at.set(chunk.next);
    }
    assert_eq!(at, super::kit::at(&[200; 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_gap() {
    let Some(topics) = Topics::new("what_cannot_be_read_is_a_gap").await else { return };
    topics.begin().await;
    topics.write([(0, "1".into()), (0, "damaged".to_owned()), (0, "2".into())].into_iter());
    let daemon = topics.daemon("a");
    let (mut reader, _) = daemon.joins(4).await;
    let mut seen = vec![];
    while seen.len() < 3 {
        let chunk = chunk(&mut reader).await;
        seen.extend(chunk.entries.iter().map(|entry| Some(entry.position.offset)));
        if let Some(gap) = chunk.gap {
            let to = Position { shard: 0, offset: 2 };
            assert_eq!((gap.from.behind(), gap.to, chunk.next, gap.lost), (to, to, to, 1));
            assert_eq!(gap.unknown, 0);
            seen.push(None);
        }
    }
    assert_eq!(seen, [Some(0), None, Some(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_behind_the_end_of_its_topic_begins_with_the_oldest_event() {
    let Some(topics) = Topics::new("a_cursor_behind_the_end_of_its_topic").await else { return };
    topics.fill(0..40);
    let a = topics.daemon("a");
    a.groups
        .begin(SINK, (0..SHARDS).map(|shard| stand(shard, if shard == 2 { 11 } else { 10 }, "")).collect())
        .await
        .unwrap();
    assert_eq!(a.joins(4).await.1, at(&[10, 10, 0, 10]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_a_gap_and_a_cursor_comes_to_the_end() {
    let Some(topics) = Topics::new("what_was_deleted_is_a_gap").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let daemon = topics.daemon("a");
    let (mut reader, mut cursors) = daemon.joins(4).await;
    while !cursors.reaches(&at(&[10; 4])) {
        cursors.set(chunk(&mut reader).await.next);
    }
    daemon.groups.commit(SINK, (0..4).map(|shard| step(shard, 5, "five", &[])).collect()).await.unwrap();
    topics.delete_before(10).await;
    drop(reader);
    let mut reader = daemon.reader().await;
    let (mut cursors, mut is_filled) = (at(&[0; 4]), false);
    let first = loop {
        match news(&mut reader).await {
            News::Given(marks) => {
                assert_eq!(marks, at(&[5; 4]));
                cursors = marks;
            }
            News::Chunk(chunk) => {
                let Some(gap) = chunk.gap else { break chunk.entries[0].position };
                assert_eq!((gap.from, gap.to, chunk.next.offset), (cursors.at(gap.from.shard), chunk.next, 10));
                assert_eq!((gap.unknown, gap.lost), (5, 0), "each offset was an event");
                cursors.set(chunk.next);
                if cursors.reaches(&at(&[10; 4])) && !is_filled {
                    topics.fill(40..44);
                    is_filled = true;
                }
            }
            News::Taken(_, told) => {
                drop(reader);
                let _ = told.send(());
                reader = daemon.reader().await;
            }
            News::Lost(shards) => panic!("{shards:?} are lost"),
        }
    };
    assert!(is_filled, "without an event the cursors came to the end");
    assert_eq!((first, first.offset), (cursors.at(first.shard), 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_shared_and_given_where_they_are_settled_once_what_is_held_is_restored() {
    let Some(topics) = Topics::new("shards_are_shared_and_given").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let (a, b) = (topics.daemon("a"), topics.daemon("b"));
    let (mut reader, _) = a.joins(4).await;
    let held = |shard| step(shard, u64::from(shard) + 1, &format!("note {shard}"), &[("k", "v"), ("gone", "soon")]);
    a.groups.commit(SINK, (0..4).map(held).collect()).await.unwrap();
    let more =
        (0..4).map(|shard| step(shard, u64::from(shard) + 2, &format!("more {shard}"), &[("gone", "")])).collect();
    a.groups.commit(SINK, more).await.unwrap();
    let mut other = b.reader().await;
    let (shards, told) = taken(&mut reader).await;
    assert_eq!(shards.len(), 2);
    told.send(()).unwrap();
    let marks = given(&mut other).await;
    assert_eq!(marks.iter().map(|mark| mark.shard).collect::<Vec<_>>(), shards);
    for mark in marks.iter() {
        assert_eq!(mark.offset, u64::from(mark.shard) + 2);
        assert_eq!(b.kept.rows(mark.shard), BTreeMap::from([("k".into(), "v".into())]));
        let taken = b.kept.taken.lock().unwrap().iter().any(|stand| stand.note == format!("more {}", mark.shard));
        assert!(taken, "the note goes with it");
    }
    let first = chunk(&mut other).await.entries[0].position;
    assert_eq!(first, marks.at(first.shard));
    drop(reader);
    let kept = given(&mut a.reader().await).await;
    assert_eq!(kept.iter().count(), 2);
    assert!(kept.iter().all(|mark| !shards.contains(&mark.shard)));
    eventually("what was kept of them is forgotten", || a.kept.gone.lock().unwrap().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_are_taken_wait_for_their_reader_but_not_for_ever() {
    let Some(topics) = Topics::new("shards_that_are_taken_wait").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let (a, b, c) = (topics.daemon("a"), topics.daemon("b"), topics.daemon("c"));
    let (mut reader, _) = a.joins(4).await;
    let mut other = b.reader().await;
    let (shards, told) = taken(&mut reader).await;
    let waits = tokio::time::timeout(Duration::from_secs(2), other.next(1)).await;
    assert!(waits.is_err(), "they are not settled yet");
    let last = shards.iter().map(|shard| step(*shard, 3, "the last", &[])).collect();
    a.groups.commit(SINK, last).await.unwrap();
    told.send(()).unwrap();
    let marks = given(&mut other).await;
    assert!(marks.iter().all(|mark| mark.offset == 3));
    // This one says nothing, and has them taken all the same.
    let mut third = c.reader().await;
    let since = Instant::now();
    let mut first = a.reader().await;
    given(&mut first).await;
    let silent = [
        tokio::spawn(async move { (news(&mut first).await, first) }),
        tokio::spawn(async move { (news(&mut other).await, other) }),
    ];
    let more = given(&mut third).await;
    assert!(more.iter().count() > 0 && since.elapsed() >= Duration::from_secs(5), "{:?}", since.elapsed());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_daemons_know_is_there_at_once() {
    let Some(topics) = Topics::new("what_all_daemons_know_is_there_at_once").await else { return };
    let (a, b) = (topics.daemon("a"), topics.daemon("b"));
    assert_eq!(a.groups.control().await.unwrap(), []);
    let row = |key: &str, value: Option<&'static str>| Row { key: key.into(), value: value.map(Into::into) };
    for row in [row("sink/s", Some("1")), row("sink/t", Some("1")), row("sink/s", Some("2")), row("sink/t", None)] {
        a.groups.set_control(row).await.unwrap();
    }
    assert_eq!(b.groups.control().await.unwrap(), [row("sink/s", Some("2"))]);
    // Whoever reads on hears of each change, and finds what was written before the question.
    let mut told = b.groups.told();
    a.groups.set_control(row("sink/u", Some("1"))).await.unwrap();
    let heard = told.wait_for(|told| told.rows.contains_key("sink/u"));
    drop(tokio::time::timeout(PATIENCE, heard).await.expect("it is heard of").unwrap());
    for n in 0..10 {
        let value = Some(Bytes::from(n.to_string()));
        a.groups.set_control(Row { key: "sink/u".into(), value: value.clone() }).await.unwrap();
        let found = b.groups.control().await.unwrap();
        assert_eq!(found.iter().find(|row| row.key == "sink/u").unwrap().value, value);
    }
    let numbers = [a.groups.number().await, b.groups.number().await, a.groups.number().await].map(Result::unwrap);
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}
