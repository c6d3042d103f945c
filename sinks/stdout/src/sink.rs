//! Opens standard output and writes each batch in one piece. May block a thread of the blocking pool, never one of the
//! runtime's.

use std::io::{self, Write};
use std::sync::Arc;

use sink_api::line::{self, Format};
use sink_api::{
    Batch, BuildError, Event, Fault, Outcome, Reason, Report, Sink, SinkConfig, SinkContext, Target, async_trait, code,
};
use tokio::sync::Mutex;

use crate::config::StdoutConfig;

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

type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// The sink at work.
pub struct StdoutSink {
    format: Format,
    /// Held by the blocking task, so that a call dropped half-way cannot be overtaken by the next, and calls that wait
    /// for a stuck reader hold no thread.
    writer: Writer,
}

impl StdoutSink {
    /// Writes to `writer`; tests pass their own.
    pub fn new(format: Format, writer: impl Write + Send + 'static) -> Self {
        Self { format, writer: Arc::new(Mutex::new(Box::new(writer))) }
    }

    /// One write, one flush.
    async fn write(&self, lines: Vec<u8>) -> Result<(), Reason> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let task = tokio::task::spawn_blocking(move || -> io::Result<()> {
            writer.write_all(&lines)?;
            writer.flush()
        });
        match task.await {
            Ok(written) => written.map_err(|e| Reason::new(code::IO, e.to_string())),
            Err(_) => Err(Reason::new(code::IO, "the write was broken off")),
        }
    }
}

#[async_trait]
impl Sink for StdoutSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let mut report = Report::open(batch);
        let mut lines = Vec::new();
        let mut written = Vec::with_capacity(batch.len());
        for (i, delivery) in batch.deliveries.iter().enumerate() {
            if !report.may_attempt(batch, i) {
                continue;
            }
            match line::push(&mut lines, self.format, delivery) {
                Ok(()) => written.push(i),
                Err(rejected) => report.set(batch, i, rejected),
            }
        }
        let outcome = match self.write(lines).await {
            Ok(()) => Outcome::Delivered,
            Err(why) => Outcome::retry_for(why),
        };
        for i in written {
            report.set(batch, i, outcome.clone());
        }
        report
    }

    async fn probe(&self) -> Result<(), Reason> {
        self.write(Vec::new()).await
    }

    async fn close(self: Box<Self>) {
        // Every write was flushed; a call that was dropped may still be at it.
        drop(self.writer.lock().await);
    }
}
