//! Where a sink's events come from: a reader of the journal, and what the reader gave that nobody has taken yet. What
//! is given up while it is worked on, or cut short, is still here afterwards.

use tokio::sync::oneshot;

use crate::journal::{Chunk, JournalError, Marks, News, Reader};
use crate::ledger::SinkStorage;

/// News of shards: see [`News`].
pub enum Handover {
    /// They are read from now on, each from its mark.
    Given(Marks),
    /// Some go to another reader, once they are settled.
    Taken(oneshot::Sender<()>),
    /// They are another reader's.
    Lost(Vec<u32>),
}

/// The events of a sink, or of a span that is replayed for it.
pub struct Source {
    storage: SinkStorage,
    /// Where the span begins and ends; `None`: everything behind the sink's cursors.
    span: Option<[Marks; 2]>,
    reader: Option<Box<dyn Reader>>,
    chunk: Option<Chunk>,
}

impl Source {
    /// Everything behind the sink's durable cursors.
    pub fn new(storage: SinkStorage) -> Self {
        Self { storage, span: None, reader: None, chunk: None }
    }

    /// A span.
    pub fn of_span(storage: SinkStorage, from: Marks, until: Marks) -> Self {
        Self { span: Some([from, until]), ..Self::new(storage) }
    }

    /// Waits until there is something to read. Cancel-safe.
    ///
    /// # Errors
    /// The journal, or where the sink goes on, cannot be read.
    pub async fn ready(&mut self) -> Result<(), JournalError> {
        if self.chunk.is_none() {
            self.reader().await?.ready().await;
        }
        Ok(())
    }

    /// Sees that there is a chunk, unless there is news of shards first. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub async fn read(&mut self, max_bytes: u64) -> Result<Option<Handover>, JournalError> {
        if self.chunk.is_none() {
            let news = self.reader().await?.next(max_bytes).await?;
            return Ok(self.take_in(news));
        }
        Ok(None)
    }

    /// Waits for news of shards alone, for as long as no more events may be read. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub async fn handover(&mut self) -> Result<Option<Handover>, JournalError> {
        let news = self.reader().await?.next(0).await?;
        Ok(self.take_in(news))
    }

    fn take_in(&mut self, news: News) -> Option<Handover> {
        match news {
            News::Chunk(chunk) => self.chunk = Some(chunk),
            News::Given(marks) => return Some(Handover::Given(marks)),
            News::Taken(_, settled) => return Some(Handover::Taken(settled)),
            News::Lost(shards) => return Some(Handover::Lost(shards)),
        }
        None
    }

    async fn reader(&mut self) -> Result<&mut Box<dyn Reader>, JournalError> {
        let reader = match self.reader.take() {
            Some(reader) if !reader.is_over() => reader,
            _ => match self.span.clone() {
                None => self.storage.reader().await?,
                Some([from, until]) => self.storage.span(from, until).await?,
            },
        };
        Ok(self.reader.insert(reader))
    }

    /// The chunk that was read.
    pub fn chunk(&self) -> Option<&Chunk> {
        self.chunk.as_ref()
    }

    /// Takes the chunk, where there is one, up to so many of its entries; what is behind them comes next.
    pub fn take(&mut self, entries: usize) -> Option<Chunk> {
        let (taken, rest) = self.chunk.take()?.split(entries);
        self.chunk = rest;
        Some(taken)
    }
}
