//! What all daemons are to do is done by whoever has the shards, once, and is over when it is done in all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::memory::{Brokers, Daemon, told};
use super::note::MOST_REPLAYS;
use crate::journal::kafka::seam::{Committer as _, Hears as _, Keeper as _, Row};
use crate::journal::{Marks, Position};
use crate::ledger::replays::{Replay, UnderWay};
use crate::ledger::runs::{Call, Passed};
use crate::ledger::tests::letter;
use crate::ledger::*;

const SINK: &str = "crm";

fn at(shard: u32, offset: u64) -> Position {
    Position { shard, offset }
}

fn marks(offsets: [u64; 2]) -> Marks {
    [at(0, offsets[0]), at(1, offsets[1])].into_iter().collect()
}

/// A sink that has begun at 10 in both of its shards, of which each daemon has one.
async fn two() -> (Arc<Brokers>, Daemon, Daemon) {
    let brokers = Arc::new(Brokers::default());
    let (one, two) = (Daemon::new(&brokers, 1), Daemon::new(&brokers, 2));
    one.settle.settle([0, 1].map(|shard| Settlement::to(SINK, at(shard, 10))).into()).await.unwrap();
    brokers.take(SINK, &[0], 1, &one.copy).await;
    brokers.take(SINK, &[1], 2, &two.copy).await;
    (brokers, one, two)
}

fn replay() -> Replay {
    let (first, until) = (marks([2, 3]), marks([8, 9]));
    Replay { sink: SINK.into(), at: first.clone(), first, until, kind: Some("t*".into()), ..Replay::default() }
}

/// A step of a replay from one place to another that parks a delivery of that id.
fn step(id: i64, shard: u32, [from, to]: [u64; 2], held: &str) -> Settlement {
    let held = vec![HeldDelivery { position: at(shard, from), due: Some(7), ..letter(held) }];
    let delta = Counters { accepted: 1, ..Counters::default() };
    Settlement { replay: Some(id), delta, held, passed: Passed::from(from), ..Settlement::to(SINK, at(shard, to)) }
}

fn arrived(shard: u32, id: &str) -> Settlement {
    let fates = vec![ParkedFate { id: id.into(), lane: id.into(), fate: Fate::Delivered(Call::default(), 1) }];
    let delta = Counters { delivered: 1, ..Counters::default() };
    Settlement { sink: SINK.into(), shard, fates, delta, ..Settlement::default() }
}

async fn ours(daemon: &Daemon) -> Vec<Replay> {
    daemon.settle.orders().await.unwrap().replays
}

async fn under_way(daemon: &Daemon) -> Vec<UnderWay> {
    daemon.settle.replays().await.unwrap()
}

async fn counts(daemon: &Daemon, id: i64) -> Counters {
    daemon.settle.replay_counts(id).await.unwrap()[0].counts
}

#[tokio::test]
async fn each_daemon_has_its_shards_of_a_replay_and_all_know_how_far_it_has_come() {
    let (brokers, one, two) = two().await;
    let id = one.settle.begin_replay(vec![replay()]).await.unwrap();
    for (daemon, shard) in [(&one, 0), (&two, 1)] {
        let share = Replay { id, until: replay().until.at(shard).into(), ..replay() };
        assert_eq!(ours(daemon).await, [share]);
    }
    one.settle.settle(vec![step(id, 0, [2, 5], "a")]).await.unwrap();
    assert_eq!(ours(&one).await[0].at.at(0), at(0, 5));
    for daemon in [&one, &two] {
        let [UnderWay { replay, done }] = &*under_way(daemon).await else { panic!() };
        assert_eq!((&replay.at, replay.deliveries, *done), (&marks([5, 3]), 1, Some(0.25)));
    }
    one.settle.settle(vec![step(id, 0, [5, 8], "b"), arrived(0, "a")]).await.unwrap();
    assert_eq!((ours(&one).await, ours(&two).await.len()), (vec![], 1), "the other's part is left");
    two.settle.settle(vec![step(id, 1, [3, 9], "c")]).await.unwrap();
    assert_eq!(under_way(&one).await, []);
    assert!(brokers.told().iter().any(|key| key.starts_with("replay/")), "nobody has looked");
    assert_eq!(ours(&two).await, []);
    two.settle.tidy().await.unwrap();
    assert!(!brokers.told().iter().any(|key| key.starts_with("replay/")));
    // What it brought is delivered after that.
    two.settle.settle(vec![arrived(1, "c")]).await.unwrap();
    for daemon in [&one, &two] {
        assert_eq!(counts(daemon, id).await, Counters { accepted: 3, delivered: 2, ..Counters::default() });
    }
}

#[tokio::test]
async fn a_shard_that_is_taken_over_goes_on_where_its_replay_was_left_and_a_step_of_before_is_void() {
    let (brokers, one, two) = two().await;
    let id = one.settle.begin_replay(vec![replay()]).await.unwrap();
    one.settle.settle(vec![step(id, 0, [2, 5], "a")]).await.unwrap();
    brokers.take(SINK, &[0], 2, &two.copy).await;
    one.copy.gone(SINK, vec![0]).await.unwrap();
    assert_eq!((ours(&one).await, ours(&two).await[0].at.clone()), (vec![], marks([5, 3])));
    let late = one.settle.settle(vec![step(id, 0, [5, 6], "late")]).await;
    assert!(matches!(late, Err(SettleError::Fenced(_))), "{late:?}");
    two.settle.settle(vec![step(id, 0, [5, 8], "b")]).await.unwrap();
    // It is back, and what was read of it before says nothing any more.
    brokers.take(SINK, &[0], 1, &one.copy).await;
    for from in [2, 5] {
        let stale = one.settle.settle(vec![step(id, 0, [from, 6], "stale")]).await;
        assert!(matches!(stale, Err(SettleError::Fenced(_))), "{stale:?}");
    }
    assert_eq!((one.ledger.parked_rows(SINK).await.unwrap(), ours(&one).await), (2, vec![]));
    two.settle.settle(vec![step(id, 1, [3, 9], "c")]).await.unwrap();
    assert_eq!((under_way(&one).await, counts(&one, id).await.accepted), (vec![], 3));
}

#[tokio::test]
async fn replays_that_begin_at_once_have_numbers_of_their_own_and_a_bound() {
    let (_, one, two) = two().await;
    let (a, b) = tokio::join!(one.settle.begin_replay(vec![replay()]), two.settle.begin_replay(vec![replay()]));
    let mut ids = BTreeSet::from([a.unwrap(), b.unwrap()]);
    assert_eq!(ids.len(), 2);
    let refused = loop {
        match one.settle.begin_replay(vec![replay()]).await {
            Ok(id) => assert!(ids.insert(id), "{id}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SettleError::TooManyReplays(n) if n == ids.len() && n == MOST_REPLAYS / 2), "{refused}");
    assert_eq!(two.settle.cancel_replay(*ids.first().unwrap()).await.unwrap(), 1);
    one.settle.begin_replay(vec![replay()]).await.unwrap();
}

#[tokio::test]
async fn a_replay_is_ended_by_any_daemon_and_what_it_came_to_stays() {
    let (_, one, two) = two().await;
    let id = one.settle.begin_replay(vec![replay()]).await.unwrap();
    one.settle.settle(vec![step(id, 0, [2, 5], "a")]).await.unwrap();
    assert_eq!(two.settle.cancel_replay(id).await.unwrap(), 1);
    assert_eq!((ours(&one).await, ours(&two).await, under_way(&one).await), (vec![], vec![], vec![]));
    assert_eq!((counts(&two, id).await.accepted, one.ledger.parked_rows(SINK).await.unwrap()), (1, 1));
    // Of one that was on its way when it was ended nothing is noted but what it brought.
    two.settle.settle(vec![step(id, 1, [3, 5], "b")]).await.unwrap();
    assert_eq!((two.ledger.parked_rows(SINK).await.unwrap(), under_way(&one).await), (1, vec![]));
    assert_eq!(one.settle.cancel_replay(id).await.unwrap(), 0);
}

#[tokio::test]
async fn of_replays_that_are_over_the_last_are_remembered_and_none_that_is_under_way_is_forgotten() {
    let (brokers, one, _two) = two().await;
    let slow = one.settle.begin_replay(vec![replay()]).await.unwrap();
    one.settle.settle(vec![step(slow, 0, [2, 3], "slow")]).await.unwrap();
    let mut ids = vec![];
    for n in 0..2 * MOST_REPLAYS {
        let id = one.settle.begin_replay(vec![replay()]).await.unwrap();
        one.settle.settle(vec![step(id, 0, [2, 8], &n.to_string())]).await.unwrap();
        one.settle.cancel_replay(id).await.unwrap();
        ids.push(id);
    }
    assert_eq!(ours(&one).await[0].at.at(0), at(0, 3));
    assert_eq!(counts(&one, *ids.last().unwrap()).await.accepted, 1);
    assert_eq!(one.settle.replay_counts(ids[0]).await.unwrap(), []);
    // Whoever takes over knows the same.
    let next = Daemon::new(&brokers, 3);
    brokers.take(SINK, &[0], 3, &next.copy).await;
    assert_eq!(next.copy.progress(SINK).await.unwrap(), one.copy.progress(SINK).await.unwrap());
    assert_eq!(one.copy.progress(SINK).await.unwrap().len(), MOST_REPLAYS);
    assert_eq!(told(&next.path), told(&one.path));
}

#[tokio::test]
async fn a_sink_is_moved_on_by_whoever_has_its_shards_and_then_never_again() {
    let (brokers, one, two) = two().await;
    let to = marks([15, 20]);
    one.settle.skip(SINK, &marks([15, 12])).await.unwrap();
    two.settle.skip(SINK, &marks([11, 20])).await.unwrap();
    let skips = async |daemon: &Daemon| daemon.settle.orders().await.unwrap().skips;
    for daemon in [&one, &two] {
        assert_eq!(skips(daemon).await, [(SINK.to_owned(), to.clone())]);
    }
    one.settle.settle(vec![Settlement::to(SINK, at(0, 15))]).await.unwrap();
    assert_eq!((skips(&one).await.len(), skips(&two).await.len()), (0, 1));
    // Nobody has the other shard: whoever has none tries to get it.
    let idle = Daemon::new(&brokers, 3);
    brokers.give(SINK, &[1], 9);
    idle.settle.tidy().await.unwrap();
    assert_eq!((skips(&one).await.len(), skips(&two).await.len(), skips(&idle).await.len()), (0, 1, 1));
    brokers.take(SINK, &[1], 3, &idle.copy).await;
    idle.settle.settle(vec![Settlement::to(SINK, at(1, 20))]).await.unwrap();
    one.settle.tidy().await.unwrap();
    assert_eq!((skips(&two).await, brokers.told().iter().any(|key| key.starts_with("skip/"))), (vec![], false));
    one.settle.settle(vec![Settlement::to(SINK, at(0, 11))]).await.unwrap();
    assert_eq!(skips(&one).await, [], "it is over");
}

#[tokio::test]
async fn a_change_is_heard_of_also_where_it_came_while_nobody_waited_and_while_something_is_left_to_do() {
    let (brokers, one, two) = two().await;
    let mut hearing = Box::pin(one.settle.changed());
    assert!(tokio::time::timeout(Duration::ZERO, &mut hearing).await.is_err(), "nothing is to be done");
    two.settle.pause(SINK, true).await.unwrap();
    hearing.await;
    assert!(one.settle.orders().await.unwrap().paused.contains(SINK));
    two.settle.pause(SINK, false).await.unwrap();
    one.settle.changed().await;
    assert_eq!(one.settle.orders().await.unwrap(), Orders::default());
    let id = two.settle.begin_replay(vec![replay()]).await.unwrap();
    one.settle.changed().await;
    // Nobody writes anything any more.
    one.settle.changed().await;
    two.settle.cancel_replay(id).await.unwrap();
    one.settle.changed().await;
    assert!(tokio::time::timeout(Duration::from_millis(20), one.settle.changed()).await.is_err());
    assert!(brokers.member(1).told().borrow().is_whole);
    assert_eq!(
        one.member.control().await.unwrap().iter().filter(|row: &&Row| row.key.starts_with("replay/")).count(),
        0
    );
}
