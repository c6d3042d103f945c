//! The table `[admin]`: where the admin listener listens, and which token it asks for.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sink_api::{Fault, Secret};

/// The socket in the data folder that is used where the config names no other.
const SOCKET: &str = "admin.sock";

/// The table as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminKeys {
    /// `unix:PATH` or `HOST:PORT`.
    pub listen: Option<String>,
    /// `HOST:PORT` by which other daemons of a cluster ask it, where that is not `listen`.
    pub advertise: Option<String>,
    /// The token that a client must show; over TCP there must be one.
    pub token: Option<Secret>,
    /// Whether nothing can be changed by way of the listener.
    pub read_only: bool,
}

/// Where the listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket; whoever may open it may do everything.
    Unix(PathBuf),
    /// An address; whoever shows the token may do everything.
    Tcp(String),
}

/// The table as the daemon uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where the listener listens.
    pub listen: Listen,
    /// By which address other daemons ask it, where that is not where it listens.
    pub advertise: Option<String>,
    /// The token that every request must show, where one is set.
    pub token: Option<Secret>,
    /// Whether nothing can be changed by way of the listener.
    pub read_only: bool,
}

fn is_host_and_port(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// An address that is none: somebody may have written a user and a password into it.
fn shown(address: &str) -> &str {
    if address.contains('@') { "***" } else { address }
}

impl AdminKeys {
    /// What is wrong with the table.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        match self.listen.as_deref().map(|listen| listen.strip_prefix("unix:").ok_or(listen)) {
            None => {}
            Some(Ok("")) => faults.push(Fault::at_key("listen", "`listen` names no path after `unix:`")),
            Some(Ok(_)) => {}
            Some(Err(address)) => {
                if !is_host_and_port(address) {
                    let message = format!("`listen` is `{}`, expected unix:PATH or HOST:PORT", shown(address));
                    faults.push(Fault::at_key("listen", message));
                } else if self.token.as_ref().is_none_or(Secret::is_empty) {
                    let help = "add token = \"${HOOKRELAY_ADMIN_TOKEN}\", or listen on unix:PATH";
                    faults
                        .push(Fault::at_key("listen", "`listen` is a TCP address and there is no `token`").help(help));
                }
            }
        }
        if let Some(advertise) = self.advertise.as_deref() {
            if !is_host_and_port(advertise) {
                let shown = shown(advertise);
                faults.push(Fault::at_key("advertise", format!("`advertise` is `{shown}`, expected HOST:PORT")));
            } else if self.listen.as_deref().is_none_or(|listen| listen.starts_with("unix:")) {
                let help = "listen on HOST:PORT, or leave `advertise` out";
                let message = "`advertise` is an address, and the admin listener is a socket, which has none";
                faults.push(Fault::at_key("advertise", message).help(help));
            }
        }
        if self.token.as_ref().is_some_and(Secret::is_empty) && faults.is_empty() {
            faults.push(Fault::at_key("token", "`token` is empty"));
        }
        faults
    }

    /// The table with absolute paths, and with the default filled in.
    pub fn resolve(self, base_dir: &Path, data_dir: &Path) -> AdminConfig {
        let listen = match self.listen {
            None => Listen::Unix(data_dir.join(SOCKET)),
            Some(listen) => match listen.strip_prefix("unix:") {
                Some(path) => Listen::Unix(base_dir.join(path)),
                None => Listen::Tcp(listen),
            },
        };
        AdminConfig { listen, advertise: self.advertise, token: self.token, read_only: self.read_only }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(listen: Option<&str>, token: Option<&str>) -> AdminKeys {
        AdminKeys { listen: listen.map(Into::into), token: token.map(Secret::new), ..AdminKeys::default() }
    }

    #[test]
    fn tcp_needs_a_token_and_a_socket_does_not() {
        let faults = |listen, token| keys(listen, token).check().len();
        assert_eq!(faults(None, None), 0);
        assert_eq!(faults(Some("unix:a.sock"), None), 0);
        assert_eq!(faults(Some("127.0.0.1:4001"), Some("t")), 0);
        for bad in [(Some("127.0.0.1:4001"), None), (Some("127.0.0.1:4001"), Some("")), (Some("unix:"), None)] {
            assert_eq!(faults(bad.0, bad.1), 1, "{bad:?}");
        }
        for bad in ["nowhere", ":4001", "host:port"] {
            assert_eq!(faults(Some(bad), Some("t")), 1, "{bad}");
        }
        let shown = format!("{:?}", keys(Some("me:hunter2@host:x"), Some("t")).check());
        assert!(shown.contains("expected unix:PATH") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn an_address_that_is_advertised_is_one_and_of_a_listener_that_has_one() {
        let faults = |listen: Option<&str>, advertise: &str| {
            AdminKeys { advertise: Some(advertise.to_owned()), ..keys(listen, Some("t")) }.check().len()
        };
        assert_eq!(faults(Some("0.0.0.0:4001"), "red.example:4001"), 0);
        for (listen, bad) in [(None, "red:1"), (Some("unix:a.sock"), "red:1"), (Some("0.0.0.0:1"), "red")] {
            assert_eq!(faults(listen, bad), 1, "{listen:?} {bad}");
        }
    }

    #[test]
    fn the_default_is_a_socket_in_the_data_folder_and_paths_start_at_the_config() {
        let (base, data) = (Path::new("/etc/relay"), Path::new("/var/lib/relay"));
        assert_eq!(keys(None, None).resolve(base, data).listen, Listen::Unix("/var/lib/relay/admin.sock".into()));
        assert_eq!(
            keys(Some("unix:a.sock"), None).resolve(base, data).listen,
            Listen::Unix("/etc/relay/a.sock".into())
        );
        assert_eq!(keys(Some("h:1"), Some("t")).resolve(base, data).listen, Listen::Tcp("h:1".into()));
    }
}
