//! The sink's table in `config.toml`: its keys, and what is wrong with their values. Pure.

use serde::Deserialize;
use sink_api::line::Format;
use sink_api::{Fault, Settings, SinkConfig};

/// `[sinks.NAME]` with `kind = "stdout"`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    /// What a line is.
    #[serde(default)]
    pub format: Format,
}

/// Reads the table.
///
/// # Errors
/// Every fault of shape: unknown keys, wrong types.
pub fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    Ok(Box::new(settings.read::<StdoutConfig>()?))
}
