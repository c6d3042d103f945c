//! `config.toml`: text in, a [`Config`] or all of its faults out. A config with a fault has no effect at all.
//!
//! Rooms: `load` reads table after table, with the type of the room that a table belongs to; `sinks` shares a sink's
//! table between the core and the sink's kind; `front` reads
//! certificates; `interpolate` and `env` fill in `${…}`; `faults` prints what is wrong,
//! `location` finds where, `mask` hides the secrets, which `credentials` knows; `exposed` warns where others may read
//! them; `slips` and `unfilled` recognise what people often write by mistake; `limits` has bounds of numbers; `schema`
//! makes a JSON Schema of the whole; `digest` tells whether a sink has changed. Pure but for [`read`] and [`RealEnv`];
//! opens nothing else, starts nothing.

mod credentials;
mod digest;
mod dot_env;
mod env;
mod exposed;
mod faults;
mod front;
mod interpolate;
mod limits;
mod load;
mod location;
mod mask;
pub mod schema;
mod sinks;
mod slips;
#[cfg(test)]
pub(crate) mod tests;
mod unfilled;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sink_api::SinkKind;
use sink_api::files::{self, Patience};

pub use credentials::is_credential;
pub use env::{Env, Problem, RealEnv};
pub use faults::{Faults, Located, Severity};
pub use interpolate::FixedKey;
pub use load::{Dirs, load, load_admin, load_dirs};
pub use mask::{Masker, Masks};
pub use sinks::SinkEntry;

use crate::admin::AdminConfig;
use crate::ingress::{ServerConfig, SourcePlan, Tls};
use crate::journal::JournalConfig;
use crate::ledger::DeadLetterKeys;
use crate::route::cases::Case;
use crate::route::{RouteConfig, RuleSet};

/// Largest config file.
pub const MAX_FILE: u64 = 4 << 20;

/// A config without faults. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from, as the command line named it.
    pub file: PathBuf,
    /// The file's folder, absolute: relative paths start here.
    pub base_dir: PathBuf,
    /// The folder in which the daemon keeps what it must not lose; absolute.
    pub data_dir: PathBuf,
    /// The listener.
    pub server: ServerConfig,
    /// What its addresses with TLS need, read from the files that it names.
    pub tls: Option<Tls>,
    /// The journal; `dir` is always set, and absolute.
    pub journal: JournalConfig,
    /// The admin listener.
    pub admin: AdminConfig,
    /// Bounds of dead letters.
    pub dead_letters: DeadLetterKeys,
    /// The sources, each read into its plan, in file order. At least one; no two have the same path.
    pub sources: Vec<Arc<SourcePlan>>,
    /// The sinks, in file order.
    pub sinks: Vec<SinkEntry>,
    /// The routes as written, in file order.
    pub routes: Vec<RouteConfig>,
    /// The routes, compiled.
    pub rules: Arc<RuleSet>,
    /// Tests of the rules, in file order.
    pub tests: Vec<Case>,
    /// Warnings about what is written in the file and does not do what it says.
    pub warnings: Vec<Located>,
    /// The keys whose values come from the process's own environment, so that no reload can change them.
    pub fixed: Vec<FixedKey>,
    /// The secrets, which must not be printed.
    pub masks: Masks,
}

impl Config {
    /// The names of the sinks, in file order.
    pub fn sink_names(&self) -> impl Iterator<Item = String> {
        self.sinks.iter().map(|sink| sink.name.clone())
    }
}

/// Reads a config file, with the process's environment and the `.env` beside the file.
///
/// # Errors
/// All faults; a file that cannot be read is one.
pub fn read(file: &Path, kinds: &[SinkKind]) -> Result<Config, Faults> {
    let (text, env) = text_and_env(file)?;
    let mut config = load(&text, file, &env, kinds)?;
    config.warnings.extend(exposed::warnings(file, &text, &env, &config.masks));
    Ok(config)
}

/// Reads what a live verb needs of a config file: `data_dir` and `[admin]`. Faults of other tables do not matter, nor
/// does a `${…}` in them that cannot be filled in.
///
/// # Errors
/// The faults of these two, and faults of syntax.
pub fn read_admin(file: &Path) -> Result<AdminConfig, Faults> {
    let (text, env) = text_and_env(file)?;
    load_admin(&text, file, &env)
}

/// Reads the daemon's folders from a config file; other tables do not matter.
///
/// # Errors
/// The faults of `data_dir` and `[journal]`, and faults of syntax.
pub fn read_dirs(file: &Path) -> Result<Dirs, Faults> {
    let (text, env) = text_and_env(file)?;
    load_dirs(&text, file, &env)
}

/// The config's text, and the source of its `${…}`. Pipes among all these files are waited for no longer than
/// [`files::PATIENCE`] in total.
fn text_and_env(file: &Path) -> Result<(String, RealEnv), Faults> {
    let patience = Patience::new();
    let text = text(file, &patience)?;
    Ok((text, RealEnv::new(file.parent().unwrap_or(Path::new("")), patience)))
}

fn text(file: &Path, patience: &Patience) -> Result<String, Faults> {
    let bytes = files::read(file, MAX_FILE, patience);
    let bytes = bytes.map_err(|error| Faults::of_file(file, format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| not_text(file, &error))
}

/// The fault of a file that is not UTF-8, at its first bad byte.
fn not_text(file: &Path, error: &std::string::FromUtf8Error) -> Faults {
    let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let good = String::from_utf8_lossy(good);
    let mut faults =
        Faults::of_file(file, "is not UTF-8 from here on, as TOML must be: save the file in that encoding");
    for fault in &mut faults.0 {
        fault.line = good.matches('\n').count() + 1;
        fault.column = good.chars().rev().take_while(|c| *c != '\n').count() + 1;
    }
    faults
}
