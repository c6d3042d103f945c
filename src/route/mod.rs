//! Routing: which sinks an event goes to, and with what payload. Pure: no I/O, no clock, no counters.
//!
//! Rooms: [`config`] what was written; [`eval`] the seam behind which conditions and transforms run; [`builtin`] the
//! transforms that come with the daemon; [`rules`] the compiled rules, `table` their memory by (source, type);
//! [`router`] one event for one sink; [`mod@explain`] the same with an observer that takes notes.
//!
//! May use the event and the sinks' contract. Knows no journal, no ledger, no HTTP and no sink by name.

pub mod builtin;
pub mod config;
pub mod eval;
pub mod explain;
pub mod router;
pub mod rules;
mod table;
#[cfg(test)]
mod tests;
mod unmatched;

pub use config::RouteConfig;
pub use eval::{BuiltinEval, Eval, Program};
pub use explain::{Explanation, explain};
pub use router::{Destination, Failed, Observer, Routed, Step};
pub use rules::{INTERNAL_SOURCE, RuleSet};
pub use unmatched::Unmatched;
