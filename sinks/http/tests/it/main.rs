//! The HTTP sink against real servers on the loopback. Table of contents below; `kit` has the tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod kit; // configs, sinks and deliveries in one line

mod answers; // what every kind of answer, and every kind of none, becomes
mod config; // what is refused, with which words, and what is never shown
mod conformance; // the suite every sink passes
mod redirects; // where a delivery goes, and where it never does
mod requests; // what is on the wire: bytes, headers, signatures
mod tls; // trust, distrust, HTTP/2
