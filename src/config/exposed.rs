//! Warnings about files that hold secrets and that others may read: the config, the `.env` beside it, `env_file`,
//! secret files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::getegid;

use super::env::RealEnv;
use super::faults::Located;
use super::location::Lines;
use super::mask::Masks;

/// The mode's bit by which others may read the file.
const OTHERS: u32 = 0o004;
/// The mode's bit by which its group may read the file.
const GROUP: u32 = 0o040;

/// A warning for each file that holds secrets and that others than this process's user and group may read. `text` is
/// the text of the config.
pub(super) fn warnings(file: &Path, text: &str, env: &RealEnv, masks: &Masks) -> Vec<Located> {
    let config = masks.written_out().and_then(|at| {
        let location = Lines::of(text).location(at);
        let (at, message) = ((location.line, location.column), "a secret is written out here");
        Some(warning(file, at, message, mode_if_exposed(file)?, "best write it as \"${NAME}\" or "))
    });
    let whole = |file: &Path, what: &str| Some(warning(file, (1, 1), what, mode_if_exposed(file)?, ""));
    let (variables, files) = (env.variable_files(), env.secret_files());
    let variables = variables.iter().filter_map(|file| whole(file, "variables stand here"));
    let files = files.iter().filter_map(|file| whole(file, "a secret stands here"));
    config.into_iter().chain(variables).chain(files).collect()
}

fn warning(file: &Path, at: (usize, usize), what: &str, mode: u32, way_out: &str) -> Located {
    let message = format!("{what}, and others may read the file (mode {:03o})", mode & 0o777);
    let quoted = file.display().to_string().replace('\'', r"'\''");
    Located::warning(file, at, message, format!("{way_out}`chmod 600 '{quoted}'`"))
}

/// The file's mode, if others may read it.
fn mode_if_exposed(file: &Path) -> Option<u32> {
    let known = fs::metadata(file).ok()?;
    let by_group = known.mode() & GROUP != 0 && known.gid() != getegid().as_raw();
    (by_group || known.mode() & OTHERS != 0).then(|| known.mode())
}
