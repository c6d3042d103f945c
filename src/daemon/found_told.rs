//! What this daemon tells another of events that both find in the journal they share: what became of them here, and
//! what it sent of a message itself.

use super::dead_letters;
use super::found::Found;
use super::found_fates;
use crate::admin::Refusal;
use crate::admin::fates::{EventFates, FatesAsk, FatesView};
use crate::admin::found::MessageView;
use crate::ids;
use crate::mask;

/// Most events of one question.
const MOST: usize = 1_000;

impl Found {
    /// What is known here of these events, and of a message.
    ///
    /// # Errors
    /// The question makes no sense, or ledger or outbox cannot be read.
    pub async fn fates(&self, ask: FatesAsk) -> Result<FatesView, Refusal> {
        if ask.of.len() > MOST {
            return Err(Refusal::Question(format!("more than {MOST} events at once")));
        }
        let (books, mut events) = (self.books.now(), Vec::with_capacity(ask.of.len()));
        for (id, at) in ask.of {
            let Some((at, event)) = dead_letters::position(&at).zip(ids::event(&id)) else {
                return Err(Refusal::Question(format!("`{id}` at `{at}` is no event, expected its id and its place")));
            };
            let of = (at, *event.as_bytes());
            let sinks = found_fates::known(&self.storage.ledger, &books, of, ask.clear).await?;
            events.push(EventFates { id, sinks });
        }
        let message = match ask.message {
            Some(message) => self.told_of(&message, ask.clear).await?,
            None => None,
        };
        Ok(FatesView { events, message })
    }

    async fn told_of(&self, message: &str, clear: bool) -> Result<Option<MessageView>, Refusal> {
        let ours = self.ours(message, clear).await?;
        if ours.is_nothing() {
            return Ok(None);
        }
        // Of what was not sent from here, too, it is told why it is, or is not, sent again.
        let id = if clear { message.to_owned() } else { mask::text(message) };
        Ok(ours.with(message, Some(MessageView { id, ..MessageView::default() }), clear))
    }
}
