//! The sockets that systemd passes to a service it starts (`sd_listen_fds(3)`). They are taken once, before there are
//! threads or children, as that removes variables from the environment. The descriptors are closed in programs that
//! are started later.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::unix;

/// Most sockets that are taken.
const MOST: usize = 64;
/// The first descriptor that systemd passes.
const FIRST: usize = 3;

/// A listening stream socket.
#[derive(Debug)]
pub enum StreamSocket {
    /// Over TCP.
    Tcp(std::net::TcpListener),
    /// At a path.
    Unix(std::os::unix::net::UnixListener),
}

/// A socket that was passed.
#[derive(Debug)]
pub struct Inherited {
    /// What systemd calls it: the socket unit's name, or its `FileDescriptorName=`.
    pub name: String,
    /// Where it listens.
    pub place: Place,
    /// The socket itself.
    pub socket: StreamSocket,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At an address; `[::]` takes IPv4, too, where it is dual.
    Ip {
        /// The address.
        address: SocketAddr,
        /// Whether it takes connections of both families.
        is_dual: bool,
    },
    /// At a path; `None` where the socket has none that a config could name.
    Unix(Option<PathBuf>),
}

/// Why what systemd passes cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// `LISTEN_FDS` is no number, or too large.
    #[error("LISTEN_FDS is `{0}`, expected a number of at most {MOST}: so many sockets can be passed")]
    Count(String),
    /// A datagram socket, a connection, or no socket at all.
    #[error(
        "descriptor {fd}, which systemd passes as `{name}`, is no listening stream socket\n  help: the socket unit \
         takes ListenStream= with Accept=no, and nothing else"
    )]
    NoListener {
        /// The descriptor.
        fd: usize,
        /// Its name.
        name: String,
    },
}

/// Takes the sockets that are meant for this process. To be called first of all, and once.
///
/// # Errors
/// [`InheritedError`].
pub fn take() -> Result<Vec<Inherited>, InheritedError> {
    let own = std::process::id().to_string();
    // The variables may have been inherited from a process that they were meant for.
    if std::env::var("LISTEN_PID").ok().is_none_or(|pid| pid != own) {
        return Ok(vec![]);
    }
    let count = std::env::var("LISTEN_FDS").unwrap_or_default();
    if !count.parse::<usize>().is_ok_and(|count| count <= MOST) {
        return Err(InheritedError::Count(count));
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut passed = ListenFd::from_env();
    (0..passed.len()).map(|nth| one(&mut passed, nth, names.next().unwrap_or_default())).collect()
}

fn one(passed: &mut ListenFd, nth: usize, name: String) -> Result<Inherited, InheritedError> {
    let no_listener = || InheritedError::NoListener { fd: FIRST + nth, name: name.clone() };
    let tcp = passed.take_tcp_listener(nth).ok().flatten();
    let socket = match tcp {
        Some(listener) => StreamSocket::Tcp(listener),
        None => {
            let unix = passed.take_unix_listener(nth).ok().flatten();
            StreamSocket::Unix(unix.ok_or_else(no_listener)?)
        }
    };
    if !socket.is_listening() {
        return Err(no_listener());
    }
    let place = socket.place().ok_or_else(no_listener)?;
    Ok(Inherited { name, place, socket })
}

impl StreamSocket {
    fn is_listening(&self) -> bool {
        match self {
            Self::Tcp(listener) => sockopt::socket_acceptconn(listener.as_fd()),
            Self::Unix(listener) => sockopt::socket_acceptconn(listener.as_fd()),
        }
        .unwrap_or(false)
    }

    fn place(&self) -> Option<Place> {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr().ok()?;
                let is_dual = address.is_ipv6() && sockopt::ipv6_v6only(listener).is_ok_and(|only| !only);
                Some(Place::ip(address, is_dual))
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                Some(Place::Unix(address.as_pathname().map(unix::settled)))
            }
        }
    }
}

impl Place {
    /// An address of IPv4 that is written as one of IPv6 is one of IPv4.
    fn ip(address: SocketAddr, is_dual: bool) -> Self {
        let canonical = address.ip().to_canonical();
        Self::Ip { address: SocketAddr::new(canonical, address.port()), is_dual: is_dual && canonical.is_ipv6() }
    }

    /// Whether connections to this address come to the socket.
    pub fn is_at(&self, wanted: SocketAddr) -> bool {
        let Self::Ip { address, is_dual } = self else { return false };
        let is_same = address.ip() == wanted.ip();
        let is_half = *is_dual && address.ip().is_unspecified() && wanted.ip().is_unspecified();
        address.port() == wanted.port() && (is_same || is_half)
    }

    /// Whether the socket is the one at this path.
    pub fn is_at_path(&self, wanted: &Path) -> bool {
        matches!(self, Self::Unix(Some(path)) if *path == unix::settled(wanted))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip { address, .. } => write!(f, "{address}"),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("a Unix socket without a path"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str, is_dual: bool) -> Place {
        Place::ip(address.parse().unwrap(), is_dual)
    }

    #[test]
    fn a_socket_is_at_the_addresses_whose_connections_it_takes() {
        for (place, wanted, is_at) in [
            (place("127.0.0.1:4000", false), "127.0.0.1:4000", true),
            (place("127.0.0.1:4000", false), "127.0.0.1:4001", false),
            (place("127.0.0.1:4000", false), "0.0.0.0:4000", false),
            (place("0.0.0.0:4000", false), "127.0.0.1:4000", false),
            (place("[::]:4000", true), "[::]:4000", true),
            (place("[::]:4000", true), "0.0.0.0:4000", true),
            (place("[::]:4000", false), "0.0.0.0:4000", false),
            (place("[::1]:4000", true), "127.0.0.1:4000", false),
            (place("[::ffff:127.0.0.1]:4000", true), "127.0.0.1:4000", true),
        ] {
            assert_eq!(place.is_at(wanted.parse().unwrap()), is_at, "{place} {wanted}");
        }
    }

    #[test]
    fn a_path_is_the_same_by_whichever_links_its_folder_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("run"), folder.path().join("var-run"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let place = Place::Unix(Some(unix::settled(&real.join("a.sock"))));
        assert!(place.is_at_path(&link.join("a.sock")));
        assert!(!place.is_at_path(&link.join("b.sock")));
        assert!(!Place::Unix(None).is_at_path(&link.join("a.sock")));
    }
}
