//! `hookrelay check`: says whether the config is right, and with `--connect` whether its sinks could take deliveries
//! now.

use clap::Args;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sink_api::{DiskFloor, SinkContext};

use super::test::{self, Outcome};
use super::{Failure, block_on, count};
use crate::config::{self, Config, Faults, Located, SinkEntry};
use crate::daemon::DaemonError;
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
work, and the owner and mode of the data folders judged as a start would. It delivers, creates and
changes nothing (an empty temporary folder for each sink is removed again), and says what `run` would
create.

Exit codes: 0 fine, 1 a test failed, 78 the config has faults or (--connect only) a start would refuse a data folder,
69 a sink did not answer (--connect only).";

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
    sinks: Option<Vec<Probed>>,
    /// Why the daemon would refuse its data folder or the journal's, with `--connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
}

/// What a sink answered.
#[derive(Serialize)]
struct Probed {
    sink: String,
    kind: &'static str,
    ok: bool,
    /// Why it could not take deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// A note about a sink that could, such as what `run` would create.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Probed {
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
                &Verdict { ok: false, faults: &faults, warnings: &[], failed_tests: &[], sinks: None, folder: None },
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
    let probed = if args.connect { Some(block_on(probe_all(config))?) } else { None };
    let failed = probed.iter().flatten().filter(|p| !p.ok).count();
    let folder = if args.connect { inspect_folders(config).err() } else { None };
    if args.json {
        let (ok, faults) = (failed == 0 && failed_tests.is_empty() && folder.is_none(), &[]);
        let (warnings, failed_tests) = (&config.warnings, &failed_tests);
        let folder = folder.as_ref().map(ToString::to_string);
        write_json(&Verdict { ok, faults, warnings, failed_tests, sinks: probed, folder }, out)?;
    } else {
        let width = config.sinks.iter().map(|s| s.name.len()).max().unwrap_or_default();
        for probed in probed.iter().flatten() {
            writeln!(out, "  {:width$}  {:7} {}", probed.sink, probed.kind, probed.text())?;
        }
    }
    test::verdict(ran, failed_tests.len())?;
    if let Some(error) = folder {
        return Err(DaemonError::from(error).into());
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Unavailable(format!("{} did not answer", count(failed, "sink")))) }
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
async fn probe_all(config: &Config) -> Result<Vec<Probed>, Failure> {
    let mut probed = Vec::new();
    for sink in config.own_sinks() {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, probe(config, sink)).await;
        let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())));
        let (why, note) = match answer {
            Ok(note) => (None, note.map(|note| config.masks.mask(&note))),
            Err(why) => (Some(config.masks.mask(&why)), None),
        };
        probed.push(Probed { sink: sink.name.clone(), kind: sink.kind.name, ok: why.is_none(), why, note });
    }
    Ok(probed)
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
