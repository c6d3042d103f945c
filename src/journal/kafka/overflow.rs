//! The local overflow: a journal on this machine's disk, for events that Kafka does not take for now. It is insurance:
//! the order of events is the producer's queue in memory, and the overflow holds copies, which are read again only
//! after a restart. Where that queue is full, events go to the overflow alone and are read from there.
//!
//! Beside the journal lies `cursors`: of each shard the place in the overflow before which everything of that shard is
//! in Kafka. A restart sends what stands behind it. The file may be a fifth of a second behind; then an event stands in
//! Kafka twice.
//!
//! ```text
//! hookrelay overflow 1
//! SHARD PLACE
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sink_api::{Period, Size};

use crate::journal::{
    Append, Cursors, CursorsError, Deleted, Journal, JournalConfig, JournalError, JournalStat, LocalJournal, Marks, Of,
    OnFailure, OnProgress, Position, Reader, Record, Retention, WhenFull, folder,
};

/// The one holder of the overflow's journal.
const HOLDER: &str = "kafka";
/// The file of cursors, the same while it is written, and its first line.
const FILE: &str = "cursors";
const FILE_NEW: &str = "cursors.new";
const FIRST: &str = "hookrelay overflow 1";
/// Segments are no larger, and at least so many fit into the overflow's bound, so that room is soon made.
const SEGMENT: u64 = 16 << 20;
const SEGMENTS: u64 = 8;

/// The overflow's journal and its cursors.
pub struct Overflow {
    journal: LocalJournal,
    dir: PathBuf,
    /// Whether it takes nothing, as if its disk were full.
    #[cfg(test)]
    pub(super) takes_nothing: std::sync::atomic::AtomicBool,
}

/// An overflow that was opened, and what it holds.
pub struct Opened {
    /// It.
    pub overflow: Overflow,
    /// The cursors as they were kept.
    pub cursors: Marks,
    /// The place of the oldest event that is there.
    pub oldest: u64,
    /// How many bytes all take that are there.
    pub bytes: u64,
}

impl Overflow {
    /// Opens (or begins) it in a folder, with at most `max` bytes of events on disk and `queue` on their way there.
    ///
    /// # Errors
    /// As [`LocalJournal::open`].
    pub async fn open(dir: &Path, max: Size, min_free: Size, queue: Size) -> Result<Opened, JournalError> {
        let dir = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&dir, max, min_free, queue)).await;
        let lost =
            |error| JournalError::Io { what: "opening the overflow failed".into(), error: io::Error::other(error) };
        let (overflow, cursors) = opened.map_err(lost)??;
        let oldest = Journal::oldest(&overflow.journal).await?.at(0).offset;
        let bytes = overflow.stat().await?.bytes.unwrap_or_default();
        Ok(Opened { overflow, cursors, oldest, bytes })
    }

    fn open_blocking(dir: &Path, max: Size, min_free: Size, queue: Size) -> Result<(Self, Marks), JournalError> {
        folder::make(dir)?;
        let config = JournalConfig {
            segment_size: Size((max.0 / SEGMENTS).clamp(64 << 10, SEGMENT)),
            retention: Period::secs(0),
            max_size: max,
            when_full: WhenFull::Refuse,
            min_free,
            overflow_max: queue,
            ..JournalConfig::default()
        };
        let (journal, recovered) =
            LocalJournal::open(&dir.join("journal"), &config, |_| None, Arc::new(NoReaders), Box::new(|| 0))?;
        for rot in recovered.rot {
            tracing::error!(file = rot.file, lost = rot.lost, "the overflow is damaged: accepted events are lost");
        }
        let cursors = read(&dir.join(FILE));
        journal.hold(HOLDER, &Marks::from(place(0)));
        journal.begin();
        let overflow = Self {
            journal,
            dir: dir.to_owned(),
            #[cfg(test)]
            takes_nothing: Default::default(),
        };
        Ok((overflow, cursors))
    }

    /// Appends an event; it is given back where it cannot be written.
    pub fn append(&self, record: Record, on_progress: OnProgress) {
        #[cfg(test)]
        if self.takes_nothing.load(std::sync::atomic::Ordering::Relaxed) {
            let mut on_progress = on_progress;
            return on_progress(crate::journal::Progress::Failed(crate::journal::AppendError::Full));
        }
        self.journal.append_all(vec![Append { record, on_failure: OnFailure::GiveBack, on_progress, notify: None }]);
    }

    /// The place before which all that was told durable stands.
    pub fn end(&self) -> u64 {
        self.journal.known_ends().at(0).offset
    }

    /// Whether an event that was appended now would be given back.
    pub fn refuses(&self) -> bool {
        self.journal.refuses().0
    }

    /// Reads on from a place, for ever.
    pub async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, JournalError> {
        let (from, until) = (Marks::from(place(from)), Marks::from(place(u64::MAX)));
        self.journal.reader(Of::Span { from, until }).await
    }

    /// Keeps the cursors, flushed; what all shards have passed may then be deleted. Blocks.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, cursors: &Marks) -> io::Result<()> {
        let mut text = format!("{FIRST}\n");
        cursors.iter().for_each(|cursor| text.push_str(&format!("{} {}\n", cursor.shard, cursor.offset)));
        folder::replace(&self.dir, [FILE_NEW, FILE], text.as_bytes())?;
        let passed = cursors.iter().map(|cursor| cursor.offset).min().unwrap_or_default();
        self.journal.passed(HOLDER, place(passed));
        Ok(())
    }

    /// Its figures.
    pub async fn stat(&self) -> Result<JournalStat, JournalError> {
        self.journal.stat().await
    }

    /// Flushes what is queued, and lets go of it.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.journal.close().await
    }
}

fn place(offset: u64) -> Position {
    Position { shard: 0, offset }
}

/// The cursors in a file; none where it is missing or damaged: then what is left is sent again from the beginning.
fn read(path: &Path) -> Marks {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Marks::default(),
        Err(error) => {
            tracing::warn!(%error, "the overflow's cursors cannot be read: events may come to Kafka twice");
            return Marks::default();
        }
    };
    let parse = |line: &str| {
        let (shard, offset) = line.split_once(' ')?;
        Some(Position { shard: shard.parse().ok()?, offset: offset.parse().ok()? })
    };
    let cursors = text.strip_prefix(FIRST).and_then(|lines| lines.trim().lines().map(parse).collect());
    cursors.unwrap_or_else(|| {
        tracing::warn!("the overflow's cursors are damaged: events may come to Kafka twice");
        Marks::default()
    })
}

/// The overflow's readers say where they begin, and nothing that is owed is deleted.
struct NoReaders;

#[async_trait]
impl Cursors for NoReaders {
    async fn cursors(&self, name: &str) -> Result<Marks, CursorsError> {
        Err(format!("{name} reads no overflow").into())
    }

    fn keep_deleted(&self, _: Deleted) -> Result<(), CursorsError> {
        Ok(())
    }

    async fn deleted(&self, _: Position, _: Position) -> Result<Vec<Deleted>, CursorsError> {
        Ok(vec![])
    }
}

/// Which places of the overflow hold events that are not in Kafka yet. Plain data.
pub struct Places {
    shards: Vec<OfShard>,
    cursors: Marks,
}

#[derive(Default)]
struct OfShard {
    /// Where events stand that are not in Kafka.
    open: BTreeSet<u64>,
    /// How many are being written, so that their place is not known.
    asked: usize,
}

impl Places {
    /// As they were kept, of so many shards.
    pub fn new(shards: u32, cursors: &Marks) -> Self {
        let cursors = (0..shards).map(|shard| cursors.at(shard)).collect();
        Self { shards: (0..shards).map(|_| OfShard::default()).collect(), cursors }
    }

    fn of(&mut self, shard: u32) -> Option<&mut OfShard> {
        self.shards.get_mut(shard as usize)
    }

    /// An event of this shard is being written.
    pub fn ask(&mut self, shard: u32) {
        if let Some(of) = self.of(shard) {
            of.asked += 1;
        }
    }

    /// It is no longer: it stands at this place and is not in Kafka, or that does not matter any more.
    pub fn answer(&mut self, shard: u32, open: Option<u64>) {
        if let Some(of) = self.of(shard) {
            of.asked = of.asked.saturating_sub(1);
            of.open.extend(open);
        }
    }

    /// What stands at this place is not in Kafka, and on its way there.
    pub fn found(&mut self, shard: u32, at: u64) {
        if let Some(of) = self.of(shard) {
            of.open.insert(at);
        }
    }

    /// What stands at this place is in Kafka.
    pub fn done(&mut self, shard: u32, at: u64) {
        if let Some(of) = self.of(shard) {
            of.open.remove(&at);
        }
    }

    /// Whether an earlier life has left what stands at this place, and it is not in Kafka.
    pub fn is_left(&self, shard: u32, at: u64) -> bool {
        at >= self.cursors.at(shard).offset
    }

    /// The first place of any shard that is not known to be in Kafka.
    pub fn first(&self) -> u64 {
        self.cursors.iter().map(|cursor| cursor.offset).min().unwrap_or_default()
    }

    /// Moves the cursors on. All that stands before `end` and is not in Kafka is known here, but for what is being
    /// written.
    pub fn settle(&mut self, end: u64) -> Marks {
        for (shard, of) in self.shards.iter().enumerate() {
            let old = self.cursors.at(shard as u32);
            let next = match (of.open.first(), of.asked) {
                (Some(first), _) => end.min(*first),
                (None, 0) => end,
                (None, _) => old.offset,
            };
            self.cursors.set(Position { offset: next.max(old.offset), ..old });
        }
        self.cursors.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(marks: &Marks) -> Vec<u64> {
        marks.iter().map(|mark| mark.offset).collect()
    }

    #[test]
    fn a_cursor_stops_at_the_first_event_of_its_shard_that_is_not_in_kafka() {
        let mut places = Places::new(2, &Marks::default());
        places.ask(0);
        assert_eq!(offsets(&places.settle(10)), [0, 10], "nobody knows where it will stand");
        places.answer(0, Some(12));
        places.found(0, 14);
        assert_eq!(offsets(&places.settle(20)), [12, 20]);
        places.done(0, 14);
        assert_eq!(offsets(&places.settle(21)), [12, 21]);
        assert_eq!(offsets(&places.settle(11))[0], 12, "never back");
        places.done(0, 12);
        places.found(0, 30);
        assert_eq!(offsets(&places.settle(22)), [22, 22]);
        assert!(places.is_left(1, 22) && !places.is_left(1, 21));
    }

    #[tokio::test]
    async fn cursors_are_what_was_kept_and_none_where_the_file_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Overflow::open(dir.path(), Size::mib(1), Size(0), Size::mib(1)).await;
        let Opened { overflow, cursors, oldest, .. } = opened.unwrap();
        assert_eq!((cursors, oldest), (Marks::default(), overflow.end()));
        let kept = Places::new(2, &Marks::from(Position { shard: 1, offset: 7 })).settle(5);
        overflow.save(&kept).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(offsets(&read(&path)), [5, 7]);
        fs::write(&path, "hookrelay overflow 1\n0 x\n").unwrap();
        assert_eq!(read(&path), Marks::default());
    }
}
