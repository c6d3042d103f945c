//! What every engine owes to those who store and read events through [`Storage`]: a suite that each engine's tests run,
//! and the local engine passes here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use sink_api::Size;
use tokio::sync::mpsc;

use super::fates::Rest;
use super::runs::{Call, Ended, Passed, Run};
use super::*;
use crate::journal::{
    AppendError, Chunk, JournalConfig, LocalJournal, News, Of, OnFailure, Owed, Progress, Reader, Record,
};

/// No test waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// No test waits longer for what must not come.
const SHORTLY: Duration = Duration::from_millis(30);
/// Events are accepted at these intervals, microseconds.
const INTERVAL: i64 = 1_000_000;

/// The sink that reads and settles.
pub(crate) const SINK: &str = "a";

/// An engine under test, empty at first.
pub(crate) struct Engine {
    /// The way to it.
    pub storage: Storage,
    /// How many shards it has.
    pub shards: u32,
}

/// Runs the suite; each test gets an engine of its own.
pub(crate) async fn conforms(engine: impl Fn() -> Engine) {
    durable_events_are_read_in_the_order_of_their_shard(engine()).await;
    a_span_ends_where_it_ends(engine()).await;
    what_stands_between_two_places_is_counted(engine()).await;
    a_time_is_found_in_each_shard(engine()).await;
    a_journal_that_is_closed_takes_no_more(engine()).await;
    a_reader_is_given_its_shards_where_its_cursors_stand(engine()).await;
    a_reader_waits_and_loses_nothing_where_a_call_is_given_up(engine()).await;
    steps_are_durable_together_and_move_their_shard_alone(engine()).await;
    what_became_of_an_event_is_told_in_its_shard(engine()).await;
    a_replay_is_under_way_until_its_span_is_passed_and_can_be_ended(engine()).await;
}

/// Event number `n`, one of eight keys.
fn record(n: u64) -> Record {
    Record {
        id: u128::from(n).to_be_bytes(),
        time: n as i64 * INTERVAL,
        source: "s".into(),
        kind: if n.is_multiple_of(2) { "even".into() } else { "odd".into() },
        key: format!("key-{}", n % 8).into(),
        fingerprint: Some(u128::from(n).to_le_bytes()),
        payload: Bytes::from(vec![b'x'; 50]),
        made: Default::default(),
    }
}

fn number(record: &Record) -> u64 {
    u128::from_be_bytes(record.id) as u64
}

impl Engine {
    /// Appends events, and says where each of them stands once all are durable.
    async fn fill(&self, numbers: std::ops::Range<u64>) -> BTreeMap<u64, Position> {
        let (reports, mut inbox) = mpsc::channel(128);
        let count = numbers.clone().count();
        for n in numbers {
            let reports = reports.clone();
            let report = move |progress| reports.try_send((n, progress)).expect("reported once or twice");
            self.storage.journal.append(record(n), OnFailure::Keep, Box::new(report));
        }
        let mut positions = BTreeMap::new();
        while positions.len() < count {
            let (n, progress) = tokio::time::timeout(PATIENCE, inbox.recv()).await.expect("reported").unwrap();
            // It may take its time.
            if matches!(progress, Progress::AtRisk) {
                continue;
            }
            let Progress::Durable(position) = progress else { panic!("{progress:?}") };
            positions.insert(n, position);
        }
        positions
    }

    /// Moves the sink `a` behind these events, in each of their shards.
    async fn settle_behind(&self, positions: impl Iterator<Item = &Position>) -> Marks {
        let mut cursors = self.storage.journal.oldest().await.unwrap();
        positions.for_each(|position| cursors.set(cursors.later(&position.behind().into()).at(position.shard)));
        let steps = cursors.iter().map(|cursor| Settlement::to(SINK, cursor)).collect();
        self.storage.settle.settle(steps).await.unwrap();
        cursors
    }

    async fn all(&self) -> Of {
        let journal = &self.storage.journal;
        Of::Span { from: journal.oldest().await.unwrap(), until: journal.ends().await.unwrap() }
    }

    async fn owed(&self, from: &Marks, to: &Marks) -> u64 {
        let Owed { known, unknown } = self.storage.journal.owed(from, to).await.unwrap();
        known.iter().map(|count| count.events).sum::<u64>() + unknown
    }
}

async fn news(reader: &mut Box<dyn Reader>, max_bytes: u64) -> News {
    tokio::time::timeout(PATIENCE, reader.next(max_bytes)).await.expect("there is more").unwrap()
}

async fn given(reader: &mut Box<dyn Reader>) -> Marks {
    let News::Given(marks) = news(reader, 1).await else { panic!("it does not say what it was given") };
    marks
}

async fn chunk(reader: &mut Box<dyn Reader>, max_bytes: u64) -> Chunk {
    let News::Chunk(chunk) = news(reader, max_bytes).await else { panic!("it was given its shards already") };
    assert!(chunk.gap.is_none());
    assert!(chunk.entries.iter().all(|entry| entry.position.shard == chunk.next.shard), "a chunk is of one shard");
    chunk
}

/// Reads until so many events have come, and checks that nothing comes twice or out of order; where each event stands.
async fn read(reader: &mut Box<dyn Reader>, from: &Marks, count: usize, max_bytes: u64) -> BTreeMap<u64, Position> {
    let (mut found, mut at) = (BTreeMap::new(), from.clone());
    while found.len() < count {
        let chunk = chunk(reader, max_bytes).await;
        for entry in &chunk.entries {
            assert!(!at.is_past(entry.position), "read before");
            assert!(*entry.record == record(number(&entry.record)), "changed");
            at.set(entry.position.behind());
            found.insert(number(&entry.record), entry.position);
        }
        assert!(at.reaches(&chunk.entries.last().map_or(at.clone(), |last| last.position.behind().into())));
        at.set(chunk.next);
    }
    found
}

async fn is_quiet(reader: &mut Box<dyn Reader>) -> bool {
    tokio::time::timeout(SHORTLY, reader.next(1 << 20)).await.is_err()
}

async fn durable_events_are_read_in_the_order_of_their_shard(engine: Engine) {
    let positions = engine.fill(0..40).await;
    let shards: BTreeSet<u32> = positions.values().map(|position| position.shard).collect();
    assert_eq!(shards, (0..engine.shards).collect(), "each shard gets something");
    let mut by_key: BTreeMap<u64, Vec<Position>> = BTreeMap::new();
    positions.iter().for_each(|(n, position)| by_key.entry(n % 8).or_default().push(*position));
    for stand in by_key.values() {
        assert!(stand.windows(2).all(|two| two[0].shard == two[1].shard && two[0].offset < two[1].offset));
    }
    let ends = engine.storage.journal.ends().await.unwrap();
    assert!(positions.values().all(|position| ends.is_past(*position)));
    assert_eq!(engine.storage.journal.known_ends(), ends);
    for max_bytes in [1, 300, 1 << 20] {
        let mut reader = engine.storage.journal.reader(engine.all().await).await.unwrap();
        let from = given(&mut reader).await;
        assert_eq!(read(&mut reader, &from, 40, max_bytes).await, positions);
    }
    let stat = engine.storage.journal.stat().await.unwrap();
    assert_eq!((stat.events, stat.oldest_time), (Some(40), Some(0)));
    let known = engine.storage.journal.fingerprints(30 * INTERVAL, 4).await;
    let known: BTreeSet<i64> = known.iter().map(|known| known.time / INTERVAL).collect();
    assert_eq!(known, BTreeSet::from([36, 37, 38, 39]), "the newest of them");
    assert_eq!((engine.storage.journal.at_risk(), engine.storage.journal.refuses()), (0, (false, false)));
}

async fn a_reader_is_given_its_shards_where_its_cursors_stand(engine: Engine) {
    let storage = engine.storage.of(SINK);
    let began = storage.reader().await;
    assert!(began.is_err(), "nobody knows where it would begin");
    let positions = engine.fill(0..40).await;
    let cursors = engine.settle_behind(positions.range(..25).map(|(_, position)| position)).await;
    let mut reader = storage.reader().await.unwrap();
    let marks = given(&mut reader).await;
    assert_eq!(marks, cursors);
    assert_eq!(marks.iter().count() as u32, engine.shards, "each shard is named, wherever it stands");
    let mut left = positions;
    left.retain(|n, _| *n >= 25);
    assert_eq!(read(&mut reader, &cursors, left.len(), 1 << 20).await, left);
    let later = engine.fill(40..50).await;
    assert_eq!(read(&mut reader, &cursors, 10, 1).await, later);
    // What was not settled comes again.
    left.extend(later);
    let mut again = storage.reader().await.unwrap();
    assert_eq!(given(&mut again).await, cursors);
    assert_eq!(read(&mut again, &cursors, left.len(), 1 << 20).await, left);
}

async fn a_reader_waits_and_loses_nothing_where_a_call_is_given_up(engine: Engine) {
    engine.settle_behind(std::iter::empty()).await;
    let mut reader = engine.storage.of(SINK).reader().await.unwrap();
    let from = given(&mut reader).await;
    assert!(is_quiet(&mut reader).await);
    assert!(tokio::time::timeout(SHORTLY, reader.ready()).await.is_err());
    let positions = engine.fill(0..20).await;
    tokio::time::timeout(PATIENCE, reader.ready()).await.expect("there is something");
    for _ in 0..3 {
        // Given up before it could say anything.
        drop(reader.next(1));
    }
    assert_eq!(read(&mut reader, &from, 20, 100).await, positions);
    assert!(is_quiet(&mut reader).await);
}

async fn a_span_ends_where_it_ends(engine: Engine) {
    let first = engine.fill(0..10).await;
    let from = engine.storage.journal.ends().await.unwrap();
    let inside = engine.fill(10..30).await;
    let until = engine.storage.journal.ends().await.unwrap();
    engine.fill(30..40).await;
    let span = Of::Span { from: from.clone(), until: until.clone() };
    let mut reader = engine.storage.journal.reader(span).await.unwrap();
    let mut at = given(&mut reader).await;
    assert_eq!(at, from);
    let mut found = BTreeMap::new();
    while !at.reaches(&until) {
        let chunk = chunk(&mut reader, 200).await;
        found.extend(chunk.entries.iter().map(|entry| (number(&entry.record), entry.position)));
        at.set(chunk.next);
    }
    assert_eq!((&at, found), (&until, inside));
    assert!(is_quiet(&mut reader).await, "all of it was given");
    assert!(first.values().all(|position| from.is_past(*position)));
}

async fn what_stands_between_two_places_is_counted(engine: Engine) {
    let oldest = engine.storage.journal.oldest().await.unwrap();
    let positions = engine.fill(0..40).await;
    let ends = engine.storage.journal.ends().await.unwrap();
    assert_eq!(engine.owed(&oldest, &ends).await, 40);
    assert_eq!(engine.owed(&ends, &ends).await, 0);
    for position in positions.values() {
        let (before, behind) = (Marks::from(*position), ends.clone());
        let mut from = ends.clone();
        from.set(before.at(position.shard));
        let wanted = positions.values().filter(|p| p.shard == position.shard && p.offset >= position.offset).count();
        assert_eq!(engine.owed(&from, &behind).await, wanted as u64, "of one shard alone");
    }
    let known = engine.storage.journal.owed(&oldest, &ends).await.unwrap().known;
    let known: Vec<_> = known.iter().map(|count| (&*count.source, &*count.kind, count.events)).collect();
    assert_eq!(known, [("s", "even", 20), ("s", "odd", 20)]);
}

async fn a_time_is_found_in_each_shard(engine: Engine) {
    let positions = engine.fill(0..40).await;
    let journal = &engine.storage.journal;
    let ends = journal.ends().await.unwrap();
    for n in [0, 1, 17, 39] {
        let marks = journal.seek(n as i64 * INTERVAL).await.unwrap();
        for (m, position) in &positions {
            assert_eq!(marks.is_past(*position), *m < n, "event {m} from {n}");
        }
    }
    assert_eq!(journal.seek(i64::MAX).await.unwrap(), ends);
}

async fn steps_are_durable_together_and_move_their_shard_alone(engine: Engine) {
    let Storage { settle, .. } = &engine.storage;
    assert_eq!(settle.load(SINK).await.unwrap(), None);
    // A cursor behind the end of its shard would not stay there.
    for n in 0..6 {
        engine.fill(n * 40..(n + 1) * 40).await;
    }
    let delta = Counters { accepted: 2, delivered: 1, filtered: 1, ..Counters::default() };
    let step = |shard, offset| Settlement { delta, ..Settlement::to(SINK, Position { shard, offset }) };
    settle.settle((0..engine.shards).map(|shard| step(shard, 10)).collect()).await.unwrap();
    // Whoever settles reads.
    let mut reader = engine.storage.of(SINK).reader().await.unwrap();
    given(&mut reader).await;
    settle.settle(vec![step(0, 20)]).await.unwrap();
    let state = settle.load(SINK).await.unwrap().unwrap();
    let wanted = (0..engine.shards).map(|shard| Position { shard, offset: if shard == 0 { 20 } else { 10 } });
    assert_eq!(state.cursors, wanted.collect());
    assert_eq!(state.counters.accepted, 2 * (u64::from(engine.shards) + 1));
    settle.pause(SINK, true).await.unwrap();
    assert!(settle.pause("nobody", true).await.is_err());
    assert!(settle.is_paused(SINK).await.unwrap() && !settle.is_paused("nobody").await.unwrap());
    assert_eq!(settle.orders().await.unwrap().paused, BTreeSet::from([SINK.to_owned()]));
    settle.pause(SINK, false).await.unwrap();
    assert_eq!(settle.orders().await.unwrap(), Orders::default());
}

async fn what_became_of_an_event_is_told_in_its_shard(engine: Engine) {
    let positions = engine.fill(0..40).await;
    let mut cursors = engine.settle_behind(std::iter::empty()).await;
    let mut reader = engine.storage.of(SINK).reader().await.unwrap();
    given(&mut reader).await;
    let call = Call::new(5_000_000, Duration::from_millis(7));
    // Of each shard the first events, of which the odd ones are owed.
    let mut steps: BTreeMap<u32, Settlement> = BTreeMap::new();
    for (n, position) in positions.range(..25) {
        let step = steps.entry(position.shard).or_insert_with(|| {
            let passed = Passed::from(cursors.at(position.shard).offset);
            Settlement { passed, ..Settlement::to(SINK, *position) }
        });
        step.cursor = Some(position.behind());
        cursors.set(position.behind());
        if n % 2 == 1 {
            let ended = vec![Ended::Delivered { suffix: "".into(), call, attempts: 1 }];
            step.passed.add(Run { first: position.offset, events: 1, ended });
        }
    }
    engine.storage.settle.settle(steps.into_values().collect()).await.unwrap();
    for (n, position) in &positions {
        let told = engine.storage.ledger.fates(*position, record(*n).id).await.unwrap();
        let (wanted, rest) = match n {
            25.. => (0, Rest::Pending),
            n => (n % 2, Rest::Nothing),
        };
        assert_eq!((told.len(), told[0].deliveries.len() as u64, told[0].rest), (1, wanted, rest), "{n}");
        let times = told[0].deliveries.iter().map(|fate| (fate.time, fate.took));
        assert!(times.into_iter().all(|told| told == (Some(5_000_000), Some(Duration::from_millis(7)))), "{told:?}");
    }
}

async fn a_replay_is_under_way_until_its_span_is_passed_and_can_be_ended(engine: Engine) {
    let positions = engine.fill(0..40).await;
    let journal = &engine.storage.journal;
    let (first, until) = (journal.oldest().await.unwrap(), journal.ends().await.unwrap());
    let cursors = engine.settle_behind(positions.values()).await;
    let mut reader = engine.storage.of(SINK).reader().await.unwrap();
    given(&mut reader).await;
    let Storage { settle, .. } = &engine.storage;
    let kind = Some("odd".to_owned());
    let replay = Replay {
        sink: SINK.into(),
        first: first.clone(),
        at: first.clone(),
        until: until.clone(),
        kind,
        ..Replay::default()
    };
    let [id, other] =
        [settle.begin_replay(vec![replay.clone()]).await, settle.begin_replay(vec![replay.clone()]).await]
            .map(Result::unwrap);
    assert!(other > id && id > 0);
    let numbers = |replays: Vec<UnderWay>| replays.iter().map(|one| one.replay.id).collect::<Vec<_>>();
    assert_eq!(numbers(settle.replays().await.unwrap()), [id, other]);
    let ours = settle.orders().await.unwrap().replays;
    assert_eq!(ours, [Replay { id, ..replay.clone() }, Replay { id: other, ..replay.clone() }]);
    assert_eq!(ours[0].until.iter().count() as u32, engine.shards);
    // One half of each shard, then the other; each time one comes to something.
    let half =
        |position: Position| Position { offset: position.offset.midpoint(first.at(position.shard).offset), ..position };
    let halves: Marks = until.iter().map(half).collect();
    for (n, [from, to]) in [[&first, &halves], [&halves, &until]].into_iter().enumerate() {
        for to in to.iter() {
            let due = Some(7).filter(|_| n == 0);
            let held = HeldDelivery { due, position: to, ..tests::letter(&format!("{n}-{}", to.shard)) };
            let delta = Counters { accepted: 1, dead: n as u64, ..Counters::default() };
            let passed = Passed::from(from.at(to.shard).offset);
            let step = Settlement { replay: Some(id), delta, passed, held: vec![held], ..Settlement::to(SINK, to) };
            settle.settle(vec![step]).await.unwrap();
        }
        let shards = u64::from(engine.shards);
        let wanted = Counters { accepted: (n as u64 + 1) * shards, dead: n as u64 * shards, ..Counters::default() };
        let counts = settle.replay_counts(id).await.unwrap();
        assert_eq!(counts, [ReplayCounts { sink: SINK.into(), counts: wanted }]);
        let under_way = settle.replays().await.unwrap();
        match n {
            0 => {
                assert_eq!((&under_way[0].replay.at, under_way[0].replay.deliveries), (&halves, shards));
                assert!(under_way[0].done.is_none_or(|done| done > 0.3 && done < 0.7), "{under_way:?}");
                assert_eq!(settle.orders().await.unwrap().replays[0].at, halves);
            }
            _ => assert_eq!(numbers(under_way), [other]),
        }
    }
    // What it brought and became of it stays known, as far as that is remembered.
    assert_eq!(settle.orders().await.unwrap().replays.iter().map(|one| one.id).collect::<Vec<_>>(), [other]);
    assert_eq!(settle.replay_counts(id).await.unwrap()[0].counts.dead, u64::from(engine.shards));
    let state = settle.load(SINK).await.unwrap().unwrap();
    assert_eq!((state.cursors, state.counters.accepted), (cursors, 2 * u64::from(engine.shards)));
    assert_eq!(settle.cancel_replay(other).await.unwrap(), 1);
    assert_eq!(settle.cancel_replay(other).await.unwrap(), 0);
    assert_eq!((settle.replays().await.unwrap(), settle.orders().await.unwrap()), (vec![], Orders::default()));
}

async fn a_journal_that_is_closed_takes_no_more(engine: Engine) {
    let journal = &engine.storage.journal;
    engine.fill(0..3).await;
    journal.close().await.unwrap();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&reported);
    journal.append(record(3), OnFailure::Keep, Box::new(move |progress| report.lock().unwrap().push(progress)));
    assert_eq!(*reported.lock().unwrap(), [Progress::Failed(AppendError::Closed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_engine_conforms_with_one_shard() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    let engine = || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = folder.path().join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        let ledger = Arc::new(Ledger::open(&dir.join("ledger.db")).unwrap().0);
        let config = JournalConfig { min_free: Size(0), segment_size: Size(2048), ..JournalConfig::default() };
        let (journal, _) =
            LocalJournal::open(&dir.join("j"), &config, |_| None, ledger.clone(), Box::new(|| 0)).unwrap();
        let journal = Arc::new(journal);
        let settle = Arc::new(LocalSettle::new(Arc::clone(&ledger), journal.clone()));
        Engine { storage: Storage { retention: journal.clone(), journal, settle, ledger }, shards: 1 }
    };
    conforms(engine).await;
}
