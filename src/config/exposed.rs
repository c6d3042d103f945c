//! Files with secrets that others may read: remarks about the config, the `.env` beside it, and secret files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::getegid;

use super::env::RealEnv;
use super::faults::Located;
use super::mask::Masks;
use super::place::Lines;

/// Others may read it.
const OTHERS: u32 = 0o004;
/// Its group may read it.
const GROUP: u32 = 0o040;

/// A warning for each file in which secrets lie and that others than this process's user and group may read. `text` is the
/// config's.
pub(super) fn warnings(file: &Path, text: &str, env: &RealEnv, masks: &Masks) -> Vec<Located> {
    let config = masks.written_out().and_then(|at| {
        let place = Lines::of(text).place(at);
        let message = "a secret is written out here";
        Some(warning(file, (place.line, place.column), message, open(file)?, "best write it as \"${NAME}\" or "))
    });
    let beside = env.dot_env().and_then(|file| Some(warning(file, (1, 1), "variables stand here", open(file)?, "")));
    let files = env.secret_files();
    let files = files.iter().filter_map(|file| Some(warning(file, (1, 1), "a secret stands here", open(file)?, "")));
    config.into_iter().chain(beside).chain(files).collect()
}

fn warning(file: &Path, place: (usize, usize), what: &str, mode: u32, way_out: &str) -> Located {
    let message = format!("{what}, and others may read the file (mode {:03o})", mode & 0o777);
    let quoted = file.display().to_string().replace('\'', r"'\''");
    Located::warning(file, place, message, format!("{way_out}`chmod 600 '{quoted}'`"))
}

/// The file's mode, where others may read it.
fn open(file: &Path) -> Option<u32> {
    let known = fs::metadata(file).ok()?;
    let by_group = known.mode() & GROUP != 0 && known.gid() != getegid().as_raw();
    (by_group || known.mode() & OTHERS != 0).then(|| known.mode())
}
