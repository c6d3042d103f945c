//! What Interakt's webhooks say about one WhatsApp message, and its history made of them. Pure: plain data and
//! functions over the event, without clock, files or network.
//!
//! - `lenient`: reads JSON that keeps few promises
//! - `said`: what one body says of a message
//! - `history`: what all events of one message come to: how far it got, clicks, replies, why it failed
//! - `errors`: the provider's error codes in words
//!
//! Built-in transforms make rows of [`Said`]; `trace` shows a [`History`].

mod errors;
mod history;
pub mod lenient;
mod said;

pub use errors::in_words;
pub use history::{Campaign, Clicked, Failure, History, Reply, Status, Step, Way, history};
pub use said::{Click, Said, digits, same_phone};
