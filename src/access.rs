//! Words for what the system refuses: whose a path is and who we are, who listens on an address already, and the mend.
//! Reads `/proc` and `/etc/passwd`; changes nothing, and where nothing is to be learned says what the system said.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mend where a service may not write.
const READ_ONLY: &str = "where systemd makes it so for the service, name the folder in ReadWritePaths= \
                         (`systemctl edit hookrelay`), or take one below /var/lib/hookrelay";
/// The mend where a port is for root alone.
const LOW_PORT: &str = "ports below 1024 take a capability (AmbientCapabilities=CAP_NET_BIND_SERVICE and the same in \
                        CapabilityBoundingSet= of the service), the socket unit, or a proxy in front";
/// Most processes that are looked through for the holder of a socket.
const MAX_PROCESSES: usize = 10_000;
/// The state of a listening socket in `/proc/net/tcp` (proc_net_tcp in the kernel's documentation).
const LISTENING: &str = "0A";

/// Says why a path cannot be used: with its owner, our user and the mend, where permission is denied or nothing may be
/// written there.
pub fn told(path: &Path, error: &io::Error) -> String {
    let said = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied => denied(path).map_or(said.clone(), |more| format!("{said}; {more}")),
        ErrorKind::ReadOnlyFilesystem => format!("{said}\n  help: {READ_ONLY}"),
        _ => said,
    }
}

/// A user as people know them: `hookrelay (998)`, or the number alone where it has no name in `/etc/passwd`.
pub fn user(uid: u32) -> String {
    name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid)
}

/// What a user is called in `/etc/passwd`.
fn name(passwd: &str, uid: u32) -> String {
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| format!("{name} ({uid})"))
    });
    named.unwrap_or_else(|| format!("the user of id {uid}"))
}

/// Whose the path is, or what leads to it as far as it can be seen; who we are; and the mend.
fn denied(path: &Path) -> Option<String> {
    let whole = std::path::absolute(path).ok()?;
    let (at, meta) = whole.ancestors().find_map(|at| Some((at, fs::metadata(at).ok()?)))?;
    let (we, owner, mode) = (rustix::process::geteuid().as_raw(), meta.uid(), meta.mode() & 0o7777);
    let (at, path) = (at.display(), path.display());
    let help = if owner == we {
        format!("`chmod u+rwX {at}`")
    } else if at.to_string() == path.to_string() {
        format!("`chown -R {we} {path}`, or run as its owner")
    } else {
        format!("as root: `install -d -o {we} -m 700 {path}`")
    };
    Some(format!("{at} belongs to {} (mode {mode:04o}), and this runs as {}\n  help: {help}", user(owner), user(we)))
}

/// Says why an address of `listen` cannot be listened on, and who does where another program has it.
pub fn not_bound(address: &str, error: &io::Error) -> String {
    if let Some(path) = address.strip_prefix("unix:").map(Path::new) {
        // It is the folder that refuses a new socket, or lets nobody in.
        return match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => told(path.parent().unwrap_or(path), error),
            _ => error.to_string(),
        };
    }
    let at = address.trim_start_matches("tls://").to_socket_addrs().ok().and_then(|mut all| all.next());
    match (error.kind(), at) {
        (ErrorKind::AddrInUse, Some(at)) => format!("{error}\n  help: {}", listener(at)),
        (ErrorKind::AddrNotAvailable, _) => format!("{error}\n  help: `ip address` names those of this machine"),
        (ErrorKind::PermissionDenied, _) => format!("{error}\n  help: {LOW_PORT}"),
        _ => error.to_string(),
    }
}

/// Who listens on an address, as far as can be seen: the process, or its user.
fn listener(address: SocketAddr) -> String {
    let ways = format!("`ss -ltnp 'sport = :{}'` as root names the process", address.port());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let Some(held) = tables.iter().flat_map(|table| table.lines()).filter_map(listening).find(|one| one.bars(address))
    else {
        return format!("another program has it: {ways}");
    };
    let whose = user(held.uid);
    match holder(held.inode) {
        Some((pid, program)) => format!("`{program}` (process {pid} of {whose}) listens there"),
        None => format!("a program of {whose} listens there: {ways}"),
    }
}

/// A listening socket.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    at: SocketAddr,
    uid: u32,
    inode: u64,
}

impl Listening {
    /// Whether nobody else can listen on the address beside it.
    fn bars(&self, address: SocketAddr) -> bool {
        let any = |ip: IpAddr| ip.is_unspecified();
        self.at.port() == address.port()
            && (self.at.ip().to_canonical() == address.ip().to_canonical() || any(self.at.ip()) || any(address.ip()))
    }
}

/// A line of `/proc/net/tcp` or `tcp6`, where it is of a listening socket. Addresses are words of 32 bits in the
/// machine's own order.
fn listening(line: &str) -> Option<Listening> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTENING {
        return None;
    }
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        _ => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            bytes.iter_mut().zip(words.into_iter().flatten()).for_each(|(to, from)| *to = from);
            Ipv6Addr::from(bytes).into()
        }
    };
    let at = SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?);
    Some(Listening { at, uid: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? })
}

/// The process that has a socket open, and its program, where we may look into it.
fn holder(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.take(MAX_PROCESSES).filter_map(Result::ok);
    let mut numbered = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbered.find_map(|pid| {
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(Result::ok);
        open.find(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))?;
        let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some((pid, program.trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_where_it_is_in_passwd() {
        let passwd = "root:x:0:0::/:/bin/sh\nbroken\nhookrelay:x:998:998::/:/bin/false\n";
        assert_eq!([0, 998, 5].map(|uid| name(passwd, uid)), ["root (0)", "hookrelay (998)", "the user of id 5"]);
    }

    #[test]
    fn a_path_that_is_refused_is_told_with_its_owner_our_user_and_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let (own, none) = (folder.path().to_owned(), folder.path().join("a/b"));
        let we = user(rustix::process::geteuid().as_raw());
        for (path, help) in [(&own, "chmod u+rwX"), (&none, "chmod u+rwX")] {
            let text = told(path, &ErrorKind::PermissionDenied.into());
            let place = format!("{} belongs to {we}", own.display());
            assert!(text.contains(&place) && text.contains(&format!("runs as {we}")) && text.contains(help), "{text}");
        }
        assert!(told(&none, &ErrorKind::ReadOnlyFilesystem.into()).contains("ReadWritePaths="));
        assert_eq!(told(Path::new("x"), &ErrorKind::NotADirectory.into()), "x: not a directory");
    }

    #[test]
    fn of_a_unix_socket_the_folder_is_told_that_refuses_it() {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix:{}/new/x.sock", folder.path().display());
        let text = not_bound(&address, &ErrorKind::PermissionDenied.into());
        assert!(text.starts_with(&format!("{}/new: ", folder.path().display())) && !text.contains("x.sock"), "{text}");
        assert_eq!(not_bound(&address, &ErrorKind::AddrInUse.into()), ErrorKind::AddrInUse.to_string());
    }

    #[test]
    fn the_program_that_listens_on_an_address_is_named() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = held.local_addr().unwrap();
        for address in [at, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port())] {
            let text = listener(address);
            assert!(text.contains(&format!("(process {} of ", std::process::id())), "{text}");
        }
        drop(held);
        assert!(listener(at).contains("ss -ltnp"));
    }

    #[test]
    fn lines_of_the_kernels_table_are_read() {
        let line = "   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998   0 4711 1 0 100";
        let read = listening(line).map(|one| (one.at.to_string(), one.uid, one.inode));
        assert_eq!(read, Some(("127.0.0.1:4000".to_owned(), 998, 4711)));
        let v6 = line.replace("0100007F:", "00000000000000000000000001000000:");
        assert_eq!(listening(&v6).map(|one| one.at.to_string()).as_deref(), Some("[::1]:4000"));
        assert_eq!(listening(&line.replace(" 0A ", " 01 ")), None, "a connection");
        for bad in ["", "  sl  local_address rem_address   st", "0: xx:0FA0 0 0A 0 0 0 1 0 2", "0: 01:é 0 0A"] {
            assert_eq!(listening(bad), None, "{bad}");
        }
    }
}
