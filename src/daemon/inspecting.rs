//! Looks, for `check --connect`, whether whoever keeps the journal would let a start succeed. Asks brokers where they
//! keep it; changes nothing.

use super::error::DaemonError;
use super::host::host;
use super::sinks::readers;
use super::store::opening;
use crate::config::Config;
use crate::ledger::engine;

/// Names what a start would make at the brokers that keep the journal; `None` where this machine keeps it.
///
/// # Errors
/// Where no broker answers, or what is there is not fit for a journal.
pub async fn journal(config: &Config) -> Result<Option<Vec<String>>, DaemonError> {
    Ok(engine::inspect(&opening(config, &host()), &readers(config)).await?)
}
