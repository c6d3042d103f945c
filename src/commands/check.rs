//! `hookrelay check`: says whether the config is right, and with `--connect` whether its sinks could take deliveries
//! now.

use clap::Args;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sink_api::{DiskFloor, SinkContext};

use super::test::{self, Outcome};
use super::{Failure, block_on, count};
use crate::config::{self, Config, Faults, Located, Masks, SinkEntry};
use crate::daemon::{DaemonError, inspecting};
use crate::journal::folder::{self, FolderError};
use crate::registry::KINDS;

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also ask each sink whether it could take deliveries now; delivers nothing
    #[arg(long)]
    pub connect: bool,
    /// Leave out the config's `[[tests]]`
    #[arg(long)]
    pub no_tests: bool,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Faults go to standard error, all at once, each beginning FILE:LINE:COL: error: … Values that
came in by ${…} are shown as ${NAME}. Warnings tell what is taken and cannot be meant, such as a
type that is spelled wrongly; they leave the exit code alone. The config's [[tests]] are run; those
that fail are told as `test` tells them.

What it touches: it reads the config, the .env beside it, and the files that env_file, ${file:…} and
[[tests]] name. It runs the jq programs that the tests ask in processes of their own. It
writes nothing and connects to nothing.

--connect connects to what each sink delivers to, and asks whether the sink could take deliveries now:
servers are logged in to, folders and databases looked at, programs of `exec` sinks started without
work, and the owner and mode of the data folders judged as a start would; so are the topics of a
journal on Kafka. It delivers, creates and changes nothing (an empty temporary folder for each sink
is removed again), and says what `run` would create.

Exit codes: 0 fine, 1 a test failed, 78 the config has faults or (--connect only) a start would
refuse a data folder or the journal's topics, 69 a sink or the journal's brokers did not answer
(--connect only).";

/// Longest time that a sink is waited for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct Verdict<'c> {
    ok: bool,
    faults: &'c [Located],
    warnings: &'c [Located],
    /// The tests that failed.
    failed_tests: &'c [Outcome],
    #[serde(skip_serializing_if = "Option::is_none")]
    sinks: &'c Option<Vec<Probed>>,
    /// What the brokers answered that keep the journal, with `--connect` and where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: &'c Option<Answered>,
    /// Why the daemon would refuse its data folder or the journal's, with `--connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
}

/// What a sink answered.
#[derive(Serialize)]
struct Probed {
    sink: String,
    kind: &'static str,
    #[serde(flatten)]
    answer: Answered,
}

/// What somebody answered whom the daemon needs.
#[derive(Serialize)]
struct Answered {
    ok: bool,
    /// Why the daemon could not work with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// A note about one that the daemon could work with, such as what `run` would create.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Answered {
    fn new(answer: Result<Option<String>, String>, masks: &Masks) -> Self {
        let (why, note) = match answer {
            Ok(note) => (None, note.map(|note| masks.mask(&note))),
            Err(why) => (Some(masks.mask(&why)), None),
        };
        Self { ok: why.is_none(), why, note }
    }

    fn text(&self) -> String {
        match (&self.why, &self.note) {
            (Some(why), _) => why.clone(),
            (None, Some(note)) => format!("ok: {note}"),
            (None, None) => "ok".to_owned(),
        }
    }
}

/// Validates a config file.
///
/// # Errors
/// Its faults; with `--connect`, sinks that do not answer.
pub fn run(file: &Path, args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    match config::read(file, KINDS) {
        Ok(config) => passed(&config, args, out),
        Err(Faults(faults)) if args.json => {
            write_json(
                &Verdict {
                    ok: false,
                    faults: &faults,
                    warnings: &[],
                    failed_tests: &[],
                    sinks: &None,
                    journal: &None,
                    folder: None,
                },
                out,
            )?;
            Err(Failure::ConfigTold)
        }
        Err(faults) => Err(faults.into()),
    }
}

fn passed(config: &Config, args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if !args.json {
        for warning in &config.warnings {
            // These are remarks: if standard error is gone, they are lost.
            let _ = writeln!(std::io::stderr(), "{warning}");
        }
        let mut counts = vec![
            count(config.sources.len(), "source"),
            count(config.own_sinks().count(), "sink"),
            count(config.routes.len(), "route"),
        ];
        if !config.resends.is_empty() {
            counts.push(count(config.resends.len(), "resend rule"));
        }
        if !args.no_tests {
            counts.push(count(config.tests.len(), "test"));
        }
        writeln!(out, "{}: ok: {}", config.file.display(), counts.join(", "))?;
    }
    let tests = if args.no_tests { vec![] } else { test::outcomes(config, &config.tests, &config.base_dir)? };
    let ran = tests.len();
    let failed_tests: Vec<Outcome> = tests.into_iter().filter(|outcome| !outcome.ok).collect();
    if !args.json {
        for outcome in &failed_tests {
            write!(out, "{}", test::as_text(outcome))?;
        }
    }
    let found = if args.connect { connect(config)? } else { Connected::default() };
    if args.json {
        let ok = found.is_fine() && failed_tests.is_empty();
        let (warnings, failed_tests) = (&config.warnings, &failed_tests);
        let Connected { sinks, journal, folder, .. } = &found;
        let folder = folder.as_ref().map(ToString::to_string);
        write_json(&Verdict { ok, faults: &[], warnings, failed_tests, sinks, journal, folder }, out)?;
    } else {
        found.write(out)?;
    }
    test::verdict(ran, failed_tests.len())?;
    found.verdict()
}

/// What `--connect` has found; nothing without it.
#[derive(Default)]
struct Connected {
    sinks: Option<Vec<Probed>>,
    /// What whoever keeps the journal answered; `None` where this machine keeps it.
    journal: Option<Answered>,
    /// Why a start would refuse the journal.
    refused: Option<DaemonError>,
    /// Why a start would refuse a data folder.
    folder: Option<FolderError>,
}

/// Asks all that the daemon needs.
fn connect(config: &Config) -> Result<Connected, Failure> {
    let all = async { Ok(tokio::join!(probe_all(config), inspecting::journal(config))) };
    let (sinks, asked) = block_on(all)?;
    let made = |topics: Vec<String>| (!topics.is_empty()).then(|| format!("`run` makes {}", topics.join(", ")));
    let (answer, refused) = match asked {
        Ok(missing) => (missing.map(|topics| Ok(made(topics))), None),
        Err(error) => (Some(Err(error.to_string())), Some(error).filter(DaemonError::is_of_config)),
    };
    let journal = answer.map(|answer| Answered::new(answer, &config.masks));
    Ok(Connected { sinks: Some(sinks), journal, refused, folder: inspect_folders(config).err() })
}

impl Connected {
    fn is_fine(&self) -> bool {
        let mut answers = self.journal.iter().chain(self.sinks.iter().flatten().map(|sink| &sink.answer));
        answers.all(|answer| answer.ok) && self.folder.is_none()
    }

    /// A row for each that was asked. What a start refuses is told in full by [`Self::verdict`].
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        const JOURNAL: &str = "[journal]";
        let sinks = self.sinks.iter().flatten().map(|sink| (sink.sink.as_str(), sink.kind, &sink.answer));
        let journal = self.journal.iter().filter(|_| self.refused.is_none()).map(|answer| (JOURNAL, "kafka", answer));
        let rows: Vec<_> = journal.chain(sinks).collect();
        let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
        rows.iter().try_for_each(|(name, kind, answer)| writeln!(out, "  {name:width$}  {kind:7} {}", answer.text()))
    }

    fn verdict(self) -> Result<(), Failure> {
        if let Some(error) = self.folder {
            return Err(DaemonError::from(error).into());
        }
        if let Some(error) = self.refused {
            return Err(error.into());
        }
        let failed = self.sinks.iter().flatten().filter(|sink| !sink.answer.ok).count();
        let silent = self.journal.is_some_and(|journal| !journal.ok).then(|| "the journal's Kafka".to_owned());
        let silent: Vec<String> = silent.into_iter().chain((failed > 0).then(|| count(failed, "sink"))).collect();
        if silent.is_empty() {
            Ok(())
        } else {
            Err(Failure::Unavailable(format!("{} did not answer", silent.join(", "))))
        }
    }
}

fn write_json(verdict: &Verdict<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let json = serde_json::to_string(verdict).map_err(std::io::Error::from)?;
    Ok(writeln!(out, "{json}")?)
}

/// Looks at the folders that the daemon would use, and changes nothing.
fn inspect_folders(config: &Config) -> Result<(), FolderError> {
    folder::inspect(&config.data_dir)?;
    config.journal.dir.as_deref().map_or(Ok(()), folder::inspect)
}

/// Asks the sinks one after the other, in the order of the file.
async fn probe_all(config: &Config) -> Vec<Probed> {
    let mut probed = Vec::new();
    for sink in config.own_sinks() {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, probe(config, sink)).await;
        let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())));
        let answer = Answered::new(answer, &config.masks);
        probed.push(Probed { sink: sink.name.clone(), kind: sink.kind.name, answer });
    }
    probed
}

async fn probe(config: &Config, entry: &SinkEntry) -> Result<Option<String>, String> {
    // The sink gets an empty folder in place of its own, which only the daemon may use.
    let state = Scratch::new(&entry.name).map_err(|error| format!("no temporary folder: {error}"))?;
    let context = SinkContext {
        name: entry.name.clone(),
        base_dir: config.base_dir.clone(),
        state_dir: state.0.clone(),
        floor: DiskFloor { min_free: config.journal.min_free.0 },
        outbox: std::sync::Arc::new(sink_api::NoOutbox),
    };
    entry.config.inspect(&context).await.map_err(|error| error.to_string())
}

/// A temporary folder, removed when dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("hookrelay-check-{name}-{}", uuid::Uuid::now_v7()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, a folder stays behind among the system's temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
