//! By which address daemons ask each other: what a daemon says of its own admin listener, and whether another can get
//! there. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

use sink_api::Secret;

use crate::admin::{AdminConfig, Listen};
use crate::ledger::nodes::Node;

/// What the address of a socket begins with.
const UNIX: &str = "unix:";

/// Where this daemon says that it is asked, on a host of that name.
pub fn advertised(config: &AdminConfig, host: &str) -> String {
    match &config.listen {
        Listen::Unix(path) => format!("{UNIX}{}", path.display()),
        Listen::Tcp(listen) => config.advertise.clone().unwrap_or_else(|| match listen.rsplit_once(':') {
            Some((all, port)) if address(all).is_some_and(|all| all.is_unspecified()) => format!("{host}:{port}"),
            _ => listen.clone(),
        }),
    }
}

/// The IP address of a host that is written as one.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// How a daemon is asked from the host of that name.
///
/// # Errors
/// Why it cannot be asked from there, with the mend.
pub(super) fn reach(node: &Node, host: &str, token: Option<&Secret>) -> Result<AdminConfig, String> {
    let (there, is_here) = (&node.host, node.host == host);
    let listen = match node.admin.strip_prefix(UNIX) {
        Some(path) if is_here => Listen::Unix(PathBuf::from(path)),
        Some(_) => {
            return Err(format!(
                "its admin listener is a socket, which only daemons on its host {there} can ask: give it an address \
                 and a token, `[admin] listen = \"HOST:PORT\"`"
            ));
        }
        None if node.admin.is_empty() => return Err("it does not say where it can be asked".to_owned()),
        None if is_loopback(&node.admin) && !is_here => {
            return Err(format!(
                "it listens at {}, which only daemons on its host {there} can ask: give `[admin]` another `listen`, \
                 or `advertise = \"HOST:PORT\"` where a proxy leads to it",
                node.admin
            ));
        }
        None if !is_host_and_port(&node.admin) => {
            return Err("where it says that it is asked is no HOST:PORT".to_owned());
        }
        None => Listen::Tcp(node.admin.clone()),
    };
    Ok(AdminConfig { listen, advertise: None, token: token.cloned(), read_only: false })
}

/// Whether it is a host with a port, and nothing that would make another address or path of it.
fn is_host_and_port(at: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    at.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && host.chars().all(is_plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn is_loopback(at: &str) -> bool {
    let host = at.rsplit_once(':').map_or(at, |(host, _)| host);
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(at: &str, advertise: Option<&str>) -> AdminConfig {
        let listen = at.strip_prefix(UNIX).map_or_else(|| Listen::Tcp(at.into()), |path| Listen::Unix(path.into()));
        AdminConfig { listen, advertise: advertise.map(str::to_owned), token: None, read_only: false }
    }

    #[test]
    fn a_daemon_says_the_address_that_others_can_use() {
        for (at, advertise, said) in [
            ("unix:/d/admin.sock", None, "unix:/d/admin.sock"),
            ("10.0.0.1:4001", None, "10.0.0.1:4001"),
            ("0.0.0.0:4001", None, "red:4001"),
            ("[::]:4001", None, "red:4001"),
            ("127.0.0.1:4001", None, "127.0.0.1:4001"),
            ("127.0.0.1:4001", Some("red.example:80"), "red.example:80"),
        ] {
            assert_eq!(advertised(&listening(at, advertise), "red"), said);
        }
    }

    #[test]
    fn what_only_its_own_host_can_ask_is_named_with_the_mend() {
        let from = |admin: &str, host: &str| {
            let node = Node { admin: admin.into(), host: "red".into(), ..Node::default() };
            reach(&node, host, Some(&Secret::new("t"))).map(|config| (config.listen, config.token.is_some()))
        };
        assert_eq!(from("unix:/d/a.sock", "red"), Ok((Listen::Unix("/d/a.sock".into()), true)));
        assert_eq!(from("127.0.0.1:1", "red"), Ok((Listen::Tcp("127.0.0.1:1".into()), true)));
        assert_eq!(from("10.0.0.1:1", "blue"), Ok((Listen::Tcp("10.0.0.1:1".into()), true)));
        for (admin, mend) in [
            ("unix:/d/a.sock", "`[admin] listen"),
            ("localhost:1", "`advertise"),
            ("[::1]:1", "`advertise"),
            ("", "say"),
        ] {
            let why = from(admin, "blue").unwrap_err();
            assert!(why.contains(mend), "{why}");
        }
    }
}
