//! The delivery core: one worker per sink reads the journal from the sink's cursor, routes, batches, delivers, retries,
//! gives up, and moves the cursor. It owns time; sinks do not.
//!
//! Knows the journal's trait, the rules and the sinks' contract; knows neither HTTP nor which kinds of sink there are.
//!
//! Rooms, in the order of an event's way: `first` where a sink begins, `asking` what jq is asked about events
//! that were read, `worker` the loop (reading, delivering, retrying), `lanes` what waits
//! per key, `flight` batches under way, `verdict` what an outcome leads to, `window` how far the cursor may move, `parked` when what the ledger keeps is due,
//! `settler` its way into the ledger. `appended` and `book` are what `status` reads, `counted` by which rules that was counted. `replay` feeds a span of the journal once more, `rows` is how the ledger keeps deliveries. Pure helpers: `backoff`, `breaker`, `rate_limit`.

mod accounting;
mod appended;
mod asking;
mod backoff;
mod book;
mod breaker;
pub mod config;
mod counted;
mod first;
mod flight;
mod item;
mod lanes;
mod parked;
mod rate_limit;
mod replay;
mod rows;
mod settler;
mod verdict;
mod window;
mod worker;

pub use appended::Counting;
pub use book::{Book, Figures, OwedSnapshot};
pub use breaker::BreakerState;
pub use config::DeliveryKeys;
pub use counted::owed;
pub use first::first_cursors;
pub use rate_limit::Rate;
pub use replay::{Feed, feed, holder};
pub use worker::{Spec, run};

#[cfg(test)]
mod tests;
