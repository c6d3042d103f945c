//! hookrelay: receives webhooks, proves who sent them, keeps every one on disk, and routes them to sinks.
//!
//! `src/ARCHITECTURE.md` describes the modules and the order in which they may import each other.

pub mod access;
pub mod admin;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod database;
pub mod deliver;
pub mod event;
pub mod exit;
pub mod ids;
pub mod ingress;
pub mod journal;
pub mod ledger;
pub mod mask;
pub mod message;
pub mod metrics;
pub mod news;
pub mod outbox;
pub mod page;
pub mod registry;
pub mod route;
pub mod shutdown;
pub mod sockets;
pub mod systemd;
pub mod telemetry;
pub mod times;
pub mod traces;
pub mod trial;
pub mod verify;
pub mod version;
