//! What the daemon is started with, beside its config.

use super::config_reading::{Load, Refused};
use super::config_watch::Watch;
use crate::sockets::inherited::Inherited;
use crate::systemd::Manager;

/// What the daemon is started with, beside its config.
pub struct RunOptions {
    /// Reads the config again, for a reload.
    pub load: Load,
    /// The config file, where a change of it brings about a reload.
    pub watch: Watch,
    /// Why the config is not the file's, but the last good one.
    pub refused: Option<Refused>,
    /// Where the ledger is lost, sinks begin at what comes next, not at the oldest event.
    pub cursors_now: bool,
    /// The sockets that systemd has passed.
    pub inherited: Vec<Inherited>,
    /// Who is told how the daemon is.
    pub manager: Manager,
}
