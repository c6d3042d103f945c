//! Traces a message, an event or a phone number: what the provider said of the message, and the way of each event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem::Finder;
use sink_api::{Event, Timestamp};

use super::found::{Found, decoded};
use super::found_ids;
use super::found_reading::{deadline, is_over, read, span, written};
use super::found_rules::Rules;
use super::found_sent::{self, Ours};
use super::found_shown::message;
use super::refusals::unable;
use crate::admin::Refusal;
use crate::admin::found::{MessageView, TraceAsk, TraceView, TracedEvent};
use crate::ids;
use crate::journal::{Entry, Find, LookedUp, Within};
use crate::mask;
use crate::message::{Said, digits, history, same_phone};

/// Most events of one message that are shown: the newest.
const MOST_EVENTS: usize = 500;
/// Most messages of a phone that one answer shows.
const MOST_MESSAGES: usize = 50;
/// How far back a phone is looked for where nobody says.
const PHONE_SPAN: Duration = Duration::from_hours(7 * 24);
/// How long one answer looks for a phone; then it says where to go on.
const LOOK_PHONE: Duration = Duration::from_secs(2);
/// How long one answer looks for the ways of events.
const LOOK_WAYS: Duration = Duration::from_secs(5);
/// How long is looked for what quotes a message: its answers are of other subjects.
const LOOK_REPLIES: Duration = Duration::from_millis(250);
/// Fewest digits that are looked for as a phone.
const PHONE_DIGITS: usize = 8;
/// So many last digits stand together in whatever way a number is written.
const LAST_DIGITS: usize = 4;
/// Most replies that are shown.
const MOST_REPLIES: usize = 50;

/// The type of a message that came from the customer.
const RECEIVED: &str = "message_received";

impl Found {
    /// What became of a message, an event, or what has to do with a phone.
    ///
    /// # Errors
    /// There is no such thing, or the journal or the ledger cannot be read.
    pub async fn trace(&self, ask: TraceAsk) -> Result<TraceView, Refusal> {
        let id = ask.id.trim();
        if id.is_empty() {
            return Err(Refusal::Question(format!("say what to look for: {WHAT}")));
        }
        let phone = digits(id).filter(|digits| digits.len() >= PHONE_DIGITS);
        if let Some(digits) = phone.as_deref().filter(|_| id.starts_with('+') || ask.after.is_some()) {
            return self.of_phone(&ask, digits).await;
        }
        // A message's id may look like an event's, and the reverse: whichever is there.
        let of_event = match ids::event(id) {
            Some(event) => found_ids::by_id(&*self.storage.journal, event).await?,
            None => None,
        };
        if let Some(entry) = of_event {
            return self.of_event(entry, ask.clear).await;
        }
        let within = Within::newest(MOST_EVENTS);
        let found = self.storage.journal.find(Find::Subject(id.into()), within).await.map_err(unable)?;
        let (ours, unknown) = self.ours_or_note(id, ask.clear).await;
        if !found.entries.is_empty() || !ours.is_nothing() {
            return self.of_message(id, found, (ours, unknown), ask.clear).await;
        }
        if let Some(entry) = found_ids::by_short(&*self.storage.journal, id).await? {
            return self.of_event(entry, ask.clear).await;
        }
        match phone {
            Some(digits) => self.of_phone(&ask, &digits).await,
            None => Err(nothing(id)),
        }
    }

    async fn of_event(&self, entry: Entry, clear: bool) -> Result<TraceView, Refusal> {
        let event = decoded(&entry)?;
        let query = query("event", &event.id.to_string(), clear);
        let (mut message, mut notes) = (None, vec![]);
        let asked_for: Option<Arc<str>> = self.asked_for(&event).await?.map(Into::into);
        let about = asked_for.unwrap_or_else(|| Arc::clone(&event.subject));
        if !about.is_empty() {
            let find = Find::Subject(Arc::clone(&about));
            let others = self.storage.journal.find(find, Within::newest(MOST_EVENTS)).await.map_err(unable)?;
            (message, notes) = self.message(&about, &others.entries, clear).await?;
            notes.extend(cut(&others));
            let (ours, unknown) = self.ours_or_note(&about, clear).await;
            message = ours.with(&about, message, clear);
            notes.extend(unknown);
        }
        let (events, _) = self.ways(std::slice::from_ref(&entry), clear).await?;
        let about = Some(about.to_string()).filter(|about| !about.is_empty());
        Ok(TraceView { query, message, events, notes, masked: !clear, about, ..TraceView::default() })
    }

    async fn of_message(
        &self,
        id: &str,
        mut found: LookedUp,
        (mut ours, unknown): (Ours, Option<String>),
        clear: bool,
    ) -> Result<TraceView, Refusal> {
        let (message, mut notes) = self.message(id, &found.entries, clear).await?;
        notes.extend(unknown);
        notes.extend(cut(&found));
        add(&mut found.entries, std::mem::take(&mut ours.events));
        let message = ours.with(id, message, clear);
        let (events, left_out) = self.ways(&found.entries, clear).await?;
        notes.extend(left_out);
        let (query, about) = (query("message", id, clear), Some(id.to_owned()));
        Ok(TraceView { query, message, events, notes, masked: !clear, about, ..TraceView::default() })
    }

    /// What hookrelay itself has to do with a message. Where that cannot be read, the rest is shown with a note.
    async fn ours_or_note(&self, id: &str, clear: bool) -> (Ours, Option<String>) {
        match self.ours(id, clear).await {
            Ok(ours) => (ours, None),
            Err(why) => (Ours::default(), Some(format!("what hookrelay sent itself is not known: {why}"))),
        }
    }

    /// The ways of these events, and what is left out of them, because it would take too long.
    async fn ways(&self, entries: &[Entry], clear: bool) -> Result<(Vec<TracedEvent>, Option<String>), Refusal> {
        let mut rules = Rules::of(&self.books.now());
        let _places = self.places(rules.askers())?;
        let (deadline, mut ways) = (deadline(LOOK_WAYS), Vec::with_capacity(entries.len()));
        // The newest first.
        for entry in entries.iter().rev() {
            if !ways.is_empty() && is_over(deadline) {
                break;
            }
            ways.push(self.way(entry, &mut rules, clear).await?);
        }
        ways.reverse();
        let rest = entries.len() - ways.len();
        let note = (rest > 0).then(|| format!("{rest} older events are left out: it took too long"));
        Ok((ways, note))
    }

    /// The message's history, and what was not looked at for it. None where its events are about no message.
    async fn message(
        &self,
        id: &str,
        entries: &[Entry],
        clear: bool,
    ) -> Result<(Option<MessageView>, Vec<String>), Refusal> {
        let mut events: Vec<Arc<Event>> = entries.iter().filter_map(|entry| decoded(entry).ok()).collect();
        let first = entries.first();
        let is_sent = events.iter().any(|event| Said::read(&event.body).is_some_and(|said| said.message_id.is_some()))
            && events.iter().all(|event| *event.kind != *RECEIVED);
        let mut notes = vec![];
        if let Some(first) = first.filter(|_| is_sent) {
            let (replies, is_all) = self.replies(id, first).await?;
            events.extend(replies);
            if !is_all {
                notes.push("answers to it were looked for in a part of what came after it".to_owned());
            }
        }
        let told = history(id, events.iter().map(|event| &**event));
        let told = told.filter(|told| !told.ladder.is_empty() || !told.clicks.is_empty());
        Ok((told.map(|told| message(told, clear)), notes))
    }

    /// What came after a message and quotes it, as far as can be read in a short time, and whether that is all.
    async fn replies(&self, id: &str, first: &Entry) -> Result<(Vec<Arc<Event>>, bool), Refusal> {
        let journal = &*self.storage.journal;
        let (finder, mut found) = (Finder::new(id.as_bytes()), Vec::new());
        let until = journal.ends().await.map_err(unable)?;
        let reached = span(journal, first.position.into(), &until, Some(deadline(LOOK_REPLIES)), |entry| {
            let is_one = *entry.record.kind == *RECEIVED && finder.find(&entry.record.payload).is_some();
            if is_one && found.len() < MOST_REPLIES {
                found.extend(decoded(&entry));
            }
        });
        let reached = reached.await?;
        Ok((found, reached.is_end))
    }

    /// What has to do with a phone, in the part of the span that is read in a short time.
    async fn of_phone(&self, ask: &TraceAsk, digits: &str) -> Result<TraceView, Refusal> {
        let journal = &*self.storage.journal;
        let now = Timestamp::now().as_microsecond();
        let week = now.saturating_sub(i64::try_from(PHONE_SPAN.as_micros()).unwrap_or(i64::MAX));
        let since = self.moment("since", ask.since.as_deref())?.unwrap_or(week);
        let from = match ask.after.as_deref() {
            Some(after) => read(after)?,
            None => journal.seek(since).await.map_err(unable)?,
        };
        let from = from.later(&journal.oldest().await.map_err(unable)?);
        let until = journal.ends().await.map_err(unable)?;
        let last = digits.get(digits.len().saturating_sub(LAST_DIGITS)..).unwrap_or(digits);
        let (finder, deadline) = (Finder::new(last.as_bytes()), deadline(LOOK_PHONE));
        let (mut found, mut newest, mut left_out) = (Vec::<Entry>::new(), since, 0_usize);
        let reached = span(journal, from, &until, Some(deadline), |entry| {
            newest = newest.max(entry.record.time);
            if finder.find(&entry.record.payload).is_none()
                || !(is_of_phone(&entry, digits) || found_sent::is_to_phone(&entry, digits))
            {
                return;
            }
            if found.len() == MOST_EVENTS {
                found.remove(0);
                left_out += 1;
            }
            found.push(entry);
        });
        let reached = reached.await?;
        let mut view = self.phone_view(ask, digits, &found).await?;
        if left_out > 0 {
            view.notes.push(format!("{left_out} older events are left out: narrow it with `since`"));
        }
        // By time, because positions say nothing of how many events stand between them.
        let done = (newest - since) as f64 / (now - since).max(1) as f64;
        view.done = Some(if reached.is_end { 1.0 } else { done.clamp(0.0, 1.0) });
        view.next = (!reached.is_end).then(|| written(&reached.at));
        Ok(view)
    }

    async fn phone_view(&self, ask: &TraceAsk, digits: &str, found: &[Entry]) -> Result<TraceView, Refusal> {
        let events: Vec<Arc<Event>> = found.iter().filter_map(|entry| decoded(entry).ok()).collect();
        // The newest messages, oldest first.
        let (mut ids, mut seen) = (Vec::<Arc<str>>::new(), BTreeSet::new());
        for event in events.iter().rev() {
            if !event.subject.is_empty() && seen.insert(Arc::clone(&event.subject)) {
                ids.push(Arc::clone(&event.subject));
            }
        }
        let mut notes = vec![];
        // What hookrelay sent, and nobody has told of yet, is the newest.
        for id in self.sent_and_untold(ask, digits, &events).await?.into_iter().rev() {
            if seen.insert(Arc::clone(&id)) {
                ids.insert(0, id);
            }
        }
        if ids.len() > MOST_MESSAGES {
            notes.push(format!("{} older messages are left out", ids.len() - MOST_MESSAGES));
            ids.truncate(MOST_MESSAGES);
        }
        let deadline = deadline(LOOK_PHONE);
        let mut messages: Vec<MessageView> = Vec::new();
        for id in ids.iter().rev() {
            // What a message's other events say without its phone, such as a click, belongs to it, too.
            let find = self.storage.journal.find(Find::Subject(Arc::clone(id)), Within::newest(MOST_EVENTS));
            let others = match tokio::time::timeout_at(deadline.into(), find).await {
                Ok(others) => others.map_err(unable)?.entries,
                Err(_) => vec![],
            };
            let others: Vec<Arc<Event>> = others.iter().filter_map(|entry| decoded(entry).ok()).collect();
            let told = history(id, others.iter().chain(&events).map(|event| &**event));
            let told = told.filter(|told| !told.ladder.is_empty()).map(|told| message(told, ask.clear));
            let (ours, unknown) = self.ours_or_note(id, ask.clear).await;
            messages.extend(ours.with(id, told, ask.clear));
            notes.extend(unknown.filter(|unknown| !notes.contains(unknown)));
        }
        let only = if messages.len() == 1 { messages.pop() } else { None };
        let (events, left_out) = self.ways(found, ask.clear).await?;
        notes.extend(left_out);
        Ok(TraceView {
            query: query("phone", &format!("+{digits}"), ask.clear),
            message: only,
            messages,
            events,
            masked: !ask.clear,
            notes,
            ..TraceView::default()
        })
    }
}

impl Found {
    /// The ids of messages that hookrelay sent to a phone, or that these events ask for, the newest first.
    async fn sent_and_untold(
        &self,
        ask: &TraceAsk,
        digits: &str,
        events: &[Arc<Event>],
    ) -> Result<Vec<Arc<str>>, Refusal> {
        let mut ids = Vec::new();
        // Once is enough, where one answer goes on where another ended.
        if ask.after.is_none() {
            let since = self.moment("since", ask.since.as_deref())?.unwrap_or_default();
            let sent = self.sent_to(digits, since, MOST_MESSAGES).await?;
            ids.extend(sent.into_iter().filter_map(|sent| sent.message).map(Arc::from));
        }
        for event in events.iter().rev() {
            ids.extend(self.asked_for(event).await?.map(Arc::from));
        }
        Ok(ids)
    }
}

/// What can be looked for.
const WHAT: &str = "the id of an event, a delivery or a message, the last 8 characters of an event's, or a phone \
                    number (`+91…`)";

fn nothing(id: &str) -> Refusal {
    let shown = mask::text(id);
    let retention = "retention may have deleted it; short ids are found of recent events only";
    Refusal::Missing(format!("nothing in the journal is `{shown}`: {retention}\n  help: give {WHAT}"))
}

fn query(what: &str, value: &str, clear: bool) -> BTreeMap<String, String> {
    let value = if clear { value.to_owned() } else { mask::text(value) };
    BTreeMap::from([(what.to_owned(), value)])
}

/// Adds events to others, each once, in the order in which they stand in the journal.
fn add(entries: &mut Vec<Entry>, more: Vec<Entry>) {
    for entry in more {
        if !entries.iter().any(|one| one.record.id == entry.record.id) {
            entries.push(entry);
        }
    }
    entries.sort_by_key(|entry| (entry.record.time, entry.position.offset));
}

/// That there may be more than was looked up.
fn cut(found: &LookedUp) -> Option<String> {
    let events = found.entries.len();
    found.is_cut.then(|| format!("it may have more than {events} events: only the newest are shown"))
}

/// Whether an event is about the customer who has that phone.
fn is_of_phone(entry: &Entry, digits: &str) -> bool {
    let event = decoded(entry).ok();
    let said = event.and_then(|event| Said::read(&event.body));
    said.and_then(|said| said.customer_phone).is_some_and(|phone| same_phone(&phone, digits))
}
