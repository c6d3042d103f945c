//! What Interakt's webhooks say about one WhatsApp message, and its history made of them. Pure: plain data and
//! functions over the event, without clock, files or network.
//!
//! - `lenient`: reads JSON that keeps few promises
//! - `said`: what one body says of a message
//! - `history`: what all events of one message come to: how far it got, clicks, replies, why it failed
//! - `errors`: the provider's error codes in words
//!
//! Built-in transforms make rows of [`Said`]; `trace` shows a [`History`].

use serde_json::value::RawValue;

mod errors;
mod history;
pub mod lenient;
mod said;

/// The member of a body by which `hookrelay send` marks what it made as a sample: nobody is written to because of it.
pub const SAMPLE_MARK: &str = "hookrelay_sample";

/// Whether a body is a sample that `hookrelay send` made: whoever stands in it was sent nothing, and is sent nothing.
pub fn is_sample(body: &[u8]) -> bool {
    let [mark] = lenient::members(serde_json::from_slice::<&RawValue>(body).ok(), [SAMPLE_MARK]);
    mark.is_some()
}

pub use errors::in_words;
pub use history::{Campaign, Clicked, Failure, History, Reply, Rung, Status, Step, Way, history, rungs, status};
pub use said::{Click, Said, digits, same_phone};
