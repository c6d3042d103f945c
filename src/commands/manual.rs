//! `hookrelay man`, hidden: writes the manual pages, made from the command line as its `--help` is; for packages. Reads
//! no config.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Failure;

/// What the texts behind a verb's options are called in a manual page, by the word they begin with.
const SECTIONS: [(&str, &str); 2] = [("Examples:", "EXAMPLES"), ("Exit codes:", "EXIT STATUS")];
/// The section of all other texts.
const NOTES: &str = "NOTES";

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder for them; made where it is missing
    #[arg(long, value_name = "FOLDER")]
    pub dir: PathBuf,
}

/// Writes a page for the command and one for each verb that is not hidden. `whole` is the command line.
///
/// # Errors
/// Where the folder or a page cannot be written.
pub fn run(whole: Command, args: &ManArgs) -> Result<(), Failure> {
    let mut whole = whole.disable_help_subcommand(true);
    whole.build();
    let refused = |error| Failure::Refused(format!("{}: {error}", args.dir.display()));
    fs::create_dir_all(&args.dir).map_err(refused)?;
    write(&whole, None, &args.dir).map_err(refused)
}

fn write(command: &Command, above: Option<&str>, dir: &Path) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(dir.join(format!("{name}.1")), page(command, name, above)?)?;
    let mut verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.try_for_each(|verb| write(verb, Some(name), dir))
}

fn page(command: &Command, name: &str, above: Option<&str>) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).title(name).source(format!("hookrelay {}", crate::version::VERSION));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    if let Some(text) = command.get_after_help() {
        sections(&text.to_string(), &mut rest);
    }
    if let Some(above) = above {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman(format!("{above}(1)"))]);
    }
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// Paragraphs to sections: those with an indented line stay as they are, the others are filled.
fn sections(text: &str, roff: &mut Roff) {
    let mut current = "";
    for paragraph in text.split("\n\n") {
        let begins = SECTIONS
            .iter()
            .find_map(|(word, title)| Some((*title, paragraph.strip_prefix(word)?.trim_start_matches(' '))));
        let (title, paragraph) = begins.unwrap_or((NOTES, paragraph));
        if title == current {
            roff.control("PP", []);
        } else {
            roff.control("SH", [title]);
        }
        current = title;
        let verbatim = paragraph.lines().any(|line| line.starts_with(' '));
        if verbatim {
            roff.control("nf", []);
        }
        for line in paragraph.lines().filter(|line| !line.is_empty()) {
            roff.text([roman(if verbatim { line } else { line.trim() })]);
        }
        if verbatim {
            roff.control("fi", []);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_behind_the_options_become_sections() {
        let mut roff = Roff::new();
        sections("One thing.\n\nExamples:\n  hookrelay x   now\n\nExit codes: 0 done,\n1 not.", &mut roff);
        let text = roff.render();
        for part in
            [".SH NOTES\nOne thing.\n", ".SH EXAMPLES\n.nf\n  hookrelay x   now\n.fi\n", "STATUS\"\n0 done,\n1 not.\n"]
        {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}
