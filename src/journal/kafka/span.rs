//! A span, read once: from one mark to another in each shard, by a client that never joins a group. One thread reads
//! and makes chunks; the reader splits them as it is asked.
//!
//! Messages may be missing between two offsets (what was compacted or deleted, markers of transactions): a shard is
//! read to the end of its span all the same, and its last chunk says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::sync::mpsc;

use super::clients::Quiet;
use super::cluster::Cluster;
use super::message;
use super::scan::{consumer, list};
use crate::journal::{Chunk, Entry, Gap, JournalError, Marks, News, Position, Reader};

/// Longest one poll, and so the longest until the thread sees that its reader is gone.
const POLL: Duration = Duration::from_millis(100);
/// Bytes of payloads at which a chunk is whole.
const CHUNK: usize = 1 << 20;
/// Chunks that are ready for the reader at most.
const READY: usize = 2;
/// Longest that brokers may take to say where a shard begins and ends.
const ANSWER: Duration = Duration::from_secs(10);
/// What an event takes beside its payload, about.
const ENTRY: u64 = 256;

/// Reads a span.
pub struct Span {
    from: Option<Marks>,
    chunks: mpsc::Receiver<Result<Chunk, JournalError>>,
    /// What was not given of the last chunk.
    current: Option<Chunk>,
    failure: Option<JournalError>,
}

impl Span {
    /// Begins to read; asks no broker before it returns.
    ///
    /// # Errors
    /// Where librdkafka or the system refuses.
    pub fn begin(cluster: &Cluster, from: Marks, until: &Marks) -> Result<Self, JournalError> {
        let failed = |error: KafkaError| failure(&error);
        let client = consumer(cluster, "span").map_err(failed)?;
        let (sender, chunks) = mpsc::channel(READY);
        let left: BTreeMap<u32, Shard> = until
            .iter()
            .filter(|end| !from.reaches(&(*end).into()))
            .map(|end| (end.shard, Shard::new(from.at(end.shard), end.offset)))
            .collect();
        let reading = Reading { client, topic: cluster.events(), left, sender, bytes: 0 };
        let spawned = std::thread::Builder::new().name("kafka-span".into()).spawn(move || reading.run());
        spawned.map_err(|error| JournalError::Io { what: "cannot start the thread kafka-span".into(), error })?;
        Ok(Self { from: Some(from), chunks, current: None, failure: None })
    }
}

#[async_trait]
impl Reader for Span {
    async fn ready(&mut self) {
        if self.from.is_some() || self.current.is_some() || self.failure.is_some() {
            return;
        }
        match self.chunks.recv().await {
            Some(Ok(chunk)) => self.current = Some(chunk),
            Some(Err(error)) => self.failure = Some(error),
            // All was given.
            None => std::future::pending().await,
        }
    }

    async fn next(&mut self, max_bytes: u64) -> Result<News, JournalError> {
        if let Some(from) = self.from.take() {
            return Ok(News::Given(from));
        }
        if max_bytes == 0 {
            return std::future::pending().await;
        }
        self.ready().await;
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match self.current.take() {
            Some(chunk) => {
                let (first, rest) = split(chunk, max_bytes);
                self.current = rest;
                Ok(News::Chunk(first))
            }
            None => std::future::pending().await,
        }
    }
}

/// Splits off about so many bytes, at least one entry.
pub fn split(chunk: Chunk, max_bytes: u64) -> (Chunk, Option<Chunk>) {
    let mut bytes = 0;
    let fits = |entry: &Entry| {
        bytes += entry.record.payload.len() as u64 + ENTRY;
        bytes <= max_bytes
    };
    let entries = chunk.entries.iter().map(fits).take_while(|fits| *fits).count();
    chunk.split(entries.max(1))
}

/// What is to be read of a shard, and what was read and not handed on.
struct Shard {
    next: Position,
    until: u64,
    /// Whether the shard is known to reach to the span's end.
    is_there: bool,
    entries: Vec<Entry>,
    gap: Option<Gap>,
}

impl Shard {
    fn new(next: Position, until: u64) -> Self {
        Self { next, until, is_there: false, entries: Vec::new(), gap: None }
    }

    /// Notes that what stood before this offset, and not before `from`, is gone.
    fn lose(&mut self, from: u64, to: u64) {
        let (from, to) = (Position { offset: from, ..self.next }, Position { offset: to, ..self.next });
        let lost = to.offset.saturating_sub(from.offset);
        match &mut self.gap {
            Some(gap) => (gap.to, gap.lost) = (to, gap.lost + lost),
            None => self.gap = Some(Gap { from, to, deleted: vec![], unknown: 0, lost }),
        }
        self.next = to;
    }

    fn take(&mut self) -> Option<Chunk> {
        let (entries, gap) = (std::mem::take(&mut self.entries), self.gap.take());
        let is_something = !entries.is_empty() || gap.is_some() || self.next.offset >= self.until;
        is_something.then_some(Chunk { entries, next: self.next, gap })
    }
}

/// The thread's.
struct Reading {
    client: BaseConsumer<Quiet>,
    topic: String,
    /// The shards that are not read to their end.
    left: BTreeMap<u32, Shard>,
    sender: mpsc::Sender<Result<Chunk, JournalError>>,
    /// Of payloads that were read and not handed on.
    bytes: usize,
}

impl Reading {
    fn run(mut self) {
        if let Err(error) = self.read() {
            let _ = self.sender.blocking_send(Err(failure(&error)));
        }
    }

    fn read(&mut self) -> Result<(), KafkaError> {
        self.begin()?;
        while !self.left.is_empty() && !self.sender.is_closed() {
            // What is there is gathered; a chunk goes as soon as there is nothing more to add just now.
            let wait = if self.bytes > 0 { Duration::ZERO } else { POLL };
            let polled = self.client.poll(wait).map(|polled| polled.map(|message| self.took(&message)));
            match polled {
                Some(Ok(took)) => self.note(took)?,
                Some(Err(KafkaError::PartitionEOF(partition))) => self.at_end(partition as u32)?,
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => tracing::debug!(%error, "reading a span from Kafka goes on"),
                None => self.hand_over(|_| true)?,
            }
        }
        Ok(())
    }

    /// Assigns the shards, each from what is still there on; a span that lies behind it all is over at once.
    fn begin(&mut self) -> Result<(), KafkaError> {
        for (shard, wanted) in &mut self.left {
            let until = Instant::now() + ANSWER;
            let (oldest, end) = loop {
                match self.client.fetch_watermarks(&self.topic, *shard as i32, POLL * 10) {
                    Ok(marks) => break marks,
                    Err(_) if Instant::now() < until && !self.sender.is_closed() => {}
                    Err(error) => return Err(error),
                }
            };
            let oldest = u64::try_from(oldest).unwrap_or_default();
            wanted.is_there = u64::try_from(end).is_ok_and(|end| end >= wanted.until);
            if oldest > wanted.next.offset {
                wanted.lose(wanted.next.offset, oldest.min(wanted.until));
            }
        }
        self.hand_over(|shard| shard.gap.is_some())?;
        self.assign()
    }

    /// What one message is to its shard.
    fn took(&self, message: &BorrowedMessage<'_>) -> Took {
        let position = message::position(message);
        let is_inside = self.left.get(&position.shard).is_some_and(|shard| position.offset < shard.until);
        if !is_inside {
            return Took::Behind(position);
        }
        match message::entry(message) {
            Ok(entry) => Took::Entry(entry),
            Err(error) => {
                tracing::warn!(shard = position.shard, offset = position.offset, %error, "a message is passed over");
                Took::Lost(position)
            }
        }
    }

    fn note(&mut self, took: Took) -> Result<(), KafkaError> {
        let (Took::Entry(Entry { position, .. }) | Took::Behind(position) | Took::Lost(position)) = took;
        let Some(shard) = self.left.get_mut(&position.shard) else { return Ok(()) };
        match took {
            Took::Entry(entry) => {
                self.bytes += entry.record.payload.len();
                shard.entries.push(entry);
                shard.next = position.behind();
            }
            Took::Lost(_) => shard.lose(position.offset, position.offset + 1),
            Took::Behind(_) => shard.next.offset = shard.until,
        }
        let is_whole = self.bytes >= CHUNK;
        self.hand_over(|shard| is_whole || shard.next.offset >= shard.until)
    }

    /// A shard's end was reached. Where the span's end was there before, all of it has been read, whatever is missing;
    /// where it is there by now, that is known the next time.
    fn at_end(&mut self, shard: u32) -> Result<(), KafkaError> {
        let Some(wanted) = self.left.get_mut(&shard) else { return Ok(()) };
        if wanted.is_there {
            wanted.next.offset = wanted.until;
        } else if let Ok((_, end)) = self.client.fetch_watermarks(&self.topic, shard as i32, ANSWER) {
            wanted.is_there = u64::try_from(end).is_ok_and(|end| end >= wanted.until);
        }
        let is_to_look_again = wanted.is_there && wanted.next.offset < wanted.until;
        self.hand_over(|_| true)?;
        if is_to_look_again {
            self.assign()?;
        }
        Ok(())
    }

    fn assign(&self) -> Result<(), KafkaError> {
        self.client.assign(&list(&self.topic, self.left.values().map(|shard| shard.next))?)
    }

    /// Hands over what was gathered of some shards, and ends with those that are read to their end.
    fn hand_over(&mut self, which: impl Fn(&Shard) -> bool) -> Result<(), KafkaError> {
        let mut over = TopicPartitionList::new();
        for (number, shard) in self.left.iter_mut().filter(|(_, shard)| which(shard)) {
            if let Some(chunk) = shard.take() {
                self.bytes -= chunk.entries.iter().map(|entry| entry.record.payload.len()).sum::<usize>();
                // A reader that is gone is noticed by whoever reads on.
                let _ = self.sender.blocking_send(Ok(chunk));
            }
            if shard.next.offset >= shard.until {
                over.add_partition(&self.topic, *number as i32);
            }
        }
        self.left.retain(|_, shard| shard.next.offset < shard.until);
        if over.count() > 0 && self.client.assignment()?.count() > 0 {
            self.client.pause(&over)?;
        }
        Ok(())
    }
}

/// What a message is to its shard.
enum Took {
    Entry(Entry),
    /// It stands behind the span.
    Behind(Position),
    /// It is no event.
    Lost(Position),
}

fn failure(error: &dyn std::fmt::Display) -> JournalError {
    JournalError::Kafka { what: "a span cannot be read".into(), error: error.to_string() }
}
