//! `hookrelay completions`: what a shell needs to complete this command line. Reads no config.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use super::Failure;
use crate::version::VERSION;

/// What the command is called.
const NAME: &str = "hookrelay";

/// For `--help`.
pub const HELP: &str = "\
The packages bring them along. By hand, where the shell looks for them:

  hookrelay completions bash > ~/.local/share/bash-completion/completions/hookrelay
  hookrelay completions zsh > ~/.zfunc/_hookrelay          # with fpath+=~/.zfunc before compinit
  hookrelay completions fish > ~/.config/fish/completions/hookrelay.fish";

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Prints them. `whole` is the command line.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run(whole: &Command, args: &CompletionsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut visible(whole), NAME, &mut script);
    Ok(out.write_all(&script)?)
}

/// The command line without its hidden verbs, which the scripts would offer.
fn visible(whole: &Command) -> Command {
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new(NAME).version(VERSION).args(whole.get_arguments().cloned()).subcommands(verbs)
}
