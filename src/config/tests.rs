//! Tests of the config as a whole. `bad`, `bad_journal`, `bad_resends`, `bad_slips` and `bad_sources` hold the tables
//! of bad configs, `bounds` what is too much, `good` what a good one comes to, `sending` one that sends messages.

mod bad;
mod bad_journal;
mod bad_resends;
mod bad_slips;
mod bad_sources;
mod bounds;
mod example;
mod good;
mod schema;
mod secrets;
mod sending;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Config, Env, Faults, load};
use crate::registry::KINDS;

/// An environment of its own, so that no test touches the process's.
#[derive(Default)]
struct FakeEnv {
    variables: HashMap<String, String>,
    files: HashMap<PathBuf, String>,
}

impl FakeEnv {
    fn of(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { variables, files: HashMap::new() }
    }

    fn with_file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.to_owned());
        self
    }
}

impl Env for FakeEnv {
    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Its variables are there already.
    fn include(&self, path: &Path) -> io::Result<()> {
        self.read_file(path).map(drop)
    }
}

/// The least a config needs, on one line, so that what a test adds begins on line 2.
pub(crate) const SOURCE: &str =
    "sources.interakt = { kind = \"interakt\", path = \"/webhooks/interakt\", secret = \"a-long-secret\" }\n";

/// A good config, from `/etc/relay/config.toml`, for the tests of other rooms.
pub(crate) fn config(text: &str) -> Config {
    config_with(text, &[])
}

/// The same with variables.
pub(crate) fn config_with(text: &str, variables: &[(&str, &str)]) -> Config {
    read(text, &FakeEnv::of(variables)).unwrap_or_else(|faults| panic!("{faults}"))
}

fn read(text: &str, env: &FakeEnv) -> Result<Config, Faults> {
    load(text, Path::new("/etc/relay/config.toml"), env, KINDS)
}

/// A bad config behind [`SOURCE`] (line 1), and what must be found in its faults: `LINE:COL` and texts.
struct Bad(&'static str, &'static [&'static str]);

fn faults(text: &str, env: &FakeEnv) -> String {
    read(text, env).map(|_| ()).unwrap_err().to_string()
}
