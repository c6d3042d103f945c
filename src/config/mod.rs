//! `config.toml`: text in, a [`Config`] or all of its faults out. A config with a fault has no effect at all.
//!
//! Rooms: `load` reads table after table, with the type of the room that a table belongs to, `load_rules` those with
//! rules, `load_resends` those about sending; `front` certificates and the health path; `sinks` shares a sink's table
//! between the core and the sink's kind;
//! `interpolate`, `env` and `dot_env` fill in `${…}`; `faults` prints what is wrong, `location` finds where, `mask`
//! hides the secrets, which `credentials` knows; `exposed` warns where others may read them; `slips` and `unfilled`
//! recognise what people often write by mistake; `limits` has bounds of numbers; `schema` makes a JSON Schema of the
//! whole; `digest` tells whether a sink has changed; `reading` reads the file, whose text is [`Written`], and `lenient`
//! what can be told of one that is no TOML; [`last_good`] keeps the text in force, for a start that finds the file
//! refused; `shown` makes a text fit to be shown, and `other_rules` puts rules to be tried in the place of those in
//! force. Pure but for `reading`, [`last_good`] and [`RealEnv`]; opens nothing else, starts nothing.

mod credentials;
mod digest;
mod dot_env;
mod env;
mod exposed;
mod faults;
mod front;
mod interpolate;
pub mod last_good;
mod lenient;
mod limits;
mod load;
mod load_resends;
mod load_rules;
mod load_senders;
mod location;
mod mask;
mod other_rules;
mod reading;
pub mod schema;
mod shown;
mod sinks;
mod slips;
#[cfg(test)]
pub(crate) mod tests;
mod unfilled;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

pub use credentials::is_credential;
pub use env::{Env, Problem, RealEnv};
pub use faults::{Faults, Located, Severity};
pub use interpolate::FixedKey;
pub use load::{Dirs, load, load_admin, load_dirs};
pub use mask::{Masker, Masks};
pub use other_rules::with_rules;
pub use reading::{Reading, read, read_admin, read_dirs, read_zone};
pub use shown::{shown, syntax_fault};
pub use sinks::SinkEntry;
pub use written::{Digest, Written, digest};

use crate::admin::AdminConfig;
use crate::deliver::DeliveryConfig;
use crate::ingress::{ServerConfig, SourcePlan, Tls};
use crate::journal::JournalConfig;
use crate::ledger::DeadLetterKeys;
use crate::outbox::Rules;
use crate::route::cases::Case;
use crate::route::{RouteConfig, RuleSet};
use crate::telemetry::config::LogConfig;
use crate::times::Zone;
use crate::traces::TracingConfig;

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
    /// By whose clock people read and write times.
    pub timezone: Zone,
    /// The listener.
    pub server: ServerConfig,
    /// What its addresses with TLS need, read from the files that it names.
    pub tls: Option<Tls>,
    /// What the log says.
    pub log: LogConfig,
    /// Where spans are sent.
    pub tracing: TracingConfig,
    /// The journal; `dir` is always set, and absolute.
    pub journal: JournalConfig,
    /// The admin listener.
    pub admin: AdminConfig,
    /// What all sinks share.
    pub delivery: DeliveryConfig,
    /// Bounds of dead letters.
    pub dead_letters: DeadLetterKeys,
    /// The sources, each read into its plan, in file order. At least one; no two have the same path.
    pub sources: Vec<Arc<SourcePlan>>,
    /// The sinks, in file order; behind them the daemon's own, where there is one.
    pub sinks: Vec<SinkEntry>,
    /// The routes as written, in file order.
    pub routes: Vec<RouteConfig>,
    /// The routes, compiled; behind them those that stand in no file.
    pub rules: Arc<RuleSet>,
    /// The rules by which messages that failed are sent again, in file order.
    pub resends: Arc<Rules>,
    /// Tests of the rules, in file order.
    pub tests: Vec<Case>,
    /// Warnings about what is written in the file and does not do what it says.
    pub warnings: Vec<Located>,
    /// The keys whose values come from the process's own environment, so that no reload can change them.
    pub fixed: Vec<FixedKey>,
    /// The text that it was read from.
    pub written: Written,
    /// The secrets, which must not be printed.
    pub masks: Masks,
}

impl Config {
    /// The sinks that stand in the file, in its order.
    pub fn own_sinks(&self) -> impl Iterator<Item = &SinkEntry> {
        self.sinks.iter().filter(|sink| !sink.implicit)
    }

    /// The names of all sinks: in file order, and behind them the daemon's own.
    pub fn sink_names(&self) -> impl Iterator<Item = String> {
        self.sinks.iter().map(|sink| sink.name.clone())
    }
}
