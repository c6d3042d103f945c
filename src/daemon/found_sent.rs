//! What hookrelay itself has to do with a message: the call that sent it, the events that asked for that, and what was,
//! or is to be, sent again of its chain.

use std::time::Duration;

use sink_api::{CallId, Event, Timestamp, Uuid};

use super::found::{Found, decoded};
use super::found_fates;
use super::found_ids;
use super::found_reading::{deadline, span};
use super::refusals::unable;
use super::resends;
use crate::admin::Refusal;
use crate::admin::found::{MessageView, SentView};
use crate::admin::sending::ResendView;
use crate::journal::Entry;
use crate::mask;
use crate::message::{digits, same_phone};
use crate::news::SOURCE;
use crate::outbox::{Command, Planned, SentMessage, State};

/// Most resends of a chain that are shown: the newest.
const MOST_RESENDS: usize = 100;
/// How long before its call the event may have come that a message was sent for, and how long is looked for it.
const BEFORE: Duration = Duration::from_mins(10);
const LOOK_EVENT: Duration = Duration::from_millis(250);

/// What hookrelay itself has to do with a message.
#[derive(Default)]
pub(super) struct Ours {
    /// How it was sent; none where others sent it.
    pub sent: Option<SentView>,
    /// What was, or is to be, sent again of its chain, in the order of the attempts.
    pub resends: Vec<ResendView>,
    /// The events that asked for any of these, and are in the journal still.
    pub events: Vec<Entry>,
    phone: Option<String>,
    template: Option<String>,
}

impl Ours {
    /// Whether hookrelay has nothing to do with it.
    pub fn is_nothing(&self) -> bool {
        self.sent.is_none() && self.resends.is_empty()
    }

    /// The message as its events show it, with this; a message of which no event has come is shown by this alone.
    pub fn with(self, id: &str, told: Option<MessageView>, clear: bool) -> Option<MessageView> {
        if told.is_none() && self.sent.is_none() {
            return None;
        }
        let id = if clear { id.to_owned() } else { mask::text(id) };
        let mut told = told.unwrap_or_else(|| MessageView { id, ..MessageView::default() });
        told.phone = told.phone.or(self.phone);
        told.template = told.template.or(self.template);
        Some(MessageView { sent: self.sent, resends: self.resends, ..told })
    }
}

impl Found {
    /// What hookrelay itself has to do with the message of that id.
    ///
    /// # Errors
    /// The outbox or the journal cannot be read.
    pub async fn ours(&self, message: &str, clear: bool) -> Result<Ours, Refusal> {
        let about = self.outbox.about(message).await.map_err(unable)?;
        let newest = about.chain.len().saturating_sub(MOST_RESENDS);
        let chain = about.chain.get(newest..).unwrap_or_default();
        let mut events = Vec::new();
        for planned in chain.iter().filter(|planned| planned.state != State::Waiting) {
            events.extend(found_ids::by_id(&*self.storage.journal, planned.id).await?);
        }
        let own = chain.iter().find(|planned| planned.message.as_deref() == Some(message));
        let sent = match &about.call {
            None => None,
            Some(call) => {
                let entry = match own {
                    Some(own) => events.iter().find(|entry: &&Entry| entry.record.id == *own.id.as_bytes()).cloned(),
                    None => self.asked(call).await?,
                };
                let sent = self.sent(call, entry.as_ref(), own);
                if own.is_none() {
                    events.extend(entry);
                }
                Some(sent)
            }
        };
        let mut resends = Vec::with_capacity(chain.len());
        for planned in chain {
            let entry = events.iter().find(|entry| entry.record.id == *planned.id.as_bytes());
            let view = resends::view(planned.clone(), clear);
            resends.push(match entry.filter(|_| planned.state == State::Handed) {
                Some(entry) => self.with_fate(view, entry, clear).await?,
                None => view,
            });
        }
        let phone = about.call.and_then(|call| call.phone);
        Ok(Ours {
            sent,
            phone: phone.map(|phone| if clear { phone } else { mask::hidden(&phone) }),
            template: own.and_then(|own| own.template.clone()),
            resends,
            events,
        })
    }

    /// What was handed to its sink, with what became of that delivery.
    async fn with_fate(&self, view: ResendView, entry: &Entry, clear: bool) -> Result<ResendView, Refusal> {
        let books = self.books.now();
        // The sink may have another name by now than when it was planned.
        let to = decoded(entry).ok().and_then(|event| command(&event)).map_or(view.to.clone(), |asked| asked.sink);
        let Some(book) = books.of(&to) else { return Ok(view) };
        let fate = found_fates::of_one(&self.storage.ledger, book, entry, &view.id).await?;
        let detail = fate.detail.map(|detail| if clear { detail } else { mask::text(&detail) });
        let why: Vec<String> = fate.code.into_iter().chain(detail).collect();
        let why = Some(why.join(": ")).filter(|why| !why.is_empty());
        Ok(ResendView { to, fate: Some(fate.fate), why, ..view })
    }

    /// The message that an event asked for, once it was sent; of one that asked for it to be sent again the one that
    /// failed, until then. None where the event asks for no message.
    ///
    /// # Errors
    /// The outbox cannot be read.
    pub async fn asked_for(&self, event: &Event) -> Result<Option<String>, Refusal> {
        let Some(command) = command(event) else { return Ok(None) };
        let call = CallId::of(&command.sink, &event.id.to_string());
        let sent = self.outbox.outcome(call).await.map_err(unable)?;
        Ok(sent.and_then(|sent| sent.message).or(command.failed))
    }

    /// The event that a first message was sent for: it came shortly before. None where it is gone, or too far back to
    /// be found in a short time.
    async fn asked(&self, call: &SentMessage) -> Result<Option<Entry>, Refusal> {
        let journal = &*self.storage.journal;
        let begun = call.begun.as_microsecond();
        let since = begun.saturating_sub(i64::try_from(BEFORE.as_micros()).unwrap_or(i64::MAX));
        let from = journal.seek(since).await.map_err(unable)?;
        let until = journal.seek(begun.saturating_add(1)).await.map_err(unable)?;
        // A delivery that no command asked for has the name of its route in its id.
        let books = self.books.now();
        let names: Vec<&str> = books.rules.route_names().collect();
        let mut found = None;
        let look = span(journal, from, &until, Some(deadline(LOOK_EVENT)), |entry| {
            let id = Uuid::from_bytes(entry.record.id).to_string();
            let is_it = |delivery: &str| CallId::of(&call.sink, delivery) == call.call;
            if is_it(&id) || names.iter().any(|name| is_it(&format!("{id}-{name}"))) {
                found = Some(entry);
            }
        });
        look.await?;
        Ok(found)
    }

    fn sent(&self, call: &SentMessage, entry: Option<&Entry>, own: Option<&Planned>) -> SentView {
        let config = self.config_state.in_force();
        let sink = config.sinks.iter().find(|sink| sink.name == call.sink);
        let event = entry.and_then(|entry| decoded(entry).ok());
        let target = sink.zip(event.as_ref()).and_then(|(sink, event)| sink.config.target(event).ok());
        SentView {
            sink: call.sink.clone(),
            sender: target.and_then(|target| target.get("sender").map(str::to_owned)),
            event: event.map(|event| event.id.to_string()),
            time: call.begun.to_string(),
            attempt: call.attempt,
            rule: own.map(|own| own.rule.clone()),
            of: Some(call.of.clone()).filter(|of| !of.is_empty()),
        }
    }

    /// Messages that were sent to that phone, the newest first; of these digits the country's may not be missing.
    ///
    /// # Errors
    /// The outbox cannot be read.
    pub async fn sent_to(&self, digits: &str, since: i64, most: usize) -> Result<Vec<SentMessage>, Refusal> {
        let mut sent = self.outbox.of_phone(&format!("+{digits}"), most).await.map_err(unable)?;
        let since = Timestamp::from_microsecond(since).unwrap_or_default();
        sent.retain(|sent| sent.begun >= since);
        Ok(sent)
    }
}

/// What an event asks for that has a message sent.
pub(super) fn command(event: &Event) -> Option<Command> {
    if *event.source == *SOURCE { Command::read(&event.body) } else { None }
}

/// Whether an event asks for a message to somebody who has that phone.
pub(super) fn is_to_phone(entry: &Entry, phone: &str) -> bool {
    let event = decoded(entry).ok().filter(|event| *event.source == *SOURCE);
    let request = event.and_then(|event| Command::read(&event.body)?.request);
    request.and_then(|request| phone_of(request.get())).is_some_and(|own| same_phone(&own, phone))
}

/// The phone that the body of a message names, `+` and digits.
fn phone_of(request: &str) -> Option<String> {
    let request: serde_json::Value = serde_json::from_str(request).ok()?;
    let of = |name: &str| {
        let value = request.get(name)?;
        value.as_str().map_or_else(|| Some(value.as_u64()?.to_string()), |text| Some(text.to_owned()))
    };
    let whole = of("fullPhoneNumber").and_then(|text| digits(&text));
    let parts = || Some(digits(&of("countryCode")?)? + &digits(&of("phoneNumber")?)?);
    whole.or_else(parts).map(|digits| format!("+{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phone_of_a_message_is_read_in_both_its_forms() {
        for (body, phone) in [
            (r#"{"fullPhoneNumber":"+91 98765 43210"}"#, Some("+919876543210")),
            (r#"{"fullPhoneNumber":919876543210}"#, Some("+919876543210")),
            (r#"{"countryCode":"+91","phoneNumber":"9876543210"}"#, Some("+919876543210")),
            (r#"{"phoneNumber":"9876543210"}"#, None),
            (r#"{"fullPhoneNumber":"asha"}"#, None),
            ("[]", None),
        ] {
            assert_eq!(phone_of(body).as_deref(), phone, "{body}");
        }
    }

    #[test]
    fn a_message_that_no_event_tells_of_is_shown_by_how_it_was_sent() {
        let sent = SentView { sink: "whatsapp".into(), ..SentView::default() };
        let ours = || Ours { sent: Some(sent.clone()), phone: Some("***10".into()), ..Ours::default() };
        let alone = ours().with("m-1", None, false).unwrap();
        assert_eq!((alone.id.as_str(), alone.phone.as_deref(), alone.status), ("m-1", Some("***10"), None));
        let told = MessageView { phone: Some("***11".into()), status: Some("Read".into()), ..MessageView::default() };
        let both = ours().with("m-1", Some(told), false).unwrap();
        assert_eq!((both.phone.as_deref(), both.sent.is_some()), (Some("***11"), true));
        assert_eq!(Ours::default().with("m-1", None, false), None);
        assert!(Ours::default().is_nothing() && !ours().is_nothing());
    }
}
