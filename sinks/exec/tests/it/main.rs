//! What the exec sink promises, tried on real programs. This file: the table of contents and the helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

/// The suite every sink runs.
mod conformance;
/// The programs in `examples/`, and the table in `example.toml`.
mod examples;
/// Programs that hang, die, or answer nonsense.
mod failures;
/// `examples/mail.py`.
mod mail;
/// What a program is given, and what is left of it.
mod surroundings;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sink_api::{Batch, BuildError, Delivery, Outcome, Sink, SinkConfig};
use sink_testkit::{batch, context, detail, event, read_table, verdict};
use tempfile::TempDir;

/// Longest a call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What every shell program here begins with: `next` reads a delivery's `$id`, `say OUTCOME [ID]` answers, `note WORD`
/// writes a line into the file `notes`, `runs` counts the program's starts.
pub const PRELUDE: &str = r#"
next() { IFS= read -r line || return 1; id=${line#*'"id":"'}; id=${id%%'","source":"'*}; }
say() { printf '{"id":"%s","outcome":"%s"}\n' "${2:-$id}" "$1"; }
note() { printf '%s\n' "$1" >>notes; }
note start
runs() { grep -c '^start$' notes; }
"#;

/// A sink's config, and the folder its program runs in.
pub struct Fixture {
    pub dir: TempDir,
    pub config: Box<dyn SinkConfig>,
}

impl Fixture {
    /// A program in shell, behind [`PRELUDE`].
    pub fn sh(program: &str) -> Self {
        Self::with("command = [\"sh\", \"program.sh\"]", program)
    }

    /// With these lines of config, and a `program.sh`.
    pub fn with(lines: &str, program: &str) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("program.sh"), format!("{PRELUDE}{program}")).unwrap();
        Self { dir, config: read_table(&sink_exec::KIND, lines).unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Lines of a file; none where it is not there yet.
    pub fn lines(&self, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// How often the program was started.
    pub fn starts(&self) -> usize {
        self.lines("notes").iter().filter(|line| *line == "start").count()
    }

    /// What the program noted, its starts left out.
    pub fn notes(&self) -> Vec<String> {
        self.lines("notes").into_iter().filter(|line| line != "start").collect()
    }

    pub async fn build(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.config.build(&context("mine", self.dir.path())).await
    }

    pub async fn open(&self) -> Box<dyn Sink> {
        self.build().await.unwrap()
    }
}

/// A delivery of this id, with a key of its own.
pub fn one(id: &str) -> Delivery {
    keyed(id, id)
}

/// A delivery of this id and key.
pub fn keyed(id: &str, key: &str) -> Delivery {
    event("t").key(key).delivery_id(id).delivery()
}

/// A batch of deliveries with these ids, each with a key of its own.
pub fn ones(ids: &[&str]) -> Batch {
    batch(ids.iter().map(|id| one(id)))
}

/// The same batch with that much time.
pub fn within(owed: Batch, time: Duration) -> Batch {
    Batch { deadline: Instant::now() + time, ..owed }
}

pub async fn deliver(sink: &dyn Sink, batch: &Batch) -> Vec<Option<Outcome>> {
    tokio::time::timeout(PATIENCE, sink.deliver(batch)).await.expect("deliver hangs").into_slots()
}

/// What became of each delivery, in words.
pub async fn verdicts(sink: &dyn Sink, batch: &Batch) -> Vec<String> {
    deliver(sink, batch).await.iter().map(verdict).collect()
}

/// Details of what was not delivered.
pub fn details(slots: &[Option<Outcome>]) -> Vec<&str> {
    let failed = slots.iter().filter(|slot| !matches!(slot, Some(Outcome::Delivered) | None));
    failed.map(detail).collect()
}

/// Whether a process runs: it is there, and no zombie that nobody has reaped.
pub fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}
