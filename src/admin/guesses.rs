//! Wrong tokens, counted by the address that they come from. Pure: whoever asks says what time it is.
//!
//! What keeps the token from being guessed is its length: 128 bits of chance are found at no rate that a machine could
//! answer. The bound here is for tokens that people make up. It is for each address apart, so that strangers do not
//! lock the owner out: who comes from elsewhere is let in, and a session that was begun goes on wherever its browser
//! is. A bound for all of them together would be a way to lock the owner out, and a token that is let in at any rate
//! would make it none. So behind a proxy the address is the one that the proxy saw, by the last element of
//! `X-Forwarded-For`; only what comes from this machine is believed that.
//! Wrong tokens count however they are shown, at the login and as `Authorization`, as both open the same door.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

/// Most wrong tokens from one address in a [`WINDOW`].
const MOST: u32 = 20;
/// How long wrong tokens count, from the first of them on.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses that are remembered; the one that was quiet for longest is forgotten.
const ADDRESSES: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(most) => most,
    None => NonZeroUsize::MIN,
};

/// Where somebody comes from; `None` is the Unix socket without a proxy. Of IPv6 the network, of which one customer has
/// all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin(Option<IpAddr>);

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("the Unix socket"),
        }
    }
}

impl Origin {
    /// Where a request comes from: `remote` is the connection's other end, none over a Unix socket.
    pub fn of(remote: Option<IpAddr>, forwarded_for: Option<&str>) -> Self {
        let remote = remote.map(|remote| remote.to_canonical());
        let is_here = remote.is_none_or(|remote| remote.is_loopback());
        let last = forwarded_for.and_then(|list| list.rsplit(',').next()).and_then(address).filter(|_| is_here);
        Self(last.or(remote).map(network))
    }
}

/// Reads an address of `X-Forwarded-For`, which may have a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// The wrong tokens of one listener.
pub(super) struct Guesses {
    by: LruCache<Origin, (Instant, u32)>,
}

impl Guesses {
    pub fn new() -> Self {
        Self { by: LruCache::new(ADDRESSES) }
    }

    /// How long it takes until a token from there is looked at again; `None` where it is looked at now.
    pub fn wait(&self, from: Origin, now: Instant) -> Option<Duration> {
        let (first, wrong) = self.by.peek(&from)?;
        let over = WINDOW.saturating_sub(now.saturating_duration_since(*first));
        (*wrong >= MOST && !over.is_zero()).then_some(over)
    }

    /// A token from there was wrong. Says whether it was the last that is looked at for now.
    pub fn wrong(&mut self, from: Origin, now: Instant) -> bool {
        let (first, wrong) = self.by.get_or_insert_mut(from, || (now, 0));
        if now.saturating_duration_since(*first) >= WINDOW {
            (*first, *wrong) = (now, 0);
        }
        *wrong = wrong.saturating_add(1);
        *wrong == MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Origin {
        Origin::of(Some(address.parse().unwrap()), None)
    }

    #[test]
    fn who_guesses_too_often_waits_and_nobody_else_does() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let (stranger, owner) = (from("198.51.100.7"), from("203.0.113.4"));
        let told: Vec<bool> = (0..MOST + 5).map(|_| guesses.wrong(stranger, now)).collect();
        assert_eq!(told.iter().position(|told| *told), Some(MOST as usize - 1));
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert_eq!(guesses.wait(stranger, now + WINDOW / 3), Some(WINDOW - WINDOW / 3));
        assert_eq!((guesses.wait(owner, now), guesses.wait(stranger, now + WINDOW)), (None, None));
        assert!(!guesses.wrong(stranger, now + WINDOW) && guesses.wait(stranger, now + WINDOW).is_none());
        for n in 0..2 * ADDRESSES.get() {
            let n = u8::try_from(n % 256).unwrap();
            guesses.wrong(from(&format!("10.{}.{}.{n}", n / 16, n % 16)), now);
        }
        assert!(guesses.by.len() <= ADDRESSES.get());
    }

    #[test]
    fn the_address_is_the_one_that_a_proxy_on_this_machine_saw() {
        let of = |remote: Option<&str>, forwarded| Origin::of(remote.map(|remote| remote.parse().unwrap()), forwarded);
        let seen = from("198.51.100.7");
        for forwarded in ["198.51.100.7", "10.0.0.1, 198.51.100.7", "10.0.0.1,198.51.100.7:4711", "::ffff:198.51.100.7"]
        {
            assert_eq!(of(None, Some(forwarded)), seen, "{forwarded}");
            assert_eq!(of(Some("127.0.0.1"), Some(forwarded)), seen, "{forwarded}");
            assert_eq!(of(Some("203.0.113.4"), Some(forwarded)), from("203.0.113.4"), "a stranger says {forwarded}");
        }
        assert_eq!(of(Some("127.0.0.1"), Some("unknown")), from("127.0.0.1"));
        assert_eq!((of(None, None), of(None, Some(""))), (Origin(None), Origin(None)));
        assert_eq!(from("2001:db8:1:2::3"), from("2001:db8:1:2:ffff::"));
        assert_ne!(from("2001:db8:1:2::3"), from("2001:db8:1:3::3"));
    }
}
