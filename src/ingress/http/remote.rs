//! The client's address: the peer's, or the one that a trusted proxy names. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::socket::Peer;

/// An address, or a network of them: `10.0.0.1`, `172.16.0.0/12`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// No bit is set behind the prefix. Never an IPv4 address mapped into IPv6.
    address: IpAddr,
    /// How many of its bits count.
    prefix: u8,
}

/// Why a text is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// It is no address.
    #[error("is no address, expected one such as \"10.0.0.1\", or a network such as \"172.16.0.0/12\"")]
    Address,
    /// `/33`.
    #[error("has the prefix `/{0}`, expected /0 to /{1}")]
    Prefix(String, u8),
    /// `172.16.0.1/12`.
    #[error("has bits set behind its prefix, expected the network itself: \"{0}\"")]
    Host(Network),
}

impl Network {
    /// Whether that address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && cut(address, self.prefix) == self.address
    }
}

/// The address with the bits behind the prefix cleared.
fn cut(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let written: IpAddr = address.parse().map_err(|_| NotANetwork::Address)?;
        let canonical = written.to_canonical();
        let most = |ip: IpAddr| if ip.is_ipv4() { 32_u8 } else { 128 };
        let Some(prefix) = prefix else { return Ok(Self { address: canonical, prefix: most(canonical) }) };
        let bad = || NotANetwork::Prefix(prefix.to_owned(), most(written));
        let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let bits: u8 = is_number.then(|| prefix.parse().ok()).flatten().ok_or_else(bad)?;
        if bits > most(written) {
            return Err(bad());
        }
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`; a shorter prefix holds more than IPv4 addresses.
        let (address, prefix) = match bits.checked_sub(96) {
            Some(bits) if written.is_ipv6() && canonical.is_ipv4() => (canonical, bits),
            _ => (written, bits),
        };
        let network = Self { address: cut(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(NotANetwork::Host(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Network;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"10.0.0.1\", or a network such as \"172.16.0.0/12\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Network, E> {
                text.trim().parse().map_err(|why| E::custom(format!("`{text}` {why}")))
            }
        }
        from.deserialize_str(Text)
    }
}

/// The client: the peer itself, unless the peer is one of the trusted proxies; then the last address in
/// `X-Forwarded-For` that is not one. What stands before it was written by somebody we do not trust. Who comes by a
/// Unix socket is trusted: the socket's mode and folder say who that may be, and only a proxy has a reason to.
pub fn client(peer: Peer, trusted: &[Network], headers: &HeaderMap) -> Peer {
    let is_trusted = |peer: &Peer| match peer {
        Peer::Ip(ip) => trusted.iter().any(|network| network.contains(*ip)),
        Peer::Local => true,
    };
    let mut client = peer;
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b','));
    while is_trusted(&client) {
        // Without a readable further hop, the last proxy that is known stands for the client.
        match hops.next().and_then(address) {
            Some(hop) => client = Peer::Ip(hop),
            None => break,
        }
    }
    client
}

/// One hop: an address, with or without brackets and a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.1", "10.0.0.2", "::1", "172.16.0.0/12"].map(|text| text.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let peer = peer.parse().map_or(Peer::Local, |ip: IpAddr| Peer::Ip(ip.to_canonical()));
        client(peer, &trusted, &headers).to_string()
    }

    #[test]
    fn behind_a_unix_socket_stands_a_proxy_that_is_trusted() {
        assert_eq!(remote("unix", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(remote("unix", &["1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(remote("unix", &[]), "unix");
        assert_eq!(remote("unix", &["unknown"]), "unix");
    }

    #[test]
    fn a_peer_that_is_no_trusted_proxy_is_the_client_whatever_it_claims() {
        assert_eq!(remote("9.9.9.9", &["1.2.3.4"]), "9.9.9.9");
        assert_eq!(remote("::ffff:9.9.9.9", &[]), "9.9.9.9");
    }

    #[test]
    fn behind_trusted_proxies_it_is_the_last_address_that_is_not_one() {
        assert_eq!(remote("10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(remote("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(remote("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.0.0.2"]), "1.2.3.4");
        assert_eq!(remote("::ffff:10.0.0.1", &["1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(remote("::1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(remote("::1", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn a_proxy_of_a_trusted_network_is_believed_and_its_neighbour_is_not() {
        assert_eq!(remote("172.17.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(remote("::ffff:172.31.255.255", &["1.2.3.4, 172.20.0.9"]), "1.2.3.4");
        assert_eq!(remote("172.32.0.1", &["1.2.3.4"]), "172.32.0.1");
    }

    #[test]
    fn networks_of_both_families_hold_what_their_prefix_says() {
        for (network, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("172.16.0.0/12", "172.31.255.255", "172.32.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::/0", "::1", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        assert!("10.0.0.0/8".parse::<Network>().unwrap().contains("::ffff:10.1.1.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_says_why() {
        let why = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        assert_eq!(why("10.0.0.0/33"), "has the prefix `/33`, expected /0 to /32");
        assert_eq!(why("fd00::/129"), "has the prefix `/129`, expected /0 to /128");
        assert_eq!(why("10.0.0.0/"), "has the prefix `/`, expected /0 to /32");
        assert_eq!(
            why("172.16.0.1/12"),
            "has bits set behind its prefix, expected the network itself: \"172.16.0.0/12\""
        );
        for text in ["proxy", "", "10.0.0", "10.0.0.0/8/8", "/8", "10.0.0.0/+8"] {
            assert!(why(text).starts_with("is no address") || why(text).starts_with("has the prefix"), "{text}");
        }
    }

    #[test]
    fn an_unreadable_hop_ends_the_search() {
        assert_eq!(remote("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(remote("10.0.0.1", &["1.2.3.4, unknown"]), "10.0.0.1");
        assert_eq!(remote("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(remote("10.0.0.1", &["10.0.0.2"]), "10.0.0.2");
    }
}
