//! The stdout sink keeps the sink contract, in both formats.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use sink_api::{BuildError, Outcome, Sink, SinkConfig, async_trait, code};
use sink_stdout::{Format, KIND, StdoutConfig, StdoutSink};
use sink_testkit::{EventBuilder, Has, Repeats, Subject, batch, event, read_example, read_table, run_all};

/// Standard output as the test sees it.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    writes: usize,
    flushed: usize,
    broken: bool,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = self.0.lock().unwrap();
        if shown.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        shown.bytes.extend_from_slice(bytes);
        shown.writes += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut shown = self.0.lock().unwrap();
        if shown.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        shown.flushed = shown.bytes.len();
        Ok(())
    }
}

struct Stdout {
    config: StdoutConfig,
    screen: Screen,
}

impl Stdout {
    fn new(format: Format) -> Self {
        Self { config: StdoutConfig { format }, screen: Screen::default() }
    }

    fn sink(&self) -> StdoutSink {
        StdoutSink::new(self.config.format, self.screen.clone())
    }
}

#[async_trait]
impl Subject for Stdout {
    fn config(&self) -> &dyn SinkConfig {
        &self.config
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(self.sink()))
    }

    async fn delivered(&self) -> Vec<String> {
        let shown = self.screen.0.lock().unwrap();
        let flushed = String::from_utf8(shown.bytes[..shown.flushed].to_vec()).unwrap();
        // In both formats the first "id" of a line is the event's.
        flushed.lines().map(|line| line.split("\"id\":\"").nth(1).unwrap()[..36].to_owned()).collect()
    }

    fn poison(&self) -> Has<EventBuilder> {
        match self.config.format {
            Format::Cloudevents => Has::No("a CloudEvents line holds any body"),
            Format::Raw => Has::Yes(event("unparsable").body("two\nlines")),
        }
    }

    async fn take_down(&self) -> Has<()> {
        self.screen.0.lock().unwrap().broken = true;
        Has::Yes(())
    }

    async fn bring_up(&self) {
        self.screen.0.lock().unwrap().broken = false;
    }

    fn repeats(&self) -> Repeats {
        Repeats::MayDuplicate
    }
}

#[tokio::test]
async fn cloudevents_lines_keep_the_contract() {
    let summary = run_all(&Stdout::new(Format::Cloudevents)).await.unwrap();
    assert!(summary.excused.iter().all(|(_, why)| *why == "a CloudEvents line holds any body"), "{summary:?}");
}

#[tokio::test]
async fn raw_lines_keep_the_contract_with_nothing_excused() {
    assert!(run_all(&Stdout::new(Format::Raw)).await.unwrap().excused.is_empty());
}

#[tokio::test]
async fn a_batch_is_one_write() {
    let stdout = Stdout::new(Format::Raw);
    let slots = stdout.sink().deliver(&batch([event("a").delivery(), event("b").delivery()])).await.into_slots();
    assert_eq!(slots, [Some(Outcome::Delivered), Some(Outcome::Delivered)]);
    assert_eq!(stdout.screen.0.lock().unwrap().writes, 1);
}

#[tokio::test]
async fn a_broken_pipe_is_retried_with_code_io() {
    let stdout = Stdout::new(Format::Raw);
    stdout.take_down().await;
    let slots = stdout.sink().deliver(&batch([event("a").delivery()])).await.into_slots();
    assert!(matches!(&slots[0], Some(Outcome::Retry { why, .. }) if why.code == code::IO), "{slots:?}");
}

#[test]
fn the_example_is_read_and_unknown_keys_are_faults() {
    read_example(&KIND).unwrap();
    let faults = read_table(&KIND, "fromat = \"raw\"").unwrap_err();
    assert_eq!(faults[0].help.as_deref(), Some("did you mean `format`?"), "{faults:?}");
    assert!(read_table(&KIND, "format = \"xml\"").is_err());
}
