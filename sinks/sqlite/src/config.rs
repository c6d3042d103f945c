//! The sink's table in `config.toml`. Reads and checks text; the only I/O is what [`SinkConfig::build`] and
//! [`SinkConfig::inspect`] start.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::Deserialize;
use sink_api::{BuildError, Event, Fault, Period, Reason, Settings, Sink, SinkConfig, SinkContext, Target};
use tokio::task::spawn_blocking;

use crate::database::{self, Spec};
use crate::sink::SqliteSink;
use crate::verdict::INTERNAL;

/// Longest `busy_timeout`. A wait is cut at the batch's deadline anyway; this catches slips such as `"5d"`.
const MAX_BUSY_TIMEOUT: Period = Period::HOUR;

/// What happens to a row whose `event_id` is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The row stays as it is.
    #[default]
    Nothing,
    /// The columns the payload holds are set anew.
    Update,
}

/// `[sinks.NAME]` with `kind = "sqlite"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// Path of the database file, relative to the config file.
    pub database: PathBuf,
    /// Name of the table, taken literally (quoted as an identifier).
    pub table: String,
    /// SQL run when the database is opened; should do nothing the second time.
    pub setup: Option<String>,
    /// What happens to a row whose `event_id` is there already.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// How long to wait for another connection's lock; cut at the batch's deadline.
    #[serde(default = "default_busy_timeout")]
    pub busy_timeout: Period,
}

fn default_busy_timeout() -> Period {
    Period::secs(5)
}

/// Reads the table.
///
/// # Errors
/// Every fault of shape: unknown and missing keys, wrong types.
pub fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    Ok(Box::new(settings.read::<SqliteConfig>()?))
}

impl SqliteConfig {
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let database = self.database.to_string_lossy();
        if database.trim().is_empty() || database.ends_with('/') || database.contains('\0') {
            faults.push(Fault::at_key("database", format!("`{database}` is not the path of a file")));
        } else if database == ":memory:" {
            let fault = Fault::at_key("database", "`:memory:` would be lost with the process, expected a path");
            faults.push(fault.help("database = \"data/hookrelay.db\""));
        }
        if self.table.trim().is_empty() || self.table.contains('\0') {
            faults.push(Fault::at_key("table", "expected the name of a table"));
        } else if self.table.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("sqlite_")) {
            faults.push(Fault::at_key("table", format!("`{}`: SQLite keeps names in sqlite_ for itself", self.table)));
        }
        if self.setup.as_ref().is_some_and(|sql| sql.trim().is_empty() || sql.contains('\0')) {
            faults.push(
                Fault::at_key("setup", "expected SQL statements").help("leave the key out where none are needed"),
            );
        }
        faults.extend(self.busy_timeout.fault("busy_timeout", Period::ZERO..=MAX_BUSY_TIMEOUT));
        faults
    }
}

#[async_trait]
impl SinkConfig for SqliteConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn target(&self, _event: &Event) -> Result<Target, Reason> {
        Ok(Target::of("table", self.table.as_str()))
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(SqliteSink::open(Spec::new(self, cx)?).await?))
    }

    async fn inspect(&self, cx: &SinkContext) -> Result<Option<String>, BuildError> {
        let spec = Spec::new(self, cx)?;
        let probed = spawn_blocking(move || database::probe(&spec)).await;
        Ok(probed.map_err(|e| BuildError::Unavailable(Reason::new(INTERNAL, e.to_string())))??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(database: &str, table: &str, setup: Option<&str>, busy: u64) -> SqliteConfig {
        SqliteConfig {
            database: database.into(),
            table: table.into(),
            setup: setup.map(str::to_owned),
            on_conflict: OnConflict::Nothing,
            busy_timeout: Period::secs(busy),
        }
    }

    #[test]
    fn every_fault_is_named_at_its_key() {
        let faults = config(":memory:", "sqlite_x", Some(" "), 3601).faults();
        let keys: Vec<String> = faults.iter().map(|f| format!("{:?}", f.at)).collect();
        assert_eq!(keys, [r#"Key("database")"#, r#"Key("table")"#, r#"Key("setup")"#, r#"Key("busy_timeout")"#]);
        assert_eq!(config("data/", "", None, 0).faults().len(), 2);
        assert_eq!(config("a.db", "a \" table", None, 0).faults(), []);
    }
}
