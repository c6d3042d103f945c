//! A ledger that lived through everything, a copy that followed Kafka, and one that is made from Kafka's rows hold the
//! same: whatever the steps were, whoever took the shards over meanwhile, and however far the log was compacted.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use rusqlite::types::Value;

use super::copy;
use super::memory::{Brokers, Daemon, compacted, told};
use super::note::Note;
use super::rows::{Key, Progress};
use crate::journal::kafka::seam::{Keeper, Row};
use crate::journal::{Marks, Position};
use crate::ledger::held::Change;
use crate::ledger::replays::Replay;
use crate::ledger::runs::Call;
use crate::ledger::tests::letter;
use crate::ledger::*;

const SINK: &str = "crm";
const SHARDS: [u32; 2] = [0, 1];

fn at(shard: u32, offset: u64) -> Position {
    Position { shard, offset }
}

/// A delivery of that shard: number, when it is due, of which size, whether it says what it failed with.
type Row_ = (u32, Option<i64>, usize, bool);

#[derive(Clone, Debug)]
enum FateOf {
    Delivered,
    Filtered,
    Skipped,
    Again(i64, u32),
    Dead(u32),
    Replaced(Vec<Row_>),
}

#[derive(Clone, Debug)]
struct Part {
    shard: u32,
    replay: Option<i64>,
    cursor: Option<u64>,
    delta: [u64; 5],
    held: Vec<Row_>,
    fates: Vec<(u32, FateOf)>,
}

#[derive(Clone, Debug)]
enum Action {
    Settle(Vec<Part>),
    Change(Vec<(u32, u32)>, Change),
    Replay([u64; 2]),
    /// The log was cleaned up to there and forgot keys that are gone, or not; it comes in parts of so many rows.
    Takeover(Index, bool, usize),
}

fn rows() -> impl Strategy<Value = Row_> {
    (0..4_u32, prop::option::of(1..9_i64), 0..40_usize, any::<bool>())
}

fn fate() -> impl Strategy<Value = FateOf> {
    prop_oneof![
        Just(FateOf::Delivered),
        Just(FateOf::Filtered),
        Just(FateOf::Skipped),
        (1..9_i64, 0..9_u32).prop_map(|(due, n)| FateOf::Again(due, n)),
        (0..9_u32).prop_map(FateOf::Dead),
        prop::collection::vec(rows(), 0..3).prop_map(FateOf::Replaced),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let replay = prop_oneof![2 => Just(None), 1 => (1..3_i64).prop_map(Some)];
    let held = prop::collection::vec(rows(), 0..4);
    let fates = prop::collection::vec((0..4_u32, fate()), 0..4);
    (0..2_u32, replay, prop::option::of(1..20_u64), any::<[bool; 5]>(), held, fates).prop_map(
        |(shard, replay, cursor, delta, held, fates)| Part {
            shard,
            replay,
            cursor,
            delta: delta.map(u64::from),
            held,
            fates,
        },
    )
}

/// A replay settles one step at a time.
fn one_of_each_replay(mut parts: Vec<Part>) -> Vec<Part> {
    let mut seen = BTreeSet::new();
    for part in &mut parts {
        part.replay = part.replay.filter(|replay| seen.insert(*replay));
    }
    parts
}

fn action() -> impl Strategy<Value = Action> {
    let retry = (1..9_i64, any::<bool>()).prop_map(|(due, as_was)| Change::Retry { due, as_was });
    let ids = prop::collection::vec((0..2_u32, 0..4_u32), 0..5);
    prop_oneof![
        6 => prop::collection::vec(part(), 1..4).prop_map(|parts| Action::Settle(one_of_each_replay(parts))),
        2 => (ids, prop_oneof![retry, Just(Change::Drop)]).prop_map(|(ids, change)| Action::Change(ids, change)),
        2 => any::<[u8; 2]>().prop_map(|until| Action::Replay(until.map(|n| u64::from(n % 6) + 3))),
        1 => (any::<Index>(), any::<bool>(), 1..9_usize).prop_map(|(at, forgets, n)| Action::Takeover(at, forgets, n)),
    ]
}

fn id(shard: u32, n: u32) -> String {
    format!("{}-{n}", Uuid::from_u128(shard.into()))
}

fn held(shard: u32, (n, due, size, says): Row_) -> HeldDelivery {
    let one = letter(&id(shard, n));
    let event = crate::journal::Record { payload: vec![7; size].into(), ..(*one.event).clone() };
    let code = if says { format!("code-{size}") } else { String::new() };
    let spent = Spent { attempts: n, uncounted: 1, micros: size as i64 };
    let payload = (size > 20).then(|| vec![8; size].into());
    let answer = says.then(|| "é".repeat(size));
    HeldDelivery { position: at(shard, n.into()), event: event.into(), code, spent, payload, answer, due, ..one }
}

fn tried(n: u32) -> Try {
    let (spent, code) = (Spent { attempts: n, uncounted: n, micros: -5 }, format!("tried-{n}"));
    Try { attempts: n, spent, times: [4, n.into()], code, detail: "d".into(), answer: (n > 3).then(|| "a".into()) }
}

fn settlement(part: &Part) -> Settlement {
    let Part { shard, replay, cursor, delta, held: rows, fates } = part;
    let [accepted, delivered, dead, filtered, dropped] = *delta;
    let of = |fate: &FateOf| match fate {
        FateOf::Delivered => Fate::Delivered(Call::default(), 2),
        FateOf::Filtered => Fate::Filtered("r".into()),
        FateOf::Skipped => Fate::Skipped(tried(1)),
        FateOf::Again(due, n) => Fate::Again(*due, tried(*n)),
        FateOf::Dead(n) => Fate::Dead(tried(*n)),
        FateOf::Replaced(rows) => Fate::Replaced(rows.iter().map(|row| held(*shard, *row)).collect()),
    };
    let fates = fates.iter().map(|(n, fate)| ParkedFate { id: id(*shard, *n), lane: "l".into(), fate: of(fate) });
    Settlement {
        sink: SINK.into(),
        shard: *shard,
        replay: *replay,
        cursor: cursor.map(|cursor| at(*shard, cursor)),
        delta: Counters { accepted, delivered, dead, filtered, dropped },
        held: rows.iter().map(|row| held(*shard, *row)).collect(),
        fates: fates.collect(),
        ..Settlement::default()
    }
}

async fn take(daemon: &Daemon, brokers: &Brokers, (cleaned, forgets, rows): (Index, bool, usize)) {
    let parts = |log: Vec<Row>| {
        let cleaned = cleaned.index(log.len() + 1);
        compacted(log, cleaned, forgets).chunks(rows).map(<[Row]>::to_vec).collect()
    };
    brokers.take_compacted(SINK, &SHARDS, daemon.node, &daemon.copy, parts).await;
}

/// The local ledger's way and Kafka's, side by side.
async fn live(actions: &[Action], end: (Index, bool, usize)) -> Result<(), TestCaseError> {
    let (folder, brokers) = (tempfile::tempdir().unwrap(), Arc::new(Brokers::default()));
    let local_path = folder.path().join("ledger.db");
    let local = Ledger::open(&local_path).unwrap().0;
    let firsts = || SHARDS.map(|shard| Settlement::to(SINK, at(shard, 1))).to_vec();
    let mut daemon = Daemon::new(&brokers, 1);
    local.settle(firsts()).await.unwrap();
    daemon.settle.settle(firsts()).await.unwrap();
    brokers.take(SINK, &SHARDS, 1, &daemon.copy).await;
    for action in actions {
        match action {
            Action::Settle(parts) => {
                let steps: Vec<Settlement> = parts.iter().map(settlement).collect();
                local.settle(steps.clone()).await.unwrap();
                daemon.settle.settle(steps).await.unwrap();
            }
            Action::Change(ids, change) => {
                let ids: Vec<String> = ids.iter().map(|(shard, n)| id(*shard, *n)).collect();
                let changed = local.change_dead(SINK, ids.clone(), *change).await.unwrap();
                prop_assert_eq!(daemon.settle.change_dead(SINK, ids, *change).await.unwrap(), changed);
            }
            Action::Replay(until) => begin_replay(&local, &brokers, &daemon, *until).await,
            Action::Takeover(cleaned, forgets, rows) => {
                let next = Daemon::new(&brokers, daemon.node + 1);
                take(&next, &brokers, (*cleaned, *forgets, *rows)).await;
                daemon.copy.gone(SINK, SHARDS.to_vec()).await.unwrap();
                prop_assert_eq!(told(&daemon.path), vec![Vec::<Value>::new(); 5]);
                daemon = next;
            }
        }
        prop_assert_eq!(told(&daemon.path), told(&local_path), "after {:?}", action);
    }
    let last = Daemon::new(&brokers, 99);
    take(&last, &brokers, end).await;
    prop_assert_eq!(told(&last.path), told(&local_path));
    for ordered in [true, false] {
        prop_assert_eq!(
            last.ledger.schedule(SINK, ordered).await.unwrap(),
            local.schedule(SINK, ordered).await.unwrap()
        );
    }
    prop_assert_eq!(last.settle.load(SINK).await.unwrap(), local.load(SINK).await.unwrap());
    let room = "SELECT max(dead_bytes, 0) FROM sinks";
    let room: i64 = rusqlite::Connection::open(&local_path).unwrap().query_row(room, [], |row| row.get(0)).unwrap();
    prop_assert_eq!(last.ledger.held_budget().total().bytes, room as u64);
    notes_count_rows(&last);
    local.close();
    Ok(())
}

/// Begins one as whoever owns the shards will: a row in each, which the copy takes as a restored one.
async fn begin_replay(local: &Ledger, brokers: &Brokers, daemon: &Daemon, until: [u64; 2]) {
    let marks =
        |offsets: [u64; 2]| SHARDS.map(|shard| at(shard, offsets[shard as usize])).into_iter().collect::<Marks>();
    let (first, kind) = (marks([1, 2]), Some("t*".to_owned()));
    let replay =
        Replay { sink: SINK.into(), first: first.clone(), at: first, until: marks(until), kind, ..Replay::default() };
    let number = local.begin_replay(vec![replay]).await.unwrap();
    for (shard, until) in SHARDS.into_iter().zip(until) {
        let first = u64::from(shard) + 1;
        let progress = Progress { first, at: first, until, kind: Some("t*".into()), ..Progress::default() };
        let row = Row { key: Key::Progress(number).to_string(), value: Some(progress.write()) };
        brokers.append(SINK, shard, row.clone());
        daemon.copy.restored(SINK, shard, vec![row]).await.unwrap();
    }
}

/// What the notes say of how much is held is what is held.
fn notes_count_rows(daemon: &Daemon) {
    let connection = rusqlite::Connection::open(&daemon.path).unwrap();
    for shard in SHARDS {
        let note = Note::read(&copy::note(&connection, SINK, shard).unwrap().unwrap()).unwrap();
        let sql = "SELECT count(*) FILTER (WHERE due IS NULL), count(due) FROM held WHERE shard = ?1";
        let rows: (u64, u64) = connection
            .query_row(sql, [shard], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))
            .unwrap();
        assert_eq!((note.letters, note.parked), rows);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_made_from_kafkas_rows_is_what_a_ledger_holds_that_lived_through_it(
        actions in prop::collection::vec(action(), 0..24),
        end in (any::<Index>(), any::<bool>(), 1..9_usize),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(live(&actions, end))?;
    }
}

#[test]
fn a_replay_that_is_over_does_not_come_back() {
    let passes = |shard, cursor| {
        let (delta, held, fates) = ([1, 0, 0, 0, 0], vec![], vec![]);
        Action::Settle(vec![Part { shard, replay: Some(1), cursor: Some(cursor), delta, held, fates }])
    };
    let actions = [Action::Replay([5, 5]), passes(0, 5), passes(1, 5), passes(0, 3)];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::default();
    let index = Index::arbitrary().new_tree(&mut runner).unwrap().current();
    runtime.block_on(live(&actions, (index, true, 3))).unwrap();
}
