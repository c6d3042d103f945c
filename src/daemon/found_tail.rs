//! Shows events as they are accepted, from the journal's durable end on. Each tail is a task with a reader of its own:
//! nobody who looks costs nothing, and a slow one neither memory nor a sink's time. Live events that a slow reader does
//! not take in time are left out, and counted; older ones that it asked for wait for it in the journal.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{info, warn};

use super::found::{Filter, Found, SLICE};
use super::found_ids;
use super::found_reading::{READ_BYTES, never};
use super::found_rules::Rules;
use super::found_shown::{Show, line};
use super::refusals::{known_sink, unable};
use crate::admin::found::{TailAsk, Tailed};
use crate::admin::{BoxStream, Refusal};
use crate::journal::{Chunk, Marks, News, Of, Reader};
use crate::route::INTERNAL_SOURCE;

/// Events that wait for whoever reads a tail.
const WAITING: usize = 256;
/// How long a live event waits for room among them before events are left out.
const PATIENCE: Duration = Duration::from_secs(2);

impl Found {
    /// The events that match as they come, older ones first where they are asked for. Ends when the stream is dropped.
    ///
    /// # Errors
    /// What is asked makes no sense, or the journal cannot be read.
    pub async fn tail(&self, ask: TailAsk) -> Result<BoxStream<Tailed>, Refusal> {
        let TailAsk { kind, source, sink, condition, .. } = &ask;
        self.known(source.as_deref(), sink.as_deref())?;
        let filter = Filter::new([kind.as_deref(), source.as_deref(), sink.as_deref(), condition.as_deref()])?;
        let journal = &self.storage.journal;
        let ends = journal.ends().await.map_err(unable)?;
        let mut from = match self.moment("since", ask.since.as_deref())? {
            Some(since) => journal.seek(since).await.map_err(unable)?,
            None => ends.clone(),
        };
        if let Some(after) = &ask.after {
            // Of an event that is gone nothing is known, and so it is where it would be without.
            if let Some(entry) = found_ids::meant(&**journal, after).await? {
                from = entry.position.behind().into();
            }
        }
        let reader = journal.reader(Of::Span { from: from.clone(), until: never(&ends) }).await.map_err(unable)?;
        let (out, lines) = mpsc::channel(WAITING);
        let rules = Rules::of(&self.books.now());
        let places = Some(self.places(filter.askers() + rules.askers())?);
        let show = Show { clear: ask.clear, data: ask.data.unwrap_or(true) };
        let tail = Tail { found: self.clone(), filter, rules, places, show, out, at: from, asked_until: ends };
        tokio::spawn(tail.run(reader));
        Ok(Box::pin(Lines(lines)))
    }
}

impl Found {
    /// Sees that the config has that source and that sink: of others nothing would ever come.
    fn known(&self, source: Option<&str>, sink: Option<&str>) -> Result<(), Refusal> {
        let config = self.config_state.in_force();
        if let Some(sink) = sink {
            known_sink(sink, config.sinks.iter().map(|sink| &sink.name))?;
        }
        let Some(source) = source else { return Ok(()) };
        let names: Vec<String> = config.sources.iter().map(|source| source.name.to_string()).collect();
        if source == INTERNAL_SOURCE || names.iter().any(|name| name == source) {
            return Ok(());
        }
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let why = format!("there is no source `{source}`, expected one of {names}, `{INTERNAL_SOURCE}`");
        Err(Refusal::Question(why))
    }
}

struct Lines(mpsc::Receiver<Tailed>);

impl Stream for Lines {
    type Item = Tailed;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Tailed>> {
        self.0.poll_recv(cx)
    }
}

/// What ends a tail.
enum End {
    /// Nobody reads it any more.
    Closed,
    /// Something cannot be read.
    Failed(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

struct Tail {
    found: Found,
    filter: Filter,
    rules: Rules,
    places: Option<OwnedSemaphorePermit>,
    show: Show,
    out: mpsc::Sender<Tailed>,
    /// Everything before was shown or left out.
    at: Marks,
    /// Up to here the reader has asked for what was there; it gets that in its own time.
    asked_until: Marks,
}

impl Tail {
    async fn run(mut self, mut reader: Box<dyn Reader>) {
        let out = self.out.clone();
        loop {
            // Whoever leaves ends it at once, whatever a program is at.
            let step = tokio::select! {
                step = self.step(&mut reader) => step,
                () = out.closed() => return,
            };
            let ended = match step {
                Ok(()) => continue,
                Err(ended) => ended,
            };
            if let End::Failed(why) = ended {
                warn!(%why, "a tail ends");
            }
            return;
        }
    }

    async fn step(&mut self, reader: &mut Box<dyn Reader>) -> Result<(), End> {
        let news = reader.next(READ_BYTES).await.map_err(unable)?;
        let News::Chunk(chunk) = news else { return Ok(()) };
        let books = self.found.books.now();
        if !self.rules.are_of(&books) {
            self.rules = Rules::of(&books);
            self.places = None;
            self.places = Some(self.found.places(self.filter.askers() + self.rules.askers())?);
        }
        if self.chunk(chunk).await? {
            return Ok(());
        }
        // Whoever reads is too slow: what is there by now is left out.
        let journal = &self.found.storage.journal;
        let ends = journal.ends().await.map_err(unable)?;
        let missed = journal.owed(&self.at, &ends).await.map_err(unable)?;
        let known = missed.known.iter().filter(|count| self.filter.is_of(&count.source, &count.kind, &self.rules));
        let events = known.map(|count| count.events).sum::<u64>() + missed.unknown;
        let until = never(&ends);
        *reader = journal.reader(Of::Span { from: ends.clone(), until }).await.map_err(unable)?;
        self.at = ends;
        info!(events, "a tail is read too slowly: events are left out of it");
        self.out.send(Tailed::LeftOut(events)).await.map_err(|_| End::Closed)
    }

    /// Shows what matches of a chunk; `false` where the reader is too slow for it. Then `at` is where it came to.
    async fn chunk(&mut self, chunk: Chunk) -> Result<bool, End> {
        let next = chunk.next;
        let takes = |record: &_| self.filter.takes(record, &self.rules);
        let mut entries: Vec<_> = chunk.entries.into_iter().filter(|entry| takes(&entry.record)).collect();
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(SLICE));
            let slice = std::mem::replace(&mut entries, rest);
            for (entry, event, sinks) in self.filter.matched(slice, &mut self.rules).await? {
                let line = Tailed::Event(Box::new(line(&event, self.show, sinks)));
                let sent = if self.asked_until.is_past(entry.position) {
                    self.out.send(line).await.map_err(|_| End::Closed)
                } else {
                    match self.out.send_timeout(line, PATIENCE).await {
                        Ok(()) => Ok(()),
                        Err(SendTimeoutError::Closed(_)) => Err(End::Closed),
                        Err(SendTimeoutError::Timeout(_)) => {
                            self.at.set(entry.position);
                            return Ok(false);
                        }
                    }
                };
                sent?;
                self.at.set(entry.position.behind());
            }
        }
        self.at.set(next);
        Ok(true)
    }
}
