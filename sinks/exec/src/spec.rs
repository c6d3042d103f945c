//! What a program is started with, and what all runs of it share: its environment, what must not be shown, the budgets of
//! our log, and the runs that have been killed but may not be dead yet. Starts nothing itself.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sink_api::{BuildError, Reason, SinkContext, code};

use crate::config::ExecConfig;
use crate::limit::Limit;
use crate::program::Exit;

/// Variables of the daemon's own environment that every program gets, where they are set.
const INHERITED: &[&str] = &["PATH", "HOME", "LANG", "TZ"];
/// Variables with this prefix are set by the sink.
pub const OWN_PREFIX: &str = "HOOKRELAY_";
/// What a program gets unless `env` says otherwise: Python writes out each verdict at once then, not a block of them.
const DEFAULTS: &[(&str, &str)] = &[("PYTHONUNBUFFERED", "1")];
/// Version of the protocol; changes when a program that keeps to the old one would no longer do.
const PROTOCOL: &str = "1";

/// Lines of standard error that are logged in one [`WINDOW`].
const ERROR_LINES: u32 = 50;
/// Messages of our own about a program in one [`WINDOW`].
const COMPLAINTS: u32 = 5;
/// What the log's budgets are counted over.
const WINDOW: Duration = Duration::from_secs(10);

/// What a program is started with.
pub struct Spec {
    /// The sink's name.
    pub sink: String,
    /// The program: a path, or a name to be looked for in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Its whole environment.
    pub env: Vec<(String, OsString)>,
    /// Longest line it is handed.
    pub max_line: usize,
    /// What must not be shown.
    pub mask: Mask,
    /// Budget of its standard error in our log.
    pub said: Mutex<Limit>,
    /// Budget of what we say about it.
    pub complaints: Mutex<Limit>,
    /// Runs that were killed and may not be dead yet: none is started beside them.
    pub graves: Mutex<Vec<Exit>>,
}

impl Spec {
    /// From the config and today's environment.
    ///
    /// # Errors
    /// Where the working directory cannot be named absolutely.
    pub fn new(config: &ExecConfig, cx: &SinkContext) -> Result<Self, BuildError> {
        let dir = cx.resolve(&config.dir);
        let dir = std::path::absolute(if dir.as_os_str().is_empty() { ".".into() } else { dir })
            .map_err(|e| BuildError::Refused(format!("dir: {e}")))?;
        let mut command = config.command.iter();
        let program = command.next().cloned().unwrap_or_default();
        let program = if program.contains('/') { dir.join(program).into_os_string() } else { program.into() };
        let inherited = INHERITED.iter().filter_map(|&name| Some((name.to_owned(), std::env::var_os(name)?)));
        let defaults = DEFAULTS.iter().map(|&(name, value)| (name.to_owned(), value.into()));
        let own = [("SINK", cx.name.as_str()), ("PROTOCOL", PROTOCOL)];
        let own = own.map(|(name, value)| (format!("{OWN_PREFIX}{name}"), value.into()));
        let given = config.env.iter().map(|(name, value)| (name.clone(), value.expose().into()));
        Ok(Self {
            sink: cx.name.clone(),
            program,
            arguments: command.cloned().collect(),
            dir,
            env: inherited.chain(defaults).chain(own).chain(given).collect(), // a later one of a name stands
            max_line: config.max_line.as_usize(),
            mask: Mask::new(config.env.values().map(sink_api::Secret::expose)),
            said: Mutex::new(Limit::new(ERROR_LINES, WINDOW)),
            complaints: Mutex::new(Limit::new(COMPLAINTS, WINDOW)),
            graves: Mutex::default(),
        })
    }

    /// What became of an attempt to start it. Such a failure is the sink's, whatever the event: it opens the breaker.
    pub fn not_started(&self, error: &io::Error) -> Reason {
        let program = self.program.to_string_lossy();
        let what = match error.kind() {
            io::ErrorKind::NotFound if !self.dir.is_dir() => format!("dir {} is not there", self.dir.display()),
            io::ErrorKind::NotFound if program.contains('/') => format!("{program} is not there"),
            io::ErrorKind::NotFound => format!("{program} is in no folder of PATH"),
            _ => format!("{program}: {error}"),
        };
        Reason::new(code::CONNECT, format!("the program cannot be started: {what}"))
    }

    /// Says something about the program, unless much was said lately. `line` is what it wrote, where that is the matter;
    /// it stands in our log only, never in a reason.
    pub fn complain(&self, why: &str, line: &str) {
        let admitted = self.complaints.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        if let Some(left_out) = admitted {
            tracing::warn!(sink = self.sink, why, line, left_out, "the program is ended; the next delivery starts it");
        }
    }
}

/// Values of `env` that are long enough to be secrets: never shown, wherever the program repeats them.
pub struct Mask(Vec<String>);

/// Shorter values are words such as `prod` or `1`, which would be blotted out everywhere.
const SHORTEST_SECRET: usize = 8;

impl Mask {
    /// Hides these.
    pub fn new<'v>(values: impl Iterator<Item = &'v str>) -> Self {
        let mut values: Vec<String> = values.filter(|v| v.len() >= SHORTEST_SECRET).map(str::to_owned).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len())); // one may hold another
        Self(values)
    }

    /// A text that was cut off before it got here, without the beginning of a secret that it may end in.
    pub fn whole<'t>(&self, text: &'t str) -> &'t str {
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER); // a character that was cut
        let begun = |secret: &String| {
            (1..secret.len()).rev().find(|&n| secret.get(..n).is_some_and(|begun| text.ends_with(begun)))
        };
        let begun = self.0.iter().filter_map(begun).max().unwrap_or(0);
        text.get(..text.len() - begun).unwrap_or_default()
    }

    /// The text on one line, at most `max` bytes of it, secrets and control characters blotted out.
    pub fn clean(&self, text: &str, max: usize) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text.truncate(text.floor_char_boundary(max));
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_repeats_is_one_short_line_without_secrets() {
        let mask = Mask::new(["hush-hush", "hush-hush-hush", "prod"].into_iter());
        assert_eq!(mask.clean("\x1b[31m a hush-hush-hush\tb hush-hush\r\nprod\n", 500), "[31m a *** b ***  prod");
        assert_eq!(mask.clean(&"é".repeat(10), 5), "éé");
        assert_eq!(mask.whole("a hush-hush-h"), "a ");
        assert_eq!(mask.whole("a hush-hu\u{fffd}"), "a ");
        assert_eq!(mask.whole("nothing to see"), "nothing to see");
        assert_eq!(Mask::new(std::iter::empty()).whole("a"), "a");
    }
}
