//! Unix sockets at their paths. A socket is bound under another name, given its mode, and renamed when somebody answers
//! there: nobody can reach it before, and a start that fails leaves nothing behind.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Longest path the system takes for a Unix socket.
const MAX_PATH: usize = 107;

/// A socket that is bound, and that nobody can reach yet.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    path: PathBuf,
    /// The name it has until it is placed.
    temporary: Temporary,
}

/// A file that is removed when this is dropped, unless it has got another name.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Where that fails, the next start removes it.
        let _ = fs::remove_file(&self.0);
    }
}

/// A socket at its path, until this is dropped: then the file is removed, if it is still this socket's.
#[derive(Debug)]
pub struct Placed {
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Placed {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.file) {
            // A socket that stays behind is stale, and is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Binds a socket that is to be placed at that path.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::AlreadyExists`] where something that is no socket has that path.
    pub fn new(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "something that is no socket is there"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (short, _folder) = short_path(&new)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(short)?)?;
        Ok(Self { socket, path: path.to_owned(), temporary: Temporary(new) })
    }

    /// Lets connections come: gives the socket its mode and its path. A socket that has that path already is replaced.
    /// What is given last removes the file when it is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn place(self, mode: u32, backlog: i32) -> io::Result<(UnixListener, Placed)> {
        let Self { socket, path, temporary } = self;
        fs::set_permissions(&temporary.0, Permissions::from_mode(mode))?;
        socket.listen(backlog)?;
        let there = fs::symlink_metadata(&temporary.0)?;
        fs::rename(&temporary.0, &path)?;
        Ok((socket.into(), Placed { path, file: (there.dev(), there.ino()) }))
    }
}

/// Whether a process listens at that path. A socket whose process has ended is still there, and refuses.
///
/// # Errors
/// The socket cannot be asked: its mode forbids it.
pub fn is_alive(path: &Path) -> io::Result<bool> {
    let (short, _folder) = short_path(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener that does not get on with its connections must not hold up the caller.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(short)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The path without links in its folder, so that two paths to one socket are the same.
pub fn settled(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// A path to this socket that is short enough for the system: the path itself or, where that is too long, a path
/// through the opened folder. That folder must stay open while the path is in use.
///
/// # Errors
/// The folder cannot be opened.
pub fn short_path(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= MAX_PATH {
        return Ok((path.to_owned(), None));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok((path.to_owned(), None)) };
    let folder = File::open(folder)?;
    let through = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((through, Some(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_there_before_the_socket_is_placed_nor_after_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let bound = Bound::new(&path).unwrap();
        assert!(!path.exists() && !is_alive(&path).unwrap());
        drop(bound);
        assert_eq!(names(), 0, "a start that fails leaves nothing");
        let (listener, placed) = Bound::new(&path).unwrap().place(0o640, 8).unwrap();
        assert!(is_alive(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        drop(listener);
        assert!(path.exists() && !is_alive(&path).unwrap(), "stale");
        let (_listener, newer) = Bound::new(&path).unwrap().place(0o640, 8).unwrap();
        drop(placed);
        assert!(is_alive(&path).unwrap(), "the file is another socket's by now");
        drop(newer);
        assert_eq!(names(), 0);
    }

    #[test]
    fn what_is_no_socket_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "mine").unwrap();
        assert_eq!(Bound::new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
