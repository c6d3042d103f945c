//! The command line: its verbs and options, and the command that each verb calls. Does nothing itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    self, Failure, check, completions, dead, explain, journal, kinds, log_level, manual, message, pending, reload,
    replay, resend, run, schema, send, sink, status, tail, test, trace, version,
};
use crate::config::{self, Config};
use crate::exit;
use crate::registry::KINDS;
use crate::route::jq;
use crate::times::Zone;

/// Where a config is looked for where the command line names none.
const DEFAULT_FILES: [&str; 2] = ["config.toml", "/etc/hookrelay/config.toml"];

const EXAMPLES: &str = "\
Examples:
  cp config.example.toml config.toml && echo INTERAKT_WEBHOOK_SECRET=… > .env
  hookrelay check                          is the config right? every fault at once
  hookrelay run                            receive webhooks until Ctrl-C
  hookrelay send                           one signed sample of each type to the running daemon
  hookrelay explain body.json              where would this webhook go, and why?
  hookrelay trace +919876543210            what became of a customer's messages?
  hookrelay tail                           events as they come
  hookrelay message send order.json        send a message; `message show ID` follows it
  hookrelay test                           do the rules what their [[tests]] expect?";

/// Receives webhooks, proves who sent them, keeps every one of them on disk, and routes each to the sinks its rules
/// name.
#[derive(Debug, Parser)]
#[command(name = "hookrelay", version, after_help = format!("{EXAMPLES}\n\n{}", exit::CODES), max_term_width = 100)]
pub struct Cli {
    /// The config; without it config.toml, then /etc/hookrelay/config.toml
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Times are read and shown in UTC, whatever `timezone` of the config says
    #[arg(long, global = true)]
    pub utc: bool,
    /// With --version: also the commit, the features, and the libraries that run
    #[arg(long, requires = "version")]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon, in the foreground, until SIGTERM or Ctrl-C; logs go to standard error
    #[command(after_help = format!("{}\n\n{}", run::HELP, exit::CODES))]
    Run(run::RunArgs),
    /// Validates the whole config and tells every fault; reads files, writes none, and connects to nothing
    #[command(after_help = check::HELP)]
    Check(check::CheckArgs),
    /// Shows for one webhook which routes match and why not, and exactly what each sink would get
    #[command(after_help = explain::HELP)]
    Explain(explain::ExplainArgs),
    /// Runs the rules' own tests: `[[tests]]` of the config, and of further files
    #[command(after_help = test::HELP)]
    Test(test::TestArgs),
    /// Signs and posts samples, or files as they are, to the running daemon
    #[command(after_help = send::HELP)]
    Send(send::SendArgs),
    /// Live figures of the running daemon: journal, sources, sinks
    #[command(after_help = status::HELP)]
    Status(status::StatusArgs),
    /// What became of a message, an event, or what has to do with a phone number
    #[command(after_help = trace::HELP)]
    Trace(trace::TraceArgs),
    /// Events as they are accepted, one line each
    #[command(after_help = tail::HELP)]
    Tail(tail::TailArgs),
    /// Dead letters: list, show, retry, drop
    #[command(subcommand, after_help = dead::HELP)]
    Dead(dead::DeadVerb),
    /// Sends a message, and shows what became of one: send, show
    #[command(subcommand, after_help = message::HELP)]
    Message(message::MessageVerb),
    /// Messages that failed and wait to be sent again: list, cancel
    #[command(subcommand, after_help = resend::HELP)]
    Resend(resend::ResendVerb),
    /// What has failed and is tried again: list
    #[command(subcommand, after_help = pending::HELP)]
    Pending(pending::PendingVerb),
    /// Delivers a span of the journal once more, by the rules in force
    #[command(after_help = replay::HELP)]
    Replay(replay::ReplayArgs),
    /// Holds a sink, lets it go, moves it on, or has it try at once: pause, resume, skip, probe
    #[command(subcommand, after_help = sink::HELP)]
    Sink(sink::SinkVerb),
    /// The running daemon reads its config again and puts it in force, or says why not
    #[command(after_help = reload::HELP)]
    Reload(reload::ReloadArgs),
    /// From which level on the running daemon logs: shows it, or changes it while it runs
    #[command(after_help = log_level::HELP)]
    LogLevel(log_level::LogLevelArgs),
    /// The journal on disk: verify, dump, stat, repair
    #[command(subcommand, after_help = journal::HELP)]
    Journal(journal::JournalVerb),
    /// Lists the kinds of sinks and sources and the built-in transforms
    Kinds(kinds::KindsArgs),
    /// Prints a JSON Schema of config.toml, for editors that complete and check it
    #[command(after_help = schema::HELP)]
    Schema,
    /// Prints a script by which a shell completes this command line
    #[command(after_help = completions::HELP)]
    Completions(completions::CompletionsArgs),
    /// Writes the manual pages, for packages
    #[command(hide = true)]
    Man(manual::ManArgs),
    /// Runs the jq programs of one sink's rules: what the daemon starts by itself
    #[command(name = jq::VERB, hide = true)]
    JqWorker,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    exit::finish(match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(asked) if asked.kind() == ErrorKind::DisplayVersion && is_verbose() => version::run(&mut io::stdout()),
        Err(other) => other.exit(),
    })
}

/// Whether `--verbose` stands beside `--version`, at which clap stops to read.
fn is_verbose() -> bool {
    std::env::args_os().any(|argument| argument == "--verbose")
}

impl Cli {
    fn run(self) -> Result<(), Failure> {
        // Standard output is not locked: a stdout sink writes to it as well.
        let out = &mut io::stdout();
        match &self.command {
            Command::Run(args) => run::run(&self.files(), args),
            Command::Check(args) => check::run(&self.file()?, args, out),
            Command::Explain(args) => explain::run(&self.read()?, args, out),
            Command::Test(args) => test::run(&self.read()?, args, out),
            Command::Send(args) => send::run(&self.read()?, args, out),
            Command::Status(args) => status::run(&self.file()?, args, out),
            Command::Trace(args) => trace::run(&self.file()?, args, &self.zone()?, out),
            Command::Tail(args) => tail::run(&self.file()?, args, &self.zone()?, out),
            Command::Dead(verb) => dead::run(&self.file()?, verb, &self.zone()?, out),
            Command::Pending(verb) => pending::run(&self.file()?, verb, &self.zone()?, out),
            Command::Message(verb) => message::run(&self.file()?, verb, &self.zone()?, out),
            Command::Resend(verb) => resend::run(&self.file()?, verb, &self.zone()?, out),
            Command::Replay(args) => replay::run(&self.file()?, args, &self.zone()?, out),
            Command::Sink(verb) => sink::run(&self.file()?, verb, &self.zone()?, out),
            Command::Reload(args) => reload::run(&self.file()?, args, out),
            Command::LogLevel(args) => log_level::run(&self.file()?, args, out),
            Command::Journal(verb) => journal::run(&self.file()?, verb, &self.zone()?, out),
            Command::Kinds(args) => kinds::run(args, out),
            Command::Schema => schema::run(out),
            Command::Completions(args) => completions::run(&Self::command(), args, out),
            Command::Man(args) => manual::run(Self::command(), args),
            Command::JqWorker => Ok(jq::child::serve()?),
        }
    }

    fn read(&self) -> Result<Config, Failure> {
        Ok(config::read(&self.file()?, KINDS)?)
    }

    /// By whose clock times are read and shown.
    fn zone(&self) -> Result<Zone, Failure> {
        if self.utc { Ok(Zone::utc()) } else { Ok(config::read_zone(&self.file()?)?) }
    }

    fn file(&self) -> Result<PathBuf, Failure> {
        commands::first_there(&self.files())
    }

    /// Where the config may be; the first that is there counts.
    fn files(&self) -> Vec<&Path> {
        self.config.as_deref().map_or_else(|| DEFAULT_FILES.map(Path::new).to_vec(), |file| vec![file])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_config_may_be_named_before_and_after_the_verb() {
        for line in [["hookrelay", "--config", "a.toml", "check"], ["hookrelay", "check", "--config", "a.toml"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().config.as_deref(), Some(Path::new("a.toml")));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            &["send", "x.json", "--type", "t"][..],
            &["send", "--count", "0"],
            &["explain"],
            &["stats"],
            &["dead", "list", "--limit", "0"],
            &["--verbose", "kinds"],
            &[],
        ] {
            assert!(Cli::try_parse_from(["hookrelay"].iter().chain(line)).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_help_of_check_says_what_check_touches() {
        let mut cli = Cli::command();
        let help = cli.find_subcommand_mut("check").unwrap().render_help().to_string();
        for part in ["it reads the config", ".env", "${file:…}", "[[tests]]", "writes nothing", "--connect connects"]
        {
            assert!(help.contains(part), "{part}: {help}");
        }
    }

    #[test]
    fn the_help_teaches_examples_and_exit_codes() {
        let help = Cli::command().render_help().to_string();
        for part in ["hookrelay check", "hookrelay send", "78  the config has faults", "75  another process"] {
            assert!(help.contains(part), "{help}");
        }
    }
}
