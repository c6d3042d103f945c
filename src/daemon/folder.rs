//! The daemon's folders, for itself alone.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::DaemonError;

pub(super) fn make_folder(path: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    // "File exists" says nothing of what is wrong with it.
    let made = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            io::Error::new(io::ErrorKind::NotADirectory, "something is there that is no folder")
        }
        _ => error,
    });
    made.map_err(|error| DaemonError::Folder { path: path.to_owned(), error })
}
