//! What hookrelay itself has to do with a message: the call that sent it, the events that asked for that, and what was,
//! or is to be, sent again of its chain.

use std::sync::Arc;

use sink_api::{CallId, Event, Timestamp};

use super::found::{Found, decoded};
use super::found_fates;
use super::found_ids;
use super::refusals::unable;
use super::resends;
use crate::admin::Refusal;
use crate::admin::found::{MessageView, NotAgainView, SentView};
use crate::admin::sending::{CancelAsk, CancelDone, ResendView};
use crate::ids;
use crate::journal::Entry;
use crate::mask;
use crate::message::{digits, in_words, same_phone};
use crate::news::SOURCE;
use crate::outbox::{Command, NotAgain, Planned, SentMessage, State};

/// Most resends of a chain that are shown: the newest.
const MOST_RESENDS: usize = 100;

/// What hookrelay itself has to do with a message.
#[derive(Default)]
pub(super) struct Ours {
    /// How it was sent; none where others sent it.
    pub sent: Option<SentView>,
    /// What was, or is to be, sent again of its chain, in the order of the attempts.
    pub resends: Vec<ResendView>,
    /// Why what failed of its chain is not sent again, in order of time.
    pub not_again: Vec<NotAgainView>,
    /// The events that asked for any of these, and are in the journal still.
    pub events: Vec<Entry>,
    phone: Option<String>,
    template: Option<String>,
}

impl Ours {
    /// Whether hookrelay has nothing to do with it.
    pub fn is_nothing(&self) -> bool {
        self.sent.is_none() && self.resends.is_empty() && self.not_again.is_empty()
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
        Some(MessageView { sent: self.sent, resends: self.resends, not_again: self.not_again, ..told })
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
        let rules = Arc::clone(&self.config_state.in_force().resends);
        let mut resends = Vec::with_capacity(chain.len());
        for planned in chain {
            let entry = events.iter().find(|entry| entry.record.id == *planned.id.as_bytes());
            let rule_gone = planned.state == State::Waiting && !rules.has(&planned.rule);
            let view = ResendView { rule_gone, ..resends::view(planned.clone(), clear) };
            resends.push(if planned.state == State::Handed { self.with_fate(view, entry, clear).await? } else { view });
        }
        let phone = about.call.and_then(|call| call.phone);
        Ok(Ours {
            sent,
            phone: phone.map(|phone| if clear { phone } else { mask::hidden(&phone) }),
            template: own.and_then(|own| own.template.clone()),
            resends,
            not_again: about.not_again.into_iter().map(|not| not_again(not, clear)).collect(),
            events,
        })
    }

    /// What was handed to its sink, with what became of that delivery. Without its event nobody can say.
    pub async fn with_fate(&self, view: ResendView, entry: Option<&Entry>, clear: bool) -> Result<ResendView, Refusal> {
        let Some(entry) = entry else {
            let why = "its event is not in the journal any more; `hookrelay dead list` has it, if anything has";
            return Ok(ResendView { why: Some(why.to_owned()), ..view });
        };
        let books = self.books.now();
        let sink = (view.to.as_str(), books.of(&view.to));
        let fate = found_fates::of_one(&self.storage.ledger, sink, entry, &view.id).await?;
        let detail = fate.detail.map(|detail| if clear { detail } else { mask::text(&detail) });
        let why: Vec<String> = fate.code.into_iter().chain(detail).collect();
        let why = Some(why.join(": ")).filter(|why| !why.is_empty());
        Ok(ResendView { fate: Some(fate.fate), why, ..view })
    }

    /// Gives up one that waits or was handed on, or all of a message's. What its sink is done with is left as it is,
    /// and said so: a dead letter is not sent unless somebody retries it.
    ///
    /// # Errors
    /// Nothing that is still to be sent is meant, or outbox, journal or ledger cannot be read or written.
    pub async fn cancel_resends(&self, CancelAsk { id }: CancelAsk) -> Result<CancelDone, Refusal> {
        let id = id.trim();
        if id.is_empty() {
            return Err(Refusal::Question("say which: the `id` of a resend that waits, or of a message".into()));
        }
        let (mut over, mut but) = (Vec::new(), Vec::new());
        for row in self.outbox.meant(id).await.map_err(unable)? {
            if row.state != State::Handed {
                continue;
            }
            let entry = found_ids::by_id(&*self.storage.journal, row.id).await?;
            let (own, view) = (row.id, resends::view(row, false));
            let view = self.with_fate(view, entry.as_ref(), false).await?;
            if view.fate.as_deref().is_some_and(resends::is_over) {
                over.push(view);
                but.push(own);
            }
        }
        let rows = self.outbox.cancel(id, &but).await.map_err(unable)?;
        if rows.is_empty() {
            return Err(Refusal::Missing(resends::nothing_to_cancel(id, &over)));
        }
        let cancelled = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let resends = rows.into_iter().map(|row| resends::view(row, false)).collect();
        Ok(CancelDone { cancelled, resends, over, unanswered: vec![] })
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

    /// The event that a message was sent for: the delivery that sent it has its id. None where it is gone.
    async fn asked(&self, call: &SentMessage) -> Result<Option<Entry>, Refusal> {
        match ids::event(&call.delivery) {
            Some(event) => found_ids::by_id(&*self.storage.journal, event).await,
            None => Ok(None),
        }
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

/// Why a message is not sent again, as it is shown.
fn not_again(NotAgain { failed, rule, verdict, code, why, at }: NotAgain, clear: bool) -> NotAgainView {
    let text = |text: String| if clear { text } else { mask::text(&text) };
    let in_words = in_words(&code).map(str::to_owned);
    let (failed, code, why) = (text(failed), text(code), text(why));
    NotAgainView { failed, rule, outcome: verdict.word().to_owned(), code, in_words, why, time: at.to_string() }
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
