//! What `listen` of `[server]` takes: `HOST:PORT`, `tls://HOST:PORT`, `unix:PATH`. Pure.

use std::path::Path;

/// How an address over TLS begins.
const TLS: &str = "tls://";
/// How a path begins.
const UNIX: &str = "unix:";

/// One address of `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// Over TCP.
    Tcp {
        /// A name or an address, without brackets.
        host: &'a str,
        /// The port; 0 is any.
        port: u16,
        /// Whether TLS is spoken there, and nothing else.
        is_tls: bool,
    },
    /// A Unix socket.
    Unix(&'a Path),
}

impl<'a> Address<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return if path.is_empty() {
                Err("names no path behind `unix:`".into())
            } else {
                Ok(Self::Unix(path.as_ref()))
            };
        }
        let (is_tls, address) = text.strip_prefix(TLS).map_or((false, text), |address| (true, address));
        let expected = || "expected HOST:PORT, such as 127.0.0.1:4000, or tls://HOST:PORT, or unix:PATH".to_owned();
        let (host, port) = address.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| expected())?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '[' | ']' | '?' | '#' | '@');
        let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let is_odd = host.contains(odd) || (!is_v6 && host.contains(':'));
        if host.is_empty() || is_odd || bare.is_some() != is_v6 {
            return Err(expected());
        }
        Ok(Self::Tcp { host, port, is_tls })
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { is_tls: true, .. })
    }

    /// Whether both are one place, whatever is spoken there. Of free ports there is more than one.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp { host, port, .. }, Self::Tcp { host: other, port: other_port, .. }) => {
                *port != 0 && (host, port) == (other, other_port)
            }
            (Self::Unix(path), Self::Unix(other)) => path == other,
            _ => false,
        }
    }
}

/// An address of `listen` with its path made absolute, where it has one.
pub fn resolved(text: &str, base_dir: &Path) -> String {
    match Address::parse(text) {
        Ok(Address::Unix(path)) => format!("{UNIX}{}", base_dir.join(path).display()),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_told_apart_and_anything_else_says_what_was_expected() {
        let tcp = |host, port, is_tls| Ok(Address::Tcp { host, port, is_tls });
        assert_eq!(Address::parse("127.0.0.1:4000"), tcp("127.0.0.1", 4000, false));
        assert_eq!(Address::parse("tls://[::]:4443"), tcp("::", 4443, true));
        assert_eq!(Address::parse("tls://hooks.example:443"), tcp("hooks.example", 443, true));
        assert_eq!(Address::parse("unix:/run/a.sock"), Ok(Address::Unix("/run/a.sock".as_ref())));
        for bad in [
            "",
            "4000",
            "::1:4000",
            "[1.2.3.4]:1",
            "http://x:1",
            "tls://",
            "tls://x",
            "tls://unix:/a",
            "unix:",
            "tls:0.0.0.0:4443",
            "udp:x:1",
        ] {
            let why = Address::parse(bad).unwrap_err();
            assert!(why.contains("expected HOST:PORT") || why.contains("no path"), "{bad}: {why}");
        }
    }

    #[test]
    fn an_address_is_one_place_whether_tls_is_spoken_there_or_not() {
        let is_same = |a, b| Address::parse(a).unwrap().is_same_place(&Address::parse(b).unwrap());
        assert!(is_same("127.0.0.1:4000", "tls://127.0.0.1:4000"));
        assert!(!is_same("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!is_same("127.0.0.1:4000", "127.0.0.1:4001"));
        assert!(is_same("unix:/a", "unix:/a") && !is_same("unix:/a", "unix:/b"));
    }

    #[test]
    fn a_path_starts_at_the_configs_folder() {
        let base = Path::new("/etc/relay");
        assert_eq!(resolved("unix:a.sock", base), "unix:/etc/relay/a.sock");
        assert_eq!(resolved("unix:/run/a.sock", base), "unix:/run/a.sock");
        assert_eq!(resolved("127.0.0.1:4000", base), "127.0.0.1:4000");
    }
}
