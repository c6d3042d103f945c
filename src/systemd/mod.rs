//! What the service manager (systemd) is told: that the daemon is ready, reads its config again, stops, how it is, and
//! that it goes on. Where no manager started the daemon (`NOTIFY_SOCKET` is not set) nothing is told.
//!
//! - `manager`: the socket and the words
//! - [`watchdog`]: the thread that beats as long as all parts of the daemon answer
//!
//! Knows datagrams, threads and runtimes; no webhooks, no journal, no config.

mod manager;
pub mod watchdog;

pub use manager::Manager;
