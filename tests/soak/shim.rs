//! The library that is preloaded into the daemon (`shim.c`), and the file by which it is controlled.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use sink_testkit::skip;

/// The library that is preloaded, and the file that controls it.
pub struct Shim {
    library: PathBuf,
    control: PathBuf,
}

impl Shim {
    /// Builds the library into the folder. `None` without a C compiler; then `test` is named as skipped.
    pub fn build(test: &str, folder: &Path) -> Option<Self> {
        let (library, control) = (folder.join("shim.so"), folder.join("shim.control"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soak/shim.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .output();
        let why = match built {
            Ok(out) if out.status.success() => {
                std::fs::write(&control, [0; 16]).unwrap();
                return Some(Self { library, control });
            }
            Ok(out) => String::from_utf8_lossy(&out.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        skip(test, &format!("no C compiler made the shim: {why}"));
        None
    }

    /// Makes the command's daemon run with it.
    pub fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("HOOKRELAY_SHIM", &self.control);
    }

    fn set(&self, at: u64, bytes: &[u8]) {
        let mut file = std::fs::OpenOptions::new().write(true).open(&self.control).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Sets how the disk behaves; `shim.c` lists the modes.
    pub fn disk(&self, mode: u8) {
        self.set(0, &[mode]);
    }

    /// Sets how many hours the wall clock is ahead.
    pub fn clock(&self, hours: i64) {
        self.set(8, &(hours * 3600).to_le_bytes());
    }
}
