//! The package, made of the program that the tests are built with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Those that are made, by their versions.
static MADE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
/// `deploy/deb` where a tool cannot be had.
const UNAVAILABLE: i32 = 69;

/// Makes the package, the first time that this version of it is asked for; gives its path.
pub fn make(version: &str) -> PathBuf {
    try_make(version).unwrap_or_else(|why| panic!("{why}"))
}

/// Whether the tools that it takes are there, or can be had.
pub fn can_be_made() -> Result<(), String> {
    try_make(&format!("{}-1", env!("CARGO_PKG_VERSION"))).map(|_| ())
}

fn try_make(version: &str) -> Result<PathBuf, String> {
    let mut made = MADE.lock().unwrap();
    if let Some(path) = made.get(version) {
        return Ok(path.clone());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut deb = Command::new(root.join("deploy/deb"));
    deb.envs([("BINARY", env!("CARGO_BIN_EXE_hookrelay")), ("DEB_VERSION", version)]);
    let output = deb.env("OUTPUT", env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null()).output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(UNAVAILABLE) {
        return Err(format!("no package can be made: {}", told.lines().last().unwrap_or_default()));
    }
    assert!(output.status.success(), "deploy/deb: {}\n{said}{told}", output.status);
    let path = root.join(said.lines().last().unwrap_or_default());
    assert!(path.is_file(), "deploy/deb does not end with the package's path: {said}");
    made.insert(version.to_owned(), path.clone());
    Ok(path)
}
