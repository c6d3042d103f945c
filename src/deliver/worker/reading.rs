//! Reads the journal and routes what was read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::Yielder;
use tokio::sync::{Mutex, oneshot};
use tracing::{error, warn};

use super::outcomes::Outcomes;
use super::under_way::UnderWay;
use crate::deliver::accounting::{self, Accounted, Origin};
use crate::deliver::asking::Questions;
use crate::deliver::book::Book;
use crate::deliver::budget::{self, Holder};
use crate::deliver::counted::owed;
use crate::deliver::source::{Handover, Source};
use crate::event;
use crate::journal::{Chunk, Entry, Gap, JournalError};
use crate::ledger::SinkStorage;
use crate::news;
use crate::route::jq::Said;
use crate::route::{Destination, RouteCounter, RuleSet};

/// Most bytes read from the journal at once.
const READ_BYTES: u64 = 1 << 20;
/// Room that is kept free for a read: an event is charged about so many times its bytes, where it is a small one.
const CHARGE: u64 = 3;
/// How far apart the reads of a sink are at least, and at most, that has caught up: fewer wake-ups, larger batches. In
/// between it is half of the sink's `linger`, as what was read waits for so long anyway. An event that comes alone is
/// read at once.
const READ_PAUSES: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(10)];
/// The pause after a failed read.
const READ_RETRY: Duration = Duration::from_secs(1);

/// News of shards.
pub(super) enum News {
    /// Some are read from now on.
    Given,
    /// Some are taken away.
    Leaving(Leaving),
}

/// Shards are taken away.
pub(super) enum Leaving {
    /// What was read of them is settled first, then this is told.
    Settled(oneshot::Sender<()>),
    /// What was read of these is not to be settled any more.
    Lost(Vec<u32>),
}

/// What came of reading on.
#[derive(Default)]
pub(super) struct Read {
    handover: Option<Handover>,
    events: Option<Events>,
}

/// Events that were read.
struct Events {
    chunk: Chunk,
    /// What jq says about each event of the chunk; nothing where no rule asks.
    said: Vec<Option<Said>>,
    /// The rules that asked.
    rules: Arc<RuleSet>,
    /// What the sink was owed of events that are gone; at most, where the types of some are not known.
    dropped: u64,
    /// Whether there was no room for more.
    is_cut: bool,
}

/// The first of these entries, at least one, for which there is so much room.
fn fitting(entries: &[Entry], room: u64) -> &[Entry] {
    let mut left = room;
    let fits = |entry: &Entry| {
        let charge = budget::charge(entry.record.payload.len() as u64, 1);
        left.checked_sub(charge).map(|rest| left = rest).is_some()
    };
    let end = entries.iter().map(fits).position(|fits| !fits).unwrap_or(entries.len());
    entries.get(..end.max(1)).unwrap_or(entries)
}

/// Reads for one sink.
pub(super) struct Reader {
    to: Destination,
    storage: SinkStorage,
    /// Locked by the read under way.
    source: Arc<Mutex<Source>>,
    /// The sink's part of the memory.
    memory: Arc<Holder>,
    book: Arc<Book>,
    rules: Arc<RuleSet>,
    questions: Questions,
    routes: RouteCounter,
    under_way: UnderWay<Result<Read, JournalError>>,
    /// Whether the read under way is for events, too, not for news of shards alone.
    for_events: bool,
    /// See [`READ_PAUSES`].
    pause: Duration,
    /// When the next read may begin, where the last one caught up.
    not_before: Option<Instant>,
    /// Texts that events share.
    texts: event::Texts,
}

impl Reader {
    /// Reads nothing yet, into this part of the memory. `linger`: how long the sink's batches wait for more.
    pub fn new(
        to: Destination,
        storage: SinkStorage,
        memory: Arc<Holder>,
        book: Arc<Book>,
        rules: Arc<RuleSet>,
        linger: Duration,
    ) -> Self {
        Self {
            questions: Questions::new(&to.name, &rules),
            routes: RouteCounter::new(&rules, &to.name),
            to,
            source: Arc::new(Mutex::new(Source::new(storage.clone()))),
            storage,
            memory,
            book,
            rules,
            under_way: UnderWay::default(),
            for_events: false,
            pause: (linger / 2).clamp(READ_PAUSES[0], READ_PAUSES[1]),
            not_before: None,
            texts: event::Texts::default(),
        }
    }

    /// From here on these rules hold, for events that are not routed yet.
    pub fn follow(&mut self, rules: Arc<RuleSet>) {
        self.questions = Questions::new(&self.to.name, &rules);
        self.routes = RouteCounter::new(&rules, &self.to.name);
        self.rules = rules;
        // What is being read would be routed by the old rules: jq is asked again.
        self.under_way.cancel();
    }

    /// The rules in force, and the questions that they put to jq.
    pub fn rules(&self) -> (Arc<RuleSet>, Questions) {
        (Arc::clone(&self.rules), self.questions.clone())
    }

    /// Reads on, unless that is under way: for events where there is room for them, and for news of shards.
    pub fn start(&mut self, has_room: bool) {
        let is_waiting = self.under_way.is_some() && (self.for_events || !has_room);
        if is_waiting {
            return;
        }
        self.for_events = has_room;
        if has_room {
            self.start_for_events();
        } else {
            self.start_for_news();
        }
    }

    fn start_for_news(&mut self) {
        let source = Arc::clone(&self.source);
        self.under_way.start(async move {
            let read = source.lock().await.handover().await;
            if read.is_err() {
                tokio::time::sleep(READ_RETRY).await;
            }
            Ok(Read { handover: read?, events: None })
        });
    }

    fn start_for_events(&mut self) {
        let not_before = self.not_before;
        let (rules, questions) = self.rules();
        let (source, storage) = (Arc::clone(&self.source), self.storage.clone());
        let (book, sink) = (Arc::clone(&self.book), self.to.name.clone());
        let memory = Arc::clone(&self.memory);
        self.under_way.start(async move {
            let mut source = source.lock().await;
            let read = async {
                // The pause comes first: whoever waits for the journal is woken by each commit.
                if let Some(at) = not_before {
                    tokio::time::sleep_until(at.into()).await;
                }
                source.ready().await?;
                let Some(room) = memory.reads(READ_BYTES * CHARGE) else { return Ok(Read::default()) };
                let handover = source.read((room / CHARGE).max(1)).await?;
                if handover.is_some() {
                    return Ok(Read { handover, events: None });
                }
                let (mut dropped, mut answered, mut said) = (0, 0, vec![]);
                if let Some(chunk) = source.chunk() {
                    if let Some(Gap { from, to, deleted, unknown, .. }) = &chunk.gap {
                        dropped = book.counted().of_hole(&sink, [*from, *to], deleted, &rules, &storage).await?;
                        dropped += unknown.saturating_mul(rules.most_owed(&sink).into());
                    }
                    let fitting = fitting(&chunk.entries, room);
                    (answered, said) = questions.ask(fitting).await;
                }
                // Nothing is waited for from here on: what is taken is handed over.
                let chunk = source.take(answered);
                let is_cut = room < READ_BYTES * CHARGE || source.chunk().is_some();
                let events = chunk.map(|chunk| Events { chunk, said, rules, dropped, is_cut });
                Ok(Read { handover: None, events })
            };
            let read: Result<Read, JournalError> = read.await;
            if read.is_err() {
                tokio::time::sleep(READ_RETRY).await;
            }
            read
        });
    }

    /// Whether the last read brought all that there was.
    pub fn has_caught_up(&self) -> bool {
        self.not_before.is_some()
    }

    /// Waits for the read under way, for ever where there is none. Cancel-safe.
    pub async fn read(&mut self) -> Result<Read, JournalError> {
        self.under_way.done().await
    }

    /// Routes what was read; says what news of shards there is.
    pub fn take_in(&mut self, read: Result<Read, JournalError>, outcomes: &mut Outcomes<'_>) -> Option<News> {
        let Read { handover, events } = read.unwrap_or_else(|error| {
            error!(sink = %self.to.name, %error, "the journal cannot be read; trying again");
            Read::default()
        });
        if let Some(events) = events {
            self.take_in_events(events, outcomes);
        }
        Some(match handover? {
            Handover::Given(cursors) => {
                outcomes.settler.given(&cursors);
                News::Given
            }
            Handover::Taken(settled) => News::Leaving(Leaving::Settled(settled)),
            Handover::Lost(shards) => News::Leaving(Leaving::Lost(shards)),
        })
    }

    fn take_in_events(&mut self, events: Events, outcomes: &mut Outcomes<'_>) {
        let Events { chunk, said, rules, dropped, is_cut } = events;
        if let Some(gap) = &chunk.gap {
            self.pass_gap(gap, dropped, outcomes);
        }
        let bytes: u64 = chunk.entries.iter().map(|e| e.record.payload.len() as u64).sum();
        self.not_before = (!is_cut && bytes < READ_BYTES / 2).then(|| Instant::now() + self.pause);
        // Asked after the read, so that it holds for all of the chunk: every event of it was on disk by then.
        let counted_by = self.book.counted();
        let all_by_these = counted_by.all_by(&rules);
        let mut yielder = Yielder::default();
        for (index, entry) in chunk.entries.iter().enumerate() {
            yielder.step();
            let record = &entry.record;
            let owed = rules.owed(&self.to.name, &record.source, &record.kind);
            let counted = match all_by_these {
                true => owed,
                false => counted_by.at(entry.position, &rules).owed(&self.to.name, &record.source, &record.kind),
            };
            if owed > 0 {
                let said = said.get(index).and_then(Option::as_ref);
                outcomes.admit(entry, counted, self.account(&rules, entry, owed, said));
            } else if counted > 0 {
                // The rules in force do not want the event: it is off the books when the cursor passes it.
                outcomes.admit(entry, counted, Accounted::default());
            }
        }
        outcomes.settler.read_to(chunk.next);
    }

    /// Routes one event to this sink, once: payload, target and id are fixed from here on.
    fn account(&mut self, rules: &RuleSet, entry: &Entry, owed: u32, said: Option<&Said>) -> Accounted {
        let Entry { position, record } = entry;
        let event = match event::decode_once(record, &mut self.texts) {
            Ok(event) => event,
            Err(error) => return Accounted::undecodable(entry, owed, &error),
        };
        let origin = Origin { position: *position, record, subject: &event.subject, key: &event.key };
        let routed = accounting::route(rules, said, &self.to, &event, &mut self.routes);
        self.routes.count();
        Accounted::of(routed, origin)
    }

    /// What the sink was owed of the daemon's own news in a gap: that these are gone is no news.
    fn owed_news(&self, gap: &Gap) -> u64 {
        let own: Vec<_> = gap.deleted.iter().filter(|stood| *stood.source == *news::SOURCE).cloned().collect();
        owed(&self.rules, &self.to.name, &own)
    }

    /// Books what is gone. Each route that names the sink counts, as its condition can be asked no more; of an event
    /// whose type is not known each route that there is, so that what is booked is a bound, the same one by which it
    /// was pending until now.
    fn pass_gap(&self, gap: &Gap, dropped: u64, outcomes: &mut Outcomes<'_>) {
        let sink = &self.to.name;
        let (from, to) = (gap.from.offset, gap.to.offset);
        if dropped > 0 {
            outcomes.settler.drop_owed(gap.to, dropped);
            outcomes.log.dropped(dropped.saturating_sub(self.owed_news(gap)));
            let at_most = (gap.unknown > 0).then_some(true);
            error!(%sink, dropped, at_most, from, to,
                "deliveries this sink was owed are dropped: the journal reached max_size, or the sink was out of the \
                config");
        }
        if gap.lost > 0 {
            error!(%sink, records = gap.lost, from, to,
                "damaged records of the journal, of unknown types: what this sink was owed of them is lost");
        }
        if gap.deleted.is_empty() && gap.unknown == 0 && gap.lost == 0 {
            warn!(%sink, from, to, "a part of the journal is gone, and nothing is known of what stood there");
        }
    }
}
