//! From the addresses of the config to sockets that listen: sockets that systemd has passed are matched with them by
//! their own addresses, and what is left is bound here.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use super::address::Address;
use super::config::ServerConfig;
use super::socket::Listening;
use crate::access;
use crate::sockets::inherited::{Inherited, StreamSocket};
use crate::sockets::unix;

/// Connections the kernel keeps for us while we are busy or being restarted (it may know a lower bound of its own).
pub(super) const BACKLOG: u16 = 4096;
/// Who may connect to a Unix socket that the daemon makes: its user and its group, where a proxy may be a member.
const SOCKET_MODE: u32 = 0o660;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Not an address.
    #[error("listen address `{address}`: {why}")]
    Address {
        /// As configured.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The system does not give it.
    #[error("cannot listen on {address}: {}", access::not_bound(address, error))]
    Bind {
        /// As configured.
        address: String,
        /// What the system said.
        error: Error,
    },
    /// systemd passes a socket that the config does not name.
    #[error(
        "systemd passes a socket for {passed} ({name}), and `listen` of [server] names only {listen}\n  help: name it \
         in `listen`, or take it out of ListenStream= of the socket unit"
    )]
    Unnamed {
        /// Where the socket listens.
        passed: String,
        /// What systemd calls it.
        name: String,
        /// The addresses of the config.
        listen: String,
    },
    /// systemd passes one socket for two addresses of which TLS is spoken at one alone.
    #[error(
        "systemd passes one socket for {passed} ({name}), and `listen` of [server] has TLS for one of its addresses \
         and none for another\n  help: set BindIPv6Only=ipv6-only in the socket unit"
    )]
    Ambiguous {
        /// Where the socket listens.
        passed: String,
        /// What systemd calls it.
        name: String,
    },
}

impl BindError {
    /// Whether it is config and socket unit that do not fit together, and not the system that refuses.
    pub fn is_of_config(&self) -> bool {
        matches!(self, Self::Address { .. } | Self::Unnamed { .. } | Self::Ambiguous { .. })
    }
}

/// An address that is bound, though the kernel takes no connection for it yet (unless the socket was passed): a caller
/// is refused, as if nothing listened there, and is not left with a connection that is reset when the start fails after
/// all.
#[derive(Debug)]
pub struct Bound {
    address: String,
    is_tls: bool,
    socket: BoundSocket,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(Socket),
    Unix(unix::Bound),
    Inherited(StreamSocket),
}

impl Bound {
    /// From now on the kernel takes connections, so call it when they will be answered.
    ///
    /// # Errors
    /// [`BindError`], where another process was quicker to listen on the address.
    pub fn listen(self) -> Result<Listening, BindError> {
        let Self { address, is_tls, socket } = self;
        let fault = |error| BindError::Bind { address: address.clone(), error };
        match socket {
            BoundSocket::Tcp(socket) => {
                socket.listen(BACKLOG.into()).map_err(fault)?;
                Ok(Listening::new(StreamSocket::Tcp(socket.into()), is_tls, false, None))
            }
            BoundSocket::Unix(bound) => {
                let (listener, placed) = bound.place(SOCKET_MODE, BACKLOG.into()).map_err(fault)?;
                listener.set_nonblocking(true).map_err(fault)?;
                Ok(Listening::new(StreamSocket::Unix(listener), is_tls, false, Some(placed)))
            }
            BoundSocket::Inherited(socket) => {
                match &socket {
                    StreamSocket::Tcp(listener) => listener.set_nonblocking(true),
                    StreamSocket::Unix(listener) => listener.set_nonblocking(true),
                }
                .map_err(fault)?;
                Ok(Listening::new(socket, is_tls, true, None))
            }
        }
    }
}

/// An address of the config, and what it stands for.
struct Entry<'c> {
    text: &'c str,
    is_tls: bool,
    wanted: Wanted,
    /// How many sockets it has by now.
    found: usize,
}

/// What must be listened on still.
enum Wanted {
    /// `[::]` stands for `0.0.0.0`, too, unless that has an entry of its own.
    Addresses(Vec<SocketAddr>),
    Path(Option<PathBuf>),
}

impl Entry<'_> {
    fn fault(&self, error: Error) -> BindError {
        BindError::Bind { address: self.text.to_owned(), error }
    }
}

/// A socket for every configured address, of those that were passed or a new one; [`Bound::listen`] opens them. A host
/// name stands for all its addresses that this machine has.
///
/// # Errors
/// [`BindError`], which names the address.
pub fn bind(server: &ServerConfig, inherited: Vec<Inherited>) -> Result<Vec<Bound>, BindError> {
    let mut entries = server.listen.iter().map(|text| entry(text, &server.listen)).collect::<Result<Vec<_>, _>>()?;
    let mut all = inherited.into_iter().map(|passed| adopt(passed, &mut entries)).collect::<Result<Vec<_>, _>>()?;
    for entry in entries {
        match &entry.wanted {
            Wanted::Addresses(wanted) => all.append(&mut bind_all(&entry, wanted)?),
            Wanted::Path(Some(path)) => {
                let socket = bind_path(path).map_err(|error| entry.fault(error))?;
                all.push(Bound { address: entry.text.to_owned(), is_tls: false, socket: BoundSocket::Unix(socket) });
            }
            Wanted::Path(None) => {}
        }
    }
    Ok(all)
}

fn entry<'c>(text: &'c str, listen: &[String]) -> Result<Entry<'c>, BindError> {
    let address = Address::parse(text).map_err(|why| BindError::Address { address: text.to_owned(), why })?;
    let wanted = match address {
        Address::Unix(path) => Wanted::Path(Some(path.to_owned())),
        Address::Tcp { host, port, .. } => {
            let fault = |error| BindError::Bind { address: text.to_owned(), error };
            let mut wanted: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(fault)?.collect();
            let is_all = wanted.iter().any(|at| at.is_ipv6() && at.ip().is_unspecified());
            let has_own = |text: &String| match Address::parse(text) {
                Ok(Address::Tcp { host, port: own, .. }) => (host, own) == ("0.0.0.0", port),
                _ => false,
            };
            if is_all && !listen.iter().any(has_own) {
                wanted.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
            }
            Wanted::Addresses(wanted)
        }
    };
    Ok(Entry { text, is_tls: address.is_tls(), wanted, found: 0 })
}

/// Gives a socket that was passed to the entries that it serves.
fn adopt(passed: Inherited, entries: &mut [Entry<'_>]) -> Result<Bound, BindError> {
    let Inherited { name, place, socket } = passed;
    let mut tls = Vec::new();
    let listen = entries.iter().map(|entry| entry.text).collect::<Vec<_>>().join(", ");
    for entry in entries {
        let serves = match &mut entry.wanted {
            Wanted::Addresses(wanted) => {
                let before = wanted.len();
                wanted.retain(|wanted| !place.is_at(*wanted));
                wanted.len() < before
            }
            Wanted::Path(wanted) => wanted.take_if(|path| place.is_at_path(path)).is_some(),
        };
        if serves {
            entry.found += 1;
            tls.push(entry.is_tls);
        }
    }
    let address = place.to_string();
    match tls.first() {
        None => Err(BindError::Unnamed { passed: address, name, listen }),
        Some(first) if tls.iter().any(|is_tls| is_tls != first) => Err(BindError::Ambiguous { passed: address, name }),
        Some(&is_tls) => Ok(Bound { address, is_tls, socket: BoundSocket::Inherited(socket) }),
    }
}

/// Binds what an entry still wants.
fn bind_all(entry: &Entry<'_>, wanted: &[SocketAddr]) -> Result<Vec<Bound>, BindError> {
    let has = |ip: IpAddr| wanted.iter().any(|at| at.ip() == ip);
    // One socket for both families, where both are wanted.
    let is_dual = has(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) && has(std::net::Ipv6Addr::UNSPECIFIED.into());
    let is_covered = |at: &SocketAddr| is_dual && at.is_ipv4() && at.ip().is_unspecified();
    let (mut all, mut failed) = (Vec::new(), None);
    for at in wanted.iter().filter(|at| !is_covered(at)) {
        match bind_address(*at, is_dual) {
            Ok(socket) => {
                let socket = BoundSocket::Tcp(socket);
                all.push(Bound { address: entry.text.to_owned(), is_tls: entry.is_tls, socket });
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        // `localhost` is also ::1, which a machine without IPv6 does not have.
        Some(error) if all.len() + entry.found == 0 || error.kind() != ErrorKind::AddrNotAvailable => {
            Err(entry.fault(error))
        }
        _ => Ok(all),
    }
}

fn bind_address(at: SocketAddr, is_dual: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    // Whatever the system's default is, so that `0.0.0.0` can be bound beside `[::]`.
    if at.is_ipv6() && at.ip().is_unspecified() {
        socket.set_only_v6(!is_dual)?;
    }
    // A restart must not wait for the last connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// A socket that another process answers at is not taken away from it; one that nobody answers at is stale.
fn bind_path(path: &Path) -> std::io::Result<unix::Bound> {
    if unix::is_alive(path)? {
        return Err(Error::new(ErrorKind::AddrInUse, "another process listens there"));
    }
    unix::Bound::new(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::inherited::Place;

    /// A socket that says that it listens there.
    fn passed(address: &str, is_dual: bool) -> Inherited {
        let socket = StreamSocket::Tcp(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let place = Place::Ip { address: address.parse().unwrap(), is_dual };
        Inherited { name: "hookrelay.socket".into(), place, socket }
    }

    /// The entries of `listen`, after these sockets were given to them: what each of them still wants.
    fn left(listen: &[&str], sockets: Vec<Inherited>) -> Result<Vec<String>, BindError> {
        let listen: Vec<String> = listen.iter().map(|text| (*text).to_owned()).collect();
        let mut entries = listen.iter().map(|text| entry(text, &listen)).collect::<Result<Vec<_>, _>>()?;
        for socket in sockets {
            adopt(socket, &mut entries)?;
        }
        let left = |entry: &Entry<'_>| match &entry.wanted {
            Wanted::Addresses(wanted) => wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Wanted::Path(path) => path.iter().map(|path| path.display().to_string()).collect(),
        };
        Ok(entries.iter().map(left).collect())
    }

    #[test]
    fn what_is_passed_need_not_be_bound_and_the_rest_is() {
        let both = ["127.0.0.1:4000", "127.0.0.2:4000"];
        assert_eq!(left(&both, vec![passed("127.0.0.2:4000", false)]).unwrap(), ["127.0.0.1:4000", ""]);
    }

    #[test]
    fn a_wildcard_of_both_families_is_one_socket_or_two() {
        assert_eq!(left(&["[::]:4000"], vec![]).unwrap(), ["[::]:4000 0.0.0.0:4000"]);
        assert_eq!(left(&["[::]:4000"], vec![passed("[::]:4000", true)]).unwrap(), [""]);
        assert_eq!(left(&["[::]:4000"], vec![passed("[::]:4000", false)]).unwrap(), ["0.0.0.0:4000"]);
        assert_eq!(left(&["[::]:4000"], vec![passed("0.0.0.0:4000", false)]).unwrap(), ["[::]:4000"]);
        assert_eq!(left(&["0.0.0.0:4000"], vec![passed("[::]:4000", true)]).unwrap(), [""]);
        let side_by_side = ["0.0.0.0:4000", "[::]:4000"];
        assert_eq!(left(&side_by_side, vec![passed("[::]:4000", true)]).unwrap(), ["", ""]);
        assert_eq!(left(&side_by_side, vec![passed("[::]:4000", false)]).unwrap(), ["0.0.0.0:4000", ""]);
    }

    #[test]
    fn a_socket_that_the_config_does_not_name_is_told_with_what_it_names() {
        for (listen, socket) in [
            (&["127.0.0.1:4000"][..], passed("127.0.0.1:4001", false)),
            (&["127.0.0.1:4000"], passed("[::]:4000", true)),
            (&["0.0.0.0:4000"], passed("[::]:4000", false)),
            (&["unix:/run/a.sock"], passed("127.0.0.1:4000", false)),
        ] {
            let at = socket.place.to_string();
            let error = left(listen, vec![socket]).unwrap_err();
            assert!(error.is_of_config());
            let text = error.to_string();
            for part in [&at, "hookrelay.socket", listen[0], "ListenStream="] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    #[test]
    fn a_passed_socket_speaks_tls_where_its_address_does_and_never_both() {
        let mixed = ["0.0.0.0:4000", "tls://[::]:4000"];
        assert!(matches!(left(&mixed, vec![passed("[::]:4000", true)]), Err(BindError::Ambiguous { .. })));
        assert_eq!(left(&mixed, vec![passed("[::]:4000", false)]).unwrap(), ["0.0.0.0:4000", ""]);
    }
}
