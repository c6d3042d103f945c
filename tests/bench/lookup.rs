//! `cargo bench --bench lookup -- [GIB] [FOLDER]`: how long it takes to find all events of one message, or one event,
//! in a journal of that size (by default 1 GiB), which it makes in the folder (by default a temporary one) and deletes.
//! What was just written is in the page cache, so that the disk has no part in the figures.

#![allow(clippy::print_stdout, missing_docs)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookrelay::event::{self, Event};
use hookrelay::journal::{
    self, Append, Cursors, CursorsError, Deleted, Find, Journal, JournalConfig, LocalJournal, Marks, OnFailure,
    Position, Progress, Within,
};
use sink_api::{Period, Size, Timestamp, Uuid, async_trait};

const BODY: &str = include_str!("../fixtures/interakt/message_api_failed.json");
/// Events of a message, and how many messages are under way at a time: its events lie in several segments.
const EVENTS: u64 = 4;
const UNDER_WAY: u64 = 50_000;
/// Events appended at once.
const BATCH: u64 = 2_000;
/// Lookups of each sort.
const LOOKUPS: u64 = 50;

/// Nobody reads, nothing is deleted.
struct NoCursors;

#[async_trait]
impl Cursors for NoCursors {
    async fn cursors(&self, _: &str) -> Result<Marks, CursorsError> {
        Ok(Marks::default())
    }
    fn keep_deleted(&self, _: Deleted) -> Result<(), CursorsError> {
        Ok(())
    }
    async fn deleted(&self, _: Position, _: Position) -> Result<Vec<Deleted>, CursorsError> {
        Ok(vec![])
    }
}

fn subject(message: u64) -> Arc<str> {
    format!("0b8c3f52-7d1e-4f7a-9a60-{message:012x}").into()
}

/// Which message the event of that number is about.
fn message_of(n: u64) -> u64 {
    let (round, place) = (n / (UNDER_WAY * EVENTS), n % UNDER_WAY);
    round * UNDER_WAY + place
}

fn id_of(n: u64, time: Timestamp) -> Uuid {
    let millis = u64::try_from(time.as_millisecond()).unwrap_or_default();
    let mut bytes = [0; 10];
    bytes.iter_mut().zip(n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).for_each(|(to, from)| *to = from);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
}

fn event(n: u64, began: Timestamp) -> Event {
    let time = Timestamp::from_microsecond(began.as_microsecond() + n as i64 * 100).unwrap_or(began);
    let subject = subject(message_of(n));
    Event {
        id: id_of(n, time),
        source: "interakt".into(),
        kind: "message_api_failed".into(),
        key: Arc::clone(&subject),
        subject,
        time,
        method: "POST".into(),
        path: "/webhooks/interakt".into(),
        remote: "127.0.0.1".into(),
        headers: vec![],
        body: Bytes::from_static(BODY.as_bytes()),
        rendered: Default::default(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let gib: f64 = args.next().map_or(Ok(1.0), |gib| gib.parse())?;
    let home = tempfile::tempdir_in(args.next().map_or_else(std::env::temp_dir, PathBuf::from))?;
    let dir = home.path().join("journal");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let config = JournalConfig {
        min_free: Size(0),
        max_size: Size::mib(1 << 20),
        retention: Period::YEAR,
        ..JournalConfig::default()
    };
    let (journal, _) = LocalJournal::open(&dir, &config, event::subject_of, Arc::new(NoCursors), Box::new(|| 0))?;
    let began = Timestamp::now();
    let events = fill(&journal, (gib * (1_u64 << 30) as f64) as u64, began)?;
    let (segments, sealed) = wait_for_indexes(&dir)?;
    let (of_segments, of_indexes) = (bytes(&dir, "segment")?, bytes(&dir, "index")?);
    println!(
        "{events} events, {:.2} GiB, {segments} segments, {sealed} with an index: {:.1} MiB, {:.1} bytes an event",
        of_segments as f64 / (1_u64 << 30) as f64,
        of_indexes as f64 / (1_u64 << 20) as f64,
        of_indexes as f64 / events as f64
    );
    let some = |n: u64| n * (events / LOOKUPS);
    let time_of = |n: u64| event(n, began).time;
    told("all events of a message", |n| {
        let found = runtime
            .block_on(journal.find(Find::Subject(subject(message_of(some(n)))), Within::newest(usize::MAX)))?
            .entries;
        Ok((found.len() as u64, EVENTS))
    })?;
    told("of a message that is not there", |n| {
        Ok((
            runtime
                .block_on(journal.find(Find::Subject(subject(u64::MAX >> 20 | n << 44)), Within::newest(9)))?
                .entries
                .len() as u64,
            0,
        ))
    })?;
    told("one event by its id", |n| {
        let id = id_of(some(n), time_of(some(n)));
        Ok((runtime.block_on(journal.find(Find::Event(*id.as_bytes()), Within::newest(1)))?.entries.len() as u64, 1))
    })?;
    runtime.block_on(journal.close())?;
    told("all events of a message, from the folder", |n| {
        let what = Find::Subject(subject(message_of(some(n))));
        Ok((journal::find(&dir, &what, usize::MAX, event::subject_of)?.len() as u64, EVENTS))
    })?;
    Ok(())
}

/// Appends events until there are so many bytes.
fn fill(journal: &LocalJournal, bytes: u64, began: Timestamp) -> Result<u64, Box<dyn Error>> {
    let (mut events, mut done, start) = (0, 0, Instant::now());
    while done < bytes || events % (UNDER_WAY * EVENTS) != 0 {
        let (tell, told) = mpsc::channel();
        let append = |n: u64| {
            let record = event::encode(&event(n, began), None, false);
            done += record.payload.len() as u64 + 150;
            let tell = tell.clone();
            let on_progress = Box::new(move |progress| _ = tell.send(matches!(progress, Progress::Durable(_))));
            Append { record, on_failure: OnFailure::Keep, on_progress, notify: None }
        };
        journal.append_all((events..events + BATCH).map(append).collect());
        drop(tell);
        if told.iter().any(|is_durable| !is_durable) {
            return Err("an event was refused".into());
        }
        events += BATCH;
    }
    println!("appended in {:.0?}", start.elapsed());
    Ok(events)
}

/// Waits until all segments but the one being written have their index. Gives the numbers of both.
fn wait_for_indexes(dir: &Path) -> Result<(usize, usize), Box<dyn Error>> {
    let start = Instant::now();
    loop {
        let (segments, indexes) = (count(dir, "segment")?, count(dir, "index")?);
        if indexes + 1 >= segments {
            println!("all indexed {:.1?} later", start.elapsed());
            return Ok((segments, indexes));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn files(dir: &Path, ending: &str) -> std::io::Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == ending) {
            sizes.push(entry.metadata()?.len());
        }
    }
    Ok(sizes)
}

fn count(dir: &Path, ending: &str) -> std::io::Result<usize> {
    Ok(files(dir, ending)?.len())
}

fn bytes(dir: &Path, ending: &str) -> std::io::Result<u64> {
    Ok(files(dir, ending)?.iter().sum())
}

/// How long lookups take: the median and the longest. Each says how many it found, and how many there are.
fn told(what: &str, mut look: impl FnMut(u64) -> Result<(u64, u64), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for n in 0..LOOKUPS {
        let start = Instant::now();
        let (found, expected) = look(n)?;
        times.push(start.elapsed());
        if found != expected {
            return Err(format!("{what}: {found} found, not {expected}").into());
        }
    }
    times.sort_unstable();
    let (median, longest) = (times.get(times.len() / 2), times.last());
    println!(
        "{what}: {:.1?}, the longest of {LOOKUPS} {:.1?}",
        median.unwrap_or(&Duration::ZERO),
        longest.unwrap_or(&Duration::ZERO)
    );
    Ok(())
}
