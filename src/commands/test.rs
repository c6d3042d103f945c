//! `hookrelay test`: the rules' own tests, `[[tests]]` of the config and of further files. Each event goes through the
//! code that delivers; nothing is delivered, opened or journaled.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};
use sink_api::files::{self, Patience};

use super::explain::headers;
use super::{Failure, block_on, count, source_or_own};
use crate::config::{Config, MAX_FILE};
use crate::route::cases::Case;
use crate::route::{printable, printable_json};
use crate::trial::{Trial, event};

/// `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Further files with `[[tests]]`; the events they name lie beside them
    #[arg(value_name = "TESTS.toml")]
    pub files: Vec<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
A test names an event (a file with a webhook's body, or the body itself), the sinks that must get
something of it, exactly these, and if it likes what some deliveries hold:

  [[tests]]
  name  = \"a failure reaches the pipeline\"
  event = \"tests/message_api_failed.json\"      # or body = '''{…}'''
  sinks = [\"archive\", \"pipeline\"]
  deliveries = [{ sink = \"pipeline\", topic = \"whatsapp.message_api_failed\", payload = { status = \"Failed\" } }]

A delivery may say id (what follows the event's id), key, topic, path, url and payload (of objects
a subset). `check` runs the config's own tests too.

Exit codes: 0 all passed, 1 some failed, 78 the config has faults.";

/// What became of a test.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Whether all is as expected.
    pub ok: bool,
    /// What is not.
    pub differences: Vec<String>,
}

#[derive(Serialize)]
struct Outcomes<'o> {
    ok: bool,
    tests: &'o [Outcome],
}

/// A further file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Further {
    #[serde(default)]
    tests: Vec<Case>,
}

/// Runs all tests and tells of each.
///
/// # Errors
/// Tests that failed, files that cannot be read.
pub fn run(config: &Config, args: &TestArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut outcomes = outcomes(config, &config.tests, &config.base_dir)?;
    for file in &args.files {
        let cases = further(config, file)?;
        outcomes.extend(self::outcomes(config, &cases, file.parent().unwrap_or(Path::new("")))?);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.ok).count();
    if args.json {
        let json = serde_json::to_string(&Outcomes { ok: failed == 0, tests: &outcomes });
        writeln!(out, "{}", printable_json(&json.map_err(std::io::Error::from)?))?;
    } else {
        for outcome in &outcomes {
            write!(out, "{}", as_text(outcome))?;
        }
        let passed = outcomes.len() - failed;
        writeln!(out, "{}: {passed} passed, {failed} failed", count(outcomes.len(), "test"))?;
    }
    verdict(outcomes.len(), failed)
}

/// What is said at the end.
///
/// # Errors
/// Where any failed.
pub fn verdict(all: usize, failed: usize) -> Result<(), Failure> {
    if failed == 0 { Ok(()) } else { Err(Failure::Refused(format!("{failed} of {} failed", count(all, "test")))) }
}

/// A test's lines for people.
pub fn as_text(outcome: &Outcome) -> String {
    let mark = if outcome.ok { "ok  " } else { "FAIL" };
    let mut text = format!("{mark}  {}\n", printable(&outcome.name));
    for line in &outcome.differences {
        text.push_str(&format!("        {}\n", printable(line)));
    }
    text
}

/// What became of each test, where `dir` is the folder their events lie in.
///
/// # Errors
/// Where no worker process can be started.
pub fn outcomes(config: &Config, cases: &[Case], dir: &Path) -> Result<Vec<Outcome>, Failure> {
    let mut trial = Trial::new(config);
    let patience = Patience::new();
    block_on(async {
        let mut outcomes = Vec::with_capacity(cases.len());
        for case in cases {
            let differences = match differences(config, &mut trial, case, dir, &patience).await? {
                Ok(lines) => lines,
                Err(line) => vec![line],
            };
            let differences: Vec<String> = differences.iter().map(|line| config.masks.mask(line)).collect();
            outcomes.push(Outcome { name: config.masks.mask(&case.name), ok: differences.is_empty(), differences });
        }
        Ok(outcomes)
    })
}

/// How far one test is from what it expects, or why it cannot be run.
async fn differences(
    config: &Config,
    trial: &mut Trial<'_>,
    case: &Case,
    dir: &Path,
    patience: &Patience,
) -> Result<Result<Vec<String>, String>, Failure> {
    let source = source_or_own(config, case.source.as_deref())?;
    let body = match (&case.body, &case.event) {
        (Some(body), _) => body.clone().into_bytes(),
        (None, name) => {
            match read(&dir.join(name.as_deref().unwrap_or_default()), config.server.max_body.0, patience) {
                Ok(body) => body,
                Err(line) => return Ok(Err(line)),
            }
        }
    };
    let lines: Vec<String> = case.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let explanation = trial.explain(&Arc::new(event(source, &headers(&lines)?, body.into()).0)).await?;
    let names = |sink: &str, route: usize| config.routes.get(route).is_some_and(|r| r.to.iter().any(|to| to == sink));
    Ok(Ok(case.differences(&explanation, names)))
}

fn read(file: &Path, max: u64, patience: &Patience) -> Result<Vec<u8>, String> {
    files::read(file, max, patience).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => {
            format!("event {}: larger than max_body ({max} bytes): it would be answered 413", file.display())
        }
        _ => format!("event {}: {error}", file.display()),
    })
}

/// The tests of a further file.
fn further(config: &Config, file: &Path) -> Result<Vec<Case>, Failure> {
    let refused = |what: String| Failure::Refused(format!("{}: {what}", file.display()));
    let text = files::read_text(file, MAX_FILE, &Patience::new()).map_err(|error| refused(error.to_string()))?;
    let further: Further = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
    let sinks: Vec<&str> = config.own_sinks().map(|sink| sink.name.as_str()).collect();
    let sources: Vec<&str> = config.sources.iter().map(|source| &*source.name).collect();
    for case in &further.tests {
        let faults = case.check(&sinks, &sources).err().unwrap_or_default();
        if let Some(fault) = faults.first() {
            let help = fault.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
            return Err(refused(format!("test {:?}: {}{help}", case.name, fault.message)));
        }
    }
    Ok(further.tests)
}
