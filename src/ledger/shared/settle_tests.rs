//! A step is in Kafka and in the copy, or in neither; whoever takes a shard over goes on where it was left.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::memory::{Brokers, Daemon, Fault, told};
use super::note::Note;
use super::*;
use crate::journal::Position;
use crate::journal::kafka::seam::{Committer, Keeper, Row};
use crate::ledger::held::{Change, Filter, Held, Page};
use crate::ledger::runs::{Call, Passed};
use crate::ledger::tests::letter;
use crate::ledger::*;

const SINK: &str = "crm";

/// No test waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

fn at(shard: u32, offset: u64) -> Position {
    Position { shard, offset }
}

fn row(shard: u32, id: &str, due: Option<i64>) -> HeldDelivery {
    HeldDelivery { position: at(shard, 3), due, ..letter(id) }
}

/// A step to that place that delivers two, drops none, and holds these.
fn step(shard: u32, place: u64, held: Vec<HeldDelivery>) -> Settlement {
    let dead = held.iter().filter(|held| held.due.is_none()).count() as u64;
    let delta = Counters { accepted: 2 + held.len() as u64, delivered: 2, dead, ..Counters::default() };
    Settlement { delta, held, ..Settlement::to(SINK, at(shard, place)) }
}

fn fate(shard: u32, id: &str, fate: Fate, delta: Counters) -> Settlement {
    let fates = vec![ParkedFate { id: id.into(), lane: id.into(), fate }];
    Settlement { sink: SINK.into(), shard, fates, delta, ..Settlement::default() }
}

/// Kafka with two shards of a sink that has begun, both the first daemon's.
async fn began() -> (Arc<Brokers>, Daemon) {
    let brokers = Arc::new(Brokers::default());
    let daemon = Daemon::new(&brokers, 1);
    daemon.settle.settle([0, 1].map(|shard| Settlement::to(SINK, at(shard, 1))).into()).await.unwrap();
    brokers.take(SINK, &[0, 1], 1, &daemon.copy).await;
    (brokers, daemon)
}

async fn counters(daemon: &Daemon) -> Counters {
    daemon.settle.load(SINK).await.unwrap().unwrap().counters
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never came to that");
}

async fn ids(daemon: &Daemon, held: Held) -> Vec<String> {
    let page = Page { limit: 100, ..Page::default() };
    let (letters, _) = daemon.ledger.held(Filter { held, ..Filter::default() }, page).await.unwrap();
    letters.into_iter().map(|letter| letter.id).collect()
}

#[tokio::test]
async fn where_kafka_refuses_nothing_is_written_and_the_step_counts_once_when_it_is_made_again() {
    let (brokers, daemon) = began().await;
    let steps = || vec![step(0, 5, vec![row(0, "a", None)]), step(1, 7, vec![row(1, "b", Some(9))])];
    let before = (told(&daemon.path), daemon.member.stands(SINK).await.unwrap());
    for fault in [Fault::Refused, Fault::Unknown { made: false }] {
        daemon.member.fail(&[fault]);
        let refused = daemon.settle.settle(steps()).await;
        assert!(matches!(refused, Err(SettleError::Unavailable(_))), "{fault:?}: {refused:?}");
        assert_eq!((told(&daemon.path), daemon.member.stands(SINK).await.unwrap()), before, "{fault:?}");
        assert!(brokers.log(SINK, 0).is_empty() && brokers.log(SINK, 1).is_empty());
    }
    // Another daemon has one of the shards, and this one has not heard of it yet.
    brokers.give(SINK, &[1], 2);
    let fenced = daemon.settle.settle(steps()).await;
    assert!(matches!(&fenced, Err(SettleError::Fenced(shards)) if *shards == [1]), "{fenced:?}");
    assert_eq!((told(&daemon.path), daemon.member.stands(SINK).await.unwrap()), before);
    assert!(brokers.log(SINK, 0).is_empty());
    brokers.give(SINK, &[1], 1);
    daemon.settle.settle(steps()).await.unwrap();
    let wanted = Counters { accepted: 6, delivered: 4, dead: 1, ..Counters::default() };
    assert_eq!((counters(&daemon).await, daemon.ledger.load(SINK).await.unwrap().unwrap().counters), (wanted, wanted));
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_counts_once() {
    let (_, daemon) = began().await;
    daemon.member.fail(&[Fault::Unknown { made: true }]);
    daemon.settle.settle(vec![step(0, 5, vec![row(0, "a", None)])]).await.unwrap();
    assert_eq!(counters(&daemon).await, Counters { accepted: 3, delivered: 2, dead: 1, ..Counters::default() });
    assert_eq!(ids(&daemon, Held::Dead).await, ["a"]);
}

#[tokio::test]
async fn what_a_daemon_committed_before_it_died_is_in_the_copy_of_the_next_owner() {
    let (brokers, daemon) = began().await;
    daemon.settle.settle(vec![step(0, 5, vec![row(0, "a", Some(7)), row(0, "c", None)])]).await.unwrap();
    daemon.member.fail(&[Fault::Dies]);
    let (dying, before) = (daemon.settle.clone(), told(&daemon.path));
    let delta = Counters { delivered: 1, ..Counters::default() };
    let steps = vec![fate(0, "a", Fate::Delivered(Call::default(), 2), delta), step(0, 9, vec![row(0, "b", None)])];
    let died = tokio::spawn(async move { dying.settle(steps).await });
    until(async || brokers.log(SINK, 0).iter().any(|row| row.key == "s/b")).await;
    assert_eq!(told(&daemon.path), before, "it never heard that it was made");
    died.abort();
    let next = Daemon::new(&brokers, 2);
    brokers.take(SINK, &[0, 1], 2, &next.copy).await;
    assert_eq!((ids(&next, Held::Dead).await, ids(&next, Held::Parked).await.len()), (vec!["b".into(), "c".into()], 0));
    assert_eq!(counters(&next).await, Counters { accepted: 7, delivered: 5, dead: 2, ..Counters::default() });
}

#[tokio::test]
async fn whoever_takes_over_tries_again_what_was_parked_and_the_counts_add_up() {
    let (brokers, daemon) = began().await;
    let spent = Spent { attempts: 2, uncounted: 1, micros: 300 };
    let parked = HeldDelivery { attempts: 3, spent, ..row(0, "a", Some(7)) };
    daemon.settle.settle(vec![step(0, 5, vec![parked, row(0, "b", None)]), step(1, 5, vec![])]).await.unwrap();
    let tried = Try {
        attempts: 4,
        spent: Spent { attempts: 3, ..spent },
        times: [2, 8],
        code: "http_5xx".into(),
        detail: "503".into(),
        answer: Some("busy".into()),
    };
    daemon.settle.settle(vec![fate(0, "a", Fate::Again(11, tried.clone()), Counters::default())]).await.unwrap();
    daemon.settle.change_dead(SINK, vec!["b".into()], Change::Retry { due: 4, as_was: true }).await.unwrap();
    // The first daemon keeps one shard.
    let next = Daemon::new(&brokers, 2);
    brokers.take(SINK, &[0], 2, &next.copy).await;
    daemon.copy.gone(SINK, vec![0]).await.unwrap();
    let rows = next.ledger.parked(SINK, false, vec!["a".into(), "b".into()]).await.unwrap();
    let [a, b] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((a.held.due, a.held.attempts, a.held.spent), (Some(11), 4, tried.spent));
    assert_eq!((a.held.code.as_str(), a.held.answer.as_deref(), a.held.times), ("http_5xx", Some("busy"), [1, 2, 8]));
    assert_eq!((b.held.due, b.how, b.held.spent), (Some(4), parked::How::AsWas, Spent::default()));
    // It goes on where the other was.
    let delivered = Counters { delivered: 1, ..Counters::default() };
    let dead = Counters { dead: 1, ..Counters::default() };
    let done = vec![
        fate(0, "a", Fate::Delivered(Call::default(), 5), delivered),
        fate(0, "b", Fate::Dead(tried), dead),
        step(0, 8, vec![row(0, "c", Some(1))]),
    ];
    next.settle.settle(done).await.unwrap();
    daemon.settle.settle(vec![step(1, 9, vec![row(1, "d", Some(1))])]).await.unwrap();
    let all = counters(&next).await;
    assert_eq!(all, counters(&daemon).await, "whoever is asked");
    let mut copies = next.ledger.load(SINK).await.unwrap().unwrap().counters;
    copies.add(&daemon.ledger.load(SINK).await.unwrap().unwrap().counters);
    assert_eq!(copies, all, "each copy counts its own shards");
    let pending = ids(&next, Held::Parked).await.len() + ids(&daemon, Held::Parked).await.len();
    let Counters { accepted, delivered, dead, filtered, dropped } = all;
    assert_eq!((accepted, pending), (delivered + dead + filtered + dropped + 2, 2));
    assert_eq!(ids(&next, Held::Dead).await, ["b"]);
    assert_eq!(next.ledger.held_budget().total().letters, 1);
}

#[tokio::test]
async fn a_delivery_that_comes_again_while_it_is_parked_keeps_its_place_in_line() {
    let (brokers, daemon) = began().await;
    let parked = |id: &str, offset| HeldDelivery { position: at(0, offset), key: "k".into(), ..row(0, id, Some(1)) };
    daemon.settle.settle(vec![step(0, 5, vec![parked("a", 3), parked("b", 4)])]).await.unwrap();
    daemon.settle.settle(vec![step(0, 9, vec![parked("a", 8)])]).await.unwrap();
    let next = Daemon::new(&brokers, 2);
    brokers.take(SINK, &[0], 2, &next.copy).await;
    for daemon in [&daemon, &next] {
        let rows = daemon.ledger.parked(SINK, true, vec!["k".into()]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.held.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
    assert_eq!(counters(&next).await.dropped, 1, "one of the two");
}

#[tokio::test]
async fn a_shard_that_was_lost_is_settled_no_more_and_a_sibling_is() {
    let (brokers, daemon) = began().await;
    daemon.settle.settle(vec![step(0, 5, vec![row(0, "a", None)]), step(1, 5, vec![row(1, "b", None)])]).await.unwrap();
    let next = Daemon::new(&brokers, 2);
    brokers.take(SINK, &[0], 2, &next.copy).await;
    // It does not know yet.
    let ids_of = |id: &str| vec![id.to_owned()];
    let dropped = daemon.settle.change_dead(SINK, ids_of("a"), Change::Drop).await;
    assert!(matches!(&dropped, Err(SettleError::Fenced(shards)) if *shards == [0]), "{dropped:?}");
    daemon.copy.gone(SINK, vec![0]).await.unwrap();
    let settled = daemon.settle.settle(vec![step(0, 6, vec![]), step(1, 6, vec![])]).await;
    assert!(matches!(&settled, Err(SettleError::Fenced(shards)) if *shards == [0]), "{settled:?}");
    daemon.settle.settle(vec![step(1, 6, vec![])]).await.unwrap();
    assert_eq!(daemon.settle.change_dead(SINK, ids_of("a"), Change::Drop).await.unwrap().letters, 0, "another's");
    assert_eq!(daemon.settle.change_dead(SINK, ids_of("b"), Change::Drop).await.unwrap().letters, 1);
    assert_eq!((ids(&daemon, Held::Dead).await.len(), ids(&next, Held::Dead).await), (0, vec!["a".to_owned()]));
}

const FAILS: &str = "CREATE TRIGGER fails BEFORE INSERT ON held BEGIN SELECT raise(ABORT, 'disk'); END";

#[tokio::test]
async fn a_copy_that_cannot_be_written_follows_when_it_can_and_once() {
    let (brokers, daemon) = began().await;
    let other = rusqlite::Connection::open(&daemon.path).unwrap();
    other.execute_batch(FAILS).unwrap();
    let settle = daemon.settle.clone();
    let settling = tokio::spawn(async move { settle.settle(vec![step(0, 5, vec![row(0, "a", None)])]).await });
    until(async || !brokers.log(SINK, 0).is_empty()).await;
    assert!(ids(&daemon, Held::Dead).await.is_empty() && !settling.is_finished());
    other.execute_batch("DROP TRIGGER fails").unwrap();
    tokio::time::timeout(PATIENCE, settling).await.unwrap().unwrap().unwrap();
    assert_eq!(ids(&daemon, Held::Dead).await, ["a"]);
    let state = daemon.ledger.load(SINK).await.unwrap().unwrap();
    assert_eq!((state.counters, state.cursors.at(0)), (counters(&daemon).await, at(0, 5)));
}

#[tokio::test]
async fn a_copy_does_not_follow_in_a_shard_that_it_gave_away_or_took_anew_meanwhile() {
    for taken_anew in [false, true] {
        let (brokers, daemon) = began().await;
        let other = rusqlite::Connection::open(&daemon.path).unwrap();
        other.execute_batch(FAILS).unwrap();
        let settle = daemon.settle.clone();
        let steps = vec![step(0, 5, vec![row(0, "a", None)]), step(1, 5, vec![row(1, "b", None)])];
        let settling = tokio::spawn(async move { settle.settle(steps).await });
        until(async || !brokers.log(SINK, 0).is_empty()).await;
        daemon.copy.gone(SINK, vec![0]).await.unwrap();
        if taken_anew {
            // Its stand has the step already; its rows come later.
            daemon.copy.taking(SINK, brokers.give(SINK, &[0], 1)).await.unwrap();
        }
        other.execute_batch("DROP TRIGGER fails").unwrap();
        tokio::time::timeout(PATIENCE, settling).await.unwrap().unwrap().unwrap();
        assert_eq!(ids(&daemon, Held::Dead).await, ["b"]);
        let counters = daemon.ledger.load(SINK).await.unwrap().unwrap().counters;
        assert_eq!(counters.accepted, if taken_anew { 6 } else { 3 });
    }
}

#[tokio::test]
async fn a_step_of_before_a_shard_was_given_away_is_void_when_the_shard_is_back() {
    let (brokers, daemon) = began().await;
    let other = rusqlite::Connection::open(&daemon.path).unwrap();
    other.execute_batch(FAILS).unwrap();
    // The second waits for the first, which waits for the disk.
    let call = |steps| {
        let settle = daemon.settle.clone();
        tokio::spawn(async move { settle.settle(steps).await })
    };
    let first = call(vec![step(0, 5, vec![row(0, "a", None)])]);
    until(async || !brokers.log(SINK, 0).is_empty()).await;
    let second = call(vec![step(0, 6, vec![]), step(1, 6, vec![])]);
    tokio::task::yield_now().await;
    daemon.copy.taking(SINK, brokers.give(SINK, &[0], 1)).await.unwrap();
    other.execute_batch("DROP TRIGGER fails").unwrap();
    tokio::time::timeout(PATIENCE, first).await.unwrap().unwrap().unwrap();
    let second = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap();
    assert!(matches!(&second, Err(SettleError::Fenced(shards)) if *shards == [0]), "{second:?}");
    // Nor is one that does not go on where the sink stands: another was there meanwhile.
    let from = |place| Settlement { passed: Passed::from(place), ..step(0, 9, vec![]) };
    let before = counters(&daemon).await;
    let stale = daemon.settle.settle(vec![from(4)]).await;
    assert!(matches!(&stale, Err(SettleError::Fenced(shards)) if *shards == [0]), "{stale:?}");
    assert_eq!(counters(&daemon).await, before);
    daemon.settle.settle(vec![from(5)]).await.unwrap();
}

#[tokio::test]
async fn calls_that_come_together_all_count() {
    let (_, daemon) = began().await;
    let call = |n: u32| {
        let settle = daemon.settle.clone();
        let steps = vec![step(0, 5, vec![row(0, &n.to_string(), None)]), step(1, 5, vec![])];
        tokio::spawn(async move { settle.settle(steps).await })
    };
    for call in (0..20).map(call).collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    let wanted = Counters { accepted: 20 * 5, delivered: 20 * 4, dead: 20, ..Counters::default() };
    assert_eq!((counters(&daemon).await, daemon.ledger.load(SINK).await.unwrap().unwrap().counters), (wanted, wanted));
}

#[tokio::test]
async fn a_shard_with_many_rows_is_forgotten_wholly_also_where_that_was_cut_short() {
    let (brokers, daemon) = began().await;
    let many = |shard: u32| (0..1200).map(|n| row(shard, &format!("{shard}-{n}"), (n % 2 == 0).then_some(4))).collect();
    daemon.settle.settle(vec![step(0, 5, many(0)), step(1, 5, many(1))]).await.unwrap();
    let bytes = daemon.ledger.held_budget().total().bytes;
    daemon.copy.gone(SINK, vec![1]).await.unwrap();
    assert_eq!((ids(&daemon, Held::Dead).await.len(), daemon.ledger.parked_rows(SINK).await.unwrap()), (100, 600));
    assert_eq!(daemon.ledger.held_budget().total(), Dead { letters: 600, bytes: bytes / 2 });
    let cut_short = |connection: &rusqlite::Connection| {
        super::restore::leave(connection, SINK, &[0])?;
        assert!(super::restore::forget(connection, SINK, 0, 10)?);
        Ok(())
    };
    daemon.ledger.write(cut_short).await.unwrap();
    ShardCopy::new(Arc::clone(&daemon.ledger)).begin().await.unwrap();
    assert_eq!(told(&daemon.path), vec![Vec::<rusqlite::types::Value>::new(); 5]);
    brokers.take(SINK, &[0], 1, &daemon.copy).await;
    assert_eq!(daemon.ledger.parked_rows(SINK).await.unwrap(), 600);
}

#[tokio::test]
async fn a_step_that_was_begun_goes_on_where_its_caller_does_not_wait_for_it() {
    let (_, daemon) = began().await;
    let mut settling = daemon.settle.settle(vec![step(0, 5, vec![row(0, "a", None)])]);
    // Asked once, which begins the step, and given up before this thread goes on with it.
    let is_waiting = poll_fn(|context| Poll::Ready(settling.as_mut().poll(context).is_pending())).await;
    drop(settling);
    assert!(is_waiting, "it is done by another task");
    until(async || ids(&daemon, Held::Dead).await == ["a"]).await;
}

#[tokio::test]
async fn of_two_daemons_that_let_a_sink_begin_one_is_first_and_both_go_on_from_there() {
    let brokers = Arc::new(Brokers::default());
    let (one, two) = (Daemon::new(&brokers, 1), Daemon::new(&brokers, 2));
    assert_eq!(one.settle.load(SINK).await.unwrap(), None);
    let first = |sink: &str, place| Settlement { passed: Passed::from(0), ..Settlement::to(sink, at(0, place)) };
    one.settle.settle(vec![first(SINK, 4), first("other", 4)]).await.unwrap();
    two.settle.settle(vec![first(SINK, 9), first("other", 9)]).await.unwrap();
    for daemon in [&one, &two] {
        assert_eq!(daemon.settle.load(SINK).await.unwrap().unwrap().cursors, at(0, 4).into());
    }
    // What is no first cursor needs the shard, and is one sink's.
    let late = two.settle.settle(vec![step(0, 12, vec![])]).await;
    assert!(matches!(&late, Err(SettleError::Fenced(shards)) if *shards == [0]), "{late:?}");
    let several = vec![step(0, 12, vec![]), first("other", 9)];
    assert!(matches!(one.settle.settle(several).await, Err(SettleError::NotOnKafka(_))));
}

#[tokio::test]
async fn a_sink_is_held_on_all_daemons() {
    let (brokers, one) = began().await;
    let two = Daemon::new(&brokers, 2);
    assert!(matches!(two.settle.pause("nobody", true).await, Err(SettleError::NoCursor(_))));
    for paused in [true, false] {
        two.settle.pause(SINK, paused).await.unwrap();
        assert_eq!(one.settle.is_paused(SINK).await.unwrap(), paused);
        assert!(!one.settle.is_paused("other").await.unwrap());
    }
}

#[tokio::test]
async fn what_the_copy_held_in_an_earlier_life_is_forgotten_and_nothing_else() {
    let (brokers, daemon) = began().await;
    daemon.settle.settle(vec![step(0, 5, vec![row(0, "a", None), row(0, "b", Some(4))])]).await.unwrap();
    let own = Settlement { held: vec![row(0, "mine", None)], ..Settlement::to("local", at(0, 3)) };
    daemon.ledger.settle(vec![own]).await.unwrap();
    let again = ShardCopy::new(Arc::clone(&daemon.ledger));
    again.begin().await.unwrap();
    assert_eq!((ids(&daemon, Held::Dead).await, ids(&daemon, Held::Parked).await.len()), (vec!["mine".to_owned()], 0));
    assert_eq!(daemon.ledger.load(SINK).await.unwrap(), None);
    brokers.take(SINK, &[0], 1, &again).await;
    again.begin().await.unwrap();
    assert_eq!(ids(&daemon, Held::Dead).await, ["a", "mine"], "once");
    let flushes = "PRAGMA synchronous";
    let flushes = daemon.ledger.work(|connection| Ok(connection.query_row(flushes, [], |row| row.get::<_, i64>(0))?));
    assert_eq!(flushes.await.unwrap(), 1, "no flush for each step");
}

#[tokio::test]
async fn a_cursor_that_was_set_by_kafkas_tools_is_taken_and_counts_anew_and_a_strange_note_is_refused() {
    let (brokers, daemon) = began().await;
    daemon.settle.settle(vec![step(0, 5, vec![]), step(1, 5, vec![])]).await.unwrap();
    brokers.set_note(SINK, 0, "");
    brokers.take(SINK, &[0], 1, &daemon.copy).await;
    assert_eq!(counters(&daemon).await.accepted, 2);
    daemon.settle.settle(vec![step(0, 7, vec![])]).await.unwrap();
    assert_eq!(counters(&daemon).await.accepted, 4);
    brokers.set_note(SINK, 0, "2 of a later build");
    assert!(matches!(daemon.settle.load(SINK).await, Err(SettleError::Note(_))));
    let stands = brokers.give(SINK, &[0], 1);
    assert!(daemon.copy.taking(SINK, stands).await.is_err());
    let note = |stand: &crate::journal::kafka::seam::Stand| Note::read(&stand.note).is_ok();
    assert_eq!(daemon.member.stands(SINK).await.unwrap().iter().filter(|stand| note(stand)).count(), 1);
}

#[tokio::test]
async fn a_delivery_is_held_once_both_its_rows_are_there_in_whatever_order_and_parts() {
    let (brokers, daemon) = began().await;
    let (a, b) = (row(0, "a", None), row(0, "b", Some(4)));
    daemon.settle.settle(vec![step(0, 5, vec![a, b, row(0, "c", None)])]).await.unwrap();
    let gone = vec![fate(0, "b", Fate::Filtered("r".into()), Counters { filtered: 1, ..Counters::default() })];
    daemon.settle.settle(gone).await.unwrap();
    let (held, log) = (told(&daemon.path), brokers.log(SINK, 0));
    let next = Daemon::new(&brokers, 2);
    for backwards in [false, true] {
        next.copy.taking(SINK, brokers.give(SINK, &[0, 1], 2)).await.unwrap();
        let is_tombstone = |row: &&Row| row.value.is_none();
        let (over, mut rows): (Vec<Row>, Vec<Row>) = (log.iter().filter(is_tombstone).cloned().collect(), log.clone());
        rows.retain(|row| row.value.is_some());
        if backwards {
            rows.reverse();
        }
        for row in rows.into_iter().chain(over) {
            next.copy.restored(SINK, 0, vec![row]).await.unwrap();
        }
        assert_eq!(told(&next.path), held);
    }
    // Half of a delivery is none.
    next.copy.taking(SINK, brokers.give(SINK, &[0], 2)).await.unwrap();
    for half in log.iter().filter(|row| row.key == "b/a" || row.key == "s/c") {
        next.copy.restored(SINK, 0, vec![half.clone()]).await.unwrap();
    }
    assert!(ids(&next, Held::Dead).await.is_empty());
    assert_eq!(next.ledger.held_budget().total().bytes, 0);
}

#[tokio::test]
async fn a_row_that_is_damaged_is_passed_over_and_one_of_a_later_build_is_not() {
    let (brokers, daemon) = began().await;
    daemon.settle.settle(vec![step(0, 5, vec![row(0, "a", None), row(0, "b", None)])]).await.unwrap();
    let mut log = brokers.log(SINK, 0);
    let body = log.iter_mut().find(|row| row.key == "b/a").unwrap();
    body.value = Some(bytes::Bytes::from_static(b"\x01no"));
    log.push(Row { key: "z/of a later build".into(), value: Some(bytes::Bytes::from_static(b"?")) });
    let next = Daemon::new(&brokers, 2);
    next.copy.taking(SINK, brokers.give(SINK, &[0], 2)).await.unwrap();
    next.copy.restored(SINK, 0, log.clone()).await.unwrap();
    assert_eq!(ids(&next, Held::Dead).await, ["b"]);
    log.iter_mut().find(|row| row.key == "s/b").unwrap().value = Some(bytes::Bytes::from_static(b"\x02"));
    let later = next.copy.restored(SINK, 0, log).await;
    assert!(later.unwrap_err().to_string().contains("version 2"));
    // Of another's shard nothing is taken.
    next.copy
        .restored(SINK, 1, vec![Row { key: "s/x".into(), value: Some(bytes::Bytes::from_static(b"\x02")) }])
        .await
        .unwrap();
}
