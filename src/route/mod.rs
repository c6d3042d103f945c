//! Routing: which sinks an event goes to, and with what payload. Pure: no I/O, no clock, no counters; but for `jq`, which
//! starts and asks worker processes.
//!
//! Rooms: [`config`] what was written; [`eval`] the seam behind which conditions and transforms run; [`builtin`] the
//! transforms that come with the daemon; [`jq`] programs, which run in a process of their own; [`glob`] globs over types; [`rules`] the compiled rules, `table` their memory by (source, type);
//! `doubts` rules that cannot be meant; [`router`] one event for one sink; [`mod@explain`] the same with an observer that takes notes;
//! [`cases`] what `[[tests]]` expect of it.
//!
//! May use the event and the sinks' contract. Knows no journal, no ledger, no HTTP and no sink by name.

pub mod builtin;
pub mod cases;
pub mod config;
pub mod doubts;
pub mod eval;
pub mod explain;
pub mod glob;
pub mod jq;
pub mod router;
pub mod rules;
mod table;
#[cfg(test)]
mod tests;
mod unmatched;

pub use config::RouteConfig;
pub use eval::{Answers, BuiltinEval, Eval, Program};
pub use explain::{DeliveryView, Explanation, PayloadView, explain, explain_by, printable, printable_json};
pub use jq::JqEval;
pub use router::{Destination, Failed, Observer, Routed, Step};
pub use rules::{INTERNAL_SOURCE, Question, RuleSet};
pub use unmatched::Unmatched;
