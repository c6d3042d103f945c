//! The sink's table in `config.toml`: its keys, and what is wrong with their values. Pure.

use std::path::PathBuf;

use serde::Deserialize;
use sink_api::ladder_sql;
use sink_api::table::{self, BUILTIN, OnConflict};
use sink_api::{Fault, Period, Settings, SinkConfig};

use crate::schema::quote;

/// Longest `busy_timeout`. A wait is cut at the batch's deadline anyway; this catches slips such as `"5d"`.
const MAX_BUSY_TIMEOUT: Period = Period::HOUR;

/// `[sinks.NAME]` with `kind = "sqlite"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// Path of the database file, relative to the config file.
    pub database: PathBuf,
    /// Name of the table, taken literally (quoted as an identifier).
    pub table: String,
    /// SQL run when the database is opened; should do nothing the second time. `builtin` stands for [`Self::setup`]'s.
    pub setup: Option<String>,
    /// What happens to a row whose `event_id`, or `message_id` of one row a message, is there already.
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
    /// The SQL that is run when the database is opened.
    pub fn setup(&self) -> Option<String> {
        let setup = self.setup.as_deref()?;
        let index = |column: &str| quote(&format!("{}_{column}", self.table));
        let builtin = || ladder_sql::create(&quote(&self.table), "TEXT", index);
        Some(if setup == BUILTIN { builtin() } else { setup.to_owned() })
    }

    /// What is wrong with the values.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let database = self.database.to_string_lossy();
        if database.trim().is_empty() || database.ends_with('/') || database.contains('\0') {
            faults.push(Fault::at_key("database", format!("`{database}` is not the path of a file")));
        } else if database == ":memory:" {
            let fault = Fault::at_key("database", "`:memory:` would be lost with the process, expected a path");
            faults.push(fault.help("database = \"data/hookrelay.db\""));
        }
        if let Some(fault) = table::name_fault(&self.table) {
            faults.push(fault);
        } else if self.table.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("sqlite_")) {
            faults.push(Fault::at_key("table", format!("`{}`: SQLite keeps names in sqlite_ for itself", self.table)));
        }
        faults.extend(table::setup_fault(self.setup.as_deref(), self.on_conflict));
        faults.extend(self.busy_timeout.fault("busy_timeout", Period::ZERO..=MAX_BUSY_TIMEOUT));
        faults
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
