//! The event inside the daemon: the sinks' [`Event`] and its way into and out of a journal record.
//!
//! Knows the journal's [`Record`](crate::journal::Record) as plain data; knows neither HTTP nor sinks.

mod codec;
mod own;

pub use codec::{CodecError, Texts, decode, decode_once, decode_shared, encode, subject_of};
pub use own::{own, own_as};
pub use sink_api::Event;
