//! The journal as a whole, tested through its interface on a disk that can fail.

mod ahead;
mod append;
mod damage;
mod failing;
mod faulty;
mod finding;
mod golden;
mod indexes;
mod keeping;
mod model;
mod power_loss;
mod pulse;
mod sim;
mod taken_away;
mod verifying;

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use sink_api::{Period, Size};

use super::*;
use faulty::{Act, FaultyDisk, Handle, Op};

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a future to its end.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Waits for a condition, with a deadline.
fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !met() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Cursors in memory; what was settled is as durable as it gets.
#[derive(Default)]
struct MemoryCursors {
    cursors: Mutex<HashMap<String, Marks>>,
    deleted: Mutex<Vec<Deleted>>,
    fail: std::sync::atomic::AtomicBool,
}

impl MemoryCursors {
    fn check(&self) -> Result<(), CursorsError> {
        if self.fail.load(Ordering::Relaxed) { Err("no".into()) } else { Ok(()) }
    }

    /// Moves a holder's cursor; the journal learns of it once that is durable.
    fn settle(&self, journal: &LocalJournal, holder: &str, offset: u64) -> Result<(), CursorsError> {
        self.check()?;
        self.cursors.lock().unwrap().insert(holder.to_owned(), at(offset).into());
        journal.passed(holder, at(offset));
        Ok(())
    }
}

#[async_trait]
impl Cursors for MemoryCursors {
    async fn cursors(&self, name: &str) -> Result<Marks, CursorsError> {
        self.cursors.lock().unwrap().get(name).cloned().ok_or_else(|| "it never began".into())
    }

    fn keep_deleted(&self, deleted: Deleted) -> Result<(), CursorsError> {
        self.check()?;
        self.deleted.lock().unwrap().push(deleted);
        Ok(())
    }

    async fn deleted(&self, from: Position, to: Position) -> Result<Vec<Deleted>, CursorsError> {
        let all = self.deleted.lock().unwrap().clone();
        Ok(all.into_iter().filter(|d| d.to.offset > from.offset && d.from.offset < to.offset).collect())
    }
}

/// What its seam says, for a test that knows of its one shard.
impl LocalJournal {
    fn end(&self) -> Position {
        self.known_ends().at(0)
    }

    fn oldest(&self) -> Position {
        run(Journal::oldest(self)).unwrap().at(0)
    }

    async fn read(&self, from: Position, max_bytes: u64) -> Result<Chunk, JournalError> {
        follow::read(self.core(), from.offset, max_bytes).await.map(|(chunk, _)| chunk)
    }

    async fn wait(&self, from: Position) {
        let mut reader = follow::LocalReader::new(self.core(), from.offset, None);
        assert!(matches!(reader.next(1).await, Ok(News::Given(marks)) if marks == from.into()));
        reader.ready().await;
    }

    async fn counts(&self, from: Position) -> Result<Vec<TypeCount>, JournalError> {
        self.owed(from, at(u64::MAX)).await
    }

    async fn owed(&self, from: Position, to: Position) -> Result<Vec<TypeCount>, JournalError> {
        Ok(Journal::owed(self, &from.into(), &to.into()).await?.known)
    }

    fn stat(&self) -> JournalStat {
        run(Journal::stat(self)).unwrap()
    }

    fn fingerprints(&self, since: i64, max: usize) -> Vec<Fingerprint> {
        run(Journal::fingerprints(self, since, max))
    }
}

type Log = Vec<(u64, Progress)>;

/// What was reported, by the number of the record.
#[derive(Clone, Default)]
struct Reports {
    log: Arc<(Mutex<Log>, Condvar)>,
}

impl Reports {
    fn of(&self, n: u64) -> OnProgress {
        let log = Arc::clone(&self.log);
        Box::new(move |progress| {
            log.0.lock().unwrap().push((n, progress));
            log.1.notify_all();
        })
    }

    fn all(&self) -> Log {
        self.log.0.lock().unwrap().clone()
    }

    fn about(&self, n: u64) -> Vec<Progress> {
        self.all().into_iter().filter(|(m, _)| *m == n).map(|(_, p)| p).collect()
    }

    /// Waits until so many records have had their last word.
    fn until_final(&self, count: usize) {
        let last = |log: &Log| log.iter().filter(|(_, p)| *p != Progress::AtRisk).count();
        let log = self.log.0.lock().unwrap();
        let (log, late) = self.log.1.wait_timeout_while(log, DEADLINE, |log| last(log) < count).unwrap();
        assert!(!late.timed_out(), "only told {log:?}");
    }

    fn until_at_risk(&self, n: u64) {
        wait_until("told at risk", || self.about(n).contains(&Progress::AtRisk));
    }

    /// Positions of what is durable, by number.
    fn durable(&self) -> Vec<(u64, u64)> {
        let all = self.all();
        all.into_iter()
            .filter_map(|(n, p)| if let Progress::Durable(at) = p { Some((n, at.offset)) } else { None })
            .collect()
    }
}

/// A folder, a disk, a clock and a config, to open journals on.
struct World {
    _home: tempfile::TempDir,
    dir: PathBuf,
    disk: Arc<FaultyDisk>,
    clock: Arc<AtomicI64>,
    other_bytes: Arc<AtomicU64>,
    cursors: Arc<MemoryCursors>,
    config: JournalConfig,
    /// Bytes of zeros written ahead.
    ahead: u64,
}

const START: i64 = 1_790_000_000_000_000;
const SECOND: i64 = 1_000_000;

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = JournalConfig { min_free: Size(0), ..JournalConfig::default() };
        Self {
            dir: home.path().join("journal"),
            _home: home,
            disk: FaultyDisk::new(),
            clock: Arc::new(AtomicI64::new(START)),
            other_bytes: Arc::default(),
            cursors: Arc::default(),
            config,
            ahead: 0,
        }
    }

    /// With segments of so many bytes.
    fn with_segments(bytes: u64) -> Self {
        let mut world = Self::new();
        world.config.segment_size = Size(bytes);
        world
    }

    fn try_open(&self) -> Result<(LocalJournal, Recovered), JournalError> {
        let (clock, other_bytes) = (Arc::clone(&self.clock), Arc::clone(&self.other_bytes));
        let env = Env {
            disk: Arc::new(Handle(Arc::clone(&self.disk))),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            salt: Arc::new(|| 0x5a17),
            pauses: (Duration::from_millis(1), Duration::from_millis(20)),
            ahead: self.ahead,
            subject_of,
        };
        let other_bytes = Box::new(move || other_bytes.load(Ordering::Relaxed));
        LocalJournal::open_with(
            env,
            &self.dir,
            &self.config,
            Arc::clone(&self.cursors) as Arc<dyn Cursors>,
            other_bytes,
        )
    }

    fn open(&self) -> (LocalJournal, Recovered) {
        self.try_open().unwrap()
    }

    /// A journal that has been opened, given records `0..n`, one batch each, and crashed.
    fn crashed_after(&self, n: u64) -> Vec<u64> {
        let (journal, _) = self.open();
        let offsets = fill(&journal, 0..n);
        journal.crash();
        offsets
    }
}

/// Record number `n`: everything in it follows from the number.
fn record(n: u64) -> Record {
    sized(n, 100)
}

/// The same with a payload of so many bytes.
fn sized(n: u64, bytes: usize) -> Record {
    let mut payload = format!("{{\"n\":{n}}}").into_bytes();
    payload.resize(bytes.max(payload.len()), b' ');
    Record {
        id: u128::from(n).to_be_bytes(),
        time: START + n as i64 * SECOND,
        source: "interakt".into(),
        kind: if n.is_multiple_of(3) { "message_api_sent".into() } else { "message_api_read".into() },
        key: format!("key-{}", n % 10).into(),
        fingerprint: n.is_multiple_of(2).then(|| u128::from(n).to_le_bytes()),
        payload: Bytes::from(payload),
        made: Default::default(),
    }
}

/// What a record is about: the last digit of its number.
fn subject_of(payload: &[u8]) -> Option<&str> {
    let end = payload.iter().position(|byte| *byte == b'}')?;
    std::str::from_utf8(payload.get(end.checked_sub(1)?..end)?).ok()
}

fn number(record: &Record) -> u64 {
    u128::from_be_bytes(record.id) as u64
}

/// Appends records one flush after the other; their positions.
fn fill(journal: &LocalJournal, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let reports = Reports::default();
    for (done, n) in numbers.enumerate() {
        journal.append(record(n), OnFailure::Keep, reports.of(n));
        reports.until_final(done + 1);
    }
    reports.durable().into_iter().map(|(_, at)| at).collect()
}

/// Appends records: the first alone, the others as one batch; their positions.
fn fill_batch(world: &World, journal: &LocalJournal, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let reports = Reports::default();
    world.disk.on(1, Act::Hang, |op| matches!(op, Op::Sync(_)));
    for (done, n) in numbers.clone().enumerate() {
        journal.append(record(n), OnFailure::Keep, reports.of(n));
        if done == 0 {
            world.disk.until_hanging();
        }
    }
    world.disk.release();
    reports.until_final(numbers.count());
    reports.durable().into_iter().map(|(_, at)| at).collect()
}

fn at(offset: u64) -> Position {
    Position { shard: 0, offset }
}

/// Everything from a position on: numbers and positions, read in chunks of `max_bytes`.
fn read_from(journal: &LocalJournal, from: u64, max_bytes: u64) -> Vec<(u64, u64)> {
    let (mut from, mut found) = (at(from), Vec::new());
    loop {
        let chunk = run(journal.read(from, max_bytes)).unwrap();
        if chunk.entries.is_empty() {
            return found;
        }
        for entry in &chunk.entries {
            let n = number(&entry.record);
            assert_eq!(entry.record.id, record(n).id);
            assert!(*entry.record == sized(n, entry.record.payload.len()), "record {n} was changed");
            found.push((n, entry.position.offset));
        }
        assert!(chunk.next.offset > from.offset);
        from = chunk.next;
    }
}

fn numbers(journal: &LocalJournal) -> Vec<u64> {
    read_from(journal, 0, 1 << 20).into_iter().map(|(n, _)| n).collect()
}

/// Changes a file's bytes.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}
