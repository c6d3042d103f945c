//! The page in a real browser: Debian's Chromium, driven through chromedriver, on the real binary with real sinks, of
//! which one refuses and one is not there. Where there is no Chromium (tests/services/tools gets it), each test says by
//! name that it was left out.
//!
//! - `signing_in`: the token, wrong tokens, logging out, and what other origins can do
//! - `overview`, `events`, `messages`, `dead_letters`, `sinks`, `rules`: the main actions of each room
//! - `resends`: what is sent again, and Cancel
//! - `looks`: every room by axe, in light and dark, at 360 px, by keyboard alone, and what it loads
//! - `crowd`: 10,000 events in the tail
//! - `modules`: the page's modules that compute: JSON as text, differences, spans of time
//! - `watched`: the daemon that is looked at; `browser`: the browser and how it is used

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

#[allow(dead_code)]
#[path = "../it/bodies.rs"]
mod bodies;
mod browser;
mod crowd;
mod dead_letters;
mod events;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
mod looks;
mod messages;
mod modules;
mod overview;
mod resends;
mod rules;
mod signing_in;
mod sinks;
#[allow(dead_code)]
#[path = "../it/tables.rs"]
mod tables;
#[allow(dead_code)]
#[path = "../it/verbs.rs"]
mod verbs;
mod watched;
