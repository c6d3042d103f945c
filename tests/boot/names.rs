//! Names of what a machine leaves on this one while it runs: its folder, its control groups. They hold the number of
//! the test's process, so that a later test knows what one that was killed has left.

use std::path::Path;

/// Begins all of them.
const PREFIX: &str = "hookrelay-boot-";

/// The name of a machine of this process, which no other has.
pub fn unique(name: &str) -> String {
    format!("{PREFIX}{}-{name}", std::process::id())
}

/// Whether something of this name was left by a test that runs no more.
pub fn is_left_over(name: &str) -> bool {
    // nspawn puts a lock beside the folder.
    let process = name.trim_start_matches(".#").strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    process.is_some_and(|process| !Path::new("/proc").join(process).exists())
}

/// What such tests have left in a folder.
pub fn left_over_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| is_left_over(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}
