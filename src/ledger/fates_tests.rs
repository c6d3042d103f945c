//! What is told of an event's deliveries is what became of them: whatever comes in whatever steps, over kills, and
//! whether a build notes steps or not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;
use sink_api::Reason;

use super::fates::{DeliveryFate, FateKind, Rest};
use super::runs::{Call, Ended, Passed, Run, TICK, suffix};
use super::tests::letter;
use super::*;

/// When the tests' calls come back, microseconds.
const THEN: i64 = 1_000_000_000_000;
/// Ids of the deliveries of an event, behind the event's.
const SUFFIXES: [&str; 4] = ["", "-b", "-b-2", "-c"];

fn at(offset: u64) -> Position {
    Position { shard: 1, offset }
}

fn event(n: u64) -> Uuid {
    Uuid::from_u128(u128::from(n) + 1)
}

fn call(n: u64) -> Call {
    Call::new(THEN + n as i64 * 30_000, Duration::from_micros(1_500))
}

/// A row of an event: parked where it is due, else a dead letter.
fn row(n: u64, suffix: &str, due: Option<i64>) -> HeldDelivery {
    HeldDelivery { position: at(n), due, attempts: 3, ..letter(&format!("{}{suffix}", event(n))) }
}

/// How a delivery fares until the cursor passes its event, and after that.
#[derive(Clone, Debug)]
enum Fares {
    Straight,
    Retried(u32),
    Filtered,
    Skipped,
    Dead(Then),
    Parked(Then),
    PutOff(Then),
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Stays,
    Fails,
    Delivered,
    Filtered,
    Skipped,
    Dead,
    Dropped,
    Wanted,
    Replaced,
}

fn fares() -> impl Strategy<Value = Fares> {
    use Then::{Dead, Delivered, Dropped, Fails, Filtered, Replaced, Skipped, Stays, Wanted};
    let parked = prop::sample::select(vec![Stays, Fails, Delivered, Filtered, Skipped, Dead, Replaced]);
    let put_off = prop::sample::select(vec![Stays, Delivered, Skipped]);
    prop_oneof![
        6 => Just(Fares::Straight),
        1 => (2..9_u32).prop_map(Fares::Retried),
        1 => Just(Fares::Filtered),
        1 => Just(Fares::Skipped),
        1 => put_off.prop_map(Fares::PutOff),
        1 => prop::sample::select(vec![Stays, Dropped, Wanted]).prop_map(Fares::Dead),
        1 => parked.prop_map(Fares::Parked),
    ]
}

/// An event: so many places behind the one before, and what it comes to.
type Event = (u64, Vec<Fares>);

fn traffic() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((1..4_u64, prop::collection::vec(fares(), 0..4)), 1..60)
}

/// The step that passes these events; what it says of them differs with each life of the daemon.
fn step(events: &[(u64, &[Fares])], from: u64, to: u64, life: u64) -> Settlement {
    let mut step = Settlement { passed: Passed::from(from), ..Settlement::to("crm", at(to)) };
    for (n, all) in events {
        let mut ended = Vec::new();
        for (fares, name) in all.iter().zip(SUFFIXES) {
            step.delta.accepted += 1;
            let suffix = Box::from(name);
            ended.push(match fares {
                Fares::Straight | Fares::Retried(_) => {
                    step.delta.delivered += 1;
                    let attempts = if let Fares::Retried(attempts) = fares { *attempts } else { 1 };
                    if attempts > 1 {
                        let why = Reason::new("http_5xx", "was down");
                        let (position, call, suffix) = (at(*n), call(*n + life), Box::from(name));
                        step.noted.push(Noted { position, suffix, call, attempts, why, is_skipped: false });
                    }
                    Ended::Delivered { suffix, call: call(*n + life), attempts }
                }
                Fares::Filtered => {
                    step.delta.filtered += 1;
                    Ended::Filtered { route: "r".into(), tick: call(*n + life).time() / TICK }
                }
                Fares::Skipped => {
                    step.delta.filtered += 1;
                    let (position, call, suffix) = (at(*n), call(*n + life), Box::from(name));
                    let why = Reason::new("overtaken", "it was read");
                    step.noted.push(Noted { position, suffix, call, attempts: 2, why, is_skipped: true });
                    Ended::Held { suffix: Box::from(name) }
                }
                Fares::PutOff(_) => {
                    let code = "unconfirmed".to_owned();
                    step.held.push(HeldDelivery { attempts: 0, code, ..row(*n, name, Some(9)) });
                    Ended::Held { suffix }
                }
                Fares::Dead(_) => {
                    step.delta.dead += 1;
                    step.held.push(row(*n, name, None));
                    Ended::Held { suffix }
                }
                Fares::Parked(_) => {
                    step.held.push(row(*n, name, Some(9)));
                    Ended::Held { suffix }
                }
            });
        }
        if !ended.is_empty() {
            step.passed.add(Run { first: *n, events: 1, ended });
        }
    }
    step
}

/// What becomes of it once it is held; it arrives with so many calls, where it does.
async fn go_on(ledger: &Ledger, n: u64, name: &str, then: Then, attempts: u32) {
    let id = format!("{}{name}", event(n));
    let mut step = Settlement { sink: "crm".into(), shard: 1, ..Settlement::default() };
    let tried = || Try {
        attempts: 7,
        spent: Spent::default(),
        times: [1, THEN],
        code: "late".to_owned(),
        detail: String::new(),
        answer: None,
    };
    let fate = match then {
        Then::Stays => return,
        Then::Dropped | Then::Wanted => {
            let retry = Change::Retry { due: 5, as_was: false };
            let change = if matches!(then, Then::Dropped) { Change::Drop } else { retry };
            assert_eq!(ledger.change_dead("crm", vec![id], change).await.unwrap().letters, 1);
            return;
        }
        Then::Fails => Fate::Again(8, tried()),
        Then::Dead => {
            step.delta.dead += 1;
            Fate::Dead(tried())
        }
        Then::Delivered => {
            step.delta.delivered += 1;
            Fate::Delivered(call(n), attempts)
        }
        Then::Filtered => {
            step.delta.filtered += 1;
            Fate::Filtered("later".into())
        }
        Then::Skipped => {
            step.delta.filtered += 1;
            Fate::Skipped(Try { code: "overtaken".to_owned(), ..tried() })
        }
        Then::Replaced => {
            step.delta.accepted += 1;
            Fate::Replaced(vec![row(n, name, Some(9)), row(n, &format!("{name}-9"), Some(9))])
        }
    };
    step.fates.push(ParkedFate { id, lane: "k".into(), fate });
    ledger.settle(vec![step]).await.unwrap();
}

/// A delivery as far as it is known beforehand: id behind the event's, what became of it, calls, code, time.
type Told = (String, FateKind, u32, Option<&'static str>, Option<i64>);

fn expected(n: u64, all: &[Fares], life: u64) -> Vec<Told> {
    use FateKind::{Dead, Delivered, Dropped, Filtered, Parked, Pending};
    let then = Some(call(n + life).time());
    let mut told = Vec::new();
    for (fares, name) in all.iter().zip(SUFFIXES) {
        let (kind, attempts, code, time) = match fares {
            Fares::Straight => (Delivered, 1, None, then),
            Fares::Retried(attempts) => (Delivered, *attempts, Some("http_5xx"), then),
            Fares::Filtered => (Filtered, 0, None, then),
            Fares::Skipped => (Filtered, 2, Some("overtaken"), then),
            Fares::PutOff(Then::Delivered) => (Delivered, 1, None, Some(call(n).time())),
            Fares::PutOff(Then::Skipped) => (Filtered, 7, Some("overtaken"), None),
            Fares::PutOff(_) => (Pending, 0, Some("unconfirmed"), None),
            Fares::Dead(Then::Dropped) => (Dropped, 3, Some("http_4xx"), None),
            Fares::Dead(Then::Wanted) => (Pending, 3, Some("http_4xx"), Some(3)),
            Fares::Dead(_) => (Dead, 3, Some("http_4xx"), Some(3)),
            Fares::Parked(Then::Delivered) => (Delivered, 4, Some("http_4xx"), Some(call(n).time())),
            Fares::Parked(Then::Filtered) => (Filtered, 0, None, None),
            Fares::Parked(Then::Skipped) => (Filtered, 7, Some("overtaken"), None),
            Fares::Parked(Then::Fails) => (Parked, 7, Some("late"), Some(THEN)),
            Fares::Parked(Then::Dead) => (Dead, 7, Some("late"), Some(THEN)),
            Fares::Parked(_) => (Parked, 3, Some("http_4xx"), Some(3)),
        };
        let name = if kind == Filtered && matches!(fares, Fares::Filtered) { "" } else { name };
        told.push((name.to_owned(), kind, attempts, code, time));
        if matches!(fares, Fares::Parked(Then::Replaced)) {
            told.push((format!("{name}-9"), Parked, 3, Some("http_4xx"), Some(3)));
        }
    }
    told
}

/// The same of what the ledger tells; a time of now is none.
fn seen(fates: &[DeliveryFate]) -> Vec<Told> {
    let codes = ["http_5xx", "http_4xx", "late", "overtaken", "unconfirmed"];
    let code = |code: &str| codes.into_iter().find(|known| *known == code).unwrap();
    let seen = |fate: &DeliveryFate| {
        assert!(fate.time.is_some() || fate.code.as_deref() == Some("unconfirmed"), "{fate:?}");
        let time = fate.time.filter(|time| *time < 2 * THEN);
        (suffix(&fate.id).to_owned(), fate.kind, fate.attempts, fate.code.as_deref().map(code), time)
    };
    fates.iter().map(seen).collect()
}

fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort_by_key(|told| format!("{told:?}"));
    told
}

async fn of(ledger: &Ledger, n: u64) -> SinkFates {
    let mut all = ledger.fates(at(n), *event(n).as_bytes()).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Settles the traffic in steps of those lengths, none of them at the first try.
async fn play(ledger: &Ledger, traffic: &[Event], lengths: &[usize]) -> BTreeMap<u64, (Vec<Fares>, u64)> {
    let mut model = BTreeMap::new();
    let (mut place, mut events) = (0, Vec::new());
    for (distance, all) in traffic {
        place += distance;
        events.push((place, all.as_slice()));
    }
    let (mut rest, mut from, mut life) = (events.as_slice(), 0, 0);
    for length in lengths.iter().cycle() {
        let Range { start, end } = 0..(*length).min(rest.len());
        if end == 0 {
            break;
        }
        let to = rest[end - 1].0 + 1;
        // What fails, or is killed, leaves nothing behind: it comes again, at other times.
        let fails = vec![step(&rest[start..end], from, to, life), Settlement::to("fails", at(1))];
        ledger.settle(fails).await.unwrap_err();
        life += 10;
        ledger.settle(vec![step(&rest[start..end], from, to, life)]).await.unwrap();
        model.extend(rest[start..end].iter().map(|(n, all)| (*n, (all.to_vec(), life))));
        (rest, from) = (&rest[end..], to);
    }
    model
}

async fn is_told(traffic: &[Event], lengths: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER fails BEFORE INSERT ON sinks WHEN NEW.name = 'fails'
             BEGIN SELECT raise(ABORT, 'disk'); END",
        )
        .unwrap();
    let model = play(&ledger, traffic, lengths).await;
    for (n, (all, _)) in &model {
        for (fares, name) in all.iter().zip(SUFFIXES) {
            match fares {
                Fares::Dead(then) | Fares::Parked(then) => go_on(&ledger, *n, name, *then, 4).await,
                Fares::PutOff(then) => go_on(&ledger, *n, name, *then, 1).await,
                Fares::Straight | Fares::Retried(_) | Fares::Filtered | Fares::Skipped => {}
            }
        }
    }
    ledger.close();
    let (ledger, _) = Ledger::open(&path).unwrap();
    let mut counted = Counters::default();
    let mut pending = 0;
    for n in 0..=model.keys().next_back().copied().unwrap_or_default() + 1 {
        let told = of(&ledger, n).await;
        for fate in &told.deliveries {
            let count = match fate.kind {
                FateKind::Delivered => &mut counted.delivered,
                FateKind::Dead => &mut counted.dead,
                FateKind::Filtered => &mut counted.filtered,
                FateKind::Dropped => &mut counted.dropped,
                FateKind::Pending | FateKind::Parked => &mut pending,
            };
            *count += 1;
            assert_eq!(fate.next_try.is_some(), matches!(fate.kind, FateKind::Pending | FateKind::Parked));
        }
        let (wanted, rest) = match model.get(&n) {
            Some((all, life)) => (expected(n, all, *life), Rest::Nothing),
            None if told.is_passed => (vec![], Rest::Nothing),
            None => (vec![], Rest::Pending),
        };
        assert_eq!((sorted(seen(&told.deliveries)), told.rest), (sorted(wanted), rest), "event {n}: {told:?}");
    }
    counted.accepted = counted.delivered + counted.dead + counted.filtered + counted.dropped + pending;
    assert_eq!(ledger.load("crm").await.unwrap().unwrap().counters, counted);
    ledger.close();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn what_is_told_is_what_became_of_each_delivery_and_adds_up(
        traffic in traffic(),
        lengths in prop::collection::vec(1..12_usize, 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(is_told(&traffic, &lengths));
    }
}

#[tokio::test]
async fn a_replay_is_told_beside_what_it_repeats_and_takes_the_place_of_what_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    let all = [Fares::Straight, Fares::Dead(Then::Stays), Fares::Filtered];
    ledger.settle(vec![step(&[(4, &all)], 0, 5, 0)]).await.unwrap();
    let replayed = |id| {
        let mut step = step(&[(4, &all)], 3, 5, 0);
        step.replay = Some(id);
        step.delta = Counters { accepted: 3, filtered: 1, ..Counters::default() };
        step.noted.clear();
        step.held = vec![row(4, "", Some(9)), row(4, "-b", Some(9))];
        step.held.iter_mut().for_each(|held| held.attempts = 0);
        let (delivered, dead) = (Ended::Held { suffix: "".into() }, Ended::Held { suffix: "-b".into() });
        step.passed = Passed::from(3);
        let filtered = Ended::Filtered { route: "r".into(), tick: THEN / TICK };
        step.passed.add(Run { first: 4, events: 1, ended: vec![delivered, dead, filtered] });
        step
    };
    ledger.settle(vec![replayed(2)]).await.unwrap();
    go_on(&ledger, 4, "", Then::Delivered, 4).await;
    ledger.settle(vec![replayed(7)]).await.unwrap();
    let told = of(&ledger, 4).await;
    let told: Vec<_> = told.deliveries.iter().map(|fate| (fate.replay, suffix(&fate.id), fate.kind)).collect();
    use FateKind::{Delivered, Dropped, Filtered, Pending};
    let live = [(None, "", Delivered), (None, "-b", Dropped), (None, "", Filtered)];
    let second = [(Some(2), "", Delivered), (Some(2), "-b", Dropped), (Some(2), "", Filtered)];
    let seventh = [(Some(7), "", Pending), (Some(7), "-b", Pending), (Some(7), "", Filtered)];
    assert_eq!(told, [live, second, seventh].concat());
    ledger.close();
}

#[tokio::test]
async fn what_no_step_tells_of_is_over_at_an_unknown_time_and_what_was_skipped_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    // A sink that begins later, a build that notes nothing, one that does, somebody who skips.
    ledger.settle(vec![Settlement { passed: Passed::from(0), ..Settlement::to("crm", at(3)) }]).await.unwrap();
    ledger.settle(vec![Settlement::to("crm", at(5))]).await.unwrap();
    ledger.settle(vec![step(&[(6, &[Fares::Straight])], 5, 8, 0)]).await.unwrap();
    let passed = Passed::skipped(at(8), at(10), 1);
    ledger.settle(vec![Settlement { passed, ..Settlement::to("crm", at(10)) }]).await.unwrap();
    for (n, rest) in [(2, Rest::Nothing), (4, Rest::Over), (6, Rest::Nothing), (7, Rest::Nothing), (10, Rest::Pending)]
    {
        assert_eq!(of(&ledger, n).await.rest, rest, "{n}");
    }
    assert!(matches!(of(&ledger, 9).await.rest, Rest::Dropped { code: "skip", .. }));
    ledger.close();
}

#[tokio::test]
async fn a_ledger_of_an_earlier_build_gains_the_tables_and_that_build_can_go_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    ledger.settle(vec![step(&[(1, &[Fares::Dead(Then::Stays)])], 0, 2, 0)]).await.unwrap();
    ledger.close();
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch("DROP TABLE steps; DROP TABLE fates; ALTER TABLE held DROP COLUMN replay;").unwrap();
    let (ledger, opened) = Ledger::open(&path).unwrap();
    assert_eq!(opened, Opened { fresh: false, set_aside: None });
    let told = of(&ledger, 1).await;
    assert_eq!((told.rest, told.deliveries[0].kind, told.deliveries.len()), (Rest::Over, FateKind::Dead, 1));
    ledger.settle(vec![step(&[(3, &[Fares::Straight])], 2, 4, 0)]).await.unwrap();
    assert_eq!(of(&ledger, 3).await.deliveries.len(), 1);
    ledger.close();
    // It moves the cursor and leaves what it does not know alone.
    old.execute("UPDATE sinks SET place = 9", []).unwrap();
    let (ledger, _) = Ledger::open(&path).unwrap();
    ledger.settle(vec![step(&[(9, &[Fares::Straight])], 9, 10, 0)]).await.unwrap();
    assert_eq!((of(&ledger, 7).await.rest, of(&ledger, 9).await.rest), (Rest::Over, Rest::Nothing));
    ledger.close();
}

#[tokio::test]
async fn what_is_noted_goes_with_the_journal_in_parts_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    // Each row of steps tells of one event and is followed by one that is not its neighbour; each event has a note.
    let all = [Fares::Retried(2)];
    let steps: Vec<_> = (0..600).map(|n| step(&[(n * 3, &all)], n * 3, n * 3 + 2, 0)).collect();
    ledger.settle(steps).await.unwrap();
    let count = |table: &str| -> i64 {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("steps"), count("fates")), (600, 600));
    let oldest = Marks::from(at(590 * 3 + 1));
    assert!(ledger.trim(oldest.clone()).await.unwrap(), "there is more");
    assert_eq!((count("steps"), count("fates")), (100, 100));
    assert!(!ledger.trim(oldest.clone()).await.unwrap());
    assert_eq!((count("steps"), count("fates")), (10, 9));
    assert!(!ledger.trim(Marks::from(Position { shard: 0, offset: u64::MAX >> 1 })).await.unwrap());
    assert_eq!(of(&ledger, 599 * 3).await.deliveries[0].attempts, 2);
    ledger.close();
}

#[test]
fn single_rows_of_a_sink_are_bounded() {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(notes::TABLE).unwrap();
    let (suffix, why) = (Box::from(""), Reason::new("x", ""));
    let one = Noted { position: at(0), suffix, call: call(0), attempts: 2, why, is_skipped: false };
    for n in 0..50_020 {
        notes::note(&connection, "crm", &Noted { position: at(n), ..one.clone() }).unwrap();
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM fates", [], |row| row.get(0)).unwrap();
    assert_eq!((count, notes::find(&connection, at(19)).unwrap().len()), (50_000, 0));
    assert_eq!(notes::find(&connection, at(20)).unwrap().len(), 1);
}

/// What is noted takes little room, and is found fast: bytes of the file for a million events, of which each tenth is
/// of a type that the sink is not owed.
#[tokio::test]
async fn a_million_events_take_few_bytes() {
    for (batch, most) in [(500, 1 << 20), (1, 8 << 20)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let (ledger, _) = Ledger::open(&path).unwrap();
        let mut from = 0;
        while from < 100_000 {
            let to = from + 1000;
            let mut step = Settlement { passed: Passed::from(from), ..Settlement::to("crm", at(to)) };
            for n in (from..to).filter(|n| n % 500 >= 50) {
                let nth = n / batch;
                let call = Call::new(THEN + nth as i64 * 700, Duration::from_micros(3_000 + nth * 7_919 % 90_000));
                let ended = vec![Ended::Delivered { suffix: "".into(), call, attempts: 1 }];
                step.passed.add(Run { first: n, events: 1, ended });
            }
            ledger.settle(vec![step]).await.unwrap();
            from = to;
        }
        assert_eq!(of(&ledger, 77_777).await.deliveries.len(), 1);
        ledger.close();
        let bytes = 10 * std::fs::metadata(&path).unwrap().len();
        println!("batches of {batch}: {bytes} bytes a million events");
        assert!(bytes < most + 10 * 100_000, "{bytes}");
    }
}
