//! What the binary is told of its own making: the commit and the compiler (`src/version.rs`). Runs again where one of
//! these changes, and for nothing else. A debug build is told no commit: it would be compiled anew after each one.

use std::env;
use std::path::Path;
use std::process::Command;

/// Where it is not known: no repository (a tarball), no git, a debug build.
const UNKNOWN: &str = "unknown";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HOOKRELAY_COMMIT");
    println!("cargo::rustc-env=HOOKRELAY_BUILT_FROM={}", commit().unwrap_or_else(|| UNKNOWN.to_owned()));
    let rustc = env::var("RUSTC").ok().and_then(|rustc| said(Command::new(rustc).arg("--version")));
    println!("cargo::rustc-env=HOOKRELAY_BUILT_BY={}", rustc.unwrap_or_else(|| UNKNOWN.to_owned()));
    for (name, from) in [("HOOKRELAY_BUILT_FOR", "TARGET"), ("HOOKRELAY_BUILT_AS", "PROFILE")] {
        println!("cargo::rustc-env={name}={}", env::var(from).unwrap_or_else(|_| UNKNOWN.to_owned()));
    }
}

/// What `HOOKRELAY_COMMIT` says, for who builds from a tarball; else what git says of this folder (of none around it).
fn commit() -> Option<String> {
    if let Ok(given) = env::var("HOOKRELAY_COMMIT")
        && !given.trim().is_empty()
    {
        return Some(given.trim().to_owned());
    }
    let root = env::var("CARGO_MANIFEST_DIR").ok()?;
    if env::var("PROFILE").ok()? == "debug" || !Path::new(&root).join(".git").exists() {
        return None;
    }
    let git = |args: &[&str]| said(Command::new("git").arg("-C").arg(&root).args(args));
    // Git adds a line to it whenever another commit is checked out or made.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&root).join(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The first line that a command prints, if it does its work.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}
