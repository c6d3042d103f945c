//! What a program is started with, and what all runs of it share: its environment, what must not be shown, the budgets
//! of our log, and the runs that have been killed but may not be dead yet. Starts nothing itself.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use sink_api::{BuildError, LogLimit, Reason, SinkContext, code};

use crate::config::{ExecConfig, OWN_PREFIX};
use crate::exit::Exit;
use crate::mask::Mask;

/// Variables of the daemon's own environment that every program gets, where they are set.
const INHERITED: &[&str] = &["PATH", "HOME", "LANG", "TZ"];
/// What a program gets unless `env` says otherwise. With this Python writes out each verdict at once, not a block of
/// them.
const DEFAULTS: &[(&str, &str)] = &[("PYTHONUNBUFFERED", "1")];
/// Version of the protocol. It changes when a program written for the old version would no longer work.
const PROTOCOL: &str = "1";

/// Lines of standard error that are logged in one [`WINDOW`].
const ERROR_LINES: u32 = 50;
/// Messages of our own about a program in one [`WINDOW`].
const COMPLAINTS: u32 = 5;
/// The window of the log's budgets.
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
    /// Budget of the program's standard error in our log.
    pub error_lines: LogLimit,
    /// Budget of our own messages about the program.
    pub complaints: LogLimit,
    /// Runs that were killed and may not be dead yet: none is started beside them.
    pub killed: Mutex<Vec<Exit>>,
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
            // Of a name that stands there twice the later value counts.
            env: inherited.chain(defaults).chain(own).chain(given).collect(),
            max_line: config.max_line.as_usize(),
            mask: Mask::new(config.env.values().map(sink_api::Secret::expose)),
            error_lines: LogLimit::new(ERROR_LINES, WINDOW),
            complaints: LogLimit::new(COMPLAINTS, WINDOW),
            killed: Mutex::default(),
        })
    }

    /// Why the program could not be started. That is the sink's fault, whatever the event: it opens the breaker.
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

    /// Logs why the program is ended, unless that was logged often of late. `line` is what the program wrote, where
    /// that is the reason; it stands in our log only, and in no delivery's reason.
    pub fn complain(&self, why: &str, line: &str) {
        if let Some(left_out) = self.complaints.admit() {
            tracing::warn!(sink = self.sink, why, line, left_out, "the program is ended; the next delivery starts it");
        }
    }
}
