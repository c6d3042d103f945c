//! Lines for systemd's journal: each begins with its priority (`<4>` …), as sd-daemon(3) has it, and has no time and no
//! colours, as the journal keeps its own time. A line that was meant for several is marked in each of them.

use std::fmt::{self, Write as _};
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Syslog's priority of an error (syslog(3)).
const ERROR: u8 = 3;

/// Whether standard error goes to the journal: systemd says in `JOURNAL_STREAM` which stream that is, by device and
/// inode (systemd.exec(5)), and standard error may have been sent elsewhere since.
pub fn is_reading() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let there = std::fs::metadata("/proc/self/fd/2").ok();
    named.zip(there).is_some_and(|(named, there)| named == format!("{}:{}", there.dev(), there.ino()))
}

/// What goes to standard error beside the log, as an error; as it is where the journal does not read it.
pub fn as_error(text: &str) -> String {
    if is_reading() { marked(ERROR, text).unwrap_or_default() } else { text.to_owned() }
}

/// Formats events for the journal.
pub(super) struct Lines(Format<Full, ()>);

impl Lines {
    pub fn new() -> Self {
        Self(Format::default().without_time().with_level(false).with_target(false).with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writeln!(writer, "{}", marked(priority(*event.metadata().level()), text.trim_end())?)
    }
}

/// Syslog's priority for a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => ERROR,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The text with the priority before each of its lines.
fn marked(priority: u8, text: &str) -> Result<String, fmt::Error> {
    let mut marked = String::with_capacity(text.len() + 3);
    for (n, line) in text.lines().enumerate() {
        write!(marked, "{}<{priority}>{line}", if n == 0 { "" } else { "\n" })?;
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::levels::tests::Written;

    #[test]
    fn a_line_has_its_priority_its_fields_and_neither_time_nor_level() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).event_format(Lines::new());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(address = "127.0.0.1:4000", "listening");
            tracing::warn!("two\nlines");
            tracing::error!(reason = %"full", "cannot write");
        });
        let text = written.text();
        let wanted = "<6>listening address=\"127.0.0.1:4000\"\n<4>two\n<4>lines\n<3>cannot write reason=full\n";
        assert_eq!(text, wanted);
    }
}
