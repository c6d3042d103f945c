//! The HTTP sink: each delivery is one request to a URL, its body byte for byte what was received.
//!
//! Modules, each of which uses only those after it: [`sink`] makes requests; [`verdict`] is the table from answers and
//! failures to outcomes; [`config`] reads the sink's table and says what is wrong with it; [`sign`] signs requests. The
//! sink touches the network only through one `reqwest` client, reads no file but `tls_ca`, and writes none. It must not
//! retry or sleep: the core owns time.

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind, Size};

pub mod config;
pub mod sign;
pub mod sink;
pub mod verdict;

/// The kind, as the registry lists it. One event a batch, so that concurrency is the number of requests in flight.
pub const KIND: SinkKind = SinkKind {
    name: "http",
    also: &["webhook", "callback", "https", "url", "rest"],
    about: "HTTP callbacks: one request per delivery, optionally signed (Standard Webhooks)",
    example: include_str!("../example.toml"),
    defaults: Defaults { max_events: 1, max_bytes: Size::mib(1).0, linger: Duration::ZERO, concurrency: 8, rate: None },
    repeats: Repeats::Marked,
    answers: true,
    sends: false,
    read: config::read,
};
