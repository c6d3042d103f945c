//! The delivery core: one worker per sink reads the journal from the sink's cursor, routes, batches, delivers, retries,
//! gives up, and moves the cursor. It owns time; sinks do not.
//!
//! It knows the seam of journal and ledger, the rules and the sinks' contract; it knows neither HTTP nor which kinds of
//! sink there are.
//!
//! Files, in the order of an event's way: `first` says where a sink begins, `source` gives what is read, `asking` what
//! jq is asked about events that were read, `accounting` what an event comes to at the sink. `worker` is the loop and
//! its parts. `item` is a delivery in memory, `lanes` what waits per key, `parked` when the deliveries that the ledger
//! keeps are due, `flight` the batches under way, `verdict` what an outcome leads to. `window` says how far the cursor
//! may move, `budget` how much memory the sink may have, `rows` how deliveries look in the ledger, and `settler` takes
//! all of it there. `replay` routes a span of the journal once more. `appended` counts what sinks are owed, `counted`
//! knows by which rules that was counted, and `book` with its `vitals` is what `status` reads. `aside` delivers the
//! daemon's own events past all of that, where the journal fails. `probes` asks a worker to try at once. `told` is what
//! people are told. Pure helpers: `backoff`, `breaker`, `rate_limit`.
//!
//! Imports go one way: `worker` and `replay` know the others, and none of those knows them.

mod accounting;
mod appended;
mod aside;
mod asking;
mod backoff;
mod book;
mod breaker;
mod budget;
pub mod config;
mod counted;
mod first;
mod flight;
mod item;
mod lanes;
mod parked;
mod probes;
mod rate_limit;
mod replay;
mod rows;
mod settler;
mod source;
mod spec;
mod told;
mod verdict;
mod vitals;
mod window;
mod worker;

pub use appended::Counting;
pub use book::{Book, Figures, OwedSnapshot};
pub use breaker::BreakerState;
pub use budget::{Budget, Memory};
pub use config::{DeliveryConfig, DeliveryKeys};
pub use counted::owed;
pub use first::first_cursors;
pub use probes::Probed;
pub use rate_limit::Rate;
pub use replay::{Feed, feed};
pub use spec::Spec;
pub use vitals::{Condition, LastError, Vitals};
pub use worker::run;

#[cfg(test)]
mod tests;
