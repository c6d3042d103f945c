//! Routing: which sinks an event goes to, and with what payload. Pure (no I/O, no clock) but for `jq`, which starts and
//! asks worker processes, and for what `counting` counts.
//!
//! Rooms: [`config`] has a route as it is written, and those that stand in no file; `commands` takes out of a command
//! what is to be sent; [`eval`] is the seam behind which conditions and transforms run; [`builtin`] has the transforms
//! that come with the daemon; [`jq`] runs jq programs, in a process of their own; [`glob`] reads globs over types;
//! [`rules`] holds the compiled rules, and `table` remembers their matches by source and type; `doubts` warns of rules
//! that cannot be meant; [`router`] routes one event for one sink; [`mod@explain`] does the same with an observer that
//! takes notes, `counting` with one that counts; [`cases`] compares that with what `[[tests]]` expect.  May use the
//! event and the sinks' contract. Knows no journal, no ledger, no HTTP and no sink by name.

pub mod builtin;
pub mod cases;
mod commands;
pub mod config;
mod counting;
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

pub use config::{Implicit, RouteConfig};
pub use counting::{RouteCounter, RouteCounts};
pub use eval::{Answers, BuiltinEval, Eval, Program};
pub use explain::{DeliveryView, Explanation, PayloadView, explain, explain_by, printable, printable_json};
pub use jq::JqEval;
pub use router::{Destination, Failed, Observer, Routed, Step};
pub use rules::{INTERNAL_SOURCE, Question, RuleSet};
pub use unmatched::Unmatched;
