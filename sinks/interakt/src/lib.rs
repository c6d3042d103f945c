//! The Interakt sink: each delivery is one call of Interakt's public send API, which sends one WhatsApp message.
//!
//! Modules, each of which uses only those after it: [`sink`] asks the outbox, calls, and says what became of each
//! delivery; [`call`] makes one call; [`verdict`] is the table from answers and failures to outcomes; [`answer`] reads
//! what Interakt says; [`request`] checks a payload and makes it the body of a call; [`template`] checks the parts of a
//! body that a template or a session message has; [`config`] reads the sink's table and says what is wrong with it. The
//! sink touches the network only through one `reqwest` client, reads no file but `tls_ca`, and writes none: what must
//! be remembered of calls, the daemon's outbox remembers. It must not retry or sleep: the core owns time.

use std::time::Duration;

use sink_api::{Defaults, Repeats, SinkKind, Size};

pub mod answer;
pub mod call;
pub mod config;
mod parts;
pub mod request;
pub mod sink;
pub mod template;
pub mod verdict;

/// The kind, as the registry lists it. One event a batch, so that each call's outcome is told as soon as it is known.
pub const KIND: SinkKind = SinkKind {
    name: "interakt",
    also: &["whatsapp", "message", "messages", "send"],
    about: "WhatsApp messages: one call of Interakt's send API per delivery",
    example: include_str!("../example.toml"),
    defaults: Defaults {
        max_events: 1,
        max_bytes: Size::mib(1).0,
        linger: Duration::ZERO,
        concurrency: 4,
        // Of the plans whose rate is documented the smallest (Growth; Advanced has 600/min).
        rate: Some("300/min"),
    },
    repeats: Repeats::Ignored,
    answers: true,
    sends: true,
    read: config::read,
};
