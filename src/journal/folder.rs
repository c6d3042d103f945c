//! Folders that are the daemon's own: made for it alone, refused where somebody else could change what lies in them.
//! And how files in them are opened: links are not followed, as one could lead anywhere.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::access;

/// Bits of a mode by which others than the owner may write; and all by which they may do anything.
const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;

/// For opening a file of the daemon's own: a link is an error, and a pipe keeps nobody waiting.
pub const NO_LINK: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

/// Puts a small file of ours in the place of what has its name, by way of another name: all of it or nothing, flushed,
/// closed to others. Blocks.
///
/// # Errors
/// Where it cannot be written.
pub fn replace(folder: &Path, [new, name]: [&str; 2], bytes: &[u8]) -> io::Result<()> {
    let new = folder.join(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(NO_LINK).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Why a folder, or a file in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or looked at.
    #[error("{}", access::told(path, error))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It can, but must not be used as it is.
    #[error("{path}: {why}\n  help: {help}", path = path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// The mend.
        help: String,
    },
}

/// Makes a folder (mode 0700) with what leads to it, and sees that it is ours: see [`check`].
///
/// # Errors
/// Where it cannot be made, or is not ours alone.
pub fn make(dir: &Path) -> Result<(), FolderError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    // "File exists" says nothing of what is wrong with it.
    let made = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            io::Error::new(io::ErrorKind::NotADirectory, "something is there that is no folder")
        }
        _ => error,
    });
    made.map_err(|error| FolderError::Io { path: dir.to_owned(), error })?;
    check(dir)
}

/// Sees that a folder belongs to the user this runs as, and that nobody else may write to it. Where others may only
/// read, it is closed to them, which is said.
///
/// # Errors
/// [`FolderError::Refused`] where it is not ours alone.
pub fn check(dir: &Path) -> Result<(), FolderError> {
    let failed = |error| FolderError::Io { path: dir.to_owned(), error };
    let meta = fs::metadata(dir).map_err(failed)?;
    let (mode, we) = (meta.mode() & 0o7777, rustix::process::geteuid().as_raw());
    if let Some((why, help)) = objection((meta.uid(), we), mode, dir) {
        return Err(FolderError::Refused { path: dir.to_owned(), why, help });
    }
    if mode & OTHERS != 0 {
        fs::set_permissions(dir, Permissions::from_mode(mode & !OTHERS)).map_err(failed)?;
        let (was, is) = (format!("{mode:04o}"), format!("{:04o}", mode & !OTHERS));
        tracing::warn!(folder = %dir.display(), was, is, "others could look into the folder: closed to them");
    }
    Ok(())
}

/// Says what [`check`] would refuse, and changes nothing. A folder that is not there yet is no fault: it will be made.
///
/// # Errors
/// [`FolderError::Refused`] where it is not ours alone.
pub fn inspect(dir: &Path) -> Result<(), FolderError> {
    let meta = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| FolderError::Io { path: dir.to_owned(), error })?,
    };
    let users = (meta.uid(), rustix::process::geteuid().as_raw());
    match objection(users, meta.mode() & 0o7777, dir) {
        Some((why, help)) => Err(FolderError::Refused { path: dir.to_owned(), why, help }),
        None => Ok(()),
    }
}

/// What is wrong with a folder of that owner and mode for somebody else, and the mend.
fn objection((owner, we): (u32, u32), mode: u32, dir: &Path) -> Option<(String, String)> {
    let path = dir.display();
    if owner != we {
        let why = format!("it belongs to {}, and this runs as {}", access::user(owner), access::user(we));
        let help = format!("run as that user, `chown -R {we} {path}`, or name a folder inside it: that is made anew");
        return Some((why, help));
    }
    (mode & OTHERS_WRITE != 0).then(|| {
        let why = format!("others may write to it (mode {mode:04o}), and could change webhooks that were answered 200");
        let help =
            format!("look at what lies in it, then `chmod 700 {path}`; or name a folder inside it: that is made");
        (why, help)
    })
}

/// Whether an open failed because there is a link in the file's place.
pub fn is_link(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP)
}

/// What there is to say of a link in a file's place.
pub fn link(path: &Path) -> FolderError {
    FolderError::Refused {
        path: path.to_owned(),
        why: "it is a symbolic link, and none is followed here".into(),
        help: "put the file itself there, or remove the link".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_is_replaced_whole_and_closed_to_others_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("f.new")).unwrap();
        for text in ["one", "two"] {
            replace(dir.path(), ["f.new", "f"], text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), text);
            assert_eq!(fs::metadata(dir.path().join("f")).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_to_string(other).unwrap(), "theirs");
        assert!(!fs::exists(dir.path().join("f.new")).unwrap());
    }

    #[test]
    fn a_folder_of_somebody_else_or_open_to_their_writing_is_refused_and_one_open_to_their_eyes_is_not() {
        let object = |owner, mode| objection((owner, 1000), mode, Path::new("data"));
        for mode in [0o700, 0o750, 0o755, 0o2711, 0o500] {
            assert_eq!(object(1000, mode), None, "{mode:o}");
        }
        for mode in [0o770, 0o720, 0o702, 0o777, 0o1777] {
            assert!(object(1000, mode).unwrap().1.contains("chmod 700 data"), "{mode:o}");
        }
        for owner in [0, 1001] {
            assert!(object(owner, 0o700).unwrap().1.contains("chown -R 1000 data"), "{owner}");
        }
    }

    #[test]
    fn a_folder_is_made_for_us_alone_and_one_that_others_can_read_is_closed() {
        let home = tempfile::tempdir().unwrap();
        let mode = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o7777;
        let dir = home.path().join("a/b");
        make(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&home.path().join("a"))), (0o700, 0o700));
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        make(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        fs::set_permissions(&dir, Permissions::from_mode(0o775)).unwrap();
        assert!(matches!(make(&dir), Err(FolderError::Refused { .. })));
        assert_eq!(mode(&dir), 0o775, "what is refused is left as it is");
        fs::write(home.path().join("file"), "").unwrap();
        assert!(make(&home.path().join("file")).unwrap_err().to_string().contains("no folder"));
    }
}
