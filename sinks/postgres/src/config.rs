//! The sink's table in `config.toml`: its keys, and what is wrong with their values. Pure.

use serde::Deserialize;
use sink_api::ladder_sql;
use sink_api::table::{self, BUILTIN, OnConflict};
use sink_api::{Fault, Secret, Settings, SinkConfig};

use crate::table::index;
use crate::url::Url;

/// Most connections a sink may have.
const MAX_CONNECTIONS: usize = 100;

/// `[sinks.NAME]` with `kind = "postgres"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host[:port][,host[:port]]/database[?sslmode=…]`. Holds a password: never shown.
    pub url: Secret,
    /// Name of the table, as it stands in SQL: `name`, `schema.name`, in double quotes where SQL needs them.
    pub table: String,
    /// SQL run when the sink is opened; should do nothing the second time. `builtin` stands for [`Self::setup`]'s.
    pub setup: Option<String>,
    /// What happens to a row whose `event_id`, or `message_id` of one row a message, is there already.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Most connections at once, 1 to 100. A further call waits for one of them, but not past its deadline.
    #[serde(default = "default_connections")]
    pub connections: usize,
}

fn default_connections() -> usize {
    4
}

/// Reads the table.
///
/// # Errors
/// Every fault of shape: unknown and missing keys, wrong types.
pub fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    Ok(Box::new(settings.read::<PostgresConfig>()?))
}

impl PostgresConfig {
    /// The SQL that is run when the sink is opened.
    pub fn setup(&self) -> Option<String> {
        let setup = self.setup.as_deref()?;
        let builtin = || ladder_sql::create(&self.table, "TIMESTAMPTZ", |column| index(&self.table, column));
        Some(if setup == BUILTIN { builtin() } else { setup.to_owned() })
    }

    /// What is wrong with the values.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Err(text) = Url::read(self.url.expose()) {
            let help = "url = \"${DATABASE_URL}\", with DATABASE_URL=postgres://user:password@host/database";
            faults.push(Fault::at_key("url", text).help(help));
        }
        faults.extend(table::name_fault(&self.table));
        faults.extend(table::setup_fault(self.setup.as_deref(), self.on_conflict));
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            let text = format!("{}: expected 1 to {MAX_CONNECTIONS}", self.connections);
            faults.push(Fault::at_key("connections", text).help("connections = 4"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, table: &str, setup: Option<&str>, connections: usize) -> PostgresConfig {
        PostgresConfig {
            url: Secret::new(url),
            table: table.to_owned(),
            setup: setup.map(str::to_owned),
            on_conflict: OnConflict::Nothing,
            connections,
        }
    }

    #[test]
    fn every_fault_is_named_at_its_key() {
        let faults = config("mysql://x", " ", Some(""), 0).faults();
        let keys: Vec<String> = faults.iter().map(|f| format!("{:?}", f.at)).collect();
        assert_eq!(keys, [r#"Key("url")"#, r#"Key("table")"#, r#"Key("setup")"#, r#"Key("connections")"#]);
        assert_eq!(config("postgres://u:p@h/d", "a.b", Some("SELECT 1"), 100).faults(), []);
    }

    #[test]
    fn neither_faults_nor_debug_show_the_password() {
        for url in ["postgres://u:hunter2@h/d?sslmode=hunter3", "postgres://u:hunter2@:x/d", "u:hunter2@h"] {
            let config = config(url, "t", None, 4);
            let shown = format!("{config:?} {:?}", config.faults());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
