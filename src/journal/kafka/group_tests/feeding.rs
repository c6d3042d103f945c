//! What a feed gives, without any Kafka; and which shards are whose.

use std::sync::Arc;
use std::time::Duration;

use super::kit::{at, record, stand, step};
use crate::journal::kafka::feed::Feed;
use crate::journal::kafka::group::GroupError;
use crate::journal::kafka::shards::{Shards, Taken};
use crate::journal::{Entry, News, Position, Reader};

fn push(feed: &Feed, shard: u32, offset: u64, bytes: usize) {
    let position = Position { shard, offset };
    feed.push(position, Some(Entry { position, record: Arc::new(record(&vec![b'x'; bytes])) }));
}

/// What the reader has at once, in words; `-` where it would wait.
async fn told(reader: &mut Box<dyn Reader>, max_bytes: u64) -> String {
    match tokio::time::timeout(Duration::from_millis(1), reader.next(max_bytes)).await {
        Err(_) => "-".into(),
        Ok(Err(error)) => format!("error {error}"),
        Ok(Ok(News::Given(marks))) => format!("given {marks}"),
        Ok(Ok(News::Taken(shards, _))) => format!("taken {shards:?}"),
        Ok(Ok(News::Lost(shards))) => format!("lost {shards:?}"),
        Ok(Ok(News::Chunk(chunk))) => {
            let offsets: Vec<u64> = chunk.entries.iter().map(|entry| entry.position.offset).collect();
            let gap = chunk.gap.map(|gap| (gap.from.offset, gap.to.offset, gap.lost));
            format!("{}: {offsets:?} to {} {gap:?}", chunk.next.shard, chunk.next.offset)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_gives_shards_before_events_and_parts_of_one_shard_by_turns() {
    let feed = Arc::new(Feed::default());
    let mut reader = feed.reader().unwrap();
    push(&feed, 0, 0, 10);
    assert_eq!(told(&mut reader, 100).await, "-", "what is pushed before the reader begins is not for it");
    feed.begin(&at(&[0, 5]));
    for offset in [0, 1, 2, 5] {
        push(&feed, 0, offset, 10);
        push(&feed, 1, offset + 4, 10);
    }
    push(&feed, 7, 0, 10);
    assert_eq!(told(&mut reader, 0).await, "given 0 1:5");
    assert_eq!(told(&mut reader, 0).await, "-", "no events where there is no room");
    assert_eq!(told(&mut reader, 10).await, "1: [5] to 6 None");
    assert_eq!(told(&mut reader, 25).await, "0: [0, 1] to 2 None");
    assert_eq!(told(&mut reader, 100).await, "1: [6] to 7 None", "a chunk ends before a gap");
    assert_eq!(told(&mut reader, 1).await, "0: [2] to 3 None");
    assert_eq!(told(&mut reader, 100).await, "1: [] to 9 Some((7, 9, 0))");
    feed.give(&at(&[0, 0, 3]));
    feed.lost(&[1]);
    assert_eq!(told(&mut reader, 100).await, "lost [1]");
    assert_eq!(told(&mut reader, 100).await, "given 0 2:3", "of all that was lost nothing more is told");
    feed.end(GroupError::Closed);
    assert_eq!(told(&mut reader, 0).await, "lost [0, 2]");
    assert!(!reader.is_over(), "why is still to be told");
    assert!(told(&mut reader, 100).await.starts_with("error"));
    assert!(reader.is_over());
    assert!(feed.reader().is_none() && feed.bytes() == 0);
}

#[tokio::test(start_paused = true)]
async fn shards_that_nobody_has_read_are_taken_without_a_word() {
    let feed = Arc::new(Feed::default());
    let mut reader = feed.reader().unwrap();
    feed.begin(&at(&[0, 0]));
    assert!(feed.taken(&[1]).is_none(), "its reader has not heard of it");
    assert_eq!(told(&mut reader, 100).await, "given 0");
    let mut waits = feed.taken(&[0, 1]).unwrap();
    assert!(waits.try_recv().is_err());
    drop(reader);
    assert!(waits.await.is_err(), "who has gone settles nothing more");
    assert!(feed.taken(&[0]).is_none());
}

#[test]
fn a_shard_that_was_taken_away_meanwhile_is_not_owned_when_it_is_restored() {
    let shards = Shards::default();
    let taken = |shard, ticket| (ticket, Taken { stand: stand(shard, 3, "n"), oldest: 1 });
    shards.take(&[0, 1]);
    let first = shards.work().unwrap().take;
    shards.release(&[0]);
    shards.forget(&[0]);
    shards.take(&[0]);
    shards.restored(first.iter().map(|(shard, ticket)| taken(*shard, *ticket)).collect());
    let owned = |shards: &Shards| shards.own().iter().map(|taken| taken.stand.cursor.shard).collect::<Vec<_>>();
    assert_eq!(owned(&shards), [1], "this one's ticket is of before");
    let work = shards.work().unwrap();
    assert_eq!((work.gone, work.take.len()), (vec![0], 1));
    let steps = |shard| vec![step(1, 4, "m", &[]), step(shard, 4, "m", &[])];
    assert_eq!((shards.foreign(&steps(0), u64::MAX), shards.foreign(&steps(1), u64::MAX)), (vec![0], vec![]));
    shards.restored(work.take.iter().map(|(shard, ticket)| taken(*shard, *ticket)).collect());
    assert_eq!(shards.leave(&[0, 1]), [1], "what is not read yet need not be settled");
    shards.settled(&steps(0));
    assert_eq!(shards.held(), [stand(1, 4, "m")]);
    assert!(shards.owned().is_empty() && shards.fence(&steps(1), u64::MAX).is_err());
    assert_eq!(shards.release(&[0, 1]), [1], "the other was never assigned for reading");
    shards.end();
    assert!(shards.is_over() && shards.work().is_none());
}

#[test]
fn a_step_that_was_made_before_its_shard_went_and_came_back_is_not_settled() {
    let shards = Shards::default();
    let take_over = || {
        shards.take(&[0]);
        let take = shards.work().unwrap().take;
        let taken = |(shard, ticket): (u32, u64)| (ticket, Taken { stand: stand(shard, 3, "n"), oldest: 1 });
        shards.restored(take.into_iter().map(taken).collect());
        assert_eq!(shards.own().len(), 1);
        shards.assignments()
    };
    let made = take_over();
    let steps = [step(0, 4, "m", &[])];
    assert_eq!(shards.foreign(&steps, made), Vec::<u32>::new());
    shards.release(&[0]);
    let later = take_over();
    assert_eq!((shards.foreign(&steps, made), shards.foreign(&steps, later)), (vec![0], vec![]));
    assert_eq!(shards.fence(&steps, made).err(), Some(vec![0]));
}
