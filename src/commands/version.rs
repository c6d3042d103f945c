//! `hookrelay --version --verbose`: what this binary is made of. Reads no config.

use std::io::Write;

use super::Failure;
use crate::registry::{self, KINDS};
use crate::version::{COMMIT, PROFILE, RUSTC, TARGET, VERSION};

/// Prints it: a line for each fact, its name first.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run(out: &mut dyn Write) -> Result<(), Failure> {
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let mut facts = vec![
        ("commit", COMMIT.to_owned()),
        ("built", format!("{PROFILE}, for {TARGET}, by {RUSTC}")),
        ("features", format!("sinks {}", kinds.join(", "))),
    ];
    facts.extend(registry::libraries());
    facts.push(("SQLite", rusqlite::version().to_owned()));
    writeln!(out, "hookrelay {VERSION}")?;
    for (name, value) in facts {
        writeln!(out, "{name:<11} {value}")?;
    }
    Ok(())
}
