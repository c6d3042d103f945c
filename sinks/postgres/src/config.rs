//! The sink's table in `config.toml`. Reads and checks text; the only I/O is what [`SinkConfig::build`] starts.

use async_trait::async_trait;
use serde::Deserialize;
use sink_api::{BuildError, Event, Fault, Reason, Secret, Settings, Sink, SinkConfig, SinkContext, Target};

use crate::server::Spec;
use crate::sink::PostgresSink;
use crate::url::Url;

/// Most connections a sink may have.
const MAX_CONNECTIONS: usize = 100;

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

/// `[sinks.NAME]` with `kind = "postgres"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host[:port][,host[:port]]/database[?sslmode=…]`. Holds a password: never shown.
    pub url: Secret,
    /// Name of the table, as it stands in SQL: `name`, `schema.name`, in double quotes where SQL needs them.
    pub table: String,
    /// SQL run when the sink is opened; should do nothing the second time.
    pub setup: Option<String>,
    /// What happens to a row whose `event_id` is there already.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Most connections at once, 1 to 100. A call beyond waits for one, not past its deadline.
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
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Err(text) = Url::read(self.url.expose()) {
            let help = "url = \"${DATABASE_URL}\", with DATABASE_URL=postgres://user:password@host/database";
            faults.push(Fault::at_key("url", text).help(help));
        }
        if self.table.trim().is_empty() || self.table.contains('\0') {
            faults.push(Fault::at_key("table", "expected the name of a table"));
        }
        if self.setup.as_ref().is_some_and(|sql| sql.trim().is_empty() || sql.contains('\0')) {
            faults.push(
                Fault::at_key("setup", "expected SQL statements").help("leave the key out where none are needed"),
            );
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            let text = format!("{}: expected 1 to {MAX_CONNECTIONS}", self.connections);
            faults.push(Fault::at_key("connections", text).help("connections = 4"));
        }
        faults
    }
}

#[async_trait]
impl SinkConfig for PostgresConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn target(&self, _event: &Event) -> Result<Target, Reason> {
        Ok(Target::of("table", self.table.as_str()))
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        let spec = Spec::new(self, cx).await?;
        Ok(Box::new(PostgresSink::open(spec, self.setup.as_deref()).await?))
    }

    async fn inspect(&self, cx: &SinkContext) -> Result<Option<String>, BuildError> {
        crate::sink::inspect(Spec::new(self, cx).await?, self.setup.as_deref()).await
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
