//! The Interakt sink against servers on the loopback, one of them a **stand-in** of Interakt's API. `kit` has the
//! tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod kit; // configs, sinks and deliveries in one line

mod answers; // what every kind of answer, and every kind of none, becomes, and what the outbox is told of it
mod config; // what is refused, with which words, and what is never shown
mod conformance; // the suite every sink passes
mod once; // that no call is made twice where that can be known
mod requests; // what is on the wire, and what is not
