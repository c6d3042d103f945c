//! Who is asking: the peer, or the client a trusted proxy names. Pure.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

/// The client's address: the peer's own, unless the peer is a trusted proxy; then the last address in
/// `X-Forwarded-For` that is not one. What stands before it was written by somebody we do not trust.
pub fn client(peer: IpAddr, trusted: &[IpAddr], headers: &HeaderMap) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|t| t.to_canonical() == *ip);
    let mut client = peer.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b','));
    while is_trusted(&client) {
        // Without a readable further hop, the proxy nearest to it is as far as we can see.
        match hops.next().and_then(address) {
            Some(hop) => client = hop,
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
        let trusted = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), "::1".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        client(peer.parse().unwrap(), &trusted, &headers).to_string()
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
    fn an_unreadable_hop_ends_the_search() {
        assert_eq!(remote("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(remote("10.0.0.1", &["1.2.3.4, unknown"]), "10.0.0.1");
        assert_eq!(remote("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(remote("10.0.0.1", &["10.0.0.2"]), "10.0.0.2");
    }
}
