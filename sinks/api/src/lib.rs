//! The contract between hookrelay's delivery core and a sink.
//!
//! A sink crate depends on this crate and on no other of ours. The core owns time: it batches, retries, orders,
//! opens breakers and keeps dead letters. A sink is handed a [`Batch`], does its I/O once, and says for each delivery
//! what became of it ([`Report`]). It never sleeps, retries, spawns or swallows.
//!
//! Modules: [`event`] what came in; [`delivery`] what a sink is handed; [`report`] what it answers; [`sink`] the
//! traits; [`settings`] (and `survey`, which finds all its faults), [`fault`], [`units`], [`secret`] for its table in
//! `config.toml`, [`planned`] for a table that is worked out when it is read; [`template`] for `{type}` and its like,
//! [`field`] for fields of the body in them; [`cloudevents`], [`json`] and [`mod@line`] for output shapes,
//! [`Rendered`] for those that several sinks have in common; [`rows`],
//! [`bad_row`] and [`table`] for sinks that fill tables, [`ladder`] and [`ladder_sql`] for tables of one row a message;
//! [`disk`] for the free-space floor; [`files`] for small files that a config names; `http` (a feature) for sinks that
//! call over HTTP, `kafka` (another) for clients of Kafka; [`log_limit`] for log lines that must not become a flood;
//! [`origin`] and [`outbox`] for sinks that send messages; [`trace`] for what targets are told of traces; [`yielder`]
//! for giving way in long loops.

pub mod bad_row;
pub mod cloudevents;
pub mod delivery;
pub mod disk;
pub mod event;
pub mod fault;
pub mod field;
pub mod files;
mod filled;
#[cfg(feature = "http")]
pub mod http;
pub mod json;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod ladder;
pub mod ladder_sql;
pub mod line;
pub mod log_limit;
pub mod origin;
pub mod outbox;
pub mod planned;
mod rendered;
pub mod report;
pub mod rows;
pub mod secret;
pub mod settings;
pub mod sink;
mod survey;
pub mod table;
pub mod template;
pub mod trace;
pub mod units;
pub mod yielder;

pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use delivery::{Batch, Delivery, Payload, Target};
pub use disk::DiskFloor;
pub use event::Event;
pub use fault::{At, Fault};
pub use jiff::Timestamp;
pub use log_limit::LogLimit;
pub use origin::{CallId, Origin};
pub use outbox::{NoOutbox, Outbox};
pub use planned::Planned;
pub use rendered::Rendered;
pub use report::{Answer, Outcome, Reason, Report, code};
pub use secret::Secret;
pub use settings::Settings;
pub use sink::{BuildError, Defaults, Messaging, Repeats, Sink, SinkConfig, SinkContext, SinkKind};
pub use template::{Escape, Template};
pub use trace::TraceHeaders;
pub use units::{Period, Size};
pub use uuid::Uuid;
pub use yielder::Yielder;
