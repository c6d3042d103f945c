//! Finds events in the journal for the admin listener: lists them, shows one, traces messages and tails what comes.
//! Only reads, and holds nothing: neither retention nor a sink waits for anybody who looks.

use std::sync::Arc;
use std::time::Duration;

use sink_api::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::books::Books;
use super::config_state::ConfigState;
use super::found_fates;
use super::found_ids::{self, gone};
use super::found_reading::{Backwards, deadline, is_over, read, written};
use super::found_rules::{Rules, Where};
use super::found_shown::{Show, line, routes, whole};
use super::refusals::{optional_time, type_pattern, unable};
use crate::admin::found::{CloudLine, EventAsk, EventView, EventsAsk, TracedEvent};
use crate::admin::{List, Refusal};
use crate::event;
use crate::journal::{Entry, Find, Marks, Position, Record, Within};
use crate::ledger::Storage;
use crate::mask;
use crate::outbox::Outbox;

/// Most events of one answer, and how many there are where nobody says.
const MOST_EVENTS: (usize, usize) = (200, 50);
/// Most bytes of their bodies.
const MOST_BYTES: usize = 4 << 20;
/// So many events are asked about at once.
pub(super) const SLICE: usize = 64;
/// How long one answer may look for events; then it says where to go on.
const LOOK: Duration = Duration::from_secs(5);
/// Most workers of jq that look at events for askers at the same time: each may take 256 MiB.
pub(super) const ASKERS: usize = 8;

/// The way to what was accepted and what became of it.
#[derive(Clone)]
pub(super) struct Found {
    /// The journal and the ledger.
    pub storage: Storage,
    /// The rules in force.
    pub books: Arc<Books>,
    /// The config in force, by whose clock times are read.
    pub config_state: Arc<ConfigState>,
    /// What is remembered of messages that were sent.
    pub outbox: Outbox,
    /// Places for workers of jq: [`ASKERS`].
    pub askers: Arc<Semaphore>,
}

impl Found {
    /// The events that match, newest first.
    ///
    /// # Errors
    /// What is asked makes no sense, or the journal cannot be read.
    pub async fn events(&self, ask: EventsAsk) -> Result<List<CloudLine>, Refusal> {
        let limit = ask.limit.unwrap_or(MOST_EVENTS.1).clamp(1, MOST_EVENTS.0);
        let mut filter = Filter::of(&ask)?;
        let books = self.books.now();
        let mut rules = Rules::of(&books);
        let _places = self.places(filter.askers() + rules.askers())?;
        let show = Show { clear: ask.clear, data: ask.data.unwrap_or(true) };
        let journal = &*self.storage.journal;
        let oldest = match self.moment("since", ask.since.as_deref())? {
            Some(since) => Some(journal.seek(since).await.map_err(unable)?),
            None => None,
        };
        let mut until = match self.moment("until", ask.until.as_deref())? {
            Some(until) => Some(journal.seek(until).await.map_err(unable)?),
            None => None,
        };
        if let Some(after) = ask.after.as_deref() {
            let after = read(after)?;
            until = Some(until.map_or_else(|| after.clone(), |until| until.earlier(&after)));
        }
        if let Some(subject) = ask.subject.as_deref() {
            return self.of_subject(subject, [oldest, until], limit, (filter, rules), show).await;
        }
        let mut back = Backwards::new(journal, oldest, until, limit).await?;
        let (deadline, mut items, mut bytes) = (deadline(LOOK), Vec::new(), 0);
        while !back.is_done() {
            let takes = |record: &Record| filter.takes(record, &rules);
            let mut window = back.window(deadline, takes).await?;
            // A few at a time, so that jq is not asked about more than is shown.
            while !window.is_empty() {
                let rest = window.split_off(window.len().min(SLICE));
                let slice = std::mem::replace(&mut window, rest);
                let last = slice.last().map(|entry| entry.position);
                for (entry, event, sinks) in filter.matched(slice, &mut rules).await? {
                    if items.len() == limit || (bytes > MOST_BYTES && show.data) {
                        back.set_until(entry.position.behind());
                        return Ok(List::new(items, back.cursor()));
                    }
                    bytes += event.body.len();
                    items.push(line(&event, show, sinks));
                }
                // jq may be slow. What it was not asked about yet is for the next answer.
                if !window.is_empty() && is_over(deadline) {
                    last.into_iter().for_each(|last| back.set_until(last));
                    return Ok(List::new(items, back.cursor()));
                }
            }
            if is_over(deadline) {
                break;
            }
        }
        Ok(List::new(items, back.cursor()))
    }

    /// The events of one subject, by the journal's index.
    async fn of_subject(
        &self,
        subject: &str,
        [oldest, until]: [Option<Marks>; 2],
        limit: usize,
        (mut filter, mut rules): (Filter, Rules),
        show: Show,
    ) -> Result<List<CloudLine>, Refusal> {
        let within = Within { before: until, ..Within::newest(MOST_OF_SUBJECT) };
        let found = self.storage.journal.find(Find::Subject(subject.into()), within).await.map_err(unable)?;
        let is_old = |entry: &Entry| oldest.as_ref().is_some_and(|oldest| oldest.is_past(entry.position));
        // Where the lookup was cut short the next page goes on before the oldest that it gave.
        let first = found.entries.first().filter(|first| found.is_cut && !is_old(first));
        let rest = first.map(|first| cursor(first.position));
        let is_meant = |entry: &Entry| !is_old(entry) && filter.takes(&entry.record, &rules);
        let mut entries: Vec<Entry> = found.entries.into_iter().rev().filter(is_meant).collect();
        let (deadline, mut items, mut bytes) = (deadline(LOOK), Vec::new(), 0);
        while !entries.is_empty() {
            let left = entries.split_off(entries.len().min(SLICE));
            let slice = std::mem::replace(&mut entries, left);
            let last = slice.last().map(|entry| entry.position);
            for (entry, event, sinks) in filter.matched(slice, &mut rules).await? {
                if items.len() == limit || (bytes > MOST_BYTES && show.data) {
                    return Ok(List::new(items, Some(cursor(entry.position.behind()))));
                }
                bytes += event.body.len();
                items.push(line(&event, show, sinks));
            }
            if !entries.is_empty() && is_over(deadline) {
                return Ok(List::new(items, last.map(cursor)));
            }
        }
        Ok(List::new(items, rest))
    }

    /// One event, its routes and what became of its deliveries.
    ///
    /// # Errors
    /// There is no such event, or the journal or the ledger cannot be read.
    pub async fn event(&self, ask: EventAsk) -> Result<EventView, Refusal> {
        let entry = found_ids::meant(&*self.storage.journal, &ask.id).await?.ok_or_else(|| gone(&ask.id))?;
        let event = decoded(&entry)?;
        let books = self.books.now();
        let mut rules = Rules::of(&books);
        let _places = self.places(rules.askers())?;
        let explanation = rules.explain(&event, ask.clear).await?;
        let deliveries = found_fates::of(&self.storage.ledger, &books, &entry, &explanation, ask.clear).await?;
        Ok(EventView { deliveries, at: Some(entry.position), ..whole(&event, ask.clear, &explanation) })
    }

    /// An event's way: its routes and what became of its deliveries.
    ///
    /// # Errors
    /// The ledger cannot be read, or jq cannot be asked.
    pub async fn way(&self, entry: &Entry, rules: &mut Rules, clear: bool) -> Result<TracedEvent, Refusal> {
        let event = decoded(entry)?;
        let explanation = rules.explain(&event, clear).await?;
        let books = self.books.now();
        let deliveries = found_fates::of(&self.storage.ledger, &books, entry, &explanation, clear).await?;
        Ok(TracedEvent {
            id: event.id.to_string(),
            kind: event.kind.to_string(),
            source: event.source.to_string(),
            subject: if clear { event.subject.to_string() } else { mask::text(&event.subject) },
            time: event.time.to_string(),
            routes: routes(&explanation),
            deliveries,
            at: Some(entry.position),
        })
    }

    /// Places for so many workers of jq, free again when what comes back is dropped.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn places(&self, askers: u32) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = |_| Refusal::Unable(format!("jq looks at events for {ASKERS} askers already; try again"));
        Arc::clone(&self.askers).try_acquire_many_owned(askers).map_err(full)
    }

    /// A time that somebody asks by, microseconds since 1970.
    ///
    /// # Errors
    /// It is none.
    pub fn moment(&self, key: &str, text: Option<&str>) -> Result<Option<i64>, Refusal> {
        optional_time(key, text, &self.config_state.in_force().timezone)
    }
}

/// Most events of one subject that one answer looks at.
const MOST_OF_SUBJECT: usize = 1_000;

/// Where an answer goes on: everything at or after this place is done.
fn cursor(at: Position) -> String {
    written(&at.into())
}

/// The event of a record.
///
/// # Errors
/// A later build wrote it.
pub(super) fn decoded(entry: &Entry) -> Result<Arc<Event>, Refusal> {
    event::decode(&entry.record).map(Arc::new).map_err(unable)
}

/// Which events somebody wants to see.
pub(super) struct Filter {
    kind: Option<globset::GlobMatcher>,
    source: Option<String>,
    sink: Option<String>,
    condition: Option<Where>,
}

impl Filter {
    fn of(ask: &EventsAsk) -> Result<Self, Refusal> {
        let EventsAsk { kind, source, sink, condition, .. } = ask;
        Self::new([kind.as_deref(), source.as_deref(), sink.as_deref(), condition.as_deref()])
    }

    /// By type, source, sink and condition.
    ///
    /// # Errors
    /// The type is no pattern, or the condition no program.
    pub fn new([kind, source, sink, condition]: [Option<&str>; 4]) -> Result<Self, Refusal> {
        Ok(Self {
            kind: type_pattern(kind)?,
            source: source.map(str::to_owned),
            sink: sink.map(str::to_owned),
            condition: condition.map(Where::compile).transpose()?,
        })
    }

    /// How many workers of jq it takes.
    pub fn askers(&self) -> u32 {
        self.condition.as_ref().map_or(0, Where::askers)
    }

    /// Whether an event may match, by what can be seen without decoding it.
    pub fn takes(&self, record: &Record, rules: &Rules) -> bool {
        self.is_of(&record.source, &record.kind, rules)
    }

    /// The same by source and type.
    pub fn is_of(&self, source: &str, kind: &str, rules: &Rules) -> bool {
        self.kind.as_ref().is_none_or(|glob| glob.is_match(kind))
            && self.source.as_ref().is_none_or(|wanted| wanted == source)
            && self.sink.as_ref().is_none_or(|sink| rules.wants(Some(sink), source, kind))
    }

    /// Those that match, with the sinks that they go to.
    ///
    /// # Errors
    /// jq cannot be asked.
    pub async fn matched(
        &mut self,
        entries: Vec<Entry>,
        rules: &mut Rules,
    ) -> Result<Vec<(Entry, Arc<Event>, Vec<String>)>, Refusal> {
        let decode = |entry: Entry| decoded(&entry).ok().map(|event| (entry, event));
        let mut both: Vec<(Entry, Arc<Event>)> = entries.into_iter().filter_map(decode).collect();
        if let Some(condition) = &mut self.condition {
            let events: Vec<Arc<Event>> = both.iter().map(|(_, event)| Arc::clone(event)).collect();
            let mut holds = condition.holds(&events).await?.into_iter();
            both.retain(|_| holds.next().unwrap_or_default());
        }
        let events: Vec<Arc<Event>> = both.iter().map(|(_, event)| Arc::clone(event)).collect();
        let sinks = rules.sinks(&events).await?;
        let is_wanted = |sinks: &Vec<String>| self.sink.as_ref().is_none_or(|wanted| sinks.contains(wanted));
        let all = both.into_iter().zip(sinks).filter(|(_, sinks)| is_wanted(sinks));
        Ok(all.map(|((entry, event), sinks)| (entry, event, sinks)).collect())
    }
}
