//! Finds events in the journal for the admin listener: lists them, shows one, traces messages and tails what comes.
//! Only reads, and holds nothing: neither retention nor a sink waits for anybody who looks.

use std::sync::Arc;
use std::time::Duration;

use sink_api::{Event, Timestamp, Uuid};

use super::books::Books;
use super::config_state::ConfigState;
use super::found_fates::{self, event_id};
use super::found_reading::{Backwards, deadline, is_over, read, written};
use super::found_rules::{Rules, Where};
use super::found_shown::{Show, line, routes, whole};
use super::refusals::{type_pattern, unable};
use crate::admin::found::{CloudLine, EventAsk, EventView, EventsAsk, TracedEvent};
use crate::admin::{List, Refusal};
use crate::event;
use crate::journal::{Entry, Find, Marks, Position, Record, Within};
use crate::ledger::Storage;
use crate::mask;
use crate::times::{self, Zone};

/// Most events of one answer, and how many there are where nobody says.
const MOST_EVENTS: (usize, usize) = (200, 50);
/// Most bytes of their bodies.
const MOST_BYTES: usize = 4 << 20;
/// So many events are asked about at once.
pub(super) const SLICE: usize = 64;
/// How long one answer may look for events; then it says where to go on.
const LOOK: Duration = Duration::from_secs(5);
/// How long is looked for the end of an id.
const LOOK_SHORT: Duration = Duration::from_secs(2);
/// Characters of a short id: the last of an event's, which are random.
const SHORT: usize = 8;

/// The way to what was accepted and what became of it.
#[derive(Clone)]
pub(super) struct Found {
    /// The journal and the ledger.
    pub storage: Storage,
    /// The rules in force.
    pub books: Arc<Books>,
    /// The config in force, by whose clock times are read.
    pub config_state: Arc<ConfigState>,
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
                        return Ok(List { items, next: back.cursor() });
                    }
                    bytes += event.body.len();
                    items.push(line(&event, show, sinks));
                }
                // jq may be slow. What it was not asked about yet is for the next answer.
                if !window.is_empty() && is_over(deadline) {
                    last.into_iter().for_each(|last| back.set_until(last));
                    return Ok(List { items, next: back.cursor() });
                }
            }
            if is_over(deadline) {
                break;
            }
        }
        Ok(List { items, next: back.cursor() })
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
                    return Ok(List { items, next: Some(cursor(entry.position.behind())) });
                }
                bytes += event.body.len();
                items.push(line(&event, show, sinks));
            }
            if !entries.is_empty() && is_over(deadline) {
                return Ok(List { items, next: last.map(cursor) });
            }
        }
        Ok(List { items, next: rest })
    }

    /// One event, its routes and what became of its deliveries.
    ///
    /// # Errors
    /// There is no such event, or the journal or the ledger cannot be read.
    pub async fn event(&self, ask: EventAsk) -> Result<EventView, Refusal> {
        let entry = match event_id(&ask.id) {
            Some(id) => self.by_id(id).await?.ok_or_else(|| gone(&ask.id))?,
            None => self.by_short(&ask.id).await?.ok_or_else(|| gone(&ask.id))?,
        };
        let event = decoded(&entry)?;
        let books = self.books.now();
        let explanation = Rules::of(&books).explain(&event, ask.clear).await?;
        let deliveries = found_fates::of(&self.storage.ledger, &books, &entry, &explanation, ask.clear).await?;
        Ok(EventView { deliveries, ..whole(&event, ask.clear, &explanation) })
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
        })
    }

    /// A time that somebody asks by, microseconds since 1970.
    ///
    /// # Errors
    /// It is none.
    pub fn moment(&self, key: &str, text: Option<&str>) -> Result<Option<i64>, Refusal> {
        read_moment(key, text, &self.config_state.in_force().timezone)
    }

    /// The event of that id.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn by_id(&self, id: Uuid) -> Result<Option<Entry>, Refusal> {
        let find = Find::Event(*id.as_bytes());
        let found = self.storage.journal.find(find, Within::newest(1)).await.map_err(unable)?;
        Ok(found.entries.into_iter().next_back())
    }

    /// The event whose id ends in these 8 characters, among the newest: as far back as can be read in a short time.
    ///
    /// # Errors
    /// There are several; the text is no short id; the journal cannot be read.
    pub async fn by_short(&self, text: &str) -> Result<Option<Entry>, Refusal> {
        let Some(end) = short_id(text) else { return Err(no_id(text)) };
        let mut back = Backwards::new(&*self.storage.journal, None, None, 1_000).await?;
        let (deadline, mut found) = (deadline(LOOK_SHORT), Vec::<Entry>::new());
        while !back.is_done() && !is_over(deadline) {
            found.extend(back.window(deadline, |record| record.id.ends_with(&end)).await?);
        }
        match found.as_slice() {
            [one, other, ..] => {
                let [one, other] = [one, other].map(|entry| Uuid::from_bytes(entry.record.id));
                Err(Refusal::Question(format!("`{text}` is the end of several ids, among them {one} and {other}")))
            }
            _ => Ok(found.into_iter().next()),
        }
    }
}

/// Most events of one subject that one answer looks at.
const MOST_OF_SUBJECT: usize = 1_000;

/// Where an answer goes on: everything at or after this place is done.
fn cursor(at: Position) -> String {
    written(&at.into())
}

/// The last 4 bytes of the id that a text is the end of.
pub(super) fn short_id(text: &str) -> Option<[u8; 4]> {
    let is_one = text.len() == SHORT && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| u32::from_str_radix(text, 16).ok()).flatten().map(u32::to_be_bytes)
}

fn no_id(text: &str) -> Refusal {
    let what = "expected the id of an event or of a delivery, or the last 8 characters of an event's";
    Refusal::Question(format!("`{text}` is no id, {what}"))
}

fn gone(id: &str) -> Refusal {
    let why = "retention may have deleted it; of short ids only those of recent events are found";
    Refusal::Missing(format!("there is no event `{id}` in the journal: {why}"))
}

/// The event of a record.
///
/// # Errors
/// A later build wrote it.
pub(super) fn decoded(entry: &Entry) -> Result<Arc<Event>, Refusal> {
    event::decode(&entry.record).map(Arc::new).map_err(unable)
}

/// A time that somebody asks by, microseconds; what has no offset is by the zone's clock.
fn read_moment(key: &str, text: Option<&str>, zone: &Zone) -> Result<Option<i64>, Refusal> {
    let read = |text| times::read(text, zone, Timestamp::now());
    let time = text.map(read).transpose().map_err(|why| Refusal::Question(format!("`{key}`: {why}")))?;
    Ok(time.map(|time| time.as_microsecond()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_id_is_eight_hexadecimal_digits() {
        assert_eq!(short_id("7b8c9d0E"), Some([0x7b, 0x8c, 0x9d, 0x0e]));
        for none in ["", "7b8c9d0", "7b8c9d0e0", "7b8c9d0g", "+b8c9d0e"] {
            assert_eq!(short_id(none), None, "{none}");
        }
    }

    #[test]
    fn a_time_may_be_written_as_people_do() {
        let read = |text| read_moment("since", Some(text), &Zone::named("Asia/Kolkata").unwrap());
        assert_eq!(read("1970-01-01 05:30:01"), Ok(Some(1_000_000)));
        assert!(read("1h").unwrap().is_some());
        let Err(Refusal::Question(why)) = read("noon") else { panic!("it was taken") };
        assert!(why.starts_with("`since`:"), "{why}");
    }
}
