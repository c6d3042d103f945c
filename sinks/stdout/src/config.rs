//! The sink's table in `config.toml`. Pure; builds the sink.

use std::io;

use serde::Deserialize;
use sink_api::line::Format;
use sink_api::{BuildError, Event, Fault, Reason, Sink, SinkConfig, SinkContext, Target, async_trait};

use crate::sink::StdoutSink;

/// `[sinks.NAME]` with `kind = "stdout"`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    /// What a line is.
    #[serde(default)]
    pub format: Format,
}

#[async_trait]
impl SinkConfig for StdoutConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    fn target(&self, _event: &Event) -> Result<Target, Reason> {
        Ok(Target::default())
    }

    async fn build(&self, _cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(StdoutSink::new(self.format, io::stdout())))
    }
}
