//! The service manager's socket, and what is said there. The words are those of sd_notify(3), spelt by the crate
//! `sd-notify`. The socket is our own: opened once, so that a word needs no descriptor, and never waited for long.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

/// Where the manager says that its socket is.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Longest that one word waits for a manager that does not read. Then it is lost.
const PATIENCE: Duration = Duration::from_millis(100);
/// Most bytes of a status line.
const LONGEST_STATUS: usize = 400;

/// The service manager; nobody where none started the daemon.
#[derive(Clone, Debug, Default)]
pub struct Manager(Option<Arc<UnixDatagram>>);

impl Manager {
    /// The one that the environment names. Programs that the daemon starts get neither its socket, which is closed when
    /// they start, nor the variable, as their environments are built anew.
    pub fn of_environment() -> Self {
        let Some(name) = std::env::var_os(SOCKET).filter(|name| !name.is_empty()) else { return Self::default() };
        let opened = opened(name.as_bytes());
        let missing = |error: &io::Error| {
            tracing::warn!(socket = %name.display(), %error, "the service manager cannot be told anything");
        };
        Self(opened.inspect_err(missing).ok().map(Arc::new))
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Webhooks are taken from now on; or the config that was to be read again is in force, or refused.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The config is being read again.
    pub fn reloading(&self) {
        // The clock cannot fail on a system that runs systemd.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The daemon stops.
    pub fn stopping(&self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
    }

    /// What the daemon is doing, in one line.
    pub fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(&one_line(status))]);
    }

    /// The start goes on, and takes so much longer at most; then this is to be said again.
    pub fn extend(&self, by: Duration) {
        self.tell(&[NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))]);
    }

    /// The daemon goes on.
    pub fn beat(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// What cannot be sent is lost: nothing of the daemon hangs on it, and the manager notices what it misses.
    fn tell(&self, words: &[NotifyState<'_>]) {
        let Some(socket) = &self.0 else { return };
        let lines: String = words.iter().map(|word| format!("{word}\n")).collect();
        if let Err(error) = socket.send(lines.as_bytes()) {
            tracing::debug!(%error, "the service manager does not hear");
        }
    }
}

/// How soon after a beat the manager wants the next one; `None` where it wants none, or where that is meant for another
/// process.
pub(super) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

/// A path, or after `@` a name in the abstract namespace.
fn opened(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A line break would begin another word; and what is too long is cut.
fn one_line(text: &str) -> String {
    let cut = text.floor_char_boundary(LONGEST_STATUS);
    text.get(..cut).unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(folder: &std::path::Path) -> (UnixDatagram, Manager) {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (socket, Manager(Some(Arc::new(opened(path.as_os_str().as_bytes()).unwrap()))))
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn each_word_is_one_datagram_as_sd_notify_spells_it() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, manager) = listening(folder.path());
        manager.ready();
        assert_eq!(heard(&socket), "READY=1\n");
        manager.reloading();
        let said = heard(&socket);
        let usec = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
        assert!(usec.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0)), "{said}");
        manager.stopping("bye");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=bye\n");
        manager.extend(Duration::from_secs(30));
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=30000000\n");
        manager.beat();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
    }

    #[test]
    fn a_status_is_one_line_whatever_is_in_it_and_not_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, manager) = listening(folder.path());
        manager.status(&format!("a\nREADY=1\r{}", "é".repeat(LONGEST_STATUS)));
        let said = heard(&socket);
        assert!(said.starts_with("STATUS=a READY=1 é") && said.ends_with("é\n"), "{said}");
        assert_eq!(said.lines().count(), 1);
        assert!(said.len() <= "STATUS=\n".len() + LONGEST_STATUS, "{}", said.len());
    }

    #[test]
    fn a_name_in_the_abstract_namespace_is_found() {
        let name = format!("hookrelay-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        opened(format!("@{name}").as_bytes()).unwrap().send(b"x").unwrap();
        assert_eq!(heard(&socket), "x");
    }

    #[test]
    fn a_manager_that_does_not_read_or_is_gone_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, manager) = listening(folder.path());
        // More than the kernel keeps for one that does not read.
        while opened(folder.path().join("notify").as_os_str().as_bytes())
            .and_then(|other| other.set_nonblocking(true).and_then(|()| other.send(b"x")))
            .is_ok()
        {}
        manager.ready();
        drop(socket);
        manager.ready();
        Manager::default().ready();
    }
}
