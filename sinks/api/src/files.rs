//! Small files that a user names: configs, secrets, certificates, bodies. Reading one is bounded in size and in time:
//! the file may be a pipe that nobody ever writes to, and opening a pipe for reading waits until somebody does.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// How long pipes are waited for, over all files read with one [`Patience`].
pub const PATIENCE: Duration = Duration::from_secs(10);
/// After so long the log says which file is waited for.
const REMARK: Duration = Duration::from_secs(1);
/// Between two looks into a pipe.
const LOOK: Duration = Duration::from_millis(10);

/// What is left of the time to wait for pipes: several files of one config are not waited for one after the other.
#[derive(Debug)]
pub struct Patience(Cell<Duration>);

impl Patience {
    /// As long as [`PATIENCE`].
    pub fn new() -> Self {
        Self::of(PATIENCE)
    }

    /// As long as this.
    pub fn of(time: Duration) -> Self {
        Self(Cell::new(time))
    }

    /// Waits a little; false where the time is up.
    fn wait(&self) -> bool {
        let left = self.0.get();
        let began = Instant::now();
        std::thread::sleep(LOOK.min(left));
        self.0.set(left.saturating_sub(began.elapsed()));
        !left.is_zero()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

/// The bytes of a file. A pipe that stays silent is remarked upon after a second, on standard error or in the log.
///
/// # Errors
/// It cannot be opened or read, holds more than `most` bytes, or is a pipe that did not end while there was patience.
pub fn read(path: &Path, most: u64, patience: &Patience) -> io::Result<Vec<u8>> {
    // So that opening does not wait for the other end of a pipe, and a terminal does not become ours. Plain files do
    // not mind.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let (mut file, mut bytes) = (file.take(most.saturating_add(1)), Vec::new());
    let (began, mut is_remarked) = (Instant::now(), false);
    loop {
        let has_ended = match file.read_to_end(&mut bytes) {
            // A pipe that nobody has written to yet is at its end, too.
            Ok(_) => !(is_pipe && bytes.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        if bytes.len() as u64 > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {}", bytesize(most))));
        }
        if has_ended {
            return Ok(bytes);
        }
        if !patience.wait() {
            return Err(silent(is_pipe, bytes.len()));
        }
        if !is_remarked && began.elapsed() >= REMARK {
            is_remarked = true;
            remark(path, is_pipe);
        }
    }
}

/// The text of a file.
///
/// # Errors
/// As [`read`]; and where it is not UTF-8.
pub fn read_text(path: &Path, most: u64, patience: &Patience) -> io::Result<String> {
    let bytes = read(path, most, patience)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8"))
}

fn silent(is_pipe: bool, came: usize) -> io::Error {
    let what = if is_pipe { "it is a pipe, and" } else { "it is no plain file, and" };
    let how = if came == 0 { "nobody wrote to it" } else { "it did not come to its end" };
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} {how} within {} s", PATIENCE.as_secs()))
}

fn bytesize(bytes: u64) -> String {
    match (bytes >> 20, bytes >> 10) {
        (0, 0) => format!("{bytes} bytes"),
        (0, kib) => format!("{kib} KiB"),
        (mib, _) => format!("{mib} MiB"),
    }
}

/// Says which file is waited for: in the log where there is one, else to whoever waits at the terminal.
fn remark(path: &Path, is_pipe: bool) {
    let what = if is_pipe { "a pipe that nobody has written to" } else { "which does not answer" };
    let path = path.display();
    if tracing::dispatcher::has_been_set() {
        tracing::warn!(%path, "waiting for a file: {what}");
    } else {
        // Where standard error is gone, nobody is left to read this.
        let _ = writeln!(io::stderr(), "hookrelay: waiting for {path}, {what}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn fifo(path: &Path) {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_given_up_and_so_are_those_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fifo(&one);
        fifo(&two);
        let patience = Patience::of(Duration::from_millis(30));
        for pipe in [&one, &two] {
            let error = read(pipe, 10, &patience).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("nobody wrote to it"), "{error}");
        }
        assert!(patience.0.get().is_zero());
    }

    #[test]
    fn a_pipe_is_read_to_its_end_whoever_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        fifo(&pipe);
        let path = pipe.clone();
        let writer = std::thread::spawn(move || {
            let mut file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(b"half").unwrap();
            file.write_all(b" and half").unwrap();
        });
        assert_eq!(read_text(&pipe, 100, &Patience::new()).unwrap(), "half and half");
        writer.join().unwrap();
    }

    #[test]
    fn a_pipe_that_does_not_end_and_a_file_without_end_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        fifo(&pipe);
        let mut open = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        open.write_all(b"x").unwrap();
        let error = read(&pipe, 10, &Patience::of(Duration::from_millis(30))).unwrap_err();
        assert!(error.to_string().contains("did not come to its end"), "{error}");
        let error = read(Path::new("/dev/zero"), 1 << 16, &Patience::new()).unwrap_err();
        assert_eq!(error.to_string(), "larger than 64 KiB");
        assert_eq!(read(Path::new("/dev/null"), 1, &Patience::new()).unwrap(), b"");
    }

    #[test]
    fn a_plain_file_is_read_through_links_and_needs_no_patience() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "abc").unwrap();
        symlink(&file, &link).unwrap();
        let none = Patience::of(Duration::ZERO);
        assert_eq!(read(&link, 3, &none).unwrap(), b"abc");
        assert_eq!(read(&link, 2, &none).unwrap_err().to_string(), "larger than 2 bytes");
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(read_text(&link, 3, &none).unwrap_err().to_string(), "is not UTF-8");
        assert_eq!(read(&dir.path().join("none"), 3, &none).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
